//! A disk may reorder what is in flight, so a head writes nothing that overlaps what it has in flight. It may read what it
//! is writing: of that its memory has all, and what the disk says does not matter.

use replication::head::DiskCommand;
use sas_backend::HeadId;

use crate::world::Marks;
use crate::world::disk::commands::{Command, touches};

/// `of` gives `command` to the disk while `others` are in flight.
pub(in crate::world) fn nothing_overlaps<'a>(
    of: HeadId,
    command: &DiskCommand<Marks>,
    others: impl Iterator<Item = &'a Command>,
) -> Result<(), String> {
    let Some((extent, true)) = touches(command) else { return Ok(()) };
    for other in others {
        if touches(&other.command).is_some_and(|(at, _)| at.overlaps(extent)) {
            return Err(format!("{of} gives the disk {command:?} while {:?} is under way", other.command));
        }
    }
    Ok(())
}
