mod copies;

use super::*;

use std::fmt::Write;

use alua::TargetPort;
use proptest::prelude::*;
use sas_backend::buffer::Pool;

use crate::scsi::block::BlockOp;
use crate::scsi::config::Naa;
use crate::scsi::opcodes::TABLE;
use crate::scsi::reservation::table::What;
use crate::scsi::shared::state::Wish;
use crate::scsi::{DataIn, TaskAttribute};

pub(in crate::scsi) const NEXUS: NexusId = NexusId(1);
const OTHER: NexusId = NexusId(2);

pub(in crate::scsi) fn ports() -> Vec<TargetPort> {
    let port = |relative_id, group| TargetPort { relative_id, group: GroupId(group) };
    vec![port(1, 1), port(2, 1), port(3, 2)]
}

pub(in crate::scsi) fn config() -> UnitConfig {
    let naa = [0x60, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF];
    UnitConfig {
        serial: "0123456789abcdef".to_owned(),
        naa: Naa::Long(naa),
        revision: "0.1".to_owned(),
        block_bytes: 512,
        blocks: 0x1_0000,
        physical_block_exponent: 3,
        removable: false,
        thin: true,
        atomic_bytes: 256 * 512,
        solid_state: true,
        my_group: GroupId(1),
        ports: ports(),
        target_name: "iqn.2026-01.org.example:d".to_owned(),
        protection: Protection::None,
    }
}

pub(in crate::scsi) fn command(cdb: &[u8]) -> Command {
    let mut cdb = cdb.to_vec();
    cdb.resize(cdb.len().max(16), 0);
    Command { nexus: NEXUS, cdb, attribute: TaskAttribute::Simple, data_out: None, data_in_max: u32::MAX }
}

pub(in crate::scsi) fn command_with(cdb: &[u8], data: &[u8]) -> Command {
    Command { data_out: Some(Pool::new().copy_of(data)), ..command(cdb) }
}

/// What an answer brings that is GOOD.
pub(in crate::scsi) fn data(response: Response) -> Vec<u8> {
    match response {
        Response { status: Status::Good, data_in: DataIn::Parameters(bytes), .. } => bytes,
        other => panic!("{other:?}"),
    }
}

fn initiator(name: &str) -> InitiatorPort {
    InitiatorPort { name: name.to_owned(), isid: [0; 6] }
}

/// A unit that this head serves, with two nexuses that nothing waits for.
fn serving(config: UnitConfig) -> LogicalUnit {
    let mut unit = LogicalUnit::new(config);
    unit.add_nexus(NEXUS, initiator("iqn.a"), 1);
    unit.add_nexus(OTHER, initiator("iqn.b"), 2);
    unit.set_access(Access::Serving, Some(GroupId(1)));
    calm(&mut unit);
    unit
}

fn calm(unit: &mut LogicalUnit) {
    for nexus in [NEXUS, OTHER] {
        while unit.attention_before(nexus, &Operation::TestUnitReady).is_some() {}
    }
}

fn sense_of(response: &Response) -> (u8, u8, u8) {
    (response.sense[2], response.sense[12], response.sense[13])
}

fn cell(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Done(response) if response.status == Status::CheckCondition => {
            let (key, asc, ascq) = sense_of(response);
            format!("{key:02X}/{asc:02X}/{ascq:02X}")
        }
        Verdict::Done(response) if response.status == Status::ReservationConflict => "conflict".to_owned(),
        Verdict::Done(response) if response.status == Status::Busy => "busy".to_owned(),
        Verdict::Done(_) => "good".to_owned(),
        Verdict::Io(_) => "io".to_owned(),
        Verdict::ReportLuns => "luns".to_owned(),
        Verdict::Hold => "hold".to_owned(),
        Verdict::SwitchTo(_) => "switch".to_owned(),
        Verdict::Ask(_) => "ask".to_owned(),
        Verdict::Change(_) => "change".to_owned(),
        Verdict::Copy(_) => "copy".to_owned(),
    }
}

