//! Commands with their parameter lists to a logical unit, from several initiators, while its role changes: every answer is
//! one that an initiator can read, and no operation leaves the unit.
#![no_main]

use alua::GroupId;
use iscsi_target::scsi::block::{BlockIo, BlockOp, IoError, finish, finish_map};
use iscsi_target::scsi::lun::Lun;
use iscsi_target::scsi::shared::relay;
use iscsi_target::scsi::unit::{Access, Decision, LogicalUnit, Verdict};
use iscsi_target::scsi::{
    Command, DataIn, InitiatorPort, NexusId, Response, Status, TaskAttribute, missing_lun, report_luns,
};
use libfuzzer_sys::fuzz_target;
use sas_backend::buffer::Pool;
use sas_backend::superblock::RECORD_MAX_BYTES;
use twinhead_fuzz::{Input, unit_config};

/// Commands whose parameter lists have an inside of their own, asked for more often than chance would.
const WITH_PARAMETERS: [u8; 8] = [0x15, 0x55, 0x42, 0x5F, 0x93, 0x89, 0xA4, 0x83];
const ACCESS: [Access; 5] =
    [Access::Serving, Access::Forwarding, Access::Standby, Access::Changing, Access::Unavailable];

fn command(input: &mut Input<'_>, pool: &Pool, nexus: NexusId) -> Command {
    let choice = input.byte();
    let mut cdb = input.array::<16>().to_vec();
    if choice & 1 != 0 {
        cdb[0] = WITH_PARAMETERS[usize::from(choice >> 5)];
    }
    let length = usize::from(input.u16()) % 2048;
    let mut data = input.take(length).to_vec();
    data.resize(length, 0);
    if choice & 2 != 0 {
        // Let the length in the CDB, wherever it is, be the right one.
        let [high, low] = u16::try_from(length).unwrap_or(0).to_be_bytes();
        let at = match cdb[0] {
            0x5F | 0xA4 => 7,
            0x83 => 12,
            _ => 6,
        };
        (cdb[at], cdb[at + 1]) = (high, low);
    }
    if choice & 4 != 0 {
        cdb.extend(input.array::<16>());
    }
    let data_out = (choice & 8 == 0).then(|| pool.copy_of(&data));
    Command { nexus, cdb, attribute: TaskAttribute::Simple, data_out, data_in_max: u32::from(input.u16()) }
}

/// Nothing beyond the end of the unit, nothing empty, and data of whole blocks.
fn check_io(unit: &LogicalUnit, io: &BlockIo) {
    let inside = |lba: u64, blocks: u64| {
        assert!(lba.checked_add(blocks).is_some_and(|end| end <= unit.config().blocks), "{io:?} leaves the unit");
    };
    let block_bytes = u64::from(unit.config().block_bytes);
    match &io.op {
        BlockOp::Read { lba, blocks } | BlockOp::Verify { lba, blocks } | BlockOp::Map { lba, blocks, .. } => {
            assert!(*blocks > 0);
            inside(*lba, *blocks);
        }
        BlockOp::Flush { lba, blocks } => inside(*lba, *blocks),
        BlockOp::WritePart { lba, data, .. } => {
            let bytes = data.len() as u64;
            assert!(!bytes.is_multiple_of(block_bytes));
            inside(*lba, bytes.div_ceil(block_bytes));
        }
        BlockOp::Write { lba, data, .. }
        | BlockOp::WriteAndVerify { lba, data, .. }
        | BlockOp::Compare { lba, data }
        | BlockOp::Or { lba, data, .. }
        | BlockOp::CompareAndWrite { lba, data, .. } => {
            let bytes = data.len() as u64;
            let halves = if matches!(io.op, BlockOp::CompareAndWrite { .. }) { 2 } else { 1 };
            assert!(bytes > 0 && bytes.is_multiple_of(halves * block_bytes));
            inside(*lba, bytes / block_bytes / halves);
        }
        BlockOp::WriteSame { lba, blocks, pattern } => {
            assert!(*blocks > 0 && pattern.as_ref().is_none_or(|block| block.len() as u64 == block_bytes));
            inside(*lba, *blocks);
        }
        BlockOp::Unmap { extents } => {
            assert!(!extents.is_empty());
            extents.iter().for_each(|extent| inside(extent.lba, extent.blocks));
            assert!(extents.iter().all(|extent| extent.blocks > 0));
            assert!(extents.windows(2).all(|pair| pair[0].lba + pair[0].blocks < pair[1].lba), "in order, and apart");
        }
    }
}

