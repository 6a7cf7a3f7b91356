//! Opening a disk: a regular file or a block device, with O_DIRECT where that is to be had.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{major, minor};

use crate::buffer::{Block, PAGE_BYTES};
use crate::disk::{DiskError, Geometry};
use crate::gate::Gate;
use crate::ioctl;
use crate::superblock::HeadId;

/// Why a path cannot be used as a disk, in plain words.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing there.
    #[error("{}: no such file or device", .0.display())]
    NotFound(PathBuf),
    /// A directory.
    #[error("{}: is a directory; a disk is a regular file or a block device", .0.display())]
    Directory(PathBuf),
    /// A socket, a terminal and the like.
    #[error("{}: is neither a regular file nor a block device", .0.display())]
    NotADisk(PathBuf),
    /// Access rights.
    #[error("{}: no permission to read and write it", .0.display())]
    Permission(PathBuf),
    /// Mounted, or served by another process.
    #[error("{}: already in use (mounted, or opened by another daemon)", .0.display())]
    InUse(PathBuf),
    /// A file with an odd end.
    #[error("{}: {size_bytes} bytes are not a multiple of the block size of {block_bytes} bytes", path.display())]
    NotWholeBlocks {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// The block size wanted.
        block_bytes: u32,
    },
    /// The device has larger blocks, or such blocks do not exist.
    #[error("{}: blocks of {wanted} bytes cannot be had; the device has blocks of {logical} bytes", path.display())]
    BlockBytes {
        /// The device.
        path: PathBuf,
        /// The block size wanted.
        wanted: u32,
        /// The device's.
        logical: u32,
    },
    /// It tells its size to nobody who is not registered with it, or it has no medium.
    #[error("{}: the disk does not tell its size: {reason}", path.display())]
    HidesItsSize {
        /// The disk.
        path: PathBuf,
        /// What was tried.
        reason: String,
    },
    /// No room for the reserved region.
    #[error("{}: {reason}", path.display())]
    TooSmall {
        /// The disk.
        path: PathBuf,
        /// How much is needed.
        reason: crate::superblock::region::TooSmall,
    },
    /// Two heads cannot share it.
    #[error("{}: two heads cannot share this disk: {reason}", path.display())]
    NoReservations {
        /// The disk.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A second daemon of the same head.
    #[error("{}: head {head} already runs on this disk", path.display())]
    HeadRuns {
        /// The disk.
        path: PathBuf,
        /// The head.
        head: HeadId,
    },
    /// Anything else.
    #[error("{}: {error}", path.display())]
    Io {
        /// The disk.
        path: PathBuf,
        /// As the kernel says it.
        error: io::Error,
    },
}

impl OpenError {
    pub(crate) fn from_io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
            Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => Self::NotFound(path),
            Errno::EISDIR => Self::Directory(path),
            Errno::EACCES | Errno::EPERM | Errno::EROFS => Self::Permission(path),
            Errno::EBUSY => Self::InUse(path),
            _ => Self::Io { path, error },
        }
    }
}

/// READ (10) of one block at address 0 (SBC-3 5.11).
const READ_FIRST_BLOCK: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// A status byte (SAM-5 5.3.1).
const RESERVATION_CONFLICT: u8 = 0x18;

/// What kind of thing the path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Block,
}

/// An open disk: one open file description, shared by all I/O of this head.
#[derive(Debug)]
pub(crate) struct DiskFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) kind: FileKind,
    geometry: Geometry,
    /// Its size as last asked for: disks grow.
    size_bytes: AtomicU64,
    /// What memory, offsets and lengths must be multiples of: 1 unless O_DIRECT is used.
    pub(crate) align: usize,
    pub(crate) gate: Arc<Gate>,
}

impl DiskFile {
    /// Open a path for reading and writing. A block device is claimed, so that nobody mounts it.
    pub(crate) fn open(path: &Path, block_bytes: Option<u32>) -> Result<Self, OpenError> {
        let (kind, geometry) = examine(path, block_bytes)?;
        let claim = match kind {
            FileKind::Regular => 0,
            FileKind::Block => libc::O_EXCL,
        };
        let (file, align) = open_best(path, claim, geometry.block_bytes).map_err(|e| OpenError::from_io(path, e))?;
        let size_bytes = AtomicU64::new(geometry.size_bytes);
        Ok(Self { file, path: path.to_owned(), kind, geometry, size_bytes, align, gate: Arc::default() })
    }

