//! What goes wrong, and how it ends: heads that die or stand still, cables that are cut, operators.

use replication::head::{Access, Event, Head, Order, OrderId, Outcome};
use sas_backend::{HeadId, Incarnation};

use super::client::{Client, DRAIN, Want};
use super::heads::Slot;
use super::invariants::{drained_is_durable, loss_has_a_reason};
use super::sessions::host::Host;
use super::{Entry, Marks, World, slot_of};

impl World {
    pub(super) fn count(&mut self, fault: &'static str) {
        *self.report.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn fault(&mut self) -> Result<(), String> {
        if self.plan.double_faults && self.chance(25) {
            self.accept_reported_loss()?;
        }
        let of = if self.chance(50) { HeadId::A } else { HeadId::B };
        match self.between(0, 13) {
            0..=2 if self.may_die() => {
                self.count("heads killed");
                self.kill(of);
            }
            3 => self.cut(&HeadId::BOTH),
            4 if self.chance(60) => self.cut(&[of]),
            4 => {
                self.count("connections reset");
                self.note(|| "the link is reset".to_owned());
                self.reset_link(250);
            }
            5 if self.chance(50) => {
                self.quiet_until = self.now + self.between(500, 2_500);
                self.note(|| "the clients rest".to_owned());
                let delay = self.between(100, 1_500);
                self.at(delay, Entry::Drain);
            }
            5 => self.mend(),
            6 | 7 if self.may_die() && self.slots[slot_of(of)].head.is_some() => self.pause(of),
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
            10 if self.plan.disk_errors => match self.between(0, 3) {
                0 | 1 => self.make_trouble(of),
                2 => self.spoil(),
                _ => self.fill_up(),
            },
            11 if self.plan.power && self.chance(50) => return self.lose_power(),
            12 | 13 if self.plan.hosts > 0 => self.cut_path(),
            _ => {}
        }
        Ok(())
    }

    /// What is sent to these heads does not arrive for a while, or until somebody looks after it.
    fn cut(&mut self, to: &[HeadId]) {
        self.count(if to.len() == 2 { "cables cut" } else { "cables cut in one direction" });
        self.note(|| format!("what is sent to {to:?} does not arrive"));
        to.iter().for_each(|to| self.set_passes(*to, false));
        if self.chance(70) {
            let delay = self.between(5, 2_000);
            self.at(delay, Entry::Mend);
        }
    }

    pub(super) fn mend(&mut self) {
        self.note(|| "the cable is mended".to_owned());
        HeadId::BOTH.iter().for_each(|to| self.set_passes(*to, true));
    }

    fn pause(&mut self, of: HeadId) {
        let pause = self.between(10, 2_500);
        self.count("heads stopped");
        self.note(|| format!("{of} is stopped for {pause} ms"));
        self.slots[slot_of(of)].paused_until = self.now + pause;
        let life = self.slots[slot_of(of)].life;
        self.at(pause, Entry::Wake { of, life });
        self.listen(of.other());
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
        both && complete && copies_live && mirrors_to_be_live && served && self.link.is_whole()
    }

    pub(super) fn heal(&mut self) {
        self.note(|| "healing".to_owned());
        for slot in &mut self.slots {
            slot.paused_until = slot.paused_until.min(self.now);
        }
        self.mend();
        self.mend_paths();
        self.disk.mend_paths();
        self.disk.media.mend();
        self.disk.full = false;
        for of in [HeadId::A, HeadId::B] {
            if self.slots[slot_of(of)].head.is_none() {
                self.start(of);
            }
            let life = self.slots[slot_of(of)].life;
            self.at(0, Entry::Wake { of, life });
        }
    }

    /// A loss that every head reports which lives is accepted as an operator would; without double faults there must be none.
    pub(super) fn accept_reported_loss(&mut self) -> Result<(), String> {
        // Whoever is dead has no memory that could count.
        let gone = |slot: &Slot| slot.head.is_none() || slot.access == Access::Unavailable;
        let says = |slot: &Slot| slot.head.is_some() && slot.access == Access::Unavailable;
        let Some(at) = HeadId::BOTH.into_iter().find(|of| says(&self.slots[slot_of(*of)])) else { return Ok(()) };
        if !self.slots.iter().all(gone) {
            return Ok(());
        }
        loss_has_a_reason(self.plan.double_faults, || self.describe())?;
        self.report.losses += 1;
        self.note(|| "an operator accepts the loss".to_owned());
        self.oracle.forget();
        self.forget_floors();
        self.orders += 1;
        let id = OrderId(self.orders);
        let life = self.slots[slot_of(at)].life;
        self.deliver(at, life, Event::Order { id, order: Order::AcceptLoss })
    }

    /// An operator wants everything on the disk, while nobody wants anything else.
    pub(super) fn drain(&mut self) -> Result<(), String> {
        let owner = HeadId::BOTH.into_iter().find(|of| self.slots[slot_of(*of)].access == Access::Serving);
        let Some(owner) = owner.filter(|_| self.is_quiet()) else { return Ok(()) };
        self.count("drains");
        let life = self.slots[slot_of(owner)].life;
        self.deliver(owner, life, Event::Drain { op: DRAIN })
    }

    fn is_quiet(&self) -> bool {
        let hosts = self.hosts.iter().all(|host| !host.is_busy());
        self.quiet_until > self.now && hosts && self.clients.iter().all(Client::is_idle)
    }

    pub(super) fn on_drained(&self, outcome: &Outcome<Marks>) -> Result<(), String> {
        if *outcome == Outcome::Done && self.is_quiet() {
            return drained_is_durable(&self.disk.media, &self.oracle);
        }
        Ok(())
    }

    /// What was acknowledged may be lost: so say the heads, or the power was.
    pub(super) fn forget_floors(&mut self) {
        self.certain = false;
        // What was acknowledged before must not be taken for something that was acknowledged after.
        self.lose_packets();
        self.clients.iter_mut().for_each(Client::forget_floors);
        self.hosts.iter_mut().filter_map(Host::want_mut).for_each(Want::forget_floors);
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
