//! READ CAPACITY (SBC-3 5.15, 5.16).

use crate::scsi::Response;
use crate::scsi::config::UnitConfig;

/// READ CAPACITY(10): eight bytes, the last address all ones when it does not fit.
#[must_use]
pub fn read_capacity_10(config: &UnitConfig) -> Response {
    let last = u32::try_from(config.blocks - 1).unwrap_or(u32::MAX);
    Response::parameters([last.to_be_bytes(), config.block_bytes.to_be_bytes()].concat(), u32::MAX)
}

/// LBPME and LBPRZ.
const THIN: u8 = 0xC0;

/// READ CAPACITY(16): no protection information, aligned from block 0 on.
#[must_use]
pub fn read_capacity_16(config: &UnitConfig, allocation: u32) -> Response {
    let mut bytes = (config.blocks - 1).to_be_bytes().to_vec();
    bytes.extend(config.block_bytes.to_be_bytes());
    bytes.extend([0, config.physical_block_exponent, if config.thin { THIN } else { 0 }]);
    bytes.resize(32, 0);
    Response::parameters(bytes, allocation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::DataIn;
    use crate::scsi::unit::tests::config;

    #[test]
    fn golden_bytes() {
        let ten = read_capacity_10(&config());
        assert_eq!(ten.data_in, DataIn::Parameters(vec![0, 0, 0xFF, 0xFF, 0, 0, 2, 0]));
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 2, 0, 0, 3, 0xC0];
        expected.resize(32, 0);
        assert_eq!(read_capacity_16(&config(), 32).data_in, DataIn::Parameters(expected.clone()));
        assert_eq!(read_capacity_16(&config(), 12).data_in, DataIn::Parameters(expected[..12].to_vec()));
        let thick = UnitConfig { thin: false, ..config() };
        expected[14] = 0;
        assert_eq!(read_capacity_16(&thick, 32).data_in, DataIn::Parameters(expected));
    }

    #[test]
    fn a_large_disk_sends_initiators_to_the_long_command() {
        for (blocks, last) in [(1 << 32, u32::MAX), ((1 << 32) - 1, u32::MAX - 1), (1, 0)] {
            let mut config = config();
            config.blocks = blocks;
            let DataIn::Parameters(bytes) = read_capacity_10(&config).data_in else { panic!() };
            assert_eq!(bytes[..4], last.to_be_bytes());
        }
    }
}
