//! One trait for the I/O of a disk path: submit an operation, later collect its completion. Nothing here blocks.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::buffer::{BufferMut, Payload};

/// What the caller uses to recognise a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// One operation; offsets and lengths are bytes and multiples of [`Geometry::block_bytes`].
#[derive(Debug)]
pub enum DiskOp {
    /// Fill `into` from `offset` on.
    Read {
        /// First byte on the disk.
        offset: u64,
        /// Where the bytes go; its length says how many.
        into: BufferMut,
    },
    /// Write `data`, one piece after the other, from `offset` on.
    Write {
        /// First byte on the disk.
        offset: u64,
        /// The pieces, in disk order.
        data: Vec<Payload>,
    },
    /// Everything completed before is on stable storage when this completes.
    Flush,
    /// The range reads as zeroes afterwards, and the disk may use its room for something else where it can.
    Deallocate {
        /// First byte on the disk.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The range reads as zeroes afterwards.
    WriteZeroes {
        /// First byte on the disk.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Whether the range is allocated, as far from its beginning on as the answer is the same.
    Map {
        /// First byte on the disk.
        offset: u64,
        /// Bytes; at least a block.
        len: u64,
    },
}

/// What an operation brings.
#[derive(Debug)]
pub enum Answer {
    /// It is done.
    Done,
    /// The buffer of a read, filled.
    Read(BufferMut),
    /// The beginning of the range that was asked about.
    Map(Stretch),
}

/// Bytes that are allocated, or that are not and read as zeroes; whole blocks, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// How many.
    pub len: u64,
    /// Whether they are. A disk that cannot tell says yes.
    pub allocated: bool,
}

/// The end of one operation.
#[derive(Debug)]
pub struct Completion {
    /// As given to [`Disk::submit`].
    pub token: Token,
    /// What it brings.
    pub result: Result<Answer, DiskError>,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The disk refused it because this head's registration is gone (RESERVATION CONFLICT): the head is fenced.
    #[error("reservation conflict: this head's registration on the disk is gone")]
    Fenced,
    /// The disk has no room left (a thin disk or the file system under a file).
    #[error("no space left on the disk")]
    NoSpace,
    /// The blocks cannot be read or written.
    #[error("medium error")]
    Medium,
    /// This path to the disk does not work; the blocks themselves may be fine.
    #[error("the path to the disk failed: {0}")]
    Path(String),
}

impl DiskError {
    pub(crate) fn from_errno(errno: Errno) -> Self {
        match errno {
            // The block layer's name for a RESERVATION CONFLICT.
            Errno::EBADE => Self::Fenced,
            Errno::ENOSPC | Errno::EDQUOT => Self::NoSpace,
            // Anything, a medium error, a protection error.
            Errno::EIO | Errno::ENODATA | Errno::EILSEQ => Self::Medium,
            other => Self::Path(other.desc().to_owned()),
        }
    }

    pub(crate) fn from_io(error: &io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Path(error.to_string()), |raw| Self::from_errno(Errno::from_raw(raw)))
    }
}

/// What the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the smallest unit that can be written: 512 or 4096.
    pub block_bytes: u32,
    /// Whole size in bytes, our reserved region included.
    pub size_bytes: u64,
    /// Whether a completed write may still be lost with the disk's power until a flush.
    pub volatile_cache: bool,
}

/// A path to a disk.
pub trait Disk {
    /// What the disk is; constant while it is open, but for the size, which may grow.
    fn geometry(&self) -> Geometry;
    /// Queue one operation. Its completion comes through [`Disk::take_completions`], success or not.
    /// Operations may be executed in any order: who needs an order waits for the completion.
    fn submit(&self, token: Token, op: DiskOp);
    /// Hand everything queued to the disk (submissions may be batched until this is called).
    fn kick(&self);
    /// Move the completions that are ready to the end of `out`.
    fn take_completions(&self, out: &mut Vec<Completion>);
    /// Readable while completions wait; reading or polling it is the caller's business, clearing it is ours.
    fn completion_event(&self) -> BorrowedFd<'_>;
}
