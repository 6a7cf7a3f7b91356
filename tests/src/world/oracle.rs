//! What a read may return.
//!
//! Each block has one writer, whose writes are numbered upwards and never overlap in time. A read must not be older than
//! the last acknowledged write, nor older than what an earlier read returned; both as they stood when the read began.
//! A write without an answer is *unknown*: it may be there or not, until somebody has read it.
//!
//! A write that makes a hole leaves no mark. Whoever reads zeroes has read the oldest such write that he may read.

use std::collections::{BTreeMap, BTreeSet};

use super::ZEROES;
use super::daemon::Numbers;
use super::invariants::{acknowledged_is_read, read_is_not_unread};

/// The oldest writes to a block that a read may return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The newest one that was acknowledged.
    pub acknowledged: u64,
    /// The newest one that was read.
    pub read: u64,
}

impl Floor {
    /// The newer one.
    #[must_use]
    pub fn newest(self) -> u64 {
        self.acknowledged.max(self.read)
    }
}

/// What is known of each block.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    floor: BTreeMap<u64, Floor>,
    newest: BTreeMap<u64, u64>,
    numbers: Numbers,
    /// The writes that make holes.
    holes: BTreeSet<(u64, u64)>,
    /// The newest write that outlives a loss of power.
    durable: BTreeMap<u64, u64>,
}

impl Oracle {
    /// A write was issued.
    pub fn issued(&mut self, lba: u64, mark: u64) {
        self.newest.insert(lba, mark);
    }

    /// A write was issued that makes a hole.
    pub fn issued_hole(&mut self, lba: u64, mark: u64) {
        self.issued(lba, mark);
        self.holes.insert((lba, mark));
    }

    /// What a block has after this write.
    #[must_use]
    pub fn contents(&self, lba: u64, mark: u64) -> u64 {
        if self.holes.contains(&(lba, mark)) { ZEROES } else { mark }
    }

    /// A write was acknowledged.
    pub fn acknowledged(&mut self, lba: u64, mark: u64) {
        let floor = self.floor.entry(lba).or_default();
        floor.acknowledged = mark.max(floor.acknowledged);
    }

    /// A write that was acknowledged outlives everything.
    pub fn is_durable(&mut self, lba: u64, mark: u64) {
        let durable = self.durable.entry(lba).or_default();
        *durable = mark.max(*durable);
    }

    /// What was acknowledged so far.
    #[must_use]
    pub fn all_acknowledged(&self) -> Vec<(u64, u64)> {
        self.floor.iter().map(|(lba, floor)| (*lba, floor.acknowledged)).collect()
    }

    /// What was not durable may be there or not.
    pub fn lose_power(&mut self) {
        let floor = |(lba, acknowledged): (&u64, &u64)| (*lba, Floor { acknowledged: *acknowledged, read: 0 });
        self.floor = self.durable.iter().map(floor).collect();
    }

    /// Blocks of which something is known.
    pub fn written(&self) -> impl Iterator<Item = u64> + '_ {
        self.floor.keys().copied()
    }

    /// Whether a read that begins now may return `mark`.
    #[must_use]
    pub fn is_legal(&self, lba: u64, mark: u64) -> bool {
        let floor = self.floor(lba);
        self.write_of(lba, floor, mark) >= floor.newest()
    }

    /// The oldest mark that a read which begins now may return.
    #[must_use]
    pub fn floor(&self, lba: u64) -> Floor {
        self.floor.get(&lba).copied().unwrap_or_default()
    }

    /// A read that began when `floor` held has returned `mark`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&mut self, lba: u64, floor: Floor, mark: u64) -> Result<(), String> {
        let newest = self.newest.get(&lba).copied().unwrap_or_default();
        let found = self.write_of(lba, floor, mark);
        acknowledged_is_read(lba, floor, found)?;
        read_is_not_unread(lba, floor, found)?;
        if found > newest {
            return Err(format!("block {lba}: read {mark}, never written (newest {newest})"));
        }
        let floor = self.floor.entry(lba).or_default();
        floor.read = found.max(floor.read);
        Ok(())
    }

    /// The write that has left `mark`; the oldest one that may be read if that was a hole.
    fn write_of(&self, lba: u64, floor: Floor, mark: u64) -> u64 {
        let least = floor.newest();
        if mark != ZEROES || least == 0 {
            return mark;
        }
        let newest = self.newest.get(&lba).copied().unwrap_or_default();
        self.holes.range((lba, least)..=(lba, newest.max(least))).next().map_or(ZEROES, |(_, mark)| *mark)
    }

    /// What every daemon knows by now that lets in anything.
    #[must_use]
    pub(super) fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// A client has been told that its number is this.
    pub(super) fn raised(&mut self, client: usize, number: u64) {
        self.numbers[client] = number.max(self.numbers[client]);
    }

    /// A loss was reported: nothing is known any more.
    pub fn forget(&mut self) {
        self.floor.clear();
        self.durable.clear();
    }
}
