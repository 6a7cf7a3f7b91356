//! The shared disk as one head sees it.
//!
//! * [`buffer`]: aligned, reference-counted payloads that travel socket -> RAM -> peer -> disk without a copy.
//! * [`disk`]: one trait for I/O: submit, later a completion; nothing blocks.
//! * [`superblock`]: whose disk it is, who may serve it, who lives.

pub mod buffer;
pub mod disk;
pub mod superblock;

pub use superblock::{Epoch, HeadId, Identity, Incarnation, Superblock};
