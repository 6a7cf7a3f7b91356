//! Holes: written like anything else, deallocated by the disk; and who says where they are.

use super::*;
use crate::block::Stretch;

/// So many blocks, written or a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Written(u64),
    Hole(u64),
}

impl Data for Part {
    fn blocks(&self) -> u64 {
        let (Self::Written(blocks) | Self::Hole(blocks)) = self;
        *blocks
    }
    fn slice(&self, _first: u64, blocks: u64) -> Self {
        if self.is_hole() { Self::Hole(blocks) } else { Self::Written(blocks) }
    }
    fn first_difference(&self, other: &Self) -> Option<u64> {
        (self.is_hole() != other.is_hole()).then_some(0)
    }
    fn is_hole(&self) -> bool {
        matches!(self, Self::Hole(_))
    }
    fn or(&self, _: &[Self]) -> Self {
        *self
    }
}

type Act = Action<Part>;

/// The owner of a pair, and its disk.
struct Owning {
    head: Head<Part>,
    now: u64,
}

impl Owning {
    /// Alone: the disk decides.
    fn solo() -> Self {
        let mut owning = Self { head: Head::new(Config { paired: false, ..Bench::config() }), now: 0 };
        for event in [
            Event::Start,
            Event::Registered(Ok(())),
            Event::SuperblockRead(Ok(disk(1))),
            Event::SuperblockRead(Ok(disk(1))),
            Event::FenceDone(Ok(false)),
            Event::SuperblockRead(Ok(disk(1))),
            Event::SuperblockWritten(Ok(())),
            Event::Tick,
        ] {
            owning.on(event);
            owning.now += 100;
        }
        assert_eq!(owning.head.status().access, Access::Serving);
        owning
    }

    fn on(&mut self, event: Event<Part>) -> Vec<Act> {
        self.head.handle(Millis(self.now), event);
        let of_the_disk = |action: &Act| matches!(action, Action::Complete { .. } | Action::Disk { .. });
        std::iter::from_fn(|| self.head.poll_action()).filter(of_the_disk).collect()
    }

    fn write(&mut self, op: u64, lba: u64, data: Part) -> Vec<Act> {
        let operation = Operation::Write { extent: Extent::new(lba, data.blocks()), data, fua: false };
        self.on(Event::Request(Request { op: OpId(op), operation }))
    }

    fn map(&mut self, op: u64, lba: u64, blocks: u64) -> Vec<Act> {
        let operation = Operation::Map(Extent::new(lba, blocks));
        self.on(Event::Request(Request { op: OpId(op), operation }))
    }
}

/// The command and its name, when there is nothing else.
fn asked(actions: Vec<Act>) -> (IoId, DiskCommand<Part>) {
    match <[Act; 1]>::try_from(actions) {
        Ok([Action::Disk { id, command }]) => (id, command),
        other => panic!("{other:?}"),
    }
}

fn completed(op: u64, outcome: Outcome<Part>) -> Vec<Act> {
    vec![Action::Complete { op: OpId(op), outcome }]
}

#[test]
fn a_hole_is_deallocated_and_then_acknowledged() {
    let mut owner = Owning::solo();
    let (id, command) = asked(owner.write(1, 10, Part::Hole(500)));
    assert_eq!(command, DiskCommand::Deallocate(Extent::new(10, 500)), "in one, however long");
    assert_eq!(owner.on(Event::Disk { id, result: Ok(None) }), completed(1, Outcome::Done));
    let (_, command) = asked(owner.write(2, 10, Part::Written(4)));
    assert_eq!(command, DiskCommand::Write(Extent::new(10, 4), vec![Part::Written(4)]));
}

#[test]
fn what_is_not_acknowledged_is_neither_mapped_nor_a_hole() {
    let mut owner = Owning::solo();
    let (hole, _) = asked(owner.write(1, 10, Part::Hole(20)));
    let (id, command) = asked(owner.map(2, 0, 1000));
    assert_eq!(command, DiskCommand::Map(Extent::new(0, 10)), "up to where it is not known yet");
    let stretch = Stretch { blocks: 7, mapped: true };
    assert_eq!(owner.on(Event::Mapped { id, stretch }), completed(2, Outcome::Map(stretch)));
    assert_eq!(owner.map(3, 29, 100), []);
    let mut then = owner.on(Event::Disk { id: hole, result: Ok(None) });
    assert_eq!(then.remove(0), Action::Complete { op: OpId(1), outcome: Outcome::Done });
    let (id, command) = asked(then);
    assert_eq!(command, DiskCommand::Map(Extent::new(29, 100)), "the disk has the hole");
    let stretch = Stretch { blocks: 1, mapped: false };
    assert_eq!(owner.on(Event::Mapped { id, stretch }), completed(3, Outcome::Map(stretch)));
}

#[test]
fn what_makes_no_sense_is_not_passed_on() {
    let mut owner = Owning::solo();
    for blocks in [0, 11, u64::MAX] {
        let (id, _) = asked(owner.map(1, 0, 10));
        let stretch = Stretch { blocks, mapped: false };
        assert_eq!(owner.on(Event::Mapped { id, stretch }), completed(1, Outcome::Failed(IoError::Path)));
    }
    let (id, _) = asked(owner.map(2, 0, 10));
    let result = Err(IoError::Medium);
    assert_eq!(owner.on(Event::Disk { id, result }), completed(2, Outcome::Failed(IoError::Medium)));
}

#[test]
fn a_fence_that_is_noticed_by_asking_ends_the_role() {
    let mut owner = Owning::solo();
    let (id, _) = asked(owner.map(1, 0, 10));
    let result = Err(IoError::Fenced);
    assert_eq!(owner.on(Event::Disk { id, result }), completed(1, Outcome::NotServing));
    assert_eq!(owner.head.status().access, Access::Changing);
    assert_eq!(owner.map(2, 0, 10), completed(2, Outcome::NotServing));
}
