//! The bodies of a unit's messages ([`crate::message::Message`]).
//!
//! | kind | message | body |
//! | --- | --- | --- |
//! | 16 | State | role (1), detail (1), 2 zero, sessions (4), epoch (8), dirty blocks (8), blocks (8) |
//! | 17 | Invite | tag |
//! | 18 | Accepted | tag |
//! | 19 | Write | tag, position (8), version (8), lba (8), blocks (8); the contents are the payload |
//! | 20 | Confirmed | tag, position (8) |
//! | 21 | Release | tag, lba (8), blocks (8), version (8) |
//! | 22 | Joined | tag |
//! | 23 | Handover | tag, incarnation (8) |
//! | 24 | TookOver | tag |
//! | 25 | RequestHandover | - |
//! | 26 | LeaseRequest | sent (8) |
//! | 27 | LeaseGrant | sent (8) |
//! | 28 | Measure | - |
//! | 29 | Measured | blocks (8) |
//! | 30 | Follow | blocks (8) |
//! | 31 | Followed | blocks (8) |
//! | 34 | Forward | number (8), heard (8), operation (1), 7 zero, lba (8), blocks (8); what it brings is the payload |
//! | 35 | CancelForwarded | number (8) |
//! | 36 | Returned | number (8); the contents are the payload |
//! | 37 | Forwarded | number (8), end (1), 7 zero, where it differs (8) |
//! | 38 | Forward, of a question | number (8), heard (8), the question |
//! | 39 | Answer | number (8), the answer |
//! | 40 | Record | number (8), how many bytes are kept (8), the record |
//! | 41 | RecordKnown | number (8) |
//! | 42 | Write of a hole | as of a Write |
//! | 43 | Returned, of a hole | number (8), blocks (8) |
//!
//! A tag is epoch (8), invitation (8). The roles are 0 starting, 1 standby, 2 changing, 3 owner; the detail of a standby
//! is its claim (0 unknown, 1 no, 2 yes), that of an owner its mode (0 solo, 1 draining, 2 joining, 3 mirrored,
//! 4 degrading, 5 handing over), and 0 for the others. The operations are 0 read, 1 write, 2 write with force unit access,
//! 3 flush (lba and blocks are 0), 4 compare and write, 5 the same with force unit access, 6 or, 7 the same with force unit
//! access, 8 map, 9 write a hole, 10 the same with force unit access; the ends 0 done, 1 data, 2 not serving, 3 reserved,
//! 4 fenced, 5 medium, 6 no space, 7 path, 8 miscompare, 9 mapped, 10 a hole (for these two the number of blocks stands for
//! where it differs; for the others that is 0).
//!
//! Whatever is counted stays below 2^63, so that counting on never overflows; extents end below that, too.

use nom::bytes::complete::tag as bytes;
use nom::combinator::{map, map_opt, verify};
use nom::error::Error;
use nom::number::complete::{le_u8, le_u32, le_u64};
use nom::sequence::{pair, terminated};
use nom::{IResult, Parser};
use sas_backend::Epoch;
use sas_backend::buffer::Payload;
use sas_backend::superblock::Record;

use super::control::{incarnation, whole};
use super::header::Kind;
use crate::block::{Contents, Extent, Millis, Stretch};
use crate::cache::Version;
use crate::head::{IoError, Operation};
use crate::message::{Forwarded, Message, Mode, PeerRole, PeerState, Tag};

/// Bytes of a Write's body.
pub(super) const WRITE_BYTES: usize = 48;
/// Bytes of a Forward's body.
pub(super) const FORWARD_BYTES: usize = 40;
/// The longest body in front of a payload.
pub(super) const LONGEST_WITH_PAYLOAD_BYTES: usize = WRITE_BYTES;
/// What is counted stays below this.
const COUNT_END: u64 = 1 << 63;

const MODES: [Mode; 6] =
    [Mode::Solo, Mode::Draining, Mode::Joining, Mode::Mirrored, Mode::Degrading, Mode::HandingOver];
const ENDS: [Forwarded; 10] = [
    Forwarded::Done,
    Forwarded::Data,
    Forwarded::NotServing,
    Forwarded::Failed(IoError::Fenced),
    Forwarded::Failed(IoError::Medium),
    Forwarded::Failed(IoError::NoSpace),
    Forwarded::Failed(IoError::Path),
    Forwarded::Miscompare(0),
    Forwarded::Map(Stretch { blocks: 0, mapped: true }),
    Forwarded::Map(Stretch { blocks: 0, mapped: false }),
];
const READ: u8 = 0;
const WRITE: u8 = 1;
const WRITE_FUA: u8 = 2;
const FLUSH: u8 = 3;
const COMPARE: u8 = 4;
const COMPARE_FUA: u8 = 5;
const OR: u8 = 6;
const OR_FUA: u8 = 7;
const MAP: u8 = 8;
const HOLE: u8 = 9;
const HOLE_FUA: u8 = 10;
const CLAIMS: [Option<bool>; 3] = [None, Some(false), Some(true)];

