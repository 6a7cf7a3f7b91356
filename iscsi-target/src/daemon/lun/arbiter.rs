//! A thread that executes the superblock and reservation commands of one unit, one after the other.
//!
//! They block, some for as long as a process takes to die, and none of them may hold up the data path.

use std::sync::mpsc;

use replication::block::Blocks;
use replication::head::{Action, Capacity, Event, Ownership, StorageError};
use sas_backend::buffer::Block;
use sas_backend::disk::DiskError;
use sas_backend::superblock::locate::{Found, Known, LocateError, locate};
use sas_backend::superblock::pick::{check, pick};
use sas_backend::superblock::region::{REGION_BYTES, Region, SuperblockCopy};
use sas_backend::superblock::{Identity, Superblock};
use sas_backend::{Epoch, HeadId, Incarnation, Key, ReservationError, Reservations, SyncIo};

use super::place::Place;

/// How often a fence that waits for the kernel is asked for again.
const FENCE_ATTEMPTS: u32 = 3;

/// What the thread is told to do.
pub(super) enum Order {
    /// What the head decided.
    Perform(Action<Blocks>),
    /// The LUN has another name in the superblocks that this head writes from now on.
    Rename(String),
}

/// The superblock and the reservations of one disk.
pub(super) struct Arbiter {
    me: HeadId,
    incarnation: Incarnation,
    io: SyncIo,
    /// Where the superblock is; the heartbeats follow.
    place: Place,
    /// A place that was cleared by this head for a superblock that is to move there.
    prepared: Option<Region>,
    reservations: Box<dyn Reservations>,
    key: Option<Key>,
    /// How often this process has registered; for another opening of the disk it begins elsewhere.
    registrations: u64,
    /// The superblock as last seen, and where the next one goes.
    seen: Option<(Superblock, SuperblockCopy)>,
    iqn: String,
    /// `None`: as the disk has it.
    name: Option<String>,
}

impl Arbiter {
    pub(super) fn new(
        me: HeadId,
        incarnation: Incarnation,
        io: SyncIo,
        place: Place,
        reservations: Box<dyn Reservations>,
        iqn: String,
        registrations: u64,
    ) -> Self {
        Self {
            me,
            incarnation,
            io,
            place,
            prepared: None,
            reservations,
            key: None,
            registrations,
            seen: None,
            iqn,
            name: None,
        }
    }

    /// Read what the disk is: the first thing that a daemon does with it. It is not even registered with before it is
    /// known to be ours, unless a reservation of the other head keeps everybody else from reading.
    pub(super) fn look(&mut self) -> Result<Superblock, StorageError> {
        let mut found = self.read();
        if found == Err(StorageError::Fenced) {
            self.refuse_strangers()?;
            self.register(Epoch(0))?;
            found = self.read();
        }
        if found.is_err() {
            self.leave();
        }
        found?;
        self.seen.as_ref().map(|(seen, _)| seen.clone()).ok_or(StorageError::Fenced)
    }

    /// A disk that is not ours keeps no registration of ours.
    fn leave(&mut self) {
        match self.reservations.unregister() {
            Ok(()) | Err(ReservationError::Fenced) => {}
            Err(error) => {
                tracing::warn!(%error, "the registration with a disk that is not ours could not be taken back");
            }
        }
    }

    /// Execute commands until nobody can send any more. `answer` hands over what came of each.
    pub(super) fn run(mut self, commands: &mpsc::Receiver<Order>, mut answer: impl FnMut(Event<Blocks>) -> bool) {
        while let Ok(order) = commands.recv() {
            let command = match order {
                Order::Perform(action) => action,
                Order::Rename(name) => {
                    self.name = Some(name);
                    continue;
                }
            };
            let event = match command {
                Action::ReadSuperblock => Event::SuperblockRead(self.read()),
                Action::WriteSuperblock(next) => Event::SuperblockWritten(self.write(&next)),
                Action::Register { epoch } => Event::Registered(self.register(epoch)),
                Action::ChangeKey { epoch } => Event::Registered(self.change_key(epoch)),
                Action::Fence { epoch } => Event::FenceDone(self.fence(epoch)),
                Action::Measure => Event::Measured(self.measure()),
                Action::ClearOldPlace => Event::OldPlaceCleared(self.clear_old_place()),
                other => {
                    tracing::error!(?other, "not a command for the arbiter");
                    continue;
                }
            };
            if !answer(event) {
                return;
            }
        }
    }

