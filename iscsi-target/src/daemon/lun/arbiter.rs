//! A thread that executes the superblock and reservation commands of one unit, one after the other.
//!
//! They block, some for as long as a process takes to die, and none of them may hold up the data path.

use std::sync::mpsc;

use replication::block::Blocks;
use replication::head::{Action, Event, Ownership, StorageError};
use replication::keeper::Keeper;
use sas_backend::superblock::Superblock;
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
    keeper: Keeper,
    /// Where the superblock is; the heartbeats follow.
    place: Place,
    reservations: Box<dyn Reservations>,
    key: Option<Key>,
    /// How often this process has registered; for another opening of the disk it begins elsewhere.
    registrations: u64,
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
        let keeper = Keeper::new(place.region(), iqn);
        Self { me, incarnation, io, keeper, place, reservations, key: None, registrations }
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
        self.keeper.seen().cloned().ok_or(StorageError::Fenced)
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
                    self.keeper.rename(name);
                    continue;
                }
            };
            let event = match command {
                Action::ReadSuperblock => Event::SuperblockRead(self.read()),
                Action::WriteSuperblock(next) => Event::SuperblockWritten(self.write(&next)),
                Action::Register { epoch } => Event::Registered(self.register(epoch)),
                Action::ChangeKey { epoch } => Event::Registered(self.change_key(epoch)),
                Action::Fence { epoch } => Event::FenceDone(self.fence(epoch)),
                Action::Measure => Event::Measured(self.keeper.measure(&self.io)),
                Action::ClearOldPlace => Event::OldPlaceCleared(self.keeper.clear_old_place(&self.io)),
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
        let found = self.keeper.read(&self.io)?;
        self.place.move_to(self.keeper.region());
        Ok(found)
    }

    fn write(&mut self, next: &Ownership) -> Result<(), StorageError> {
        self.keeper.write(&self.io, next)?;
        self.place.move_to(self.keeper.region());
        Ok(())
    }

    fn key_of(&self, epoch: Epoch) -> Key {
        key_of(self.me, epoch, self.incarnation, self.registrations)
    }

    fn register(&mut self, epoch: Epoch) -> Result<(), StorageError> {
        // A heartbeat of the time before would not be refused any more.
        self.place.wait_for_heartbeat();
        self.keeper.forget_prepared();
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

fn reservation_error(error: ReservationError) -> StorageError {
    match error {
        ReservationError::Fenced => StorageError::Fenced,
        other => StorageError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
