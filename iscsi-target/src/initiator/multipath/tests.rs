//! Two paths to two heads, played by the test.

use super::*;
use crate::initiator::command::Sense;

const A: PathId = PathId(0);
const B: PathId = PathId(1);
const UNIT: &[u8] = &[0x60, 1, 2, 3, 4, 5, 6, 7];
const AO: GroupState = GroupState::ActiveOptimized;
const ANO: GroupState = GroupState::ActiveNonOptimized;
const STANDBY: GroupState = GroupState::Standby;

struct World {
    multipath: Multipath,
    now: Duration,
    /// What each head would say about both groups.
    says: [[GroupState; 2]; 2],
    units: [Option<&'static [u8]>; 2],
    knows_extended: bool,
    connects: Vec<PathId>,
    disconnects: Vec<PathId>,
    activations: Vec<PathId>,
    submitted: Vec<(PathId, Tag)>,
}

impl World {
    fn new(states: [GroupState; 2]) -> Self {
        Self {
            multipath: Multipath::new(2, Duration::ZERO),
            now: Duration::ZERO,
            says: [states; 2],
            units: [Some(UNIT); 2],
            knows_extended: true,
            connects: vec![],
            disconnects: vec![],
            activations: vec![],
            submitted: vec![],
        }
    }

    /// Both paths are logged in and have told their state.
    fn up(states: [GroupState; 2]) -> Self {
        let mut world = Self::new(states);
        world.settle();
        world.event(A, PathEvent::Up);
        world.event(B, PathEvent::Up);
        world
    }

    fn identity(&self, path: PathId) -> Answer {
        let Some(unit) = self.units[path.0] else {
            return Answer::check_condition(Sense { key: 5, asc: 0x24, ascq: 0 });
        };
        let group = u8::try_from(path.0 + 1).unwrap();
        let page = [&[0, 0x83, 0, 20, 1, 3, 0, 8][..], unit, &[1, 0x15, 0, 4, 0, 0, 0, group]].concat();
        Answer::good(page)
    }

    fn groups(&self, path: PathId, extended: bool) -> Answer {
        if extended && !self.knows_extended {
            return Answer::check_condition(Sense { key: 5, asc: 0x24, ascq: 0 });
        }
        let [a, b] = self.says[path.0].map(GroupState::code);
        let header: &[u8] = if extended { &[0, 0, 0, 20, 0x10, 0, 0, 0] } else { &[0, 0, 0, 16] };
        Answer::good([header, &[a, 0, 0, 1, 0, 0, 0, 0], &[b, 0, 0, 2, 0, 0, 0, 0]].concat())
    }

    /// Answer all probes but activations; collect the rest.
    fn settle(&mut self) {
        while let Some(action) = self.multipath.poll_action() {
            match action {
                Action::Connect(path) => self.connects.push(path),
                Action::Disconnect(path) => self.disconnects.push(path),
                Action::Submit(path, PROBE, command) => match command.cdb[0] {
                    0x12 => self.handle(path, PathEvent::Completed(PROBE, self.identity(path))),
                    0xa3 => {
                        let answer = self.groups(path, command.cdb[1] == 0x2a);
                        self.handle(path, PathEvent::Completed(PROBE, answer));
                    }
                    _ => self.activations.push(path),
                },
                Action::Submit(path, tag, _) => self.submitted.push((path, tag)),
            }
        }
    }

    fn handle(&mut self, path: PathId, event: PathEvent) {
        self.multipath.handle_path_event(path, event, self.now);
    }

    fn event(&mut self, path: PathId, event: PathEvent) {
        self.handle(path, event);
        self.settle();
    }

    fn down(&mut self, path: PathId) {
        self.event(path, PathEvent::Down("connection reset".to_owned()));
    }

    fn submit(&mut self) -> IoId {
        let id = self.multipath.submit(Command::test_unit_ready(), self.now);
        self.settle();
        id
    }

    fn answer(&mut self, path: PathId, id: IoId, answer: Answer) {
        self.event(path, PathEvent::Completed(Tag(id.0), answer));
    }

