//! What goes wrong, and how it ends: heads that die or stand still, cables that are cut, operators.

use replication::head::{Access, Event, Head, Order, OrderId};
use sas_backend::{HeadId, Incarnation};

use super::heads::Slot;
use super::invariants::loss_has_a_reason;
use super::{Entry, World, slot_of};

impl World {
    pub(super) fn count(&mut self, fault: &'static str) {
        *self.report.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn fault(&mut self) -> Result<(), String> {
        let of = if self.chance(50) { HeadId::A } else { HeadId::B };
        match self.between(0, 9) {
            0..=2 if self.may_die() => {
                self.count("heads killed");
                self.kill(of);
            }
            3 | 4 => {
                self.count("cables cut");
                self.cable = false;
                self.note(|| "the cable is cut".to_owned());
                self.disconnect(250);
                if self.chance(70) {
                    let delay = self.between(5, 2_000);
                    self.at(delay, Entry::Connect);
                }
            }
            5 if self.chance(50) => {
                self.quiet_until = self.now + self.between(500, 2_500);
                self.note(|| "the clients rest".to_owned());
            }
            5 => {
                self.note(|| "the cable is mended".to_owned());
                self.at(1, Entry::Connect);
            }
            6 | 7 if self.may_die() && self.slots[slot_of(of)].head.is_some() => {
                let pause = self.between(10, 2_500);
                self.count("heads stopped");
                self.note(|| format!("{of} is stopped for {pause} ms"));
                self.slots[slot_of(of)].paused_until = self.now + pause;
                let life = self.slots[slot_of(of)].life;
                self.at(pause, Entry::Wake { of, life });
            }
            8 => {
                self.orders += 1;
                self.count("handovers ordered");
                let order = Event::Order { id: OrderId(self.orders), order: Order::Own(of) };
                let to = if self.chance(50) { HeadId::A } else { HeadId::B };
                let life = self.slots[slot_of(to)].life;
                return self.deliver(to, life, order);
            }
            9 if self.may_die() => {
                let life = self.slots[slot_of(of)].life;
                self.count("heads shut down");
                return self.deliver(of, life, Event::Shutdown);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether losing a head now is the only failure: both live and are connected, and what is acknowledged is in both
    /// RAMs or on the disk.
    fn may_die(&self) -> bool {
        if self.plan.double_faults {
            return true;
        }
        let both = self
            .slots
            .iter()
            .all(|slot| slot.head.is_some() && slot.paused_until <= self.now && slot.link_seen.is_some());
        let complete = self.disk.ownership.mirror.is_some() || !self.disk.ownership.draining;
        // A process that has let go of the unit and opened it again has nothing of what it held before.
        let holds = |slot: &Slot| slot.life == slot.process || self.disk.ownership.epoch > slot.since;
        let in_life = |copy: Incarnation| self.slots.iter().any(|slot| slot.process == copy && holds(slot));
        let copies_live = [self.disk.ownership.mirror, self.disk.ownership.owner_incarnation]
            .into_iter()
            .all(|copy| copy.is_none_or(in_life));
        // One that names a mirror which has died meanwhile is still the answer to that failure.
        let mirrors_to_be = self.slots.iter().flat_map(|slot| slot.arbiter.superblocks_under_way());
        let mirrors_to_be_live = mirrors_to_be.filter_map(|next| next.mirror).all(in_life);
        // A takeover is itself the answer to a failure: until the new owner serves, and has drained, the loss of it is a
        // second one.
        let served = self.slots.iter().any(|slot| slot.access == Access::Serving);
        both && complete && copies_live && mirrors_to_be_live && served && self.cable
    }

    pub(super) fn heal(&mut self) {
        self.note(|| "healing".to_owned());
        for slot in &mut self.slots {
            slot.paused_until = slot.paused_until.min(self.now);
        }
        self.cable = true;
        self.disk.paths = [self.disk.blocks.len() as u64; 2];
        for of in [HeadId::A, HeadId::B] {
            if self.slots[slot_of(of)].head.is_none() {
                self.start(of);
            }
            let life = self.slots[slot_of(of)].life;
            self.at(0, Entry::Wake { of, life });
        }
        self.at(1, Entry::Connect);
    }

    /// A loss that both heads report is accepted as an operator would; without double faults there must be none.
    pub(super) fn accept_reported_loss(&mut self) -> Result<(), String> {
        if !self.slots.iter().all(|slot| slot.access == Access::Unavailable) {
            return Ok(());
        }
        loss_has_a_reason(self.plan.double_faults, || self.describe())?;
        self.report.losses += 1;
        self.oracle.forget();
        self.orders += 1;
        let id = OrderId(self.orders);
        let life = self.slots[0].life;
        self.deliver(HeadId::A, life, Event::Order { id, order: Order::AcceptLoss })
    }

    pub(super) fn describe(&self) -> String {
        let head = |of: HeadId| {
            let slot = &self.slots[slot_of(of)];
            let status = slot.head.as_ref().map(Head::status);
            format!("{of}: {status:?} link {:?}", slot.link_seen)
        };
        format!("at {} ms; disk {:?}; {}; {}", self.now, self.disk.ownership, head(HeadId::A), head(HeadId::B))
    }
}
