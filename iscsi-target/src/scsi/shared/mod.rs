//! What both heads go by beside the blocks, and the disk keeps: one state for one logical unit, whichever head.
//!
//! * [`state`]: what is in it, and how it changes.
//! * [`document`]: the state as bytes, for the other head and for the disk.
//! * [`relay`]: commands about it that reach the head which does not own the unit.

pub mod document;
pub mod relay;
pub mod state;
