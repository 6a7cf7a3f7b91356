//! The header of every frame. Magic and version stay where they are in every version.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic `TWHL` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | kind |
//! | 8 | 4 | unit; 0 in frames about the connection |
//! | 12 | 4 | bytes of the body |
//! | 16 | 8 | generation; 0 in frames about the connection, never 0 in others |
//! | 24 | 4 | bytes of the payload |
//! | 28 | 4 | CRC32C of the body |
//! | 32 | 4 | CRC32C of the payload, 0 without one |
//! | 36 | 4 | CRC32C of the 36 bytes before |

use std::ops::RangeInclusive;

use nom::IResult;
use nom::bytes::complete::tag;
use nom::number::complete::{le_u16, le_u32, le_u64};
use sas_backend::superblock::RECORD_MAX_BYTES;

use super::control::{HELLO_BYTES, MAX_AGREEMENT_BYTES, MAX_REFUSAL_BYTES};
use super::framer::FrameError;
use super::message::{FORWARD_BYTES, WRITE_BYTES};
use super::portals::{MAX_CLIENTS_BYTES, PORTALS_BYTES};
use super::settings::MAX_SETTINGS_BYTES;
use crate::message::WORDS_MAX_BYTES;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 40;
/// The only version so far.
pub const VERSION: u16 = 1;
/// The longest body.
pub const MAX_BODY_BYTES: usize = MAX_AGREEMENT_BYTES;

const MAGIC: &[u8; 4] = b"TWHL";
const CRC_AT: usize = 36;

const _: () = assert!(CRC_AT + 4 == HEADER_BYTES && 8 + MAX_SETTINGS_BYTES <= MAX_BODY_BYTES);
const _: () = assert!(MAX_CLIENTS_BYTES <= MAX_BODY_BYTES);
const _: () = assert!(16 + WORDS_MAX_BYTES <= MAX_BODY_BYTES && 16 + RECORD_MAX_BYTES <= MAX_BODY_BYTES);

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hello,
    Proof,
    Agreement,
    Ready,
    Refuse,
    Ping,
    Pong,
    UnitOpen,
    UnitClosed,
    State,
    Invite,
    Accepted,
    Write,
    Confirmed,
    Release,
    Joined,
    Handover,
    TookOver,
    RequestHandover,
    LeaseRequest,
    LeaseGrant,
    Measure,
    Measured,
    Follow,
    Followed,
    Portals,
    Clients,
    Forward,
    CancelForwarded,
    Returned,
    Forwarded,
    Ask,
    Answer,
    Record,
    RecordKnown,
    WriteHole,
    ReturnedHole,
}

/// Whether a kind is about the connection or about a unit, and may have a payload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Link,
    Unit,
    UnitWithPayload,
    UnitMayHavePayload,
}

pub(super) struct Row {
    kind: Kind,
    number: u16,
    name: &'static str,
    body_bytes: RangeInclusive<usize>,
    scope: Scope,
}

const fn row(number: u16, kind: Kind, name: &'static str, body_bytes: RangeInclusive<usize>, scope: Scope) -> Row {
    Row { kind, number, name, body_bytes, scope }
}

pub(super) static KINDS: [Row; 37] = [
    row(1, Kind::Hello, "Hello", HELLO_BYTES..=HELLO_BYTES, Scope::Link),
    row(2, Kind::Proof, "Proof", 32..=32, Scope::Link),
    row(3, Kind::Agreement, "Agreement", 1..=MAX_AGREEMENT_BYTES, Scope::Link),
    row(4, Kind::Ready, "Ready", 0..=0, Scope::Link),
    row(5, Kind::Refuse, "Refuse", 0..=MAX_REFUSAL_BYTES, Scope::Link),
    row(6, Kind::Ping, "Ping", 8..=8, Scope::Link),
    row(7, Kind::Pong, "Pong", 8..=8, Scope::Link),
    row(8, Kind::UnitOpen, "UnitOpen", 8 + 2..=8 + MAX_SETTINGS_BYTES, Scope::Unit),
    row(9, Kind::UnitClosed, "UnitClosed", 0..=0, Scope::Unit),
    row(16, Kind::State, "State", 32..=32, Scope::Unit),
    row(17, Kind::Invite, "Invite", 16..=16, Scope::Unit),
    row(18, Kind::Accepted, "Accepted", 16..=16, Scope::Unit),
    row(19, Kind::Write, "Write", WRITE_BYTES..=WRITE_BYTES, Scope::UnitWithPayload),
    row(20, Kind::Confirmed, "Confirmed", 24..=24, Scope::Unit),
    row(21, Kind::Release, "Release", 40..=40, Scope::Unit),
    row(22, Kind::Joined, "Joined", 16..=16, Scope::Unit),
    row(23, Kind::Handover, "Handover", 24..=24, Scope::Unit),
    row(24, Kind::TookOver, "TookOver", 16..=16, Scope::Unit),
    row(25, Kind::RequestHandover, "RequestHandover", 0..=0, Scope::Unit),
    row(26, Kind::LeaseRequest, "LeaseRequest", 8..=8, Scope::Unit),
    row(27, Kind::LeaseGrant, "LeaseGrant", 8..=8, Scope::Unit),
    row(28, Kind::Measure, "Measure", 0..=0, Scope::Unit),
    row(29, Kind::Measured, "Measured", 8..=8, Scope::Unit),
    row(30, Kind::Follow, "Follow", 8..=8, Scope::Unit),
    row(31, Kind::Followed, "Followed", 8..=8, Scope::Unit),
    row(32, Kind::Portals, "Portals", PORTALS_BYTES..=PORTALS_BYTES, Scope::Link),
    row(33, Kind::Clients, "Clients", 0..=MAX_CLIENTS_BYTES, Scope::Link),
    row(34, Kind::Forward, "Forward", FORWARD_BYTES..=FORWARD_BYTES, Scope::UnitMayHavePayload),
    row(35, Kind::CancelForwarded, "CancelForwarded", 8..=8, Scope::Unit),
    row(36, Kind::Returned, "Returned", 8..=8, Scope::UnitWithPayload),
    row(37, Kind::Forwarded, "Forwarded", 24..=24, Scope::Unit),
    row(38, Kind::Ask, "Ask", 16..=16 + WORDS_MAX_BYTES, Scope::Unit),
    row(39, Kind::Answer, "Answer", 8..=8 + WORDS_MAX_BYTES, Scope::Unit),
    row(40, Kind::Record, "Record", 16..=16 + RECORD_MAX_BYTES, Scope::Unit),
    row(41, Kind::RecordKnown, "RecordKnown", 8..=8, Scope::Unit),
    row(42, Kind::WriteHole, "WriteHole", WRITE_BYTES..=WRITE_BYTES, Scope::Unit),
    row(43, Kind::ReturnedHole, "ReturnedHole", 16..=16, Scope::Unit),
];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        self.row().name
    }

    fn row(self) -> &'static Row {
        #[expect(clippy::expect_used, reason = "a test looks every kind up")]
        KINDS.iter().find(|row| row.kind == self).expect("every kind has a row")
    }
}

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) unit: u32,
    pub(super) generation: u64,
    pub(super) body_bytes: usize,
    pub(super) payload_bytes: usize,
    pub(super) body_crc: u32,
    pub(super) payload_crc: u32,
}

