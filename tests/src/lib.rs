//! Everything that proves the rest.
//!
//! * [`world`]: both heads of one logical unit, a disk, a link, clients and faults on a virtual clock; one seed decides
//!   everything.

pub mod model;
pub mod world;
