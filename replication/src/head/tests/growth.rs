//! A unit that grows: what has to be so before the superblock moves, before its old place is cleared, and before anybody
//! sees the new size.

use super::*;

const GROWN: u64 = 3000;

fn growing(from: Ownership) -> Ownership {
    Ownership { capacity: Capacity { blocks: 1000, growing_to: Some(GROWN) }, ..from }
}

fn grown(from: Ownership) -> Ownership {
    Ownership { capacity: Capacity::of(GROWN), ..from }
}

/// What the superblock says while head a is mirrored by head b in epoch 3.
fn mirrored_disk() -> Ownership {
    Ownership {
        owner: Some(HeadId::A),
        owner_incarnation: Some(process(ME)),
        mirror: Some(process(PEER)),
        dirty: true,
        ..disk(3)
    }
}

fn solo_disk() -> Ownership {
    Ownership { mirror: None, dirty: false, ..mirrored_disk() }
}

fn measured(blocks: u64) -> Event<Mark> {
    Event::Measured(Ok(blocks))
}

fn peer_measured(blocks: u64) -> Event<Mark> {
    Event::Message(Message::Measured { blocks })
}

fn followed(blocks: u64) -> Event<Mark> {
    Event::Message(Message::Followed { blocks })
}

const FOLLOW: A = Action::Send(Message::Follow { blocks: GROWN });
const WRITTEN: Event<Mark> = Event::SuperblockWritten(Ok(()));
const CLEARED: Event<Mark> = Event::OldPlaceCleared(Ok(()));

impl Bench {
    fn grow(&mut self, order: u64) -> Vec<A> {
        self.on(Event::Order { id: OrderId(order), order: Order::Grow })
    }

    /// Mirrored, and both paths show a larger disk: what is written into the superblock.
    fn moving() -> (Self, Ownership) {
        let mut bench = Self::mirrored();
        assert_eq!(bench.grow(1), [A::Measure, A::Send(Message::Measure)]);
        assert!(bench.on(measured(GROWN)).is_empty(), "the other path is not measured yet");
        let record = bench.on(peer_measured(GROWN));
        let [A::WriteSuperblock(next)] = &record[..] else { panic!("{record:?}") };
        let next = next.clone();
        (bench, next)
    }

