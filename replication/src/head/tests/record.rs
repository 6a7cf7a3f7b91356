//! What the daemons keep for clients beside the blocks.

use super::*;

fn record(bytes: &[u8]) -> Record {
    Record { kept: 0, bytes: bytes.into() }
}

fn set(op: u64, bytes: &[u8]) -> Event<Mark> {
    Event::SetRecord { op: OpId(op), record: record(bytes) }
}

fn refused(op: u64) -> A {
    A::Complete { op: OpId(op), outcome: Outcome::NotServing }
}

/// The records that superblocks were to be written with.
fn written(actions: &[A]) -> Vec<Record> {
    let written = |action: &A| if let A::WriteSuperblock(next) = action { Some(next.record.clone()) } else { None };
    actions.iter().filter_map(written).collect()
}

fn told(number: u64, bytes: &[u8]) -> A {
    A::Send(Message::Record { number, record: record(bytes) })
}

fn known(number: u64) -> Event<Mark> {
    Event::Message(Message::RecordKnown { number })
}

#[test]
fn alone_it_is_acknowledged_when_the_disk_has_it() {
    let mut bench = Bench::solo();
    assert_eq!(written(&bench.on(set(1, b"new"))), [record(b"new")]);
    assert_eq!(bench.on(set(2, b"other")), [refused(2)], "one at a time");
    assert_eq!(bench.on(Event::SuperblockWritten(Ok(()))), [A::SetRecord(record(b"new")), done(1)]);
}

#[test]
fn mirrored_the_other_head_has_to_go_by_it_too() {
    let mut bench = Bench::mirrored();
    bench.on(set(1, b"new"));
    assert_eq!(bench.on(Event::SuperblockWritten(Ok(()))), [A::SetRecord(record(b"new")), told(2, b"new")]);
    assert_eq!(bench.on(known(1)), [], "that was an earlier one");
    assert_eq!(bench.on(known(2)), [done(1)]);
}

#[test]
fn a_link_that_goes_down_leaves_nobody_who_goes_by_an_older_one() {
    let mut bench = Bench::mirrored();
    bench.on(set(1, b"new"));
    bench.on(Event::SuperblockWritten(Ok(())));
    assert!(bench.on(Event::LinkDown).contains(&done(1)));
}

#[test]
fn what_was_sent_on_by_an_older_one_ends_first() {
    let mut bench = Bench::mirrored();
    let heard = Millis(bench.now);
    let Event::Request(Request { operation, .. }) = write(0, 9, 1) else { unreachable!() };
    bench.on(Event::Message(Message::Forward { number: 5, heard, operation }));
    bench.on(Event::SuperblockWritten(Ok(())));
    bench.on(set(1, b"new"));
    bench.on(Event::SuperblockWritten(Ok(())));
    assert_eq!(bench.on(known(2)), [], "the write is under way");
    let actions = bench.confirm(1);
    assert!(actions.contains(&done(1)), "{actions:?}");
}

#[test]
fn a_superblock_that_cannot_be_written_is_tried_again_with_it() {
    let mut bench = Bench::solo();
    bench.on(set(1, b"new"));
    bench.on(Event::SuperblockWritten(Err(StorageError::Failed("?".to_owned()))));
    assert_eq!(written(&bench.pass(50, true)), [record(b"new")]);
    assert_eq!(bench.on(Event::SuperblockWritten(Ok(()))), [A::SetRecord(record(b"new")), done(1)]);
}

#[test]
fn a_head_that_joins_is_told() {
    let mut bench = Bench::solo();
    bench.on(set(1, b"new"));
    bench.on(Event::SuperblockWritten(Ok(())));
    bench.link_up();
    assert!(bench.on(Event::Message(Message::Accepted(tag(3, 1)))).contains(&told(1, b"new")));
}

#[test]
fn a_standby_goes_by_what_it_is_told_and_takes_no_order_of_its_own() {
    let mut bench = Bench::standby(disk(2));
    bench.link_up();
    let answer = bench.on(Event::Message(Message::Record { number: 7, record: record(b"new") }));
    assert_eq!(answer, [A::SetRecord(record(b"new")), A::Send(Message::RecordKnown { number: 7 })]);
    assert_eq!(bench.on(set(1, b"mine")), [refused(1)]);
}

#[test]
fn what_an_owner_gives_up_with_was_not_kept() {
    let mut bench = Bench::solo();
    bench.on(set(1, b"new"));
    assert_eq!(bench.on(Event::Conflict)[0], refused(1));
}

/// What a head goes by that takes over after `owner` has ended, having met `met`.
fn taken_over(owner: u64, met: Option<u64>, kept: u32) -> Vec<Record> {
    let recorded = Ownership {
        owner: Some(HeadId::B),
        owner_incarnation: Some(process(owner)),
        record: Record { kept, ..record(b"held") },
        ..disk(2)
    };
    let mut bench = Bench::standby(recorded.clone());
    if let Some(met) = met {
        bench.on(Event::LinkUp { peer: process(met) });
        bench.on(Event::LinkDown);
        // What was being read meanwhile does not count.
        bench.on(Event::SuperblockRead(Ok(recorded.clone())));
        bench.pass(250, false);
        bench.on(Event::SuperblockRead(Ok(recorded.clone())));
    }
    bench.take_over(recorded);
    let recorded = bench.head.core.recorded.as_ref().map(|recorded| recorded.record.clone());
    recorded.into_iter().collect()
}

#[test]
fn it_outlives_an_owner_that_this_process_has_met_and_both_only_if_it_is_to() {
    assert_eq!(taken_over(PEER, Some(PEER), 0), [record(b"held")]);
    assert_eq!(taken_over(PEER, Some(PEER + 1), 0), [Record::default()]);
    assert_eq!(taken_over(PEER, None, 0), [Record::default()]);
    assert_eq!(taken_over(PEER, None, 4), [Record { kept: 4, ..record(b"held") }]);
    assert_eq!(taken_over(PEER, None, 1), [Record { kept: 1, ..record(b"h") }], "of a part");
}

#[test]
fn a_question_goes_to_the_owner_and_its_answer_back() {
    let mut bench = Bench::mirrored();
    let heard = Millis(bench.now);
    let ask = |number| Message::Forward { number, heard, operation: Operation::Ask(b"may I"[..].into()) };
    let asked = bench.on(Event::Message(ask(5)));
    let [A::Ask { op, question }] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(&question[..], b"may I");
    let answer: std::sync::Arc<[u8]> = b"yes"[..].into();
    let sent = bench.on(Event::Answered { op: *op, answer: answer.clone() });
    assert_eq!(sent, [A::Send(Message::Answer { number: 5, answer: answer.clone() })]);
    assert_eq!(bench.on(Event::Answered { op: *op, answer: answer.clone() }), [], "once");

    let asked = bench.on(Event::Message(ask(6)));
    let [A::Ask { op, .. }] = &asked[..] else { panic!("{asked:?}") };
    let op = *op;
    bench.on(Event::LinkDown);
    assert_eq!(bench.on(Event::Answered { op, answer }), [], "nobody waits for it");
}