/// Exchanges the contents that a message carries, if it does; and so many blocks, where it says how many.
///
/// # Errors
/// Those of `exchange`.
pub fn exchange_data<A, B, E>(
    message: Message<A>,
    exchange: impl FnOnce(A, Option<u64>) -> Result<B, E>,
) -> Result<Message<B>, E> {
    Ok(match message {
        Message::State(state) => Message::State(state),
        Message::Invite(tag) => Message::Invite(tag),
        Message::Accepted(tag) => Message::Accepted(tag),
        Message::Write { tag, position, version, extent, data } => {
            Message::Write { tag, position, version, extent, data: exchange(data, Some(extent.blocks))? }
        }
        Message::Confirmed { tag, position } => Message::Confirmed { tag, position },
        Message::Release { tag, extent, version } => Message::Release { tag, extent, version },
        Message::Joined(tag) => Message::Joined(tag),
        Message::Handover { tag, from } => Message::Handover { tag, from },
        Message::TookOver(tag) => Message::TookOver(tag),
        Message::RequestHandover => Message::RequestHandover,
        Message::LeaseRequest { sent } => Message::LeaseRequest { sent },
        Message::LeaseGrant { sent } => Message::LeaseGrant { sent },
        Message::Measure => Message::Measure,
        Message::Measured { blocks } => Message::Measured { blocks },
        Message::Follow { blocks } => Message::Follow { blocks },
        Message::Followed { blocks } => Message::Followed { blocks },
        Message::Forward { number, heard, operation } => {
            let operation = match operation {
                Operation::Read(extent) => Operation::Read(extent),
                Operation::Map(extent) => Operation::Map(extent),
                Operation::Write { extent, data, fua } => {
                    Operation::Write { extent, data: exchange(data, Some(extent.blocks))?, fua }
                }
                Operation::CompareAndWrite { extent, data, fua } => {
                    let data = exchange(data, Some(extent.blocks.saturating_mul(2)))?;
                    Operation::CompareAndWrite { extent, data, fua }
                }
                Operation::Or { extent, data, fua } => {
                    Operation::Or { extent, data: exchange(data, Some(extent.blocks))?, fua }
                }
                Operation::Flush => Operation::Flush,
                Operation::Ask(question) => Operation::Ask(question),
            };
            Message::Forward { number, heard, operation }
        }
        Message::CancelForwarded { number } => Message::CancelForwarded { number },
        Message::Returned { number, data } => Message::Returned { number, data: exchange(data, None)? },
        Message::Forwarded { number, end } => Message::Forwarded { number, end },
        Message::Answer { number, answer } => Message::Answer { number, answer },
        Message::Record { number, record } => Message::Record { number, record },
        Message::RecordKnown { number } => Message::RecordKnown { number },
    })
}

/// The payload that a message carries.
pub(super) fn payload_of(message: &Message<Contents>) -> Option<&Payload> {
    match message {
        Message::Write { data: Contents::Bytes(payload), .. }
        | Message::Forward {
            operation:
                Operation::Write { data: Contents::Bytes(payload), .. }
                | Operation::CompareAndWrite { data: Contents::Bytes(payload), .. }
                | Operation::Or { data: Contents::Bytes(payload), .. },
            ..
        }
        | Message::Returned { data: Contents::Bytes(payload), .. } => Some(payload),
        _ => None,
    }
}

