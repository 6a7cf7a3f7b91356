//! One operation on its way through the kernel: checked, aligned, continued when the kernel did only a part of it.
//! Whether io_uring or a thread executes it makes no difference here.

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;

use crate::buffer::{BufferMut, Payload, Pool, zeroes};
use crate::disk::{Answer, DiskError, DiskOp, Stretch};
use crate::file::DiskFile;

/// Pieces that one vectored call takes (UIO_MAXIOV).
pub(crate) const PIECES_MAX: usize = 1024;
/// Bytes that one read call asks for; the kernel does at most 2 GiB in one.
const READ_MAX_BYTES: usize = 1 << 30;

/// An operation and how far it is.
#[derive(Debug)]
pub(crate) enum Work {
    Read {
        offset: u64,
        into: BufferMut,
        done: usize,
    },
    Write {
        offset: u64,
        pieces: Vec<Payload>,
        total: usize,
        done: usize,
    },
    Flush,
    Zero {
        offset: u64,
        len: u64,
        by: ZeroBy,
        otherwise: Option<ZeroBy>,
    },
    /// Not by io_uring, which cannot.
    Map {
        offset: u64,
        len: u64,
        found: Option<Stretch>,
    },
}

/// The ways to zeroes that leave the work to the file system or the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZeroBy {
    /// Allocated zeroes.
    Range,
    /// A hole, which reads as zeroes in a file as well as on a device (there it is "write zeroes, and unmap if you like").
    Hole,
}

/// What came of one call.
#[derive(Debug)]
pub(crate) enum Next {
    /// There is more to do.
    Again(Work),
    /// The operation has ended.
    Done(Result<Answer, DiskError>),
}

impl Work {
    /// Check an operation against the disk and bring its memory into the alignment that the disk asks for.
    pub(crate) fn new(op: DiskOp, disk: &DiskFile, pool: &Pool) -> Result<Self, DiskError> {
        let (offset, len) = match &op {
            DiskOp::Read { offset, into } => (*offset, size_of_memory(into.len())),
            DiskOp::Write { offset, data } => (*offset, data.iter().map(|piece| size_of_memory(piece.len())).sum()),
            DiskOp::Flush => (0, 0),
            DiskOp::Deallocate { offset, len } | DiskOp::WriteZeroes { offset, len } | DiskOp::Map { offset, len } => {
                (*offset, *len)
            }
        };
        check(offset, len, disk)?;
        Ok(match op {
            DiskOp::Read { offset, into } => Self::Read { offset, into, done: 0 },
            DiskOp::Write { offset, data } => {
                let total = data.iter().map(|piece| piece.len()).sum();
                Self::Write { offset, pieces: aligned(data, disk.align, pool), total, done: 0 }
            }
            DiskOp::Flush => Self::Flush,
            DiskOp::Deallocate { offset, len } => {
                Self::Zero { offset, len, by: ZeroBy::Hole, otherwise: Some(ZeroBy::Range) }
            }
            DiskOp::WriteZeroes { offset, len } => {
                Self::Zero { offset, len, by: ZeroBy::Range, otherwise: Some(ZeroBy::Hole) }
            }
            DiskOp::Map { offset, len } => Self::Map { offset, len, found: None },
        })
    }

