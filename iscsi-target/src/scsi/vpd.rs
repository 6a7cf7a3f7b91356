//! Vital product data (SPC-4 7.8, SBC-3 6.6).

use alua::TargetPort;

use crate::scsi::block::{MAX_COMPARE_AND_WRITE_BLOCKS, MAX_TRANSFER_BYTES, MAX_WRITE_SAME_BYTES};
use crate::scsi::config::UnitConfig;
use crate::scsi::copy::list::Cscd;
use crate::scsi::copy::offer;
use crate::scsi::inquiry::{PRODUCT, VENDOR};
use crate::scsi::provisioning::{MAX_UNMAP_BYTES, MAX_UNMAP_DESCRIPTORS};

/// Pages that there are, in ascending order. No page B6h: there are no zones.
const PAGES: [u8; 10] = [0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8F, 0xB0, 0xB1, 0xB2];
/// OPTIMAL UNMAP GRANULARITY, unless a physical block is larger: file systems give back nothing smaller.
const UNMAP_GRANULARITY_BYTES: u32 = 4096;
/// UGAVALID, before the UNMAP GRANULARITY ALIGNMENT.
const UGAVALID: u32 = 1 << 31;
/// OPTIMAL TRANSFER LENGTH: larger commands gain nothing.
const OPTIMAL_TRANSFER_BYTES: u32 = 1 << 20;

/// The page `page` as the initiator sees it through `port`; `None` when there is no such page.
#[must_use]
pub fn page(config: &UnitConfig, ports: &[TargetPort], port: Option<&TargetPort>, page: u8) -> Option<Vec<u8>> {
    let body = match page {
        0x00 => PAGES.to_vec(),
        0x80 => config.serial.as_bytes().to_vec(),
        0x83 => device_identification(config, port),
        0x86 => extended_inquiry(),
        0x87 => mode_page_policy(),
        0x88 => scsi_ports(config, ports),
        0x8F => offer::third_party_copy(config),
        0xB0 => block_limits(config),
        0xB1 => block_device_characteristics(config),
        0xB2 => provisioning(config),
        _ => return None,
    };
    let length = u16::try_from(body.len()).expect("a page of at most 255 ports and a few strings");
    let mut bytes = vec![0x00, page];
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    Some(bytes)
}

/// What a designator is about.
#[derive(Clone, Copy)]
enum Association {
    LogicalUnit = 0x00,
    TargetPort = 0x10,
    Target = 0x20,
}

/// CODE SET and DESIGNATOR TYPE (SPC-4 7.8.5).
#[derive(Clone, Copy)]
enum Designator {
    T10Vendor,
    Naa,
    RelativeTargetPort,
    TargetPortGroup,
    ScsiName,
}

impl Designator {
    const fn code_set_and_type(self) -> (u8, u8) {
        match self {
            Self::T10Vendor => (2, 1),
            Self::Naa => (1, 3),
            Self::RelativeTargetPort => (1, 4),
            Self::TargetPortGroup => (1, 5),
            Self::ScsiName => (3, 8),
        }
    }
}

/// PROTOCOL IDENTIFIER of iSCSI, in the upper half.
const ISCSI: u8 = 0x50;
/// PIV: the protocol identifier is valid.
const PIV: u8 = 0x80;

fn push_designator(bytes: &mut Vec<u8>, association: Association, designator: Designator, value: &[u8]) {
    let (code_set, kind) = designator.code_set_and_type();
    let (protocol, piv) = match association {
        Association::LogicalUnit => (0, 0),
        Association::TargetPort | Association::Target => (ISCSI, PIV),
    };
    let length = u8::try_from(value.len()).expect("names are bounded by UnitConfig");
    bytes.extend([protocol | code_set, piv | association as u8 | kind, 0, length]);
    bytes.extend(value);
}

/// A SCSI name string: NUL-terminated and padded to a multiple of four (SPC-4 7.8.5.11).
fn scsi_name(name: String) -> Vec<u8> {
    let mut bytes = name.into_bytes();
    bytes.resize((bytes.len() + 1).next_multiple_of(4), 0);
    bytes
}

/// The SCSI port name of RFC 7143 4.2.7.2; a head's portal group tag is the number of its target port group.
fn port_name(config: &UnitConfig, port: &TargetPort) -> Vec<u8> {
    scsi_name(format!("{},t,0x{:04x}", config.target_name, port.group.0))
}

