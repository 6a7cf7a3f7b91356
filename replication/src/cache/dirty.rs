//! The index of dirty blocks.
//!
//! Non-overlapping pieces keyed by their first block. A newer write replaces what it covers and cuts what it touches; a
//! piece remembers the [`Version`] that wrote it, so that a completed disk write or a release never takes away anything
//! newer than what it was about.
//!
//! ```text
//!   insert -> Dirty --next_run--> Writing --finish_run--> Written --remove_up_to--> gone
//!               ^                    |
//!               +-----fail_run-------+
//! ```
//!
//! Pieces that may be written to the disk are *ripe*. What is not ripe yet waits in the order of its age, so that a
//! block which is rewritten again and again costs one disk write and not many.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::block::{Data, Extent};

/// Which write a piece comes from; grows with every write of a logical unit, over all owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

impl Version {
    /// The version of the following write.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How far a piece is on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PieceState {
    /// Only in RAM.
    Dirty,
    /// Given to the disk.
    Writing,
    /// The disk has it, perhaps only in a volatile cache.
    Written,
}

/// Consecutive dirty blocks of one version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece<D> {
    /// Number of blocks.
    pub blocks: u64,
    /// The write it comes from.
    pub version: Version,
    /// Acknowledged contents of these blocks (these, or older ones that they replaced) were never on the disk.
    pub owed: bool,
    /// How far it is.
    pub state: PieceState,
    /// The contents.
    pub data: D,
}

/// Adjacent pieces that go to the disk in one operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run<D> {
    /// Where.
    pub extent: Extent,
    /// The pieces from first to last.
    pub pieces: Vec<(Extent, Version, D)>,
}

impl<D: Data> Run<D> {
    /// Whether it makes a hole; otherwise none of it is one.
    #[must_use]
    pub fn is_hole(&self) -> bool {
        self.pieces.first().is_some_and(|(_, _, data)| data.is_hole())
    }
}

/// The dirty blocks of one logical unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DirtyMap<D> {
    pieces: BTreeMap<u64, Piece<D>>,
    blocks: u64,
    owed_pieces: u64,
    ripe: BTreeSet<u64>,
    young: VecDeque<(Version, u64)>,
    cursor: u64,
}

impl<D> Default for DirtyMap<D> {
    fn default() -> Self {
        Self {
            pieces: BTreeMap::new(),
            blocks: 0,
            owed_pieces: 0,
            ripe: BTreeSet::new(),
            young: VecDeque::new(),
            cursor: 0,
        }
    }
}

