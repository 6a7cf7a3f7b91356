//! A disk that grows: the paths show it sooner or later, operators let the unit follow, clients use the new blocks.

use replication::head::{Access, Event, Order, OrderId};
use sas_backend::HeadId;

use super::disk::RESERVED;
use super::invariants::{shows_the_largest_size, unit_grows};
use super::{Entry, World, slot_of};

/// The disk does not grow beyond this.
const BLOCKS_MAX: u64 = 400;

impl World {
    pub(super) fn on_grow(&mut self) {
        if self.now >= self.plan.chaos_ms {
            return;
        }
        let next = self.between(400, 5_000);
        self.at(next, Entry::Grow);
        let size = self.disk.media.blocks() + self.between(RESERVED, 24);
        if size > BLOCKS_MAX {
            return;
        }
        self.note(|| format!("the disk grows to {size} blocks"));
        self.disk.media.grow(size);
        for of in [HeadId::A, HeadId::B] {
            let delay = if self.chance(80) { self.between(0, 50) } else { self.between(50, 1_500) };
            self.at(delay, Entry::Rescan { of });
        }
        for _ in 0..self.between(1, 4) {
            let to = if self.chance(50) { HeadId::A } else { HeadId::B };
            let delay = self.between(0, 600);
            self.at(delay, Entry::OrderGrowth { to });
        }
        if self.chance(50) {
            // Something goes wrong just then.
            let delay = self.between(0, 150);
            self.at(delay, Entry::OneFault);
        }
    }

    pub(super) fn rescan(&mut self, of: HeadId) {
        self.disk.paths[slot_of(of)] = self.disk.media.blocks();
    }

    pub(super) fn on_order_growth(&mut self, to: HeadId) -> Result<(), String> {
        self.orders += 1;
        let life = self.slots[slot_of(to)].life;
        self.deliver(to, life, Event::Order { id: OrderId(self.orders), order: Order::Grow })
    }

    /// Clients of a head are told another size.
    pub(super) fn on_blocks(&mut self, of: HeadId, blocks: u64) -> Result<(), String> {
        let before = std::mem::replace(&mut self.slots[slot_of(of)].blocks, blocks);
        unit_grows(of, before, blocks)?;
        // The other head may read it from the disk a moment before the owner knows that it is there.
        if self.slots[slot_of(of)].access == Access::Serving && self.is_registered(of) {
            self.blocks_seen = self.blocks_seen.max(blocks);
        }
        Ok(())
    }

    pub(super) fn check_size(&self, of: HeadId) -> Result<(), String> {
        shows_the_largest_size(of, self.slots[slot_of(of)].blocks, self.blocks_seen)
    }

    /// A head says that it serves; one that has been fenced and does not know it yet answers nobody.
    pub(super) fn on_serving(&mut self, of: HeadId) -> Result<(), String> {
        if self.is_registered(of) {
            self.check_size(of)?;
            self.blocks_seen = self.slots[slot_of(of)].blocks;
        }
        Ok(())
    }

    /// Whether both heads present all of the disk.
    pub(super) fn has_grown(&self) -> bool {
        let blocks = self.disk.media.blocks() - RESERVED;
        !self.plan.growth || self.slots.iter().all(|slot| slot.blocks == blocks)
    }

    /// After all faults an operator orders it once more, where it is served.
    pub(super) fn order_growth(&mut self) -> Result<(), String> {
        for of in [HeadId::A, HeadId::B] {
            if !self.has_grown() && self.slots[slot_of(of)].access == Access::Serving {
                self.on_order_growth(of)?;
            }
        }
        Ok(())
    }
}
