//! Opening a disk with all that belongs to it: the ring, the blocking companion, the reservations.

use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, Geometry};
use crate::file::{DiskFile, FileKind, OpenError};
use crate::reservation::emulated::Emulated;
use crate::reservation::exclusive::Exclusive;
use crate::reservation::linux_pr::LinuxPr;
use crate::reservation::locks::LockRange;
use crate::reservation::{Key, ReservationError, Reservations};
use crate::superblock::HeadId;
use crate::superblock::region::Region;
use crate::sync::SyncIo;
use crate::threads::ThreadDisk;
use crate::uring::UringDisk;

/// How to open a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Which head opens it.
    pub head: HeadId,
    /// Whether the other head opens it too.
    pub shared: bool,
    /// Bytes of a block; without it what the device has, and 512 for files.
    pub block_bytes: Option<u32>,
    /// What to register with if the disk does not even tell its size to a head that is not registered.
    pub key: Key,
}

/// An open disk.
pub struct OpenDisk {
    /// Reads and writes.
    pub disk: Box<dyn Disk + Send>,
    /// Reads and writes single blocks for other threads.
    pub sync: SyncIo,
    /// Registers, reserves and fences.
    pub reservations: Box<dyn Reservations>,
    /// What it is.
    pub geometry: Geometry,
    /// For people.
    pub description: String,
}

impl std::fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenDisk({})", self.description)
    }
}

/// Open a regular file or a block device as a disk of this head.
///
/// # Errors
/// In plain words.
pub fn open_disk(path: &Path, options: OpenOptions) -> Result<OpenDisk, OpenError> {
    let mut file = DiskFile::open(path, options.block_bytes)?;
    let mut registered = None;
    if options.shared && file.hides_its_size() {
        file = reveal(file, options)?;
        registered = Some(options.key);
    }
    let file = Arc::new(file);
    let geometry = file.geometry();
    Region::of(geometry.size_bytes).map_err(|reason| OpenError::TooSmall { path: path.to_owned(), reason })?;
    claim(&file, options.shared)?;
    let (reservations, how) = reservations(&file, options, registered)?;
    let (disk, engine) = engine(&file)?;
    let cache = if file.is_direct() { "O_DIRECT" } else { "the page cache" };
    let (size_mib, block_bytes) = (geometry.size_bytes >> 20, geometry.block_bytes);
    let description =
        format!("{}: {size_mib} MiB, {block_bytes}-byte blocks, {engine} with {cache}, {how}", path.display());
    Ok(OpenDisk { disk, sync: SyncIo::new(file), reservations, geometry, description })
}

/// The kernel has looked at the disk when this head was not registered with it, and was told nothing: register, and open
/// it anew when the kernel knows how large it is and what blocks it has. A disk should answer READ CAPACITY to everybody
/// (SBC-3, Reservations); not every one does.
fn reveal(file: DiskFile, options: OpenOptions) -> Result<DiskFile, OpenError> {
    let file = Arc::new(file);
    let path = file.path.clone();
    let hidden = |reason: String| OpenError::HidesItsSize { path: path.clone(), reason };
    let mut reservations = LinuxPr::new(Arc::clone(&file), None);
    let keys = reservations.keys().map_err(|error| hidden(error.to_string()))?;
    if keys.is_empty() || keys.iter().any(|key| key.head().is_none()) {
        return Err(hidden("no medium, or a reservation of somebody who is not of this pair".to_owned()));
    }
    reservations.register(options.key).map_err(|error| hidden(error.to_string()))?;
    if file.measure().is_err() {
        reservations.unregister().map_err(|error| hidden(error.to_string()))?;
        return Err(hidden("not even to a head that is registered with it".to_owned()));
    }
    drop((reservations, file));
    DiskFile::open(&path, options.block_bytes)
}

/// Keep others from using a file in a way that does not go with ours; block devices were claimed when they were opened.
pub(crate) fn claim(file: &DiskFile, shared: bool) -> Result<(), OpenError> {
    if file.kind == FileKind::Block {
        return Ok(());
    }
    let range = if shared { LockRange::SHARED } else { LockRange::ALL };
    match range.try_lock(file) {
        Ok(true) => Ok(()),
        Ok(false) => Err(OpenError::InUse(file.path.clone())),
        Err(errno) => Err(OpenError::from_io(&file.path, errno.into())),
    }
}