impl<D: Data> DirtyMap<D> {
    /// Whether nothing is dirty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Number of dirty blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Whether the disk lacks acknowledged contents.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.owed_pieces > 0
    }

    /// The newest version in the map.
    #[must_use]
    pub fn newest(&self) -> Version {
        self.pieces.values().map(|piece| piece.version).max().unwrap_or_default()
    }

    /// All pieces in disk order.
    pub fn iter(&self) -> impl Iterator<Item = (Extent, &Piece<D>)> {
        self.pieces.iter().map(|(&lba, piece)| (Extent::new(lba, piece.blocks), piece))
    }

    /// The pieces that have a block of `extent`, in disk order.
    pub fn overlapping(&self, extent: Extent) -> impl Iterator<Item = (Extent, &Piece<D>)> {
        let from = self.first_overlapping(extent);
        self.pieces.range(from..extent.end()).map(|(&lba, piece)| (Extent::new(lba, piece.blocks), piece))
    }

    /// Take in a newer write. `owed`: it may be acknowledged before the disk has it.
    pub fn insert(&mut self, extent: Extent, version: Version, data: D, owed: bool) {
        let inherits = self.cut_out(extent, |_| true);
        let owed = owed || inherits;
        self.blocks += extent.blocks;
        self.owed_pieces += u64::from(owed);
        let piece = Piece { blocks: extent.blocks, version, owed, state: PieceState::Dirty, data };
        self.pieces.insert(extent.lba, piece);
        self.young.push_back((version, extent.lba));
    }

    /// Everything up to `version` may go to the disk.
    pub fn ripen(&mut self, version: Version) {
        while let Some(&(of, lba)) = self.young.front()
            && of <= version
        {
            self.young.pop_front();
            let fresh = |piece: &Piece<D>| piece.version == of && piece.state == PieceState::Dirty;
            if self.pieces.get(&lba).is_some_and(fresh) {
                self.ripe.insert(lba);
            }
        }
    }

    /// From now on every piece counts as acknowledged and not on the disk.
    pub fn owe_all(&mut self) {
        for piece in self.pieces.values_mut() {
            piece.owed = true;
        }
        self.owed_pieces = self.pieces.len() as u64;
    }

    /// Forget how far pieces were on their way: the disk commands of another life did or did not happen.
    pub fn restart(&mut self) {
        self.young.clear();
        self.ripe.clear();
        for (&lba, piece) in &mut self.pieces {
            piece.state = PieceState::Dirty;
            self.ripe.insert(lba);
        }
    }

    /// The next adjacent ripe pieces in disk order, of at most `most_blocks` blocks unless one piece is larger, skipping
    /// what is `blocked`; all of them holes, or none. They are *writing* from now on.
    pub fn next_run(&mut self, most_blocks: u64, blocked: impl Fn(Extent) -> bool) -> Option<Run<D>> {
        /// How many blocked pieces are looked at before giving up until something changes.
        const TRIES: usize = 64;
        let from_cursor = self.ripe.range(self.cursor..).copied().take(TRIES);
        let from_start = self.ripe.range(..self.cursor).copied().take(TRIES);
        let first = from_cursor.chain(from_start).find(|lba| !blocked(self.extent_at(*lba)))?;
        let mut run = Run { extent: self.extent_at(first), pieces: Vec::new() };
        run.pieces.push(self.start_writing(first));
        while let Some(next) = self.ripe.get(&run.extent.end()).copied() {
            let extent = self.extent_at(next);
            let alike = self.pieces.get(&next).is_some_and(|piece| piece.data.is_hole() == run.is_hole());
            if run.extent.blocks + extent.blocks > most_blocks || !alike || blocked(extent) {
                break;
            }
            run.pieces.push(self.start_writing(next));
            run.extent.blocks += extent.blocks;
        }
        self.cursor = run.extent.end();
        Some(run)
    }

    /// The disk has `run`. With `keep`, what is still current stays in RAM as *written* until it is released; without,
    /// it is dropped.
    pub fn finish_run(&mut self, run: &Run<D>, keep: bool) {
        for (extent, version, _) in &run.pieces {
            if keep {
                self.set_state(*extent, *version, PieceState::Written);
            } else {
                self.remove_up_to(*extent, *version);
            }
        }
    }

    /// The disk does not have `run`: to be tried again.
    pub fn fail_run(&mut self, run: &Run<D>) {
        for (extent, version, _) in &run.pieces {
            self.set_state(*extent, *version, PieceState::Dirty);
        }
    }

    /// Drop the blocks of `extent` that are of `version` or older: the disk has them, or something newer, for good.
    pub fn remove_up_to(&mut self, extent: Extent, version: Version) {
        self.cut_out(extent, |piece| piece.version <= version);
    }

    fn extent_at(&self, lba: u64) -> Extent {
        Extent::new(lba, self.pieces.get(&lba).expect("ripe pieces are in the map").blocks)
    }

    fn start_writing(&mut self, lba: u64) -> (Extent, Version, D) {
        self.ripe.remove(&lba);
        let piece = self.pieces.get_mut(&lba).expect("ripe pieces are in the map");
        piece.state = PieceState::Writing;
        (Extent::new(lba, piece.blocks), piece.version, piece.data.clone())
    }

    fn set_state(&mut self, extent: Extent, version: Version, state: PieceState) {
        let from = self.first_overlapping(extent);
        for (&lba, piece) in self.pieces.range_mut(from..extent.end()) {
            if piece.version == version && piece.state == PieceState::Writing {
                piece.state = state;
                if state == PieceState::Dirty {
                    self.ripe.insert(lba);
                }
            }
        }
    }

    fn first_overlapping(&self, extent: Extent) -> u64 {
        match self.pieces.range(..=extent.lba).next_back() {
            Some((&lba, piece)) if lba + piece.blocks > extent.lba => lba,
            _ => extent.lba,
        }
    }

    /// Remove the blocks of `extent` from the pieces that `which` names, cutting pieces that reach beyond it. Says
    /// whether any of them was owed.
    fn cut_out(&mut self, extent: Extent, which: impl Fn(&Piece<D>) -> bool) -> bool {
        let mut owed = false;
        let mut at = self.first_overlapping(extent);
        while at < extent.end()
            && let Some((&lba, piece)) = self.pieces.range(at..extent.end()).next()
        {
            at = lba + piece.blocks;
            if !which(piece) {
                continue;
            }
            let piece = self.pieces.remove(&lba).expect("just found");
            let was_ripe = self.ripe.remove(&lba);
            self.blocks -= piece.blocks;
            self.owed_pieces -= u64::from(piece.owed);
            owed |= piece.owed;
            let whole = Extent::new(lba, piece.blocks);
            if lba < extent.lba {
                self.put_back(Extent::new(lba, extent.lba - lba), whole, &piece, was_ripe);
            }
            if whole.end() > extent.end() {
                self.put_back(Extent::new(extent.end(), whole.end() - extent.end()), whole, &piece, was_ripe);
            }
        }
        owed
    }

    /// Keep `part` of a piece that was cut. A part whose first block moved is no longer found by its age, so it counts
    /// as ripe: it is old anyway, since a pending write is never cut.
    fn put_back(&mut self, part: Extent, whole: Extent, piece: &Piece<D>, was_ripe: bool) {
        let moved = part.lba != whole.lba;
        if piece.state == PieceState::Dirty && (was_ripe || moved) {
            self.ripe.insert(part.lba);
        }
        self.blocks += part.blocks;
        self.owed_pieces += u64::from(piece.owed);
        let data = piece.data.slice(part.lba - whole.lba, part.blocks);
        self.pieces.insert(part.lba, Piece { blocks: part.blocks, data, ..piece.clone() });
    }
}

#[cfg(test)]
mod tests;
