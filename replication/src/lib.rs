//! What makes two heads one: why an acknowledged write outlives either of them.
//!
//! Read in the order in which a WRITE travels:
//!
//! * [`block`]: extents, and what the cores ask of a payload.
//! * [`cache`]: what is dirty in RAM, which version of it, what to write to the disk next, and how much may wait.
//! * [`message`]: what the heads tell each other about one logical unit; [`wire`]: the same as bytes.
//! * [`link`]: the connection between the heads: who is there, who still lives, and one link per unit over it.
//! * [`head`]: the failover state machine of one logical unit on one head: roles, claims, lease, join, handover.
//! * [`keeper`]: the superblock on the disk: which bytes of it go where, and in which order.
//!
//! Everything here is pure: `(now, event) -> actions`. Sockets, disks, clocks and random numbers belong to the daemon.

pub mod block;
pub mod cache;
pub mod head;
pub mod keeper;
pub mod link;
pub mod message;
pub mod wire;

pub use block::{Data, Extent, Millis, Stretch};
