//! Ready To Transfer (RFC 7143 11.8): the target asks for a part of a command's Data-Out.

use nom::Parser;
use nom::number::complete::be_u32;

use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed};
use super::{BHS_BYTES, Itt, Ttt, opcode};

/// A request for `desired_data_transfer_length` bytes from `buffer_offset` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2t {
    /// The logical unit of the command.
    pub lun: u64,
    /// The task.
    pub itt: Itt,
    /// What the Data-Out PDUs that answer this are to carry.
    pub ttt: Ttt,
    /// Sequence numbers; `stat_sn` is the next one, not used up.
    pub numbers: Numbers,
    /// Counts the R2Ts of the command from 0.
    pub r2t_sn: u32,
    /// First byte asked for.
    pub buffer_offset: u32,
    /// Bytes asked for; never zero, at most MaxBurstLength.
    pub desired_data_transfer_length: u32,
}

impl R2t {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (_, lun, itt, ttt, numbers, r2t_sn, buffer_offset, desired_data_transfer_length)) =
            (wire::start, wire::lun, wire::itt, wire::ttt, wire::numbers, be_u32, be_u32, be_u32).parse(bhs)?;
        Ok((rest, Self { lun, itt, ttt, numbers, r2t_sn, buffer_offset, desired_data_transfer_length }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::R2T, false, FINAL, 0, 0)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.ttt.0)
            .numbers(&self.numbers)
            .be32(self.r2t_sn)
            .be32(self.buffer_offset)
            .be32(self.desired_data_transfer_length)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Response;
    use super::super::golden::{response, some_numbers};
    use super::*;

    #[test]
    fn golden_bytes() {
        response(
            "31800000 00000000 0001000000000000 00000007 00000003 00000020 00000011 00000090 00000001 00004000 00100000",
            Response::R2t(R2t {
                lun: 1 << 48,
                itt: Itt(7),
                ttt: Ttt(3),
                numbers: some_numbers(),
                r2t_sn: 1,
                buffer_offset: 0x4000,
                desired_data_transfer_length: 0x10_0000,
            }),
        );
    }
}
