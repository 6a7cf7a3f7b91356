//! What the disk does not have yet: the dirty extents of one logical unit, in RAM.
//!
//! * [`dirty`]: the index: which blocks, in which version, in which state; cut and replaced by newer writes.
//! * [`limit`]: how much may be dirty, from the measured destage rate.

pub mod dirty;
pub mod limit;

pub use dirty::{DirtyMap, Piece, PieceState, Run, Version};
pub use limit::DirtyLimit;