/// A command of `row` that asks for one block where it can ask for blocks.
fn sample(row: &Row) -> Command {
    let mut cdb = vec![0; 16];
    cdb[0] = row.opcode();
    cdb[1] = row.service_action.unwrap_or(0);
    let last_of_length = match row.usage.len() {
        6 => 4,
        10 => 8,
        12 => 9,
        _ => 13,
    };
    if matches!(row.order, Order::Read | Order::Write) {
        cdb[last_of_length] = 1;
        if row.opcode() == opcodes::WRITE_ATOMIC_16 {
            cdb[last_of_length] = 8; // a physical block
            return command_with(&cdb, &[0; 4096]);
        }
        if row.opcode() == opcodes::UNMAP {
            cdb[last_of_length] = 24;
            let mut list = [0; 24];
            (list[1], list[3], list[19]) = (22, 16, 1);
            return command_with(&cdb, &list);
        }
        if row.opcode() == opcodes::SANITIZE {
            let list = if row.name == "SANITIZE, OVERWRITE" { &[1, 0, 0, 1, 0][..] } else { &[] };
            cdb[last_of_length] = u8::try_from(list.len()).unwrap();
            return command_with(&cdb, list);
        }
        if row.direction == Direction::Out {
            let twice = row.name == "COMPARE AND WRITE";
            return command_with(&cdb, &[0; 1024][..if twice { 1024 } else { 512 }]);
        }
    }
    if row.opcode() == 0x5F {
        cdb[2] = 1; // TYPE
        cdb[8] = 24;
        return command_with(&cdb, &[0; 24]);
    }
    if row.name.starts_with("MODE SENSE") {
        cdb[2] = 0x3F;
    }
    command(&cdb)
}

/// RESERVE by this nexus, as far as it goes.
/// What becomes of a command whose change, if it is one, is kept at once.
fn changed(unit: &mut LogicalUnit, command: &Command) -> String {
    let decision = match unit.handle(command) {
        Verdict::Change(wished) => unit.decide(&wished),
        other => return cell(&other),
    };
    match decision {
        Decision::Do(record) => drop(unit.set_record(&record)),
        Decision::Answer(Response { status: Status::Good, .. }) => {}
        Decision::Answer(response) => return cell(&response.into()),
    }
    match unit.then(command) {
        Then::Answer => "good".to_owned(),
        Then::AwaitSanitize => "wait".to_owned(),
        Then::Do(io) => cell(&Verdict::Io(io)),
    }
}

fn keep(unit: &mut LogicalUnit, wished: &Wished) {
    let Decision::Do(record) = unit.decide(wished) else { panic!() };
    unit.set_record(&record).unwrap();
}

fn reset(unit: &mut LogicalUnit) {
    let who = unit.name_of(NEXUS).unwrap().clone();
    keep(unit, &Wished { who, wish: Wish::Everyone(What::Reset) });
    calm(unit);
}

fn sanitize(unit: &mut LogicalUnit) {
    let Verdict::Change(wished) = unit.handle(&command(&[0x48, 0x02])) else { panic!() };
    keep(unit, &wished);
}

fn reserve(unit: &mut LogicalUnit, nexus: NexusId) {
    let Verdict::Change(wished) = unit.handle(&Command { nexus, ..command(&[0x16]) }) else { panic!() };
    let Decision::Do(record) = unit.decide(&wished) else { panic!() };
    assert_eq!(unit.set_record(&record), Some(vec![]));
}

