//! Requests of a standby's clients, seen from both ends.

use super::*;
use crate::message::Forwarded;

/// A standby that mirrors head b, which owns the unit, and knows what time it is there.
fn standby() -> Bench {
    let mut bench = Bench::standby(disk(2));
    bench.link_up();
    bench.on(Event::Message(Message::Invite(tag(3, 1))));
    bench.on(Event::Registered(Ok(())));
    bench.on(peer_is(PeerRole::Owner(Mode::Mirrored)));
    assert_eq!(bench.head.status().access, Access::Changing, "it does not know what time it is there");
    bench.on(Event::Message(Message::LeaseRequest { sent: Millis(7_000) }));
    assert_eq!(bench.head.status().access, Access::Forwarding);
    bench
}

fn forward(number: u64, heard: u64, event: Event<Mark>) -> Event<Mark> {
    let Event::Request(Request { operation, .. }) = event else { panic!("{event:?}") };
    Event::Message(Message::Forward { number, heard: Millis(heard), operation })
}

fn forwarded(number: u64, end: Forwarded) -> A {
    Action::Send(Message::Forwarded { number, end })
}

fn not_served(op: u64) -> A {
    Action::Complete { op: OpId(op), outcome: Outcome::NotServing }
}

#[test]
fn a_standby_sends_on_what_its_clients_want_and_hands_back_the_answer() {
    let mut bench = standby();
    let heard = Millis(7_000);
    let Event::Request(Request { operation, .. }) = write(4, 9, 1) else { unreachable!() };
    assert_eq!(bench.on(write(4, 9, 1)), [A::Send(Message::Forward { number: 1, heard, operation })]);
    assert_eq!(bench.on(Event::Message(Message::Forwarded { number: 1, end: Forwarded::Done })), [done(4)]);
    let operation = Operation::Read(Extent::new(9, 1));
    assert_eq!(bench.on(read(4, 9)), [A::Send(Message::Forward { number: 2, heard, operation })]);
    assert_eq!(bench.on(Event::Message(Message::Returned { number: 2, data: Mark(1, 1) })), []);
    let answer = bench.on(Event::Message(Message::Forwarded { number: 2, end: Forwarded::Data }));
    assert_eq!(answer, [Action::Complete { op: OpId(4), outcome: Outcome::Data(vec![Mark(1, 1)]) }]);
    assert_eq!(bench.on(Event::Message(Message::Forwarded { number: 2, end: Forwarded::Data })), [], "once only");
    bench.on(read(5, 9));
    assert_eq!(bench.on(Event::Cancel(OpId(5))), [A::Send(Message::CancelForwarded { number: 3 })]);
}

#[test]
fn a_standby_gives_back_what_nobody_will_answer() {
    let mut bench = standby();
    bench.on(write(4, 9, 1));
    assert_eq!(bench.on(Event::LinkDown), [not_served(4)]);
    let mut bench = standby();
    bench.on(write(4, 9, 1));
    let actions = bench.on(Event::Message(Message::Handover { tag: tag(4, 2), from: process(PEER) }));
    assert_eq!(actions[0], not_served(4));
    let mut bench = standby();
    bench.on(write(4, 9, 1));
    let actions = bench.on(Event::Conflict);
    assert_eq!(actions[0], not_served(4));
}

#[test]
fn a_standby_holds_commands_while_the_owner_hands_over() {
    let mut bench = standby();
    bench.on(peer_is(PeerRole::Owner(Mode::HandingOver)));
    assert_eq!(bench.head.status().access, Access::Changing);
    assert_eq!(bench.on(write(4, 9, 1)), [not_served(4)], "which presents it again when the access has changed");
    bench.on(peer_is(PeerRole::Owner(Mode::Degrading)));
    assert_eq!(bench.head.status().access, Access::Standby);
}

