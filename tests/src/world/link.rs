//! The simulated cable between the heads, and the one connection over it.

use replication::head::Event;
use replication::message::Message;
use sas_backend::HeadId;

use super::{Entry, Marks, World, slot_of};

impl World {
    pub(super) fn connect(&mut self) {
        self.cable = true;
        let ready = self.slots.iter().all(|slot| slot.head.is_some() && slot.link_open && slot.link_seen.is_none());
        if !ready {
            if self.slots.iter().any(|slot| slot.link_open && slot.link_seen.is_none()) {
                // The link tries again by itself.
                let open = self.slots.iter().all(|slot| slot.link_open);
                if open {
                    self.at(50, Entry::Connect);
                }
            }
            return;
        }
        self.connection += 1;
        for to in [HeadId::A, HeadId::B] {
            self.slots[slot_of(to)].link_seen = Some(self.connection);
            self.last_delivery[slot_of(to)] = self.now;
            let connection = self.connection;
            self.at(0, Entry::Link { to, connection, up: true });
        }
    }

    /// The connection is gone; each side notices within `most` ms.
    pub(super) fn disconnect(&mut self, most: u64) {
        let connection = self.connection;
        self.connection += 1;
        for to in [HeadId::A, HeadId::B] {
            let delay = self.between(0, most);
            self.at(delay, Entry::Link { to, connection, up: false });
        }
    }

    pub(super) fn on_link(&mut self, to: HeadId, connection: u64, up: bool) -> Result<(), String> {
        let life = self.slots[slot_of(to)].life;
        if up {
            if connection != self.connection {
                return Ok(());
            }
            let other = slot_of(to.other());
            return self.deliver(to, life, Event::LinkUp { peer: self.slots[other].process });
        }
        if self.slots[slot_of(to)].link_seen == Some(connection) {
            self.slots[slot_of(to)].link_seen = None;
            self.deliver(to, life, Event::LinkDown)?;
        }
        if self.cable {
            let delay = self.between(1, 100);
            self.at(delay, Entry::Connect);
        }
        Ok(())
    }

    pub(super) fn send(&mut self, from: HeadId, message: Message<Marks>) {
        // A head that was stopped while its connection ended does not know of the next one yet: what it says before it
        // has heard of the end goes nowhere.
        let ended = self.slots[slot_of(from)].backlog.iter().any(|event| matches!(event, Event::LinkDown));
        if !self.cable || ended {
            return;
        }
        let to = from.other();
        let delay = self.between(0, 3);
        let at = (self.now + delay).max(self.last_delivery[slot_of(to)]);
        self.last_delivery[slot_of(to)] = at;
        let connection = self.connection;
        self.at(at - self.now, Entry::Message { to, connection, message: Box::new(message) });
    }
}
