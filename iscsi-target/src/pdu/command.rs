//! SCSI Command with its additional header segments, and SCSI Response (RFC 7143 11.2.2, 11.3, 11.4).

use nom::Parser;
use nom::bytes::complete::take;
use nom::multi::length_data;
use nom::number::complete::{be_u16, be_u32, u8};

use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed, flag};
use super::{BHS_BYTES, CmdSn, Header, Itt, StatSn, opcode};

const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const AHS_EXTENDED_CDB: u8 = 1;
const AHS_BIDIRECTIONAL_READ_LENGTH: u8 = 2;
/// CDB bytes in the basic header segment.
const CDB_BYTES: usize = 16;
/// The longest CDB that SPC-4 4.2.4 allows.
pub const MAX_CDB_BYTES: usize = 260;

/// ATTR (RFC 7143 11.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// Code 0: no attribute; served as simple.
    Untagged,
    /// Simple.
    Simple,
    /// Ordered.
    Ordered,
    /// Head of queue.
    HeadOfQueue,
    /// ACA.
    Aca,
    /// Codes 5 to 7.
    Reserved(u8),
}

/// A CDB for a logical unit, with immediate data in the data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiCommand {
    /// Immediate delivery.
    pub immediate: bool,
    /// F: no unsolicited Data-Out follows.
    pub is_final: bool,
    /// R: Data-In is expected.
    pub read: bool,
    /// W: Data-Out is expected.
    pub write: bool,
    /// ATTR.
    pub attribute: Attribute,
    /// The logical unit.
    pub lun: u64,
    /// The task.
    pub itt: Itt,
    /// Bytes that the initiator expects to be transferred; of a bidirectional command the Data-Out part.
    pub expected_data_transfer_length: u32,
    /// The command number.
    pub cmd_sn: CmdSn,
    /// The answer number that the initiator expects next.
    pub exp_stat_sn: StatSn,
    /// 16 bytes, or more with an extended CDB.
    pub cdb: Vec<u8>,
    /// Bytes of Data-In that a bidirectional command expects.
    pub bidirectional_read_length: Option<u32>,
}

/// Which residual count means what (RFC 7143 11.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Residual {
    /// As much as expected.
    #[default]
    None,
    /// O: that many bytes were not transferred because the initiator expected too few.
    Overflow(u32),
    /// U: that many bytes fewer than expected.
    Underflow(u32),
}

/// The iSCSI response code (RFC 7143 11.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceResponse {
    /// `status` is valid.
    CommandCompleted,
    /// The target could not serve the command.
    TargetFailure,
    /// Any other code.
    Other(u8),
}

/// The end of a command. The data segment is sense data behind its length, see [`emit_sense`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// iSCSI response code.
    pub response: ServiceResponse,
    /// SAM status byte.
    pub status: u8,
    /// The task.
    pub itt: Itt,
    /// Zero at error recovery level 0.
    pub snack_tag: u32,
    /// Sequence numbers.
    pub numbers: Numbers,
    /// How many Data-In and R2T PDUs the task had.
    pub exp_data_sn: u32,
    /// Of the Data-In of a bidirectional command.
    pub bidirectional_read_residual: Residual,
    /// Of everything else.
    pub residual: Residual,
}

impl Attribute {
    fn of(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::Untagged,
            1 => Self::Simple,
            2 => Self::Ordered,
            3 => Self::HeadOfQueue,
            4 => Self::Aca,
            code => Self::Reserved(code),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Untagged => 0,
            Self::Simple => 1,
            Self::Ordered => 2,
            Self::HeadOfQueue => 3,
            Self::Aca => 4,
            Self::Reserved(code) => code & 7,
        }
    }
}

