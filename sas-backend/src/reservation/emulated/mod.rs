//! Persistent reservations for plain files, between processes of one machine: who fences ends a process that does not
//! let go.
//!
//! * The table of registrations is a small file beside the image, changed under a lock.
//! * A registered head holds a lock on the open file description through which all its I/O goes. The kernel gives it up
//!   only when the description is gone, I/O in flight included, or the head does when it has nothing in flight. So a
//!   free lock proves that no write of the head can land any more.
//! * A head whose registration has vanished closes its gate, lets what is in flight end and gives up its lock. Whoever
//!   fenced it waits for that, and sends SIGKILL if it takes longer than 100 ms: a process that was stopped, say.
//!
//! As on a disk, a head must register before it writes: I/O of a head that never registered is let through as long as
//! nobody holds a reservation, and nobody waits for it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::locks::LockRange;
use super::process::{GRACE, PATIENCE, Waiting};
use super::sidecar::Sidecar;
use super::table::{Process, Registration, Slot, Table};
use super::{Key, ReservationError, Reservations};
use crate::file::DiskFile;
use crate::superblock::HeadId;
use crate::threads::{clear, signal};

mod watch;

/// How long a new process waits for the kernel to finish the previous one of the same head.
const SUCCESSION: std::time::Duration = std::time::Duration::from_secs(1);

/// The reservations of an image, for one head.
#[derive(Debug)]
pub(crate) struct Emulated {
    member: Arc<Member>,
    stop: Arc<EventFd>,
    watcher: Option<JoinHandle<()>>,
}

/// One head at one image.
#[derive(Debug)]
struct Member {
    head: HeadId,
    file: Arc<DiskFile>,
    sidecar: Sidecar,
    standing: Mutex<Standing>,
    fenced: EventFd,
}

/// Where this head stands, as far as it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Never registered in this life, or gone by itself.
    Outside,
    /// Registered with this key, and holding its lock.
    Registered(Key),
    /// Its registration was taken away; stays so until it registers again.
    Fenced,
}

impl Emulated {
    pub(crate) fn new(head: HeadId, file: Arc<DiskFile>) -> Result<Self, ReservationError> {
        let sidecar = Sidecar::open(&file.path)?;
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let standing = Mutex::new(Standing::Outside);
        let member = Arc::new(Member { head, file, sidecar, standing, fenced: event()? });
        let stop = Arc::new(event()?);
        let watcher = Some(watch::spawn(Arc::clone(&member), Arc::clone(&stop))?);
        let emulated = Self { member, stop, watcher };
        // The watch stands: whatever changes from here on is noticed.
        emulated.member.look()?;
        Ok(emulated)
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        signal(&self.stop);
        if let Some(watcher) = self.watcher.take()
            && watcher.join().is_err()
        {
            tracing::error!("the watcher of the reservations has panicked");
        }
    }
}

impl Reservations for Emulated {
    fn register(&mut self, key: Key) -> Result<(), ReservationError> {
        if key.head() != Some(self.member.head) {
            return Err(ReservationError::WrongKey(key));
        }
        let total = Waiting::new();
        while !self.member.try_register(key)? {
            if total.lasts(SUCCESSION) {
                return Err(ReservationError::HeadRuns(self.member.head));
            }
            total.nap()?;
        }
        Ok(())
    }

    fn change_key(&mut self, key: Key) -> Result<(), ReservationError> {
        self.member.change_key(key)
    }

    fn keys(&mut self) -> Result<Vec<Key>, ReservationError> {
        Ok(self.member.sidecar.lock()?.table.keys())
    }

    fn reserve(&mut self) -> Result<(), ReservationError> {
        let key = self.member.key()?;
        let mut locked = self.member.sidecar.lock()?;
        locked.table.reserve(self.member.head, key)?;
        locked.commit()
    }

    fn preempt_and_abort(&mut self, victim: Key) -> Result<(), ReservationError> {
        let key = self.member.key()?;
        let removed = {
            let mut locked = self.member.sidecar.lock()?;
            let removed = locked.table.preempt(self.member.head, key, victim)?;
            locked.commit()?;
            removed
        };
        self.member.wait_until_let_go(self.member.head.other(), removed)
    }

    fn victim_has_ended(&mut self) -> bool {
        let slot = self.member.sidecar.lock().map(|locked| locked.table.slot(self.member.head.other()));
        matches!(slot, Ok(Slot::Preempted(registration)) if registration.process.has_ended())
    }

    fn holder(&mut self) -> Result<Option<Key>, ReservationError> {
        Ok(self.member.sidecar.lock()?.table.holder())
    }

    fn unregister(&mut self) -> Result<(), ReservationError> {
        self.member.unregister()
    }

    fn fenced_event(&self) -> std::io::Result<Option<OwnedFd>> {
        self.member.fenced.as_fd().try_clone_to_owned().map(Some)
    }
}

