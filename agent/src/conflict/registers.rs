//! The registers of an nf_tables rule, byte by byte: what is known of each, and where it comes from.
//!
//! Source: `enum nft_registers` in `include/uapi/linux/netfilter/nf_tables.h`: 1 to 4 are the four registers of
//! 16 bytes, 8 to 23 the same bytes as sixteen of 4.

use std::cmp::Ordering;

use super::packet::{Answer, Cell};

const SIZE: usize = 64;

/// All registers of a rule; nothing is known at its beginning.
#[derive(Debug, Clone)]
pub struct Registers([Cell; SIZE]);

impl Default for Registers {
    fn default() -> Self {
        Self([Cell::default(); SIZE])
    }
}

impl Registers {
    fn place(register: u32) -> Option<usize> {
        let register = usize::try_from(register).ok()?;
        match register {
            1..=4 => Some((register - 1) * 16),
            8..=23 => Some((register - 8) * 4),
            _ => None,
        }
    }

    /// The bytes from a register on.
    #[must_use]
    pub fn from(&self, register: u32) -> &[Cell] {
        Self::place(register).and_then(|at| self.0.get(at..)).unwrap_or_default()
    }

    /// Sets the bytes of a register, and fills the last four up with zeroes as the kernel does.
    pub fn set(&mut self, register: u32, cells: impl ExactSizeIterator<Item = Cell>) {
        let fill = cells.len().next_multiple_of(4) - cells.len();
        let cells = cells.chain(std::iter::repeat_n(Cell::of(0), fill));
        let place = Self::place(register).and_then(|at| self.0.get_mut(at..)).unwrap_or_default();
        place.iter_mut().zip(cells).for_each(|(there, cell)| *there = cell);
    }

    /// Something unknown was put into a register; sixteen bytes are the most that one expression writes.
    pub fn forget(&mut self, register: u32) {
        self.set(register, [Cell::default(); 16].into_iter());
    }

    /// Something unknown was put anywhere.
    pub fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// Changes the bytes of a register one by one into another's.
    pub fn map(&mut self, from: u32, to: u32, length: usize, each: impl Fn(usize, Cell) -> Cell) {
        let mut cells = [Cell::default(); SIZE];
        let source = self.from(from);
        let length = length.min(source.len());
        for (at, (cell, there)) in cells.iter_mut().zip(source).take(length).enumerate() {
            *cell = each(at, *there);
        }
        self.set(to, cells.into_iter().take(length));
    }
}

/// Compares known bytes with others, in the order of memcmp(3). Nothing if it depends on unknown ones.
fn compared(cells: &[Cell], with: &[u8]) -> Option<Ordering> {
    for (cell, byte) in cells.iter().zip(with) {
        match cell.value?.cmp(byte) {
            Ordering::Equal => {}
            other => return Some(other),
        }
    }
    (cells.len() >= with.len()).then_some(Ordering::Equal)
}

/// Whether bytes are the same. One known difference is enough to say no.
#[must_use]
pub fn equal(cells: &[Cell], with: &[u8]) -> Answer {
    let pairs = || cells.iter().zip(with);
    let truth = if pairs().any(|(cell, byte)| cell.value.is_some_and(|value| value != *byte)) {
        Some(false)
    } else {
        compared(cells, with).map(Ordering::is_eq)
    };
    Answer { truth, names: pairs().any(|(cell, _)| cell.destination) }
}

/// Whether bytes are within a range, both ends included.
#[must_use]
pub fn within(cells: &[Cell], from: &[u8], to: &[u8]) -> Answer {
    let truth = compared(cells, from).zip(compared(cells, to)).map(|(from, to)| from.is_ge() && to.is_le());
    Answer { truth, names: cells.iter().zip(from).any(|(cell, _)| cell.destination) }
}

/// The comparisons of `enum nft_cmp_ops`.
#[must_use]
pub fn compare(cells: &[Cell], operator: u32, with: &[u8]) -> Answer {
    let order = |holds: fn(Ordering) -> bool| {
        let names = cells.iter().zip(with).any(|(cell, _)| cell.destination);
        Answer { truth: compared(cells, with).map(holds), names }
    };
    match operator {
        0 => equal(cells, with),
        1 => equal(cells, with).inverted_if(true),
        2 => order(Ordering::is_lt),
        3 => order(Ordering::is_le),
        4 => order(Ordering::is_gt),
        5 => order(Ordering::is_ge),
        _ => Answer::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(bytes: &[u8]) -> impl ExactSizeIterator<Item = Cell> {
        bytes.iter().map(|byte| Cell::of(*byte))
    }

    #[test]
    fn registers_have_two_names() {
        let mut registers = Registers::default();
        registers.set(2, cells(&[1, 2, 3, 4, 5]));
        assert_eq!(equal(registers.from(12), &[1, 2, 3, 4, 5, 0, 0, 0]), Answer::known(true));
        assert_eq!(equal(registers.from(13), &[5, 0]), Answer::known(true));
        registers.forget(13);
        assert_eq!(equal(registers.from(2), &[1, 2, 3, 4, 5]), Answer::UNKNOWN);
        assert_eq!(equal(registers.from(2), &[1, 2, 3, 9, 5]), Answer::known(false));
        registers.map(2, 1, 4, |at, cell| Cell { value: cell.value.filter(|_| at < 2), ..cell });
        assert_eq!(equal(registers.from(1), &[1, 2]), Answer::known(true));
        assert_eq!(equal(registers.from(1), &[1, 2, 3]), Answer::UNKNOWN);
        for wrong in [0, 5, 7, 24, u32::MAX] {
            registers.set(wrong, cells(&[1]));
            assert!(registers.from(wrong).is_empty());
        }
        registers.set(4, cells(&[7; 99]));
        registers.map(23, 1, usize::MAX, |_, cell| cell);
        assert_eq!(equal(registers.from(1), &[7; 4]), Answer::known(true));
    }

    #[test]
    fn comparisons_are_of_big_endian_numbers() {
        let port: Vec<Cell> = cells(&443u16.to_be_bytes()).collect();
        for (operator, with, truth) in [
            (0, 443u16, true),
            (0, 80, false),
            (1, 80, true),
            (2, 444, true),
            (2, 443, false),
            (3, 443, true),
            (4, 256, true),
            (5, 444, false),
        ] {
            assert_eq!(compare(&port, operator, &with.to_be_bytes()), Answer::known(truth));
        }
        assert_eq!(within(&port, &[1, 0], &[2, 0]), Answer::known(true));
        assert_eq!(within(&port, &[0, 0], &[1, 0]), Answer::known(false));
        assert_eq!(compare(&[], 0, &[1]), Answer::UNKNOWN);
        assert_eq!(compare(&port, 9, &[1, 0xbb]), Answer::UNKNOWN);
    }
}
