use super::*;

/// A list with its header.
pub(in crate::scsi) fn list_of(usage: u8, identifier: u8, cscds: &[[u8; 32]], segments: &[[u8; 28]]) -> Vec<u8> {
    let mut bytes = vec![identifier, usage << 3];
    bytes.extend(u16::try_from(32 * cscds.len()).unwrap().to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(u32::try_from(28 * segments.len()).unwrap().to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(cscds.concat());
    bytes.extend(segments.concat());
    bytes
}

/// A unit by its NAA designator.
pub(in crate::scsi) fn naa(designator: &[u8], block_bytes: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = 0xE4;
    bytes[4] = 0x01;
    bytes[5] = 0x03;
    bytes[7] = u8::try_from(designator.len()).unwrap();
    bytes[8..8 + designator.len()].copy_from_slice(designator);
    bytes[29..].copy_from_slice(&block_bytes.to_be_bytes()[1..]);
    bytes
}

/// So many blocks from one unit to another.
pub(in crate::scsi) fn blocks(from: (u8, u64), to: (u8, u64), blocks: u16) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..4].copy_from_slice(&[0x02, 0, 0, 0x18]);
    bytes[5] = from.0;
    bytes[7] = to.0;
    bytes[10..12].copy_from_slice(&blocks.to_be_bytes());
    bytes[12..20].copy_from_slice(&from.1.to_be_bytes());
    bytes[20..].copy_from_slice(&to.1.to_be_bytes());
    bytes
}

const NAA: [u8; 16] = [0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn parsed(list: &[u8]) -> Result<Option<ParameterList>, Sense> {
    parse(u32::try_from(list.len()).unwrap(), Some(list))
}

fn one_of_each() -> Vec<u8> {
    list_of(0, 7, &[naa(&NAA, 512)], &[blocks((0, 0x0102_0304_0506_0708), (0, 0x1112_1314_1516_1718), 0x2122)])
}

#[test]
fn golden_bytes() {
    #[rustfmt::skip]
    let bytes = [
        0x07, 0x30, 0x00, 0x20, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0,
        0xE4, 0x00, 0x00, 0x05, 0x01, 0x03, 0x00, 0x10,
        0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 0,
        0x00, 0x00, 0x10, 0x00,
        0x02, 0x02, 0x00, 0x18, 0x00, 0x00, 0x00, 0x01, 0, 0, 0x21, 0x22,
        1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
    ];
    let expected = ParameterList {
        identifier: Some(7),
        cscds: vec![Cscd {
            at: 16,
            device_type: 0,
            code_set: 1,
            association: 0,
            designator_type: 3,
            designator: NAA.to_vec(),
            block_bytes: 4096,
        }],
        segments: vec![Segment {
            at: 48,
            destination_count: true,
            source: 0,
            destination: 1,
            blocks: 0x2122,
            source_lba: 0x0102_0304_0506_0708,
            destination_lba: 0x1112_1314_1516_1718,
        }],
    };
    assert_eq!(parsed(&bytes), Ok(Some(expected)));
}

#[test]
fn every_wrong_length_is_refused() {
    let wrong = Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
    let list = one_of_each();
    assert!(parsed(&list).is_ok());
    for length in 1..list.len() {
        assert_eq!(parsed(&list[..length]), wrong, "{length}");
    }
    assert_eq!(parsed(&[list.clone(), vec![0]].concat()), wrong, "one byte that belongs to nothing");
    assert_eq!(parse(77, Some(&list[..76])), wrong, "less came than the CDB says");
    assert_eq!(parse(1, None), wrong);
    assert_eq!(parse(0, None), Ok(None));
    assert_eq!(parse(0, Some(&list)), Ok(None));
    for (at, value) in [(2, 0xFF), (8, 0xFF), (11, 29), (3, 31)] {
        let mut list = list.clone();
        list[at] = value;
        assert_eq!(parsed(&list), wrong, "byte {at}");
    }
}

#[test]
fn lists_are_named_or_not() {
    let named = |usage, identifier| {
        let list = list_of(usage, identifier, &[naa(&NAA, 512)], &[]);
        parsed(&list).map(|list| list.unwrap().identifier)
    };
    assert_eq!(named(0b00, 0), Ok(Some(0)));
    assert_eq!(named(0b10, 9), Ok(Some(9)));
    assert_eq!(named(0b11, 0), Ok(None));
    assert_eq!(named(0b11, 9), Err(Sense::invalid_parameter(0)));
    assert_eq!(named(0b01, 9), Err(Sense::invalid_parameter(1)));
}

#[test]
fn too_much_is_refused_before_it_is_looked_at() {
    let (unit, copy) = (naa(&NAA, 512), blocks((0, 0), (0, 8), 1));
    let many = |cscds, segments| parsed(&list_of(0, 1, &vec![unit; cscds], &vec![copy; segments]));
    assert!(many(8, 64).is_ok_and(|list| list.is_some_and(|list| list.segments.len() == 64)));
    assert_eq!(many(9, 1), Err(SenseCode::TOO_MANY_CSCD_DESCRIPTORS.into()));
    assert_eq!(many(1, 65), Err(SenseCode::TOO_MANY_SEGMENT_DESCRIPTORS.into()));
    assert_eq!(many(9, 65), Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into()));
    let mut with_data = one_of_each();
    with_data[15] = 1;
    assert_eq!(parsed(&with_data), Err(SenseCode::INLINE_DATA_LENGTH_EXCEEDED.into()));
}

#[test]
fn other_descriptors_are_refused_and_pointed_at() {
    let with = |at: usize, value| {
        let mut list = one_of_each();
        list[at] = value;
        parsed(&list).unwrap_err()
    };
    for code in (0..=u8::MAX).filter(|code| *code != IDENTIFICATION) {
        assert_eq!(with(16, code), Sense::from(SenseCode::UNSUPPORTED_CSCD_DESCRIPTOR).at_parameter(16));
    }
    for code in (0..=u8::MAX).filter(|code| *code != BLOCK_TO_BLOCK) {
        assert_eq!(with(48, code), Sense::from(SenseCode::UNSUPPORTED_SEGMENT_DESCRIPTOR).at_parameter(48));
    }
    assert_eq!(with(23, 21), Sense::invalid_parameter(23), "a designator that is longer than its field");
    assert_eq!(with(51, 0x17), Sense::invalid_parameter(50));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        changes in proptest::collection::vec((0_usize..76, proptest::prelude::any::<u8>()), 0..4),
        length in proptest::prelude::any::<u32>(),
    ) {
        parse(length, Some(&noise)).ok();
        let mut list = one_of_each();
        for (at, value) in changes {
            list[at] = value;
        }
        if let Ok(Some(list)) = parsed(&list) {
            proptest::prop_assert!(list.cscds.len() <= MAX_CSCDS && list.segments.len() <= MAX_SEGMENTS);
        }
    }
}
