//! Whether the rules can have changed since they were last seen in place. Pure.
//!
//! nf_tables numbers its states: each transaction, whoever's it is, makes a new generation, and ends with an event
//! that has its number. So as long as every generation since the last look is known, and none of them touched what
//! matters, nothing has to be looked at again.

/// What is known of nf_tables' generations.
#[derive(Debug, Default)]
pub struct Tracker {
    /// The generation at which all was in place.
    verified: Option<u32>,
    /// Since the last event of a generation, something that matters was touched.
    touched: bool,
    /// Something that matters was touched after all was in place.
    broken: bool,
}

impl Tracker {
    /// Everything was in place at this generation.
    pub fn verified(&mut self, generation: u32) {
        *self = Self { verified: Some(generation), ..Self::default() };
    }

    /// Nothing is known any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Something that matters was touched, in the transaction that the next generation ends.
    pub fn touch(&mut self) {
        self.touched = true;
    }

    /// A transaction ended. Whether there is something to look at now.
    pub fn advance(&mut self, generation: u32) -> bool {
        let touched = std::mem::take(&mut self.touched);
        let Some(verified) = self.verified else { return touched };
        // Numbers wrap around. What is not ahead was over before the look.
        let ahead = generation.wrapping_sub(verified).cast_signed();
        if ahead <= 0 {
            return false;
        }
        self.broken |= touched;
        let known = ahead == 1 && !touched;
        self.verified = known.then_some(generation);
        !known
    }

    /// Whether it is known without looking that not all is in place any more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether all is in place at this generation, as far as can be known without looking.
    #[must_use]
    pub fn holds(&self, generation: u32) -> bool {
        self.verified == Some(generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_that_touch_nothing_of_ours_cost_no_look() {
        let mut tracker = Tracker::default();
        tracker.verified(7);
        assert!(tracker.holds(7) && !tracker.holds(8));
        assert!(!tracker.advance(8));
        assert!(!tracker.advance(9));
        assert!(tracker.holds(9));
    }

    #[test]
    fn a_touch_belongs_to_its_transaction_alone() {
        let mut tracker = Tracker::default();
        tracker.verified(7);
        tracker.touch();
        assert!(tracker.advance(8));
        assert!(!tracker.holds(8) && tracker.is_broken());
        assert!(!tracker.advance(9), "told already");
        assert!(!tracker.holds(9), "and still to be looked at");
    }

    #[test]
    fn what_was_over_before_the_look_is_old() {
        let mut tracker = Tracker::default();
        tracker.verified(7);
        for old in [6, 7, 7_u32.wrapping_sub(1 << 20)] {
            tracker.touch();
            assert!(!tracker.advance(old), "{old}");
        }
        assert!(tracker.holds(7));
    }

    #[test]
    fn a_gap_is_to_be_looked_at() {
        let mut tracker = Tracker::default();
        tracker.verified(7);
        assert!(tracker.advance(9));
        assert!(!tracker.holds(9) && !tracker.is_broken(), "nothing is known of it");
    }

    #[test]
    fn numbers_wrap_around() {
        let mut tracker = Tracker::default();
        tracker.verified(u32::MAX);
        assert!(!tracker.advance(0));
        assert!(tracker.holds(0));
        tracker.forget();
        assert!(!tracker.holds(0));
    }
}