/// What the unit itself is called, in the order of page 83h.
fn names(config: &UnitConfig) -> [(Designator, Vec<u8>); 3] {
    let naa: String = config.naa.bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    [
        (Designator::Naa, config.naa.bytes().to_vec()),
        (Designator::T10Vendor, [&VENDOR[..], &PRODUCT[..], config.serial.as_bytes()].concat()),
        (Designator::ScsiName, scsi_name(format!("naa.{naa}"))),
    ]
}

/// Whether the identification descriptor of a copy means this unit.
pub(super) fn names_unit(config: &UnitConfig, cscd: &Cscd) -> bool {
    let asked = (cscd.code_set, cscd.designator_type);
    u16::from(cscd.association) << 4 == Association::LogicalUnit as u16
        && names(config).iter().any(|(kind, name)| kind.code_set_and_type() == asked && *name == cscd.designator)
}

/// Page 83h (SPC-4 7.8.5). The NAA name goes first, since udev and others take the first they like.
fn device_identification(config: &UnitConfig, port: Option<&TargetPort>) -> Vec<u8> {
    use Association as A;
    use Designator as D;
    let mut bytes = Vec::new();
    for (designator, name) in names(config) {
        push_designator(&mut bytes, A::LogicalUnit, designator, &name);
    }
    if let Some(port) = port {
        let [high, low] = port.relative_id.to_be_bytes();
        push_designator(&mut bytes, A::TargetPort, D::RelativeTargetPort, &[0, 0, high, low]);
        let [high, low] = port.group.0.to_be_bytes();
        push_designator(&mut bytes, A::TargetPort, D::TargetPortGroup, &[0, 0, high, low]);
        push_designator(&mut bytes, A::TargetPort, D::ScsiName, &port_name(config, port));
    }
    push_designator(&mut bytes, A::Target, D::ScsiName, &scsi_name(config.target_name.clone()));
    bytes
}

/// Page 86h (SPC-4 7.8.7): HEADSUP, ORDSUP and SIMPSUP; V_SUP, as the write cache is in RAM.
fn extended_inquiry() -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[1] = 0x07;
    bytes[2] = 0x01;
    bytes
}

/// Page 87h (SPC-4 7.8.9): all pages and subpages are shared by all ports.
fn mode_page_policy() -> Vec<u8> {
    vec![0x3F, 0xFF, 0x00, 0x00]
}

/// Page 88h (SPC-4 7.8.14): the ports of both heads.
fn scsi_ports(config: &UnitConfig, ports: &[TargetPort]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for port in ports {
        bytes.extend([0, 0]);
        bytes.extend(port.relative_id.to_be_bytes());
        bytes.extend([0; 6]); // no initiator port TransportID
        let mut names = Vec::new();
        push_designator(&mut names, Association::TargetPort, Designator::ScsiName, &port_name(config, port));
        bytes.extend(u16::try_from(names.len()).expect("one designator").to_be_bytes());
        bytes.extend(names);
    }
    bytes
}

/// Page B0h (SBC-3 6.6.4).
fn block_limits(config: &UnitConfig) -> Vec<u8> {
    let in_blocks = |bytes: u32| bytes / config.block_bytes;
    let granularity = 1_u16 << config.physical_block_exponent;
    let mut bytes = vec![u8::from(config.wants_write_same_length()), MAX_COMPARE_AND_WRITE_BLOCKS]; // WSNZ
    bytes.extend(granularity.to_be_bytes());
    bytes.extend(in_blocks(MAX_TRANSFER_BYTES).to_be_bytes());
    bytes.extend(in_blocks(OPTIMAL_TRANSFER_BYTES).to_be_bytes());
    bytes.resize(16, 0); // no prefetch limit
    if config.thin {
        bytes.extend(in_blocks(MAX_UNMAP_BYTES).to_be_bytes());
        bytes.extend(u32::from(MAX_UNMAP_DESCRIPTORS).to_be_bytes());
        bytes.extend(in_blocks(UNMAP_GRANULARITY_BYTES).max(granularity.into()).to_be_bytes());
        bytes.extend(UGAVALID.to_be_bytes()); // from block 0 on
    }
    bytes.resize(32, 0);
    bytes.extend(u64::from(in_blocks(MAX_WRITE_SAME_BYTES)).to_be_bytes());
    if config.atomic_bytes > 0 {
        bytes.extend(in_blocks(config.atomic_bytes).to_be_bytes());
        bytes.extend(u32::from(granularity).to_be_bytes()); // ATOMIC ALIGNMENT
        bytes.extend(u32::from(granularity).to_be_bytes()); // ATOMIC TRANSFER LENGTH GRANULARITY
    }
    bytes.resize(60, 0); // no boundaries
    bytes
}