impl Header {
    pub(super) fn emit(&self) -> [u8; HEADER_BYTES] {
        let length = |bytes: usize| {
            #[expect(clippy::expect_used, reason = "the senders bound bodies and payloads")]
            u32::try_from(bytes).expect("frames are bounded").to_le_bytes()
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.kind.row().number.to_le_bytes());
        bytes.extend(self.unit.to_le_bytes());
        bytes.extend(length(self.body_bytes));
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(length(self.payload_bytes));
        bytes.extend(self.body_crc.to_le_bytes());
        bytes.extend(self.payload_crc.to_le_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes);
        header
    }

    /// A header whose checksum is right and whose lengths are allowed.
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES], max_payload_bytes: usize) -> Result<Self, FrameError> {
        let (rest, version) = start(bytes).map_err(|_| FrameError::Foreign)?;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let (_, fields) = fields(rest).map_err(|_| FrameError::Foreign)?;
        if fields.crc != crc32c::crc32c(&bytes[..CRC_AT]) {
            return Err(FrameError::HeaderChecksum);
        }
        let row = KINDS.iter().find(|row| row.number == fields.kind).ok_or(FrameError::Kind(fields.kind))?;
        fields.check(row, max_payload_bytes)
    }
}

struct Fields {
    kind: u16,
    unit: u32,
    body_bytes: u32,
    generation: u64,
    payload_bytes: u32,
    body_crc: u32,
    payload_crc: u32,
    crc: u32,
}

impl Fields {
    fn check(&self, row: &Row, max_payload_bytes: usize) -> Result<Header, FrameError> {
        let too_long = FrameError::Length { kind: row.name, body: self.body_bytes, payload: self.payload_bytes };
        let (Ok(body_bytes), Ok(payload_bytes)) = (self.body_bytes.try_into(), self.payload_bytes.try_into()) else {
            return Err(too_long);
        };
        let payload_fits = match row.scope {
            Scope::UnitWithPayload => (1..=max_payload_bytes).contains(&payload_bytes),
            Scope::UnitMayHavePayload => {
                payload_bytes <= max_payload_bytes && (payload_bytes > 0 || self.payload_crc == 0)
            }
            Scope::Link | Scope::Unit => payload_bytes == 0 && self.payload_crc == 0,
        };
        if !row.body_bytes.contains(&body_bytes) || !payload_fits {
            return Err(too_long);
        }
        let belongs = match row.scope {
            Scope::Link => self.unit == 0 && self.generation == 0,
            Scope::Unit | Scope::UnitWithPayload | Scope::UnitMayHavePayload => self.generation != 0,
        };
        if !belongs {
            return Err(FrameError::Contents(row.name));
        }
        Ok(Header {
            kind: row.kind,
            unit: self.unit,
            generation: self.generation,
            body_bytes,
            payload_bytes,
            body_crc: self.body_crc,
            payload_crc: self.payload_crc,
        })
    }
}

fn start(input: &[u8]) -> IResult<&[u8], u16> {
    let (rest, _) = tag(&MAGIC[..])(input)?;
    le_u16(rest)
}

fn fields(input: &[u8]) -> IResult<&[u8], Fields> {
    let (rest, kind) = le_u16(input)?;
    let (rest, unit) = le_u32(rest)?;
    let (rest, body_bytes) = le_u32(rest)?;
    let (rest, generation) = le_u64(rest)?;
    let (rest, payload_bytes) = le_u32(rest)?;
    let (rest, body_crc) = le_u32(rest)?;
    let (rest, payload_crc) = le_u32(rest)?;
    let (rest, crc) = le_u32(rest)?;
    Ok((rest, Fields { kind, unit, body_bytes, generation, payload_bytes, body_crc, payload_crc, crc }))
}
