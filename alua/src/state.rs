//! Asymmetric access states and the moves between them (SPC-4 5.15.2.4).

use std::fmt;

/// How a target port group can access a logical unit; the codes of SPC-4 6.37, table "ASYMMETRIC ACCESS STATE".
///
/// ```text
///   AO <-> ANO <-> standby <-> unavailable <-> LBA dependent     (any of these to any other,
///    \______\_________|____________/______________/                directly or through transitioning)
///                transitioning
///   offline <-> unavailable                                      (a port that leaves or comes back)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum AccessState {
    /// Everything works, at full speed.
    ActiveOptimized = 0x0,
    /// Everything works, perhaps slower.
    ActiveNonOptimized = 0x1,
    /// Configuration works, the medium is out of reach, ready to become active.
    Standby = 0x2,
    /// Hardly anything works.
    Unavailable = 0x3,
    /// Depends on the block; a secondary table tells.
    LbaDependent = 0x4,
    /// The port is not there.
    Offline = 0xE,
    /// On the way from one state to another.
    Transitioning = 0xF,
}

impl AccessState {
    /// All states, by code.
    pub const ALL: [Self; 7] = [
        Self::ActiveOptimized,
        Self::ActiveNonOptimized,
        Self::Standby,
        Self::Unavailable,
        Self::LbaDependent,
        Self::Offline,
        Self::Transitioning,
    ];

    /// The four-bit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The state with the four-bit code `code`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Whether a group may go from this state to `next`; staying is always legal.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Offline, Self::Offline | Self::Unavailable) | (Self::Unavailable, Self::Offline) => true,
            (Self::Offline, _) | (_, Self::Offline) => false,
            _ => true,
        }
    }
}

impl fmt::Display for AccessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ActiveOptimized => "active/optimized",
            Self::ActiveNonOptimized => "active/non-optimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
            Self::LbaDependent => "LBA dependent",
            Self::Offline => "offline",
            Self::Transitioning => "transitioning",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_there_and_back() {
        for code in 0..=u8::MAX {
            if let Some(state) = AccessState::from_code(code) {
                assert_eq!(state.code(), code);
            }
        }
        assert_eq!((0..=u8::MAX).filter_map(AccessState::from_code).count(), 7);
    }

    #[test]
    fn offline_is_entered_and_left_through_unavailable_only() {
        use AccessState::{Offline, Unavailable};
        for state in AccessState::ALL {
            let touches = state == Offline || state == Unavailable;
            assert_eq!(state.may_become(Offline), touches, "{state} to offline");
            assert_eq!(Offline.may_become(state), touches, "offline to {state}");
            assert!(state.may_become(state));
        }
    }
}
