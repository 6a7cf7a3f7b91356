use super::*;

use sas_backend::buffer::Pool;

use crate::scsi::Status;
use crate::scsi::opcodes;
use crate::scsi::unit::tests::{command, command_with, config};

/// The commands that move blocks, with how their CDBs are laid out.
#[derive(Clone, Copy, Debug)]
struct Family {
    opcodes: &'static [u8],
    byte_1: u8,
    takes_data: bool,
}

const READ: Family = Family { opcodes: &[0x28, 0xA8, 0x88], byte_1: 0, takes_data: false };
const WRITE: Family = Family { opcodes: &[0x2A, 0xAA, 0x8A], byte_1: 0, takes_data: true };
const ORWRITE: Family = Family { opcodes: &[0x8B], byte_1: 0, takes_data: true };
const VERIFY: Family = Family { opcodes: &[0x2F, 0xAF, 0x8F], byte_1: 0x02, takes_data: true };
const WRITE_VERIFY: Family = Family { opcodes: &[0x2E, 0xAE, 0x8E], byte_1: 0x02, takes_data: true };
const WRITE_SAME: Family = Family { opcodes: &[0x41, 0x93], byte_1: 0, takes_data: true };
const PRE_FETCH: Family = Family { opcodes: &[0x34, 0x90], byte_1: 0, takes_data: false };
const SYNCHRONIZE: Family = Family { opcodes: &[0x35, 0x91], byte_1: 0, takes_data: false };
const ALL: [Family; 8] = [READ, WRITE, ORWRITE, VERIFY, WRITE_VERIFY, WRITE_SAME, PRE_FETCH, SYNCHRONIZE];

fn cdb(opcode: u8, byte_1: u8, lba: u32, blocks: u32) -> Vec<u8> {
    let mut cdb = vec![opcode, byte_1];
    match opcode >> 5 {
        1 | 2 => {
            cdb.extend(lba.to_be_bytes());
            cdb.push(0);
            cdb.extend(u16::try_from(blocks).unwrap().to_be_bytes());
        }
        5 => {
            cdb.extend(lba.to_be_bytes());
            cdb.extend(blocks.to_be_bytes());
        }
        _ => {
            cdb.extend(u64::from(lba).to_be_bytes());
            cdb.extend(blocks.to_be_bytes());
        }
    }
    cdb
}

fn begun(command: &Command) -> Verdict {
    begun_at(&config(), command)
}

fn begun_thick(command: &Command) -> Verdict {
    begun_at(&UnitConfig { thin: false, ..config() }, command)
}

fn begun_at(config: &UnitConfig, command: &Command) -> Verdict {
    match opcodes::parse(&command.cdb) {
        Ok((_, crate::scsi::decode::Operation::Block(asked))) => begin(config, command, asked),
        Ok(other) => panic!("{other:?}"),
        Err(sense) => sense.into(),
    }
}

fn check(sense: impl Into<Sense>) -> Verdict {
    Response::check(sense).into()
}

fn io(verdict: Verdict) -> BlockIo {
    match verdict {
        Verdict::Io(io) => io,
        other => panic!("{other:?}"),
    }
}

fn payload(bytes: &[u8]) -> Payload {
    Pool::new().copy_of(bytes)
}

#[test]
fn out_of_range_addresses_are_refused_even_for_no_blocks() {
    for family in ALL {
        for &opcode in family.opcodes {
            for (lba, blocks) in
                [(0x1_0001, 0), (0x8000_0000, 0), (u32::MAX, 0), (0x1_0000, 1), (0xFFFF, 2), (0xFF01, 256)]
            {
                let cdb = cdb(opcode, family.byte_1, lba, blocks);
                let command = if family.takes_data { command_with(&cdb, &[0; 512]) } else { command(&cdb) };
                assert_eq!(begun(&command), check(SenseCode::LBA_OUT_OF_RANGE), "{cdb:02x?}");
            }
        }
    }
    let read_6 = command(&[0x08, 0x1F, 0xFF, 0xFF, 1]);
    assert_eq!(begun(&read_6), check(SenseCode::LBA_OUT_OF_RANGE));
}

