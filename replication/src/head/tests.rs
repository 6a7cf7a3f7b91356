//! The rules of the failover protocol, one head at a time: what goes in, and exactly what comes out.

use sas_backend::HeadId;
use sas_backend::superblock::Record;

use super::*;
use crate::block::Extent;
use crate::cache::Version;
use crate::message::Tag;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark(u64, u64);

impl Data for Mark {
    fn blocks(&self) -> u64 {
        self.1
    }
    fn slice(&self, _first: u64, blocks: u64) -> Self {
        Self(self.0, blocks)
    }
    fn first_difference(&self, other: &Self) -> Option<u64> {
        (self.0 != other.0).then_some(0)
    }
    fn or(&self, parts: &[Self]) -> Self {
        Self(parts.iter().fold(self.0, |mine, part| mine | part.0), self.1)
    }
}

mod compare;
mod drain;
mod forward;
mod growth;
mod holes;
mod record;

type A = Action<Mark>;

fn process(number: u64) -> Incarnation {
    Incarnation::new(number).unwrap()
}

const ME: u64 = 10;
const PEER: u64 = 20;

/// One head, its clock, and the little that every test does with it.
struct Bench {
    head: Head<Mark>,
    now: u64,
}

fn disk(epoch: u64) -> Ownership {
    Ownership {
        epoch: Epoch(epoch),
        owner: None,
        owner_incarnation: None,
        mirror: None,
        draining: false,
        dirty: false,
        losses: 0,
        record: Record::default(),
        capacity: Capacity::of(1000),
    }
}

fn tag(epoch: u64, invitation: u64) -> Tag {
    Tag { epoch: Epoch(epoch), invitation }
}

fn write(op: u64, lba: u64, mark: u64) -> Event<Mark> {
    let operation = Operation::Write { extent: Extent::new(lba, 1), data: Mark(mark, 1), fua: false };
    Event::Request(Request { op: OpId(op), operation })
}

fn read(op: u64, lba: u64) -> Event<Mark> {
    Event::Request(Request { op: OpId(op), operation: Operation::Read(Extent::new(lba, 1)) })
}

fn flush(op: u64) -> Event<Mark> {
    Event::Request(Request { op: OpId(op), operation: Operation::Flush })
}

fn peer_is(role: PeerRole) -> Event<Mark> {
    Event::Message(Message::State(PeerState { role, epoch: Epoch(1), dirty_blocks: 0, sessions: 0, blocks: 1000 }))
}

fn done(op: u64) -> A {
    Action::Complete { op: OpId(op), outcome: Outcome::Done }
}

/// What matters to a rule; logs, states, leases and records without anything do not.
fn matters(action: &A) -> bool {
    let record = match action {
        Action::SetRecord(record) | Action::Send(Message::Record { record, .. }) => Some(record),
        _ => None,
    };
    let is_empty = record.is_some_and(|record| *record == Record::default());
    !is_empty
        && !matches!(
            action,
            Action::Announce(_)
                | Action::SetAccess(_)
                | Action::SetOtherForwards(_)
                | Action::WatchPeer(_)
                | Action::Send(Message::State(_) | Message::LeaseRequest { .. })
        )
}

impl Bench {
    fn config() -> Config {
        Config {
            me: HeadId::A,
            incarnation: process(ME),
            paired: true,
            preferred: HeadId::A,
            lease_ms: 200,
            takeover_ms: 300,
            max_drain_ms: 1000,
            blocks: 1000,
            block_bytes: 4096,
            least_dirty_blocks: 100,
            max_dirty_blocks: 100,
            max_run_blocks: 8,
        }
    }

    fn new() -> Self {
        Self { head: Head::new(Self::config()), now: 0 }
    }

    fn all(&mut self, event: Event<Mark>) -> Vec<A> {
        self.head.handle(Millis(self.now), event);
        std::iter::from_fn(|| self.head.poll_action()).collect()
    }

