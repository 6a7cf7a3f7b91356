use super::*;

use crate::scsi::opcodes;
use crate::scsi::unit::tests::{command, command_with, config, data};

fn list(descriptors: &[(u64, u32)]) -> Vec<u8> {
    let bytes = u16::try_from(descriptors.len() * DESCRIPTOR_BYTES).unwrap();
    let mut list = (bytes + 6).to_be_bytes().to_vec();
    list.extend(bytes.to_be_bytes());
    list.extend([0; 4]);
    for (lba, blocks) in descriptors {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

/// UNMAP with a list that is as long as its CDB says.
fn asked(list: &[u8]) -> Verdict {
    let length = u16::try_from(list.len()).unwrap();
    let [high, low] = length.to_be_bytes();
    begun(&command_with(&[0x42, 0, 0, 0, 0, 0, 0, high, low, 0], list))
}

fn begun(command: &Command) -> Verdict {
    match opcodes::parse(&command.cdb) {
        Ok((_, crate::scsi::decode::Operation::Block(asked))) => crate::scsi::block::begin(&config(), command, asked),
        other => panic!("{other:?}"),
    }
}

fn unmapped(list: &[u8]) -> Vec<(u64, u64)> {
    match asked(list) {
        Verdict::Io(BlockIo { op: BlockOp::Unmap { extents }, .. }) => {
            extents.iter().map(|extent| (extent.lba, extent.blocks)).collect()
        }
        Verdict::Done(response) => {
            assert_eq!(response, Response { data_out_wanted: Some(list.len() as u64), ..Response::good() });
            Vec::new()
        }
        other => panic!("{other:?}"),
    }
}

fn refused(list: &[u8], sense: impl Into<Sense>) {
    let expected = Response { data_out_wanted: Some(list.len() as u64), ..Response::check(sense) };
    assert_eq!(asked(list), expected.into(), "{list:02x?}");
}

#[test]
fn lists_of_any_order_and_overlap() {
    assert_eq!(unmapped(&list(&[(5, 3)])), [(5, 3)]);
    assert_eq!(unmapped(&list(&[(9, 1), (0, 2), (1, 4), (3, 1), (5, 1)])), [(0, 6), (9, 1)]);
    assert_eq!(unmapped(&list(&[(0xFFFF, 1), (0, 1), (0, 1)])), [(0, 1), (0xFFFF, 1)]);
}

#[test]
fn no_blocks_are_no_error() {
    let no_data = begun(&command(&[0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(no_data, Response { data_out_wanted: Some(0), ..Response::good() }.into());
    for none in [vec![], vec![(0, 0)], vec![(7, 0), (7, 0), (0x1_0000, 0)]] {
        assert_eq!(unmapped(&list(&none)), []);
    }
    assert_eq!(unmapped(&list(&[(3, 0), (5, 1)])), [(5, 1)]);
}

#[test]
fn one_bad_descriptor_refuses_all() {
    for bad in [(0x1_0000, 1), (0xFFFF, 2), (0x1_0001, 0), (u64::MAX, 1), (u64::MAX - 1, u32::MAX)] {
        refused(&list(&[(0, 1), bad]), SenseCode::LBA_OUT_OF_RANGE);
    }
}

#[test]
fn lengths_that_do_not_fit_each_other() {
    let whole = list(&[(5, 3), (9, 1)]);
    for cut in [1, 7, 8, 24, 39] {
        refused(&whole[..cut], SenseCode::PARAMETER_LIST_LENGTH_ERROR);
    }
    let mut short_data_length = whole.clone();
    short_data_length[1] -= 1;
    refused(&short_data_length, Sense::invalid_parameter(0));
    let mut incomplete = whole.clone();
    incomplete[3] -= 1;
    assert_eq!(unmapped(&incomplete), [(5, 3)], "the last one is incomplete, and so ignored");
    let mut longer = whole;
    longer.extend([0xFF; 20]);
    assert_eq!(unmapped(&longer), [(5, 3), (9, 1)]);
    // The CDB says more than came.
    let came = command_with(&[0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0], &list(&[(5, 3)]));
    let expected = Response::check(SenseCode::PARAMETER_LIST_LENGTH_ERROR);
    assert_eq!(begun(&came), Response { data_out_wanted: Some(40), ..expected }.into());
}

#[test]
fn limits_of_the_block_limits_page() {
    let most = usize::from(MAX_UNMAP_DESCRIPTORS);
    assert_eq!(unmapped(&list(&vec![(0, 1); most])), [(0, 1)]);
    refused(&list(&vec![(0, 1); most + 1]), SenseCode::INVALID_FIELD_IN_PARAMETER_LIST);
    // Half a million blocks of 512 bytes, named again and again.
    assert_eq!(unmapped(&list(&[(0, 0x1_0000); 8])), [(0, 0x1_0000)]);
    let mut too_many = vec![(0, 0x1_0000); 8];
    too_many.push((0, 1));
    refused(&list(&too_many), SenseCode::INVALID_FIELD_IN_PARAMETER_LIST);
}

#[test]
fn anchors_are_refused() {
    let anchor = command_with(&[0x42, 0x01, 0, 0, 0, 0, 0, 0, 24, 0], &list(&[(5, 3)]));
    assert_eq!(opcodes::parse(&anchor.cdb).unwrap_err(), Sense::invalid_cdb(1, Some(0)));
}

#[test]
fn status_golden_bytes() {
    #[rustfmt::skip]
    assert_eq!(data(lba_status(0x100, 7, false, 24)), [
        0, 0, 0, 20, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 1, 0,   0, 0, 0, 7,   1, 0, 0, 0,
    ]);
    assert_eq!(data(lba_status(0, 1 << 40, true, 24))[16..], [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
    assert_eq!(data(lba_status(0, 1, true, 8)).len(), 8);
}

#[test]
fn of_a_unit_that_is_not_thin_every_block_is_mapped() {
    let thick = UnitConfig { thin: false, ..config() };
    let command = command(&[]);
    assert_eq!(get_lba_status(&thick, &command, 0x100, 24), lba_status(0x100, 0xFF00, true, 24).into());
    let op = BlockOp::Map { lba: 0x100, blocks: 0xFF00, allocation: 24 };
    let io = BlockIo { op, data_out_wanted: None, data_in_wanted: None };
    assert_eq!(get_lba_status(&config(), &command, 0x100, 24), Verdict::Io(io));
    for lba in [0x1_0000, 1 << 63, u64::MAX] {
        for config in [&thick, &config()] {
            let refused = Response::check(SenseCode::LBA_OUT_OF_RANGE);
            assert_eq!(get_lba_status(config, &command, lba, 24), refused.into());
        }
    }
}
