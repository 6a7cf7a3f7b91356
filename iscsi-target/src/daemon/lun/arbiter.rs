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
use sas_backend::superblock::{Identity, Record, Superblock};
use sas_backend::{Epoch, HeadId, Incarnation, Key, ReservationError, Reservations, SyncIo};

use super::place::Place;

const BLOCK_BYTES: u64 = 4096;
/// How often a fence that waits for the kernel is asked for again.
const FENCE_ATTEMPTS: u32 = 3;

/// How often the superblock is read again whose record does not fit: its owner may just be writing the next one.
const RECORD_ATTEMPTS: u32 = 5;

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
        let (Found { superblock, region, next, .. }, record) = self.locate_with_record(known, size_bytes)?;
        check(&superblock, &self.iqn, size_bytes).map_err(|error| StorageError::Failed(error.to_string()))?;
        if let Some((seen, _)) = &self.seen
            && (superblock.epoch, superblock.sequence) < (seen.epoch, seen.sequence)
        {
            let (then, now) = (seen.epoch, superblock.epoch);
            return Err(StorageError::Failed(format!("the superblock has gone back from epoch {then} to {now}")));
        }
        let ownership = ownership_of(&superblock, record);
        self.seen = Some((superblock, next));
        self.place.move_to(region);
        Ok(ownership)
    }

    fn locate_with_record(&self, known: Known, size_bytes: u64) -> Result<(Found, Record), StorageError> {
        for _ in 0..RECORD_ATTEMPTS {
            let found =
                locate(known, size_bytes, |offset, block| self.io.read_block(offset, block)).map_err(locate_error)?;
            let sum = found.superblock.record;
            let mut bytes = Vec::new();
            for number in 0..sum.blocks() {
                let mut block = Block::zeroed();
                self.io.read_block(found.record_at + number * BLOCK_BYTES, &mut block).map_err(storage_error)?;
                bytes.extend_from_slice(&block[..]);
            }
            if let Some(record) = sum.find(&bytes) {
                return Ok((found, record));
            }
        }
        Err(StorageError::Failed("the reservations of clients on the disk are damaged".to_owned()))
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
            record: next.record.sum(),
        };
        if moves {
            self.prepare(region)?;
        }
        self.io.flush().map_err(storage_error)?;
        let block = Block::from(&superblock.emit());
        if let Some(old) = superblock.growing_from {
            let old = region_behind(old)?;
            let copy = self.next_copy(old)?;
            self.write_copy(old, copy, &block, &next.record)?;
        }
        self.write_copy(region, copy, &block, &next.record)?;
        self.seen = Some((superblock, copy.other()));
        self.place.move_to(region);
        Ok(())
    }

    /// The record first, so that the copy never speaks of one that is not there.
    fn write_copy(
        &self,
        region: Region,
        copy: SuperblockCopy,
        superblock: &Block,
        record: &Record,
    ) -> Result<(), StorageError> {
        for (number, block) in (0..).zip(record.blocks()) {
            let at = region.record(copy) + number * BLOCK_BYTES;
            self.io.write_block(at, &block, false).map_err(storage_error)?;
        }
        if !record.bytes.is_empty() {
            self.io.flush().map_err(storage_error)?;
        }
        self.io.write_block(region.superblock(copy), superblock, true).map_err(storage_error)
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

fn ownership_of(superblock: &Superblock, record: Record) -> Ownership {
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
        record,
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
mod tests;