#[test]
fn no_blocks_is_no_error() {
    for family in [READ, WRITE, VERIFY, WRITE_VERIFY, PRE_FETCH] {
        for &opcode in family.opcodes {
            let Verdict::Done(response) = begun(&command(&cdb(opcode, family.byte_1, 0, 0))) else { panic!() };
            assert_eq!(response.status, Status::Good, "{opcode:02x}");
        }
    }
}

#[test]
fn protection_information_is_refused() {
    for family in [READ, WRITE, VERIFY, WRITE_VERIFY, WRITE_SAME] {
        for &opcode in family.opcodes {
            for protect in 1..8_u8 {
                let cdb = cdb(opcode, family.byte_1 | protect << 5, 0, 1);
                let expected = Sense::invalid_cdb(1, Some(5 + u8::try_from(protect.ilog2()).unwrap()));
                assert_eq!(begun(&command_with(&cdb, &[0; 512])), check(expected), "{cdb:02x?}");
            }
        }
    }
}

#[test]
fn hints_and_fua_are_accepted() {
    for &opcode in READ.opcodes {
        for flags in [0x10, 0x08, 0x18, 0x02] {
            assert!(matches!(begun(&command(&cdb(opcode, flags, 0, 1))), Verdict::Io(_)));
        }
    }
    for &opcode in WRITE.opcodes {
        for (flags, expected) in [(0x10, false), (0x08, true), (0x18, true), (0x02, false), (0x1A, true)] {
            let op = io(begun(&command_with(&cdb(opcode, flags, 0, 1), &[7; 512]))).op;
            assert_eq!(op, BlockOp::Write { lba: 0, data: payload(&[7; 512]), fua: expected });
        }
    }
    for family in [VERIFY, WRITE_VERIFY] {
        for &opcode in family.opcodes {
            assert!(matches!(begun(&command_with(&cdb(opcode, 0x10, 0, 1), &[0; 512])), Verdict::Io(_)));
            let reserved_bytchk = begun(&command_with(&cdb(opcode, 0x04, 0, 1), &[0; 512]));
            assert_eq!(reserved_bytchk, check(Sense::invalid_cdb(1, Some(2))));
        }
    }
}

#[test]
fn read_6_of_length_zero_is_256_blocks() {
    assert_eq!(io(begun(&command(&[0x08, 0, 0, 9, 0]))).op, BlockOp::Read { lba: 9, blocks: 256 });
}

#[test]
fn residuals_of_writes() {
    // Blocks of the CDB, bytes that came, bytes written, and for WRITE AND VERIFY; `None` when refused.
    for (blocks, came, written, verified) in [
        (1, 0, Some(0), Some(0)),
        (1, 1024, Some(512), Some(512)),
        (2, 512, Some(512), Some(512)),
        (1, 10_000, Some(512), Some(512)),
        (1, 200, Some(200), None),
        (2, 700, Some(700), None),
        (0, 512, Some(0), Some(0)),
    ] {
        for (family, written) in [(WRITE, written), (WRITE_VERIFY, verified)] {
            for &opcode in family.opcodes {
                let verdict = begun(&command_with(&cdb(opcode, 0, 5, blocks), &vec![b'b'; came]));
                let response = match (verdict, written) {
                    (Verdict::Io(io), Some(written)) => {
                        let (lba, data, is_whole) = match &io.op {
                            BlockOp::Write { lba, data, .. } | BlockOp::WriteAndVerify { lba, data, .. } => {
                                (*lba, data, true)
                            }
                            BlockOp::WritePart { lba, data, .. } => (*lba, data, false),
                            other => panic!("{other:?}"),
                        };
                        assert_eq!((lba, data.len(), is_whole), (5, written, written % 512 == 0));
                        finish(&io, Ok(vec![]))
                    }
                    (Verdict::Done(response), Some(0)) => response,
                    (Verdict::Done(response), None) => {
                        let refused = Response::check(SenseCode::INVALID_FIELD_IN_COMMAND_IU);
                        assert_eq!(response.sense, refused.sense);
                        Response { status: Status::Good, ..response }
                    }
                    (other, _) => panic!("{other:?}"),
                };
                assert_eq!(response.status, Status::Good);
                assert_eq!(response.data_out_wanted, Some(u64::from(blocks) * 512));
            }
        }
    }
    let nothing_came = begun(&command(&cdb(0x2A, 0, 0, 1)));
    assert_eq!(nothing_came, nothing_wanted(512));
}