    /// What it is, with its size as last asked for.
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry { size_bytes: self.size_bytes.load(Ordering::Relaxed), ..self.geometry }
    }

    /// Ask the kernel how large it is now.
    pub(crate) fn measure(&self) -> io::Result<u64> {
        let bytes = match self.kind {
            FileKind::Regular => self.file.metadata()?.len(),
            FileKind::Block => self.device_bytes()?,
        };
        let bytes = bytes - bytes % u64::from(self.geometry.block_bytes);
        self.size_bytes.store(bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    /// A disk that refuses even READ CAPACITY to whoever is not registered with it is empty for the kernel, until it is
    /// told to look again.
    fn device_bytes(&self) -> io::Result<u64> {
        let device = self.file.as_fd();
        let known = ioctl::device_bytes(device)?;
        if known > 0 {
            return Ok(known);
        }
        if let Err(error) = ioctl::look_again(device) {
            tracing::debug!(path = %self.path.display(), %error, "the kernel does not look at the disk again");
        }
        match ioctl::device_bytes(device)? {
            0 if self.is_refused() => Err(Errno::EBADE.into()),
            0 => Err(Errno::ENOMEDIUM.into()),
            bytes => Ok(bytes),
        }
    }

    /// What a failed blocking call means. On a device that is empty for the kernel nothing is asked of the disk any more,
    /// so that a fence would never be heard of.
    pub(crate) fn error(&self, error: &io::Error) -> DiskError {
        if self.kind == FileKind::Block && ioctl::device_bytes(self.file.as_fd()) == Ok(0) && self.is_refused() {
            return DiskError::Fenced;
        }
        DiskError::from_io(error)
    }

    /// Ask the disk itself, whatever the kernel takes it for.
    fn is_refused(&self) -> bool {
        let mut block = vec![0; usize::try_from(self.geometry.block_bytes).unwrap_or(PAGE_BYTES)];
        ioctl::scsi_read(self.file.as_fd(), &mut READ_FIRST_BLOCK.clone(), &mut block) == Ok(RESERVATION_CONFLICT)
    }

    /// Whether the kernel takes the device for empty.
    pub(crate) fn hides_its_size(&self) -> bool {
        self.kind == FileKind::Block && self.geometry().size_bytes == 0
    }

    /// Whether the page cache is bypassed.
    pub(crate) fn is_direct(&self) -> bool {
        self.align > 1
    }
}

impl AsFd for DiskFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What the path is, without claiming or changing anything.
pub(crate) fn examine(path: &Path, block_bytes: Option<u32>) -> Result<(FileKind, Geometry), OpenError> {
    let io_error = |error| OpenError::from_io(path, error);
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    if metadata.is_dir() {
        return Err(OpenError::Directory(path.to_owned()));
    }
    if metadata.file_type().is_block_device() {
        let file = OpenOptions::new().read(true).open(path).map_err(io_error)?;
        return Ok((FileKind::Block, device_geometry(path, &file, metadata.rdev(), block_bytes)?));
    }
    if !metadata.is_file() {
        return Err(OpenError::NotADisk(path.to_owned()));
    }
    let block_bytes = block_bytes.unwrap_or(512);
    let size_bytes = metadata.len();
    if !matches!(block_bytes, 512 | 4096) {
        return Err(OpenError::BlockBytes { path: path.to_owned(), wanted: block_bytes, logical: 512 });
    }
    if !size_bytes.is_multiple_of(u64::from(block_bytes)) {
        return Err(OpenError::NotWholeBlocks { path: path.to_owned(), size_bytes, block_bytes });
    }
    Ok((FileKind::Regular, Geometry { block_bytes, size_bytes, volatile_cache: true }))
}

fn device_geometry(path: &Path, file: &File, rdev: u64, wanted: Option<u32>) -> Result<Geometry, OpenError> {
    let errno = |errno: Errno| OpenError::from_io(path, errno.into());
    let logical = ioctl::logical_block_bytes(file.as_fd()).map_err(errno)?;
    let block_bytes = wanted.unwrap_or(logical);
    if !matches!(block_bytes, 512 | 4096) || block_bytes < logical {
        return Err(OpenError::BlockBytes { path: path.to_owned(), wanted: block_bytes, logical });
    }
    let device_bytes = ioctl::device_bytes(file.as_fd()).map_err(errno)?;
    let size_bytes = device_bytes - device_bytes % u64::from(block_bytes);
    Ok(Geometry { block_bytes, size_bytes, volatile_cache: volatile_cache(rdev) })
}

/// Whether the kernel flushes this device; an unknown cache is a volatile one.
fn volatile_cache(rdev: u64) -> bool {
    let device = format!("/sys/dev/block/{}:{}", major(rdev), minor(rdev));
    // A partition has no queue of its own; its disk's is one level up.
    let read = |queue: &str| std::fs::read_to_string(format!("{device}/{queue}/write_cache"));
    read("queue").or_else(|_| read("../queue")).map_or(true, |mode| mode.trim() != "write through")
}

/// Open with O_DIRECT if the file takes blocks of `block_bytes` that way, else through the page cache.
fn open_best(path: &Path, claim: i32, block_bytes: u32) -> io::Result<(File, usize)> {
    let open = |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    match open(claim | libc::O_DIRECT) {
        Ok(file) => match direct_alignment(&file) {
            Some(align) if align <= block_bytes => {
                Ok((file, PAGE_BYTES.min(usize::try_from(align).unwrap_or(PAGE_BYTES))))
            }
            _ => {
                drop(file);
                open(claim).map(|file| (file, 1))
            }
        },
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(claim).map(|file| (file, 1)),
        Err(error) => Err(error),
    }
}

/// What O_DIRECT on this file asks for, found by trying: the alignment of memory, offset and length alike. Only EINVAL is
/// about that: any other error is one of the disk, which has been asked. One that this head is not registered with refuses
/// to be read, and must be opened all the same.
fn direct_alignment(file: &File) -> Option<u32> {
    let mut block = Block::zeroed();
    for align in [512u16, 4096] {
        let from = usize::from(align) % PAGE_BYTES;
        let into = if from == 0 { &mut block[..] } else { &mut block[from..2 * from] };
        match file.read_at(into, u64::from(align)) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            _ => return Some(u32::from(align)),
        }
    }
    None
}
