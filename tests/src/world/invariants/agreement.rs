//! Both heads report the same unit at every moment in which both answer: its size, and what clients have reserved, for
//! which the simulator has numbers that clients raise.

use sas_backend::HeadId;

use crate::world::daemon::Numbers;

/// What was done was let in by a daemon that knew all that was acknowledged before it was asked for.
pub(in crate::world) fn judged_by_all_that_was_acknowledged(
    knew: Numbers,
    must_know: Numbers,
    what: impl FnOnce() -> String,
) -> Result<(), String> {
    if knew.iter().zip(&must_know).all(|(knew, must)| knew >= must) {
        return Ok(());
    }
    Err(format!("{} was let in by a record of {knew:?} after {must_know:?} was acknowledged", what()))
}

/// Whoever serves shows at least the largest size that whoever served has shown.
pub(in crate::world) fn shows_the_largest_size(of: HeadId, blocks: u64, seen: u64) -> Result<(), String> {
    if blocks < seen { Err(format!("head {of} serves {blocks} blocks, and clients have seen {seen}")) } else { Ok(()) }
}

/// A unit only grows.
pub(in crate::world) fn unit_grows(of: HeadId, before: u64, blocks: u64) -> Result<(), String> {
    if blocks < before {
        return Err(format!("the unit shrinks at head {of}: from {before} to {blocks} blocks"));
    }
    Ok(())
}
