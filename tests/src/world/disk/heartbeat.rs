//! Signs of life on the disk, and looking at the other head's.

use replication::head::Event;
use sas_backend::superblock::heartbeat::Heartbeat;
use sas_backend::superblock::region::Region;
use sas_backend::{Epoch, HeadId, Incarnation};

use crate::world::{Entry, World, slot_of};

impl World {
    pub(in crate::world) fn on_beat(&mut self, of: HeadId, life: Incarnation) {
        let slot = &self.slots[slot_of(of)];
        if slot.life != life || slot.head.is_none() || (slot.heartbeat.is_none() && !slot.watching) {
            return;
        }
        let (beating, watching, paused) = (slot.heartbeat.is_some(), slot.watching, slot.paused_until > self.now);
        if let (false, Some(region)) = (paused, slot.arbiter.region()) {
            let started = self.now;
            if beating {
                // Now and then the disk is slow, and a fenced owner learns of it late.
                let delay = if self.chance(10) { self.between(50, 400) } else { self.between(0, 15) };
                self.slots[slot_of(of)].arbiter.beats_under_way += 1;
                self.at(delay, Entry::BeatEffect { of, life, started, region });
            }
            if watching {
                let delay = self.between(0, 15);
                self.at(delay, Entry::WatchEffect { of, life, started });
            }
        }
        self.at(50, Entry::Beat { of, life });
    }

    pub(in crate::world) fn on_beat_effect(
        &mut self,
        of: HeadId,
        life: Incarnation,
        started: u64,
        region: Region,
    ) -> Result<(), String> {
        let me = slot_of(of);
        let mut counter = 0;
        if self.slots[me].life == life {
            let arbiter = &mut self.slots[me].arbiter;
            arbiter.beats_under_way = arbiter.beats_under_way.saturating_sub(1);
            arbiter.beats += 1;
            counter = arbiter.beats;
        }
        if self.disk.registered[me] != Some(life) {
            return self.deliver(of, life, Event::Conflict);
        }
        if self.job_fails(of).is_some() {
            return Ok(());
        }
        let epoch = Epoch(self.slots[me].heartbeat.unwrap_or_default());
        let beat = Heartbeat { head: of, incarnation: self.slots[me].process, epoch, counter };
        self.disk.media.write_sector(region.heartbeat(of), &beat.emit(), false);
        let started = self.clock_at(of, started);
        self.deliver(of, life, Event::Heartbeat { started })
    }

    pub(in crate::world) fn on_watch_effect(
        &mut self,
        of: HeadId,
        life: Incarnation,
        started: u64,
    ) -> Result<(), String> {
        if self.disk.registered[slot_of(of)] != Some(life) {
            return self.deliver(of, life, Event::Conflict);
        }
        let Some(region) = self.slots[slot_of(of)].arbiter.region() else { return Ok(()) };
        if self.job_fails(of).is_some() {
            return Ok(());
        }
        let Some(sector) = self.disk.media.sector(region.heartbeat(of.other())) else { return Ok(()) };
        let beat = Heartbeat::parse(&sector).map(|beat| (beat.incarnation, beat.counter));
        let started = self.clock_at(of, started);
        self.deliver(of, life, Event::PeerHeartbeat { started, beat })
    }
}