impl Residual {
    /// What a transfer of `wanted` bytes leaves over when `expected` bytes were announced.
    #[must_use]
    pub fn between(expected: u32, wanted: u64) -> Self {
        let count = u32::try_from(wanted.abs_diff(u64::from(expected))).unwrap_or(u32::MAX);
        match wanted.cmp(&u64::from(expected)) {
            std::cmp::Ordering::Equal => Self::None,
            std::cmp::Ordering::Greater => Self::Overflow(count),
            std::cmp::Ordering::Less => Self::Underflow(count),
        }
    }

    /// From the O and U bits, and back. O and U together are invalid; U is looked at first.
    pub(super) fn of(overflow: bool, underflow: bool, count: u32) -> Self {
        match (overflow, underflow) {
            (_, true) => Self::Underflow(count),
            (true, false) => Self::Overflow(count),
            (false, false) => Self::None,
        }
    }

    pub(super) fn flags(self, overflow: u8, underflow: u8) -> u8 {
        match self {
            Self::None => 0,
            Self::Overflow(_) => overflow,
            Self::Underflow(_) => underflow,
        }
    }

    pub(super) fn count(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Overflow(count) | Self::Underflow(count) => count,
        }
    }
}

impl ScsiCommand {
    pub(super) fn parse(header: &Header) -> Option<Self> {
        let (_, mut command) = Self::parse_bhs(&header.bhs).ok()?;
        let mut ahs = header.ahs.as_slice();
        while !ahs.is_empty() {
            let (rest, (kind, specific)) = additional_header(ahs).ok()?;
            command.take_additional_header(kind, specific)?;
            ahs = rest;
        }
        Some(command)
    }

    fn parse_bhs(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, lun, itt, expected_data_transfer_length, cmd_sn, exp_stat_sn, cdb)) =
            (wire::start, wire::lun, wire::itt, be_u32, wire::cmd_sn, wire::stat_sn, take(CDB_BYTES)).parse(bhs)?;
        let command = Self {
            immediate: start.immediate,
            is_final: start.flags & FINAL != 0,
            read: start.flags & READ != 0,
            write: start.flags & WRITE != 0,
            attribute: Attribute::of(start.flags),
            lun,
            itt,
            expected_data_transfer_length,
            cmd_sn,
            exp_stat_sn,
            cdb: cdb.to_vec(),
            bidirectional_read_length: None,
        };
        Ok((rest, command))
    }

    /// Unknown types and second copies make the PDU malformed: executing half of a command would be worse.
    fn take_additional_header(&mut self, kind: u8, specific: &[u8]) -> Option<()> {
        let (_reserved, value) = specific.split_first()?;
        match kind {
            AHS_EXTENDED_CDB if self.cdb.len() == CDB_BYTES && value.len() <= MAX_CDB_BYTES - CDB_BYTES => {
                self.cdb.extend_from_slice(value);
            }
            AHS_BIDIRECTIONAL_READ_LENGTH if self.bidirectional_read_length.is_none() => {
                self.bidirectional_read_length = Some(u32::from_be_bytes(value.try_into().ok()?));
            }
            _ => return None,
        }
        Some(())
    }

    pub(super) fn emit(&self) -> Header {
        let flags =
            flag(self.is_final, FINAL) | flag(self.read, READ) | flag(self.write, WRITE) | self.attribute.bits();
        let (cdb, extended_cdb) = self.cdb.split_at(self.cdb.len().min(CDB_BYTES));
        let bhs = BhsWriter::new(opcode::SCSI_COMMAND, self.immediate, flags, 0, 0)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.expected_data_transfer_length)
            .be32(self.cmd_sn.0)
            .be32(self.exp_stat_sn.0)
            .bytes(cdb)
            .finish();
        let mut ahs = Vec::new();
        if !extended_cdb.is_empty() {
            emit_additional_header(&mut ahs, AHS_EXTENDED_CDB, extended_cdb);
        }
        if let Some(length) = self.bidirectional_read_length {
            emit_additional_header(&mut ahs, AHS_BIDIRECTIONAL_READ_LENGTH, &length.to_be_bytes());
        }
        Header::new(bhs, ahs)
    }
}

