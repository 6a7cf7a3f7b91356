//! The parameter list of EXTENDED COPY(LID1) (SPC-4): a header, CSCD descriptors that say between which
//! units, segment descriptors that say what. Of these there is one type each: the identification descriptor (E4h) and
//! block device to block device (02h).
//!
//! | header | |
//! | --- | --- |
//! | 0 | LIST IDENTIFIER |
//! | 1 | STR (bit 5), LIST ID USAGE (bits 3 and 4), PRIORITY |
//! | 2 to 3 | CSCD DESCRIPTOR LIST LENGTH |
//! | 8 to 11 | SEGMENT DESCRIPTOR LIST LENGTH |
//! | 12 to 15 | INLINE DATA LENGTH |
//!
//! | CSCD | |
//! | --- | --- |
//! | 0 | E4h |
//! | 1 | PERIPHERAL DEVICE TYPE (bits 0 to 4) |
//! | 4 | CODE SET (bits 0 to 3) |
//! | 5 | ASSOCIATION (bits 4 and 5), DESIGNATOR TYPE (bits 0 to 3) |
//! | 7 | DESIGNATOR LENGTH |
//! | 8 to 27 | DESIGNATOR |
//! | 29 to 31 | DISK BLOCK LENGTH |
//!
//! | segment | |
//! | --- | --- |
//! | 0 | 02h |
//! | 1 | DC (bit 1), CAT (bit 0) |
//! | 2 to 3 | DESCRIPTOR LENGTH, 24 |
//! | 4 to 5, 6 to 7 | SOURCE and DESTINATION CSCD DESCRIPTOR ID |
//! | 10 to 11 | BLOCK DEVICE NUMBER OF BLOCKS |
//! | 12 to 19, 20 to 27 | SOURCE and DESTINATION BLOCK DEVICE LOGICAL BLOCK ADDRESS |
//!
//! STR and PRIORITY make no difference, nor do CAT and PAD where nothing is left over, and nothing may be. The RELATIVE
//! INITIATOR PORT IDENTIFIER is for units that are not reached from within, and LU ID TYPE and NUL are obsolete.

use nom::bytes::complete::take;
use nom::combinator::map;
use nom::number::complete::{be_u8, be_u16, be_u24, be_u32, be_u64};
use nom::{IResult, Parser};

use super::{MAX_CSCDS, MAX_DESCRIPTOR_BYTES, MAX_SEGMENTS};
use crate::scsi::sense::{Sense, SenseCode};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a CSCD descriptor.
pub const CSCD_BYTES: usize = 32;
/// Bytes of a segment descriptor.
pub const SEGMENT_BYTES: usize = 28;
/// DESCRIPTOR TYPE CODE of the identification descriptor.
pub const IDENTIFICATION: u8 = 0xE4;
/// DESCRIPTOR TYPE CODE of block device to block device.
pub const BLOCK_TO_BLOCK: u8 = 0x02;
/// Where a CSCD descriptor has its DESIGNATOR LENGTH.
const DESIGNATOR_LENGTH: usize = 7;
/// The longest designator.
const DESIGNATOR_BYTES: u8 = 20;
/// Where a segment descriptor has its DESCRIPTOR LENGTH, which does not count the bytes up to its own end.
const DESCRIPTOR_LENGTH: usize = 2;

/// A parameter list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterList {
    /// LIST IDENTIFIER; `None` if LIST ID USAGE says that it is not used.
    pub identifier: Option<u8>,
    /// Between which units.
    pub cscds: Vec<Cscd>,
    /// What, in order.
    pub segments: Vec<Segment>,
}

/// A copy source or copy destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cscd {
    /// Where in the list it begins.
    pub at: u16,
    /// PERIPHERAL DEVICE TYPE.
    pub device_type: u8,
    /// CODE SET.
    pub code_set: u8,
    /// ASSOCIATION.
    pub association: u8,
    /// DESIGNATOR TYPE.
    pub designator_type: u8,
    /// DESIGNATOR.
    pub designator: Vec<u8>,
    /// DISK BLOCK LENGTH.
    pub block_bytes: u32,
}

/// Blocks to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the list it begins.
    pub at: u16,
    /// DC: `blocks` counts those of the destination.
    pub destination_count: bool,
    /// SOURCE CSCD DESCRIPTOR ID.
    pub source: u16,
    /// DESTINATION CSCD DESCRIPTOR ID.
    pub destination: u16,
    /// BLOCK DEVICE NUMBER OF BLOCKS.
    pub blocks: u16,
    /// SOURCE BLOCK DEVICE LOGICAL BLOCK ADDRESS.
    pub source_lba: u64,
    /// DESTINATION BLOCK DEVICE LOGICAL BLOCK ADDRESS.
    pub destination_lba: u64,
}

struct Header {
    identifier: u8,
    usage: u8,
    cscd_bytes: usize,
    segment_bytes: usize,
    inline_bytes: usize,
}