    fn on(&mut self, event: Event<Mark>) -> Vec<A> {
        self.all(event).into_iter().filter(matters).collect()
    }

    /// Let `ms` pass, with ticks, and heartbeats if it is to keep its lease.
    fn pass(&mut self, ms: u64, beating: bool) -> Vec<A> {
        let mut actions = Vec::new();
        for _ in 0..ms / 50 {
            self.now += 50;
            actions.extend(self.on(Event::Tick));
            if beating {
                actions.extend(self.on(Event::Heartbeat { started: Millis(self.now) }));
            }
        }
        actions
    }

    fn standby(recorded: Ownership) -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.on(Event::Start), [A::StopHeartbeat, A::CloseLink, A::Register { epoch: Epoch(0) }]);
        assert_eq!(bench.on(Event::Registered(Ok(()))), [A::ReadSuperblock]);
        assert_eq!(bench.on(Event::SuperblockRead(Ok(recorded))), [A::OpenLink]);
        bench
    }

    /// The owner of a complete disk, solo, in epoch 2.
    fn solo() -> Self {
        let mut bench = Self::standby(disk(1));
        bench.take_over(disk(1));
        bench
    }

    /// Through all the steps of a takeover after the other head's silence.
    fn take_over(&mut self, recorded: Ownership) {
        let beat = Some((process(PEER), 1));
        let mut actions = self.on(Event::PeerHeartbeat { started: Millis(self.now), beat });
        self.now += 400;
        actions.extend(self.on(Event::PeerHeartbeat { started: Millis(self.now), beat }));
        if !actions.contains(&A::ReadSuperblock) {
            panic!("no takeover: {actions:?}");
        }
        let epoch = recorded.epoch.next();
        self.on(Event::SuperblockRead(Ok(recorded.clone())));
        let fence = self.on(Event::SuperblockRead(Ok(recorded.clone())));
        assert!(fence.is_empty() || fence == [A::Fence { epoch }], "{fence:?}");
        assert_eq!(self.on(Event::FenceDone(Ok(false))), [A::ReadSuperblock]);
        let record = self.on(Event::SuperblockRead(Ok(recorded)));
        assert!(matches!(&record[..], [A::WriteSuperblock(next)] if next.epoch == epoch), "{record:?}");
        assert_eq!(self.on(Event::SuperblockWritten(Ok(()))), [A::StartHeartbeat { epoch }]);
        assert!(!self.serves(), "the lease of the old owner may still run");
        self.pass(250, true);
        assert!(self.serves());
    }

    fn serves(&self) -> bool {
        self.head.status().access == Access::Serving
    }

    fn mode(&self) -> Option<Mode> {
        self.head.status().mode
    }

    fn link_up(&mut self) -> Vec<A> {
        let mut actions = self.on(Event::LinkUp { peer: process(PEER) });
        actions.extend(self.on(peer_is(PeerRole::Standby { claim: Some(false) })));
        actions
    }

    /// The link comes up, and the other head owns the unit.
    fn link_up_to_owner(&mut self) {
        self.on(Event::LinkUp { peer: process(PEER) });
        self.on(peer_is(PeerRole::Owner(Mode::Solo)));
    }

    /// Mirrored by the other head in epoch 3.
    fn mirrored() -> Self {
        let mut bench = Self::solo();
        assert_eq!(bench.link_up(), [A::Send(Message::Invite(tag(3, 1)))]);
        let record = bench.on(Event::Message(Message::Accepted(tag(3, 1))));
        let [A::WriteSuperblock(next)] = &record[..] else { panic!("{record:?}") };
        assert_eq!((next.epoch, next.mirror), (Epoch(3), Some(process(PEER))));
        let joined = bench.on(Event::SuperblockWritten(Ok(())));
        assert_eq!(joined, [A::ChangeKey { epoch: Epoch(3) }, A::Send(Message::Joined(tag(3, 1)))]);
        bench
    }

    fn confirm(&mut self, position: u64) -> Vec<A> {
        self.on(Event::Message(Message::Confirmed { tag: tag(3, 1), position }))
    }
}

