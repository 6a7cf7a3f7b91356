//! COMPARE AND WRITE and ORWRITE: looking at the blocks and the write are one step, whatever happens around them.

use super::*;

/// Writes `new` over `old` at a block.
fn compare(op: u64, lba: u64, old: u64, new: u64) -> Event<Halves> {
    let operation =
        Operation::CompareAndWrite { extent: Extent::new(lba, 1), data: Halves(vec![old, new]), fua: false };
    Event::Request(Request { op: OpId(op), operation })
}

/// One mark for each block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Halves(Vec<u64>);

impl Data for Halves {
    fn blocks(&self) -> u64 {
        self.0.len() as u64
    }
    fn slice(&self, first: u64, blocks: u64) -> Self {
        let at = |block: u64| usize::try_from(block).unwrap();
        Self(self.0[at(first)..at(first + blocks)].to_vec())
    }
    fn first_difference(&self, other: &Self) -> Option<u64> {
        self.0.iter().zip(&other.0).position(|(mine, theirs)| mine != theirs).map(|at| at as u64 * 4096 + 7)
    }
    fn or(&self, parts: &[Self]) -> Self {
        let theirs = parts.iter().flat_map(|part| &part.0);
        Self(self.0.iter().zip(theirs).map(|(mine, theirs)| mine | theirs).collect())
    }
}

type Act = Action<Halves>;

/// A single head that serves, and its disk.
struct Single {
    head: Head<Halves>,
    now: u64,
}

impl Single {
    fn serving() -> Self {
        let config = Config { paired: false, ..Bench::config() };
        let mut single = Self { head: Head::new(config), now: 0 };
        single.on(Event::Start);
        single.on(Event::Registered(Ok(())));
        single.on(Event::SuperblockRead(Ok(disk(1))));
        single.on(Event::SuperblockRead(Ok(disk(1))));
        single.on(Event::FenceDone(Ok(false)));
        single.on(Event::SuperblockRead(Ok(disk(1))));
        single.on(Event::SuperblockWritten(Ok(())));
        single.on(Event::Heartbeat { started: Millis(single.now) });
        single.now += 300;
        single.on(Event::Heartbeat { started: Millis(single.now) });
        single.on(Event::Tick);
        assert_eq!(single.head.status().access, Access::Serving);
        single
    }

    fn on(&mut self, event: Event<Halves>) -> Vec<Act> {
        self.head.handle(Millis(self.now), event);
        let of_the_disk = |action: &Act| matches!(action, Action::Complete { .. } | Action::Disk { .. });
        std::iter::from_fn(|| self.head.poll_action()).filter(of_the_disk).collect()
    }

    fn answer(&mut self, actions: &[Act], data: Option<u64>) -> Vec<Act> {
        let [Action::Disk { id, .. }] = actions else { panic!("{actions:?}") };
        self.on(Event::Disk { id: *id, result: Ok(data.map(|mark| Halves(vec![mark]))) })
    }
}

fn write_of(op: u64, lba: u64, mark: u64) -> Event<Halves> {
    let operation = Operation::Write { extent: Extent::new(lba, 1), data: Halves(vec![mark]), fua: false };
    Event::Request(Request { op: OpId(op), operation })
}

/// Sets the bits of `mark` at a block.
fn or(op: u64, lba: u64, mark: u64) -> Event<Halves> {
    let operation = Operation::Or { extent: Extent::new(lba, 1), data: Halves(vec![mark]), fua: false };
    Event::Request(Request { op: OpId(op), operation })
}

fn miscompare(op: u64) -> Act {
    Action::Complete { op: OpId(op), outcome: Outcome::Miscompare(7) }
}

fn writes(actions: &[Act], mark: u64) -> bool {
    let of = |action: &Act| matches!(action, Action::Disk { command: DiskCommand::Write(_, data), .. } if *data == [Halves(vec![mark])]);
    actions.iter().any(of)
}

#[test]
fn what_is_expected_is_replaced_and_what_is_not_stays() {
    let mut single = Single::serving();
    let read = single.on(compare(1, 9, 5, 6));
    assert!(
        matches!(&read[..], [Action::Disk { command: DiskCommand::Read(extent), .. }] if *extent == Extent::new(9, 1))
    );
    let written = single.answer(&read, Some(5));
    assert!(writes(&written, 6), "{written:?}");
    assert_eq!(single.answer(&written, None), [Action::Complete { op: OpId(1), outcome: Outcome::Done }]);
    let read = single.on(compare(2, 9, 5, 7));
    assert_eq!(single.answer(&read, Some(6)), [miscompare(2)]);
}

