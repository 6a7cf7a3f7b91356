//! Logout Request and Response (RFC 7143 11.14, 11.15).

use nom::Parser;
use nom::number::complete::be_u16;

use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed};
use super::{BHS_BYTES, CmdSn, Itt, StatSn, opcode};

/// What to close (RFC 7143 11.14.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogoutReason {
    /// The session with all its connections.
    CloseSession,
    /// The connection `cid`.
    CloseConnection,
    /// The connection `cid`, to take its tasks over.
    RemoveConnectionForRecovery,
    /// Any other code.
    Other(u8),
}

/// How it went (RFC 7143 11.15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogoutOutcome {
    /// Closed.
    Closed,
    /// There is no such connection.
    CidNotFound,
    /// Connection recovery is not supported.
    RecoveryNotSupported,
    /// Cleanup failed for another reason.
    CleanupFailed,
    /// Any other code.
    Other(u8),
}

/// The initiator leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Immediate delivery.
    pub immediate: bool,
    /// What to close.
    pub reason: LogoutReason,
    /// This request's own tag.
    pub itt: Itt,
    /// The connection; reserved when the session is closed.
    pub cid: u16,
    /// The command number.
    pub cmd_sn: CmdSn,
    /// The answer number that the initiator expects next.
    pub exp_stat_sn: StatSn,
}

/// The last PDU of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutResponse {
    /// How it went.
    pub response: LogoutOutcome,
    /// As in the request.
    pub itt: Itt,
    /// Sequence numbers.
    pub numbers: Numbers,
    /// Seconds to wait before the tasks can be taken over; with a failure only.
    pub time2wait: u16,
    /// Seconds for which the tasks are kept; with a failure only.
    pub time2retain: u16,
}

impl LogoutReason {
    fn of(code: u8) -> Self {
        match code {
            0 => Self::CloseSession,
            1 => Self::CloseConnection,
            2 => Self::RemoveConnectionForRecovery,
            code => Self::Other(code),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::CloseSession => 0,
            Self::CloseConnection => 1,
            Self::RemoveConnectionForRecovery => 2,
            Self::Other(code) => code & 0x7f,
        }
    }
}

impl LogoutOutcome {
    fn of(code: u8) -> Self {
        match code {
            0 => Self::Closed,
            1 => Self::CidNotFound,
            2 => Self::RecoveryNotSupported,
            3 => Self::CleanupFailed,
            code => Self::Other(code),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::CidNotFound => 1,
            Self::RecoveryNotSupported => 2,
            Self::CleanupFailed => 3,
            Self::Other(code) => code,
        }
    }
}

impl LogoutRequest {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, (), itt, cid, (), cmd_sn, exp_stat_sn)) =
            (wire::start, wire::reserved(8), wire::itt, be_u16, wire::reserved(2), wire::cmd_sn, wire::stat_sn)
                .parse(bhs)?;
        let reason = LogoutReason::of(start.flags & !FINAL);
        Ok((rest, Self { immediate: start.immediate, reason, itt, cid, cmd_sn, exp_stat_sn }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::LOGOUT_REQUEST, self.immediate, FINAL | self.reason.code(), 0, 0)
            .reserved(8)
            .be32(self.itt.0)
            .be16(self.cid)
            .reserved(2)
            .be32(self.cmd_sn.0)
            .be32(self.exp_stat_sn.0)
            .finish()
    }
}

impl LogoutResponse {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, (), itt, (), numbers, (), time2wait, time2retain)) = (
            wire::start,
            wire::reserved(8),
            wire::itt,
            wire::reserved(4),
            wire::numbers,
            wire::reserved(4),
            be_u16,
            be_u16,
        )
            .parse(bhs)?;
        Ok((rest, Self { response: LogoutOutcome::of(start.byte2), itt, numbers, time2wait, time2retain }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::LOGOUT_RESPONSE, false, FINAL, self.response.code(), 0)
            .reserved(8)
            .be32(self.itt.0)
            .reserved(4)
            .numbers(&self.numbers)
            .reserved(4)
            .be16(self.time2wait)
            .be16(self.time2retain)
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
            "46810000 00000000 0000000000000000 00000007 00050000 00000010 00000020 00000000 00000000 00000000 00000000",
            Request::Logout(LogoutRequest {
                immediate: true,
                reason: LogoutReason::CloseConnection,
                itt: Itt(7),
                cid: 5,
                cmd_sn: CmdSn(0x10),
                exp_stat_sn: StatSn(0x20),
            }),
        );
        response(
            "26800200 00000000 0000000000000000 00000007 00000000 00000020 00000011 00000090 00000000 00020014 00000000",
            Response::Logout(LogoutResponse {
                response: LogoutOutcome::RecoveryNotSupported,
                itt: Itt(7),
                numbers: some_numbers(),
                time2wait: 2,
                time2retain: 20,
            }),
        );
    }
}
