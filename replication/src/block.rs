//! Extents of blocks, payloads as the cores see them, and time.

use sas_backend::buffer::Payload;

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
    /// All bits that are set here or in `parts`, which are as many blocks one after the other.
    #[must_use]
    fn or(&self, parts: &[Self]) -> Self;
}

/// A payload of a whole number of blocks; what production runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    payload: Payload,
    block_bytes: u32,
}

impl Blocks {
    /// Wraps `payload`, or nothing if it is empty or not a whole number of blocks.
    #[must_use]
    pub fn new(payload: Payload, block_bytes: u32) -> Option<Self> {
        let block = usize::try_from(block_bytes).ok()?;
        (!payload.is_empty() && payload.len().is_multiple_of(block)).then_some(Self { payload, block_bytes })
    }

    /// The bytes.
    #[must_use]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The bytes, given up.
    #[must_use]
    pub fn into_payload(self) -> Payload {
        self.payload
    }
}

impl Data for Blocks {
    fn blocks(&self) -> u64 {
        self.payload.len() as u64 / u64::from(self.block_bytes)
    }

    fn slice(&self, first: u64, blocks: u64) -> Self {
        let bytes = |count: u64| {
            usize::try_from(count * u64::from(self.block_bytes)).expect("a part of a payload is no longer than it")
        };
        Self { payload: self.payload.slice(bytes(first)..bytes(first + blocks)), block_bytes: self.block_bytes }
    }

    fn first_difference(&self, other: &Self) -> Option<u64> {
        if self.payload[..] == other.payload[..] {
            return None;
        }
        self.payload.iter().zip(&other.payload[..]).position(|(mine, theirs)| mine != theirs).map(|at| at as u64)
    }

    fn or(&self, parts: &[Self]) -> Self {
        let mut united = self.payload.pool().take(self.payload.len());
        united.copy_from_slice(&self.payload);
        let theirs = parts.iter().flat_map(|part| part.payload.iter());
        united.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine |= theirs);
        Self { payload: united.freeze(), block_bytes: self.block_bytes }
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
        let payload = sas_backend::buffer::Pool::new().copy_of(&[1, 2, 3, 4].map(|n| [n; 512]).concat());
        assert!(Blocks::new(payload.slice(0..513), 512).is_none());
        let blocks = Blocks::new(payload, 512).unwrap();
        assert_eq!(blocks.blocks(), 4);
        assert_eq!(&**blocks.slice(1, 2).payload(), &[2, 3].map(|n| [n; 512]).concat()[..]);
    }

    #[test]
    fn bits_are_united_across_the_borders_of_parts() {
        let blocks = |bytes: [u8; 3]| {
            let payload = sas_backend::buffer::Pool::new().copy_of(&bytes.map(|byte| [byte; 512]).concat());
            Blocks::new(payload, 512).unwrap()
        };
        let (mine, theirs) = (blocks([0x0F, 0x00, 0xA5]), blocks([0xF0, 0x11, 0x5A]));
        let united = mine.or(&[theirs.slice(0, 1), theirs.slice(1, 2)]);
        assert_eq!(united, blocks([0xFF, 0x11, 0xFF]));
        assert_eq!(mine, blocks([0x0F, 0x00, 0xA5]), "what others hold of it has not changed");
    }
}
