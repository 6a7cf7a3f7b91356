//! Logical unit numbers on the wire (SAM-5 4.7).

use std::fmt;

/// A single-level logical unit number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lun(u16);

impl Lun {
    /// The largest number that flat space addressing can say.
    pub const MAX: u16 = 0x3FFF;

    /// The number `number`, unless it is beyond [`Lun::MAX`].
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The plain number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// From the eight bytes of a PDU or a REPORT LUNS list: peripheral device addressing (bus 0) or flat space
    /// addressing, one level. Anything else names a unit that we cannot have.
    #[must_use]
    pub const fn decode(bytes: [u8; 8]) -> Option<Self> {
        let [first, second, 0, 0, 0, 0, 0, 0] = bytes else { return None };
        match first >> 6 {
            0b00 if first == 0 => Some(Self(second as u16)),
            0b01 => Some(Self(u16::from_be_bytes([first & 0x3F, second]))),
            _ => None,
        }
    }

    /// As REPORT LUNS names it: peripheral device addressing while it fits, which every initiator understands.
    #[must_use]
    pub const fn encode(self) -> [u8; 8] {
        let [high, low] = self.0.to_be_bytes();
        let first = if high == 0 { 0 } else { 0x40 | high };
        [first, low, 0, 0, 0, 0, 0, 0]
    }
}

impl fmt::Display for Lun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for number in 0..=Lun::MAX {
            let lun = Lun::new(number).unwrap();
            assert_eq!(Lun::decode(lun.encode()), Some(lun));
        }
        assert_eq!(Lun::new(0x4000), None);
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(Lun(1).encode(), [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Lun(256).encode(), [0x41, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Lun::decode([0x40, 1, 0, 0, 0, 0, 0, 0]), Some(Lun(1)));
        assert_eq!(Lun::decode([1, 1, 0, 0, 0, 0, 0, 0]), None, "another bus");
        assert_eq!(Lun::decode([0xC1, 1, 0, 0, 0, 0, 0, 0]), None, "a well known logical unit");
        assert_eq!(Lun::decode([0, 1, 0, 2, 0, 0, 0, 0]), None, "two levels");
    }
}
