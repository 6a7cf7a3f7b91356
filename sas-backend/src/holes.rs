//! Where a disk has nothing: asked of the file system, by calls that may block.

use nix::errno::Errno;
use nix::libc::off_t;
use nix::unistd::{Whence, lseek};

use crate::disk::Stretch;
use crate::file::DiskFile;

/// How far from `offset` on, for at most `len` bytes, the disk is allocated or a hole; at least one block. What begins or
/// ends within a block makes it allocated, and so does a block device whose kernel knows nothing of holes.
///
/// The position of the descriptor is nobody's: all other calls name theirs.
pub(crate) fn stretch(disk: &DiskFile, offset: u64, len: u64) -> Result<Stretch, Errno> {
    let block = u64::from(disk.geometry().block_bytes);
    let seek = |whence| {
        let from = off_t::try_from(offset).map_err(|_| Errno::EFBIG)?;
        lseek(disk, from, whence).map(|at| u64::try_from(at).unwrap_or(offset).saturating_sub(offset))
    };
    let allocated = |bytes: u64| Stretch { len: bytes.next_multiple_of(block).min(len), allocated: true };
    let until_data = match seek(Whence::SeekData) {
        Ok(bytes) => bytes,
        // No more data up to the end.
        Err(Errno::ENXIO) => len,
        // A file system that cannot tell.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(allocated(len)),
        Err(errno) => return Err(errno),
    };
    let hole = until_data.min(len) / block * block;
    if hole > 0 {
        return Ok(Stretch { len: hole, allocated: false });
    }
    match seek(Whence::SeekHole) {
        // Data begins within the first block.
        Ok(bytes) => Ok(allocated(bytes.max(1))),
        Err(Errno::ENXIO) => Ok(allocated(len)),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn holes_and_what_is_between_them() {
        for scratch in [Scratch::new(), Scratch::in_memory()] {
            let path = scratch.image("disk", 8 << 20);
            std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[7; 8192], 1 << 20).unwrap();
            let disk = DiskFile::open(&path, None).unwrap();
            let at = |offset, len| stretch(&disk, offset, len).unwrap();
            let hole = |len| Stretch { len, allocated: false };
            let data = |len| Stretch { len, allocated: true };
            assert_eq!(at(0, 8 << 20), hole(1 << 20));
            assert_eq!(at(4096, 4096), hole(4096));
            assert_eq!(at(1 << 20, 8 << 20), data(8192));
            assert_eq!(at((1 << 20) + 512, 512), data(512));
            let rest = (8 << 20) - (1 << 20) - 8192;
            assert_eq!(at((1 << 20) + 8192, rest), hole(rest), "up to the end, after which there is nothing");
        }
    }
}
