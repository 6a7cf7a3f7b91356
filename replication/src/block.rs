//! Extents of blocks, payloads as the cores see them, and time.

use sas_backend::buffer::{Payload, Pool, zeroes};

/// Milliseconds on a clock that never steps; only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment `ms` later.
    #[must_use]
    pub fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`, zero if that is in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A run of blocks of one logical unit; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// First block.
    pub lba: u64,
    /// Number of blocks.
    pub blocks: u64,
}

impl Extent {
    /// `blocks` blocks from `lba` on.
    #[must_use]
    pub fn new(lba: u64, blocks: u64) -> Self {
        debug_assert!(blocks > 0, "an extent is never empty");
        Self { lba, blocks }
    }

    /// The block after the last one.
    #[must_use]
    pub fn end(self) -> u64 {
        self.lba + self.blocks
    }

    /// Whether both have a block in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.lba < other.end() && other.lba < self.end()
    }

    /// The blocks that both have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let lba = self.lba.max(other.lba);
        let end = self.end().min(other.end());
        (lba < end).then(|| Self::new(lba, end - lba))
    }
}

/// So many blocks that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stretch {
    /// How many; at least one.
    pub blocks: u64,
    /// Whether they are mapped; otherwise they are a hole, and read as zeroes.
    pub mapped: bool,
}

/// Contents of blocks: the cores only cut and pass them on.
pub trait Data: Clone + std::fmt::Debug {
    /// Number of blocks.
    fn blocks(&self) -> u64;
    /// `blocks` blocks from block `first` on.
    #[must_use]
    fn slice(&self, first: u64, blocks: u64) -> Self;
    /// Where it begins to differ from as many other blocks, in bytes.
    #[must_use]
    fn first_difference(&self, other: &Self) -> Option<u64>;
    /// Whether they are a hole: blocks that were unmapped, read as zeroes and take no memory.
    #[must_use]
    fn is_hole(&self) -> bool {
        false
    }
    /// All bits that are set here or in `parts`, which are as many blocks one after the other.
    #[must_use]
    fn or(&self, parts: &[Self]) -> Self;
}

/// A payload of a whole number of blocks, or a hole; what production runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    contents: Contents,
    block_bytes: u32,
}

/// The same without a word on how large a block is; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Bytes.
    Bytes(Payload),
    /// Zeroes that are nowhere.
    Hole {
        /// Number of blocks.
        blocks: u64,
    },
}

impl From<Payload> for Contents {
    fn from(payload: Payload) -> Self {
        Self::Bytes(payload)
    }
}

impl Blocks {
    /// Wraps `payload`, or nothing if it is empty or not a whole number of blocks.
    #[must_use]
    pub fn new(payload: Payload, block_bytes: u32) -> Option<Self> {
        Self::of(Contents::Bytes(payload), block_bytes)
    }

    /// A hole of so many blocks, or nothing if it is empty or longer than any disk.
    #[must_use]
    pub fn hole(blocks: u64, block_bytes: u32) -> Option<Self> {
        Self::of(Contents::Hole { blocks }, block_bytes)
    }

    /// Either.
    #[must_use]
    pub fn of(contents: Contents, block_bytes: u32) -> Option<Self> {
        let fits = match &contents {
            Contents::Bytes(payload) => {
                !payload.is_empty() && payload.len().is_multiple_of(usize::try_from(block_bytes).ok()?)
            }
            Contents::Hole { blocks } => *blocks > 0 && blocks.checked_mul(u64::from(block_bytes)).is_some(),
        };
        fits.then_some(Self { contents, block_bytes })
    }

    /// Number of bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks() * u64::from(self.block_bytes)
    }

    /// What it is.
    #[must_use]
    pub fn into_contents(self) -> Contents {
        self.contents
    }

    /// The bytes, in order; for a hole zeroes, which share the memory of a few.
    pub fn into_payloads(self) -> impl Iterator<Item = Payload> {
        let bytes = self.bytes();
        let (payload, zeroes_bytes) = match self.contents {
            Contents::Bytes(payload) => (Some(payload), 0),
            Contents::Hole { .. } => (None, bytes),
        };
        payload.into_iter().chain(zeroes(zeroes_bytes))
    }
}

impl Data for Blocks {
    fn blocks(&self) -> u64 {
        match &self.contents {
            Contents::Bytes(payload) => payload.len() as u64 / u64::from(self.block_bytes),
            Contents::Hole { blocks } => *blocks,
        }
    }

    fn slice(&self, first: u64, blocks: u64) -> Self {
        let bytes = |count: u64| {
            usize::try_from(count * u64::from(self.block_bytes)).expect("a part of a payload is no longer than it")
        };
        let contents = match &self.contents {
            Contents::Bytes(payload) => Contents::Bytes(payload.slice(bytes(first)..bytes(first + blocks))),
            Contents::Hole { .. } => Contents::Hole { blocks },
        };
        Self { contents, ..*self }
    }

    fn first_difference(&self, other: &Self) -> Option<u64> {
        let (mine, theirs): (&[u8], &[u8]) = match (&self.contents, &other.contents) {
            (Contents::Hole { .. }, Contents::Hole { .. }) => return None,
            (Contents::Bytes(bytes), Contents::Hole { .. }) | (Contents::Hole { .. }, Contents::Bytes(bytes)) => {
                return bytes.iter().position(|byte| *byte != 0).map(|at| at as u64);
            }
            (Contents::Bytes(mine), Contents::Bytes(theirs)) => (mine, theirs),
        };
        if mine == theirs {
            return None;
        }
        mine.iter().zip(theirs).position(|(mine, theirs)| mine != theirs).map(|at| at as u64)
    }

    fn is_hole(&self) -> bool {
        matches!(self.contents, Contents::Hole { .. })
    }

    fn or(&self, parts: &[Self]) -> Self {
        let pool = match &self.contents {
            Contents::Bytes(payload) => payload.pool(),
            Contents::Hole { .. } => Pool::new(),
        };
        let mut united = pool.take(usize::try_from(self.bytes()).expect("what a client sends fits into memory"));
        let mut at = 0;
        for mine in self.clone().into_payloads() {
            united[at..at + mine.len()].copy_from_slice(&mine);
            at += mine.len();
        }
        at = 0;
        for theirs in parts.iter().flat_map(|part| part.clone().into_payloads()) {
            united[at..at + theirs.len()].iter_mut().zip(&theirs[..]).for_each(|(mine, theirs)| *mine |= theirs);
            at += theirs.len();
        }
        Self { contents: Contents::Bytes(united.freeze()), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_meet_or_not() {
        let a = Extent::new(10, 5);
        assert!(a.overlaps(Extent::new(14, 1)));
        assert!(!a.overlaps(Extent::new(15, 1)));
        assert!(!a.overlaps(Extent::new(5, 5)));
        assert_eq!(a.intersection(Extent::new(12, 100)), Some(Extent::new(12, 3)));
        assert_eq!(a.intersection(Extent::new(0, 10)), None);
    }

    #[test]
    fn blocks_are_cut_at_block_borders_only() {
        let payload = Pool::new().copy_of(&[1, 2, 3, 4].map(|n| [n; 512]).concat());
        assert!(Blocks::new(payload.slice(0..513), 512).is_none());
        let blocks = Blocks::new(payload, 512).unwrap();
        assert_eq!(blocks.blocks(), 4);
        let part: Vec<u8> = blocks.slice(1, 2).into_payloads().flat_map(|payload| payload.to_vec()).collect();
        assert_eq!(part, [2, 3].map(|n| [n; 512]).concat());
    }

    #[test]
    fn a_hole_is_as_long_as_it_says_and_reads_as_zeroes() {
        let hole = Blocks::hole(6000, 512).unwrap();
        assert!(hole.is_hole() && hole.slice(17, 4000).is_hole());
        assert_eq!((hole.blocks(), hole.slice(17, 4000).bytes()), (6000, 4000 * 512));
        let payloads: Vec<Payload> = hole.slice(17, 4000).into_payloads().collect();
        assert_eq!(payloads.iter().map(|payload| payload.len()).sum::<usize>(), 4000 * 512);
        assert!(payloads.iter().all(|payload| payload.iter().all(|&byte| byte == 0)));
        assert!(Blocks::hole(0, 512).is_none());
        assert!(Blocks::hole(1 << 60, 4096).is_none(), "longer than any disk");
    }

    #[test]
    fn a_hole_differs_from_the_first_byte_that_is_not_zero() {
        let bytes = |at: usize| {
            let mut bytes = [0; 1024];
            bytes[at] = 1;
            Blocks::new(Pool::new().copy_of(&bytes), 512).unwrap()
        };
        let hole = Blocks::hole(2, 512).unwrap();
        assert_eq!(hole.first_difference(&bytes(600)), Some(600));
        assert_eq!(bytes(1023).first_difference(&hole), Some(1023));
        assert_eq!(hole.first_difference(&hole.clone()), None);
        assert_eq!(
            hole.first_difference(&Blocks::new(bytes(0).slice(1, 1).into_payloads().next().unwrap(), 512).unwrap()),
            None
        );
    }

    #[test]
    fn bits_are_united_across_the_borders_of_parts() {
        let blocks = |bytes: [u8; 3]| {
            let payload = Pool::new().copy_of(&bytes.map(|byte| [byte; 512]).concat());
            Blocks::new(payload, 512).unwrap()
        };
        let (mine, theirs) = (blocks([0x0F, 0x00, 0xA5]), blocks([0xF0, 0x11, 0x5A]));
        let united = mine.or(&[theirs.slice(0, 1), theirs.slice(1, 2)]);
        assert_eq!(united, blocks([0xFF, 0x11, 0xFF]));
        assert_eq!(mine, blocks([0x0F, 0x00, 0xA5]), "what others hold of it has not changed");
        let hole = Blocks::hole(3, 512).unwrap();
        assert_eq!(mine.or(&[hole.slice(0, 2), theirs.slice(2, 1)]), blocks([0x0F, 0x00, 0xFF]));
        assert_eq!(hole.or(std::slice::from_ref(&theirs)), theirs);
    }
}