pub(super) fn kind_of(message: &Message<Contents>) -> Kind {
    match message {
        Message::Write { data: Contents::Hole { .. }, .. } => Kind::WriteHole,
        Message::Returned { data: Contents::Hole { .. }, .. } => Kind::ReturnedHole,
        Message::State(_) => Kind::State,
        Message::Invite(_) => Kind::Invite,
        Message::Accepted(_) => Kind::Accepted,
        Message::Write { .. } => Kind::Write,
        Message::Confirmed { .. } => Kind::Confirmed,
        Message::Release { .. } => Kind::Release,
        Message::Joined(_) => Kind::Joined,
        Message::Handover { .. } => Kind::Handover,
        Message::TookOver(_) => Kind::TookOver,
        Message::RequestHandover => Kind::RequestHandover,
        Message::LeaseRequest { .. } => Kind::LeaseRequest,
        Message::LeaseGrant { .. } => Kind::LeaseGrant,
        Message::Measure => Kind::Measure,
        Message::Measured { .. } => Kind::Measured,
        Message::Follow { .. } => Kind::Follow,
        Message::Followed { .. } => Kind::Followed,
        Message::Forward { operation: Operation::Ask(_), .. } => Kind::Ask,
        Message::Forward { .. } => Kind::Forward,
        Message::CancelForwarded { .. } => Kind::CancelForwarded,
        Message::Returned { .. } => Kind::Returned,
        Message::Forwarded { .. } => Kind::Forwarded,
        Message::Answer { .. } => Kind::Answer,
        Message::Record { .. } => Kind::Record,
        Message::RecordKnown { .. } => Kind::RecordKnown,
    }
}

/// The body.
pub(super) fn emit(message: &Message<Contents>, out: &mut Vec<u8>) {
    let mut put = |numbers: &[u64]| out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    let mut put_tagged = |tag: &Tag, numbers: &[u64]| {
        put(&[tag.epoch.0, tag.invitation]);
        put(numbers);
    };
    match message {
        Message::State(PeerState { role, epoch, dirty_blocks, sessions, blocks }) => {
            let [role, detail] = role_bytes(*role);
            let [a, b, c, d] = sessions.to_le_bytes();
            put(&[u64::from_le_bytes([role, detail, 0, 0, a, b, c, d]), epoch.0, *dirty_blocks, *blocks]);
        }
        Message::Invite(tag) | Message::Accepted(tag) | Message::Joined(tag) | Message::TookOver(tag) => {
            put_tagged(tag, &[]);
        }
        Message::Write { tag, position, version, extent, data: _ } => {
            put_tagged(tag, &[*position, version.0, extent.lba, extent.blocks]);
        }
        Message::Confirmed { tag, position } => put_tagged(tag, &[*position]),
        Message::Release { tag, extent, version } => put_tagged(tag, &[extent.lba, extent.blocks, version.0]),
        Message::Handover { tag, from } => put_tagged(tag, &[from.get()]),
        Message::RequestHandover | Message::Measure => {}
        Message::LeaseRequest { sent } | Message::LeaseGrant { sent } => put(&[sent.0]),
        Message::Measured { blocks } | Message::Follow { blocks } | Message::Followed { blocks } => put(&[*blocks]),
        Message::Forward { number, heard, operation: Operation::Ask(question) } => {
            put(&[*number, heard.0]);
            out.extend(&question[..]);
        }
        Message::Forward { number, heard, operation } => put(&forward_numbers(*number, *heard, operation)),
        Message::CancelForwarded { number } | Message::RecordKnown { number } => put(&[*number]),
        Message::Returned { number, data: Contents::Bytes(_) } => put(&[*number]),
        Message::Returned { number, data: Contents::Hole { blocks } } => put(&[*number, *blocks]),
        Message::Answer { number, answer } => {
            put(&[*number]);
            out.extend(&answer[..]);
        }
        Message::Record { number, record } => {
            put(&[*number, u64::from(record.kept)]);
            out.extend(&record.bytes[..]);
        }
        Message::Forwarded { number, end } => {
            let (end, at) = match end {
                Forwarded::Miscompare(at) => (Forwarded::Miscompare(0), *at),
                Forwarded::Map(stretch) => (Forwarded::Map(Stretch { blocks: 0, ..*stretch }), stretch.blocks),
                end => (*end, 0),
            };
            put(&[*number, u64::from(index_of(&ENDS, &end)), at]);
        }
    }
}

/// The numbers of a Forward's body.
fn forward_numbers(number: u64, heard: Millis, operation: &Operation<Contents>) -> [u64; 5] {
    let (operation, extent) = match operation {
        Operation::Read(extent) => (READ, Some(extent)),
        Operation::Map(extent) => (MAP, Some(extent)),
        Operation::Write { extent, fua: false, data: Contents::Hole { .. } } => (HOLE, Some(extent)),
        Operation::Write { extent, fua: true, data: Contents::Hole { .. } } => (HOLE_FUA, Some(extent)),
        Operation::Write { extent, fua: false, .. } => (WRITE, Some(extent)),
        Operation::Write { extent, fua: true, .. } => (WRITE_FUA, Some(extent)),
        Operation::CompareAndWrite { extent, fua: false, .. } => (COMPARE, Some(extent)),
        Operation::CompareAndWrite { extent, fua: true, .. } => (COMPARE_FUA, Some(extent)),
        Operation::Or { extent, fua: false, .. } => (OR, Some(extent)),
        Operation::Or { extent, fua: true, .. } => (OR_FUA, Some(extent)),
        Operation::Flush | Operation::Ask(_) => (FLUSH, None),
    };
    let (lba, blocks) = extent.map_or((0, 0), |extent| (extent.lba, extent.blocks));
    [number, heard.0, u64::from(operation), lba, blocks]
}