    /// The disk may have grown, and the superblock moved, since it was read last.
    fn read(&mut self) -> Result<Ownership, StorageError> {
        let size_bytes = self.io.measure().map_err(storage_error)?;
        let known = Known {
            region: self.seen.is_some().then(|| self.place.region()),
            uuid: self.seen.as_ref().map(|(seen, _)| seen.identity.uuid),
        };
        let Found { superblock, region, next } =
            locate(known, size_bytes, |offset, block| self.io.read_block(offset, block)).map_err(locate_error)?;
        check(&superblock, &self.iqn, size_bytes).map_err(|error| StorageError::Failed(error.to_string()))?;
        if let Some((seen, _)) = &self.seen
            && (superblock.epoch, superblock.sequence) < (seen.epoch, seen.sequence)
        {
            let (then, now) = (seen.epoch, superblock.epoch);
            return Err(StorageError::Failed(format!("the superblock has gone back from epoch {then} to {now}")));
        }
        let ownership = ownership_of(&superblock);
        self.seen = Some((superblock, next));
        self.place.move_to(region);
        Ok(ownership)
    }

    /// Flush, write, flush: what was written before is durable before the superblock speaks of it. While the unit grows,
    /// it goes to its old place first, so that whoever looks there finds the way, and then to its new one.
    fn write(&mut self, next: &Ownership) -> Result<(), StorageError> {
        let Some((seen, copy)) = &self.seen else {
            return Err(StorageError::Failed("the superblock has not been read yet".to_owned()));
        };
        let block_bytes = u64::from(seen.identity.block_bytes);
        let data_bytes = next.capacity.reserved_at() * block_bytes;
        let region = region_behind(data_bytes)?;
        let moves = region != self.place.region();
        let device_bytes = if moves { region.end() } else { seen.identity.device_bytes };
        let copy = if moves { SuperblockCopy::First } else { *copy };
        let mut identity = Identity { data_bytes, device_bytes, ..seen.identity.clone() };
        if let Some(name) = &self.name {
            identity.lun_name.clone_from(name);
        }
        let superblock = Superblock {
            identity,
            sequence: seen.sequence + 1,
            flags: seen.flags,
            epoch: next.epoch,
            owner: next.owner,
            owner_incarnation: next.owner_incarnation,
            mirror: next.mirror,
            draining: next.draining,
            dirty: next.dirty,
            losses_accepted: next.losses,
            growing_from: next.capacity.growing_to.map(|_| next.capacity.blocks * block_bytes),
        };
        if moves {
            self.prepare(region)?;
        }
        self.io.flush().map_err(storage_error)?;
        let block = Block::from(&superblock.emit());
        if let Some(old) = superblock.growing_from {
            let old = region_behind(old)?;
            let copy = self.next_copy(old)?;
            self.io.write_block(old.superblock(copy), &block, true).map_err(storage_error)?;
        }
        self.io.write_block(region.superblock(copy), &block, true).map_err(storage_error)?;
        self.seen = Some((superblock, copy.other()));
        self.place.move_to(region);
        Ok(())
    }

    /// What was left behind where the superblock is to be must not be taken for one. Before anybody can know of the place,
    /// and once only: a superblock that was written there and seems to have failed may have been read.
    fn prepare(&mut self, region: Region) -> Result<(), StorageError> {
        if self.prepared == Some(region) {
            return Ok(());
        }
        let size_bytes = self.io.measure().map_err(storage_error)?;
        if region.end() > size_bytes {
            return Err(StorageError::Failed(format!(
                "the disk has {size_bytes} bytes, and {} are needed",
                region.end()
            )));
        }
        self.io.write_zeroes(region.start(), REGION_BYTES).map_err(storage_error)?;
        self.prepared = Some(region);
        Ok(())
    }

