//! REPORT SUPPORTED OPERATION CODES (SPC-4 6.35) out of the opcode table, and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS
//! (SPC-4 6.36).

use crate::scsi::Response;
use crate::scsi::config::UnitConfig;
use crate::scsi::decode::ReportOpcodes;
use crate::scsi::opcodes::{Row, TABLE, rows_of};
use crate::scsi::sense::Sense;

/// RECOMMENDED COMMAND TIMEOUT in seconds: room for a takeover, a slow disk and a retry.
const RECOMMENDED_TIMEOUT_S: u32 = 60;
/// SUPPORT 001b: not supported.
const NOT_SUPPORTED: u8 = 0x01;
/// SUPPORT 011b: supported as the standard says.
const SUPPORTED: u8 = 0x03;
/// CTDP in the one-command format.
const ONE_COMMAND_CTDP: u8 = 0x80;
/// ATS, ATSS, CTSS, LURS and TRS.
const TASK_MANAGEMENT: u8 = 0xDA;

/// Answer REPORT SUPPORTED OPERATION CODES.
#[must_use]
pub fn operation_codes(config: &UnitConfig, request: &ReportOpcodes) -> Response {
    let offered = || rows_of(request.opcode).filter(|row| config.offers(row));
    let mut rows = offered().peekable();
    let has_actions = rows.peek().map(|row| row.service_action.is_some());
    let exact = || offered().find(|row| u16::from(row.service_action.unwrap_or(0)) == request.service_action);
    let row = match (request.options, has_actions) {
        (0b000, _) => return Response::parameters(all_commands(config, request.timeouts), request.allocation),
        // The form that names no service action is for commands that have none, and the other way round.
        (0b001, Some(true)) | (0b010, Some(false)) => return Response::check(Sense::invalid_cdb(2, Some(2))),
        (0b001, _) => rows.next(),
        (0b010 | 0b011, _) => exact(),
        _ => return Response::check(Sense::invalid_cdb(2, Some(2))),
    };
    Response::parameters(one_command(config, row, request.timeouts), request.allocation)
}

fn all_commands(config: &UnitConfig, timeouts: bool) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for row in TABLE.iter().filter(|row| config.offers(row)) {
        let flags = u8::from(row.service_action.is_some()) | if timeouts { 0x02 } else { 0 };
        bytes.extend([row.opcode(), 0, 0, row.service_action.unwrap_or(0), 0, flags]);
        bytes.extend(cdb_length(row));
        if timeouts {
            bytes.extend(timeouts_descriptor());
        }
    }
    let length = u32::try_from(bytes.len() - 4).expect("a table of some dozens");
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn one_command(config: &UnitConfig, row: Option<&Row>, timeouts: bool) -> Vec<u8> {
    let Some(row) = row else { return vec![0, NOT_SUPPORTED, 0, 0] };
    let mut bytes = vec![0, SUPPORTED | if timeouts { ONE_COMMAND_CTDP } else { 0 }];
    bytes.extend(cdb_length(row));
    bytes.extend(config.usage(row));
    if timeouts {
        bytes.extend(timeouts_descriptor());
    }
    bytes
}

fn cdb_length(row: &Row) -> [u8; 2] {
    u16::try_from(row.usage.len()).expect("a CDB of at most 16 bytes").to_be_bytes()
}

