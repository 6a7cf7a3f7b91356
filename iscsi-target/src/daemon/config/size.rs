//! Sizes as people write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes that reads `1GiB` and prints `1 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No whole number in front, or no unit that is known behind it.
    #[error("`{0}` is not a size; write a whole number and one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB")]
    Malformed(String),
    /// More than 2^64 - 1 bytes.
    #[error("`{0}` is more bytes than can be counted")]
    TooLarge(String),
}

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for ByteSize {
    type Err = SizeError;
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let malformed = || SizeError::Malformed(text.to_owned());
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let factor = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?.1;
        if digits.is_empty() {
            return Err(malformed());
        }
        let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
        count.map(Self).ok_or_else(|| SizeError::TooLarge(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = match self.0 {
            0..=0x3FF => return write!(f, "{} B", self.0),
            0x400..=0xF_FFFF => ("KiB", 1 << 10),
            0x10_0000..=0x3FFF_FFFF => ("MiB", 1 << 20),
            0x4000_0000..=0xFF_FFFF_FFFF => ("GiB", 1_u64 << 30),
            _ => ("TiB", 1 << 40),
        };
        let (whole, tenths) = (self.0 / factor, self.0 % factor * 10 / factor);
        if tenths == 0 { write!(f, "{whole} {unit}") } else { write!(f, "{whole}.{tenths} {unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads() {
        assert_eq!("1GiB".parse(), Ok(ByteSize(1 << 30)));
        assert_eq!("12 MB".parse(), Ok(ByteSize(12_000_000)));
        assert_eq!("4096".parse(), Ok(ByteSize(4096)));
        for bad in ["", "GiB", "1.5GiB", "1G", "-1", "1 gib", "1  GiB", "0x10"] {
            assert_eq!(bad.parse::<ByteSize>(), Err(SizeError::Malformed(bad.to_owned())));
        }
        for large in ["99999999999999999999", "16777216TiB"] {
            assert_eq!(large.parse::<ByteSize>(), Err(SizeError::TooLarge(large.to_owned())));
        }
    }

    #[test]
    fn prints() {
        let printed =
            [0, 1023, 1024, 1536, (1 << 20) - 1, 12 << 20, 1 << 30, 3 << 40, u64::MAX].map(|n| ByteSize(n).to_string());
        let expected =
            ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1023.9 KiB", "12 MiB", "1 GiB", "3 TiB", "16777215.9 TiB"];
        assert_eq!(printed, expected);
    }
}