#[test]
fn the_gate_as_a_table() {
    let in_access = |access, active| {
        let mut unit = serving(config());
        unit.set_access(access, active);
        calm(&mut unit);
        unit
    };
    let mut reserved = serving(config());
    reserve(&mut reserved, OTHER);
    let mut ejected = serving(UnitConfig { removable: true, ..config() });
    assert_eq!(changed(&mut ejected, &command(&EJECT)), "io");
    let mut sanitizing = serving(config());
    sanitize(&mut sanitizing);
    let mut units = [
        in_access(Access::Serving, Some(GroupId(1))),
        in_access(Access::Forwarding, Some(GroupId(2))),
        in_access(Access::Standby, Some(GroupId(2))),
        in_access(Access::Changing, None),
        in_access(Access::Unavailable, None),
        serving(UnitConfig { protection: Protection::Everybody, ..config() }),
        serving(UnitConfig { protection: writers("iqn.b"), ..config() }),
        serving(UnitConfig { protection: writers("iqn.a"), ..config() }),
        reserved,
        ejected,
        sanitizing,
    ];
    let mut table = String::new();
    for row in TABLE {
        write!(table, "{:<57}", row.name).unwrap();
        for unit in &mut units {
            write!(table, "{:<9}", cell(&unit.handle(&sample(row)))).unwrap();
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    let expected = include_str!("gate.txt");
    assert!(table == expected, "the gate is now:\n{table}");
}

/// START STOP UNIT with LOEJ.
const EJECT: [u8; 6] = [0x1B, 0, 0, 0, 0x02, 0];
const LOAD: [u8; 6] = [0x1B, 0, 0, 0, 0x03, 0];
/// MODE SELECT(6) of the control page.
const SELECT_CONTROL: [u8; 6] = [0x15, 0x10, 0, 0, 16, 0];

fn control_page(swp: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0x0A, 0x0A, 0x02, 0x10, swp, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn who_did_not_load_the_medium_is_told_that_it_may_have_changed() {
    let mut unit = serving(UnitConfig { removable: true, ..config() });
    let ready = |nexus| Command { nexus, ..command(&[0x00]) };
    assert_eq!(changed(&mut unit, &command(&LOAD)), "good");
    assert_eq!(changed(&mut unit, &ready(OTHER)), "good", "it was there already");
    assert_eq!(changed(&mut unit, &command(&EJECT)), "io", "what was written is made stable");
    for nexus in [NEXUS, OTHER] {
        assert_eq!(changed(&mut unit, &ready(nexus)), "02/3A/00");
    }
    assert_eq!(changed(&mut unit, &command(&LOAD)), "good");
    assert_eq!(changed(&mut unit, &ready(NEXUS)), "good");
    assert_eq!(changed(&mut unit, &ready(OTHER)), "06/28/00");
    assert_eq!(changed(&mut unit, &ready(OTHER)), "good");
}

#[test]
fn removal_is_prevented_until_whoever_prevents_it_allows_it_or_is_gone() {
    let mut unit = serving(UnitConfig { removable: true, ..config() });
    let from = |nexus, cdb: &[u8]| Command { nexus, ..command(cdb) };
    let prevent = [0x1E, 0, 0, 0, 0x01, 0];
    assert_eq!(changed(&mut unit, &from(OTHER, &prevent)), "good");
    assert_eq!(changed(&mut unit, &from(NEXUS, &EJECT)), "05/53/02");
    assert_eq!(changed(&mut unit, &from(NEXUS, &[0x1E])), "good", "allowed by another one");
    assert_eq!(changed(&mut unit, &from(OTHER, &EJECT)), "05/53/02");
    unit.remove_nexus(OTHER);
    assert_eq!(changed(&mut unit, &from(OTHER, &prevent)), "busy");
    unit.left_behind().iter().for_each(|left| keep(&mut unit, left));
    assert_eq!(changed(&mut unit, &from(NEXUS, &EJECT)), "io", "a nexus that is gone prevents nothing");
    assert_eq!(changed(&mut unit, &from(NEXUS, &LOAD)), "good");
    assert_eq!(changed(&mut unit, &from(NEXUS, &prevent)), "good");
    reset(&mut unit);
    assert_eq!(changed(&mut unit, &from(NEXUS, &EJECT)), "io");
}

#[test]
fn software_write_protection_holds_for_all_and_the_others_are_told() {
    let mut unit = serving(config());
    let write = |nexus| Command { nexus, ..command_with(&[0x2A, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 512]) };
    let protected = |unit: &mut LogicalUnit| match unit.handle(&command(&[0x1A, 0x08, 0x0A, 0, 255])) {
        Verdict::Done(Response { data_in: DataIn::Parameters(bytes), .. }) => (bytes[2] & 0x80, bytes[8] & 0x08),
        other => panic!("{other:?}"),
    };
    assert_eq!(changed(&mut unit, &command_with(&SELECT_CONTROL, &control_page(0x08))), "good");
    assert_eq!(protected(&mut unit), (0x80, 0x08));
    assert_eq!(changed(&mut unit, &write(NEXUS)), "07/27/00");
    assert_eq!(changed(&mut unit, &write(OTHER)), "06/2A/01");
    assert_eq!(changed(&mut unit, &write(OTHER)), "07/27/00");
    assert_eq!(changed(&mut unit, &command(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1])), "io");
    assert_eq!(changed(&mut unit, &command_with(&SELECT_CONTROL, &control_page(0))), "good");
    assert_eq!(protected(&mut unit), (0, 0));
    assert_eq!(changed(&mut unit, &write(NEXUS)), "io");
}

#[test]
fn a_reset_ends_software_write_protection() {
    let mut unit = serving(config());
    assert_eq!(changed(&mut unit, &command_with(&SELECT_CONTROL, &control_page(0x08))), "good");
    reset(&mut unit);
    assert_eq!(changed(&mut unit, &command_with(&[0x0A, 0, 0, 0, 1, 0], &[0; 512])), "io");
}

#[test]
fn what_a_unit_does_not_offer_is_an_unknown_command() {
    let mut unit = serving(UnitConfig { atomic_bytes: 0, ..config() });
    let mut cdb = vec![0x9C; 1];
    cdb.resize(16, 0);
    assert_eq!(cell(&unit.handle(&command(&cdb))), "05/20/00");
    assert_eq!(cell(&serving(config()).handle(&command(&cdb))), "good");
}

/// Only this initiator may write.
fn writers(name: &str) -> Protection {
    Protection::EverybodyBut(std::iter::once(name.to_owned()).collect())
}

#[test]
fn each_nexus_is_protected_by_its_own_name() {
    let mut unit = serving(UnitConfig { protection: writers("iqn.b"), ..config() });
    let of = |nexus, cdb: &[u8]| Command { nexus, ..command(cdb) };
    let write = |nexus| Command { nexus, ..command_with(&[0x2A, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 512]) };
    let protected = |unit: &mut LogicalUnit, nexus| match unit.handle(&of(nexus, &[0x1A, 0, 0x3F, 0, 255])) {
        Verdict::Done(Response { data_in: DataIn::Parameters(bytes), .. }) => bytes[2] & 0x80 != 0,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (cell(&unit.handle(&write(NEXUS))), cell(&unit.handle(&write(OTHER)))),
        ("07/27/00".into(), "io".into())
    );
    assert!(protected(&mut unit, NEXUS) && !protected(&mut unit, OTHER));
    assert_eq!(cell(&unit.handle(&write(NexusId(99)))), "07/27/00", "whoever is not known may not write");

    unit.set_protection(writers("iqn.a"));
    for nexus in [NEXUS, OTHER] {
        assert_eq!(cell(&unit.handle(&of(nexus, &[0x00]))), "06/2A/01");
    }
    assert!(!protected(&mut unit, NEXUS) && protected(&mut unit, OTHER));
    unit.set_protection(Protection::None);
    assert_eq!(cell(&unit.handle(&of(NEXUS, &[0x00]))), "good", "nothing has changed for this one");
    assert_eq!(cell(&unit.handle(&of(OTHER, &[0x00]))), "06/2A/01");
}

#[test]
fn a_new_nexus_is_told_of_the_power_on_once() {
    let mut unit = LogicalUnit::new(config());
    unit.add_nexus(NEXUS, initiator("iqn.a"), 1);
    unit.set_access(Access::Serving, Some(GroupId(1)));
    let ready = command(&[0x00]);
    assert_eq!(cell(&unit.handle(&command(&[0x12, 0, 0, 0, 96]))), "good");
    assert_eq!(cell(&unit.handle(&command(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16]))), "luns");
    let told: Vec<_> = (0..3).map(|_| cell(&unit.handle(&ready))).collect();
    assert_eq!(told, ["06/29/00", "06/2A/06", "good"]);
}

#[test]
fn an_attention_may_be_for_one_nexus_alone() {
    let mut unit = serving(config());
    let ready = |nexus| Command { nexus, ..command(&[0; 6]) };
    unit.raise_for(OTHER, Attention::ReportedLunsChanged);
    unit.raise_for(NexusId(3), Attention::ReportedLunsChanged);
    assert_eq!(unit.handle(&ready(NEXUS)), Response::good().into());
    assert_eq!(unit.handle(&ready(OTHER)), Response::unit_attention(Attention::ReportedLunsChanged).into());
    unit.remove_nexus(OTHER);
    assert!(unit.has_nexus(NEXUS) && !unit.has_nexus(OTHER) && !unit.has_nexus(NexusId(3)));
}

#[test]
fn request_sense_reports_an_attention_as_data() {
    let mut unit = serving(config());
    unit.raise(Attention::CapacityChanged);
    for (cdb, expected) in [
        ([0x03, 0, 0, 0, 252, 0], Sense::from(Attention::CapacityChanged.code()).fixed()),
        ([0x03, 0, 0, 0, 252, 0], Sense::from(SenseCode::NO_SENSE).fixed()),
        ([0x03, 1, 0, 0, 252, 0], Sense::from(SenseCode::NO_SENSE).descriptor()),
        ([0x03, 0, 0, 0, 4, 0], vec![0x70, 0, 0, 0]),
    ] {
        assert_eq!(unit.handle(&command(&cdb)), Response::parameters(expected, u32::MAX).into());
    }
}

#[test]
fn a_change_of_roles_is_told_to_every_nexus_and_reported() {
    let mut unit = serving(config());
    let report = command(&[0xA3, 0x2A, 0, 0, 0, 0, 0, 0, 1, 0]);
    unit.set_access(Access::Changing, None);
    assert_eq!(cell(&unit.handle(&report)), "hold");
    unit.set_access(Access::Serving, Some(GroupId(1)));
    assert_eq!(cell(&unit.handle(&command(&[0x00]))), "good", "nothing has changed after all");
    unit.set_access(Access::Changing, None);
    unit.set_access(Access::Standby, Some(GroupId(2)));
    let Verdict::Done(Response { data_in: DataIn::Parameters(bytes), .. }) = unit.handle(&report) else { panic!() };
    #[rustfmt::skip]
    assert_eq!(bytes, [
        0, 0, 0, 32, 0x10, 10, 0, 0,
        0x02, 0x8F, 0, 1, 0, 2, 0, 2,   0, 0, 0, 1,   0, 0, 0, 2,
        0x80, 0x8F, 0, 2, 0, 2, 0, 1,   0, 0, 0, 3,
    ]);
    let read = [0x08, 0, 0, 0, 1, 0];
    assert_eq!(cell(&unit.handle(&command(&read))), "02/04/0B", "the report said it already");
    let other = Command { nexus: OTHER, ..command(&read) };
    assert_eq!(cell(&unit.handle(&other)), "06/2A/06");
    assert_eq!(cell(&unit.handle(&other)), "02/04/0B");
}

#[test]
fn both_heads_report_the_same_groups() {
    let mut a = serving(config());
    let mut b = LogicalUnit::new(UnitConfig { my_group: GroupId(2), ..config() });
    for (of_a, of_b, active) in [
        (Access::Serving, Access::Forwarding, Some(GroupId(1))),
        (Access::Forwarding, Access::Serving, Some(GroupId(2))),
        (Access::Serving, Access::Standby, Some(GroupId(1))),
        (Access::Standby, Access::Serving, Some(GroupId(2))),
        (Access::Standby, Access::Standby, None),
        (Access::Unavailable, Access::Unavailable, None),
    ] {
        a.set_access(of_a, active);
        b.set_access(of_b, active);
        a.set_other_forwards(of_b == Access::Forwarding);
        b.set_other_forwards(of_a == Access::Forwarding);
        let states = |unit: &LogicalUnit| unit.port_groups().groups().map(|group| group.state);
        assert_eq!(states(&a), states(&b), "{of_a:?} {of_b:?}");
    }
}

#[test]
fn a_head_with_the_ports_of_both_is_active_through_all_of_them() {
    use alua::AccessState::{ActiveOptimized, Standby};
    let states = |unit: &LogicalUnit| unit.port_groups().groups().map(|group| group.state);
    let mut unit = serving(config());
    unit.set_has_both(true);
    assert_eq!(states(&unit), [ActiveOptimized; 2]);
    assert_eq!(cell(&unit.handle(&command(&[0x00]))), "06/2A/06");
    unit.set_has_both(true);
    assert_eq!(cell(&unit.handle(&command(&[0x00]))), "good", "told once");
    unit.set_access(Access::Changing, None);
    unit.set_has_both(false);
    assert_eq!(states(&unit), [ActiveOptimized; 2], "while it changes the last states count");
    unit.set_access(Access::Serving, Some(GroupId(1)));
    assert_eq!(states(&unit), [ActiveOptimized, Standby]);
    unit.set_has_both(true);
    unit.set_access(Access::Standby, Some(GroupId(2)));
    assert_eq!(states(&unit), [Standby, ActiveOptimized], "it serves nothing through any port");
}

#[test]
fn set_target_port_groups_asks_for_a_switch() {
    let mut unit = serving(config());
    let ask = |group| command_with(&[0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, 8], &[0, 0, 0, 0, 0, 0, 0, group]);
    assert_eq!(unit.handle(&ask(2)), Verdict::SwitchTo(GroupId(2)));
    assert_eq!(cell(&unit.handle(&ask(1))), "good");
    assert_eq!(cell(&unit.handle(&ask(3))), "05/26/00");
    let short = Command { data_out: None, ..ask(2) };
    assert_eq!(cell(&unit.handle(&short)), "05/1A/00");
    unit.set_access(Access::Standby, Some(GroupId(2)));
    calm(&mut unit);
    assert_eq!(unit.handle(&ask(1)), Verdict::SwitchTo(GroupId(1)), "a standby is asked to take over");
    assert_eq!(port_groups::switched(true), Response::good());
    assert_eq!(sense_of(&port_groups::switched(false)), (4, 0x67, 0x0A));
}

#[test]
fn inquiry_pages() {
    let mut unit = serving(config());
    assert_eq!(cell(&unit.handle(&command(&[0x12, 0, 0x80, 1, 0]))), "05/24/00");
    assert_eq!(cell(&unit.handle(&command(&[0x12, 1, 0xB6, 0, 255]))), "05/24/00");
    let Verdict::Done(response) = unit.handle(&command(&[0x12, 1, 0x83, 0, 255])) else { panic!() };
    let DataIn::Parameters(bytes) = response.data_in else { panic!() };
    assert!(bytes.windows(8).any(|window| window == [0x51, 0x94, 0, 4, 0, 0, 0, 1]), "the port it asked through");
    let Verdict::Done(short) = unit.handle(&command(&[0x12, 0, 0, 0, 5])) else { panic!() };
    assert_eq!(short.data_in, DataIn::Parameters(vec![0, 0, 6, 0x12, 91]));
}

#[test]
fn data_that_nobody_asked_for_is_counted_as_left_over() {
    let mut unit = serving(config());
    let Verdict::Done(response) = unit.handle(&command_with(&[0x00], &[0; 512])) else { panic!() };
    assert_eq!((response.status, response.data_out_wanted), (Status::Good, Some(0)));
    let Verdict::Io(io) = unit.handle(&command_with(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 512])) else { panic!() };
    assert_eq!(io.op, BlockOp::Read { lba: 0, blocks: 1 });
    assert_eq!(block::finish(&io, Ok(vec![])).data_out_wanted, Some(0));
}