/// Page B1h (SBC-3 6.6.3): MEDIUM ROTATION RATE is "non-rotating" or "not reported"; WABEREQ, if there is block erase, and
/// WACEREQ say that blocks can be read after either.
fn block_device_characteristics(config: &UnitConfig) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    bytes[1] = u8::from(config.solid_state);
    bytes[3] = if config.thin { 0x50 } else { 0x10 };
    bytes
}

/// Page B2h (SBC-3 6.6): no threshold. Thin: LBPU, LBPWS, LBPWS10 and LBPRZ, PROVISIONING TYPE "thin"; otherwise there is
/// nothing to unmap.
fn provisioning(config: &UnitConfig) -> Vec<u8> {
    if config.thin { vec![0, 0xE4, 0x02, 0] } else { vec![0; 4] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::unit::tests::{config, ports};

    fn body(code: u8) -> Vec<u8> {
        let ports = ports();
        let bytes = page(&config(), &ports, ports.first(), code).unwrap();
        assert_eq!(bytes[..2], [0, code]);
        assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len() - 4);
        bytes[4..].to_vec()
    }

    #[test]
    fn exactly_the_listed_pages_exist() {
        assert_eq!(body(0x00), [0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8F, 0xB0, 0xB1, 0xB2]);
        for code in 0..=u8::MAX {
            assert_eq!(page(&config(), &[], None, code).is_some(), PAGES.contains(&code), "{code:02x}");
        }
    }

    #[test]
    fn identity_golden_bytes() {
        assert_eq!(body(0x80), b"0123456789abcdef");
        let mut expected: Vec<u8> = Vec::new();
        expected.extend(b"\x01\x03\x00\x10\x60\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff");
        expected.extend(b"\x02\x01\x00\x28TWINHEADVIRTUAL-DISK    0123456789abcdef");
        expected.extend(b"\x03\x08\x00\x28naa.60112233445566778899AABBCCDDEEFF\0\0\0\0");
        expected.extend(b"\x51\x94\x00\x04\x00\x00\x00\x01");
        expected.extend(b"\x51\x95\x00\x04\x00\x00\x00\x01");
        expected.extend(b"\x53\x98\x00\x24iqn.2026-01.org.example:d,t,0x0001\0\0");
        expected.extend(b"\x53\xa8\x00\x1ciqn.2026-01.org.example:d\0\0\0");
        assert_eq!(body(0x83), expected);
    }

    #[test]
    fn through_an_unknown_port_only_unit_and_target_are_named() {
        let bytes = page(&config(), &[], None, 0x83).unwrap();
        assert!(!bytes.windows(2).any(|pair| pair == [0x51, 0x94]));
    }

    #[test]
    fn ports_golden_bytes() {
        let mut expected = Vec::new();
        for (id, group) in [(1, '1'), (2, '1'), (3, '2')] {
            expected.extend([0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 0x28]);
            expected.extend(b"\x53\x98\x00\x24iqn.2026-01.org.example:d,t,0x000");
            expected.extend([group as u8, 0, 0]);
        }
        assert_eq!(body(0x88), expected);
    }

    #[test]
    fn limits_golden_bytes() {
        let mut expected = vec![1, 255, 0, 8, 0, 0, 0x80, 0, 0, 0, 8, 0];
        expected.resize(16, 0);
        expected.extend([0, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 8, 0x80, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 0, 0, 0x80, 0]);
        expected.extend([0, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0, 8]);
        expected.resize(60, 0);
        assert_eq!(body(0xB0), expected);
        let plain = UnitConfig { atomic_bytes: 0, thin: false, ..config() };
        expected[0] = 0;
        expected[16..32].fill(0);
        expected[40..].fill(0);
        assert_eq!(block_limits(&plain), expected);
        let coarse = UnitConfig { physical_block_exponent: 7, ..config() };
        assert_eq!(block_limits(&coarse)[24..28], [0, 0, 0, 128]);
    }

    #[test]
    fn small_pages_golden_bytes() {
        assert_eq!(body(0x86)[..3], [0, 7, 1]);
        assert_eq!(body(0x86).len(), 60);
        assert_eq!(body(0x87), [0x3F, 0xFF, 0, 0]);
        assert_eq!((body(0xB1).len(), &body(0xB1)[..2]), (60, &[0, 1][..]));
        assert_eq!(body(0xB1)[3], 0x50);
        assert_eq!(block_device_characteristics(&UnitConfig { thin: false, ..config() })[3], 0x10);
        assert_eq!(body(0xB2), [0, 0xE4, 2, 0]);
        assert_eq!(provisioning(&UnitConfig { thin: false, ..config() }), [0; 4]);
    }
}