#[test]
fn transfers_beyond_the_limit_are_refused_at_the_length_field() {
    for (opcode, field) in [(0x28, 7), (0xA8, 6), (0x88, 10), (0x2A, 7), (0xAA, 6), (0x8A, 10), (0x41, 7), (0x93, 10)] {
        assert!(matches!(begun(&command_with(&cdb(opcode, 0, 0, 0x8000), &[0; 512])), Verdict::Io(_)));
        let refused = begun(&command_with(&cdb(opcode, 0, 0, 0x8001), &[0; 512]));
        assert_eq!(refused, check(Sense::invalid_cdb(field, Some(7))), "{opcode:02x}");
    }
}

#[test]
fn verify_without_comparison_needs_no_data() {
    for &opcode in VERIFY.opcodes {
        let io = io(begun(&command_with(&cdb(opcode, 0, 1, 2), &[1; 1024])));
        assert_eq!(io.op, BlockOp::Verify { lba: 1, blocks: 2 });
        assert_eq!(finish(&io, Ok(vec![])).data_out_wanted, Some(0));
    }
}

#[test]
fn write_same_takes_exactly_one_block() {
    for &opcode in WRITE_SAME.opcodes {
        let same = |blocks, data: &[u8]| begun(&command_with(&cdb(opcode, 0, 3, blocks), data));
        let expected = BlockOp::WriteSame { lba: 3, blocks: 9, pattern: Some(payload(&[1; 512])) };
        assert_eq!(io(same(9, &[1; 512])).op, expected);
        let field = if opcode == 0x41 { 7 } else { 10 };
        assert_eq!(same(0, &[1; 512]), check(Sense::invalid_cdb(field, Some(7))), "WSNZ");
        assert_eq!(
            begun_thick(&command_with(&cdb(opcode, 0, 3, 0), &[1; 512])),
            check(Sense::invalid_cdb(field, Some(7)))
        );
        let last = io(begun_thick(&command_with(&cdb(opcode, 0, 0xFFFE, 0), &[1; 512])));
        assert_eq!(last.op, BlockOp::WriteSame { lba: 0xFFFE, blocks: 2, pattern: Some(payload(&[1; 512])) });
        assert_eq!(begun_thick(&command_with(&cdb(opcode, 0, 0x1_0000, 0), &[1; 512])), nothing_wanted(512));
        for wrong in [0, 256, 1024] {
            let Verdict::Done(response) = same(1, &vec![0; wrong]) else { panic!() };
            assert_eq!(response.sense, Response::check(SenseCode::INVALID_FIELD_IN_COMMAND_IU).sense);
            assert_eq!(response.data_out_wanted, Some(512));
        }
        let unmap = begun_thick(&command_with(&cdb(opcode, 0x08, 3, 1), &[0; 512]));
        assert_eq!(unmap, check(Sense::invalid_cdb(1, Some(3))));
        for anchor in [0x10, 0x18] {
            let refused = begun(&command_with(&cdb(opcode, anchor, 3, 1), &[0; 512]));
            assert_eq!(refused, check(Sense::invalid_cdb(1, Some(4))));
        }
        let unmap = |data: &[u8]| io(begun(&command_with(&cdb(opcode, 0x08, 3, 9), data))).op;
        assert_eq!(unmap(&[0; 512]), BlockOp::Unmap { extents: vec![Extent { lba: 3, blocks: 9 }] });
        let mut ones = [0; 512];
        ones[511] = 1;
        let written = BlockOp::WriteSame { lba: 3, blocks: 9, pattern: Some(payload(&ones)) };
        assert_eq!(unmap(&ones), written, "reads would not return what was sent");
    }
    let unmapped = begun(&command(&cdb(0x93, 0x09, 3, 9)));
    assert_eq!(io(unmapped).op, BlockOp::Unmap { extents: vec![Extent { lba: 3, blocks: 9 }] });
    let zeroes = begun(&command(&cdb(0x93, 0x01, 3, 9)));
    assert_eq!(io(zeroes).op, BlockOp::WriteSame { lba: 3, blocks: 9, pattern: None });
}

