//! What the daemons keep for clients beside the blocks, in the simulator a number for each client: the owner's changes its
//! record, one client at a time, and a daemon whose head forwards asks the owner's.
//!
//! A client raises its number now and then. Whatever is done after that was acknowledged must have been let in by a daemon
//! that knew of it, whichever head it came through.

use std::collections::VecDeque;

use replication::head::{Access, Event, OpId, Operation, Outcome, Request};
use sas_backend::HeadId;
use sas_backend::superblock::Record;

use super::{CLIENTS, Entry, World, index, slot_of};

/// The numbers of all clients.
pub(super) type Numbers = [u64; 4];

const _: () = assert!(CLIENTS == 4);

/// The daemon's part of one life of the unit.
#[derive(Default)]
pub(super) struct Daemon {
    /// What it goes by.
    numbers: Numbers,
    /// What is to be done, the first of them under way.
    changes: VecDeque<Change>,
    changes_begun: u64,
}

struct Change {
    by: By,
    client: usize,
    number: u64,
    /// Under this name the head is at it.
    op: Option<OpId>,
}

#[derive(Clone, Copy)]
enum By {
    /// A client of this head.
    Client(OpId),
    /// The other head's daemon.
    Peer(OpId),
}

/// Names of changes that a daemon makes begin here; those of clients' requests are lower.
const CHANGES: u64 = 1 << 62;

impl Daemon {
    /// What a request would be judged by now.
    pub(super) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// What the other head has asked and nobody has begun is not wanted any more.
    pub(super) fn on_link_down(&mut self) {
        self.changes.retain(|change| change.op.is_some() || matches!(change.by, By::Client(_)));
    }

    pub(super) fn set_record(&mut self, record: &Record) {
        self.numbers = numbers_of(&record.bytes);
    }
}

impl World {
    /// The request by which a client raises its number through a head that serves or forwards.
    pub(super) fn raise_number(&mut self, at: HeadId, of: u64, op: OpId, number: u64) -> Result<(), String> {
        let question = [of, number].iter().flat_map(|part| part.to_le_bytes()).collect();
        let life = self.slots[slot_of(at)].life;
        if self.slots[slot_of(at)].access == Access::Forwarding {
            let event = Event::Request(Request { op, operation: Operation::Ask(question) });
            return self.deliver(at, life, event);
        }
        self.begin_change(at, By::Client(op), index(of), number)
    }

    /// The other head's daemon asks.
    pub(super) fn on_ask(&mut self, of: HeadId, op: OpId, question: &[u8]) -> Result<(), String> {
        let (client, number) = question.split_at(8);
        self.begin_change(of, By::Peer(op), index(number_of(client)), number_of(number))
    }

    fn begin_change(&mut self, of: HeadId, by: By, client: usize, number: u64) -> Result<(), String> {
        self.slots[slot_of(of)].daemon.changes.push_back(Change { by, client, number, op: None });
        self.next_change(of)
    }

    fn next_change(&mut self, of: HeadId) -> Result<(), String> {
        let slot = &mut self.slots[slot_of(of)];
        let mut numbers = slot.daemon.numbers;
        let Some(change) = slot.daemon.changes.front_mut().filter(|change| change.op.is_none()) else { return Ok(()) };
        slot.daemon.changes_begun += 1;
        let op = OpId(CHANGES + slot.daemon.changes_begun);
        change.op = Some(op);
        // A request that was repeated may come late.
        numbers[change.client] = numbers[change.client].max(change.number);
        let bytes: std::sync::Arc<[u8]> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let record = Record { kept: u32::try_from(bytes.len()).unwrap_or(u32::MAX), bytes };
        let life = slot.life;
        // Not from within what the head is just doing.
        self.at(0, Entry::Deliver { to: of, life, event: Box::new(Event::SetRecord { op, record }) });
        Ok(())
    }

    /// Whether `op` was a change of the record.
    pub(super) fn on_change_complete(
        &mut self,
        of: HeadId,
        op: OpId,
        outcome: &Outcome<super::Marks>,
    ) -> Result<bool, String> {
        let daemon = &mut self.slots[slot_of(of)].daemon;
        if daemon.changes.front().and_then(|change| change.op) != Some(op) {
            return Ok(op.0 >= CHANGES);
        }
        let Some(change) = daemon.changes.pop_front() else { return Ok(true) };
        match (change.by, outcome) {
            (By::Client(op), outcome) => self.on_complete(of, op, outcome.clone())?,
            (By::Peer(op), Outcome::Done) => {
                let life = self.slots[slot_of(of)].life;
                let event = Box::new(Event::Answered { op, answer: [].into() });
                self.at(0, Entry::Deliver { to: of, life, event });
            }
            // The head that asked has been told by this one's.
            (By::Peer(_), _) => {}
        }
        self.next_change(of)?;
        Ok(true)
    }
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

fn numbers_of(bytes: &[u8]) -> Numbers {
    let mut numbers = Numbers::default();
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks(8)) {
        *number = number_of(bytes);
    }
    numbers
}
