//! What must always hold, one rule a file. The world asks each at the moments at which it can be broken; a rule answers
//! with what is wrong, in words.

mod acknowledged;
mod agreement;
mod complete_disk;
mod disk_commands;
mod drained;
mod epochs;
mod loss;
mod one_server;
mod progress;
mod read_once;

pub(super) use one_server::OneServer;

/// The rules that remember something.
#[derive(Default)]
pub(super) struct Invariants {
    pub(super) one_server: OneServer,
}

pub(super) use acknowledged::acknowledged_is_read;
pub(super) use agreement::{judged_by_all_that_was_acknowledged, shows_the_largest_size, unit_grows};
pub(super) use complete_disk::disk_is_complete;
pub(super) use disk_commands::nothing_overlaps;
pub(super) use drained::drained_is_durable;
pub(super) use epochs::epochs_grow;
pub(super) use loss::loss_has_a_reason;
pub(super) use progress::progress_is_made;
pub(super) use read_once::read_is_not_unread;
