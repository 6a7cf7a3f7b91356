use alua::GroupId;

use super::*;
use crate::scsi::DataIn;
use crate::scsi::sanitize::{Place, Report};
use crate::scsi::unit::tests::{NEXUS, command, command_with, config, data};
use crate::scsi::{InitiatorPort, reservation};

const OTHER: NexusId = NexusId(2);
const TEST_UNIT_READY: [u8; 1] = [0x00];
const RESERVE: [u8; 1] = [0x16];
const RELEASE: [u8; 1] = [0x17];
const WRITE: [u8; 10] = [0x2A, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Both heads' view of one unit: this one's nexuses are `NEXUS` through port 1 and `OTHER` through port 2, and port 3 is the
/// other head's.
fn unit(access: Access) -> LogicalUnit {
    let mut unit = LogicalUnit::new(config());
    for (nexus, name, port) in [(NEXUS, "iqn.a", 1), (OTHER, "iqn.b", 2)] {
        unit.add_nexus(nexus, InitiatorPort { name: name.to_owned(), isid: [0; 6] }, port);
    }
    unit.set_access(access, Some(GroupId(if access == Access::Serving { 1 } else { 2 })));
    for nexus in [NEXUS, OTHER] {
        while told(&mut unit, nexus).is_some() {}
    }
    unit
}

fn of_the_other_head() -> reservation::Nexus {
    reservation::Nexus { initiator: InitiatorPort { name: "iqn.c".to_owned(), isid: [0; 6] }, relative_port: 3 }
}

/// What waits for a nexus.
fn told(unit: &mut LogicalUnit, nexus: NexusId) -> Option<Attention> {
    unit.attention_before(nexus, &Operation::TestUnitReady)
}

/// PERSISTENT RESERVE OUT.
fn out(action: u8, kind: u8, key: u64, new: u64) -> Command {
    let list = [&key.to_be_bytes()[..], &new.to_be_bytes(), &[0; 8]].concat();
    command_with(&[0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0], &list)
}

fn by(nexus: NexusId, command: Command) -> Command {
    Command { nexus, ..command }
}

/// Do it at the owner, with everything that follows; what is answered, and whose commands end.
fn done(unit: &mut LogicalUnit, command: &Command) -> (Response, Vec<NexusId>) {
    match unit.handle(command) {
        Verdict::Done(response) => (response, vec![]),
        Verdict::Change(wished) => kept(unit, &wished),
        other => panic!("{other:?}"),
    }
}

fn kept(unit: &mut LogicalUnit, wished: &Wished) -> (Response, Vec<NexusId>) {
    match unit.decide(wished) {
        Decision::Answer(response) => (response, vec![]),
        Decision::Do(record) => (Response::good(), unit.set_record(&record).unwrap()),
    }
}

fn status(unit: &mut LogicalUnit, nexus: NexusId, cdb: &[u8]) -> Status {
    done(unit, &by(nexus, command(cdb))).0.status
}

#[test]
fn reserve_keeps_others_out_until_its_holder_is_gone() {
    let mut unit = unit(Access::Serving);
    for _ in 0..2 {
        assert_eq!(status(&mut unit, OTHER, &RESERVE), Status::Good, "also again");
    }
    for cdb in [&RESERVE[..], &TEST_UNIT_READY, &[0x1A, 0, 0x3F, 0, 255]] {
        assert_eq!(status(&mut unit, NEXUS, cdb), Status::ReservationConflict);
    }
    assert_eq!(status(&mut unit, NEXUS, &RELEASE), Status::Good, "but without effect");
    assert_eq!(status(&mut unit, NEXUS, &TEST_UNIT_READY), Status::ReservationConflict);
    let holder = unit.name_of(OTHER).unwrap().clone();
    assert_eq!(unit.left_behind(), []);
    unit.remove_nexus(OTHER);
    assert_eq!(status(&mut unit, NEXUS, &TEST_UNIT_READY), Status::Good, "at once");
    let left = Wished { who: holder, wish: Wish::Release };
    assert_eq!(unit.left_behind(), vec![left.clone()]);
    kept(&mut unit, &left);
    assert_eq!((unit.left_behind(), unit.shared.reserved_by.clone()), (vec![], None));
    assert_eq!(status(&mut unit, NEXUS, &RESERVE), Status::Good);
}

#[test]
fn whoever_has_the_unit_through_the_other_head_has_it_here_too() {
    let mut unit = unit(Access::Serving);
    let who = of_the_other_head();
    kept(&mut unit, &Wished { who: who.clone(), wish: Wish::Reserve });
    let lost = Wished { who, wish: Wish::Lost };
    assert_eq!((unit.held_there(), unit.left_behind()), (vec![lost.clone()], vec![]));
    assert_eq!(status(&mut unit, NEXUS, &TEST_UNIT_READY), Status::ReservationConflict);
    kept(&mut unit, &lost);
    assert_eq!(status(&mut unit, NEXUS, &TEST_UNIT_READY), Status::Good);
}

#[test]
fn whoever_loses_the_unit_is_told() {
    let mut unit = unit(Access::Serving);
    status(&mut unit, OTHER, &RESERVE);
    let who = unit.shared.reserved_by.clone().unwrap();
    kept(&mut unit, &Wished { who, wish: Wish::Lost });
    assert_eq!((told(&mut unit, NEXUS), told(&mut unit, OTHER)), (None, Some(Attention::PowerOn)));
}

#[test]
fn a_preempted_registrant_is_told_and_its_commands_end() {
    let mut unit = unit(Access::Serving);
    for (nexus, key) in [(NEXUS, 1), (OTHER, 2)] {
        assert_eq!(done(&mut unit, &by(nexus, out(0, 0, 0, key))).0, Response::good());
    }
    assert_eq!(done(&mut unit, &by(OTHER, out(1, 5, 2, 0))).0, Response::good(), "write exclusive, registrants only");
    assert_eq!(status(&mut unit, NEXUS, &WRITE), Status::Good);
    assert_eq!(done(&mut unit, &out(5, 5, 1, 2)), (Response::good(), vec![OTHER]), "preempt and abort");
    assert_eq!(told(&mut unit, OTHER), Some(Attention::RegistrationsPreempted));
    assert_eq!(status(&mut unit, OTHER, &WRITE), Status::ReservationConflict);
    assert_eq!(status(&mut unit, NEXUS, &WRITE), Status::Good);
    let keys = unit.handle(&by(OTHER, command(&[0x5E, 0, 0, 0, 0, 0, 0, 0, 255])));
    let keys = if let Verdict::Done(response) = keys { response.data_in } else { panic!("{keys:?}") };
    assert_eq!(keys, DataIn::Parameters(vec![0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]));
}

#[test]
fn a_head_that_forwards_asks_the_owner_and_goes_by_what_it_hears() {
    let (mut standby, mut owner) = (unit(Access::Forwarding), LogicalUnit::new(config()));
    owner.set_access(Access::Serving, Some(GroupId(1)));
    let mut through = |standby: &mut LogicalUnit, command: &Command| {
        let Verdict::Ask(question) = standby.handle(command) else { panic!() };
        match owner.answer_question(&question) {
            Decision::Answer(response) => response,
            Decision::Do(wished) => match owner.decide(&wished) {
                Decision::Answer(response) => response,
                Decision::Do(record) => {
                    owner.set_record(&record).unwrap();
                    standby.set_record(&record).unwrap();
                    Response::good()
                }
            },
        }
    };
    assert_eq!(through(&mut standby, &out(0, 0, 0, 1)), Response::good());
    assert_eq!(through(&mut standby, &out(1, 3, 1, 0)), Response::good(), "exclusive access");
    assert_eq!(through(&mut standby, &by(OTHER, command(&RELEASE))).status, Status::ReservationConflict);
    let refused = standby.handle(&by(OTHER, command(&WRITE)));
    assert_eq!(refused, Response::status(Status::ReservationConflict).into());
    let keys = through(&mut standby, &by(OTHER, command(&[0x5E, 0, 0, 0, 0, 0, 0, 0, 255])));
    assert!(matches!(keys.data_in, DataIn::Parameters(bytes) if bytes.len() == 16));
    assert_eq!(through(&mut standby, &out(1, 9, 1, 0)), Response::check(Sense::invalid_cdb(2, None)));
}

#[test]
fn a_reset_reaches_every_nexus_of_both_heads_and_ends_their_commands() {
    let (mut here, mut there) = (unit(Access::Serving), unit(Access::Forwarding));
    status(&mut here, OTHER, &RESERVE);
    let who = here.name_of(NEXUS).unwrap().clone();
    let Decision::Do(record) = here.decide(&Wished { who, wish: Wish::Everyone(What::Reset) }) else { panic!() };
    assert_eq!(here.set_record(&record), Some(vec![]), "those of this head have ended before");
    assert_eq!(here.shared.reserved_by, None);
    // For the other head the same port is not its own.
    there.config.my_group = GroupId(2);
    there.set_record(&Record { kept: 0, bytes: document::emit(&State { serial: 1, ..State::default() }).into() });
    assert_eq!(there.set_record(&record), Some(vec![NEXUS, OTHER]));
    for unit in [&mut here, &mut there] {
        for nexus in [NEXUS, OTHER] {
            assert_eq!((told(unit, nexus), told(unit, nexus)), (Some(Attention::Reset), None));
        }
    }
    assert_eq!(there.set_record(&record), Some(vec![]), "heard again");
}

#[test]
fn clearing_the_task_set_ends_commands_and_resets_nothing() {
    let mut there = unit(Access::Forwarding);
    let wished = Wished { who: of_the_other_head(), wish: Wish::Everyone(What::Cleared) };
    let Decision::Do(record) = there.decide(&wished) else { panic!() };
    assert_eq!(there.set_record(&record), Some(vec![NEXUS, OTHER]));
    assert_eq!(told(&mut there, NEXUS), None, "who is told depends on what it had under way");
}

#[test]
fn a_record_that_is_heard_again_is_no_news_and_one_missed_is() {
    let mut unit = unit(Access::Forwarding);
    let state = |serial, registered: bool| {
        let mut state = State { serial, ..State::default() };
        let who = reservation::Nexus {
            initiator: InitiatorPort { name: "iqn.b".to_owned(), isid: [0; 6] },
            relative_port: 2,
        };
        if registered {
            let register = request::Register {
                key: None,
                new: reservation::Key(1),
                others: vec![],
                all_ports: false,
                keep: false,
            };
            state = state.after(&who, &Wish::Persistent(request::Request::Register(register)), &[2]).unwrap();
            state.effects.news.push((who, Attention::ReservationsReleased));
        }
        Record { kept: 0, bytes: document::emit(&state).into() }
    };
    for news in [Some(Attention::ReservationsReleased), None] {
        unit.set_record(&state(0, true)).unwrap();
        assert_eq!(told(&mut unit, OTHER), news);
    }
    unit.set_record(&state(5, false)).unwrap();
    assert_eq!((told(&mut unit, OTHER), told(&mut unit, NEXUS)), (Some(Attention::RegistrationsPreempted), None));
    assert_eq!(unit.set_record(&Record { kept: 0, bytes: [1][..].into() }), None);
}

/// SANITIZE, BLOCK ERASE.
const ERASE: [u8; 10] = [0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0];
const REQUEST_SENSE: [u8; 6] = [0x03, 0, 0, 0, 18, 0];

fn report(unit: &mut LogicalUnit, report: Report) -> Option<Record> {
    let wished = Wished { who: of_the_other_head(), wish: Wish::Sanitized(report) };
    let Decision::Do(record) = unit.decide(&wished) else { return None };
    unit.set_record(&record).unwrap();
    Some(record)
}

#[test]
fn both_heads_know_how_far_sanitize_is_and_a_standby_does_not() {
    let (mut here, mut there) = (unit(Access::Serving), unit(Access::Forwarding));
    assert_eq!(status(&mut here, NEXUS, &ERASE), Status::Good);
    let half = Place { pass: 0, lba: config().blocks / 2 };
    there.set_record(&report(&mut here, Report::At(half)).unwrap()).unwrap();
    for unit in [&mut here, &mut there] {
        let Verdict::Done(sense) = unit.handle(&command(&REQUEST_SENSE)) else { panic!() };
        let sense = data(sense);
        assert_eq!((sense[2], &sense[12..14], &sense[15..18]), (0x02, &[0x04, 0x1B][..], &[0x80, 0x80, 0][..]));
    }
    there.set_access(Access::Standby, Some(GroupId(2)));
    while told(&mut there, NEXUS).is_some() {}
    assert_eq!(status(&mut there, NEXUS, &TEST_UNIT_READY), Status::Good, "it may be over by now");

    report(&mut here, Report::Failed).unwrap();
    let failed = Response::check(SenseCode::SANITIZE_COMMAND_FAILED);
    assert_eq!(done(&mut here, &command(&TEST_UNIT_READY)).0, failed);
    assert_eq!(status(&mut here, NEXUS, &ERASE), Status::Good, "another attempt");
    report(&mut here, Report::Done).unwrap();
    assert_eq!(status(&mut here, NEXUS, &TEST_UNIT_READY), Status::Good);
    assert_eq!(report(&mut here, Report::Failed), None, "there is none");
}

#[test]
fn sanitize_through_the_other_head_passes_the_gate_of_this_one() {
    let mut owner = unit(Access::Serving);
    let mut cdb = [0; 16];
    cdb[..10].copy_from_slice(&ERASE);
    let about = About::Command { cdb, data: vec![] };
    let question = Question { who: of_the_other_head(), about }.emit().unwrap();
    let Decision::Do(wished) = owner.answer_question(&question) else { panic!() };
    owner.shared.protected = true;
    let protected = Decision::Answer(Response::check(SenseCode::WRITE_PROTECTED));
    assert_eq!(owner.answer_question(&question), protected);
    owner.shared.protected = false;
    status(&mut owner, OTHER, &RESERVE);
    let conflict = Decision::Answer(Response::status(Status::ReservationConflict));
    assert_eq!(owner.answer_question(&question), conflict);
    status(&mut owner, OTHER, &RELEASE);
    kept(&mut owner, &wished);
    let Decision::Answer(refused) = owner.answer_question(&question) else { panic!() };
    assert_eq!(refused.status, Status::CheckCondition, "one is under way");
    let Decision::Answer(refused) = owner.decide(&wished) else { panic!() };
    assert_eq!(refused.sense[12..14], [0x04, 0x1B]);
}

#[test]
fn a_unit_that_is_not_thin_has_no_block_erase() {
    let mut config = config();
    config.thin = false;
    let mut unit = LogicalUnit::new(config);
    let invalid = Verdict::Done(Response::check(Sense::invalid_cdb(1, Some(4))));
    assert_eq!(unit.handle(&command(&ERASE)), invalid);
}

/// Both heads' views of a unit whose medium can be removed: the owner's, and the other one's.
fn removable_pair() -> [LogicalUnit; 2] {
    let mut units = [unit(Access::Serving), unit(Access::Forwarding)];
    for unit in &mut units {
        unit.config.removable = true;
    }
    // For the other head the same port is not its own.
    units[1].config.my_group = GroupId(2);
    units
}

/// Through the head that forwards: what is answered, by the time that both go by it.
fn through_the_other_head([owner, there]: &mut [LogicalUnit; 2], cdb: &[u8]) -> Response {
    let Verdict::Ask(question) = there.handle(&command(cdb)) else { panic!() };
    let wished = match owner.answer_question(&question) {
        Decision::Do(wished) => wished,
        other => panic!("{other:?}"),
    };
    match owner.decide(&wished) {
        Decision::Answer(response) => return response,
        Decision::Do(record) => {
            for unit in [owner, there] {
                unit.set_record(&record).unwrap();
            }
        }
    }
    Response::good()
}

const EJECT: [u8; 6] = [0x1B, 0, 0, 0, 0x02, 0];
const LOAD: [u8; 6] = [0x1B, 0, 0, 0, 0x03, 0];
const PREVENT: [u8; 6] = [0x1E, 0, 0, 0, 0x01, 0];

#[test]
fn the_medium_is_that_of_both_heads() {
    let mut units = removable_pair();
    assert_eq!(through_the_other_head(&mut units, &EJECT), Response::good());
    for unit in &mut units {
        let absent = Response::check(SenseCode::MEDIUM_NOT_PRESENT);
        assert_eq!(unit.handle(&command(&TEST_UNIT_READY)), absent.into());
    }
    assert_eq!(through_the_other_head(&mut units, &LOAD), Response::good());
    for unit in &mut units {
        assert_eq!(told(unit, NEXUS), None, "who did it");
        assert_eq!(told(unit, OTHER), Some(Attention::MediumMayHaveChanged));
    }

    assert_eq!(through_the_other_head(&mut units, &PREVENT), Response::good());
    let prevented = Response::check(SenseCode::MEDIUM_REMOVAL_PREVENTED);
    let [owner, there] = &mut units;
    assert_eq!(done(owner, &command(&EJECT)).0, prevented);
    let who = there.name_of(NEXUS).unwrap().clone();
    owner.remove_nexus(NEXUS);
    there.remove_nexus(NEXUS);
    assert_eq!(there.left_behind(), [], "its port is one of the owner");
    let left = Wished { who, wish: Wish::Prevent(false) };
    assert_eq!(owner.left_behind(), vec![left.clone()]);
    kept(owner, &left);
    assert_eq!(done(owner, &by(OTHER, command(&EJECT))).0, Response::good());
}

#[test]
fn what_a_head_has_missed_of_medium_and_protection_its_nexuses_are_told() {
    let [_, mut there] = removable_pair();
    let record = |serial, changed: bool| {
        let mut state = State { serial, protected: changed, ..State::default() };
        state.medium.ejected = !changed;
        document::record(&state)
    };
    there.set_record(&record(1, false)).unwrap();
    assert_eq!(told(&mut there, OTHER), None);
    there.set_record(&record(5, true)).unwrap();
    let news = [told(&mut there, OTHER), told(&mut there, OTHER), told(&mut there, OTHER)];
    assert_eq!(news, [Some(Attention::MediumMayHaveChanged), Some(Attention::ModeParametersChanged), None]);
}
