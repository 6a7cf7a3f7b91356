//! The file beside an image that holds its table of reservations, and the lock under which it changes.
//!
//! The lock is a POSIX record lock because the kernel then tells who holds it: a process that was stopped in the middle
//! of a change would keep the other head out, so it is ended.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::ReservationError;
use super::process::{GRACE, PATIENCE, Waiting, end};
use super::table::{TABLE_BYTES, Table};

/// POSIX locks do not exclude threads of one process, and closing any descriptor of the file gives them up: one
/// thread at a time locks, or closes.
static ONE_THREAD: Mutex<()> = Mutex::new(());

/// The open sidecar of an image.
#[derive(Debug)]
pub(crate) struct Sidecar {
    path: PathBuf,
    file: Option<File>,
}

/// The table, which nobody else changes as long as this lives.
pub(crate) struct Locked<'a> {
    pub(crate) table: Table,
    sidecar: &'a Sidecar,
    _one_thread: MutexGuard<'static, ()>,
}

impl Sidecar {
    /// Open the sidecar of the image, or create an empty one.
    pub(crate) fn open(image: &Path) -> std::io::Result<Self> {
        let path = sidecar_path(image)?;
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        Ok(Self { path, file: Some(file) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self) -> &File {
        #[expect(clippy::expect_used, reason = "only drop takes it")]
        self.file.as_ref().expect("open until dropped")
    }

    /// The table as it is now, without the lock: fails when it is being written at this moment.
    pub(crate) fn peek(&self) -> Result<Table, ReservationError> {
        self.check_in_place()?;
        let mut block = [0; TABLE_BYTES];
        let mut filled = 0;
        while filled < TABLE_BYTES {
            let offset = u64::try_from(filled).unwrap_or(u64::MAX);
            match self.file().read_at(&mut block[filled..], offset)? {
                0 => break,
                bytes => filled += bytes,
            }
        }
        Table::parse(&block).ok_or_else(|| self.error("is damaged; remove it while neither head runs"))
    }

    /// The table, under the lock.
    pub(crate) fn lock(&self) -> Result<Locked<'_>, ReservationError> {
        let one_thread = ONE_THREAD.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock_among_processes()?;
        let mut locked = Locked { table: Table::default(), sidecar: self, _one_thread: one_thread };
        locked.table = self.peek()?;
        Ok(locked)
    }

    fn lock_among_processes(&self) -> Result<(), ReservationError> {
        let total = Waiting::new();
        let mut holder = None;
        let mut held = Waiting::new();
        loop {
            match fcntl(self.file(), FcntlArg::F_SETLK(&whole_file(libc::F_WRLCK))) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::EACCES) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut found = whole_file(libc::F_WRLCK);
            fcntl(self.file(), FcntlArg::F_GETLK(&mut found))?;
            let now_held_by = (i32::from(found.l_type) != libc::F_UNLCK).then_some(found.l_pid);
            if now_held_by != holder {
                holder = now_held_by;
                held = Waiting::new();
            }
            if let Some(pid) = holder
                && held.lasts(GRACE)
            {
                end(pid);
                held = Waiting::new();
            }
            if total.lasts(PATIENCE) {
                return Err(self.error("is locked by a process that cannot be ended"));
            }
            total.nap()?;
        }
    }

    /// A table that is not the one at the path is no longer the one that the other head reads.
    fn check_in_place(&self) -> Result<(), ReservationError> {
        let open = self.file().metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (open.dev(), open.ino()) => Ok(()),
            _ => Err(self.error("was moved or removed while a head ran: restart this head")),
        }
    }

    fn error(&self, what: &str) -> ReservationError {
        ReservationError::Sidecar(format!("{} {what}", self.path.display()))
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _one_thread = ONE_THREAD.lock().unwrap_or_else(PoisonError::into_inner);
        self.file = None;
    }
}

impl Locked<'_> {
    /// Make the changed table the one that everybody reads: one small write.
    pub(crate) fn commit(&self) -> Result<(), ReservationError> {
        Ok(self.sidecar.file().write_all_at(&self.table.emit(), 0)?)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Err(errno) = fcntl(self.sidecar.file(), FcntlArg::F_SETLK(&whole_file(libc::F_UNLCK))) {
            tracing::error!(%errno, "the lock of the reservations cannot be given up");
        }
    }
}

/// Where the sidecar of an image is. Both heads must find the same file, whatever links lead to the image.
pub(crate) fn sidecar_path(image: &Path) -> std::io::Result<PathBuf> {
    let mut path = std::fs::canonicalize(image)?.into_os_string();
    path.push(".reservations");
    Ok(PathBuf::from(path))
}

fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: i16::try_from(kind).unwrap_or_default(), l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 }
}
