//! Locks of an open file description (fcntl F_OFD_SETLK) on bytes far behind the end of an image.
//!
//! The kernel gives such a lock up when the last reference to the description goes: after the process has ended and
//! after all I/O that it had in flight. That is what makes them a proof.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::superblock::HeadId;

/// First of the bytes that we lock; no file is that large.
const BASE: i64 = 1 << 62;
/// Bytes 0 and 1: the heads. Byte 8: somebody has the disk open for sharing.
const SHARED: i64 = BASE + 8;
/// All of them: a single head has the disk.
const ALL_BYTES: i64 = 16;

/// Bytes of an image that mean something when locked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LockRange {
    start: i64,
    len: i64,
    exclusive: bool,
}

impl LockRange {
    /// A head runs on this description.
    pub(crate) fn head(head: HeadId) -> Self {
        let start = match head {
            HeadId::A => BASE,
            HeadId::B => BASE + 1,
        };
        Self { start, len: 1, exclusive: true }
    }

    /// The disk is open for sharing between heads.
    pub(crate) const SHARED: Self = Self { start: SHARED, len: 1, exclusive: false };
    /// The disk belongs to one process.
    pub(crate) const ALL: Self = Self { start: BASE, len: ALL_BYTES, exclusive: true };

    fn flock(self, kind: i32) -> libc::flock {
        let kind = i16::try_from(kind).unwrap_or_default();
        libc::flock { l_type: kind, l_whence: 0, l_start: self.start, l_len: self.len, l_pid: 0 }
    }

    fn wanted(self) -> libc::flock {
        self.flock(if self.exclusive { libc::F_WRLCK } else { libc::F_RDLCK })
    }

    /// Lock it if nobody else has.
    pub(crate) fn try_lock(self, file: impl AsFd) -> Result<bool, Errno> {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&self.wanted())) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Give it up.
    pub(crate) fn unlock(self, file: impl AsFd) -> Result<(), Errno> {
        fcntl(file, FcntlArg::F_OFD_SETLK(&self.flock(libc::F_UNLCK))).map(|_| ())
    }

    /// Whether another description has it. Asking instead of taking it never gets into the way of its next owner.
    pub(crate) fn is_held_elsewhere(self, file: impl AsFd) -> Result<bool, Errno> {
        let mut found = self.wanted();
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
        Ok(i32::from(found.l_type) != libc::F_UNLCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn locks_belong_to_the_description() {
        let scratch = Scratch::new();
        let path = scratch.image("disk", 4096);
        let open = || std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let (one, other) = (open(), open());
        let a = LockRange::head(HeadId::A);
        assert!(a.try_lock(&one).unwrap());
        assert!(a.is_held_elsewhere(&other).unwrap() && !a.is_held_elsewhere(&one).unwrap());
        assert!(!a.try_lock(&other).unwrap());
        assert!(LockRange::head(HeadId::B).try_lock(&other).unwrap());
        assert!(LockRange::SHARED.try_lock(&one).unwrap() && LockRange::SHARED.try_lock(&other).unwrap());
        let clone = one.try_clone().unwrap();
        drop(one);
        assert!(a.is_held_elsewhere(&other).unwrap(), "the description lives on");
        drop(clone);
        assert!(a.try_lock(&other).unwrap());
        a.unlock(&other).unwrap();
        assert!(!LockRange::ALL.try_lock(open()).unwrap(), "still shared");
    }
}
