//! The only composition root: what listens, what is configured, how an operator speaks to it.
//!
//! * [`config`]: the file both heads share, checked as a whole before anything starts.
//! * [`status`]: what `targetctl status --json` prints; a stable interface.
//! * [`control`]: the control socket: one JSON object per line, each way.

pub mod config;
pub mod control;
pub mod status;
