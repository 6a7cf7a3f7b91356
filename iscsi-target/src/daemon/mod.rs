//! The only composition root: what listens, what is configured, how an operator speaks to it.
//!
//! * [`config`]: the file both heads share, checked as a whole before anything starts.

pub mod config;
