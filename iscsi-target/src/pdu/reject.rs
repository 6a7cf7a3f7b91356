//! Reject (RFC 7143 11.17). The data segment is the header of the PDU that was refused.

use nom::Parser;
use nom::number::complete::be_u32;

use super::wire::{self, BhsWriter, FINAL, Numbers, Parsed};
use super::{BHS_BYTES, Itt, opcode};

/// Why (RFC 7143 11.17.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// The data digest does not match; the task may be tried again.
    DataDigestError,
    /// A SNACK cannot be served.
    SnackReject,
    /// The PDU breaks the protocol.
    ProtocolError,
    /// The PDU is not supported.
    CommandNotSupported,
    /// Too many immediate commands.
    ImmediateCommandReject,
    /// A task is already there.
    TaskInProgress,
    /// A data acknowledgement makes no sense.
    InvalidDataAck,
    /// A field has a value that it must not have.
    InvalidPduField,
    /// Out of something; try again later.
    LongOperationReject,
    /// The negotiation was reset.
    NegotiationReset,
    /// The connection waits for its logout.
    WaitingForLogout,
    /// Any other code.
    Other(u8),
}

/// The target refuses a PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Sequence numbers.
    pub numbers: Numbers,
    /// Meaningful after a SNACK only.
    pub data_sn: u32,
}

const REASONS: [(u8, RejectReason); 11] = [
    (0x02, RejectReason::DataDigestError),
    (0x03, RejectReason::SnackReject),
    (0x04, RejectReason::ProtocolError),
    (0x05, RejectReason::CommandNotSupported),
    (0x06, RejectReason::ImmediateCommandReject),
    (0x07, RejectReason::TaskInProgress),
    (0x08, RejectReason::InvalidDataAck),
    (0x09, RejectReason::InvalidPduField),
    (0x0a, RejectReason::LongOperationReject),
    (0x0b, RejectReason::NegotiationReset),
    (0x0c, RejectReason::WaitingForLogout),
];

impl RejectReason {
    fn of(code: u8) -> Self {
        REASONS.iter().find(|row| row.0 == code).map_or(Self::Other(code), |row| row.1)
    }

    fn code(self) -> u8 {
        if let Self::Other(code) = self {
            return code;
        }
        REASONS.iter().find(|row| row.1 == self).map_or(0, |row| row.0)
    }
}

impl Reject {
    pub(super) fn parse(bhs: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start, (), _, (), numbers, data_sn)) =
            (wire::start, wire::reserved(8), wire::itt, wire::reserved(4), wire::numbers, be_u32).parse(bhs)?;
        Ok((rest, Self { reason: RejectReason::of(start.byte2), numbers, data_sn }))
    }

    pub(super) fn emit(&self) -> [u8; BHS_BYTES] {
        BhsWriter::new(opcode::REJECT, false, FINAL, self.reason.code(), 0)
            .reserved(8)
            .be32(Itt::RESERVED.0)
            .reserved(4)
            .numbers(&self.numbers)
            .be32(self.data_sn)
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
            "3f800900 00000000 0000000000000000 ffffffff 00000000 00000020 00000011 00000090 00000000 00000000 00000000",
            Response::Reject(Reject { reason: RejectReason::InvalidPduField, numbers: some_numbers(), data_sn: 0 }),
        );
    }

    #[test]
    fn every_reason_survives() {
        for code in 0..=u8::MAX {
            assert_eq!(RejectReason::of(code).code(), code);
        }
    }
}
