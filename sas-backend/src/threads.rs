//! The fallback where io_uring is not to be had: a few threads that read and write.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::fallocate;
use nix::libc::off_t;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::uio::{preadv, pwritev};

use crate::buffer::Pool;
use crate::disk::{Completion, Disk, DiskError, DiskOp, Geometry, Token};
use crate::file::DiskFile;
use crate::gate::Pass;
use crate::holes;
use crate::work::{Next, Work, rest_of_read, rest_of_write};

const THREADS: usize = 4;

/// A disk whose operations are executed by threads.
#[derive(Debug)]
pub(crate) struct ThreadDisk {
    shared: Arc<Shared>,
    pool: Pool,
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    file: Arc<DiskFile>,
    ready: Mutex<Vec<Completion>>,
    event: Arc<EventFd>,
}

#[derive(Debug)]
struct Job {
    token: Token,
    work: Work,
    pass: Pass,
}

impl ThreadDisk {
    pub(crate) fn new(file: Arc<DiskFile>) -> std::io::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Self::signalling(file, Arc::new(event), THREADS)
    }

    /// One that signals its completions where others signal theirs.
    pub(crate) fn signalling(file: Arc<DiskFile>, event: Arc<EventFd>, threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { file, ready: Mutex::default(), event });
        let (jobs, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let spawn = |_| {
            let (shared, receiver) = (Arc::clone(&shared), Arc::clone(&receiver));
            std::thread::Builder::new().name("disk".to_owned()).spawn(move || shared.serve(&receiver))
        };
        let threads = (0..threads).map(spawn).collect::<Result<_, _>>()?;
        Ok(Self { shared, pool: Pool::new(), jobs: Some(jobs), threads })
    }

    fn start(&self, token: Token, op: DiskOp) -> Result<(), DiskError> {
        let work = Work::new(op, &self.shared.file, &self.pool)?;
        let pass = self.shared.file.gate.enter()?;
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job { token, work, pass }).is_ok());
        assert!(sent, "the threads live as long as the disk");
        Ok(())
    }
}

impl Disk for ThreadDisk {
    fn geometry(&self) -> Geometry {
        self.shared.file.geometry()
    }

    fn submit(&self, token: Token, op: DiskOp) {
        if let Err(error) = self.start(token, op) {
            self.shared.complete(Completion { token, result: Err(error) });
        }
    }

    fn kick(&self) {}

    fn take_completions(&self, out: &mut Vec<Completion>) {
        clear(&self.shared.event);
        out.append(&mut self.shared.ready.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn completion_event(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl Drop for ThreadDisk {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a disk thread has panicked");
            }
        }
    }
}

impl Shared {
    fn serve(&self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { token, mut work, pass }) = job else { return };
            let result = loop {
                if pass.is_void() {
                    break Err(DiskError::Fenced);
                }
                let answer = execute(&mut work, &self.file);
                match work.advance(answer, &self.file) {
                    Next::Again(rest) => work = rest,
                    Next::Done(result) => break result,
                }
            };
            drop(pass);
            self.complete(Completion { token, result });
        }
    }

    fn complete(&self, completion: Completion) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(completion);
        signal(&self.event);
    }
}

/// One blocking call.
fn execute(work: &mut Work, file: &DiskFile) -> Result<usize, Errno> {
    match work {
        Work::Read { offset, into, done } => {
            let at = position(*offset, *done)?;
            preadv(file, &mut [IoSliceMut::new(rest_of_read(into, *done))], at)
        }
        Work::Write { offset, pieces, done, .. } => {
            let slices: Vec<IoSlice<'_>> = rest_of_write(pieces, *done).map(IoSlice::new).collect();
            pwritev(file, &slices, position(*offset, *done)?)
        }
        Work::Flush => nix::unistd::fdatasync(file).map(|()| 0),
        Work::Zero { offset, len, by, .. } => {
            let range = (position(*offset, 0)?, off_t::try_from(*len).map_err(|_| Errno::EFBIG)?);
            if range.1 == 0 {
                return Ok(0);
            }
            fallocate(file, by.mode(), range.0, range.1).map(|()| 0)
        }
        Work::Map { offset, len, found } => {
            *found = Some(holes::stretch(file, *offset, *len)?);
            Ok(0)
        }
    }
}

fn position(offset: u64, done: usize) -> Result<off_t, Errno> {
    let at = u64::try_from(done).ok().and_then(|done| offset.checked_add(done));
    at.and_then(|at| off_t::try_from(at).ok()).ok_or(Errno::EFBIG)
}

/// Make an event readable.
pub(crate) fn signal(event: &EventFd) {
    // EAGAIN means that the counter is full, and then the event is readable.
    if let Err(errno) = event.write(1)
        && errno != Errno::EAGAIN
    {
        tracing::error!(%errno, "an event cannot be signalled");
    }
}

/// Make an event unreadable.
pub(crate) fn clear(event: &EventFd) {
    if let Err(errno) = event.read()
        && errno != Errno::EAGAIN
    {
        tracing::error!(%errno, "an event cannot be cleared");
    }
}
