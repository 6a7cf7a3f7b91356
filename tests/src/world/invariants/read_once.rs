//! What was read once is never unread, acknowledged or not.

use crate::world::oracle::Floor;

/// A read that began when `floor` held has found the contents of write `found`.
pub(in crate::world) fn read_is_not_unread(lba: u64, floor: Floor, found: u64) -> Result<(), String> {
    if found < floor.read {
        return Err(format!("block {lba}: read {found} after {} was read", floor.read));
    }
    Ok(())
}
