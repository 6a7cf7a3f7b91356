//! What a [`super::Link`] is told, and what it tells.

use std::collections::BTreeMap;

use sas_backend::{HeadId, Incarnation};

use crate::block::Blocks;
use crate::message::Message;
use crate::wire::{ClientConnection, PortalState};

/// What a link is told once.
pub struct Config<'a> {
    /// Which head this is.
    pub me: HeadId,
    /// This process.
    pub incarnation: Incarnation,
    /// What only the two heads know.
    pub secret: &'a [u8],
    /// SHA-256 of `agreement`, or whatever stands for it.
    pub digest: [u8; 32],
    /// The settings of the pair as a whole, which must be the same on both heads.
    pub agreement: BTreeMap<String, String>,
    /// Random bytes, new for each connection.
    pub nonce: [u8; 32],
    /// A Ping is sent this often.
    pub ping_ms: u64,
    /// The link is dead when nothing was received for this long.
    pub dead_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The peer has proved who it is: [`super::Link::adopt`] the units.
    Ready {
        /// Which head it is: the other one.
        peer: HeadId,
        /// Its process.
        incarnation: Incarnation,
    },
    /// The link of a unit is up, and [`super::Link::settings_of_peer`] are known.
    UnitUp {
        /// Which.
        unit: u32,
        /// The peer's process.
        peer: Incarnation,
    },
    /// The link of a unit is down, and not because this head closed it.
    UnitDown {
        /// Which.
        unit: u32,
    },
    /// The peer's settings of a unit have changed while its link is up.
    UnitSettings {
        /// Which.
        unit: u32,
    },
    /// The peer says something about a unit whose link is up.
    Message {
        /// Which.
        unit: u32,
        /// What.
        message: Message<Blocks>,
    },
    /// The peer says something about portal addresses.
    Portals(PortalState),
    /// All connections of clients with the peer's portals.
    Clients(Vec<ClientConnection>),
    /// The heads do not become a pair. The last event.
    Refused {
        /// In words.
        why: String,
    },
    /// The connection is over. The last event.
    Closed {
        /// In words.
        why: String,
    },
}

impl LinkEvent {
    pub(super) fn unit(&self) -> Option<u32> {
        match self {
            Self::UnitUp { unit, .. }
            | Self::UnitDown { unit }
            | Self::UnitSettings { unit }
            | Self::Message { unit, .. } => Some(*unit),
            Self::Ready { .. } | Self::Portals(_) | Self::Clients(_) | Self::Refused { .. } | Self::Closed { .. } => {
                None
            }
        }
    }
}
