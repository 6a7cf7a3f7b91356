//! Writes that are not acknowledged yet.
//!
//! They never overlap: a request that meets one waits on it, a read too (it must not return what could still vanish),
//! and is looked at again when the write is acknowledged.

use std::collections::{BTreeMap, VecDeque};

use crate::block::Extent;
use crate::cache::Version;
use crate::head::event::{OpId, Request};

/// One write between admission and acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PendingWrite<D> {
    pub(super) op: OpId,
    pub(super) extent: Extent,
    pub(super) fua: bool,
    /// Its place in the stream to the mirror, if it was sent.
    pub(super) position: Option<u64>,
    /// Blocks that the disk does not have yet.
    pub(super) disk_left: u64,
    pub(super) flush_asked: bool,
    pub(super) flushed: bool,
    pub(super) waiting: VecDeque<Request<D>>,
}

/// All pending writes of a logical unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending<D> {
    writes: BTreeMap<Version, PendingWrite<D>>,
    by_lba: BTreeMap<u64, (u64, Version)>,
    blocks: u64,
}

impl<D> Default for Pending<D> {
    fn default() -> Self {
        Self { writes: BTreeMap::new(), by_lba: BTreeMap::new(), blocks: 0 }
    }
}

impl<D> Pending<D> {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    pub(super) fn get(&self, version: Version) -> Option<&PendingWrite<D>> {
        self.writes.get(&version)
    }

    pub(super) fn get_mut(&mut self, version: Version) -> Option<&mut PendingWrite<D>> {
        self.writes.get_mut(&version)
    }

    /// The pending write that has a block of `extent`.
    pub(super) fn meets(&self, extent: Extent) -> Option<Version> {
        let (&lba, &(blocks, version)) = self.by_lba.range(..extent.end()).next_back()?;
        (lba + blocks > extent.lba).then_some(version)
    }

    /// Where the first pending write from `lba` on begins.
    pub(super) fn next_from(&self, lba: u64) -> Option<u64> {
        self.by_lba.range(lba..).next().map(|(&lba, _)| lba)
    }

    pub(super) fn insert(&mut self, version: Version, write: PendingWrite<D>) {
        debug_assert!(self.meets(write.extent).is_none(), "pending writes never overlap");
        self.by_lba.insert(write.extent.lba, (write.extent.blocks, version));
        self.blocks += write.extent.blocks;
        self.writes.insert(version, write);
    }

    pub(super) fn remove(&mut self, version: Version) -> Option<PendingWrite<D>> {
        let write = self.writes.remove(&version)?;
        self.by_lba.remove(&write.extent.lba);
        self.blocks -= write.extent.blocks;
        Some(write)
    }

    /// The oldest, if `is` says so.
    pub(super) fn oldest_if(&self, is: impl Fn(&PendingWrite<D>) -> bool) -> Option<Version> {
        self.writes.first_key_value().filter(|(_, write)| is(write)).map(|(version, _)| *version)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Version, &PendingWrite<D>)> {
        self.writes.iter().map(|(version, write)| (*version, write))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Version, &mut PendingWrite<D>)> {
        self.writes.iter_mut().map(|(version, write)| (*version, write))
    }

    /// Take all requests that wait on some write.
    pub(super) fn drain_waiting(&mut self) -> Vec<Request<D>> {
        self.writes.values_mut().flat_map(|write| write.waiting.drain(..)).collect()
    }

    /// Forget a request that waits on some write; says whether there was one.
    pub(super) fn forget_waiting(&mut self, op: OpId) -> bool {
        self.writes.values_mut().any(|write| {
            let before = write.waiting.len();
            write.waiting.retain(|request| request.op != op);
            write.waiting.len() != before
        })
    }

    /// Take the names of everything, for an end without acknowledgement.
    pub(super) fn drain_ops(&mut self) -> impl Iterator<Item = OpId> + use<D> {
        self.by_lba.clear();
        self.blocks = 0;
        let writes = std::mem::take(&mut self.writes);
        writes.into_values().flat_map(|write| {
            let waiting: Vec<OpId> = write.waiting.iter().map(|request| request.op).collect();
            std::iter::once(write.op).chain(waiting)
        })
    }
}
