//! Task Management Function Request and Response (RFC 7143 11.5, 11.6; RFC 7144 5).

use nom::Parser;
use nom::number::complete::be_u32;

use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed};
use super::{BHS_BYTES, CmdSn, Itt, StatSn, opcode};

/// What to do (RFC 7143 11.5.1, RFC 7144 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// End one task.
    AbortTask,
    /// End all tasks of this nexus on the logical unit.
    AbortTaskSet,
    /// End the ACA condition.
    ClearAca,
    /// End all tasks of all nexuses on the logical unit.
    ClearTaskSet,
    /// Reset the logical unit.
    LogicalUnitReset,
    /// Reset all logical units.
    TargetWarmReset,
    /// Reset all logical units and drop all sessions.
    TargetColdReset,
    /// Take a task over from a lost connection.
    TaskReassign,
    /// Any other code.
    Other(u8),
}

/// How it went (RFC 7143 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionResponse {
    /// Done.
    Complete,
    /// There is no such task.
    TaskDoesNotExist,
    /// There is no such logical unit.
    LunDoesNotExist,
    /// The task's connection is still there.
    TaskStillAllegiant,
    /// Tasks cannot change their connection here.
    ReassignmentNotSupported,
    /// The function is not supported.
    NotSupported,
    /// The initiator may not do that.
    AuthorizationFailed,
    /// Refused for another reason.
    Rejected,
    /// Any other code.
    Other(u8),
}

/// Ends tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementRequest {
    /// Immediate delivery.
    pub immediate: bool,
    /// What to do.
    pub function: Function,
    /// The logical unit; reserved for functions on the whole target.
    pub lun: u64,
    /// This request's own tag.
    pub itt: Itt,
    /// The task to abort or reassign, else reserved.
    pub referenced_task_tag: Itt,
    /// The command number.
    pub cmd_sn: CmdSn,
    /// The answer number that the initiator expects next.
    pub exp_stat_sn: StatSn,
    /// The command number of the task to abort.
    pub ref_cmd_sn: CmdSn,
    /// For TASK REASSIGN only.
    pub exp_data_sn: u32,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManagementResponse {
    /// How it went.
    pub response: FunctionResponse,
    /// As in the request.
    pub itt: Itt,
    /// Sequence numbers.
    pub numbers: Numbers,
}

/// Codes that stand for themselves; everything else is `Other`.
const FUNCTIONS: [(u8, Function); 8] = [
    (1, Function::AbortTask),
    (2, Function::AbortTaskSet),
    (3, Function::ClearAca),
    (4, Function::ClearTaskSet),
    (5, Function::LogicalUnitReset),
    (6, Function::TargetWarmReset),
    (7, Function::TargetColdReset),
    (8, Function::TaskReassign),
];

const RESPONSES: [(u8, FunctionResponse); 8] = [
    (0, FunctionResponse::Complete),
    (1, FunctionResponse::TaskDoesNotExist),
    (2, FunctionResponse::LunDoesNotExist),
    (3, FunctionResponse::TaskStillAllegiant),
    (4, FunctionResponse::ReassignmentNotSupported),
    (5, FunctionResponse::NotSupported),
    (6, FunctionResponse::AuthorizationFailed),
    (255, FunctionResponse::Rejected),
];

impl Function {
    fn of(code: u8) -> Self {
        FUNCTIONS.iter().find(|row| row.0 == code).map_or(Self::Other(code), |row| row.1)
    }

    fn code(self) -> u8 {
        if let Self::Other(code) = self {
            return code & 0x7f;
        }
        FUNCTIONS.iter().find(|row| row.1 == self).map_or(0, |row| row.0)
    }
}

impl FunctionResponse {
    fn of(code: u8) -> Self {
        RESPONSES.iter().find(|row| row.0 == code).map_or(Self::Other(code), |row| row.1)
    }

    fn code(self) -> u8 {
        if let Self::Other(code) = self {
            return code;
        }
        RESPONSES.iter().find(|row| row.1 == self).map_or(255, |row| row.0)
    }
}

impl TaskManagementRequest {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, lun, itt, referenced_task_tag, cmd_sn, exp_stat_sn, ref_cmd_sn, exp_data_sn)) =
            (wire::start, wire::lun, wire::itt, wire::itt, wire::cmd_sn, wire::stat_sn, wire::cmd_sn, be_u32)
                .parse(bhs)?;
        let request = Self {
            immediate: start.immediate,
            function: Function::of(start.flags & !FINAL),
            lun,
            itt,
            referenced_task_tag,
            cmd_sn,
            exp_stat_sn,
            ref_cmd_sn,
            exp_data_sn,
        };
        Ok((rest, request))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::TASK_MANAGEMENT_REQUEST, self.immediate, FINAL | self.function.code(), 0, 0)
            .be64(self.lun)
            .be32(self.itt.0)
            .be32(self.referenced_task_tag.0)
            .be32(self.cmd_sn.0)
            .be32(self.exp_stat_sn.0)
            .be32(self.ref_cmd_sn.0)
            .be32(self.exp_data_sn)
            .finish()
    }
}

impl TaskManagementResponse {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, (), itt, (), numbers)) =
            (wire::start, wire::reserved(8), wire::itt, wire::reserved(4), wire::numbers).parse(bhs)?;
        Ok((rest, Self { response: FunctionResponse::of(start.byte2), itt, numbers }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::TASK_MANAGEMENT_RESPONSE, false, FINAL, self.response.code(), 0)
            .reserved(8)
            .be32(self.itt.0)
            .reserved(4)
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
            "42810000 00000000 0001000000000000 00000007 00000006 00000010 00000020 0000000f 00000000 00000000 00000000",
            Request::TaskManagement(TaskManagementRequest {
                immediate: true,
                function: Function::AbortTask,
                lun: 1 << 48,
                itt: Itt(7),
                referenced_task_tag: Itt(6),
                cmd_sn: CmdSn(0x10),
                exp_stat_sn: StatSn(0x20),
                ref_cmd_sn: CmdSn(0xf),
                exp_data_sn: 0,
            }),
        );
        response(
            "22800100 00000000 0000000000000000 00000007 00000000 00000020 00000011 00000090 00000000 00000000 00000000",
            Response::TaskManagement(TaskManagementResponse {
                response: FunctionResponse::TaskDoesNotExist,
                itt: Itt(7),
                numbers: some_numbers(),
            }),
        );
    }

    #[test]
    fn every_code_survives() {
        for code in 0..=0x7f {
            assert_eq!(Function::of(code).code(), code);
        }
        for code in 0..=u8::MAX {
            assert_eq!(FunctionResponse::of(code).code(), code);
        }
    }
}