impl Member {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self) -> Result<Key, ReservationError> {
        match *self.standing() {
            Standing::Registered(key) => Ok(key),
            Standing::Outside | Standing::Fenced => Err(ReservationError::Fenced),
        }
    }

    /// One attempt; false when another process still has this head's lock.
    fn try_register(&self, key: Key) -> Result<bool, ReservationError> {
        let mut standing = self.standing();
        let process = Process::this()?;
        // Letting go may take as long as the disk takes, and nobody may hold the table's lock for that long.
        let mut locked = loop {
            let table = self.sidecar.lock()?.table.clone();
            self.follow(&mut standing, &table)?;
            let locked = self.sidecar.lock()?;
            match *standing {
                Standing::Registered(old) if !locked.table.is_registered(self.head, old) => {}
                _ => break locked,
            }
        };
        if !matches!(*standing, Standing::Registered(_)) && !LockRange::head(self.head).try_lock(&*self.file)? {
            return Ok(false);
        }
        locked.table.register(self.head, key, process);
        locked.commit()?;
        *standing = Standing::Registered(key);
        clear(&self.fenced);
        self.file.gate.open();
        Ok(true)
    }

    fn change_key(&self, key: Key) -> Result<(), ReservationError> {
        if key.head() != Some(self.head) {
            return Err(ReservationError::WrongKey(key));
        }
        let mut standing = self.standing();
        let Standing::Registered(old) = *standing else { return Err(ReservationError::Fenced) };
        let mut locked = self.sidecar.lock()?;
        if !locked.table.is_registered(self.head, old) {
            return Err(ReservationError::Fenced);
        }
        locked.table.register(self.head, key, Process::this()?);
        locked.commit()?;
        *standing = Standing::Registered(key);
        Ok(())
    }

    fn unregister(&self) -> Result<(), ReservationError> {
        let mut standing = self.standing();
        let Standing::Registered(key) = *standing else { return Err(ReservationError::Fenced) };
        self.file.gate.close();
        self.file.gate.wait_until_empty();
        let table = {
            let mut locked = self.sidecar.lock()?;
            locked.table.unregister(self.head, key)?;
            locked.commit()?;
            locked.table.clone()
        };
        LockRange::head(self.head).unlock(&*self.file)?;
        *standing = Standing::Outside;
        self.follow(&mut standing, &table)
    }

    /// Read the table and do what it says.
    fn look(&self) -> Result<(), ReservationError> {
        let mut standing = self.standing();
        // A table that is being written cannot be read; with the lock it can.
        let table = self.sidecar.peek().or_else(|_| self.sidecar.lock().map(|locked| locked.table.clone()));
        match table {
            Ok(table) => self.follow(&mut standing, &table),
            Err(error) => {
                self.leave(&mut standing)?;
                Err(error)
            }
        }
    }

    fn follow(&self, standing: &mut Standing, table: &Table) -> Result<(), ReservationError> {
        match *standing {
            Standing::Registered(key) if table.is_registered(self.head, key) => {}
            Standing::Registered(_) => self.leave(standing)?,
            Standing::Fenced => {}
            Standing::Outside if table.admits(self.head, None) => self.file.gate.open(),
            Standing::Outside => self.file.gate.close(),
        }
        Ok(())
    }

    /// Fenced: end all I/O, then let go.
    fn leave(&self, standing: &mut Standing) -> Result<(), ReservationError> {
        self.file.gate.close();
        if let Standing::Registered(key) = *standing {
            tracing::warn!(head = %self.head, %key, "fenced: the registration on the disk is gone");
            // The daemon hears of it at once: it may have to reap completions before the gate is empty.
            signal(&self.fenced);
            self.file.gate.wait_until_empty();
            LockRange::head(self.head).unlock(&*self.file)?;
            *standing = Standing::Fenced;
        }
        Ok(())
    }

    /// Wait until no I/O under the registration `removed` can land any more.
    fn wait_until_let_go(&self, victim: HeadId, removed: Registration) -> Result<(), ReservationError> {
        let lock = LockRange::head(victim);
        let total = Waiting::new();
        let mut ended = false;
        loop {
            if !lock.is_held_elsewhere(&*self.file)? {
                return Ok(());
            }
            let overdue = total.lasts(GRACE) && !ended;
            // Nobody can stop in the middle of registering anew while we hold the table's lock.
            let slot = if overdue { self.sidecar.lock()?.table.slot(victim) } else { self.peek_slot(victim, removed) };
            // Whoever registers holds the lock, so the previous owner of the lock had let go.
            if slot != Slot::Preempted(removed) {
                return Ok(());
            }
            if overdue {
                removed.process.end();
                ended = true;
            }
            if total.lasts(PATIENCE) {
                return Err(ReservationError::StillWriting(victim));
            }
            total.nap()?;
        }
    }

    /// What the table says without its lock; unreadable at this moment means unchanged.
    fn peek_slot(&self, head: HeadId, unchanged: Registration) -> Slot {
        self.sidecar.peek().map_or(Slot::Preempted(unchanged), |table| table.slot(head))
    }
}

#[cfg(test)]
mod tests;
