//! The shared disk as one head sees it.
//!
//! * [`buffer`]: aligned, reference-counted payloads that travel socket -> RAM -> peer -> disk without a copy.
//! * [`disk`]: one trait for I/O: submit, later a completion; nothing blocks.

pub mod buffer;
pub mod disk;
pub mod superblock;
pub use superblock::{Epoch, HeadId, Incarnation};
