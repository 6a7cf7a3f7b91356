//! Answers in the name of a logical unit that is not there (SPC-4 6.6.2, SAM-5 4.6.4).

use crate::scsi::decode::Operation;
use crate::scsi::lun::Lun;
use crate::scsi::sense::{Sense, SenseCode};
use crate::scsi::{Command, Response, inquiry, opcodes, report_luns};

/// PERIPHERAL QUALIFIER 011b and device type 1Fh: no unit can be there.
const NOTHING_THERE: u8 = 0x7F;

/// Answer `command`, addressed to none of `luns`.
#[must_use]
pub fn handle(command: &Command, luns: &[Lun]) -> Response {
    match opcodes::parse(&command.cdb) {
        Ok((_, Operation::Inquiry { evpd: false, page: 0, allocation })) => {
            Response::parameters(inquiry_data(), allocation)
        }
        Ok((_, Operation::Inquiry { .. })) => Response::check(Sense::invalid_cdb(1, Some(0))),
        Ok((_, Operation::ReportLuns { .. })) => report_luns::report(luns, &command.cdb),
        Ok((_, Operation::RequestSense { descriptor, allocation })) => {
            sense_as_data(SenseCode::LOGICAL_UNIT_NOT_SUPPORTED.into(), descriptor, allocation)
        }
        Ok(_) => Response::check(SenseCode::LOGICAL_UNIT_NOT_SUPPORTED),
        Err(sense) if sense.code == SenseCode::INVALID_FIELD_IN_CDB => {
            Response::check(SenseCode::LOGICAL_UNIT_NOT_SUPPORTED)
        }
        Err(sense) => Response::check(sense),
    }
}

/// Sense data as the parameter data of REQUEST SENSE (SPC-4 6.39).
pub(super) fn sense_as_data(sense: Sense, descriptor: bool, allocation: u32) -> Response {
    Response::parameters(if descriptor { sense.descriptor() } else { sense.fixed() }, allocation)
}

fn inquiry_data() -> Vec<u8> {
    let mut bytes = vec![0; 36];
    bytes[0] = NOTHING_THERE;
    bytes[2] = 0x06;
    bytes[3] = 0x12;
    bytes[4] = 31;
    bytes[8..16].copy_from_slice(&inquiry::VENDOR);
    bytes[16..32].copy_from_slice(&inquiry::PRODUCT);
    bytes[32..].fill(b' ');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::unit::tests::command;
    use crate::scsi::{DataIn, Status};

    fn answered(cdb: &[u8]) -> Response {
        handle(&command(cdb), &[Lun::new(3).unwrap()])
    }

    #[test]
    fn only_what_asks_for_units_is_answered() {
        let DataIn::Parameters(data) = answered(&[0x12, 0, 0, 0, 255, 0]).data_in else { panic!() };
        assert_eq!(data[..8], [0x7F, 0, 6, 0x12, 31, 0, 0, 0]);
        assert_eq!(data.len(), 36);
        let DataIn::Parameters(data) = answered(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0]).data_in else { panic!() };
        assert_eq!(data, [0, 0, 0, 8, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
        let sense = answered(&[0x03, 0, 0, 0, 18, 0]);
        assert_eq!(sense.status, Status::Good);
        assert_eq!(sense.data_in, DataIn::Parameters(Sense::from(SenseCode::LOGICAL_UNIT_NOT_SUPPORTED).fixed()));
    }

    #[test]
    fn everything_else_is_refused() {
        let refused = Response::check(SenseCode::LOGICAL_UNIT_NOT_SUPPORTED);
        assert_eq!(answered(&[0x00, 0, 0, 0, 0, 0]), refused);
        assert_eq!(answered(&[0x28, 0xFF, 0, 0, 0, 0, 0, 0, 1, 0]), refused);
        assert_eq!(answered(&[0xFF]), Response::check(SenseCode::INVALID_OPERATION_CODE));
        assert_eq!(answered(&[0x12, 1, 0x83, 0, 255, 0]), Response::check(Sense::invalid_cdb(1, Some(0))));
    }
}
