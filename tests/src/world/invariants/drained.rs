//! When a drain is answered and nobody has asked for anything since, the disk itself has everything, and for good.

use crate::world::disk::media::Media;
use crate::world::oracle::Oracle;

/// A drain of the quiet unit has ended.
pub(in crate::world) fn drained_is_durable(media: &Media, oracle: &Oracle) -> Result<(), String> {
    match oracle.written().find(|lba| !media.possible(*lba).all(|mark| oracle.is_legal(*lba, mark))) {
        Some(lba) => Err(format!("block {lba} is drained, and the disk may have {:?}", media.mark(lba))),
        None => Ok(()),
    }
}