#[test]
fn atomic_writes_are_whole_physical_blocks_up_to_the_limit() {
    let atomic = |lba: u64, blocks: u16, data: &[u8]| {
        let mut cdb = vec![0x9C, 0x08];
        cdb.extend(lba.to_be_bytes());
        cdb.extend([0, 0]);
        cdb.extend(blocks.to_be_bytes());
        begun(&command_with(&cdb, data))
    };
    let expected = BlockOp::Write { lba: 16, data: payload(&[5; 4096]), fua: true };
    assert_eq!(io(atomic(16, 8, &[5; 4096])).op, expected);
    assert_eq!(io(atomic(0, 256, &[5; 131_072])).data_out_wanted, Some(131_072));
    assert_eq!(atomic(8, 0, &[]), nothing_wanted(0));
    for (lba, blocks, data, refused) in [
        (8, 264, 135_168, Sense::invalid_cdb(12, Some(7))),
        (1, 8, 4096, Sense::invalid_cdb(2, Some(7))),
        (0, 4, 2048, Sense::invalid_cdb(12, Some(7))),
        (0, 16, 4096, SenseCode::INVALID_FIELD_IN_COMMAND_IU.into()),
        (0xFFF8, 16, 8192, SenseCode::LBA_OUT_OF_RANGE.into()),
        (0x1_0008, 0, 0, SenseCode::LBA_OUT_OF_RANGE.into()),
        (u64::MAX - 7, 8, 4096, SenseCode::LBA_OUT_OF_RANGE.into()),
    ] {
        assert_eq!(atomic(lba, blocks, &vec![0; data]), check(refused), "{lba:x}, {blocks}");
    }
}

#[test]
fn flushes() {
    for &opcode in SYNCHRONIZE.opcodes {
        let flush = |lba, blocks| io(begun(&command(&cdb(opcode, 0x02, lba, blocks)))).op;
        assert_eq!(flush(0, 0), BlockOp::Flush { lba: 0, blocks: 0x1_0000 });
        assert_eq!(flush(16, 0), BlockOp::Flush { lba: 16, blocks: 0xFFF0 });
        assert_eq!(flush(16, 8), BlockOp::Flush { lba: 16, blocks: 8 });
        assert_eq!(begun(&command(&cdb(opcode, 0, 0x1_0000, 0))), Response::good().into());
    }
}

