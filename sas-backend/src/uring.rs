//! The disk through io_uring.
#![expect(unsafe_code, reason = "the kernel reads and writes memory whose lifetime only this file knows")]

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use nix::errno::Errno;
use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use slab::Slab;

use crate::buffer::Pool;
use crate::disk::{Completion, Disk, DiskError, DiskOp, Geometry, Token};
use crate::file::DiskFile;
use crate::gate::Pass;
use crate::threads::{ThreadDisk, clear, signal};
use crate::work::{Next, Work, rest_of_read, rest_of_write};

/// Operations in the kernel at a time; more wait in the backlog, which the callers bound.
const IN_FLIGHT_MAX: u32 = 512;

/// A disk whose operations go through one ring.
pub(crate) struct UringDisk {
    file: Arc<DiskFile>,
    pool: Pool,
    event: Arc<EventFd>,
    inner: RefCell<Inner>,
    /// A thread for what a ring cannot do; only once somebody asks for it.
    beside: OnceCell<ThreadDisk>,
}

struct Inner {
    ring: IoUring,
    flights: Slab<Flight>,
    backlog: VecDeque<Waiting>,
    failed: Vec<Completion>,
}

/// An operation not in the kernel; a pass means that a part of it was.
struct Waiting {
    token: Token,
    work: Work,
    pass: Option<Pass>,
}

/// An operation that the kernel may be executing: owns all memory that the kernel may touch.
struct Flight {
    token: Token,
    work: Work,
    pass: Pass,
    _pieces: Pieces,
}

struct Pieces(Vec<libc::iovec>);

// SAFETY: the pointers are only ever handed to the kernel; what they point to is owned by the `Work` beside them,
// on the heap, and moves with it.
unsafe impl Send for Pieces {}

impl UringDisk {
    /// Set up a ring; fails where the kernel or a sandbox does not allow it.
    pub(crate) fn new(file: Arc<DiskFile>) -> io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        // Without interrupts for completions while the submitter computes (5.19), else plainly.
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .build(IN_FLIGHT_MAX)
            .or_else(|_| IoUring::builder().build(IN_FLIGHT_MAX))?;
        if !ring.params().is_feature_nodrop() {
            return Err(Errno::ENOSYS.into());
        }
        ring.submitter().register_eventfd(event.as_fd().as_raw_fd())?;
        let inner = RefCell::new(Inner { ring, flights: Slab::new(), backlog: VecDeque::new(), failed: Vec::new() });
        Ok(Self { file, pool: Pool::new(), event: Arc::new(event), inner, beside: OnceCell::new() })
    }

    fn submit_beside(&self, token: Token, op: DiskOp) {
        if self.beside.get().is_none() {
            match ThreadDisk::signalling(Arc::clone(&self.file), Arc::clone(&self.event), 1) {
                Ok(thread) => drop(self.beside.set(thread)),
                Err(error) => return self.fail(token, DiskError::from_io(&error)),
            }
        }
        if let Some(thread) = self.beside.get() {
            thread.submit(token, op);
        }
    }

    fn fail(&self, token: Token, error: DiskError) {
        self.inner.borrow_mut().failed.push(Completion { token, result: Err(error) });
        signal(&self.event);
    }
}

impl Disk for UringDisk {
    fn geometry(&self) -> Geometry {
        self.file.geometry()
    }

    fn submit(&self, token: Token, op: DiskOp) {
        if matches!(op, DiskOp::Map { .. }) {
            return self.submit_beside(token, op);
        }
        match Work::new(op, &self.file, &self.pool) {
            Ok(work) => self.inner.borrow_mut().backlog.push_back(Waiting { token, work, pass: None }),
            Err(error) => self.fail(token, error),
        }
    }

    fn kick(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.fill(&self.file);
        let submitted = inner.enter_kernel(0);
        if !inner.failed.is_empty() || !submitted {
            signal(&self.event);
        }
    }

    fn take_completions(&self, out: &mut Vec<Completion>) {
        clear(&self.event);
        if let Some(thread) = self.beside.get() {
            thread.take_completions(out);
        }
        let mut inner = self.inner.borrow_mut();
        inner.reap(&self.file, out);
        if !inner.backlog.is_empty() {
            inner.fill(&self.file);
        }
        let submitted = inner.enter_kernel(0);
        out.append(&mut inner.failed);
        if !submitted {
            signal(&self.event);
        }
    }

