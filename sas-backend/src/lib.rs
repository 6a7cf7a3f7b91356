//! The shared disk as one head sees it.
//!
//! * [`buffer`]: aligned, reference-counted payloads that travel socket -> RAM -> peer -> disk without a copy.
//! * [`disk`]: one trait for I/O: submit, later a completion; nothing blocks.
//! * [`probe`]: open a path with all that belongs to it.
//! * [`init`]: make a path a disk of the pair.
//! * [`reservation`]: how one head takes the disk from the other.
//! * [`superblock`]: whose disk it is, who may serve it, who lives.

pub mod buffer;
pub mod disk;
mod file;
mod gate;
mod holes;
pub mod init;
mod ioctl;
pub mod probe;
pub mod reservation;
pub mod superblock;
mod sync;
#[cfg(test)]
mod testing;
mod threads;
mod uring;
mod work;

pub use file::OpenError;
pub use reservation::{Key, ReservationError, Reservations};
pub use superblock::{Epoch, HeadId, Identity, Incarnation, Superblock};
pub use sync::SyncIo;
