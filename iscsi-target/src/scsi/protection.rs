//! Who may change the blocks of a logical unit: a property of the nexus, not of the unit alone.

use std::collections::BTreeSet;

/// For whom a unit is write-protected (SBC-3 4.16).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// For nobody.
    #[default]
    None,
    /// For everybody.
    Everybody,
    /// For everybody but the initiators with these names, in their normal form.
    EverybodyBut(BTreeSet<String>),
}

impl Protection {
    /// Whether the initiator with this iSCSI name may only read.
    #[must_use]
    pub fn covers(&self, initiator: &str) -> bool {
        match self {
            Self::None => false,
            Self::Everybody => true,
            Self::EverybodyBut(writers) => !writers.contains(&normal_name(initiator)),
        }
    }
}

/// An iSCSI name as names are compared: in lower case (RFC 7143 4.2.7.1, RFC 3722).
#[must_use]
pub fn normal_name(name: &str) -> String {
    name.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_lower_case() {
        let writers = Protection::EverybodyBut(BTreeSet::from(["iqn.1993-08.org.debian:01:abc".to_owned()]));
        assert!(!writers.covers("iqn.1993-08.org.debian:01:abc"));
        assert!(!writers.covers("IQN.1993-08.org.Debian:01:ABC"));
        assert!(writers.covers("iqn.1993-08.org.debian:01:abcd"));
        assert!(writers.covers(""));
        assert!(!Protection::None.covers("iqn.a") && Protection::Everybody.covers("iqn.a"));
    }
}