/// Mostly valid operation codes, so that the commands get past the table.
fn any_cdb() -> impl Strategy<Value = Vec<u8>> {
    let known = (0..TABLE.len(), any::<[u8; 16]>(), any::<bool>()).prop_map(|(row, noise, masked)| {
        let row = &TABLE[row];
        let mut cdb = noise.to_vec();
        for (index, byte) in cdb.iter_mut().enumerate() {
            let used = row.usage.get(index).copied().unwrap_or(0);
            *byte &= if masked { used } else { 0xFF };
        }
        cdb[0] = row.opcode();
        if let Some(action) = row.service_action {
            cdb[1] = cdb[1] & !0x1F | action;
        }
        cdb
    });
    prop_oneof![9 => known, 1 => proptest::collection::vec(any::<u8>(), 0..20)]
}

proptest! {
    #[test]
    fn any_command_gets_a_verdict(
        cdb in any_cdb(),
        data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..2048)),
        access in prop_oneof![
            4 => Just(Access::Serving), 1 => Just(Access::Standby), 1 => Just(Access::Changing),
            1 => Just(Access::Unavailable), 1 => Just(Access::Forwarding),
        ],
        blocks in prop_oneof![Just(1_u64), Just(0x1_0000), Just(u64::MAX)],
    ) {
        let mut unit = serving(UnitConfig { blocks, removable: true, ..config() });
        unit.set_access(access, None);
        calm(&mut unit);
        let data_out = data.map(|data| Pool::new().copy_of(&data));
        let command = Command { nexus: NEXUS, cdb, attribute: TaskAttribute::Simple, data_out, data_in_max: u32::MAX };
        let verdict = unit.handle(&command);
        prop_assert!(verdict != Verdict::Hold || access == Access::Changing);
        if let Verdict::Io(BlockIo { op, .. }) = verdict {
            prop_assert!(matches!(access, Access::Serving | Access::Forwarding));
            let (lba, count) = match op {
                BlockOp::Read { lba, blocks } | BlockOp::Verify { lba, blocks } | BlockOp::Flush { lba, blocks }
                | BlockOp::WriteSame { lba, blocks, .. } | BlockOp::Map { lba, blocks, .. } => (lba, blocks),
                BlockOp::Unmap { extents } => {
                    prop_assert!(extents.iter().all(|extent| extent.blocks > 0));
                    let (first, last) = (extents[0], extents[extents.len() - 1]);
                    (first.lba, last.lba + last.blocks - first.lba)
                }
                BlockOp::CompareAndWrite { lba, data, .. } => {
                    prop_assert_eq!(data.len() % 1024, 0);
                    (lba, data.len() as u64 / 1024)
                }
                BlockOp::WritePart { lba, data, .. } => {
                    prop_assert!(data.len() % 512 > 0);
                    (lba, data.len().div_ceil(512) as u64)
                }
                BlockOp::Write { lba, data, .. } | BlockOp::WriteAndVerify { lba, data, .. }
                | BlockOp::Or { lba, data, .. } | BlockOp::Compare { lba, data } => {
                    prop_assert_eq!(data.len() % 512, 0);
                    (lba, data.len() as u64 / 512)
                }
            };
            prop_assert!(count > 0 && lba.checked_add(count).is_some_and(|end| end <= blocks));
        }
        let missing = missing_lun::handle(&command, &[]);
        prop_assert!(matches!(missing.status, Status::Good | Status::CheckCondition));
    }
}

#[test]
fn a_unit_that_has_grown_says_so_to_every_nexus_and_its_new_blocks_can_be_read() {
    let mut unit = serving(config());
    let behind_the_old_end = command(&[0x28, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
    assert_eq!(cell(&unit.handle(&behind_the_old_end)), "05/21/00");
    unit.set_blocks(0x2_0000);
    for nexus in [NEXUS, OTHER] {
        let mut ready = command(&[0; 6]);
        ready.nexus = nexus;
        assert_eq!(cell(&unit.handle(&ready)), "06/2A/09");
        assert_eq!(cell(&unit.handle(&ready)), "good");
    }
    assert_eq!(cell(&unit.handle(&behind_the_old_end)), "io");
    assert_eq!(
        capacity::read_capacity_10(unit.config()).data_in,
        DataIn::Parameters(vec![0, 1, 0xFF, 0xFF, 0, 0, 2, 0])
    );
}
