//! A thread that executes the superblock and reservation commands of one unit, one after the other.
//!
//! They block, some for as long as a process takes to die, and none of them may hold up the data path.

use std::sync::mpsc;

use replication::block::Blocks;
use replication::head::{Action, Event, Ownership, StorageError};
use sas_backend::buffer::Block;
use sas_backend::disk::DiskError;
use sas_backend::superblock::pick::{Picked, check, pick};
use sas_backend::superblock::region::{Region, SuperblockCopy};
use sas_backend::superblock::search;
use sas_backend::superblock::{Identity, Superblock};
use sas_backend::{Epoch, HeadId, Incarnation, Key, ReservationError, Reservations, SyncIo};

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
    region: Region,
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
        region: Region,
        reservations: Box<dyn Reservations>,
        iqn: String,
        registrations: u64,
    ) -> Self {
        Self { me, incarnation, io, region, reservations, key: None, registrations, seen: None, iqn, name: None }
    }

    /// Read what the disk is: the first thing that a daemon does with it. It is not even registered with before it is
    /// known to be ours, unless a reservation of the other head keeps everybody else from reading.
    pub(super) fn look(&mut self) -> Result<Identity, StorageError> {
        let mut found = self.read();
        if found == Err(StorageError::Fenced) {
            self.refuse_strangers()?;
            self.register(Epoch(0))?;
            found = self.read();
            if found.is_err()
                && let Err(error) = self.reservations.unregister()
            {
                tracing::warn!(%error, "the registration with a disk that is not ours could not be taken back");
            }
        }
        found.map_err(|error| self.explain(error))?;
        self.seen.as_ref().map(|(seen, _)| seen.identity.clone()).ok_or(StorageError::Fenced)
    }

    /// A disk that has changed its size looks as if it had never been initialised; say what it is.
    fn explain(&self, error: StorageError) -> StorageError {
        let found = search::find(&self.io);
        let wrong = found.and_then(|found| check(&found, &self.iqn, self.io.geometry().size_bytes).err());
        wrong.map_or(error, |wrong| StorageError::Failed(wrong.to_string()))
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

    fn read(&mut self) -> Result<Ownership, StorageError> {
        let mut copies = [Block::zeroed(), Block::zeroed()];
        for (copy, block) in SuperblockCopy::BOTH.into_iter().zip(&mut copies) {
            self.io.read_block(self.region.superblock(copy), block).map_err(storage_error)?;
        }
        let picked: Picked = pick(&copies[0], &copies[1]);
        let (superblock, next) = picked.into_valid().map_err(StorageError::Failed)?;
        check(&superblock, &self.iqn, self.io.geometry().size_bytes)
            .map_err(|error| StorageError::Failed(error.to_string()))?;
        let ownership = ownership_of(&superblock);
        self.seen = Some((superblock, next));
        Ok(ownership)
    }

    /// Flush, write, flush: what was written before is durable before the superblock speaks of it.
    fn write(&mut self, next: &Ownership) -> Result<(), StorageError> {
        let Some((seen, copy)) = &self.seen else {
            return Err(StorageError::Failed("the superblock has not been read yet".to_owned()));
        };
        let mut identity = seen.identity.clone();
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
        };
        let copy = *copy;
        self.io.flush().map_err(storage_error)?;
        let block = Block::from(&superblock.emit());
        self.io.write_block(self.region.superblock(copy), &block, true).map_err(storage_error)?;
        self.seen = Some((superblock, copy.other()));
        Ok(())
    }

    /// The key of this head in this epoch. It changes with every registration, so that a head that was fenced and has
    /// registered again is not taken for one that could not be fenced.
    fn key_of(&self, epoch: Epoch) -> Key {
        let life = self.incarnation.get().wrapping_add(self.registrations);
        Key::new(self.me, epoch, Incarnation::new(life).unwrap_or(self.incarnation))
    }

    fn register(&mut self, epoch: Epoch) -> Result<(), StorageError> {
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

fn ownership_of(superblock: &Superblock) -> Ownership {
    Ownership {
        epoch: superblock.epoch,
        owner: superblock.owner,
        owner_incarnation: superblock.owner_incarnation,
        mirror: superblock.mirror,
        draining: superblock.draining,
        dirty: superblock.dirty,
        losses: superblock.losses_accepted,
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
        open_disk(image, OpenOptions { head, shared: true, block_bytes: None }).unwrap()
    }

    fn arbiter(disk: OpenDisk) -> Arbiter {
        let region = Region::of(disk.geometry.size_bytes).unwrap();
        let incarnation = Incarnation::new(7).unwrap();
        Arbiter::new(HeadId::A, incarnation, disk.sync, region, disk.reservations, OURS.to_owned(), 0)
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
        };
        arbiter.write(&next).unwrap();
        assert_eq!(arbiter.read().unwrap(), next);
        arbiter.name = Some("mail".to_owned());
        arbiter.write(&next).unwrap();
        assert_eq!(arbiter.look().unwrap().lun_name, "mail", "renamed with the next superblock");
        assert_eq!(arbiter.read().unwrap(), next);
        drop(arbiter);
        remove(&path);
    }
}
