//! Reading and writing the fields of a basic header segment in the order in which RFC 7143 11 draws them.

use nom::bytes::complete::take;
use nom::number::complete::{be_u16, be_u32, be_u64, u8};
use nom::{IResult, Parser};

use super::{BHS_BYTES, CmdSn, Itt, StatSn, Ttt};

/// What a field parser returns.
pub(super) type Parsed<'a, T> = IResult<&'a [u8], T>;

/// The immediate delivery bit of byte 0 (RFC 7143 11.2.1.1).
pub(super) const IMMEDIATE: u8 = 0x40;
/// The final bit of byte 1 (RFC 7143 11.2.1.3).
pub(super) const FINAL: u8 = 0x80;

/// Bytes 0 to 7: opcode and opcode-specific bytes; the lengths are the framer's business and skipped here.
pub(super) struct Start {
    pub(super) immediate: bool,
    pub(super) flags: u8,
    pub(super) byte2: u8,
    pub(super) byte3: u8,
}

/// What every answer after a status carries at bytes 24 to 35.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Numbers {
    /// This answer's number; for an R2T and a Data-In without status the next one.
    pub stat_sn: StatSn,
    /// The command number that the target expects next.
    pub exp_cmd_sn: CmdSn,
    /// The last command number that the target takes.
    pub max_cmd_sn: CmdSn,
}

pub(super) fn start(input: &[u8]) -> Parsed<'_, Start> {
    let (rest, (opcode, flags, byte2, byte3, _)) = (u8, u8, u8, u8, be_u32).parse(input)?;
    Ok((rest, Start { immediate: opcode & IMMEDIATE != 0, flags, byte2, byte3 }))
}

pub(super) fn lun(input: &[u8]) -> Parsed<'_, u64> {
    be_u64(input)
}

pub(super) fn itt(input: &[u8]) -> Parsed<'_, Itt> {
    be_u32.map(Itt).parse(input)
}

pub(super) fn ttt(input: &[u8]) -> Parsed<'_, Ttt> {
    be_u32.map(Ttt).parse(input)
}

pub(super) fn cmd_sn(input: &[u8]) -> Parsed<'_, CmdSn> {
    be_u32.map(CmdSn).parse(input)
}

pub(super) fn stat_sn(input: &[u8]) -> Parsed<'_, StatSn> {
    be_u32.map(StatSn).parse(input)
}

pub(super) fn numbers(input: &[u8]) -> Parsed<'_, Numbers> {
    (stat_sn, cmd_sn, cmd_sn)
        .map(|(stat_sn, exp_cmd_sn, max_cmd_sn)| Numbers { stat_sn, exp_cmd_sn, max_cmd_sn })
        .parse(input)
}

pub(super) fn isid(input: &[u8]) -> Parsed<'_, [u8; 6]> {
    let (rest, (high, low)) = (be_u16, be_u32).parse(input)?;
    let [_, _, isid @ ..] = (u64::from(high) << 32 | u64::from(low)).to_be_bytes();
    Ok((rest, isid))
}

/// Skip `count` reserved bytes: a receiver ignores them (RFC 7143 11.1).
pub(super) fn reserved<'a>(count: usize) -> impl Parser<&'a [u8], Output = (), Error = nom::error::Error<&'a [u8]>> {
    take(count).map(|_| ())
}

/// Fills 48 bytes from the front; what is not written stays zero.
pub(super) struct BhsWriter {
    bytes: [u8; BHS_BYTES],
    at: usize,
}

impl BhsWriter {
    /// Bytes 0 to 7, the lengths zero: they are set when the data segment is attached.
    pub(super) fn new(opcode: u8, immediate: bool, flags: u8, byte2: u8, byte3: u8) -> Self {
        let writer = Self { bytes: [0; BHS_BYTES], at: 0 };
        let immediate = if immediate { IMMEDIATE } else { 0 };
        writer.bytes(&[opcode | immediate, flags, byte2, byte3]).reserved(4)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    pub(super) fn reserved(mut self, count: usize) -> Self {
        self.at += count;
        self
    }

    pub(super) fn be16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn be32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn be64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn numbers(self, numbers: &Numbers) -> Self {
        self.be32(numbers.stat_sn.0).be32(numbers.exp_cmd_sn.0).be32(numbers.max_cmd_sn.0)
    }

    pub(super) fn finish(self) -> [u8; BHS_BYTES] {
        self.bytes
    }
}

/// `bit` when `set`, else nothing.
pub(super) fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}