/// The command timeouts descriptor (SPC-4 6.35.4).
fn timeouts_descriptor() -> [u8; 12] {
    let [a, b, c, d] = RECOMMENDED_TIMEOUT_S.to_be_bytes();
    [0, 0x0A, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

/// Answer REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.
#[must_use]
pub fn task_management_functions(extended: bool, allocation: u32) -> Response {
    let mut bytes = vec![TASK_MANAGEMENT, 0, 0, 0];
    if extended {
        bytes[3] = 0x0C; // no timeouts told
        bytes.resize(16, 0);
    }
    Response::parameters(bytes, allocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::DataIn;
    use crate::scsi::unit::tests::config;

    fn reported(options: u8, opcode: u8, service_action: u16, timeouts: bool) -> Result<Vec<u8>, Response> {
        let request = ReportOpcodes { timeouts, options, opcode, service_action, allocation: 65535 };
        match operation_codes(&config(), &request) {
            Response { data_in: DataIn::Parameters(bytes), .. } => Ok(bytes),
            refused => Err(refused),
        }
    }

    #[test]
    fn all_commands_lists_every_row_once() {
        let plain = reported(0, 0, 0, false).unwrap();
        assert_eq!(plain.len(), 4 + 8 * TABLE.len());
        assert_eq!(plain[..4], u32::try_from(8 * TABLE.len()).unwrap().to_be_bytes());
        assert_eq!(plain[4..12], [0x00, 0, 0, 0, 0, 0, 0, 6]);
        assert!(plain[4..].chunks(8).any(|entry| entry == [0x9E, 0, 0, 0x10, 0, 1, 0, 16]));
        let timed = reported(0, 0, 0, true).unwrap();
        assert_eq!(timed.len(), 4 + 20 * TABLE.len());
        assert_eq!(timed[4..24], [0, 0, 0, 0, 0, 2, 0, 6, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60]);
    }

    #[test]
    fn one_command_golden_bytes() {
        let read = [0, 3, 0, 10, 0x28, 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0];
        assert_eq!(reported(1, 0x28, 0, false).unwrap(), read);
        assert_eq!(reported(3, 0x28, 0, false).unwrap(), read);
        let groups = [0, 0x83, 0, 12, 0xA3, 0x2A, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0];
        assert_eq!(reported(2, 0xA3, 0x0A, true).unwrap()[..16], groups);
        assert_eq!(reported(2, 0xA3, 0x0A, true).unwrap()[16..], timeouts_descriptor());
    }

    #[test]
    fn every_row_can_be_asked_for_in_its_own_form_only() {
        for row in TABLE {
            let (right, wrong) = if row.service_action.is_some() { (2, 1) } else { (1, 2) };
            let action = row.service_action.unwrap_or(0).into();
            for form in [right, 3] {
                assert_eq!(reported(form, row.opcode(), action, false).unwrap()[4..], *row.usage, "{}", row.name);
            }
            let refused = Response::check(Sense::invalid_cdb(2, Some(2)));
            assert_eq!(reported(wrong, row.opcode(), action, false), Err(refused), "{}", row.name);
        }
    }

    #[test]
    fn what_is_not_there() {
        let not_supported = Ok(vec![0, 1, 0, 0]);
        assert_eq!(reported(1, 0xFF, 0, true), not_supported);
        assert_eq!(reported(2, 0x9E, 0x13, false), not_supported);
        assert_eq!(reported(3, 0x28, 1, false), not_supported);
        assert!(reported(4, 0x28, 0, false).is_err());
    }

    #[test]
    fn what_not_every_unit_has_is_listed_where_it_is_offered() {
        let config = UnitConfig { atomic_bytes: 0, thin: false, ..config() };
        let request =
            |options, opcode| ReportOpcodes { timeouts: false, options, opcode, service_action: 0, allocation: 65535 };
        let data = |config: &UnitConfig, request| match operation_codes(config, &request).data_in {
            DataIn::Parameters(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(data(&config, request(1, 0x9C)), [0, 1, 0, 0]);
        assert_eq!(data(&config, request(1, 0x42)), [0, 1, 0, 0]);
        assert_eq!(data(&config, request(0, 0)).len(), 4 + 8 * (TABLE.len() - 3));
        assert_eq!(reported(1, 0x9C, 0, false).unwrap()[..5], [0, 3, 0, 16, 0x9C]);
        assert_eq!(reported(1, 0x42, 0, false).unwrap()[..5], [0, 3, 0, 10, 0x42]);
        for (write_same, thick, thin) in [(0x41, 0, 0x08), (0x93, 0x01, 0x09)] {
            assert_eq!(data(&config, request(1, write_same))[4..6], [write_same, thick]);
            assert_eq!(reported(1, write_same, 0, false).unwrap()[4..6], [write_same, thin]);
        }
    }

    #[test]
    fn task_management_golden_bytes() {
        let short = task_management_functions(false, 255).data_in;
        assert_eq!(short, DataIn::Parameters(vec![0xDA, 0, 0, 0]));
        let DataIn::Parameters(long) = task_management_functions(true, 255).data_in else { panic!() };
        assert_eq!((long.len(), &long[..4]), (16, &[0xDA, 0, 0, 0x0C][..]));
    }
}