/// The list of a command whose PARAMETER LIST LENGTH is `length`; `None` for no list, which is nothing to do.
///
/// # Errors
/// What is wrong with it; nothing is copied then.
pub fn parse(length: u32, data: Option<&[u8]>) -> Result<Option<ParameterList>, Sense> {
    if length == 0 {
        return Ok(None);
    }
    let wrong_length = || Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let list = data.unwrap_or_default().get(..length).ok_or_else(wrong_length)?;
    let (rest, header) = header(list).map_err(|_| wrong_length())?;
    if header.cscd_bytes.saturating_add(header.segment_bytes) > MAX_DESCRIPTOR_BYTES {
        return Err(wrong_length());
    }
    if header.inline_bytes > 0 {
        return Err(SenseCode::INLINE_DATA_LENGTH_EXCEEDED.into());
    }
    if rest.len() != header.cscd_bytes + header.segment_bytes {
        return Err(wrong_length());
    }
    let identifier = match (header.usage, header.identifier) {
        (0b00 | 0b10, identifier) => Some(identifier),
        (0b11, 0) => None,
        (0b11, _) => return Err(Sense::invalid_parameter(0)),
        _ => return Err(Sense::invalid_parameter(1)),
    };
    let (cscds, segments) = rest.split_at(header.cscd_bytes);
    let cscds = descriptors(HEADER_BYTES, cscds, &CSCDS)?;
    let segments = descriptors(HEADER_BYTES + header.cscd_bytes, segments, &SEGMENTS)?;
    Ok(Some(ParameterList { identifier, cscds, segments }))
}

/// What a list of descriptors consists of.
struct Descriptors<T> {
    code: u8,
    unsupported: SenseCode,
    bytes: usize,
    max: usize,
    too_many: SenseCode,
    check: fn(&[u8]) -> Result<(), usize>,
    parse: fn(u16, &[u8]) -> IResult<&[u8], T>,
}

const CSCDS: Descriptors<Cscd> = Descriptors {
    code: IDENTIFICATION,
    unsupported: SenseCode::UNSUPPORTED_CSCD_DESCRIPTOR,
    bytes: CSCD_BYTES,
    max: MAX_CSCDS,
    too_many: SenseCode::TOO_MANY_CSCD_DESCRIPTORS,
    check: |bytes| if bytes[DESIGNATOR_LENGTH] <= DESIGNATOR_BYTES { Ok(()) } else { Err(DESIGNATOR_LENGTH) },
    parse: cscd,
};

const SEGMENTS: Descriptors<Segment> = Descriptors {
    code: BLOCK_TO_BLOCK,
    unsupported: SenseCode::UNSUPPORTED_SEGMENT_DESCRIPTOR,
    bytes: SEGMENT_BYTES,
    max: MAX_SEGMENTS,
    too_many: SenseCode::TOO_MANY_SEGMENT_DESCRIPTORS,
    check: |bytes| {
        let length = usize::from(u16::from_be_bytes([bytes[DESCRIPTOR_LENGTH], bytes[DESCRIPTOR_LENGTH + 1]]));
        if length == SEGMENT_BYTES - DESCRIPTOR_LENGTH - 2 { Ok(()) } else { Err(DESCRIPTOR_LENGTH) }
    },
    parse: segment,
};

/// All of `list`, which begins at byte `at` of the parameter list.
fn descriptors<T>(mut at: usize, mut list: &[u8], of: &Descriptors<T>) -> Result<Vec<T>, Sense> {
    let mut found = Vec::new();
    while let Some(&code) = list.first() {
        let pointer = |byte: usize| u16::try_from(byte).expect("the list is bounded");
        if code != of.code {
            return Err(Sense::from(of.unsupported).at_parameter(pointer(at)));
        }
        if found.len() == of.max {
            return Err(of.too_many.into());
        }
        let (descriptor, rest) = list.split_at_checked(of.bytes).ok_or(SenseCode::PARAMETER_LIST_LENGTH_ERROR)?;
        (of.check)(descriptor).map_err(|byte| Sense::invalid_parameter(pointer(at + byte)))?;
        let (_, parsed) = (of.parse)(pointer(at), descriptor).map_err(|_| SenseCode::PARAMETER_LIST_LENGTH_ERROR)?;
        found.push(parsed);
        list = rest;
        at += of.bytes;
    }
    Ok(found)
}

fn header(list: &[u8]) -> IResult<&[u8], Header> {
    let bytes = |length: u32| usize::try_from(length).unwrap_or(usize::MAX);
    map(
        (be_u8, be_u8, be_u16, take(4_usize), be_u32, be_u32),
        move |(identifier, flags, cscds, _, segments, inline)| Header {
            identifier,
            usage: flags >> 3 & 0b11,
            cscd_bytes: cscds.into(),
            segment_bytes: bytes(segments),
            inline_bytes: bytes(inline),
        },
    )
    .parse(list)
}

type Fields<'a> = (u8, u8, u16, u8, u8, u8, u8, &'a [u8], u8, u32);

fn cscd(at: u16, descriptor: &[u8]) -> IResult<&[u8], Cscd> {
    map(
        (be_u8, be_u8, be_u16, be_u8, be_u8, be_u8, be_u8, take(usize::from(DESIGNATOR_BYTES)), be_u8, be_u24),
        |(_, device_type, _, code_set, kind, _, length, designator, _, block_bytes): Fields<'_>| Cscd {
            at,
            device_type: device_type & 0x1F,
            code_set: code_set & 0x0F,
            association: kind >> 4 & 0b11,
            designator_type: kind & 0x0F,
            designator: designator.iter().take(length.into()).copied().collect(),
            block_bytes,
        },
    )
    .parse(descriptor)
}

fn segment(at: u16, descriptor: &[u8]) -> IResult<&[u8], Segment> {
    map(
        (be_u8, be_u8, be_u16, be_u16, be_u16, be_u16, be_u16, be_u64, be_u64),
        |(_, flags, _, source, destination, _, blocks, source_lba, destination_lba)| Segment {
            at,
            destination_count: flags & 0x02 != 0,
            source,
            destination,
            blocks,
            source_lba,
            destination_lba,
        },
    )
    .parse(descriptor)
}

#[cfg(test)]
pub(in crate::scsi) mod tests;
