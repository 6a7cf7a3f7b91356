//! The few sense codes that the transport itself reports (RFC 7143 11.4.7.2).

/// Sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sense(u8, u8, u8);

/// ABORTED COMMAND, unexpected unsolicited data.
pub(super) const UNEXPECTED_UNSOLICITED_DATA: Sense = Sense(0x0b, 0x0c, 0x0c);
/// ABORTED COMMAND, not enough or too much data.
pub(super) const INCORRECT_AMOUNT_OF_DATA: Sense = Sense(0x0b, 0x0c, 0x0d);
/// ABORTED COMMAND, PROTOCOL SERVICE CRC ERROR: the data was damaged or lost on the way.
pub(super) const PROTOCOL_SERVICE_CRC_ERROR: Sense = Sense(0x0b, 0x47, 0x05);
/// ILLEGAL REQUEST, INVALID FIELD IN CDB.
pub(super) const INVALID_FIELD_IN_CDB: Sense = Sense(0x05, 0x24, 0x00);

impl Sense {
    /// Fixed format, current error (SPC-4 4.5.3).
    pub(super) fn fixed(self) -> Vec<u8> {
        let Self(key, asc, ascq) = self;
        vec![0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0]
    }
}
