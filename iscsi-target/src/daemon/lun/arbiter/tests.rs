use std::path::{Path, PathBuf};

use replication::head::Capacity;
use sas_backend::buffer::Block;
use sas_backend::init::{Existing, NewDisk, initialise};
use sas_backend::probe::{OpenDisk, OpenOptions, open_disk};
use sas_backend::superblock::Record;
use sas_backend::superblock::locate::{Known, locate};
use sas_backend::superblock::pick::pick;
use sas_backend::superblock::region::{Region, SuperblockCopy};

use super::*;

const OURS: &str = "iqn.2026-11.com.example:ours";

fn image(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("twinhead-arbiter-{}-{name}", std::process::id()));
    std::fs::File::create(&path).unwrap().set_len(16 << 20).unwrap();
    path
}

fn remove(image: &Path) {
    std::fs::remove_file(image).unwrap();
    std::fs::remove_file(format!("{}.reservations", image.display())).unwrap();
}

fn open(image: &Path, head: HeadId) -> OpenDisk {
    let key = key_of(head, Epoch(0), Incarnation::new(7).unwrap(), 0);
    open_disk(image, OpenOptions { head, shared: true, block_bytes: None, key }).unwrap()
}

fn arbiter(disk: OpenDisk) -> Arbiter {
    let region = Region::of(disk.geometry.size_bytes).unwrap();
    let incarnation = Incarnation::new(7).unwrap();
    Arbiter::new(HeadId::A, incarnation, disk.sync, Place::new(region), disk.reservations, OURS.to_owned(), 0)
}

fn initialised(name: &str, iqn: &str) -> PathBuf {
    let path = image(name);
    let new = NewDisk { iqn: iqn.to_owned(), lun_name: "db".to_owned(), block_bytes: None };
    initialise(&path, &new, Existing::OnlyIfBlank).unwrap();
    path
}

#[test]
fn a_disk_that_nobody_initialised_is_not_even_registered_with() {
    let path = image("blank");
    let error = arbiter(open(&path, HeadId::A)).look().unwrap_err();
    assert!(error.to_string().contains("targetctl disk init"), "{error}");
    assert!(open(&path, HeadId::B).reservations.keys().unwrap().is_empty());
    remove(&path);
}

#[test]
fn a_registration_with_the_disk_of_another_pair_is_taken_back() {
    let path = initialised("other", "iqn.2026-11.com.example:theirs");
    let mut other = open(&path, HeadId::B);
    let key = Key::new(HeadId::B, Epoch(1), Incarnation::new(9).unwrap());
    other.reservations.register(key).unwrap();
    other.reservations.reserve().unwrap();
    let error = arbiter(open(&path, HeadId::A)).look().unwrap_err();
    assert!(error.to_string().contains("belongs to the target iqn.2026-11.com.example:theirs"), "{error}");
    assert_eq!(other.reservations.keys().unwrap(), [key]);
    drop(other);
    remove(&path);
}

#[test]
fn what_is_written_is_what_is_read() {
    let path = initialised("own", OURS);
    let mut arbiter = arbiter(open(&path, HeadId::A));
    arbiter.look().unwrap();
    arbiter.register(Epoch(0)).unwrap();
    arbiter.fence(Epoch(1)).unwrap();
    let next = Ownership {
        epoch: Epoch(1),
        owner: Some(HeadId::A),
        owner_incarnation: Incarnation::new(7),
        mirror: Incarnation::new(9),
        draining: false,
        dirty: true,
        losses: 2,
        capacity: Capacity::of((12 << 20) / 512),
        record: Record { kept: 5000, bytes: vec![7; 5000].into() },
    };
    arbiter.write(&next).unwrap();
    assert_eq!(arbiter.read().unwrap(), next);
    arbiter.keeper.rename("mail".to_owned());
    arbiter.write(&next).unwrap();
    assert_eq!(arbiter.look().unwrap().identity.lun_name, "mail", "renamed with the next superblock");
    assert_eq!(arbiter.read().unwrap(), next);
    drop(arbiter);
    remove(&path);
}

/// The place of the record that the newest superblock speaks of, and of the one before.
fn records_of(arbiter: &Arbiter) -> [u64; 2] {
    let region = arbiter.place.region();
    let mut copies = [Block::zeroed(), Block::zeroed()];
    for (copy, block) in SuperblockCopy::BOTH.into_iter().zip(&mut copies) {
        arbiter.io.read_block(region.superblock(copy), block).unwrap();
    }
    let (_, next) = pick(&copies[0], &copies[1]).into_valid().unwrap();
    [next.other(), next].map(|copy| region.record(copy))
}

#[test]
fn a_record_counts_when_the_superblock_that_speaks_of_it_does() {
    let path = initialised("record", OURS);
    let mut owner = owner(&path);
    let with = |byte: u8| Ownership {
        record: Record { kept: 0, bytes: vec![byte; 9000].into() },
        ..owned(1, Capacity::of(blocks(12 * MIB)))
    };
    for byte in 1..4 {
        owner.write(&with(byte)).unwrap();
        assert_eq!(owner.read().unwrap(), with(byte));
    }
    let [newest, older] = records_of(&owner);
    let junk = Block::from(&[9; 4096]);
    // The power fails while the next one is being written.
    owner.io.write_block(older, &junk, true).unwrap();
    assert_eq!(owner.read().unwrap(), with(3));
    owner.io.write_block(newest + 4096, &junk, true).unwrap();
    assert!(owner.read().unwrap_err().to_string().contains("reservations of clients"), "damaged, and not silently");
    owner.write(&owned(1, Capacity::of(blocks(12 * MIB)))).unwrap();
    assert_eq!(owner.read().unwrap().record, Record::default());
    drop(owner);
    remove(&path);
}

