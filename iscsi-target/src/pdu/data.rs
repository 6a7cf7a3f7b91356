//! SCSI Data-Out and Data-In (RFC 7143 11.7).

use nom::Parser;
use nom::number::complete::be_u32;

use super::command::Residual;
use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed, flag};
use super::{BHS_BYTES, Itt, StatSn, Ttt, opcode};

/// Data of a WRITE: unsolicited (`ttt` reserved), or asked for by an R2T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataOut {
    /// F: the last PDU of its sequence.
    pub is_final: bool,
    /// As in the R2T; reserved for unsolicited data.
    pub lun: u64,
    /// The task.
    pub itt: Itt,
    /// Copied from the R2T that this answers, else reserved.
    pub ttt: Ttt,
    /// The answer number that the initiator expects next.
    pub exp_stat_sn: StatSn,
    /// Counts the PDUs of one sequence from 0.
    pub data_sn: u32,
    /// Where in the command's Data-Out the data segment belongs.
    pub buffer_offset: u32,
}

/// Data of a READ, and with the S bit the status of the command, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataIn {
    /// F: the last PDU of its sequence.
    pub is_final: bool,
    /// A: the target wants an acknowledgement (error recovery level 1 and up).
    pub acknowledge: bool,
    /// With S: the status and residual count that end the command.
    pub status: Option<(u8, Residual)>,
    /// With A only.
    pub lun: u64,
    /// The task.
    pub itt: Itt,
    /// With A only.
    pub ttt: Ttt,
    /// Sequence numbers; `stat_sn` is meaningful with S only.
    pub numbers: Numbers,
    /// Counts the Data-In PDUs of the command from 0.
    pub data_sn: u32,
    /// Where in the command's Data-In the data segment belongs.
    pub buffer_offset: u32,
}

impl DataOut {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, lun, itt, ttt, (), exp_stat_sn, (), data_sn, buffer_offset)) = (
            wire::start,
            wire::lun,
            wire::itt,
            wire::ttt,
            wire::reserved(4),
            wire::stat_sn,
            wire::reserved(4),
            be_u32,
            be_u32,
        )
            .parse(bhs)?;
        let is_final = start.flags & FINAL != 0;
        Ok((rest, Self { is_final, lun, itt, ttt, exp_stat_sn, data_sn, buffer_offset }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::DATA_OUT, false, flag(self.is_final, FINAL), 0, 0)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.ttt.0)
            .reserved(4)
            .be32(self.exp_stat_sn.0)
            .reserved(4)
            .be32(self.data_sn)
            .be32(self.buffer_offset)
            .finish()
    }
}

impl DataIn {
    const ACKNOWLEDGE: u8 = 0x40;
    const OVERFLOW: u8 = 0x04;
    const UNDERFLOW: u8 = 0x02;
    const STATUS: u8 = 0x01;

    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, lun, itt, ttt, numbers, data_sn, buffer_offset, count)) =
            (wire::start, wire::lun, wire::itt, wire::ttt, wire::numbers, be_u32, be_u32, be_u32).parse(bhs)?;
        let is_set = |bit| start.flags & bit != 0;
        let residual = Residual::of(is_set(Self::OVERFLOW), is_set(Self::UNDERFLOW), count);
        let data_in = Self {
            is_final: is_set(FINAL),
            acknowledge: is_set(Self::ACKNOWLEDGE),
            status: is_set(Self::STATUS).then_some((start.byte3, residual)),
            lun,
            itt,
            ttt,
            numbers,
            data_sn,
            buffer_offset,
        };
        Ok((rest, data_in))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        let (status, residual) = self.status.unwrap_or_default();
        let flags = flag(self.is_final, FINAL)
            | flag(self.acknowledge, Self::ACKNOWLEDGE)
            | residual.flags(Self::OVERFLOW, Self::UNDERFLOW)
            | flag(self.status.is_some(), Self::STATUS);
        BhsWriter::new(opcode::DATA_IN, false, flags, 0, status)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.ttt.0)
            .numbers(&self.numbers)
            .be32(self.data_sn)
            .be32(self.buffer_offset)
            .be32(residual.count())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{request, response, some_numbers};
    use super::super::{Request, Response};
    use super::*;

    #[test]
    fn golden_bytes() {
        request(
            "05800000 00000000 0001000000000000 00000007 00000003 00000000 00000020 00000000 00000002 00004000 00000000",
            Request::DataOut(DataOut {
                is_final: true,
                lun: 1 << 48,
                itt: Itt(7),
                ttt: Ttt(3),
                exp_stat_sn: StatSn(0x20),
                data_sn: 2,
                buffer_offset: 0x4000,
            }),
        );
        let data_in = DataIn {
            is_final: true,
            acknowledge: false,
            status: Some((0, Residual::Underflow(0x200))),
            lun: 0,
            itt: Itt(7),
            ttt: Ttt::RESERVED,
            numbers: some_numbers(),
            data_sn: 2,
            buffer_offset: 0x4000,
        };
        response(
            "25830000 00000000 0000000000000000 00000007 ffffffff 00000020 00000011 00000090 00000002 00004000 00000200",
            Response::DataIn(data_in.clone()),
        );
        response(
            "25000000 00000000 0000000000000000 00000007 ffffffff 00000020 00000011 00000090 00000002 00004000 00000000",
            Response::DataIn(DataIn { is_final: false, status: None, ..data_in }),
        );
    }
}