#[test]
fn a_write_that_comes_between_counts() {
    let mut single = Single::serving();
    let read = single.on(compare(1, 9, 5, 6));
    assert_eq!(single.on(write_of(2, 9, 8)), [], "it does not go to the disk while that is read");
    let written = single.answer(&read, Some(5));
    assert!(writes(&written, 8), "{written:?}");
    let read = single.answer(&written, None);
    assert_eq!(read[0], Action::Complete { op: OpId(2), outcome: Outcome::Done });
    assert_eq!(single.answer(&read[1..], Some(8)), [miscompare(1)]);
}

#[test]
fn two_at_once_do_not_both_succeed() {
    let mut single = Single::serving();
    let first = single.on(compare(1, 9, 5, 6));
    let second = single.on(compare(2, 9, 5, 7));
    assert_eq!(single.answer(&first, Some(5)), [], "the disk is still read for the second one");
    let written = single.answer(&second, Some(5));
    assert!(
        writes(&written, 6) && written.len() == 1,
        "the second one waits for what the first one writes: {written:?}"
    );
    let read = single.answer(&written, None);
    assert_eq!(read[0], Action::Complete { op: OpId(1), outcome: Outcome::Done });
    assert_eq!(single.answer(&read[1..], Some(6)), [miscompare(2)]);
}

#[test]
fn one_that_is_given_up_does_not_write() {
    let mut single = Single::serving();
    let read = single.on(compare(1, 9, 5, 6));
    let ended = single.on(Event::Cancel(OpId(1)));
    assert_eq!(ended, [Action::Complete { op: OpId(1), outcome: Outcome::NotServing }]);
    assert_eq!(single.answer(&read, Some(5)), []);
}

#[test]
fn bits_are_set_and_the_others_stay() {
    let mut single = Single::serving();
    let read = single.on(or(1, 9, 0b0110));
    assert!(
        matches!(&read[..], [Action::Disk { command: DiskCommand::Read(extent), .. }] if *extent == Extent::new(9, 1))
    );
    let written = single.answer(&read, Some(0b1100));
    assert!(writes(&written, 0b1110), "{written:?}");
    assert_eq!(single.answer(&written, None), [Action::Complete { op: OpId(1), outcome: Outcome::Done }]);
}

#[test]
fn bits_are_set_in_what_a_write_between_has_left() {
    let mut single = Single::serving();
    let read = single.on(or(1, 9, 0b0001));
    assert_eq!(single.on(write_of(2, 9, 0b1000)), [], "it does not go to the disk while that is read");
    let written = single.answer(&read, Some(0b0100));
    assert!(writes(&written, 0b1000), "{written:?}");
    let read = single.answer(&written, None);
    assert_eq!(read[0], Action::Complete { op: OpId(2), outcome: Outcome::Done });
    let united = single.answer(&read[1..], Some(0b1000));
    assert!(writes(&united, 0b1001), "{united:?}");
}

#[test]
fn two_that_set_bits_at_once_lose_none() {
    let mut single = Single::serving();
    let first = single.on(or(1, 9, 0b0001));
    let second = single.on(or(2, 9, 0b0010));
    assert_eq!(single.answer(&first, Some(0b1000)), [], "the disk is still read for the second one");
    let written = single.answer(&second, Some(0b1000));
    assert!(writes(&written, 0b1001) && written.len() == 1, "the second one waits for the first one: {written:?}");
    let read = single.answer(&written, None);
    let united = single.answer(&read[1..], Some(0b1001));
    assert!(writes(&united, 0b1011), "{united:?}");
}

#[test]
fn what_the_disk_is_just_being_given_counts_although_it_is_read_before() {
    let mut bench = Bench::mirrored();
    bench.on(write(1, 7, 0b0100));
    assert_eq!(bench.confirm(1), [done(1)]);
    let run = disk_io(&bench.pass(200, true));
    let operation = Operation::Or { extent: Extent::new(7, 2), data: Mark(0b0001, 2), fua: false };
    let read = disk_io(&bench.on(Event::Request(Request { op: OpId(2), operation })));
    let flush = disk_io(&bench.on(ok(run)));
    let released = bench.on(ok(flush));
    assert!(matches!(&released[..], [A::Send(Message::Release { .. })]), "RAM has it no longer: {released:?}");
    let written = bench.on(Event::Disk { id: read, result: Ok(Some(Mark(0b1000, 2))) });
    assert!(
        matches!(&written[..], [A::Send(Message::Write { data: Mark(0b1101, 2), .. })]),
        "the bits of the write are lost: {written:?}"
    );
}