/// AHSLength, AHSType, then AHSLength bytes (the first of them reserved in both known types), padded to a word.
fn additional_header(input: &[u8]) -> Parsed<'_, (u8, &[u8])> {
    let (rest, (length, kind)) = (be_u16, u8).parse(input)?;
    let (rest, specific) = take(length)(rest)?;
    let padding = (4 - (3 + usize::from(length)) % 4) % 4;
    let (rest, _) = take(padding.min(rest.len()))(rest)?;
    Ok((rest, (kind, specific)))
}

fn emit_additional_header(ahs: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u16::try_from(value.len() + 1).unwrap_or(u16::MAX);
    ahs.extend_from_slice(&length.to_be_bytes());
    ahs.extend_from_slice(&[kind, 0]);
    ahs.extend_from_slice(value);
    ahs.resize(ahs.len().next_multiple_of(4), 0);
}

impl ScsiResponse {
    const BIDIRECTIONAL_OVERFLOW: u8 = 0x10;
    const BIDIRECTIONAL_UNDERFLOW: u8 = 0x08;
    const OVERFLOW: u8 = 0x04;
    const UNDERFLOW: u8 = 0x02;

    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, (), itt, snack_tag, numbers, exp_data_sn, bidirectional_count, count)) =
            (wire::start, wire::reserved(8), wire::itt, be_u32, wire::numbers, be_u32, be_u32, be_u32).parse(bhs)?;
        let is_set = |bit| start.flags & bit != 0;
        let response = Self {
            response: ServiceResponse::of(start.byte2),
            status: start.byte3,
            itt,
            snack_tag,
            numbers,
            exp_data_sn,
            bidirectional_read_residual: Residual::of(
                is_set(Self::BIDIRECTIONAL_OVERFLOW),
                is_set(Self::BIDIRECTIONAL_UNDERFLOW),
                bidirectional_count,
            ),
            residual: Residual::of(is_set(Self::OVERFLOW), is_set(Self::UNDERFLOW), count),
        };
        Ok((rest, response))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        let bidirectional = self.bidirectional_read_residual;
        let flags = FINAL
            | bidirectional.flags(Self::BIDIRECTIONAL_OVERFLOW, Self::BIDIRECTIONAL_UNDERFLOW)
            | self.residual.flags(Self::OVERFLOW, Self::UNDERFLOW);
        BhsWriter::new(opcode::SCSI_RESPONSE, false, flags, self.response.code(), self.status)
            .reserved(8)
            .be32(self.itt.0)
            .be32(self.snack_tag)
            .numbers(&self.numbers)
            .be32(self.exp_data_sn)
            .be32(bidirectional.count())
            .be32(self.residual.count())
            .finish()
    }
}

impl ServiceResponse {
    fn of(code: u8) -> Self {
        match code {
            0 => Self::CommandCompleted,
            1 => Self::TargetFailure,
            code => Self::Other(code),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::CommandCompleted => 0,
            Self::TargetFailure => 1,
            Self::Other(code) => code,
        }
    }
}

/// The sense data in the data segment of a SCSI Response or Asynchronous Message (RFC 7143 11.4.7.1): empty when
/// there is none, and what is there when SenseLength promises more.
#[must_use]
pub fn parse_sense(data: &[u8]) -> &[u8] {
    let parsed: Parsed<'_, &[u8]> = length_data(be_u16).parse(data);
    parsed.map_or_else(|_| data.get(2..).unwrap_or_default(), |(_, sense)| sense)
}

/// SenseLength and the sense data; nothing at all when there is no sense data.
#[must_use]
pub fn emit_sense(sense: &[u8]) -> Vec<u8> {
    if sense.is_empty() {
        return Vec::new();
    }
    let length = u16::try_from(sense.len()).unwrap_or(u16::MAX);
    let mut data = length.to_be_bytes().to_vec();
    data.extend_from_slice(&sense[..usize::from(length)]);
    data
}

