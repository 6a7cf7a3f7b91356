//! Persistent reservations on the shared disk: how one head takes the disk from the other.
//!
//! The type is always *Exclusive Access, Registrants Only* (SPC-4 5.13.1): who is not registered neither reads nor
//! writes.
//!
//! * `key`: who, in which epoch, in which life.
//! * `linux_pr`: the disk does it, asked through linux/pr.h.
//! * `emulated`: the same promises for a plain file, between processes of one machine.
//! * `exclusive`: a disk of a single head.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::superblock::HeadId;

pub(crate) mod emulated;
pub(crate) mod exclusive;
mod key;
pub(crate) mod linux_pr;

pub(crate) mod locks;
mod process;
mod sidecar;
pub mod table;

pub use key::Key;
pub(crate) use sidecar::sidecar_path;

/// The reservations of one disk as one head sees them. All calls block: use a thread for them.
pub trait Reservations: Send {
    /// Register this head with `key`, whatever it was registered with before. Its I/O is let through from now on.
    ///
    /// # Errors
    /// As the disk says.
    fn register(&mut self, key: Key) -> Result<(), ReservationError>;

    /// Go on with another key, if this head is still registered: whoever has been fenced does not undo it this way.
    ///
    /// # Errors
    /// `Fenced` when the registration is gone.
    fn change_key(&mut self, key: Key) -> Result<(), ReservationError>;

    /// All registered keys.
    ///
    /// # Errors
    /// As the disk says.
    fn keys(&mut self) -> Result<Vec<Key>, ReservationError>;

    /// Take the reservation if nobody holds it.
    ///
    /// # Errors
    /// `Fenced` when not registered, `HeldByOther` when another key holds it.
    fn reserve(&mut self) -> Result<(), ReservationError>;

    /// Remove the registration `victim` and hold the reservation. On success no I/O of the victim can reach the disk
    /// any more, I/O already on its way included.
    ///
    /// # Errors
    /// `Fenced` when this head is not registered itself, `NoSuchKey` when the victim is not. After `StillWriting` the
    /// registration is gone, but the proof is missing: call it again.
    fn preempt_and_abort(&mut self, victim: Key) -> Result<(), ReservationError>;

    /// Whether it is certain that the process of the head that was preempted last runs no more, so that it cannot
    /// answer anybody from its memory either.
    fn victim_has_ended(&mut self) -> bool {
        false
    }

    /// The key that holds the reservation.
    ///
    /// # Errors
    /// As the disk says.
    fn holder(&mut self) -> Result<Option<Key>, ReservationError>;

    /// Remove this head's registration; a reservation that it holds ends with it.
    ///
    /// # Errors
    /// As the disk says.
    fn unregister(&mut self) -> Result<(), ReservationError>;

    /// Readable once this head has been fenced, where that can be known before an I/O fails.
    ///
    /// # Errors
    /// When no descriptor is left.
    fn fenced_event(&self) -> std::io::Result<Option<OwnedFd>> {
        Ok(None)
    }
}

/// Why a reservation command failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservationError {
    /// This head is not registered (any more).
    #[error("reservation conflict: this head is not registered with the disk")]
    Fenced,
    /// Somebody else has it.
    #[error("reservation conflict: the disk is reserved with another key")]
    HeldByOther,
    /// There is nothing to remove.
    #[error("reservation conflict: key {0} is not registered with the disk")]
    NoSuchKey(Key),
    /// The key names another head.
    #[error("key {0} is not a key of this head")]
    WrongKey(Key),
    /// Another process runs as this head.
    #[error("head {0} already runs on this disk")]
    HeadRuns(HeadId),
    /// The victim's process does not end.
    #[error("head {0} is fenced, but the kernel has not ended its I/O yet")]
    StillWriting(HeadId),
    /// The disk or the kernel cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// The emulation's file.
    #[error("{0}")]
    Sidecar(String),
    /// Anything else.
    #[error("the disk refused a reservation command: {0}")]
    Io(String),
}

impl From<Errno> for ReservationError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.desc().to_owned())
    }
}

impl From<std::io::Error> for ReservationError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}