    /// Which copy at `region` the next superblock goes to.
    fn next_copy(&self, region: Region) -> Result<SuperblockCopy, StorageError> {
        let mut copies = [Block::zeroed(), Block::zeroed()];
        for (copy, block) in SuperblockCopy::BOTH.into_iter().zip(&mut copies) {
            self.io.read_block(region.superblock(copy), block).map_err(storage_error)?;
        }
        Ok(pick(&copies[0], &copies[1]).into_valid().map_or(SuperblockCopy::First, |(_, next)| next))
    }

    /// Blocks of the unit if it had all of the disk. It cannot have less than a whole region more: the superblock would
    /// move onto itself.
    fn measure(&self) -> Result<u64, StorageError> {
        let Some((seen, _)) = &self.seen else {
            return Err(StorageError::Failed("the superblock has not been read yet".to_owned()));
        };
        let size_bytes = self.io.measure().map_err(storage_error)?;
        let end = Region::of(size_bytes).map_err(|error| StorageError::Failed(error.to_string()))?;
        let now = self.place.region();
        let grown_too_little = end.start() > now.start() && end.start() < now.end();
        let data_bytes = if grown_too_little { now.start() } else { end.start() };
        Ok(data_bytes / u64::from(seen.identity.block_bytes))
    }

    /// Write zeroes where the superblock was before it moved.
    fn clear_old_place(&self) -> Result<(), StorageError> {
        let old = self.seen.as_ref().and_then(|(seen, _)| seen.growing_from);
        old.map_or(Ok(()), |old| self.io.write_zeroes(old, REGION_BYTES)).map_err(storage_error)
    }

    fn key_of(&self, epoch: Epoch) -> Key {
        key_of(self.me, epoch, self.incarnation, self.registrations)
    }

    fn register(&mut self, epoch: Epoch) -> Result<(), StorageError> {
        // A heartbeat of the time before would not be refused any more.
        self.place.wait_for_heartbeat();
        self.prepared = None;
        self.registrations += 1;
        let key = self.key_of(epoch);
        self.reservations.register(key).map_err(reservation_error)?;
        self.key = Some(key);
        Ok(())
    }

    fn change_key(&mut self, epoch: Epoch) -> Result<(), StorageError> {
        let key = self.key_of(epoch);
        if self.key != Some(key) {
            self.reservations.change_key(key).map_err(reservation_error)?;
            self.key = Some(key);
        }
        Ok(())
    }

    /// Take the other head off the disk, and hold the reservation. A key that is not one of ours is named and left
    /// alone: it belongs to somebody who must be asked.
    fn fence(&mut self, epoch: Epoch) -> Result<bool, StorageError> {
        self.change_key(epoch)?;
        let mine = self.key_of(epoch);
        let victims = self.others(mine)?;
        for victim in &victims {
            self.preempt(*victim)?;
        }
        if self.reservations.holder().map_err(reservation_error)? != Some(mine) {
            self.reservations.reserve().map_err(reservation_error)?;
        }
        let left: Vec<Key> = self.others(mine)?.into_iter().filter(|key| victims.contains(key)).collect();
        let holder = self.reservations.holder().map_err(reservation_error)?;
        if !left.is_empty() || holder != Some(mine) {
            return Err(StorageError::Failed(format!("after the fence the disk lists {left:?}, held by {holder:?}")));
        }
        Ok(!victims.is_empty() && self.reservations.victim_has_ended())
    }

    /// All registrations, if they are of this pair's kind.
    fn refuse_strangers(&mut self) -> Result<Vec<Key>, StorageError> {
        let keys = self.reservations.keys().map_err(reservation_error)?;
        match keys.iter().find(|key| key.head().is_none()) {
            Some(foreign) => Err(StorageError::Failed(format!(
                "somebody else is registered with the disk (key {foreign}): take that registration off, or use another disk"
            ))),
            None => Ok(keys),
        }
    }

    /// Every registration but this head's own.
    fn others(&mut self, mine: Key) -> Result<Vec<Key>, StorageError> {
        let keys = self.refuse_strangers()?;
        if !keys.contains(&mine) {
            return Err(StorageError::Fenced);
        }
        Ok(keys.into_iter().filter(|key| *key != mine).collect())
    }

