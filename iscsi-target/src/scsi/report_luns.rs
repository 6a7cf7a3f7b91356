//! REPORT LUNS (SPC-4 6.33), which any unit of the target answers in the same way.

use crate::scsi::decode::Operation;
use crate::scsi::lun::Lun;
use crate::scsi::sense::Sense;
use crate::scsi::{Response, opcodes};

/// SELECT REPORT: all but well known logical units, well known ones, all.
const SELECT: [u8; 3] = [0x00, 0x01, 0x02];
/// SELECT REPORT that only asks for well known logical units; there are none.
const WELL_KNOWN_ONLY: u8 = 0x01;

/// Answer the REPORT LUNS in `cdb` for an initiator that may see `luns`.
#[must_use]
pub fn report(luns: &[Lun], cdb: &[u8]) -> Response {
    let (select, allocation) = match opcodes::parse(cdb) {
        Ok((_, Operation::ReportLuns { select, allocation })) if SELECT.contains(&select) => (select, allocation),
        Ok(_) => return Response::check(Sense::invalid_cdb(2, Some(7))),
        Err(sense) => return Response::check(sense),
    };
    let luns = if select == WELL_KNOWN_ONLY { &[] } else { luns };
    let length = u32::try_from(luns.len() * 8).expect("at most 16384 units");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(luns.iter().flat_map(|lun| lun.encode()));
    Response::parameters(bytes, allocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::DataIn;

    fn reported(select: u8, allocation: u8) -> Response {
        let luns: Vec<_> = [0, 7, 300].into_iter().filter_map(Lun::new).collect();
        report(&luns, &[0xA0, 0, select, 0, 0, 0, 0, 0, 0, allocation, 0, 0])
    }

    #[test]
    fn golden_bytes() {
        #[rustfmt::skip]
        let all = vec![
            0, 0, 0, 24, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,   0, 7, 0, 0, 0, 0, 0, 0,   0x41, 0x2C, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(reported(0, 255).data_in, DataIn::Parameters(all.clone()));
        assert_eq!(reported(2, 255).data_in, DataIn::Parameters(all.clone()));
        assert_eq!(reported(0, 17).data_in, DataIn::Parameters(all[..17].to_vec()));
        assert_eq!(reported(1, 255).data_in, DataIn::Parameters(vec![0; 8]));
        assert_eq!(reported(3, 255), Response::check(Sense::invalid_cdb(2, Some(7))));
    }
}
