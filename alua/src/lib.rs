//! Asymmetric logical unit access (SPC-4 5.15): states and legal moves, target port groups and ports, what each state
//! lets through, and the bytes of REPORT and SET TARGET PORT GROUPS. Pure; knows no other crate.
//!
//! A pair of heads presents two target port groups per logical unit, one per head; a group's number belongs to the head
//! and never to its role.

pub mod access;
pub mod groups;
pub mod rtpg;
pub mod state;
pub mod stpg;

pub use access::{CommandClass, Gate, NotReady};
pub use groups::{GroupId, PortGroups, StatusCode, TargetPort};
pub use state::AccessState;
