//! What was acknowledged is read back, whichever head serves.

use crate::world::oracle::Floor;

/// A read that began when `floor` held has found the contents of write `found`.
pub(in crate::world) fn acknowledged_is_read(lba: u64, floor: Floor, found: u64) -> Result<(), String> {
    if found < floor.acknowledged {
        return Err(format!("block {lba}: read {found} after {} was acknowledged", floor.acknowledged));
    }
    Ok(())
}
