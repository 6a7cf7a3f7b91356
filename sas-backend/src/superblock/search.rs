//! Where a superblock is that is not where it should be: the disk has another size than when it was initialised.
//!
//! Only for a better message: such a disk is not used.

use super::region::ROUNDING_BYTES;
use super::{SUPERBLOCK_BYTES, Superblock};
use crate::buffer::Block;
use crate::sync::SyncIo;

/// How far from the end to look.
const REACH: u64 = 1024 * ROUNDING_BYTES;

/// A superblock that begins at some whole MiB near the end of the disk.
#[must_use]
pub fn find(io: &SyncIo) -> Option<Superblock> {
    let end = io.geometry().size_bytes;
    let first = end.saturating_sub(REACH).next_multiple_of(ROUNDING_BYTES);
    let last = end.saturating_sub(SUPERBLOCK_BYTES as u64);
    let step = usize::try_from(ROUNDING_BYTES).unwrap_or(usize::MAX);
    let places: Vec<u64> = (first..=last).step_by(step).collect();
    places.into_iter().rev().find_map(|place| {
        let mut block = Block::zeroed();
        io.read_block(place, &mut block).ok()?;
        Superblock::parse(&block).ok()
    })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions as FileOptions;

    use super::super::HeadId;
    use super::*;
    use crate::init::{Existing, NewDisk, initialise};
    use crate::probe::{OpenOptions, open_disk};
    use crate::testing::Scratch;

    #[test]
    fn a_superblock_is_found_when_the_disk_has_another_size() {
        let scratch = Scratch::new();
        for now in [40 << 20, 30 << 20] {
            let image = scratch.image("disk", 32 << 20);
            let new = NewDisk {
                iqn: "iqn.2026-11.com.example:pair1".to_owned(),
                lun_name: "db".to_owned(),
                block_bytes: None,
            };
            initialise(&image, &new, Existing::Wipe).unwrap();
            FileOptions::new().write(true).open(&image).unwrap().set_len(now).unwrap();
            let options = OpenOptions { head: HeadId::A, shared: false, block_bytes: None };
            let disk = open_disk(&image, options).unwrap();
            assert_eq!(find(&disk.sync).map(|found| found.identity.device_bytes), Some(32 << 20), "{now} bytes now");
        }
    }
}
