//! Standard INQUIRY data (SPC-4 6.6.2).

use crate::scsi::config::UnitConfig;

/// T10 VENDOR IDENTIFICATION.
pub const VENDOR: [u8; 8] = *b"TWINHEAD";
/// PRODUCT IDENTIFICATION.
pub const PRODUCT: [u8; 16] = *b"VIRTUAL-DISK    ";

/// VERSION: SPC-4. A higher one would leave out checks of conformance suites.
const VERSION: u8 = 0x06;
/// HISUP and RESPONSE DATA FORMAT 2.
const FORMAT: u8 = 0x12;
/// RMB.
const REMOVABLE: u8 = 0x80;
/// TPGS 11b: implicit and explicit. Told of implicit only, multipathd would leave a standby path alone for seconds.
const TPGS: u8 = 0x30;
/// 3PC: there is EXTENDED COPY.
const THIRD_PARTY_COPY: u8 = 0x08;
/// MULTIP: both heads' ports.
const MULTIP: u8 = 0x10;
/// CMDQUE.
const CMDQUE: u8 = 0x02;
/// SAM-5, SPC-4, SBC-3, iSCSI, no version claimed.
const VERSION_DESCRIPTORS: [u16; 4] = [0x00A0, 0x0460, 0x04C0, 0x0960];
/// Up to the last version descriptor and the reserved bytes after it.
const LENGTH: usize = 96;

/// The standard INQUIRY data.
#[must_use]
pub fn standard(config: &UnitConfig) -> Vec<u8> {
    let removable = if config.removable { REMOVABLE } else { 0 };
    let mut bytes = vec![0x00, removable, VERSION, FORMAT, 91, TPGS | THIRD_PARTY_COPY, MULTIP, CMDQUE];
    bytes.extend(VENDOR);
    bytes.extend(PRODUCT);
    let mut revision = [b' '; 4];
    for (to, from) in revision.iter_mut().zip(config.revision.bytes()) {
        *to = from;
    }
    bytes.extend(revision);
    bytes.resize(58, 0);
    bytes.extend(VERSION_DESCRIPTORS.iter().flat_map(|descriptor| descriptor.to_be_bytes()));
    bytes.resize(LENGTH, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::unit::tests::config;

    #[test]
    fn golden_bytes() {
        let bytes = standard(&config());
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(usize::from(bytes[4]), LENGTH - 5);
        assert_eq!(bytes[..8], [0, 0, 6, 0x12, 91, 0x38, 0x10, 2]);
        assert_eq!(bytes[8..36], *b"TWINHEADVIRTUAL-DISK    0.1 ");
        assert_eq!(bytes[36..58], [0; 22]);
        assert_eq!(bytes[58..66], [0x00, 0xA0, 0x04, 0x60, 0x04, 0xC0, 0x09, 0x60]);
        assert_eq!(bytes[66..], [0; 30]);
        assert_eq!(standard(&UnitConfig { removable: true, ..config() })[..3], [0, 0x80, 6]);
    }
}