/// The disk operation among `actions`.
fn disk_io(actions: &[A]) -> IoId {
    let io = actions.iter().find_map(|action| match action {
        Action::Disk { id, .. } => Some(*id),
        _ => None,
    });
    io.unwrap_or_else(|| panic!("no disk operation in {actions:?}"))
}

fn ok(id: IoId) -> Event<Mark> {
    Event::Disk { id, result: Ok(None) }
}

#[test]
fn without_a_claim_nobody_is_fenced() {
    // The owner was this head, in another life: its data is in the mirror's RAM only.
    let recorded = Ownership {
        owner: Some(HeadId::A),
        owner_incarnation: Some(process(9)),
        mirror: Some(process(PEER)),
        dirty: true,
        ..disk(5)
    };
    let mut bench = Bench::standby(recorded.clone());
    bench.on(Event::PeerHeartbeat { started: Millis(0), beat: None });
    bench.now = 1000;
    let mut actions = bench.on(Event::PeerHeartbeat { started: Millis(1000), beat: None });
    actions.extend(bench.on(Event::SuperblockRead(Ok(recorded))));
    assert!(!actions.iter().any(|action| matches!(action, A::Fence { .. } | A::WriteSuperblock(_))), "{actions:?}");
    assert_eq!(bench.head.status().access, Access::Unavailable);
}

#[test]
fn a_takeover_is_void_when_the_link_is_back_in_time() {
    let mut bench = Bench::standby(disk(1));
    bench.on(Event::PeerHeartbeat { started: Millis(0), beat: None });
    bench.now = 400;
    assert!(bench.on(Event::PeerHeartbeat { started: Millis(400), beat: None }).contains(&A::ReadSuperblock));
    bench.on(Event::LinkUp { peer: process(PEER) });
    let later = bench.on(Event::SuperblockRead(Ok(disk(1))));
    assert!(!later.contains(&A::Fence { epoch: Epoch(2) }), "{later:?}");
}

#[test]
fn the_claim_is_read_again_after_the_fence() {
    let mut bench = Bench::standby(disk(1));
    bench.on(Event::PeerHeartbeat { started: Millis(0), beat: None });
    bench.now = 400;
    bench.on(Event::PeerHeartbeat { started: Millis(400), beat: None });
    bench.on(Event::SuperblockRead(Ok(disk(1))));
    assert_eq!(bench.on(Event::SuperblockRead(Ok(disk(1)))), [A::Fence { epoch: Epoch(2) }]);
    bench.on(Event::FenceDone(Ok(true)));
    // The other head had become mirrored by somebody else before it was fenced.
    let changed = Ownership { mirror: Some(process(99)), dirty: true, ..disk(2) };
    let actions = bench.on(Event::SuperblockRead(Ok(changed)));
    assert!(!actions.iter().any(|action| matches!(action, A::WriteSuperblock(_))), "{actions:?}");
    assert!(!bench.serves());
}

#[test]
fn solo_acknowledges_what_the_disk_has() {
    let mut bench = Bench::solo();
    let io = disk_io(&bench.on(write(1, 7, 1)));
    assert_eq!(bench.on(ok(io)), [done(1)]);
}

#[test]
fn mirrored_acknowledges_what_the_mirror_has_and_never_what_only_the_disk_has() {
    let mut bench = Bench::mirrored();
    let sent = bench.on(write(1, 7, 1));
    assert!(matches!(&sent[..], [A::Send(Message::Write { position: 1, version: Version(1), .. })]), "{sent:?}");
    assert!(bench.pass(500, true).is_empty(), "an unconfirmed write is not destaged, and not acknowledged");
    assert_eq!(bench.confirm(1)[0], done(1));
}

