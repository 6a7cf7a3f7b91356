//! Reservations of clients: persistent ones (SPC-4 5.13), who is registered with which key, who holds what, and what that
//! means for everybody else; pure. The state of both heads that they are a part of is [`crate::scsi::shared`].
//!
//! * [`request`]: PERSISTENT RESERVE OUT as it was sent, checked as far as it can be without the table.
//! * [`table`]: what each service action does to the table, and whom it concerns.
//! * [`report`]: PERSISTENT RESERVE IN.
//! * [`transport_id`]: how an initiator port is named in both.

pub mod report;
pub mod request;
pub mod table;
pub mod transport_id;

use crate::scsi::InitiatorPort;
use crate::scsi::opcodes::Reserved;

/// What a registrant calls itself; 0 is no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u64);

impl Key {
    /// No registration.
    pub const NONE: Self = Self(0);
}

/// An I_T nexus by the names that outlive its sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nexus {
    /// The initiator port.
    pub initiator: InitiatorPort,
    /// RELATIVE TARGET PORT IDENTIFIER of the target port.
    pub relative_port: u16,
}

/// TYPE of a persistent reservation (SPC-4 6.15.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Type {
    /// Others read.
    WriteExclusive = 1,
    /// Others do nothing.
    ExclusiveAccess = 3,
    /// Registrants do everything, others read.
    WriteExclusiveRegistrantsOnly = 5,
    /// Registrants do everything, others nothing.
    ExclusiveAccessRegistrantsOnly = 6,
    /// The same as 5, and every registrant holds it.
    WriteExclusiveAllRegistrants = 7,
    /// The same as 6, and every registrant holds it.
    ExclusiveAccessAllRegistrants = 8,
}

impl Type {
    /// All types.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The type with this code.
    #[must_use]
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Whether every registrant holds it.
    #[must_use]
    pub const fn is_held_by_all(self) -> bool {
        matches!(self, Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants)
    }

    /// Whether registrants may do what the holder may.
    #[must_use]
    pub const fn admits_registrants(self) -> bool {
        !matches!(self, Self::WriteExclusive | Self::ExclusiveAccess)
    }

    /// What it looks like to whoever has no part in it.
    #[must_use]
    pub const fn to_others(self) -> Reserved {
        match self {
            Self::WriteExclusive | Self::WriteExclusiveRegistrantsOnly | Self::WriteExclusiveAllRegistrants => {
                Reserved::WriteExclusive
            }
            Self::ExclusiveAccess | Self::ExclusiveAccessRegistrantsOnly | Self::ExclusiveAccessAllRegistrants => {
                Reserved::ExclusiveAccess
            }
        }
    }
}
