//! Requests of a standby's clients, which the owner executes: the books of both ends.
//!
//! The standby sends on what its clients ask, and waits. Whenever it cannot know any more what became of a request, it
//! gives it back as not served, and the client is told to ask again. The owner treats such a request as one of its own
//! clients'.
//!
//! Only a mirror forwards, and that keeps it from being late. A client that has given up on a write may repeat it through
//! the owner and go on writing, and the first one must not land on top of that. It cannot: the owner acknowledges nothing
//! that its mirror has not confirmed over the very connection, in order, over which the mirror forwards; and when that
//! connection ends, whatever had not arrived ends with it. (Forwarding to an owner without a mirror loses acknowledged
//! writes in the first seed of the simulator.) Beyond that the owner drops what has not begun when the link goes down, and
//! does not begin what was on its way for longer than a lease.

use std::collections::{BTreeMap, BTreeSet};

use super::Core;
use super::event::{Action, OpId, Operation, Outcome, Request};
use crate::block::{Data, Millis};
use crate::message::{Forwarded, Message};

/// What this head as a standby has sent on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent<D> {
    /// Numbers are never used twice in one life of the unit.
    last: u64,
    waiting: BTreeMap<u64, Waiting<D>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiting<D> {
    op: OpId,
    /// What has come of the answer to a read.
    pieces: Vec<D>,
}

impl<D> Default for Sent<D> {
    fn default() -> Self {
        Self { last: 0, waiting: BTreeMap::new() }
    }
}

/// What this head as the owner does for the other head's clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Received {
    last: u64,
    /// The other head's numbers.
    numbers: BTreeMap<OpId, u64>,
    /// Those that read or change blocks and have not ended, whether somebody waits for them or not.
    running: BTreeSet<OpId>,
}

impl Received {
    /// A name for a request of the other head; never the same twice, whatever numbers it uses after a restart.
    fn admit(&mut self, number: u64, is_question: bool) -> OpId {
        self.last += 1;
        let op = OpId::of_peer(self.last);
        self.numbers.insert(op, number);
        if !is_question {
            self.running.insert(op);
        }
        op
    }

    /// The newest that there is so far.
    pub(super) fn newest(&self) -> OpId {
        OpId::of_peer(self.last)
    }

    /// Whether one up to `newest` still runs.
    pub(super) fn runs_up_to(&self, newest: OpId) -> bool {
        self.running.first().is_some_and(|first| *first <= newest)
    }
}

impl<D: Data> Core<D> {
    /// Standby: let the owner do it. `heard` is the newest that is known of the owner's clock.
    pub(super) fn forward(&mut self, request: Request<D>, heard: Millis) {
        self.sent.last += 1;
        let number = self.sent.last;
        self.sent.waiting.insert(number, Waiting { op: request.op, pieces: Vec::new() });
        self.send(Message::Forward { number, heard, operation: request.operation });
    }

    /// Standby: the client has given up. The answer is still waited for.
    pub(super) fn cancel_forwarded(&mut self, op: OpId) {
        let number = self.sent.waiting.iter().find(|(_, waiting)| waiting.op == op).map(|(number, _)| *number);
        if let Some(number) = number {
            self.send(Message::CancelForwarded { number });
        }
    }

    /// What the owner says to what was sent on.
    pub(super) fn on_answer(&mut self, message: Message<D>) {
        match message {
            Message::Returned { number, data } => {
                if let Some(waiting) = self.sent.waiting.get_mut(&number) {
                    waiting.pieces.push(data);
                }
            }
            Message::Forwarded { number, end } => self.on_forwarded(number, end),
            Message::Answer { number, answer } => {
                if let Some(Waiting { op, .. }) = self.sent.waiting.remove(&number) {
                    self.actions.push_back(Action::Complete { op, outcome: Outcome::Answer(answer) });
                }
            }
            _ => {}
        }
    }

    fn on_forwarded(&mut self, number: u64, end: Forwarded) {
        let Some(Waiting { op, pieces }) = self.sent.waiting.remove(&number) else { return };
        let outcome = match end {
            Forwarded::Done => Outcome::Done,
            Forwarded::Data => Outcome::Data(pieces),
            Forwarded::Map(stretch) => Outcome::Map(stretch),
            Forwarded::NotServing => Outcome::NotServing,
            Forwarded::Miscompare(at) => Outcome::Miscompare(at),
            Forwarded::Failed(error) => Outcome::Failed(error),
        };
        self.actions.push_back(Action::Complete { op, outcome });
    }

    /// Standby no more, or without the owner: nobody will say what became of these.
    pub(super) fn give_back_forwarded(&mut self) {
        for Waiting { op, .. } in std::mem::take(&mut self.sent.waiting).into_values() {
            self.actions.push_back(Action::Complete { op, outcome: Outcome::NotServing });
        }
    }

    /// Owner: a request of the other head's clients, unless it is too late for it.
    pub(super) fn receive(&mut self, number: u64, heard: Millis, operation: Operation<D>) -> Option<Request<D>> {
        let fits = operation.extent().is_none_or(|extent| extent.end() <= self.blocks);
        if !fits || self.now.since(heard) > self.config.lease_ms {
            self.refuse_forwarded(number);
            return None;
        }
        let is_question = matches!(operation, Operation::Ask(_));
        Some(Request { op: self.received.admit(number, is_question), operation })
    }

    /// Whoever this head is, not the owner.
    pub(super) fn refuse_forwarded(&mut self, number: u64) {
        self.send(Message::Forwarded { number, end: Forwarded::NotServing });
    }

    /// Owner: the name of a request that the other head does not want any more.
    pub(super) fn received(&self, number: u64) -> Option<OpId> {
        self.received.numbers.iter().find(|(_, theirs)| **theirs == number).map(|(op, _)| *op)
    }

    /// Owner: nobody waits for these any more.
    pub(super) fn forget_received(&mut self) -> Vec<OpId> {
        std::mem::take(&mut self.received.numbers).into_keys().collect()
    }

    /// Answer a request, whoever waits for it.
    pub(super) fn answer(&mut self, op: OpId, outcome: Outcome<D>) {
        if !op.is_of_peer() {
            self.actions.push_back(Action::Complete { op, outcome });
            return;
        }
        self.received.running.remove(&op);
        let Some(number) = self.received.numbers.remove(&op) else { return };
        let end = match outcome {
            Outcome::Done => Forwarded::Done,
            Outcome::Data(pieces) => {
                for data in pieces {
                    self.send(Message::Returned { number, data });
                }
                Forwarded::Data
            }
            Outcome::Map(stretch) => Forwarded::Map(stretch),
            Outcome::NotServing => Forwarded::NotServing,
            Outcome::Miscompare(at) => Forwarded::Miscompare(at),
            Outcome::Failed(error) => Forwarded::Failed(error),
            Outcome::Answer(answer) => return self.send(Message::Answer { number, answer }),
        };
        self.send(Message::Forwarded { number, end });
    }
}