#[test]
fn an_acknowledgement_of_another_invitation_counts_for_nothing() {
    let mut bench = Bench::mirrored();
    bench.on(write(1, 7, 1));
    let stale = Message::Confirmed { tag: tag(3, 0), position: 1 };
    assert!(bench.on(Event::Message(stale)).is_empty());
}

#[test]
fn joining_asks_for_both() {
    let mut bench = Bench::solo();
    let first = disk_io(&bench.on(write(1, 7, 1)));
    bench.link_up();
    let sent = bench.on(Event::Message(Message::Accepted(tag(3, 1))));
    assert!(matches!(&sent[..], [A::Send(Message::Write { position: 1, .. })]), "what is dirty is sent: {sent:?}");
    assert!(bench.on(ok(first)).iter().all(|action| *action != done(1)), "the disk alone is not enough");
    assert!(bench.confirm(1).contains(&done(1)));
    let second = disk_io(&bench.on(write(2, 8, 2)));
    assert!(bench.confirm(2).iter().all(|action| *action != done(2)), "nor is the mirror");
    assert!(bench.on(ok(second)).contains(&done(2)));
}

#[test]
fn degrading_holds_until_the_superblock_says_solo() {
    use crate::message::Mode;
    let mut bench = Bench::mirrored();
    bench.on(write(1, 7, 1));
    let destage = bench.on(Event::LinkDown);
    assert_eq!(bench.mode(), Some(Mode::Degrading));
    let flush = bench.on(ok(disk_io(&destage)));
    assert!(!flush.contains(&done(1)));
    let record = bench.on(ok(disk_io(&flush)));
    assert!(matches!(&record[..], [A::WriteSuperblock(Ownership { mirror: None, .. })]), "{record:?}");
    assert!(bench.on(Event::SuperblockWritten(Ok(()))).contains(&done(1)));
    assert_eq!(bench.mode(), Some(Mode::Solo));
}

#[test]
fn a_link_that_breaks_during_the_switch_ends_in_degrading_even_when_it_is_back() {
    use crate::message::Mode;
    let mut bench = Bench::solo();
    bench.link_up();
    bench.on(Event::Message(Message::Accepted(tag(3, 1))));
    bench.on(Event::LinkDown);
    bench.link_up();
    bench.on(Event::SuperblockWritten(Ok(())));
    assert_eq!(bench.mode(), Some(Mode::Degrading));
}

#[test]
fn what_is_destaged_is_flushed_before_the_mirror_may_forget_it() {
    let mut bench = Bench::mirrored();
    bench.on(write(1, 7, 1));
    bench.confirm(1);
    let destage = bench.pass(300, true);
    let flush = bench.on(ok(disk_io(&destage)));
    assert!(!flush.iter().any(|action| matches!(action, A::Send(Message::Release { .. }))), "{flush:?}");
    let release = bench.on(ok(disk_io(&flush)));
    assert!(matches!(&release[..], [A::Send(Message::Release { version: Version(1), .. })]), "{release:?}");
}

#[test]
fn a_flush_is_answered_at_once_when_mirrored_and_waits_for_the_disk_otherwise() {
    let mut bench = Bench::mirrored();
    assert_eq!(bench.on(flush(1)), [done(1)]);
    let mut bench = Bench::solo();
    let io = disk_io(&bench.on(flush(1)));
    assert_eq!(bench.on(ok(io)), [done(1)]);
}

#[test]
fn a_read_waits_for_a_write_that_may_still_vanish() {
    let mut bench = Bench::mirrored();
    bench.on(write(1, 7, 1));
    assert!(bench.on(read(2, 7)).is_empty());
    let answers = bench.confirm(1);
    assert_eq!(answers, [done(1), A::Complete { op: OpId(2), outcome: Outcome::Data(vec![Mark(1, 1)]) }]);
}