    /// Take note of what the kernel answered.
    pub(crate) fn advance(self, answer: Result<usize, Errno>, disk: &DiskFile) -> Next {
        match (self, answer) {
            (work, Err(Errno::EINTR | Errno::EAGAIN)) => Next::Again(work),
            (Self::Read { offset, into, done }, Ok(bytes)) => match progress(done, bytes, into.len(), disk.align) {
                Progress::Whole => Next::Done(Ok(Answer::Read(into))),
                Progress::Part(done) => Next::Again(Self::Read { offset, into, done }),
                Progress::Stuck => {
                    Next::Done(Err(DiskError::Path(format!("no data at byte {offset}: the disk has shrunk"))))
                }
            },
            (Self::Write { offset, pieces, total, done }, Ok(bytes)) => {
                match progress(done, bytes, total, disk.align) {
                    Progress::Whole => Next::Done(Ok(Answer::Done)),
                    Progress::Part(done) => Next::Again(Self::Write { offset, pieces, total, done }),
                    Progress::Stuck => {
                        Next::Done(Err(DiskError::Path(format!("nothing can be written at byte {offset}"))))
                    }
                }
            }
            (Self::Flush | Self::Zero { .. }, Ok(_)) => Next::Done(Ok(Answer::Done)),
            (Self::Zero { offset, len, otherwise, .. }, Err(Errno::EOPNOTSUPP)) => {
                Next::Again(zero_otherwise(offset, len, otherwise))
            }
            (Self::Map { found, .. }, Ok(_)) => {
                let nobody = || DiskError::Path("nobody has looked where the disk has holes".to_owned());
                Next::Done(found.map(Answer::Map).ok_or_else(nobody))
            }
            (_, Err(errno)) => Next::Done(Err(DiskError::from_errno(errno))),
        }
    }
}