    fn completion_event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for UringDisk {
    /// Waits: the kernel must not write into memory that is no longer ours.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        inner.backlog.clear();
        while !inner.flights.is_empty() {
            inner.enter_kernel(1);
            inner.reap(&self.file, &mut Vec::new());
            // Parts left over by short transfers.
            inner.backlog.clear();
        }
    }
}

impl Inner {
    /// Move as much as fits from the backlog to the ring.
    fn fill(&mut self, file: &DiskFile) {
        let room = usize::try_from(IN_FLIGHT_MAX).unwrap_or(usize::MAX);
        while self.flights.len() < room
            && let Some(Waiting { token, work, pass }) = self.backlog.pop_front()
        {
            let admitted = match pass {
                Some(pass) if !pass.is_void() => Ok(pass),
                Some(_) => Err(DiskError::Fenced),
                None => file.gate.enter(),
            };
            match admitted {
                Ok(pass) => self.launch(token, work, pass, file),
                Err(error) => self.failed.push(Completion { token, result: Err(error) }),
            }
        }
    }

    fn launch(&mut self, token: Token, mut work: Work, pass: Pass, file: &DiskFile) {
        let (entry, pieces) = prepare(&mut work, types::Fd(file.as_fd().as_raw_fd()));
        let key = self.flights.insert(Flight { token, work, pass, _pieces: pieces });
        let entry = entry.user_data(u64::try_from(key).unwrap_or(u64::MAX));
        // SAFETY: all memory that the entry names is owned by the flight just stored and lives on the heap, so it stays
        // where it is until `reap` removes the flight at its completion; the descriptor is open as long as the disk,
        // whose drop waits for all flights.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        assert!(pushed.is_ok(), "the ring has as many entries as flights are allowed");
    }

    /// Give the kernel what is queued and wait for `want` completions; false if it asks to come again.
    fn enter_kernel(&mut self, want: usize) -> bool {
        if want == 0 && self.ring.submission().is_empty() {
            return true;
        }
        match self.ring.submit_and_wait(want) {
            Ok(_) => true,
            Err(error) => {
                let errno = error.raw_os_error();
                let again = matches!(errno, Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM));
                assert!(again, "io_uring takes no more operations: {error}");
                false
            }
        }
    }

    fn reap(&mut self, file: &DiskFile, out: &mut Vec<Completion>) {
        for entry in self.ring.completion() {
            #[expect(clippy::expect_used, reason = "the kernel returns what `launch` gave it")]
            let key = usize::try_from(entry.user_data()).expect("a key of the slab");
            let Flight { token, work, pass, .. } = self.flights.remove(key);
            let answer = usize::try_from(entry.result()).map_err(|_| Errno::from_raw(-entry.result()));
            match work.advance(answer, file) {
                Next::Again(work) => self.backlog.push_front(Waiting { token, work, pass: Some(pass) }),
                Next::Done(result) => out.push(Completion { token, result }),
            }
        }
    }
}

/// The ring entry for what is left of an operation.
fn prepare(work: &mut Work, fd: types::Fd) -> (squeue::Entry, Pieces) {
    let mut pieces = Pieces(Vec::new());
    let entry = match work {
        Work::Read { offset, into, done } => {
            let rest = rest_of_read(into, *done);
            opcode::Read::new(fd, rest.as_mut_ptr(), clamped(rest.len())).offset(moved(*offset, *done)).build()
        }
        Work::Write { offset, pieces: payloads, done, .. } => {
            let iovec = |piece: &[u8]| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
            pieces.0 = rest_of_write(payloads, *done).map(iovec).collect();
            let count = clamped(pieces.0.len());
            opcode::Writev::new(fd, pieces.0.as_ptr(), count).offset(moved(*offset, *done)).build()
        }
        Work::Flush => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        Work::Map { .. } | Work::Zero { len: 0, .. } => opcode::Nop::new().build(),
        Work::Zero { offset, len, by, .. } => {
            opcode::Fallocate::new(fd, *len).offset(*offset).mode(by.mode().bits()).build()
        }
    };
    (entry, pieces)
}

fn clamped(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn moved(offset: u64, done: usize) -> u64 {
    offset + u64::try_from(done).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