#[test]
fn without_a_lease_nothing_is_answered() {
    let mut bench = Bench::mirrored();
    bench.on(write(1, 7, 1));
    bench.confirm(1);
    bench.pass(300, false);
    assert!(bench.on(read(2, 7)).iter().all(|action| !matches!(action, A::Complete { .. })));
    let answers = bench.on(Event::Heartbeat { started: Millis(bench.now) });
    assert_eq!(answers, [A::Complete { op: OpId(2), outcome: Outcome::Data(vec![Mark(1, 1)]) }]);
}

#[test]
fn a_fenced_head_closes_everything_and_registers_only_when_nothing_of_it_is_under_way() {
    let mut bench = Bench::solo();
    bench.link_up();
    let io = disk_io(&bench.on(write(1, 7, 1)));
    let actions = bench.on(Event::Conflict);
    assert_eq!(
        actions,
        [A::Complete { op: OpId(1), outcome: Outcome::NotServing }, A::StopHeartbeat, A::CloseSessions, A::CloseLink,]
    );
    assert!(bench.pass(500, false).is_empty());
    let fenced = Event::Disk { id: io, result: Err(IoError::Fenced) };
    assert_eq!(bench.on(fenced), [A::Register { epoch: Epoch(2) }]);
}

#[test]
fn a_fenced_owner_keeps_its_data_until_a_higher_epoch_is_recorded() {
    for (recorded_epoch, keeps) in [(3, true), (4, false)] {
        let mut bench = Bench::mirrored();
        bench.on(write(1, 7, 1));
        bench.confirm(1);
        bench.on(Event::Conflict);
        bench.on(Event::Registered(Ok(())));
        let owner = if keeps { (HeadId::A, process(ME)) } else { (HeadId::B, process(PEER)) };
        let recorded = Ownership {
            owner: Some(owner.0),
            owner_incarnation: Some(owner.1),
            mirror: keeps.then(|| process(PEER)),
            draining: !keeps,
            dirty: keeps,
            ..disk(recorded_epoch)
        };
        bench.on(Event::SuperblockRead(Ok(recorded)));
        assert_eq!(bench.head.status().mirror_blocks, u64::from(keeps), "epoch {recorded_epoch}");
    }
}

#[test]
fn a_handover_swaps_the_roles_and_drains_nothing() {
    let mut bench = Bench::mirrored();
    bench.on(write(1, 7, 1));
    bench.confirm(1);
    let actions = bench.on(Event::Message(Message::RequestHandover));
    let handover = Message::Handover { tag: tag(4, 2), from: process(ME) };
    assert_eq!(actions[..2], [A::StopHeartbeat, A::Send(handover)]);
    assert_eq!(bench.on(write(2, 9, 2)), [A::Complete { op: OpId(2), outcome: Outcome::NotServing }]);
    bench.on(Event::Message(Message::TookOver(tag(4, 2))));
    bench.on(peer_is(PeerRole::Owner(Mode::Mirrored)));
    let status = bench.head.status();
    assert_eq!((status.owner, status.mirror_blocks, status.access), (Some(HeadId::B), 1, Access::Changing));
    bench.on(Event::Message(Message::LeaseRequest { sent: Millis(7) }));
    assert_eq!(bench.head.status().access, Access::Forwarding);
}

