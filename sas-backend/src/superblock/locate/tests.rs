use std::collections::BTreeMap;

use super::super::identity::example;
use super::super::region::REGION_BYTES;
use super::super::{Epoch, Identity};
use super::*;

const MIB: u64 = 1 << 20;
const OLD: u64 = 60 * MIB;
const NEW: u64 = 100 * MIB;

/// Blocks by offset; everything else is zero.
#[derive(Default)]
struct Image(BTreeMap<u64, [u8; SUPERBLOCK_BYTES]>);

impl Image {
    fn put(&mut self, data_bytes: u64, copy: SuperblockCopy, superblock: &Superblock) {
        self.0.insert(Region::behind(data_bytes).unwrap().superblock(copy), superblock.emit());
    }

    fn locate(&self, known: Known, device_bytes: u64) -> Result<Found, LocateError> {
        locate(known, device_bytes, |offset, block| {
            assert!(offset + 4096 <= device_bytes, "beyond the end");
            *block = self.0.get(&offset).map_or_else(Block::zeroed, Block::from);
            Ok(())
        })
    }

    /// Of a disk as large as the new place needs, by a head that knew the old one.
    fn now(&self) -> (u64, u64) {
        let found = self.locate(knows(OLD), NEW + REGION_BYTES).unwrap();
        (found.superblock.epoch.0, found.region.start())
    }
}

fn knows(data_bytes: u64) -> Known {
    Known { region: Region::behind(data_bytes).ok(), uuid: Some(example().uuid) }
}

fn record(epoch: u64, sequence: u64, growing_from: Option<u64>, data_bytes: u64) -> Superblock {
    let identity = Identity { data_bytes, device_bytes: data_bytes + REGION_BYTES, ..example() };
    Superblock { epoch: Epoch(epoch), sequence, growing_from, ..Superblock::new(identity) }
}

use SuperblockCopy::{First, Second};

/// A disk on which the superblock is about to move: epoch 5, sequences 8 and 9.
fn before() -> Image {
    let mut image = Image::default();
    image.put(OLD, Second, &record(5, 8, None, OLD));
    image.put(OLD, First, &record(5, 9, None, OLD));
    image
}

#[test]
fn a_disk_that_has_grown_is_used_as_it_was() {
    for known in [knows(OLD), Known::default()] {
        for device_bytes in [OLD + REGION_BYTES, NEW + REGION_BYTES, 900 * MIB] {
            let found = before().locate(known, device_bytes).unwrap();
            assert_eq!((found.superblock.sequence, found.region.start(), found.next), (9, OLD, Second));
        }
    }
}

#[test]
fn a_disk_that_has_grown_much_is_found_if_its_size_was_round() {
    let mut image = Image::default();
    let size = 3 << 30;
    image.put(size - REGION_BYTES, First, &record(1, 1, None, size - REGION_BYTES));
    let found = image.locate(Known::default(), (1 << 40) + 512).unwrap();
    assert_eq!(found.region.end(), size);
}

#[test]
fn step_by_step_the_newest_counts() {
    let mut image = before();
    let moved = record(5, 10, Some(OLD), NEW);
    image.put(OLD, Second, &moved);
    let found = image.locate(knows(OLD), NEW + REGION_BYTES).unwrap();
    assert_eq!((&found.superblock, found.region.start(), found.next), (&moved, NEW, First), "it is about to move");
    image.put(NEW, First, &moved);
    let found = image.locate(knows(OLD), NEW + REGION_BYTES).unwrap();
    assert_eq!((&found.superblock, found.region.start(), found.next), (&moved, NEW, Second), "it has moved");
    image.put(OLD, First, &record(6, 11, Some(OLD), NEW));
    assert_eq!(image.now(), (6, NEW), "the old place is written first");
    image.put(NEW, Second, &record(6, 11, Some(OLD), NEW));
    assert_eq!(image.now(), (6, NEW));
    image.0.retain(|offset, _| *offset >= NEW);
    assert_eq!(image.now(), (6, NEW), "the old place is cleared");
    image.put(NEW, First, &record(6, 12, None, NEW));
    assert_eq!(image.now(), (6, NEW));
}

#[test]
fn a_move_that_did_not_happen_is_forgotten() {
    let mut image = before();
    image.0.insert(Region::behind(OLD).unwrap().superblock(Second), [7; SUPERBLOCK_BYTES]);
    assert_eq!(image.now(), (5, OLD), "torn");
}

#[test]
fn the_old_place_leads_to_the_new_one_wherever_the_disk_ends_by_now() {
    let mut image = before();
    let moved = record(5, 10, Some(OLD), NEW);
    image.put(NEW, First, &moved);
    image.put(OLD, Second, &moved);
    let found = image.locate(knows(OLD), 900 * MIB).unwrap();
    assert_eq!((found.region.start(), found.next), (NEW, Second), "the next one goes by what is at the new place");
    image.put(NEW, Second, &record(6, 11, Some(OLD), NEW));
    let found = image.locate(knows(OLD), 900 * MIB).unwrap();
    assert_eq!((found.superblock.epoch, found.region.start(), found.next), (Epoch(6), NEW, First));
    let error = image.locate(knows(OLD), OLD + REGION_BYTES).unwrap_err();
    let sizes = LocateError::PathTooSmall { is_bytes: OLD + REGION_BYTES, needed_bytes: NEW + REGION_BYTES };
    assert_eq!(error, sizes, "a path that does not show the new place is of no use");
}

#[test]
fn what_clients_write_where_it_was_does_not_count() {
    let mut image = before();
    image.put(NEW, First, &record(6, 12, None, NEW));
    image.put(OLD, First, &record(99, 99, None, OLD));
    assert_eq!(image.now(), (6, NEW));
    assert_eq!(image.locate(Known::default(), NEW + REGION_BYTES).unwrap().superblock.epoch, Epoch(6));
}

#[test]
fn of_another_lun_or_from_another_place_is_not_believed() {
    let mut other = record(50, 50, None, NEW);
    other.identity.uuid[0] ^= 1;
    let mut image = before();
    image.put(NEW, First, &other);
    assert_eq!(image.now(), (5, OLD), "left over from an earlier life of the disk");
    let mut image = before();
    image.put(NEW, First, &record(50, 50, None, 200 * MIB));
    assert_eq!(image.now(), (5, OLD), "a copy of another disk's end");
}

#[test]
fn what_cannot_be_read_may_have_been_the_newest() {
    let image = before();
    let read = |offset: u64, block: &mut Block| {
        *block = image.0.get(&offset).map_or_else(Block::zeroed, Block::from);
        if offset == NEW { Err(DiskError::Medium) } else { Ok(()) }
    };
    assert_eq!(locate(knows(OLD), NEW + REGION_BYTES, read), Err(LocateError::Disk(DiskError::Medium)));
}

#[test]
fn a_disk_without_one_is_named() {
    let says = |image: &Image, words: &str| {
        let error = image.locate(Known::default(), NEW + REGION_BYTES).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    says(&Image::default(), "targetctl disk init");
    says(&Image(BTreeMap::from([(NEW, [7; SUPERBLOCK_BYTES])])), "holds something else");
    let mut newer = record(1, 1, None, NEW).emit();
    newer[8] = 2;
    newer[12..16].fill(0);
    let crc = crc32c::crc32c(&newer);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    says(&Image(BTreeMap::from([(NEW, newer)])), "update this head");
}
