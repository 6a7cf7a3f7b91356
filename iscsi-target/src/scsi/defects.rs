//! What a disk tells about single blocks: READ DEFECT DATA and GET LBA STATUS (SBC-3 5.17, 5.18, 5.4).

use crate::scsi::Response;
use crate::scsi::config::UnitConfig;
use crate::scsi::decode::ReadDefectData;
use crate::scsi::sense::{Sense, SenseCode};

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

/// Answer GET LBA STATUS: everything is mapped, as the unit is fully provisioned.
#[must_use]
pub fn get_lba_status(config: &UnitConfig, lba: u64, allocation: u32) -> Response {
    if lba >= config.blocks {
        return Response::check(SenseCode::LBA_OUT_OF_RANGE);
    }
    let blocks = u32::try_from(config.blocks - lba).unwrap_or(u32::MAX);
    let mut bytes = vec![0, 0, 0, 20, 0, 0, 0, 0]; // PARAMETER DATA LENGTH
    bytes.extend(lba.to_be_bytes());
    bytes.extend(blocks.to_be_bytes());
    bytes.extend([0; 4]); // PROVISIONING STATUS: mapped
    Response::parameters(bytes, allocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::unit::tests::{config, data};

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

    #[test]
    fn every_block_from_the_first_that_is_asked_for_is_mapped() {
        #[rustfmt::skip]
        assert_eq!(data(get_lba_status(&config(), 0x100, 24)), [
            0, 0, 0, 20, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 1, 0,   0, 0, 0xFF, 0,   0, 0, 0, 0,
        ]);
        assert_eq!(data(get_lba_status(&config(), 0xFFFF, 24))[16..20], [0, 0, 0, 1]);
        assert_eq!(data(get_lba_status(&config(), 0, 8)).len(), 8);
        let large = UnitConfig { blocks: 1 << 40, ..config() };
        assert_eq!(data(get_lba_status(&large, 1, 24))[16..20], [0xFF; 4]);
        for lba in [0x1_0000, 1 << 63, u64::MAX] {
            assert_eq!(get_lba_status(&config(), lba, 24), Response::check(SenseCode::LBA_OUT_OF_RANGE));
        }
    }
}