    fn refusal(&mut self, mine: u64, theirs: u64) -> String {
        self.grow(1);
        let mut actions = self.on(measured(mine));
        actions.extend(self.on(peer_measured(theirs)));
        match &actions[..] {
            [A::OrderDone { id: OrderId(1), result: Err(why) }] => why.clone(),
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn the_superblock_moves_then_the_old_place_is_cleared_then_the_new_size_is_seen() {
    let (mut bench, moved) = Bench::moving();
    assert_eq!(moved, growing(mirrored_disk()), "owner, mirror and epoch are what they were");
    assert_eq!(bench.on(WRITTEN), [FOLLOW], "not cleared before the mirror has seen it");
    assert_eq!(bench.on(followed(GROWN)), [A::ClearOldPlace]);
    assert_eq!(bench.on(CLEARED), [A::WriteSuperblock(grown(mirrored_disk()))]);
    let told = bench.all(WRITTEN);
    let seen = told.iter().position(|action| *action == A::SetBlocks(GROWN)).expect("clients see it");
    let says = |action: &A| matches!(action, A::Send(Message::State(PeerState { blocks: GROWN, .. })));
    assert!(told[seen..].iter().any(says), "and the other head's clients: {told:?}");
    assert!(told.contains(&A::OrderDone { id: OrderId(1), result: Ok(()) }));
    assert!(bench.pass(2000, true).iter().all(|action| !matches!(action, A::Measure | A::ClearOldPlace)));
}

#[test]
fn writes_are_acknowledged_all_the_while() {
    let (mut bench, _) = Bench::moving();
    let steps = [WRITTEN, followed(GROWN), CLEARED, WRITTEN];
    for (step, event) in (1u64..).zip(steps) {
        bench.on(write(step, step, step));
        assert_eq!(bench.confirm(step)[0], done(step), "before {event:?}");
        bench.on(event);
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused_in_plain_words() {
    for (mine, theirs, words) in [
        (GROWN, 1000, "head b's path to the disk still shows it smaller, with room for 3 MiB only: rescan"),
        (1000, GROWN, "head a's path to the disk still shows it smaller, with room for 3 MiB only: rescan"),
        (1000, 1000, "the disk has not grown: it has room for 3 MiB"),
        (999, 1000, "the disk has become smaller: at head a it has room for 3 MiB"),
        (GROWN, 500, "the disk has become smaller: at head b it has room for 1 MiB"),
    ] {
        let mut bench = Bench::mirrored();
        let why = bench.refusal(mine, theirs);
        assert!(why.contains(words), "{why}");
        assert_eq!(bench.refusal(mine, theirs), why, "and again");
    }
}

#[test]
fn a_standby_says_where_to_order_it() {
    let mut bench = Bench::standby(disk(2));
    bench.link_up();
    bench.on(peer_is(PeerRole::Owner(Mode::Mirrored)));
    let actions = bench.grow(1);
    let [A::OrderDone { result: Err(why), .. }] = &actions[..] else { panic!("{actions:?}") };
    assert!(why.contains("order it at head b"), "{why}");
}

#[test]
fn alone_the_other_head_is_taken_off_the_disk_before_the_old_place_is_cleared() {
    let mut bench = Bench::solo();
    assert_eq!(bench.grow(1), [A::Measure]);
    let record = bench.on(measured(GROWN));
    assert!(matches!(&record[..], [A::WriteSuperblock(next)] if next.capacity.growing_to == Some(GROWN)), "{record:?}");
    assert_eq!(bench.on(WRITTEN), [A::Fence { epoch: Epoch(2) }]);
    assert_eq!(bench.on(Event::FenceDone(Ok(false))), [A::ClearOldPlace]);
    let record = bench.on(CLEARED);
    assert!(matches!(&record[..], [A::WriteSuperblock(next)] if next.capacity == Capacity::of(GROWN)), "{record:?}");
    assert!(bench.on(WRITTEN).contains(&A::SetBlocks(GROWN)));
}

#[test]
fn a_mirror_that_is_lost_before_it_has_followed_is_taken_off_the_disk() {
    let (mut bench, _) = Bench::moving();
    bench.on(WRITTEN);
    let record = bench.on(Event::LinkDown);
    assert_eq!(record, [A::WriteSuperblock(growing(Ownership { epoch: Epoch(4), ..solo_disk() }))]);
    assert!(bench.on(followed(GROWN)).is_empty(), "of a link that is no more");
    assert!(bench.on(WRITTEN).contains(&A::Fence { epoch: Epoch(4) }));
    assert_eq!(bench.on(Event::FenceDone(Ok(false))), [A::ClearOldPlace]);
}

#[test]
fn a_mirror_that_comes_back_is_asked_again() {
    let (mut bench, _) = Bench::moving();
    bench.on(WRITTEN);
    bench.on(Event::LinkDown);
    bench.link_up();
    assert_eq!(bench.on(WRITTEN)[0], A::ChangeKey { epoch: Epoch(4) });
    assert_eq!(bench.on(Event::Message(Message::Accepted(tag(5, 2)))).len(), 1);
    assert!(bench.on(WRITTEN).contains(&FOLLOW));
}

#[test]
fn sizes_measured_over_another_link_do_not_count() {
    let mut bench = Bench::mirrored();
    bench.grow(1);
    bench.on(peer_measured(GROWN));
    bench.on(Event::LinkDown);
    let later = bench.on(measured(GROWN));
    assert!(
        !later.iter().any(|action| matches!(action, A::WriteSuperblock(next) if next.capacity.growing_to.is_some()))
    );
}

#[test]
fn whoever_takes_over_in_between_goes_on() {
    let mut bench = Bench::standby(growing(disk(1)));
    bench.take_over(growing(disk(1)));
    assert!(bench.on(Event::FenceDone(Ok(true))).contains(&A::ClearOldPlace), "it had asked for the fence by itself");
    let record = bench.on(CLEARED);
    assert!(matches!(&record[..], [A::WriteSuperblock(next)] if next.capacity == Capacity::of(GROWN)), "{record:?}");
}

#[test]
fn nothing_is_handed_over_while_the_old_place_is_being_cleared() {
    let (mut bench, _) = Bench::moving();
    bench.on(WRITTEN);
    bench.on(followed(GROWN));
    let handover = |action: &A| matches!(action, A::Send(Message::Handover { .. }));
    assert!(!bench.on(Event::Message(Message::RequestHandover)).iter().any(handover));
    assert!(bench.on(CLEARED).iter().any(handover));
    assert_eq!(bench.head.status().access, Access::Changing);
}

#[test]
fn a_takeover_that_finds_the_superblock_moved_looks_for_the_heartbeat_there_first() {
    let mut bench = Bench::standby(disk(1));
    let beat = Some((process(PEER), 1));
    bench.on(Event::PeerHeartbeat { started: Millis(0), beat });
    bench.now = 400;
    bench.on(Event::PeerHeartbeat { started: Millis(400), beat });
    bench.on(Event::SuperblockRead(Ok(disk(1))));
    let actions = bench.on(Event::SuperblockRead(Ok(growing(disk(1)))));
    assert!(!actions.iter().any(|action| matches!(action, A::Fence { .. })), "{actions:?}");
}

#[test]
fn a_standby_follows_when_it_has_seen_the_superblock_at_its_new_place() {
    let mut bench = Bench::standby(disk(3));
    bench.link_up_to_owner();
    bench.on(Event::SuperblockRead(Ok(disk(3))));
    assert_eq!(bench.on(Event::Message(Message::Follow { blocks: GROWN })), [A::ReadSuperblock]);
    assert!(bench.on(Event::SuperblockRead(Ok(disk(3)))).is_empty(), "it still reads the old one");
    assert!(bench.pass(300, false).contains(&A::ReadSuperblock));
    let answer = bench.on(Event::SuperblockRead(Ok(growing(disk(3)))));
    assert_eq!(answer, [A::Send(Message::Followed { blocks: GROWN })]);
}

#[test]
fn a_head_that_sees_another_superblock_than_the_owner_writes_does_not_join() {
    let mut bench = Bench::standby(disk(2));
    bench.link_up_to_owner();
    bench.on(Event::SuperblockRead(Ok(disk(2))));
    bench.on(Event::Message(Message::Invite(tag(7, 1))));
    assert_eq!(bench.on(Event::Registered(Ok(()))), [A::ReadSuperblock]);
    assert!(bench.on(Event::SuperblockRead(Ok(disk(2)))).is_empty());
    assert!(bench.head.status().reason.contains("is it the same disk"), "{}", bench.head.status().reason);
    assert!(bench.pass(300, false).contains(&A::ReadSuperblock), "it looks again");
    assert_eq!(bench.on(Event::SuperblockRead(Ok(disk(6)))), [A::Send(Message::Accepted(tag(7, 1)))]);
}

#[test]
fn a_mirror_takes_writes_behind_the_old_end_once_the_owner_says_that_it_has_grown() {
    let write = || {
        let extent = Extent::new(GROWN - 1, 1);
        Event::Message(Message::Write { tag: tag(3, 1), position: 1, version: Version(1), extent, data: Mark(1, 1) })
    };
    for told in [false, true] {
        let mut bench = Bench::standby(disk(2));
        bench.link_up_to_owner();
        bench.on(Event::SuperblockRead(Ok(disk(2))));
        bench.on(Event::Message(Message::Invite(tag(3, 1))));
        bench.on(Event::Registered(Ok(())));
        bench.on(Event::SuperblockRead(Ok(disk(2))));
        if told {
            let role = PeerRole::Owner(Mode::Mirrored);
            let state = PeerState { role, epoch: Epoch(3), dirty_blocks: 0, sessions: 0, blocks: GROWN };
            assert_eq!(bench.on(Event::Message(Message::State(state))), [A::SetBlocks(GROWN)]);
        }
        let confirmed = A::Send(Message::Confirmed { tag: tag(3, 1), position: 1 });
        assert_eq!(bench.on(write()).contains(&confirmed), told);
    }
}

#[test]
fn a_superblock_that_was_read_before_makes_nothing_smaller() {
    let mut bench = Bench::standby(growing(disk(3)));
    bench.on(Event::LinkUp { peer: process(PEER) });
    let role = PeerRole::Owner(Mode::Solo);
    let state = PeerState { role, epoch: Epoch(3), dirty_blocks: 0, sessions: 0, blocks: GROWN };
    assert_eq!(bench.on(Event::Message(Message::State(state))), [A::SetBlocks(GROWN)]);
    let outdated = bench.on(Event::SuperblockRead(Ok(growing(disk(3)))));
    assert!(!outdated.iter().any(|action| matches!(action, A::SetBlocks(_))), "{outdated:?}");
}

#[test]
fn an_order_that_cannot_be_carried_out_is_answered_with_the_reason() {
    let mut bench = Bench::mirrored();
    bench.grow(1);
    bench.on(measured(GROWN));
    let answers = bench.pass(9000, true);
    let end = answers.iter().find_map(|action| match action {
        A::OrderDone { id: OrderId(1), result: Err(why) } => Some(why),
        _ => None,
    });
    assert_eq!(end.map(String::as_str), Some("not grown in time: a path does not tell its size"));
    assert!(bench.on(peer_measured(GROWN)).is_empty(), "what was given up does not happen later");
}
