//! LUN masking: for whom a logical unit is there at all.

use std::collections::BTreeSet;

use crate::scsi::protection::normal_name;

/// From whom a unit is hidden. To them it answers as a unit does that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mask {
    /// From nobody.
    #[default]
    None,
    /// From everybody but the initiators with these names, in their normal form.
    EverybodyBut(BTreeSet<String>),
}

impl Mask {
    /// Whether the initiator with this iSCSI name does not see the unit.
    #[must_use]
    pub fn hides_from(&self, initiator: &str) -> bool {
        match self {
            Self::None => false,
            Self::EverybodyBut(seers) => !seers.contains(&normal_name(initiator)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_lower_case() {
        let mask = Mask::EverybodyBut(BTreeSet::from(["iqn.1993-08.org.debian:01:abc".to_owned()]));
        assert!(!mask.hides_from("iqn.1993-08.org.debian:01:abc"));
        assert!(!mask.hides_from("IQN.1993-08.org.Debian:01:ABC"));
        assert!(mask.hides_from("iqn.1993-08.org.debian:01:abcd"));
        assert!(mask.hides_from(""));
        assert!(!Mask::None.hides_from("iqn.a"));
    }
}