    fn preempt(&mut self, victim: Key) -> Result<(), StorageError> {
        for _ in 0..FENCE_ATTEMPTS {
            match self.reservations.preempt_and_abort(victim) {
                Err(ReservationError::StillWriting(head)) => {
                    tracing::warn!(%head, "fenced, but the kernel has not ended its I/O yet; asking again");
                }
                // It has changed its key or left meanwhile; the list is read again afterwards.
                Ok(()) | Err(ReservationError::NoSuchKey(_)) => return Ok(()),
                Err(error) => return Err(reservation_error(error)),
            }
        }
        Err(reservation_error(ReservationError::StillWriting(self.me.other())))
    }
}

/// The key of a head in an epoch. It changes with every registration, so that a head that was fenced and has registered
/// again is not taken for one that could not be fenced.
pub(super) fn key_of(head: HeadId, epoch: Epoch, incarnation: Incarnation, registrations: u64) -> Key {
    let life = incarnation.get().wrapping_add(registrations);
    Key::new(head, epoch, Incarnation::new(life).unwrap_or(incarnation))
}

fn ownership_of(superblock: &Superblock) -> Ownership {
    let blocks = |bytes: u64| bytes / u64::from(superblock.identity.block_bytes);
    Ownership {
        capacity: Capacity {
            blocks: blocks(superblock.visible_bytes()),
            growing_to: superblock.growing_from.map(|_| blocks(superblock.identity.data_bytes)),
        },
        epoch: superblock.epoch,
        owner: superblock.owner,
        owner_incarnation: superblock.owner_incarnation,
        mirror: superblock.mirror,
        draining: superblock.draining,
        dirty: superblock.dirty,
        losses: superblock.losses_accepted,
    }
}

fn region_behind(data_bytes: u64) -> Result<Region, StorageError> {
    Region::behind(data_bytes).map_err(|error| StorageError::Failed(error.to_string()))
}

fn locate_error(error: LocateError) -> StorageError {
    match error {
        LocateError::Disk(error) => storage_error(error),
        other => StorageError::Failed(other.to_string()),
    }
}

fn storage_error(error: DiskError) -> StorageError {
    match error {
        DiskError::Fenced => StorageError::Fenced,
        other => StorageError::Failed(other.to_string()),
    }
}

fn reservation_error(error: ReservationError) -> StorageError {
    match error {
        ReservationError::Fenced => StorageError::Fenced,
        other => StorageError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use sas_backend::init::{Existing, NewDisk, initialise};
    use sas_backend::probe::{OpenDisk, OpenOptions, open_disk};

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
        };
        arbiter.write(&next).unwrap();
        assert_eq!(arbiter.read().unwrap(), next);
        arbiter.name = Some("mail".to_owned());
        arbiter.write(&next).unwrap();
        assert_eq!(arbiter.look().unwrap().identity.lun_name, "mail", "renamed with the next superblock");
        assert_eq!(arbiter.read().unwrap(), next);
        drop(arbiter);
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
        assert_eq!(owner.measure(), Ok(blocks(12 * MIB)));
        resize(&path, 19 * MIB);
        assert_eq!(owner.measure(), Ok(blocks(12 * MIB)), "too little");
        resize(&path, 64 * MIB);
        assert_eq!(owner.measure(), Ok(blocks(60 * MIB)));
        let growing = owned(1, Capacity { blocks: blocks(12 * MIB), growing_to: Some(blocks(60 * MIB)) });
        owner.write(&growing).unwrap();
        assert_eq!(owner.place.region().start(), 60 * MIB);
        assert_eq!(owner.read().unwrap(), growing);
        let later = Ownership { epoch: Epoch(2), ..growing };
        owner.write(&later).unwrap();
        // Wherever the disk ends by now, whoever knows the old place finds the way.
        resize(&path, 200 * MIB);
        assert_eq!(owner.measure(), Ok(blocks(196 * MIB)));
        let known = Known { region: Region::behind(12 * MIB).ok(), uuid: None };
        let found = locate(known, 200 * MIB, |offset, block| owner.io.read_block(offset, block)).unwrap();
        assert_eq!((ownership_of(&found.superblock), found.region.start()), (later, 60 * MIB));
        assert_ne!(bytes_at(&path, 12 * MIB, 4 << 20), vec![0; 4 << 20]);
        owner.clear_old_place().unwrap();
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
}