#[test]
fn whoever_takes_a_handover_records_the_old_owner_as_its_mirror() {
    let recorded = Ownership {
        owner: Some(HeadId::B),
        owner_incarnation: Some(process(PEER)),
        mirror: Some(process(ME)),
        dirty: true,
        ..disk(3)
    };
    let mut bench = Bench::standby(disk(2));
    bench.link_up_to_owner();
    bench.on(Event::Message(Message::Invite(tag(3, 1))));
    bench.on(Event::Registered(Ok(())));
    assert_eq!(bench.on(Event::SuperblockRead(Ok(disk(2)))), [A::ReadSuperblock], "what was read before may be old");
    assert_eq!(bench.on(Event::SuperblockRead(Ok(disk(2)))), [A::Send(Message::Accepted(tag(3, 1)))]);
    let write = Message::Write {
        tag: tag(3, 1),
        position: 1,
        version: Version(5),
        extent: Extent::new(7, 1),
        data: Mark(5, 1),
    };
    let confirmed = Message::Confirmed { tag: tag(3, 1), position: 1 };
    assert_eq!(bench.on(Event::Message(write)), [A::Send(confirmed)]);
    bench.on(Event::Message(Message::Handover { tag: tag(4, 2), from: process(PEER) }));
    let record = bench.on(Event::SuperblockRead(Ok(recorded)));
    let [A::WriteSuperblock(next)] = &record[..] else { panic!("no fence, at once the superblock: {record:?}") };
    assert_eq!((next.epoch, next.owner, next.mirror), (Epoch(4), Some(HeadId::A), Some(process(PEER))));
    let serving = bench.on(Event::SuperblockWritten(Ok(())));
    assert_eq!(serving, [A::Send(Message::TookOver(tag(4, 2))), A::StartHeartbeat { epoch: Epoch(4) }]);
    bench.on(Event::Heartbeat { started: Millis(bench.now) });
    assert!(bench.serves(), "no lease to wait for: the old owner gave up by itself");
    assert_eq!(bench.mode(), Some(Mode::Mirrored));
}

#[test]
fn a_standby_that_stops_waits_until_nobody_counts_on_its_ram() {
    let mut bench = Bench::standby(disk(2));
    bench.link_up();
    bench.on(peer_is(PeerRole::Owner(Mode::Solo)));
    bench.on(Event::Message(Message::Invite(tag(3, 1))));
    bench.on(Event::Registered(Ok(())));
    bench.on(Event::Message(Message::Joined(tag(3, 1))));
    let mirror_is_me = Ownership {
        owner: Some(HeadId::B),
        owner_incarnation: Some(process(PEER)),
        mirror: Some(process(ME)),
        dirty: true,
        ..disk(3)
    };
    assert_eq!(bench.on(Event::Shutdown), [A::CloseLink]);
    let outdated = bench.on(Event::SuperblockRead(Ok(disk(2))));
    assert_eq!(outdated, [A::ReadSuperblock], "it was asked for before the join");
    assert!(!bench.on(Event::SuperblockRead(Ok(mirror_is_me))).contains(&A::Stopped));
    let again = bench.pass(300, false);
    assert!(again.contains(&A::ReadSuperblock), "{again:?}");
    assert!(bench.on(Event::SuperblockRead(Ok(disk(4)))).contains(&A::Stopped));
}

#[test]
fn a_handover_over_a_link_that_broke_meanwhile_trusts_no_mirror() {
    use crate::message::Mode;
    let recorded = Ownership {
        owner: Some(HeadId::B),
        owner_incarnation: Some(process(PEER)),
        mirror: Some(process(ME)),
        dirty: true,
        ..disk(3)
    };
    let mut bench = Bench::standby(disk(2));
    bench.link_up();
    bench.on(Event::Message(Message::Invite(tag(3, 1))));
    bench.on(Event::Registered(Ok(())));
    bench.on(Event::Message(Message::Handover { tag: tag(4, 2), from: process(PEER) }));
    bench.on(Event::LinkDown);
    bench.on(Event::LinkUp { peer: process(21) });
    bench.on(Event::SuperblockRead(Ok(recorded)));
    bench.on(Event::SuperblockWritten(Ok(())));
    bench.on(Event::Heartbeat { started: Millis(bench.now) });
    assert_eq!(bench.mode(), Some(Mode::Degrading), "the process that has the copy is not the one that is connected");
}

#[test]
fn a_head_that_stops_takes_no_unit() {
    let mut bench = Bench::standby(disk(2));
    bench.link_up();
    bench.on(peer_is(PeerRole::Owner(Mode::Mirrored)));
    bench.on(Event::Shutdown);
    let order = Event::Order { id: OrderId(1), order: Order::Own(HeadId::A) };
    let actions = bench.on(order);
    assert!(matches!(&actions[..], [A::OrderDone { id: OrderId(1), result: Err(_) }]), "{actions:?}");
}

