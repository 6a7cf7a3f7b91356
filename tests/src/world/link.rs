//! The simulated cable between the heads, and the connections over it.
//!
//! Each direction of the cable can be cut by itself. What was sent into a cut direction is under way until that is mended, as
//! TCP has it, or until the connection ends. A head that hears nothing for a lease ends its connection; until then it
//! takes it for a good one, whatever the other head thinks of it.

use std::collections::VecDeque;

use replication::head::Event;
use replication::message::Message;
use sas_backend::HeadId;

use super::{Entry, Marks, World, slot_of};

/// See the module.
pub(super) struct Link {
    /// Whether what is sent to a head arrives.
    passes: [bool; 2],
    /// Of the newest connection.
    number: u64,
    /// How long a message of it takes at the most.
    delay_ms: u64,
    last_delivery: [u64; 2],
    /// What does not arrive, and over which connection it was sent.
    stuck: [VecDeque<(u64, Message<Marks>)>; 2],
    /// Since when a head has heard nothing.
    silent_since: [Option<u64>; 2],
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            passes: [true; 2],
            number: 0,
            delay_ms: 3,
            last_delivery: [0; 2],
            stuck: [VecDeque::new(), VecDeque::new()],
            silent_since: [None; 2],
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.passes == [true; 2]
    }
}

impl World {
    /// Head b dials again and again; head a takes in whoever comes, although it may not know yet that the last connection
    /// has ended.
    pub(super) fn dial(&mut self) -> Result<(), String> {
        let again = self.between(20, 110);
        self.at(again, Entry::Dial);
        let awake = self.slots.iter().all(|slot| slot.head.is_some() && slot.paused_until <= self.now);
        let open = self.slots.iter().all(|slot| slot.link_open);
        if !awake || !open || !self.link.is_whole() || self.slots[1].link_seen.is_some() {
            return Ok(());
        }
        if let Some(connection) = self.slots[0].link_seen {
            self.on_link_down(HeadId::A, connection)?;
            if !self.slots.iter().all(|slot| slot.link_open) {
                return Ok(());
            }
        }
        self.link.number += 1;
        self.link.delay_ms = if self.chance(15) { 30 } else { 3 };
        let connection = self.link.number;
        for to in HeadId::BOTH {
            self.slots[slot_of(to)].link_seen = Some(connection);
            // One knows it before the other; what that says comes after.
            let delay = self.between(0, self.link.delay_ms);
            self.link.last_delivery[slot_of(to)] = self.now + delay;
            self.link.stuck[slot_of(to)].clear();
            self.at(delay, Entry::LinkUp { to, connection });
        }
        Ok(())
    }

    pub(super) fn on_link_up(&mut self, to: HeadId, connection: u64) -> Result<(), String> {
        let slot = &self.slots[slot_of(to)];
        if slot.link_seen != Some(connection) {
            return Ok(());
        }
        let (life, peer) = (slot.life, self.slots[slot_of(to.other())].process);
        self.deliver(to, life, Event::LinkUp { peer })
    }

    /// A head notices that a connection has ended.
    pub(super) fn on_link_down(&mut self, to: HeadId, connection: u64) -> Result<(), String> {
        let slot = &mut self.slots[slot_of(to)];
        if slot.link_seen != Some(connection) {
            return Ok(());
        }
        slot.link_seen = None;
        let life = slot.life;
        self.deliver(to, life, Event::LinkDown)
    }

    /// A head ends its end of the connection; the other one hears of that, or notices the silence.
    pub(super) fn hang_up(&mut self, of: HeadId, most: u64) {
        let Some(connection) = self.slots[slot_of(of)].link_seen.take() else { return };
        self.tell_of_the_end(of.other(), connection, most);
    }

    /// A machine is gone: the other head notices nothing but the silence.
    pub(super) fn hang_up_in_silence(&mut self, of: HeadId) {
        let Some(connection) = self.slots[slot_of(of)].link_seen.take() else { return };
        let delay = self.between(150, 260);
        self.at(delay, Entry::LinkDown { to: of.other(), connection });
    }

    fn tell_of_the_end(&mut self, to: HeadId, connection: u64, most: u64) {
        let delay = if self.link.passes[slot_of(to)] { self.between(0, most) } else { self.between(150, 260) };
        self.at(delay, Entry::LinkDown { to, connection });
    }

    /// The connection is reset; each side notices within `most` ms.
    pub(super) fn reset_link(&mut self, most: u64) {
        let connection = self.link.number;
        for to in HeadId::BOTH {
            let delay = self.between(0, most);
            self.at(delay, Entry::LinkDown { to, connection });
        }
    }

    /// Whether what is sent to `to` arrives from now on.
    pub(super) fn set_passes(&mut self, to: HeadId, passes: bool) {
        self.link.passes[slot_of(to)] = passes;
        if passes {
            for (connection, message) in std::mem::take(&mut self.link.stuck[slot_of(to)]) {
                self.carry(to, connection, message);
            }
        }
        self.listen(to);
    }

    /// Note since when a head hears nothing; in time it draws its conclusion.
    pub(super) fn listen(&mut self, to: HeadId) {
        let hears = self.link.passes[slot_of(to)] && self.slots[slot_of(to.other())].paused_until <= self.now;
        let silent = &mut self.link.silent_since[slot_of(to)];
        if hears {
            *silent = None;
        } else if silent.is_none() {
            *silent = Some(self.now);
            let since = self.now;
            let delay = self.between(150, 260);
            self.at(delay, Entry::Silence { to, since });
        }
    }

    pub(super) fn on_silence(&mut self, to: HeadId, since: u64) -> Result<(), String> {
        if self.link.silent_since[slot_of(to)] != Some(since) {
            return Ok(());
        }
        if self.slots[slot_of(to)].paused_until > self.now {
            // It does not notice anything.
            self.at(50, Entry::Silence { to, since });
            return Ok(());
        }
        self.link.silent_since[slot_of(to)] = None;
        let Some(connection) = self.slots[slot_of(to)].link_seen else { return Ok(()) };
        self.tell_of_the_end(to.other(), connection, 5);
        self.on_link_down(to, connection)
    }

    pub(super) fn send(&mut self, from: HeadId, message: Message<Marks>) {
        // A head that was stopped while its connection ended does not know of the next one yet: what it says before it
        // has heard of the end goes nowhere.
        let ended = self.slots[slot_of(from)].backlog.iter().any(|event| matches!(event, Event::LinkDown));
        let Some(connection) = self.slots[slot_of(from)].link_seen.filter(|_| !ended) else { return };
        let to = from.other();
        if self.link.passes[slot_of(to)] {
            self.carry(to, connection, message);
        } else {
            self.link.stuck[slot_of(to)].push_back((connection, message));
        }
    }

    fn carry(&mut self, to: HeadId, connection: u64, message: Message<Marks>) {
        let delay = self.between(0, self.link.delay_ms);
        let at = (self.now + delay).max(self.link.last_delivery[slot_of(to)]);
        self.link.last_delivery[slot_of(to)] = at;
        self.at(at - self.now, Entry::Message { to, connection, message: Box::new(message) });
    }

    pub(super) fn on_message(&mut self, to: HeadId, connection: u64, message: Message<Marks>) -> Result<(), String> {
        if self.slots[slot_of(to)].link_seen != Some(connection) {
            return Ok(());
        }
        let life = self.slots[slot_of(to)].life;
        self.deliver(to, life, Event::Message(message))
    }
}