    fn fail(&mut self, path: PathId, id: IoId, key: u8, asc: u8, ascq: u8) {
        self.answer(path, id, Answer::check_condition(Sense { key, asc, ascq }));
    }

    /// Let time pass until the core wants to be called, and call it.
    fn pass(&mut self) -> Duration {
        self.now = self.multipath.next_timeout(self.now).expect("something is due at some time");
        self.multipath.handle_timeout(self.now);
        self.settle();
        self.now
    }

    fn pass_until(&mut self, end: Duration) {
        while self.multipath.next_timeout(self.now).is_some_and(|at| at <= end) {
            self.pass();
        }
        self.now = end;
    }

    fn submissions(&mut self) -> Vec<(PathId, Tag)> {
        std::mem::take(&mut self.submitted)
    }

    fn results(&mut self) -> Vec<IoId> {
        std::iter::from_fn(|| self.multipath.poll_result()).map(|(id, _)| id).collect()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn io_goes_to_the_optimized_path_and_its_answer_to_the_caller() {
    let mut world = World::up([STANDBY, AO]);
    assert_eq!(world.connects, [A, B]);
    let id = world.submit();
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
    world.answer(B, id, Answer::good(vec![1]));
    assert_eq!(world.results(), [id]);
    assert_eq!(world.activations, []);
}

#[test]
fn the_second_best_is_used_when_there_is_nothing_better() {
    let mut world = World::up([ANO, STANDBY]);
    let id = world.submit();
    assert_eq!(world.submissions(), [(A, Tag(id.0))]);
    let mut world = World::up([ANO, AO]);
    let id = world.submit();
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
}

#[test]
fn equal_paths_share_the_work() {
    let mut world = World::up([AO, AO]);
    let [first, second] = [world.submit(), world.submit()];
    assert_eq!(world.submissions(), [(A, Tag(first.0)), (B, Tag(second.0))]);
}

#[test]
fn io_waits_until_a_path_works() {
    let mut world = World::new([AO, STANDBY]);
    world.settle();
    let id = world.submit();
    assert_eq!(world.submissions(), []);
    world.event(A, PathEvent::Up);
    assert_eq!(world.submissions(), [(A, Tag(id.0))]);
}

#[test]
fn when_the_owner_is_lost_the_standby_is_activated_and_gets_the_commands_in_order() {
    let mut world = World::up([AO, STANDBY]);
    let ids = [world.submit(), world.submit(), world.submit()];
    world.answer(A, ids[1], Answer::good(vec![]));
    world.submissions();
    world.down(A);
    assert_eq!(world.activations, [B]);
    assert_eq!(world.submissions(), []);
    world.says[1] = [GroupState::Unavailable, AO];
    world.event(B, PathEvent::Completed(PROBE, Answer::good(vec![])));
    assert_eq!(world.submissions(), [(B, Tag(ids[0].0)), (B, Tag(ids[2].0))]);
    assert_eq!(world.results(), [ids[1]]);
}

#[test]
fn an_idle_client_activates_nothing() {
    let mut world = World::up([AO, STANDBY]);
    world.down(A);
    world.pass_until(ms(3000));
    assert_eq!(world.activations, []);
}

#[test]
fn a_standby_that_took_over_by_itself_is_not_activated() {
    let mut world = World::up([AO, STANDBY]);
    let id = world.submit();
    world.submissions();
    world.says[1] = [GroupState::Unavailable, AO];
    world.down(A);
    assert_eq!((world.activations.len(), world.submissions()), (0, vec![(B, Tag(id.0))]));
}

#[test]
fn a_failed_activation_is_tried_again_after_a_pause() {
    let mut world = World::up([AO, STANDBY]);
    world.submit();
    world.down(A);
    world.event(B, PathEvent::Completed(PROBE, Answer::check_condition(Sense { key: 4, asc: 0x67, ascq: 0x0a })));
    assert_eq!(world.activations.len(), 1);
    world.pass_until(ms(249));
    assert_eq!(world.activations.len(), 1);
    world.pass_until(ms(250));
    assert_eq!(world.activations.len(), 2);
}

#[test]
fn a_target_without_activation_is_not_asked_again() {
    let mut world = World::up([AO, STANDBY]);
    let id = world.submit();
    world.down(A);
    world.event(B, PathEvent::Completed(PROBE, Answer::check_condition(Sense { key: 5, asc: 0x20, ascq: 0 })));
    world.pass_until(ms(5000));
    assert_eq!(world.activations.len(), 1);
    world.submissions();
    world.says[1] = [STANDBY, AO];
    world.pass_until(ms(5200));
    assert_eq!(world.submissions(), [(B, Tag(id.0))], "but it is looked at");
}

#[test]
fn in_the_beginning_every_path_gets_its_chance() {
    let mut world = World::new([AO, STANDBY]);
    world.settle();
    world.submit();
    world.event(B, PathEvent::Up);
    assert_eq!(world.activations, []);
    world.pass_until(ms(999));
    assert_eq!(world.activations, []);
    world.pass_until(ms(1000));
    assert_eq!(world.activations, [B]);
}

#[test]
fn in_the_beginning_a_dead_path_is_no_chance() {
    let mut world = World::new([AO, STANDBY]);
    world.settle();
    world.submit();
    world.event(B, PathEvent::Up);
    world.down(A);
    assert_eq!(world.activations, [B]);
}

#[test]
fn after_a_unit_attention_the_state_is_asked_for_before_the_retry() {
    let mut world = World::up([AO, STANDBY]);
    let id = world.submit();
    world.submissions();
    world.says = [[STANDBY, AO]; 2];
    world.fail(A, id, 6, 0x2a, 0x06);
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
    let id = world.submit();
    world.submissions();
    world.fail(B, id, 6, 0x29, 0x00);
    assert_eq!(world.submissions(), [(B, Tag(id.0))], "nothing changed, so it goes the same way");
    assert_eq!(world.results(), []);
}

#[test]
fn not_ready_because_of_the_access_state_moves_the_io() {
    let mut world = World::up([AO, AO]);
    let id = world.submit();
    world.submissions();
    world.says = [[STANDBY, AO]; 2];
    world.fail(A, id, 2, 0x04, 0x0b);
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
}

#[test]
fn a_transition_is_waited_for() {
    let mut world = World::up([AO, STANDBY]);
    let id = world.submit();
    world.submissions();
    world.says = [[GroupState::Transitioning; 2]; 2];
    world.fail(A, id, 2, 0x04, 0x0a);
    world.pass_until(ms(2000));
    assert_eq!((world.submissions(), world.activations.len()), (vec![], 0));
    world.says = [[STANDBY, AO]; 2];
    world.pass_until(ms(2101));
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
}

#[test]
fn busy_pauses_the_path() {
    let mut world = World::up([AO, ANO]);
    let id = world.submit();
    world.submissions();
    world.answer(A, id, Answer { status: 0x08, sense: None, data: vec![] });
    assert_eq!(world.submissions(), []);
    assert_eq!(world.pass(), ms(100));
    assert_eq!(world.submissions(), [(A, Tag(id.0))]);
    world.answer(A, id, Answer { status: 0x28, sense: None, data: vec![] });
    assert_eq!(world.pass(), ms(110));
    assert_eq!(world.submissions(), [(A, Tag(id.0))]);
}

#[test]
fn a_medium_error_and_a_reservation_conflict_are_final() {
    let mut world = World::up([AO, STANDBY]);
    let [first, second] = [world.submit(), world.submit()];
    world.fail(A, first, 3, 0x11, 0);
    world.answer(A, second, Answer { status: 0x18, sense: None, data: vec![] });
    assert_eq!(world.results(), [first, second]);
}

#[test]
fn a_lost_path_is_connected_again_and_again() {
    let mut world = World::up([AO, AO]);
    world.connects.clear();
    world.down(A);
    assert_eq!(world.connects, []);
    assert_eq!(world.pass(), ms(250));
    assert_eq!(world.connects, [A]);
    world.down(A);
    assert_eq!(world.pass(), ms(500));
    assert_eq!(world.connects, [A, A]);
    let id = world.submit();
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
}

#[test]
fn a_late_answer_of_a_retried_command_counts_once() {
    let mut world = World::up([AO, AO]);
    let id = world.submit();
    world.down(A);
    assert_eq!(world.submissions(), [(A, Tag(id.0)), (B, Tag(id.0))]);
    world.answer(B, id, Answer::good(vec![]));
    world.answer(B, id, Answer::good(vec![]));
    assert_eq!(world.results(), [id]);
}

#[test]
fn a_path_that_leads_elsewhere_is_not_used() {
    let mut world = World::new([AO, AO]);
    world.units[1] = Some(&[0x60, 9, 9, 9, 9, 9, 9, 9]);
    world.settle();
    world.event(A, PathEvent::Up);
    world.event(B, PathEvent::Up);
    assert_eq!(world.disconnects, [B]);
    for _ in 0..2 {
        world.submit();
    }
    assert!(world.submissions().iter().all(|(path, _)| *path == A));
    world.connects.clear();
    world.down(B);
    world.pass_until(ms(4999));
    assert_eq!(world.connects, []);
    world.pass_until(ms(5001));
    assert_eq!(world.connects, [B]);
}

#[test]
fn a_target_without_alua_is_simply_used() {
    let mut world = World::new([STANDBY, STANDBY]);
    world.units = [None; 2];
    world.settle();
    world.event(A, PathEvent::Up);
    let id = world.submit();
    assert_eq!(world.submissions(), [(A, Tag(id.0))]);
    world.fail(A, id, 6, 0x29, 0);
    assert_eq!(world.submissions(), [(A, Tag(id.0))]);
}

#[test]
fn the_old_header_is_asked_for_when_the_new_one_is_unknown() {
    let mut world = World::new([STANDBY, AO]);
    world.knows_extended = false;
    world.settle();
    world.event(A, PathEvent::Up);
    world.event(B, PathEvent::Up);
    let id = world.submit();
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
}

#[test]
fn a_path_is_believed_about_itself_only() {
    let mut world = World::up([AO, STANDBY]);
    world.says = [[AO, STANDBY], [STANDBY, AO]];
    world.event(B, PathEvent::Changed);
    let [first, second] = [world.submit(), world.submit()];
    assert_eq!(world.submissions(), [(A, Tag(first.0)), (B, Tag(second.0))]);
}

#[test]
fn a_logout_that_the_target_wants_moves_the_io() {
    let mut world = World::up([AO, AO]);
    let id = world.submit();
    world.submissions();
    world.event(A, PathEvent::LogoutWanted);
    assert_eq!(world.disconnects, [A]);
    let later = world.submit();
    assert_eq!(world.submissions(), [(B, Tag(later.0))]);
    world.down(A);
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
}

#[test]
fn news_are_told_once() {
    let mut world = World::up([AO, STANDBY]);
    world.down(A);
    world.pass_until(ms(1000));
    world.down(A);
    let told = std::iter::from_fn(|| world.multipath.poll_notice());
    let told: Vec<_> = told.map(|notice| (notice.path, notice.text)).collect();
    let told: Vec<_> = told.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let expected =
        [(A, "connected"), (A, "active/optimized"), (B, "connected"), (B, "standby"), (A, "lost: connection reset")];
    assert_eq!(told, expected);
}

#[test]
fn what_was_aborted_is_tried_where_it_works() {
    let mut world = World::up([AO, STANDBY]);
    let id = world.submit();
    assert_eq!(world.submissions(), [(A, Tag(id.0))]);
    // The other head has become the owner meanwhile.
    world.says = [[STANDBY, AO]; 2];
    world.event(A, PathEvent::Aborted(Tag(id.0)));
    assert_eq!(world.submissions(), [(B, Tag(id.0))]);
    world.event(A, PathEvent::Aborted(Tag(id.0)));
    assert_eq!(world.submissions(), [], "what is elsewhere is not sent again");
    world.answer(B, id, Answer::good(vec![]));
    assert_eq!(world.results(), [id]);
}
