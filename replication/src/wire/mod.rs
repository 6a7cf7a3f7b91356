//! What the heads say to each other, as bytes.
//!
//! A frame is a header ([`header`]), a short body and, where a message carries contents, a payload. Integers are little-endian. The kinds:
//!
//! * [`control`]: about the connection and about the links of single units.
//! * [`portals`]: about the addresses at which initiators find the heads.
//! * [`settings`]: what is compared about one unit.
//! * [`message`]: the messages of one unit ([`crate::message`]).
//! * [`framer`]: cuts a byte stream into frames; a large payload goes straight into a buffer of its own.
//!
//! Every length is bounded by the kind of frame, and header, body and payload each have a checksum, before any of their
//! contents is believed. An encoding is unique: what was parsed gives the same bytes again when it is emitted.

pub mod control;
pub mod framer;
pub mod header;
pub mod message;
pub mod portals;
pub mod settings;

use std::num::NonZeroU64;

use sas_backend::buffer::Payload;

pub use control::{Agreement, Hello};
pub use framer::{FrameError, Framer};
pub use header::{HEADER_BYTES, VERSION};
pub use portals::{ClientConnection, Endpoint, OwnAddresses, PortalState};
pub use settings::UnitSettings;

use crate::block::Contents;
use crate::message::Message;
use header::{Header, Kind};

/// The longest payload: one write.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// Names one life of one unit's link on one head; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// `None` for 0, which on the wire means "none".
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// The number, never 0.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame in each direction.
    Hello(Hello),
    /// The second: the sender knows the secret.
    Proof([u8; 32]),
    /// What the sender's configuration says, sent when the digests differ.
    Agreement(Agreement),
    /// The sender takes the receiver for its peer.
    Ready,
    /// The sender does not, and closes the connection.
    Refuse {
        /// In words.
        why: String,
    },
    /// Answer this.
    Ping {
        /// Whatever the sender wants to see again.
        number: u64,
    },
    /// The answer.
    Pong {
        /// As in the Ping.
        number: u64,
    },
    /// What the sender says about portal addresses.
    Portals(PortalState),
    /// All connections of clients with the sender's portals.
    Clients(Vec<ClientConnection>),
    /// The sender's end of a unit's link is open.
    UnitOpen {
        /// Which unit.
        unit: u32,
        /// The sender's generation.
        generation: Generation,
        /// The receiver's, if the sender knows it.
        echo: Option<Generation>,
        /// What the sender's configuration says about the unit. The same generation may come again with others.
        settings: UnitSettings,
    },
    /// The sender's end of a unit's link is closed.
    UnitClosed {
        /// Which unit.
        unit: u32,
        /// The sender's generation that has ended.
        generation: Generation,
    },
    /// A message of one unit.
    Message {
        /// Which unit.
        unit: u32,
        /// The receiver's generation, as the sender knows it.
        generation: Generation,
        /// The message.
        message: Message<Contents>,
    },
}

/// A frame ready for the socket: `head`, then `payload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutFrame {
    /// Header and body.
    pub head: Vec<u8>,
    /// The payload, shared and not copied.
    pub payload: Option<Payload>,
}

impl Frame {
    /// The bytes.
    ///
    /// # Panics
    /// If a payload is longer than [`MAX_PAYLOAD_BYTES`]: the sender checks that.
    #[must_use]
    pub fn emit(&self) -> OutFrame {
        let mut head = vec![0; HEADER_BYTES];
        let kind = self.emit_body(&mut head);
        let (unit, generation) = match self {
            Self::UnitOpen { unit, generation, .. }
            | Self::UnitClosed { unit, generation }
            | Self::Message { unit, generation, .. } => (*unit, generation.get()),
            _ => (0, 0),
        };
        let payload = match self {
            Self::Message { message, .. } => message::payload_of(message).cloned(),
            _ => None,
        };
        let payload_bytes = payload.as_ref().map_or(0, |payload| payload.len());
        assert!(payload_bytes <= MAX_PAYLOAD_BYTES, "a write of {payload_bytes} bytes");
        let body = &head[HEADER_BYTES..];
        let header = Header {
            kind,
            unit,
            generation,
            body_bytes: body.len(),
            payload_bytes,
            body_crc: crc32c::crc32c(body),
            payload_crc: payload.as_ref().map_or(0, |payload| crc32c::crc32c(payload)),
        };
        head[..HEADER_BYTES].copy_from_slice(&header.emit());
        OutFrame { head, payload }
    }

    fn emit_body(&self, out: &mut Vec<u8>) -> Kind {
        match self {
            Self::Hello(hello) => {
                out.extend(hello.emit());
                Kind::Hello
            }
            Self::Proof(proof) => {
                out.extend(proof);
                Kind::Proof
            }
            Self::Agreement(agreement) => {
                agreement.emit(out);
                Kind::Agreement
            }
            Self::Ready => Kind::Ready,
            Self::Refuse { why } => {
                out.extend(control::shortened(why).as_bytes());
                Kind::Refuse
            }
            Self::Ping { number } => {
                out.extend(number.to_le_bytes());
                Kind::Ping
            }
            Self::Pong { number } => {
                out.extend(number.to_le_bytes());
                Kind::Pong
            }
            Self::Portals(state) => {
                state.emit(out);
                Kind::Portals
            }
            Self::Clients(clients) => {
                portals::emit_clients(clients, out);
                Kind::Clients
            }
            Self::UnitOpen { echo, settings, .. } => {
                out.extend(echo.map_or(0, Generation::get).to_le_bytes());
                settings.emit(out);
                Kind::UnitOpen
            }
            Self::UnitClosed { .. } => Kind::UnitClosed,
            Self::Message { message, .. } => {
                message::emit(message, out);
                message::kind_of(message)
            }
        }
    }

    /// What a checked header and a body with the right checksum mean.
    fn parse(header: &Header, body: &[u8], payload: Option<Payload>) -> Result<Self, FrameError> {
        let parsed = match Generation::new(header.generation) {
            None => control::parse(header.kind, body).or_else(|| portals::parse(header.kind, body)),
            Some(generation) => control::parse_of_unit(header.kind, header.unit, generation, body).or_else(|| {
                let message = message::parse(header.kind, body, payload)?;
                Some(Self::Message { unit: header.unit, generation, message })
            }),
        };
        parsed.ok_or(FrameError::Contents(header.kind.name()))
    }
}

#[cfg(test)]
mod tests;