fn reservations(
    file: &Arc<DiskFile>,
    options: OpenOptions,
    registered: Option<Key>,
) -> Result<(Box<dyn Reservations>, &'static str), OpenError> {
    let error = |error| match error {
        ReservationError::HeadRuns(head) => OpenError::HeadRuns { path: file.path.clone(), head },
        other => OpenError::NoReservations { path: file.path.clone(), reason: other.to_string() },
    };
    match (options.shared, file.kind) {
        (false, _) => Ok((Box::new(Exclusive::default()), "not shared")),
        (true, FileKind::Regular) => {
            let emulated = Emulated::new(options.head, Arc::clone(file)).map_err(error)?;
            Ok((Box::new(emulated), "shared by processes of this machine"))
        }
        (true, FileKind::Block) => {
            let mut linux_pr = LinuxPr::new(Arc::clone(file), registered);
            linux_pr.keys().map_err(error)?;
            Ok((Box::new(linux_pr), "shared, with persistent reservations"))
        }
    }
}

fn engine(file: &Arc<DiskFile>) -> Result<(Box<dyn Disk + Send>, &'static str), OpenError> {
    match UringDisk::new(Arc::clone(file)) {
        Ok(disk) => Ok((Box::new(disk), "io_uring")),
        Err(error) => {
            tracing::warn!(%error, "io_uring is not to be had; threads read and write instead, which is slower");
            let disk = ThreadDisk::new(Arc::clone(file)).map_err(|error| OpenError::from_io(&file.path, error))?;
            Ok((Box::new(disk), "threads"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Block;
    use crate::disk::DiskError;
    use crate::superblock::{Epoch, Incarnation};
    use crate::testing::Scratch;
    use HeadId::{A, B};

    const SIZE: u64 = 8 << 20;

    fn options(head: HeadId, shared: bool) -> OpenOptions {
        OpenOptions { head, shared, block_bytes: None, key: key(head) }
    }

    fn key(head: HeadId) -> Key {
        Key::new(head, Epoch(1), Incarnation::new(5).unwrap())
    }

    fn error(path: &Path, options: OpenOptions) -> String {
        open_disk(path, options).unwrap_err().to_string()
    }

    #[test]
    fn errors_are_in_plain_words() {
        let scratch = Scratch::new();
        let single = options(A, false);
        let says = |path: &Path, options, words: &str| {
            let error = error(path, options);
            assert!(error.contains(words), "{error}");
        };
        says(&scratch.path("nothing"), single, "no such file or device");
        says(&scratch.path(""), single, "is a directory");
        says(Path::new("/dev/null"), single, "neither a regular file nor a block device");
        says(&scratch.image("odd", SIZE + 100), single, "are not a multiple of the block size of 512 bytes");
        says(&scratch.image("small", 1 << 20), single, "are too small: 4 MiB at the end are reserved");
        let large_blocks = OpenOptions { block_bytes: Some(8192), ..single };
        says(&scratch.image("disk", SIZE), large_blocks, "blocks of 8192 bytes cannot be had");
    }

    #[test]
    fn a_disk_of_one_head_is_opened_once() {
        let scratch = Scratch::new();
        let image = scratch.image("disk", SIZE);
        let mut open = open_disk(&image, options(A, false)).unwrap();
        assert!(open.description.contains("8 MiB, 512-byte blocks"), "{}", open.description);
        assert!(error(&image, options(A, false)).contains("already in use"));
        assert!(error(&image, options(B, true)).contains("already in use"));
        let key = key(A);
        open.reservations.register(key).unwrap();
        open.reservations.reserve().unwrap();
        assert_eq!(open.reservations.holder(), Ok(Some(key)));
        assert_eq!(open.sync.read_block(0, &mut Block::zeroed()), Ok(()));
        assert!(matches!(open.sync.read_block(SIZE, &mut Block::zeroed()), Err(DiskError::Path(_))));
        drop(open);
        drop(open_disk(&image, options(B, true)).unwrap());
    }

    #[test]
    fn a_shared_disk_is_opened_by_both_heads() {
        let scratch = Scratch::in_memory();
        let image = scratch.image("disk", SIZE);
        let mut a = open_disk(&image, options(A, true)).unwrap();
        let mut b = open_disk(&image, options(B, true)).unwrap();
        assert!(error(&image, options(A, false)).contains("already in use"));
        a.reservations.register(key(A)).unwrap();
        b.reservations.register(key(B)).unwrap();
        b.reservations.preempt_and_abort(key(A)).unwrap();
        assert_eq!(a.sync.write_block(0, &Block::zeroed(), true), Err(DiskError::Fenced));
        assert_eq!(b.sync.write_block(0, &Block::zeroed(), true), Ok(()));
    }
}
