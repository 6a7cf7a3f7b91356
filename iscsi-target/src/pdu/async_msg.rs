//! Asynchronous Message (RFC 7143 11.9).

use nom::Parser;
use nom::number::complete::{be_u16, u8};

use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed};
use super::{BHS_BYTES, Itt, opcode};

/// What happened (RFC 7143 11.9.1). Times are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncEvent {
    /// 0: a SCSI event; the data segment is sense data behind its length.
    ScsiEvent,
    /// 1: log out within `parameter3` seconds.
    LogoutRequest,
    /// 2: the connection `parameter1` will be dropped.
    DropConnection,
    /// 3: all connections of the session will be dropped.
    DropSession,
    /// 4: negotiate parameters again within `parameter3` seconds.
    NegotiationRequest,
    /// 5: all tasks of the logical unit are ended (RFC 7143 11.9.1).
    TaskTermination,
    /// Any other code.
    Other(u8),
}

/// The target tells something without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncMessage {
    /// For SCSI events and task termination.
    pub lun: u64,
    /// Sequence numbers.
    pub numbers: Numbers,
    /// What happened.
    pub async_event: AsyncEvent,
    /// Vendor's code.
    pub async_vcode: u8,
    /// Connection identifier, or reserved.
    pub parameter1: u16,
    /// Time2Wait, or reserved.
    pub parameter2: u16,
    /// Time2Retain or a deadline, or reserved.
    pub parameter3: u16,
}

impl AsyncEvent {
    fn of(code: u8) -> Self {
        match code {
            0 => Self::ScsiEvent,
            1 => Self::LogoutRequest,
            2 => Self::DropConnection,
            3 => Self::DropSession,
            4 => Self::NegotiationRequest,
            5 => Self::TaskTermination,
            code => Self::Other(code),
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::ScsiEvent => 0,
            Self::LogoutRequest => 1,
            Self::DropConnection => 2,
            Self::DropSession => 3,
            Self::NegotiationRequest => 4,
            Self::TaskTermination => 5,
            Self::Other(code) => code,
        }
    }
}

impl AsyncMessage {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (_, lun, _, (), numbers, event, async_vcode, parameter1, parameter2, parameter3)) =
            (wire::start, wire::lun, wire::itt, wire::reserved(4), wire::numbers, u8, u8, be_u16, be_u16, be_u16)
                .parse(bhs)?;
        let async_event = AsyncEvent::of(event);
        Ok((rest, Self { lun, numbers, async_event, async_vcode, parameter1, parameter2, parameter3 }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::ASYNC_MESSAGE, false, FINAL, 0, 0)
            .be64(self.lun)
            .be32(Itt::RESERVED.0)
            .reserved(4)
            .numbers(&self.numbers)
            .bytes(&[self.async_event.code(), self.async_vcode])
            .be16(self.parameter1)
            .be16(self.parameter2)
            .be16(self.parameter3)
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
            "32800000 00000000 0000000000000000 ffffffff 00000000 00000020 00000011 00000090 0100 0000 0000 000a 00000000",
            Response::AsyncMessage(AsyncMessage {
                lun: 0,
                numbers: some_numbers(),
                async_event: AsyncEvent::LogoutRequest,
                async_vcode: 0,
                parameter1: 0,
                parameter2: 0,
                parameter3: 10,
            }),
        );
    }
}
