//! A small multipath initiator on the same PDUs, for `targetctl drill` and the tests. It behaves as Linux does with
//! open-iscsi and dm-multipath that queues while no path works.
//!
//! Cores, in the order in which a command meets them:
//! * [`command`]: CDBs, answers, sense;
//! * [`multipath`]: which path a command takes, and what an answer means for it and for the path;
//! * [`port_groups`]: what a target tells about its port groups;
//! * [`session`]: one connection: login, tags, numbers, data transfer, keepalive.
//!
//! Shells: [`path`] drives a session over TCP, [`engine`] drives the paths. [`drill`] is the workload on top, and its
//! verdict.

pub mod command;
pub mod drill;
pub mod engine;
pub mod multipath;
pub mod path;
pub mod port_groups;
pub mod session;
