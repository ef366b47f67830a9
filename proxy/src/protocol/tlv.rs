//! What a PROXY header of version 2 may have besides: type, length, value.

use std::str::FromStr;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlv {
    kind: u8,
    value: Vec<u8>,
}

/// Bytes that the TLVs of a header may have together. nginx takes a header of 4,096 bytes in all (since 1.23.2, before
/// that of 107), of which 16 are its beginning and 36 the addresses of IPv6; HAProxy takes one of `tune.bufsize`, 16,384.
pub const MOST_BYTES: usize = 4096 - 16 - 36;

/// Why a text is no TLV.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTlv {
    /// Not of the form.
    #[error("not a type and a value, such as 0xEA=text or 0xEA=hex:0123")]
    Form,
    /// Not a type.
    #[error("{0:?} is not a type; one from 0x00 to 0xFF is")]
    Kind(String),
    /// Not hexadecimal.
    #[error("{0:?} is not hexadecimal, two digits a byte")]
    Hex(String),
    /// Too long.
    #[error("{0} bytes; {MOST_BYTES} is the most")]
    Long(usize),
}

impl Tlv {
    /// Bytes in a header.
    #[must_use]
    pub fn len(&self) -> usize {
        3 + self.value.len()
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.push(self.kind);
        to.extend(u16::try_from(self.value.len()).unwrap_or(u16::MAX).to_be_bytes());
        to.extend(&self.value);
    }
}

impl FromStr for Tlv {
    type Err = BadTlv;

    fn from_str(text: &str) -> Result<Self, BadTlv> {
        let (kind, value) = text.split_once('=').ok_or(BadTlv::Form)?;
        let digits = kind.strip_prefix("0x").or_else(|| kind.strip_prefix("0X")).ok_or(BadTlv::Form)?;
        let fits = (1..=2).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = if fits { u8::from_str_radix(digits, 16).ok() } else { None };
        let kind = number.ok_or_else(|| BadTlv::Kind(kind.to_owned()))?;
        let value = match value.strip_prefix("hex:") {
            Some(hex) => from_hex(hex).ok_or_else(|| BadTlv::Hex(hex.to_owned()))?,
            None => value.as_bytes().to_vec(),
        };
        if value.len() + 3 > MOST_BYTES {
            return Err(BadTlv::Long(value.len()));
        }
        Ok(Self { kind, value })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let byte = |pair: Option<&str>| {
        let pair = pair.filter(|pair| pair.len() == 2 && !pair.starts_with('+'))?;
        u8::from_str_radix(pair, 16).ok()
    };
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_bytes() {
        let read = |text: &str| text.parse::<Tlv>();
        let tlv = |kind, value: &[u8]| Ok(Tlv { kind, value: value.to_vec() });
        assert_eq!(read("0xEA=shoot--a"), tlv(0xEA, b"shoot--a"));
        assert_eq!(read("0xea=hex:00ff"), tlv(0xEA, &[0, 255]));
        assert_eq!(read("0x2=a=b"), tlv(2, b"a=b"));
        assert_eq!(read("0x20="), tlv(0x20, b""));
        for text in ["", "0xEA", "EA=x"] {
            assert_eq!(read(text), Err(BadTlv::Form), "{text}");
        }
        for text in ["0x=a", "0x100=a", "0x+1=a", "0xé=a"] {
            assert!(matches!(read(text), Err(BadTlv::Kind(_))), "{text}");
        }
        for text in ["0x1=hex:0", "0x1=hex:0g", "0x1=hex:+1", "0x1=hex:é0"] {
            assert!(matches!(read(text), Err(BadTlv::Hex(_))), "{text}");
        }
        assert_eq!(read(&format!("0x1={}", "a".repeat(5000))), Err(BadTlv::Long(5000)));
    }
}