const MIB: u64 = 1 << 20;

fn blocks(bytes: u64) -> u64 {
    bytes / 512
}

fn owned(epoch: u64, capacity: Capacity) -> Ownership {
    Ownership {
        epoch: Epoch(epoch),
        owner: Some(HeadId::A),
        owner_incarnation: Incarnation::new(7),
        mirror: None,
        draining: false,
        dirty: false,
        losses: 0,
        capacity,
        record: Record::default(),
    }
}

fn resize(image: &Path, bytes: u64) {
    std::fs::File::options().write(true).open(image).unwrap().set_len(bytes).unwrap();
}

fn bytes_at(image: &Path, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    std::os::unix::fs::FileExt::read_exact_at(&std::fs::File::open(image).unwrap(), &mut bytes, offset).unwrap();
    bytes
}

/// The owner of a disk of 16 MiB.
fn owner(path: &Path) -> Arbiter {
    let mut arbiter = arbiter(open(path, HeadId::A));
    arbiter.look().unwrap();
    arbiter.register(Epoch(0)).unwrap();
    arbiter.fence(Epoch(1)).unwrap();
    arbiter.write(&owned(1, Capacity::of(blocks(12 * MIB)))).unwrap();
    arbiter
}

#[test]
fn the_superblock_moves_with_the_end_of_the_disk() {
    let path = initialised("grows", OURS);
    let mut owner = owner(&path);
    assert_eq!(owner.keeper.measure(&owner.io), Ok(blocks(12 * MIB)));
    resize(&path, 19 * MIB);
    assert_eq!(owner.keeper.measure(&owner.io), Ok(blocks(12 * MIB)), "too little");
    resize(&path, 64 * MIB);
    assert_eq!(owner.keeper.measure(&owner.io), Ok(blocks(60 * MIB)));
    let record = Record { kept: 5000, bytes: vec![7; 5000].into() };
    let capacity = Capacity { blocks: blocks(12 * MIB), growing_to: Some(blocks(60 * MIB)) };
    let growing = Ownership { record, ..owned(1, capacity) };
    owner.write(&growing).unwrap();
    assert_eq!(owner.place.region().start(), 60 * MIB);
    assert_eq!(owner.read().unwrap(), growing);
    let later = Ownership { epoch: Epoch(2), ..growing };
    owner.write(&later).unwrap();
    // Wherever the disk ends by now, whoever knows the old place finds the way.
    resize(&path, 200 * MIB);
    assert_eq!(owner.keeper.measure(&owner.io), Ok(blocks(196 * MIB)));
    let known = Known { region: Region::behind(12 * MIB).ok(), uuid: None };
    let found = locate(known, 200 * MIB, |offset, block| owner.io.read_block(offset, block)).unwrap();
    let superblock = &found.superblock;
    assert_eq!((superblock.epoch, superblock.record, found.region.start()), (Epoch(2), later.record.sum(), 60 * MIB));
    assert_ne!(bytes_at(&path, 12 * MIB, 4 << 20), vec![0; 4 << 20]);
    owner.keeper.clear_old_place(&owner.io).unwrap();
    assert_eq!(bytes_at(&path, 12 * MIB, 4 << 20), vec![0; 4 << 20]);
    let grown = owned(2, Capacity::of(blocks(60 * MIB)));
    owner.write(&grown).unwrap();
    assert_eq!(bytes_at(&path, 12 * MIB, 4 << 20), vec![0; 4 << 20], "and stays as it is");
    drop(owner);
    let mut restarted = arbiter(open(&path, HeadId::A));
    let superblock = restarted.look().unwrap();
    assert_eq!((superblock.visible_bytes(), restarted.place.region().start()), (60 * MIB, 60 * MIB));
    drop(restarted);
    remove(&path);
}

#[test]
fn a_heartbeat_under_way_is_waited_for() {
    let path = initialised("heartbeat", OURS);
    let mut owner = owner(&path);
    resize(&path, 64 * MIB);
    let place = owner.place.clone();
    let beating = place.hold();
    let growing = owned(1, Capacity { blocks: blocks(12 * MIB), growing_to: Some(blocks(60 * MIB)) });
    let (told, done) = mpsc::channel();
    let moving = std::thread::spawn(move || {
        owner.write(&growing).unwrap();
        told.send(()).unwrap();
        owner
    });
    let early = done.recv_timeout(std::time::Duration::from_millis(50));
    assert!(early.is_err() && beating.start() == 12 * MIB, "it moved under a heartbeat");
    drop(beating);
    done.recv().unwrap();
    assert_eq!(place.region().start(), 60 * MIB);
    drop(moving.join().unwrap());
    remove(&path);
}

#[test]
fn a_disk_that_has_grown_while_nobody_looked_is_used_as_it_was() {
    let path = initialised("restart", OURS);
    resize(&path, 64 * MIB);
    let mut arbiter = arbiter(open(&path, HeadId::A));
    let superblock = arbiter.look().unwrap();
    assert_eq!((superblock.visible_bytes(), arbiter.place.region().start()), (12 * MIB, 12 * MIB));
    drop(arbiter);
    remove(&path);
}
