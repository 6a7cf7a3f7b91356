//! The only composition root: what listens, what is configured, how an operator speaks to it.
//!
//! Everything on the data path runs on one thread; what blocks or must not be delayed has threads of its own beside
//! it, and sends events.
//!
//! * [`config`]: the file both heads share, checked as a whole before anything starts.
//! * `process`, `serve`: one head from its start to its end.
//! * `access`: who may log in, and the secrets that prove it.
//! * `admission`: how many may be here at a time.
//! * `connection`: one iSCSI connection; `registry`: all of them, and all units.
//! * `reload`: units that come, go and change meanwhile.
//! * `lun`: one unit: gate, failover state machine, disk.
//! * `link`: the connection to the other head.
//! * `portal`: addresses that move between the heads, and whether clients can reach this one.
//! * `batch`: output leaves at the end of a batch.
//! * [`status`], `report`: what `targetctl status --json` prints, a stable interface, and where it comes from.
//! * [`control`]: the control socket: one JSON object per line, each way.

mod access;
mod admission;
mod batch;
mod clock;
pub mod config;
mod connection;
pub mod control;
mod link;
mod lun;
mod portal;
mod process;
mod registry;
mod reload;
mod report;
mod serve;
pub mod status;

pub use access::Access;
pub use portal::misplaced;
pub use process::main_of_head;
pub use serve::serve;
