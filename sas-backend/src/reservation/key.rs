//! Reservation keys: another one for each head, epoch and life, so that an old one can never look valid.

use std::fmt;

use crate::superblock::{Epoch, HeadId, Incarnation};

/// A key as the disk keeps it: byte 7 is 54h ('T'), byte 6 is 0Ah or 0Bh for the head, then 16 bits of the epoch and 32
/// bits of the incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

const TAG: u64 = 0x54;

impl Key {
    /// The key of a head in an epoch and an incarnation.
    #[must_use]
    pub fn new(head: HeadId, epoch: Epoch, incarnation: Incarnation) -> Self {
        let head = match head {
            HeadId::A => 0x0a,
            HeadId::B => 0x0b,
        };
        Self(TAG << 56 | head << 48 | (epoch.0 & 0xffff) << 32 | incarnation.get() & 0xffff_ffff)
    }

    /// Whose key it is; `None` for one that is not ours.
    #[must_use]
    pub fn head(self) -> Option<HeadId> {
        match self.0 >> 48 {
            0x540a => Some(HeadId::A),
            0x540b => Some(HeadId::B),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_head() {
        let incarnation = Incarnation::new(0x1122_3344_5566_7788).unwrap();
        let key = Key::new(HeadId::B, Epoch(0x1_0203), incarnation);
        assert_eq!(key.to_string(), "540b020355667788");
        assert_eq!(key.head(), Some(HeadId::B));
        assert_eq!(Key::new(HeadId::A, Epoch(1), incarnation).head(), Some(HeadId::A));
        assert_eq!(Key(0x1234).head(), None);
        assert_eq!(Key(0x540c_0000_0000_0000).head(), None);
    }
}
