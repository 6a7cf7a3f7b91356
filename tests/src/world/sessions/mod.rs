//! Clients that are hosts: multipath initiators that speak iSCSI to the session and SCSI cores of both heads, over
//! simulated TCP connections.
//!
//! ```text
//!  want -> multipath core -> session core -> wire -> session core -> logical unit -> head
//!          (initiator)       (initiator)             (target)        (gate)
//! ```
//!
//! * [`host`]: one initiator with a path to each head.
//! * [`wire`]: the connections: delays, cuts in one direction, ends that are not heard of.
//! * [`portal`]: a head's connections: logins, aborts, what they leave behind.
//! * [`mod@unit`]: commands on their way through the unit, as the daemon takes them through.
//! * [`translate`]: wants as commands, marks as bytes.

pub(super) mod host;
pub(super) mod portal;
pub(super) mod translate;
pub(super) mod unit;
pub(super) mod wire;

/// The target's name.
const TARGET: &str = "iqn.2026-11.com.example:simulated";
/// Names of requests that come from hosts begin here; those of other clients are lower.
pub(super) const SESSION_OPS: u64 = 1 << 61;
