//! What blocks hold in the simulator.

use replication::Data;

/// Contents of blocks: the number of the write that they come from, [`ZEROES`] where that was none or made a hole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Marks {
    /// One for each block.
    Written(Vec<u64>),
    /// So many blocks.
    Hole(u64),
}

/// What a block has that nobody has written, or that is a hole.
pub(super) const ZEROES: u64 = 0;

impl Marks {
    pub(super) fn to_vec(&self) -> Vec<u64> {
        match self {
            Self::Written(marks) => marks.clone(),
            Self::Hole(blocks) => vec![ZEROES; super::index(*blocks)],
        }
    }
}

impl Data for Marks {
    fn blocks(&self) -> u64 {
        match self {
            Self::Written(marks) => marks.len() as u64,
            Self::Hole(blocks) => *blocks,
        }
    }
    fn slice(&self, first: u64, blocks: u64) -> Self {
        match self {
            Self::Written(marks) => Self::Written(marks[super::index(first)..super::index(first + blocks)].to_vec()),
            Self::Hole(_) => Self::Hole(blocks),
        }
    }
    fn first_difference(&self, other: &Self) -> Option<u64> {
        let (mine, theirs) = (self.to_vec(), other.to_vec());
        mine.iter().zip(&theirs).position(|(mine, theirs)| mine != theirs).map(|at| at as u64 * 512)
    }
    fn is_hole(&self) -> bool {
        matches!(self, Self::Hole(_))
    }
    fn or(&self, parts: &[Self]) -> Self {
        let theirs = parts.iter().flat_map(Self::to_vec);
        Self::Written(self.to_vec().into_iter().zip(theirs).map(|(mine, theirs)| mine | theirs).collect())
    }
}