/// Nothing, or fixed or descriptor format sense data (SPC-4 4.5).
fn is_sense(sense: &[u8]) -> bool {
    sense.len() <= 252 && sense.first().is_none_or(|first| first & 0x70 == 0x70)
}

fn check_answer(response: &Response) {
    assert_eq!(response.status == Status::CheckCondition, !response.sense.is_empty(), "{response:?}");
    assert!(is_sense(&response.sense), "{response:?}");
    assert!(response.status == Status::Good || response.data_in == DataIn::None || response.sense.is_empty());
}

fn end_io(io: &BlockIo, how: u8) -> Response {
    let error = match how % 8 {
        0 => IoError::Miscompare { offset: u64::from(how) },
        1 => IoError::Medium { lba: Some(u64::MAX) },
        2 => IoError::NoSpace,
        3 => IoError::Aborted,
        5 => IoError::Moved,
        _ if matches!(io.op, BlockOp::Map { .. }) => return finish_map(io, u64::from(how), how & 8 != 0),
        _ => return finish(io, Ok(Vec::new())),
    };
    finish(io, Err(error))
}

fn answer(unit: &mut LogicalUnit, command: &Command, input: &mut Input<'_>) -> Option<Response> {
    match unit.handle(command) {
        Verdict::Done(response) => Some(response),
        Verdict::Io(io) => {
            check_io(unit, &io);
            Some(end_io(&io, input.byte()))
        }
        Verdict::ReportLuns => Some(report_luns::report(&[Lun::new(0).expect("a number")], &command.cdb)),
        Verdict::Hold | Verdict::SwitchTo(_) | Verdict::Copy(_) => None,
        Verdict::Ask(question) => {
            let asked = relay::Question::parse(&question);
            assert_eq!(asked.expect("the other head understands").emit(), Some(question));
            // Sense data is that of the other head, and passed on as it is.
            relay::parse_answer(input.take(32)).filter(|answer| is_sense(&answer.sense))
        }
        Verdict::Change(wished) => match unit.decide(&wished) {
            Decision::Answer(response) => Some(response),
            Decision::Do(record) => {
                assert!(record.bytes.len() <= RECORD_MAX_BYTES);
                assert!(unit.set_record(&record).is_some(), "what this head writes it can read");
                Some(Response::good())
            }
        },
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let pool = Pool::new();
    let mut unit = LogicalUnit::new(unit_config());
    unit.set_access(Access::Serving, Some(GroupId(1)));
    for nexus in 0..3_u8 {
        let initiator = InitiatorPort { name: format!("iqn.2026-11.com.example:client{nexus}"), isid: [nexus; 6] };
        unit.add_nexus(NexusId(u64::from(nexus)), initiator, u16::from(nexus % 2) + 1);
    }
    while !input.is_empty() {
        let kind = input.byte();
        let nexus = NexusId(u64::from(kind % 4));
        match kind >> 3 {
            0 => unit.set_access(ACCESS[usize::from(input.byte()) % ACCESS.len()], Some(GroupId(1))),
            1 => unit.reset(),
            2 => drop(unit.remove_nexus(nexus)),
            _ => {
                let command = command(&mut input, &pool, nexus);
                if let Some(response) = answer(&mut unit, &command, &mut input) {
                    check_answer(&response);
                }
                check_answer(&missing_lun::handle(&command, &[]));
            }
        }
    }
});