#[cfg(test)]
mod tests {
    use super::super::golden::{request, response, some_numbers};
    use super::super::{Request, Response};
    use super::*;

    fn write_10() -> ScsiCommand {
        ScsiCommand {
            immediate: false,
            is_final: true,
            read: false,
            write: true,
            attribute: Attribute::Simple,
            lun: 1 << 48,
            itt: Itt(7),
            expected_data_transfer_length: 0x1000,
            cmd_sn: CmdSn(0x10),
            exp_stat_sn: StatSn(0x20),
            cdb: vec![0x2a, 0, 0, 0, 0, 5, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0],
            bidirectional_read_length: None,
        }
    }

    #[test]
    fn golden_bytes() {
        request(
            "01a10000 00000000 0001000000000000 00000007 00001000 00000010 00000020 2a000000000500000800000000000000",
            Request::ScsiCommand(write_10()),
        );
        response(
            "21820002 00000000 0000000000000000 00000007 00000000 00000020 00000011 00000090 00000001 00000000 00000200",
            Response::ScsiResponse(ScsiResponse {
                response: ServiceResponse::CommandCompleted,
                status: 2,
                itt: Itt(7),
                snack_tag: 0,
                numbers: some_numbers(),
                exp_data_sn: 1,
                bidirectional_read_residual: Residual::None,
                residual: Residual::Underflow(0x200),
            }),
        );
        response(
            "21940000 00000000 0000000000000000 00000007 00000000 00000020 00000011 00000090 00000001 00000003 00000200",
            Response::ScsiResponse(ScsiResponse {
                response: ServiceResponse::CommandCompleted,
                status: 0,
                itt: Itt(7),
                snack_tag: 0,
                numbers: some_numbers(),
                exp_data_sn: 1,
                bidirectional_read_residual: Residual::Overflow(3),
                residual: Residual::Overflow(0x200),
            }),
        );
    }

    #[test]
    fn extended_cdb_and_bidirectional_length() {
        let mut command = write_10();
        command.cdb[0] = 0x7f;
        command.cdb.extend(0..16);
        command.read = true;
        command.bidirectional_read_length = Some(0x200);
        request(
            "01e10000 07000000 0001000000000000 00000007 00001000 00000010 00000020 7f000000000500000800000000000000 \
             00110100 000102030405060708090a0b0c0d0e0f 00050200 00000200",
            Request::ScsiCommand(command),
        );
    }

    #[test]
    fn broken_additional_headers_are_refused() {
        for ahs in [
            &[0, 17, 1, 0][..],
            &[0, 0, 1, 0],
            &[0, 5, 9, 0, 0, 0, 0, 0],
            &[0, 4, 2, 0, 0, 0, 0, 0],
            &[0, 5, 2, 0, 0, 0, 0, 1, 0, 5, 2, 0, 0, 0, 0, 1],
            &[0xff, 0xff, 1, 0],
        ] {
            let header = Header::new(write_10().emit().bhs, ahs.to_vec());
            assert_eq!(ScsiCommand::parse(&header), None, "{ahs:?}");
        }
    }

    #[test]
    fn sense_stands_behind_its_length() {
        assert_eq!(emit_sense(&[0x70, 0, 6]), [0, 3, 0x70, 0, 6]);
        assert!(emit_sense(&[]).is_empty());
        assert_eq!(parse_sense(&[0, 3, 0x70, 0, 6, 0]), [0x70, 0, 6]);
        assert_eq!(parse_sense(&[0, 9, 0x70]), [0x70]);
        assert!(parse_sense(&[0]).is_empty());
    }

    #[test]
    fn residuals_follow_the_sign() {
        assert_eq!(Residual::between(512, 512), Residual::None);
        assert_eq!(Residual::between(512, 1024), Residual::Overflow(512));
        assert_eq!(Residual::between(512, 0), Residual::Underflow(512));
        assert_eq!(Residual::between(0, u64::MAX), Residual::Overflow(u32::MAX));
    }
}
