//! What waits to be transmitted.
//!
//! First what is urgent, in its order: frames about the connection and the units' links, and the lease, which must not
//! wait behind megabytes. Then Ping and Pong, the newest list of clients, and then the other messages: in order within a unit, the units taking turns.

use std::collections::{BTreeMap, VecDeque};

use crate::block::Contents;
use crate::message::Message;
use crate::wire::{ClientConnection, Frame, Generation};

/// Frames that may wait: more than a mirror's worth of small writes. A peer that lets more pile up is not one.
const MAX_FRAMES: usize = 1 << 20;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Only the newest counts.
    ping: Option<u64>,
    pong: Option<u64>,
    clients: Option<Vec<ClientConnection>>,
    urgent: VecDeque<Frame>,
    /// Never an empty queue.
    units: BTreeMap<u32, VecDeque<(Generation, Message<Contents>)>>,
    /// The units that have something waiting, each once.
    turns: VecDeque<u32>,
    /// Frames in `urgent` and `units`.
    frames: usize,
}

impl Outbox {
    pub(super) fn ping(&mut self, number: u64) {
        self.ping = Some(number);
    }

    pub(super) fn pong(&mut self, number: u64) {
        self.pong = Some(number);
    }

    /// Instead of an earlier list that still waits.
    pub(super) fn clients(&mut self, clients: Vec<ClientConnection>) {
        self.clients = Some(clients);
    }

    /// A frame about the connection, the portals or the link of a unit.
    pub(super) fn push(&mut self, frame: Frame) {
        self.urgent.push_back(frame);
        self.frames += 1;
    }

    pub(super) fn push_message(&mut self, unit: u32, generation: Generation, message: Message<Contents>) {
        if matches!(message, Message::LeaseRequest { .. } | Message::LeaseGrant { .. }) {
            self.push(Frame::Message { unit, generation, message });
            return;
        }
        let queue = self.units.entry(unit).or_default();
        if queue.is_empty() {
            self.turns.push_back(unit);
        }
        // Only the last one of the queue: an earlier one would carry the confirmation past what was sent in between.
        if let Some((_, last)) = queue.back_mut()
            && supersedes(&message, last)
        {
            *last = message;
            return;
        }
        queue.push_back((generation, message));
        self.frames += 1;
    }

    /// Forget the messages of a unit; frames about its link stay.
    pub(super) fn forget(&mut self, unit: u32) {
        self.units.remove(&unit);
        self.turns.retain(|&turn| turn != unit);
        self.urgent.retain(|frame| !matches!(frame, Frame::Message { unit: of, .. } if *of == unit));
        self.frames = self.urgent.len() + self.units.values().map(VecDeque::len).sum::<usize>();
    }

    /// Forget everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_overfull(&self) -> bool {
        self.frames > MAX_FRAMES
    }

    pub(super) fn pop(&mut self) -> Option<Frame> {
        if let Some(frame) = self.urgent.pop_front() {
            self.frames -= 1;
            return Some(frame);
        }
        let pong = self.pong.take().map(|number| Frame::Pong { number });
        let beat = pong.or_else(|| self.ping.take().map(|number| Frame::Ping { number }));
        beat.or_else(|| self.clients.take().map(Frame::Clients)).or_else(|| self.pop_message())
    }

    fn pop_message(&mut self) -> Option<Frame> {
        let unit = self.turns.pop_front()?;
        let queue = self.units.get_mut(&unit)?;
        let (generation, message) = queue.pop_front()?;
        self.frames -= 1;
        if queue.is_empty() {
            self.units.remove(&unit);
        } else {
            self.turns.push_back(unit);
        }
        Some(Frame::Message { unit, generation, message })
    }
}

fn supersedes(new: &Message<Contents>, old: &Message<Contents>) -> bool {
    match (new, old) {
        (Message::Confirmed { tag, .. }, Message::Confirmed { tag: before, .. }) => tag == before,
        _ => false,
    }
}