/// `None` if the body makes no sense, or the kind is not a message.
pub(super) fn parse(kind: Kind, body: &[u8], payload: Option<Payload>) -> Option<Message<Contents>> {
    let data = payload.map(Contents::Bytes);
    match kind {
        Kind::State => whole(state, body).map(Message::State),
        Kind::Invite => whole(tag, body).map(Message::Invite),
        Kind::Accepted => whole(tag, body).map(Message::Accepted),
        Kind::Write | Kind::WriteHole => {
            let ((tag, position), (version, extent)) = whole(pair(pair(tag, count), pair(version, extent)), body)?;
            let data = if kind == Kind::WriteHole { Some(Contents::Hole { blocks: extent.blocks }) } else { data };
            Some(Message::Write { tag, position, version, extent, data: data? })
        }
        Kind::Confirmed => whole(pair(tag, count), body).map(|(tag, position)| Message::Confirmed { tag, position }),
        Kind::Release => {
            let (tag, (extent, version)) = whole(pair(tag, pair(extent, version)), body)?;
            Some(Message::Release { tag, extent, version })
        }
        Kind::Joined => whole(tag, body).map(Message::Joined),
        Kind::Handover => whole(pair(tag, incarnation), body).map(|(tag, from)| Message::Handover { tag, from }),
        Kind::TookOver => whole(tag, body).map(Message::TookOver),
        Kind::RequestHandover => body.is_empty().then_some(Message::RequestHandover),
        Kind::LeaseRequest => whole(le_u64, body).map(|sent| Message::LeaseRequest { sent: Millis(sent) }),
        Kind::LeaseGrant => whole(le_u64, body).map(|sent| Message::LeaseGrant { sent: Millis(sent) }),
        Kind::Measure => body.is_empty().then_some(Message::Measure),
        Kind::Measured => whole(count, body).map(|blocks| Message::Measured { blocks }),
        Kind::Follow => whole(count, body).map(|blocks| Message::Follow { blocks }),
        Kind::Followed => whole(count, body).map(|blocks| Message::Followed { blocks }),
        Kind::Forward => {
            let ((number, heard), operation) = whole(pair(pair(count, le_u64), operation), body)?;
            let operation = match (operation, data) {
                ((READ, Some(extent)), None) => Operation::Read(extent),
                ((MAP, Some(extent)), None) => Operation::Map(extent),
                ((WRITE, Some(extent)), Some(data)) => Operation::Write { extent, data, fua: false },
                ((WRITE_FUA, Some(extent)), Some(data)) => Operation::Write { extent, data, fua: true },
                ((hole @ (HOLE | HOLE_FUA), Some(extent)), None) => {
                    let data = Contents::Hole { blocks: extent.blocks };
                    Operation::Write { extent, data, fua: hole == HOLE_FUA }
                }
                ((COMPARE, Some(extent)), Some(data)) => Operation::CompareAndWrite { extent, data, fua: false },
                ((COMPARE_FUA, Some(extent)), Some(data)) => Operation::CompareAndWrite { extent, data, fua: true },
                ((OR, Some(extent)), Some(data)) => Operation::Or { extent, data, fua: false },
                ((OR_FUA, Some(extent)), Some(data)) => Operation::Or { extent, data, fua: true },
                ((FLUSH, None), None) => Operation::Flush,
                _ => return None,
            };
            Some(Message::Forward { number, heard: Millis(heard), operation })
        }
        Kind::CancelForwarded => whole(count, body).map(|number| Message::CancelForwarded { number }),
        Kind::Returned => {
            let number = whole(count, body)?;
            Some(Message::Returned { number, data: data? })
        }
        Kind::ReturnedHole => {
            let (number, blocks) = whole(pair(count, count), body)?;
            (blocks > 0).then_some(Message::Returned { number, data: Contents::Hole { blocks } })
        }
        Kind::Ask => {
            let (question, (number, heard)) = pair(count, le_u64::<_, Error<&[u8]>>).parse_complete(body).ok()?;
            Some(Message::Forward { number, heard: Millis(heard), operation: Operation::Ask(question.into()) })
        }
        Kind::Answer => {
            let (answer, number) = count(body).ok()?;
            Some(Message::Answer { number, answer: answer.into() })
        }
        Kind::Record => {
            let (record, (number, kept)) = pair(count, count).parse_complete(body).ok()?;
            let kept = u32::try_from(kept).ok().filter(|kept| *kept as usize <= record.len())?;
            Some(Message::Record { number, record: Record { kept, bytes: record.into() } })
        }
        Kind::RecordKnown => whole(count, body).map(|number| Message::RecordKnown { number }),
        Kind::Forwarded => whole(pair(count, end), body).map(|(number, end)| Message::Forwarded { number, end }),
        _ => None,
    }
}