#[test]
fn errors_by_kind() {
    let read = io(begun(&command(&cdb(0x28, 0, 0, 1))));
    let write = io(begun(&command_with(&cdb(0x2A, 0, 0, 1), &[0; 512])));
    let compare = io(begun(&command_with(&cdb(0x2F, 2, 0, 1), &[0; 512])));
    let sense = |io: &BlockIo, error| {
        let sense = finish(io, Err(error)).sense;
        (sense[2], sense[12], sense[13], u32::from_be_bytes([sense[3], sense[4], sense[5], sense[6]]))
    };
    assert_eq!(sense(&read, IoError::Medium { lba: Some(77) }), (3, 0x11, 0, 77));
    assert_eq!(sense(&write, IoError::Medium { lba: None }), (3, 0x0C, 0, 0));
    assert_eq!(sense(&compare, IoError::Miscompare { offset: 300 }), (0xE, 0x1D, 0, 300));
    assert_eq!(sense(&write, IoError::NoSpace), (7, 0x27, 7, 0));
    assert_eq!(sense(&write, IoError::Aborted), (0xB, 0x44, 0, 0));
    assert_eq!(sense(&read, IoError::Moved), (6, 0x2A, 0x06, 0));
    let blocks = vec![payload(&[3; 512])];
    assert_eq!(finish(&read, Ok(blocks.clone())).data_in, DataIn::Blocks(blocks));
}

#[test]
fn orwrite_takes_as_many_blocks_as_it_says() {
    let asked = |byte_1, blocks| begun(&command_with(&cdb(0x8B, byte_1, 7, blocks), &[0xA6; 1024]));
    for (byte_1, fua) in [(0, false), (0x10, false), (0x08, true), (0x18, true)] {
        let BlockIo { op, data_out_wanted, .. } = io(asked(byte_1, 2));
        assert_eq!(op, BlockOp::Or { lba: 7, data: payload(&[0xA6; 1024]), fua });
        assert_eq!(data_out_wanted, Some(1024));
    }
    for (protect, bit) in [(1, 5), (2, 6), (3, 6), (4, 7), (7, 7)] {
        assert_eq!(asked(protect << 5, 2), check(Sense::invalid_cdb(1, Some(bit))));
    }
}

#[test]
fn compare_and_write_takes_twice_as_many_blocks_and_nothing_else() {
    let asked = |blocks: u32, data: &[u8]| begun(&command_with(&cdb(0x89, 0x08, 7, blocks), data));
    let two = [[1; 1024], [2; 1024]].concat();
    let BlockIo { op, data_out_wanted, .. } = io(asked(2, &two));
    assert_eq!(op, BlockOp::CompareAndWrite { lba: 7, data: payload(&two), fua: true });
    assert_eq!(data_out_wanted, Some(2048));
    for wrong in [&two[..1024], &two[..2047], &[], &[two.clone(), vec![0]].concat()] {
        let refused = Response::check(SenseCode::INVALID_FIELD_IN_COMMAND_IU);
        assert_eq!(asked(2, wrong), Response { data_out_wanted: Some(2048), ..refused }.into(), "{}", wrong.len());
    }
    assert_eq!(asked(0, &[]), nothing_wanted(0));
    assert_eq!(asked(0, &two), check(Sense::invalid_cdb(13, Some(7))), "256 blocks, cut to the eight bits there are");
    assert_eq!(begun(&command_with(&cdb(0x89, 0, 0x1_0000, 1), &two)), check(SenseCode::LBA_OUT_OF_RANGE));
    assert_eq!(asked(256, &two), check(Sense::invalid_cdb(12, Some(0))), "more than the field has room for");
}

#[test]
fn no_more_is_read_than_the_initiator_has_room_for() {
    let asked = |data_in_max| begun(&Command { data_in_max, ..command(&cdb(0x28, 0, 3, 4)) });
    for (room, blocks, wanted) in [(0x1_0000, 4, None), (2048, 4, None), (1025, 3, Some(2048)), (1, 1, Some(2048))] {
        let io = io(asked(room));
        assert_eq!(io.op, BlockOp::Read { lba: 3, blocks });
        assert_eq!(finish(&io, Ok(vec![])).data_in_wanted, wanted, "the residual count is of all of it");
    }
    assert_eq!(asked(0), Response { data_in_wanted: Some(2048), ..Response::good() }.into());
}