fn size_of_memory(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn check(offset: u64, len: u64, disk: &DiskFile) -> Result<(), DiskError> {
    let block = u64::from(disk.geometry().block_bytes);
    if !offset.is_multiple_of(block) || !len.is_multiple_of(block) {
        return Err(DiskError::Path(format!("{len} bytes at {offset} are not whole blocks")));
    }
    if offset.checked_add(len).is_none_or(|end| end > disk.geometry().size_bytes) {
        return Err(DiskError::Path(format!("{len} bytes at {offset} are beyond the end of the disk")));
    }
    Ok(())
}

enum Progress {
    Whole,
    Part(usize),
    Stuck,
}

/// A part may end off the alignment; what lies behind its last multiple is then done again.
fn progress(done: usize, bytes: usize, total: usize, align: usize) -> Progress {
    let now = done + bytes;
    if now >= total {
        return Progress::Whole;
    }
    let now = now - now % align;
    if now > done { Progress::Part(now) } else { Progress::Stuck }
}

impl ZeroBy {
    pub(crate) fn mode(self) -> FallocateFlags {
        let by = match self {
            Self::Range => FallocateFlags::FALLOC_FL_ZERO_RANGE,
            Self::Hole => FallocateFlags::FALLOC_FL_PUNCH_HOLE,
        };
        by | FallocateFlags::FALLOC_FL_KEEP_SIZE
    }
}

/// The disk does not do it in the way that was tried: in another one, or by writing.
fn zero_otherwise(offset: u64, len: u64, otherwise: Option<ZeroBy>) -> Work {
    if let Some(by) = otherwise {
        return Work::Zero { offset, len, by, otherwise: None };
    }
    let total = usize::try_from(len).unwrap_or(usize::MAX);
    Work::Write { offset, pieces: zeroes(len).collect(), total, done: 0 }
}

/// What of a read is still to be filled by one call.
pub(crate) fn rest_of_read(into: &mut BufferMut, done: usize) -> &mut [u8] {
    let end = into.len().min(done + READ_MAX_BYTES);
    &mut into[done..end]
}

/// The pieces of a write that are still to be written, as many as one call takes.
pub(crate) fn rest_of_write(pieces: &[Payload], done: usize) -> impl Iterator<Item = &[u8]> {
    let mut skip = done;
    pieces
        .iter()
        .filter_map(move |piece| {
            let from = skip.min(piece.len());
            skip -= from;
            (from < piece.len()).then(|| &piece[from..])
        })
        .take(PIECES_MAX)
}

/// The same bytes in pieces that begin and end on the alignment: what does not is copied together with its neighbours
/// until it does.
fn aligned(pieces: Vec<Payload>, align: usize, pool: &Pool) -> Vec<Payload> {
    let fits = |piece: &Payload| piece.is_aligned_to(align) && piece.len().is_multiple_of(align);
    if pieces.iter().all(fits) {
        return pieces;
    }
    let mut out = Vec::with_capacity(pieces.len());
    let mut run: Vec<Payload> = Vec::new();
    let mut run_len = 0;
    for piece in pieces {
        if run_len % align == 0 && fits(&piece) {
            out.extend(joined(&mut run, pool));
            run_len = 0;
            out.push(piece);
        } else {
            run_len += piece.len();
            run.push(piece);
        }
    }
    out.extend(joined(&mut run, pool));
    out
}

fn joined(run: &mut Vec<Payload>, pool: &Pool) -> Option<Payload> {
    if run.is_empty() {
        return None;
    }
    let mut buffer = pool.take(run.iter().map(|piece| piece.len()).sum());
    let mut at = 0;
    for piece in run.drain(..) {
        buffer[at..at + piece.len()].copy_from_slice(&piece);
        at += piece.len();
    }
    Some(buffer.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_part_is_continued_at_its_last_multiple_of_the_alignment() {
        assert!(matches!(progress(0, 4096, 4096, 512), Progress::Whole));
        assert!(matches!(progress(0, 1000, 4096, 512), Progress::Part(512)));
        assert!(matches!(progress(512, 1000, 4096, 1), Progress::Part(1512)));
        assert!(matches!(progress(512, 100, 4096, 512), Progress::Stuck));
        assert!(matches!(progress(0, 0, 4096, 1), Progress::Stuck));
        assert!(matches!(progress(0, 0, 0, 1), Progress::Whole));
    }

    #[test]
    fn what_cannot_be_deallocated_is_zeroed_and_in_the_end_written() {
        let scratch = crate::testing::Scratch::new();
        let disk = DiskFile::open(&scratch.image("disk", 8 << 20), None).unwrap();
        let mut work = Work::new(DiskOp::Deallocate { offset: 4096, len: 3 << 20 }, &disk, &Pool::new()).unwrap();
        for tried in [ZeroBy::Hole, ZeroBy::Range] {
            assert!(matches!(&work, Work::Zero { offset: 4096, by, .. } if *by == tried), "{work:?}");
            work = match work.advance(Err(Errno::EOPNOTSUPP), &disk) {
                Next::Again(work) => work,
                Next::Done(result) => panic!("{result:?}"),
            };
        }
        let Work::Write { offset: 4096, pieces, total, done: 0 } = work else { panic!("{work:?}") };
        assert_eq!((total, pieces.iter().map(|piece| piece.len()).sum()), (3 << 20, 3 << 20));
        assert!(pieces.iter().all(|piece| piece.iter().all(|&byte| byte == 0)));
    }

    #[test]
    fn one_call_takes_a_bounded_number_of_pieces() {
        let pieces: Vec<Payload> = (0..=PIECES_MAX).flat_map(|_| zeroes(512)).collect();
        assert_eq!(rest_of_write(&pieces, 0).count(), PIECES_MAX);
        assert_eq!(rest_of_write(&pieces, 513).next().unwrap().len(), 511);
        assert_eq!(rest_of_write(&pieces, 512 * PIECES_MAX).count(), 1);
    }

    proptest! {
        #[test]
        fn alignment_changes_no_byte(cuts in proptest::collection::vec((0usize..5000, 0usize..9000), 1..12)) {
            let pool = Pool::new();
            let bytes: Vec<u8> = (0..=255).cycle().take(16_384).collect();
            let whole = pool.copy_of(&bytes);
            let mut pieces: Vec<Payload> = cuts.iter().map(|&(from, len)| whole.slice(from..from + len)).collect();
            let before: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            let missing = before.len().next_multiple_of(512) - before.len();
            pieces.push(whole.slice(0..missing));
            let before: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            let after = aligned(pieces, 512, &pool);
            prop_assert!(after.iter().all(|piece| piece.is_aligned_to(512) && piece.len() % 512 == 0));
            prop_assert_eq!(after.iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>(), before);
        }
    }
}
