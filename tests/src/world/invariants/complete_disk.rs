//! Everything to the disk first, then the superblock that no longer counts on anybody's memory.

use replication::head::Ownership;

use crate::world::disk::media::Media;
use crate::world::oracle::Oracle;

/// `ownership` is on the disk by now.
pub(in crate::world) fn disk_is_complete(ownership: &Ownership, media: &Media, oracle: &Oracle) -> Result<(), String> {
    let solo = ownership.mirror.is_none() && !ownership.draining;
    let clean = ownership.mirror.is_some() && !ownership.dirty;
    for lba in oracle.written().filter(|_| solo || clean) {
        let legal = if clean {
            // That is said to outlive both heads: it has to be flushed.
            media.possible(lba).all(|mark| oracle.is_legal(lba, mark))
        } else {
            oracle.is_legal(lba, media.mark(lba))
        };
        if !legal {
            let (has, floor) = (media.mark(lba), oracle.floor(lba));
            return Err(format!("block {lba}: the disk has {has} and the superblock calls it complete, {floor:?}"));
        }
    }
    Ok(())
}
