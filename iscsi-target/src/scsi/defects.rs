//! READ DEFECT DATA (SBC-3 5.17, 5.18).

use crate::scsi::Response;
use crate::scsi::decode::ReadDefectData;
use crate::scsi::sense::Sense;

/// The last DEFECT LIST FORMAT of the standard; then come "vendor specific" and a reserved one (SBC-3 5.17).
const LAST_FORMAT: u8 = 0b101;

/// Answer READ DEFECT DATA: both lists are empty, in any format. The defects of the disk below are its own business.
#[must_use]
pub fn read_defect_data(request: &ReadDefectData) -> Response {
    if request.format > LAST_FORMAT {
        return Response::check(Sense::invalid_cdb(if request.twelve { 1 } else { 2 }, Some(2)));
    }
    // DEFECT LIST LENGTH, and in the longer header GENERATION CODE before it, are 0.
    let mut bytes = vec![0, request.lists | request.format];
    bytes.resize(if request.twelve { 8 } else { 4 }, 0);
    Response::parameters(bytes, request.allocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::unit::tests::data;

    #[test]
    fn empty_lists_in_the_format_that_was_asked_for() {
        let asked = |twelve, lists, format| ReadDefectData { twelve, lists, format, allocation: 32 };
        assert_eq!(data(read_defect_data(&asked(false, 0x18, 4))), [0, 0x1C, 0, 0]);
        assert_eq!(data(read_defect_data(&asked(true, 0x08, 5))), [0, 0x0D, 0, 0, 0, 0, 0, 0]);
        assert_eq!(data(read_defect_data(&ReadDefectData { allocation: 3, ..asked(true, 0, 0) })), [0, 0, 0]);
        for format in [6, 7] {
            let refused = |byte| Response::check(Sense::invalid_cdb(byte, Some(2)));
            assert_eq!(read_defect_data(&asked(false, 0x10, format)), refused(2));
            assert_eq!(read_defect_data(&asked(true, 0x10, format)), refused(1));
        }
    }
}
