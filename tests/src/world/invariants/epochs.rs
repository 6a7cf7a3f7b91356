//! The superblock's epoch only grows, and each epoch has one owner.

use replication::head::Ownership;

/// `new` is written over `old`.
pub(in crate::world) fn epochs_grow(old: &Ownership, new: &Ownership) -> Result<(), String> {
    let grows = new.epoch > old.epoch || (new.epoch == old.epoch && new.owner == old.owner);
    if grows { Ok(()) } else { Err(format!("the superblock goes back: {old:?} -> {new:?}")) }
}
