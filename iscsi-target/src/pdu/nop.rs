//! NOP-Out and NOP-In: is the other side there (RFC 7143 11.18, 11.19). The data segment is ping data.

use nom::Parser;

use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed};
use super::{BHS_BYTES, CmdSn, Itt, StatSn, Ttt, opcode};

/// Initiator to target: a ping (`itt` set), or the answer to one (`ttt` set).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopOut {
    /// Immediate delivery.
    pub immediate: bool,
    /// As in the NOP-In that this answers, else reserved.
    pub lun: u64,
    /// Reserved when no answer is wanted.
    pub itt: Itt,
    /// Copied from the NOP-In that this answers, else reserved.
    pub ttt: Ttt,
    /// The command number (the next one, when immediate).
    pub cmd_sn: CmdSn,
    /// The answer number that the initiator expects next.
    pub exp_stat_sn: StatSn,
}

/// Target to initiator: a ping (`ttt` set), or the answer to one (`itt` set).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NopIn {
    /// Zero unless `ttt` is set.
    pub lun: u64,
    /// Copied from the NOP-Out that this answers, else reserved.
    pub itt: Itt,
    /// Reserved when no answer is wanted.
    pub ttt: Ttt,
    /// Sequence numbers.
    pub numbers: Numbers,
}

impl NopOut {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, lun, itt, ttt, cmd_sn, exp_stat_sn)) =
            (wire::start, wire::lun, wire::itt, wire::ttt, wire::cmd_sn, wire::stat_sn).parse(bhs)?;
        Ok((rest, Self { immediate: start.immediate, lun, itt, ttt, cmd_sn, exp_stat_sn }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::NOP_OUT, self.immediate, FINAL, 0, 0)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.ttt.0)
            .be32(self.cmd_sn.0)
            .be32(self.exp_stat_sn.0)
            .finish()
    }
}

impl NopIn {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (_, lun, itt, ttt, numbers)) =
            (wire::start, wire::lun, wire::itt, wire::ttt, wire::numbers).parse(bhs)?;
        Ok((rest, Self { lun, itt, ttt, numbers }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::NOP_IN, false, FINAL, 0, 0)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.ttt.0)
            .numbers(&self.numbers)
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
            "40800000 00000000 0000000000000000 00000007 ffffffff 00000010 00000020 00000000 00000000 00000000 00000000",
            Request::NopOut(NopOut {
                immediate: true,
                lun: 0,
                itt: Itt(7),
                ttt: Ttt::RESERVED,
                cmd_sn: CmdSn(0x10),
                exp_stat_sn: StatSn(0x20),
            }),
        );
        response(
            "20800000 00000000 0001000000000000 ffffffff 00000009 00000020 00000011 00000090 00000000 00000000 00000000",
            Response::NopIn(NopIn { lun: 1 << 48, itt: Itt::RESERVED, ttt: Ttt(9), numbers: some_numbers() }),
        );
    }
}