#[test]
fn an_owner_acknowledges_to_the_other_head_by_the_same_rule() {
    let mut bench = Bench::mirrored();
    let now = bench.now;
    let actions = bench.on(forward(8, now, write(0, 9, 1)));
    assert!(matches!(&actions[..], [A::Send(Message::Write { position: 1, .. }), ..]), "{actions:?}");
    assert!(!actions.contains(&forwarded(8, Forwarded::Done)));
    bench.on(Event::SuperblockWritten(Ok(())));
    assert!(bench.confirm(1).contains(&forwarded(8, Forwarded::Done)));
    let data = A::Send(Message::Returned { number: 9, data: Mark(1, 1) });
    assert_eq!(bench.on(forward(9, now, read(0, 9))), [data, forwarded(9, Forwarded::Data)]);
    assert_eq!(bench.on(forward(10, now, flush(0))), [forwarded(10, Forwarded::Done)]);
}

#[test]
fn an_owner_does_not_begin_what_was_on_its_way_for_too_long() {
    let mut bench = Bench::mirrored();
    let late = bench.now - 201;
    assert_eq!(bench.on(forward(8, late, write(0, 9, 1))), [forwarded(8, Forwarded::NotServing)]);
    assert_eq!(bench.on(forward(9, bench.now, read(0, 1000))), [forwarded(9, Forwarded::NotServing)], "no such block");
}

#[test]
fn whoever_is_not_the_owner_says_so() {
    let mut bench = standby();
    assert_eq!(bench.on(forward(8, 0, read(0, 9))), [forwarded(8, Forwarded::NotServing)]);
    bench.on(Event::Message(Message::Handover { tag: tag(4, 2), from: process(PEER) }));
    assert_eq!(bench.on(forward(9, 0, read(0, 9))), [forwarded(9, Forwarded::NotServing)]);
}

#[test]
fn what_has_not_begun_when_the_link_goes_down_never_does() {
    let mut bench = Bench::mirrored();
    let now = bench.now;
    bench.on(write(1, 9, 1));
    // It waits for the write that it overlaps.
    assert_eq!(bench.on(forward(8, now, write(0, 9, 2))), []);
    let actions = bench.on(Event::LinkDown);
    assert!(!actions.iter().any(|action| matches!(action, A::Send(_))), "{actions:?}");
    let written = |actions: &[A]| {
        let disk = |action: &A| matches!(action, A::Disk { command: DiskCommand::Write(_, data), .. } if data.contains(&Mark(2, 1)));
        actions.iter().any(disk)
    };
    assert!(!written(&actions), "{actions:?}");
    let ids: Vec<IoId> = actions
        .iter()
        .filter_map(|action| match action {
            A::Disk { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    for id in ids {
        assert!(!written(&bench.on(Event::Disk { id, result: Ok(None) })));
    }
    assert!(!written(&bench.pass(1000, true)));
}

#[test]
fn an_answer_that_comes_after_the_link_was_down_reaches_no_other_request() {
    let mut bench = Bench::mirrored();
    let actions = bench.on(forward(8, bench.now, read(0, 9)));
    let [A::Disk { id, .. }] = actions[..] else { panic!("{actions:?}") };
    bench.on(Event::LinkDown);
    bench.link_up();
    let now = bench.now;
    // Another process of the other head begins to count anew.
    let actions = bench.on(forward(8, now, read(0, 500)));
    let [A::Disk { id: second, .. }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(bench.on(Event::Disk { id, result: Ok(Some(Mark(1, 1))) }), []);
    let data = A::Send(Message::Returned { number: 8, data: Mark(2, 1) });
    let answer = bench.on(Event::Disk { id: second, result: Ok(Some(Mark(2, 1))) });
    assert_eq!(answer, [data, forwarded(8, Forwarded::Data)]);
}

#[test]
fn an_owner_says_whether_the_other_head_forwards() {
    let told = |actions: Vec<A>| {
        actions
            .into_iter()
            .filter_map(|action| if let A::SetOtherForwards(told) = action { Some(told) } else { None })
            .collect::<Vec<bool>>()
    };
    let mut bench = Bench::mirrored();
    assert_eq!(told(bench.all(peer_is(PeerRole::Starting))), [false]);
    assert_eq!(told(bench.all(peer_is(PeerRole::Standby { claim: Some(true) }))), [true]);
    assert_eq!(told(bench.all(Event::LinkDown)), [false]);
}
