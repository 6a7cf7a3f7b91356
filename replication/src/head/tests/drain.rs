//! Waiting until the disk itself has everything.

use super::*;

fn drain(op: u64) -> Event<Mark> {
    Event::Drain { op: OpId(op) }
}

fn ended(io: IoId) -> Event<Mark> {
    Event::Disk { id: io, result: Ok(None) }
}

#[test]
fn mirrored_it_waits_for_the_disk_although_a_flush_does_not() {
    let mut bench = Bench::mirrored();
    bench.on(write(1, 7, 1));
    assert_eq!(bench.on(drain(2)), [], "the write is under way");
    assert_eq!(bench.confirm(1), [done(1)]);
    assert_eq!(bench.on(flush(3)), [done(3)]);
    let written = disk_io(&bench.pass(200, true));
    let flushed = disk_io(&bench.on(ended(written)));
    let last = bench.on(ended(flushed));
    assert!(!last.contains(&done(2)), "what was not kept in RAM may not be flushed: {last:?}");
    assert_eq!(bench.on(ended(disk_io(&last))), [done(2)]);
}

#[test]
fn alone_it_waits_for_what_is_under_way() {
    let mut bench = Bench::solo();
    let reading = disk_io(&bench.on(read(1, 3)));
    let written = disk_io(&bench.on(write(2, 7, 1)));
    assert_eq!(bench.on(drain(3)), []);
    assert_eq!(bench.on(ended(written)), [done(2)]);
    let flushed = bench.on(Event::Disk { id: reading, result: Ok(Some(Mark(0, 1))) });
    assert_eq!(bench.on(ended(disk_io(&flushed))), [done(3)]);
}

#[test]
fn only_an_owner_drains() {
    let mut bench = Bench::standby(disk(1));
    let refused = [A::Complete { op: OpId(1), outcome: Outcome::NotServing }];
    assert_eq!(bench.on(drain(1)), refused);
    let mut bench = Bench::solo();
    bench.on(write(2, 7, 1));
    bench.on(drain(1));
    assert!(bench.on(Event::Conflict).contains(&refused[0]));
}
