//! What the disk holds, and its volatile cache: what was not flushed may be older, or torn, after the power was lost.
//!
//! A block of the simulator is a mebibyte of the disk as the superblock's code sees it: so the region at the end, of four
//! mebibytes, is four blocks. Clients' blocks have marks; what the heads write there, superblocks and heartbeats, is kept
//! byte by byte. Whoever reads that as a client's block reads [`GARBAGE`].

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use replication::{Extent, Stretch};

use crate::world::{ZEROES, index};

/// What no client has written.
pub(in crate::world) const GARBAGE: u64 = u64::MAX;
/// Bytes of a block as the superblock's code sees it.
pub(in crate::world) const BLOCK_BYTES: u64 = 1 << 20;
/// Bytes that are written at a time, or not at all. A disk promises more; but all that changes in a superblock has room in
/// a sector of 512 bytes, and then none would ever be torn.
const ATOMIC_BYTES: usize = 64;

/// So many versions of a sector that may be there after the power was lost are remembered.
const VERSIONS_MAX: usize = 3;

/// A block of what the heads write.
pub(in crate::world) type Sector = [u8; 4096];

/// See the module.
pub(in crate::world) struct Media {
    marks: Vec<u64>,
    sectors: BTreeMap<u64, Box<Sector>>,
    /// What else a block may have after the power was lost: what it had when it was flushed last, and what came between.
    unflushed: BTreeMap<u64, Vec<u64>>,
    unflushed_sectors: BTreeMap<u64, Vec<Option<Box<Sector>>>>,
    /// Blocks that cannot be read until they are written.
    unreadable: BTreeSet<u64>,
}

impl Media {
    /// Zeroes.
    pub(in crate::world) fn new(blocks: u64) -> Self {
        Self {
            marks: vec![ZEROES; index(blocks)],
            sectors: BTreeMap::new(),
            unflushed: BTreeMap::new(),
            unflushed_sectors: BTreeMap::new(),
            unreadable: BTreeSet::new(),
        }
    }

    pub(in crate::world) fn blocks(&self) -> u64 {
        self.marks.len() as u64
    }

    pub(in crate::world) fn grow(&mut self, blocks: u64) {
        self.marks.resize(index(blocks), ZEROES);
    }

    /// `None`: they cannot be read.
    pub(in crate::world) fn read(&self, extent: Extent) -> Option<&[u64]> {
        let unreadable = self.unreadable.range(extent.lba..extent.end()).next().is_some();
        (!unreadable).then(|| &self.marks[index(extent.lba)..index(extent.end())])
    }

    pub(in crate::world) fn mark(&self, lba: u64) -> u64 {
        self.marks[index(lba)]
    }