fn role_bytes(role: PeerRole) -> [u8; 2] {
    let (role, detail) = match role {
        PeerRole::Starting => (0, 0),
        PeerRole::Standby { claim } => (1, index_of(&CLAIMS, &claim)),
        PeerRole::Changing => (2, 0),
        PeerRole::Owner(mode) => (3, index_of(&MODES, &mode)),
    };
    [role, detail]
}

fn index_of<T: PartialEq>(table: &[T], value: &T) -> u8 {
    #[expect(clippy::expect_used, reason = "the golden bytes show every value")]
    (0..).zip(table).find(|(_, entry)| *entry == value).expect("the table has every value").0
}

fn role(input: &[u8]) -> IResult<&[u8], PeerRole> {
    let of = |(role, detail): (u8, u8)| match (role, usize::from(detail)) {
        (0, 0) => Some(PeerRole::Starting),
        (1, claim) => CLAIMS.get(claim).map(|&claim| PeerRole::Standby { claim }),
        (2, 0) => Some(PeerRole::Changing),
        (3, mode) => MODES.get(mode).copied().map(PeerRole::Owner),
        _ => None,
    };
    terminated(map_opt(pair(le_u8, le_u8), of), bytes(&[0; 2][..])).parse_complete(input)
}

fn state(input: &[u8]) -> IResult<&[u8], PeerState> {
    let (rest, (role, sessions)) = pair(role, le_u32).parse_complete(input)?;
    let (rest, (epoch, (dirty_blocks, blocks))) = pair(count, pair(count, count)).parse_complete(rest)?;
    Ok((rest, PeerState { role, epoch: Epoch(epoch), dirty_blocks, sessions, blocks }))
}

fn count(input: &[u8]) -> IResult<&[u8], u64> {
    verify(le_u64, |&number| number < COUNT_END).parse_complete(input)
}

fn tag(input: &[u8]) -> IResult<&[u8], Tag> {
    map(pair(count, count), |(epoch, invitation)| Tag { epoch: Epoch(epoch), invitation }).parse_complete(input)
}

fn version(input: &[u8]) -> IResult<&[u8], Version> {
    map(count, Version).parse_complete(input)
}

fn extent(input: &[u8]) -> IResult<&[u8], Extent> {
    let of = |(lba, blocks): (u64, u64)| (blocks > 0 && lba + blocks <= COUNT_END).then(|| Extent::new(lba, blocks));
    map_opt(pair(count, count), of).parse_complete(input)
}

/// The operation and, but for a flush, its extent.
fn operation(input: &[u8]) -> IResult<&[u8], (u8, Option<Extent>)> {
    let of = |(operation, (lba, blocks)): (u8, (u64, u64))| match (operation, blocks) {
        (FLUSH, 0) if lba == 0 => Some((operation, None)),
        (READ..=WRITE_FUA | COMPARE..=HOLE_FUA, 1..) if lba + blocks <= COUNT_END => {
            Some((operation, Some(Extent::new(lba, blocks))))
        }
        _ => None,
    };
    map_opt(pair(small, pair(count, count)), of).parse_complete(input)
}

fn end(input: &[u8]) -> IResult<&[u8], Forwarded> {
    let of = |(end, at): (u8, u64)| match (ENDS.get(usize::from(end))?, at) {
        (Forwarded::Miscompare(_), at) => Some(Forwarded::Miscompare(at)),
        (Forwarded::Map(stretch), blocks @ 1..) => Some(Forwarded::Map(Stretch { blocks, ..*stretch })),
        (Forwarded::Map(_), _) => None,
        (end, 0) => Some(*end),
        _ => None,
    };
    map_opt(pair(small, count), of).parse_complete(input)
}

/// A byte with seven zeroes behind it.
fn small(input: &[u8]) -> IResult<&[u8], u8> {
    terminated(le_u8, bytes(&[0; 7][..])).parse_complete(input)
}