#[test]
fn a_unit_that_has_just_moved_is_not_moved_back_by_a_client() {
    let order = |id, order| Event::Order { id: OrderId(id), order };
    let refused =
        |actions: &[A], id| matches!(actions, [A::OrderDone { id: OrderId(done), result: Err(_) }] if *done == id);
    let mut bench = Bench::mirrored();
    bench.on(Event::Message(Message::RequestHandover));
    let actions = bench.on(order(1, Order::Prefer(HeadId::A)));
    assert!(refused(&actions, 1), "it is on its way: {actions:?}");
    bench.on(Event::Message(Message::TookOver(tag(4, 2))));
    bench.on(peer_is(PeerRole::Owner(Mode::Mirrored)));
    let actions = bench.on(order(2, Order::Prefer(HeadId::A)));
    assert!(refused(&actions, 2), "it has just arrived: {actions:?}");
    assert_eq!(bench.on(order(3, Order::Prefer(HeadId::B))), [A::OrderDone { id: OrderId(3), result: Ok(()) }]);
    bench.pass(1000, false);
    assert_eq!(bench.on(order(4, Order::Prefer(HeadId::A))), [A::Send(Message::RequestHandover)]);
}

#[test]
fn an_operator_moves_a_unit_that_has_just_moved_and_a_client_one_that_nobody_else_has() {
    let asks = |bench: &mut Bench, order| bench.on(Event::Order { id: OrderId(1), order });
    let mut bench = Bench::mirrored();
    bench.on(Event::Message(Message::RequestHandover));
    bench.on(Event::Message(Message::TookOver(tag(4, 2))));
    bench.on(peer_is(PeerRole::Owner(Mode::Mirrored)));
    assert_eq!(asks(&mut bench, Order::Own(HeadId::A)), [A::Send(Message::RequestHandover)]);
    let mut bench = Bench::mirrored();
    bench.on(Event::Message(Message::RequestHandover));
    bench.on(Event::Message(Message::TookOver(tag(4, 2))));
    bench.on(Event::LinkDown);
    let actions = asks(&mut bench, Order::Prefer(HeadId::A));
    assert!(!actions.iter().any(|action| matches!(action, A::OrderDone { .. })), "{actions:?}");
}

#[test]
fn an_owner_records_again_what_it_is_when_asked_to() {
    let mut bench = Bench::mirrored();
    let record = bench.on(Event::RecordAgain);
    let [A::WriteSuperblock(next)] = &record[..] else { panic!("{record:?}") };
    assert_eq!((next.epoch, next.owner, next.mirror), (Epoch(3), Some(HeadId::A), Some(process(PEER))));
    assert_eq!(bench.on(Event::RecordAgain), [], "one at a time");
    let record = bench.on(Event::SuperblockWritten(Ok(())));
    assert!(matches!(&record[..], [A::WriteSuperblock(next)] if next.epoch == Epoch(3)), "{record:?}");
    assert_eq!(bench.on(Event::SuperblockWritten(Ok(()))), []);
    assert_eq!(Bench::standby(disk(1)).on(Event::RecordAgain), [], "a standby never writes it");
}

#[test]
fn another_head_can_become_the_preferred_one() {
    let mut bench = Bench::standby(disk(1));
    bench.on(Event::Preferred(HeadId::B));
    bench.on(Event::LinkUp { peer: process(PEER) });
    bench.on(Event::SuperblockRead(Ok(disk(1))));
    let claims = || peer_is(PeerRole::Standby { claim: Some(true) });
    assert_eq!(bench.on(claims()), [], "the other head has a claim, and is preferred");
    assert_eq!(bench.on(Event::Preferred(HeadId::A)), [A::ReadSuperblock], "now this one takes over");
}
