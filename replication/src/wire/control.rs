//! The bodies of frames about the connection and about the links of single units.
//!
//! | kind | frame | body |
//! | --- | --- | --- |
//! | 1 | Hello | head (1 byte: 1 head a, 2 head b), 7 zero, incarnation (8), nonce (32), digest (32) |
//! | 2 | Proof | 32 bytes |
//! | 3 | Agreement | complete (1: 0 or 1), then per setting: length (2), key, length (2), value; ascending by key |
//! | 4 | Ready | - |
//! | 5 | Refuse | up to 512 bytes of UTF-8 |
//! | 6 | Ping | number (8) |
//! | 7 | Pong | number (8) |
//! | 8 | UnitOpen | echo (8), 0 none; then the settings of the unit ([`super::settings`]) |
//! | 9 | UnitClosed | - |

use std::collections::BTreeMap;

use nom::bytes::complete::{tag, take};
use nom::combinator::{all_consuming, map_opt, map_res, rest};
use nom::multi::{length_data, many0};
use nom::number::complete::{le_u8, le_u16, le_u64};
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};
use sas_backend::{HeadId, Incarnation};

use super::header::Kind;
use super::{Frame, Generation, UnitSettings};

/// Bytes of a Hello.
pub const HELLO_BYTES: usize = 80;
/// The longest Agreement.
pub const MAX_AGREEMENT_BYTES: usize = 64 << 10;
/// The longest reason of a Refuse.
pub const MAX_REFUSAL_BYTES: usize = 512;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which head.
    pub head: HeadId,
    /// Its process.
    pub incarnation: Incarnation,
    /// 32 bytes that were never used before.
    pub nonce: [u8; 32],
    /// SHA-256 of what both configurations must say alike.
    pub digest: [u8; 32],
}

/// What a head's configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Settings and their values: all, or the first in order of their keys.
    pub settings: BTreeMap<String, String>,
    /// Whether these are all.
    pub complete: bool,
}

impl Hello {
    pub(crate) fn emit(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[0] = head_number(self.head);
        bytes[8..16].copy_from_slice(&self.incarnation.get().to_le_bytes());
        bytes[16..48].copy_from_slice(&self.nonce);
        bytes[48..].copy_from_slice(&self.digest);
        bytes
    }
}

impl Agreement {
    /// As many of `settings` as fit.
    #[must_use]
    pub fn of(settings: &BTreeMap<String, String>) -> Self {
        let mut room = MAX_AGREEMENT_BYTES - 1;
        let fitting = settings.iter().map_while(|(key, value)| {
            let fits = key.len().max(value.len()) <= usize::from(u16::MAX);
            room = room.checked_sub(4 + key.len() + value.len()).filter(|_| fits)?;
            Some((key.clone(), value.clone()))
        });
        let fitting: BTreeMap<_, _> = fitting.collect();
        Self { complete: fitting.len() == settings.len(), settings: fitting }
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.complete));
        for text in self.settings.iter().flat_map(|(key, value)| [key, value]) {
            #[expect(
                clippy::expect_used,
                reason = "Agreement::of leaves longer ones out, and no longer one can be parsed"
            )]
            out.extend(u16::try_from(text.len()).expect("settings are short").to_le_bytes());
            out.extend(text.as_bytes());
        }
    }
}

/// The beginning of `why` that a Refuse has room for.
pub(super) fn shortened(why: &str) -> &str {
    &why[..why.floor_char_boundary(MAX_REFUSAL_BYTES)]
}

/// 1 for a, 2 for b, as in the superblock.
pub(crate) fn head_number(head: HeadId) -> u8 {
    match head {
        HeadId::A => 1,
        HeadId::B => 2,
    }
}

/// A frame about the connection; `None` if the body makes no sense.
pub(super) fn parse(kind: Kind, body: &[u8]) -> Option<Frame> {
    match kind {
        Kind::Hello => whole(hello, body).map(Frame::Hello),
        Kind::Proof => whole(bytes_32, body).map(Frame::Proof),
        Kind::Agreement => whole(agreement, body).map(Frame::Agreement),
        Kind::Ready => body.is_empty().then_some(Frame::Ready),
        Kind::Refuse => whole(map_res(rest, utf8), body).map(|why| Frame::Refuse { why }),
        Kind::Ping => whole(le_u64, body).map(|number| Frame::Ping { number }),
        Kind::Pong => whole(le_u64, body).map(|number| Frame::Pong { number }),
        _ => None,
    }
}

/// A frame about a unit's link; `None` if it is something else or makes no sense.
pub(super) fn parse_of_unit(kind: Kind, unit: u32, generation: Generation, body: &[u8]) -> Option<Frame> {
    match kind {
        Kind::UnitOpen => {
            let (echo, settings) = whole(pair(le_u64, UnitSettings::parse), body)?;
            Some(Frame::UnitOpen { unit, generation, echo: Generation::new(echo), settings })
        }
        Kind::UnitClosed => body.is_empty().then_some(Frame::UnitClosed { unit, generation }),
        _ => None,
    }
}

/// What `parser` makes of all of `body`.
pub(super) fn whole<'a, P>(parser: P, body: &'a [u8]) -> Option<P::Output>
where
    P: Parser<&'a [u8], Error = nom::error::Error<&'a [u8]>>,
{
    all_consuming(parser).parse_complete(body).ok().map(|(_, parsed)| parsed)
}

fn hello(input: &[u8]) -> IResult<&[u8], Hello> {
    let (rest, head) = map_opt(le_u8, |number| HeadId::BOTH.into_iter().find(|head| head_number(*head) == number))
        .parse_complete(input)?;
    let (rest, incarnation) = preceded(tag(&[0; 7][..]), incarnation).parse_complete(rest)?;
    let (rest, nonce) = bytes_32(rest)?;
    let (rest, digest) = bytes_32(rest)?;
    Ok((rest, Hello { head, incarnation, nonce, digest }))
}

pub(super) fn incarnation(input: &[u8]) -> IResult<&[u8], Incarnation> {
    map_opt(le_u64, Incarnation::new).parse_complete(input)
}

fn bytes_32(input: &[u8]) -> IResult<&[u8], [u8; 32]> {
    map_res(take(32_usize), <[u8; 32]>::try_from).parse_complete(input)
}

fn agreement(input: &[u8]) -> IResult<&[u8], Agreement> {
    let (rest, complete) =
        map_opt(le_u8, |byte| [false, true].get(usize::from(byte)).copied()).parse_complete(input)?;
    let (rest, settings) = settings(rest)?;
    Ok((rest, Agreement { settings, complete }))
}

/// Settings and their values, ascending by key.
pub(super) fn settings(input: &[u8]) -> IResult<&[u8], BTreeMap<String, String>> {
    let (rest, settings) = many0(pair(text, text)).parse_complete(input)?;
    if !settings.is_sorted_by(|(before, _), (after, _)| before < after) {
        return Err(nom::Err::Failure(nom::error::Error::new(input, nom::error::ErrorKind::Verify)));
    }
    Ok((rest, settings.into_iter().collect()))
}

fn text(input: &[u8]) -> IResult<&[u8], String> {
    map_res(length_data(le_u16), utf8).parse_complete(input)
}

fn utf8(bytes: &[u8]) -> Result<String, std::str::Utf8Error> {
    std::str::from_utf8(bytes).map(str::to_owned)
}
