//! The superblocks on the simulated disk, and the rule by which a head finds the one that counts; the production code has
//! the same rule in `sas-backend/src/superblock/locate.rs`, for bytes.

use std::collections::{BTreeMap, BTreeSet};

use replication::head::{Capacity, Ownership};

use super::disk::RESERVED;

/// Blocks before a superblock.
pub(super) type Place = u64;

/// What is at each place.
pub(super) struct Records {
    at: BTreeMap<Place, (Ownership, u64)>,
    written: u64,
}

impl Records {
    pub(super) fn new(place: Place, ownership: Ownership) -> Self {
        Self { at: BTreeMap::from([(place, (ownership, 0))]), written: 0 }
    }

    /// Each superblock has a higher number than the one before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    pub(super) fn put(&mut self, place: Place, ownership: Ownership, number: u64) {
        self.at.insert(place, (ownership, number));
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.at.remove(&place);
    }

    /// What a head finds whose path shows a disk of `size` blocks and who knew the superblock to be at `known`.
    pub(super) fn find(&self, known: Place, size: u64) -> Result<(Place, Ownership), String> {
        let end = size - RESERVED;
        let found = self.follow(vec![known, end], end);
        let found = found.or_else(|| self.follow(self.nearest_to_the_end(size).into_iter().collect(), end));
        let (ownership, _) = found.ok_or("no superblock")?;
        let place = ownership.capacity.reserved_at();
        if place > end { Err("the path is too small".to_owned()) } else { Ok((place, ownership.clone())) }
    }

    /// The newest of those that the ones at `look` lead to, the last of them first.
    fn follow(&self, mut look: Vec<Place>, end: Place) -> Option<&(Ownership, u64)> {
        let mut looked = BTreeSet::new();
        let mut best: Option<&(Ownership, u64)> = None;
        while let Some(place) = look.pop() {
            if place > end || !looked.insert(place) {
                continue;
            }
            let Some(found) = self.at.get(&place) else { continue };
            let capacity = found.0.capacity;
            if place == end && capacity == Capacity::of(end) {
                return Some(found);
            }
            look.extend([capacity.reserved_at(), capacity.blocks]);
            let order = |found: &(Ownership, u64)| (found.0.epoch, found.1);
            if best.is_none_or(|best| order(best) < order(found)) {
                best = Some(found);
            }
        }
        best
    }

    /// The place nearest to the end at which there is one: where a head begins to look when it starts.
    pub(super) fn nearest_to_the_end(&self, size: u64) -> Option<Place> {
        self.at.range(..=size - RESERVED).next_back().map(|(place, _)| *place)
    }
}