    /// What a block may have after the power was lost.
    pub(in crate::world) fn possible(&self, lba: u64) -> impl Iterator<Item = u64> + '_ {
        self.unflushed.get(&lba).into_iter().flatten().copied().chain([self.mark(lba)])
    }

    pub(in crate::world) fn write(&mut self, lba: u64, mark: u64) {
        self.unreadable.remove(&lba);
        if self.mark(lba) == GARBAGE && mark != GARBAGE {
            let place = lba * BLOCK_BYTES..(lba + 1) * BLOCK_BYTES;
            let gone: Vec<u64> = self.sectors.range(place).map(|(at, _)| *at).collect();
            gone.into_iter().for_each(|at| self.keep_sector(at));
        }
        let old = std::mem::replace(&mut self.marks[index(lba)], mark);
        if old != mark {
            self.unflushed.entry(lba).or_default().push(old);
        }
    }

    /// What the sector has now may be what is there later; it is gone from here.
    fn keep_sector(&mut self, at: u64) {
        let old = self.sectors.remove(&at);
        let versions = self.unflushed_sectors.entry(at).or_default();
        // Of a heartbeat there are many.
        versions.truncate(VERSIONS_MAX - 1);
        versions.push(old);
    }

    pub(in crate::world) fn flush(&mut self) {
        self.unflushed.clear();
        self.unflushed_sectors.clear();
    }

    /// Whether the first blocks are a hole, as far as the answer is the same.
    pub(in crate::world) fn map(&self, extent: Extent) -> Stretch {
        let is_hole = |mark: &u64| *mark == ZEROES;
        let blocks = &self.marks[index(extent.lba)..index(extent.end())];
        let mapped = !is_hole(&blocks[0]);
        Stretch { blocks: blocks.iter().take_while(|mark| is_hole(mark) != mapped).count() as u64, mapped }
    }

    /// The 4096 bytes at `offset`; where a client has written they are nothing that a head would.
    pub(in crate::world) fn sector(&self, offset: u64) -> Option<Sector> {
        let lba = offset / BLOCK_BYTES;
        if self.unreadable.contains(&lba) {
            return None;
        }
        Some(match (self.sectors.get(&offset), self.mark(lba)) {
            (Some(sector), _) => **sector,
            (None, ZEROES | GARBAGE) => [0; 4096],
            (None, _) => [0xA5; 4096],
        })
    }

    pub(in crate::world) fn write_sector(&mut self, offset: u64, sector: &Sector, durable: bool) {
        self.keep_sector(offset);
        self.sectors.insert(offset, Box::new(*sector));
        self.write(offset / BLOCK_BYTES, GARBAGE);
        if durable {
            self.unflushed_sectors.remove(&offset);
            self.unflushed.remove(&(offset / BLOCK_BYTES));
        }
    }

    /// Zeroes, durably.
    pub(in crate::world) fn clear(&mut self, offset: u64, len: u64) {
        for lba in offset / BLOCK_BYTES..(offset + len) / BLOCK_BYTES {
            self.write(lba, ZEROES);
            self.unflushed.remove(&lba);
        }
        self.unflushed_sectors.retain(|at, _| !(offset..offset + len).contains(at));
    }

    /// Some of the bytes arrive, and some do not.
    pub(in crate::world) fn tear_sector(&mut self, offset: u64, sector: &Sector, rng: &mut StdRng) {
        let old = self.sector(offset).unwrap_or([0; 4096]);
        self.write_sector(offset, &torn(&old, sector, rng), false);
    }

    /// A block becomes unreadable until it is written.
    pub(in crate::world) fn spoil(&mut self, lba: u64) {
        self.unreadable.insert(lba);
    }

    pub(in crate::world) fn mend(&mut self) {
        self.unreadable.clear();
    }

    /// The power is lost: of what was not flushed some is there, and some is not.
    pub(in crate::world) fn lose_power(&mut self, rng: &mut StdRng) {
        for (lba, older) in std::mem::take(&mut self.unflushed) {
            let which = rng.random_range(0..=older.len());
            if let Some(mark) = older.get(which) {
                self.marks[index(lba)] = *mark;
            }
        }
        for (offset, mut versions) in std::mem::take(&mut self.unflushed_sectors) {
            versions.push(self.sectors.remove(&offset));
            let mut pick = || versions[rng.random_range(0..versions.len())].as_deref().copied().unwrap_or([0; 4096]);
            let (one, other) = (pick(), pick());
            let sector = torn(&one, &other, rng);
            if sector != [0; 4096] {
                self.sectors.insert(offset, Box::new(sector));
                self.marks[index(offset / BLOCK_BYTES)] = GARBAGE;
            }
        }
    }
}

fn torn(old: &Sector, new: &Sector, rng: &mut StdRng) -> Sector {
    let mut sector = *old;
    for (at, part) in new.chunks(ATOMIC_BYTES).enumerate() {
        if rng.random_range(0..2) == 0 {
            sector[at * ATOMIC_BYTES..][..ATOMIC_BYTES].copy_from_slice(part);
        }
    }
    sector
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(1)
    }

    #[test]
    fn what_is_flushed_outlives_a_loss_of_power_and_the_rest_may() {
        let (mut kept, mut lost, mut between) = (0, 0, 0);
        for seed in 0..100 {
            let mut media = Media::new(8);
            media.write(3, 7);
            media.flush();
            media.write(3, 8);
            media.write(3, 9);
            media.write(5, 1);
            assert_eq!(media.possible(3).collect::<Vec<_>>(), [7, 8, 9]);
            media.lose_power(&mut StdRng::seed_from_u64(seed));
            match media.mark(3) {
                7 => lost += 1,
                8 => between += 1,
                9 => kept += 1,
                other => panic!("{other} was never there"),
            }
            assert_eq!(media.possible(3).count(), 1, "what is there now stays");
        }
        assert!(kept > 0 && lost > 0 && between > 0, "{kept} {lost} {between}");
    }

    #[test]
    fn a_superblock_that_is_torn_is_none_of_the_two() {
        let mut media = Media::new(8);
        media.write_sector(4 * BLOCK_BYTES, &[1; 4096], true);
        media.tear_sector(4 * BLOCK_BYTES, &[2; 4096], &mut rng());
        let found = media.sector(4 * BLOCK_BYTES).unwrap();
        assert!(found[..512].contains(&1) && found[..512].contains(&2));
        assert_eq!(media.mark(4), GARBAGE, "and no client has written it");
        media.write_sector(4 * BLOCK_BYTES, &[3; 4096], true);
        media.lose_power(&mut rng());
        assert_eq!(media.sector(4 * BLOCK_BYTES), Some([3; 4096]), "durable");
    }

    #[test]
    fn what_cannot_be_read_can_be_written() {
        let mut media = Media::new(8);
        media.spoil(2);
        assert_eq!(media.read(Extent::new(0, 4)), None);
        assert_eq!(media.read(Extent::new(3, 4)), Some(&[0; 4][..]));
        media.write(2, 5);
        assert_eq!(media.read(Extent::new(2, 1)), Some(&[5][..]));
    }
}
