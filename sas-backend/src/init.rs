//! What `targetctl disk init` does: look at what a disk holds, then write both copies of the first superblock.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::buffer::{Block, PAGE_BYTES};
use crate::disk::DiskError;
use crate::file::{DiskFile, FileKind, OpenError, examine};
use crate::probe::claim;
use crate::superblock::locate::{Known, LocateError, locate};
use crate::superblock::pick::{Picked, pick};
use crate::superblock::region::{Region, SuperblockCopy};
use crate::superblock::{Identity, IdentityError, Superblock};
use crate::sync::SyncIo;

/// Partition tables and signatures of file systems lie within this.
const START_BYTES: usize = 1 << 20;

/// What a disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Zeroes where anything would leave a trace.
    Blank,
    /// It was initialised before.
    HasSuperblock(Box<Superblock>),
    /// Something else.
    HasData {
        /// What, in plain words.
        what: String,
    },
}

/// What to do with what the disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to initialise a disk that holds anything.
    OnlyIfBlank,
    /// It becomes the contents of the LUN; the end of the disk must be free.
    Keep,
    /// Overwrite the start and the end of the disk.
    Wipe,
}

/// What a new disk is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDisk {
    /// The iSCSI name of the target.
    pub iqn: String,
    /// The name of the LUN.
    pub lun_name: String,
    /// Bytes of a logical block; without it what the device has, and 512 for files.
    pub block_bytes: Option<u32>,
}

/// Why a disk cannot be initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A name is too long, for instance.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It holds something and must be blank.
    #[error("the disk is not blank: {0}")]
    NotBlank(String),
    /// It is to be kept, and there is no room.
    #[error("there is no room at the end of the disk: the last 4 MiB must be zero to keep what is before them")]
    NoRoom,
    /// No random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
    /// Reading or writing failed.
    #[error("{0}")]
    Disk(#[from] DiskError),
}

/// Look at a disk without changing or claiming it.
///
/// # Errors
/// When it cannot be opened or read.
pub fn inspect(path: &Path) -> Result<Contents, InitError> {
    let (kind, geometry) = examine(path, None)?;
    let file = File::open(path).map_err(|error| OpenError::from_io(path, error))?;
    look(&file, region(path, kind, geometry.size_bytes)?, geometry.size_bytes)
}

/// Make a path a disk of the pair: superblock at its end, a new identity.
///
/// # Errors
/// When it holds something that `existing` does not allow, or cannot be written.
pub fn initialise(path: &Path, new: &NewDisk, existing: Existing) -> Result<Superblock, InitError> {
    let file = DiskFile::open(path, new.block_bytes)?;
    claim(&file, false)?;
    let size_bytes = file.geometry().size_bytes;
    let region = region(path, file.kind, size_bytes)?;
    let superblock = Superblock::new(identity(new, &file, region)?);
    let file = Arc::new(file);
    let io = SyncIo::new(Arc::clone(&file));
    match (existing, look(&file.file, region, size_bytes)?) {
        (Existing::OnlyIfBlank | Existing::Keep, Contents::HasSuperblock(old)) => {
            let Identity { iqn, lun_name, .. } = &old.identity;
            return Err(InitError::NotBlank(format!("it is \"{lun_name}\" of the target {iqn}")));
        }
        (Existing::OnlyIfBlank, Contents::HasData { what }) => return Err(InitError::NotBlank(what)),
        (Existing::Keep, _) if !is_free(&file.file, region, size_bytes)? => return Err(InitError::NoRoom),
        (Existing::OnlyIfBlank | Existing::Keep, _) => {}
        (Existing::Wipe, _) => wipe(&file.file, region, size_bytes)?,
    }
    forget_reservations(&file)?;
    let block = Block::from(&superblock.emit());
    for copy in SuperblockCopy::BOTH {
        io.write_block(region.superblock(copy), &block, true)?;
    }
    Ok(superblock)
}

fn region(path: &Path, kind: FileKind, size_bytes: u64) -> Result<Region, OpenError> {
    if kind == FileKind::Block && size_bytes == 0 {
        let reason = "no medium, or it is reserved and this machine is not registered with it".to_owned();
        return Err(OpenError::HidesItsSize { path: path.to_owned(), reason });
    }
    Region::of(size_bytes).map_err(|reason| OpenError::TooSmall { path: path.to_owned(), reason })
}

fn identity(new: &NewDisk, file: &DiskFile, region: Region) -> Result<Identity, InitError> {
    let mut uuid = [0; 16];
    getrandom::fill(&mut uuid).map_err(|error| InitError::Random(error.to_string()))?;
    let identity = Identity {
        iqn: new.iqn.clone(),
        lun_name: new.lun_name.clone(),
        uuid,
        block_bytes: file.geometry().block_bytes,
        data_bytes: region.data_bytes(),
        device_bytes: file.geometry().size_bytes,
    };
    identity.check()?;
    Ok(identity)
}

/// Registrations with an earlier disk at this path mean nothing; nobody has it open, or it could not have been claimed.
fn forget_reservations(file: &DiskFile) -> Result<(), InitError> {
    if file.kind == FileKind::Block {
        return Ok(());
    }
    let forget = || match std::fs::remove_file(crate::reservation::sidecar_path(&file.path)?) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    forget().map_err(|error| InitError::Open(OpenError::from_io(&file.path, error)))
}

/// Zero what could be taken for something else: the start, and everything from the region on.
fn wipe(file: &File, region: Region, size_bytes: u64) -> Result<(), DiskError> {
    let zeroes = Block::zeroed();
    for range in [0..size_of_memory(START_BYTES), region.start()..size_bytes] {
        for (offset, len) in pages(range) {
            file.write_all_at(&zeroes[..len], offset).map_err(|error| DiskError::from_io(&error))?;
        }
    }
    Ok(())
}

/// Page by page; the last one may be shorter, as the device's last block may lie off a page.
fn pages(range: Range<u64>) -> impl Iterator<Item = (u64, usize)> {
    let end = range.end;
    range.step_by(PAGE_BYTES).map(move |at| (at, usize::try_from(end - at).unwrap_or(PAGE_BYTES).min(PAGE_BYTES)))
}

fn size_of_memory(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn look(file: &File, region: Region, size_bytes: u64) -> Result<Contents, InitError> {
    // A disk that has grown, or whose superblock is just moving, holds one elsewhere.
    let read_block = |offset, block: &mut Block| read(file, offset, &mut block[..]);
    match locate(Known::default(), size_bytes, read_block) {
        Ok(found) => return Ok(Contents::HasSuperblock(Box::new(found.superblock))),
        Err(LocateError::Disk(error)) => return Err(error.into()),
        Err(LocateError::Unusable(_) | LocateError::PathTooSmall { .. }) => {}
    }
    let copy = |copy| -> Result<Block, DiskError> {
        let mut block = Block::zeroed();
        read(file, region.superblock(copy), &mut block[..])?;
        Ok(block)
    };
    match pick(&*copy(SuperblockCopy::First)?, &*copy(SuperblockCopy::Second)?) {
        Picked::Valid { superblock, .. } => return Ok(Contents::HasSuperblock(superblock)),
        Picked::Damaged { why } => return Ok(has_data(format!("a damaged superblock of a target ({why})"))),
        Picked::NewerVersion { version } => return Ok(has_data(format!("a superblock of version {version}"))),
        Picked::Blank | Picked::Foreign { .. } => {}
    }
    let mut start = crate::buffer::Pool::new().take(START_BYTES);
    read(file, 0, &mut start)?;
    Ok(match judge(&start) {
        Some(what) => has_data(what),
        None if !is_free(file, region, size_bytes)? => has_data("data in its last 5 MiB".to_owned()),
        None => Contents::Blank,
    })
}

fn has_data(what: String) -> Contents {
    Contents::HasData { what }
}

/// Whether everything from the region to the end is zero.
fn is_free(file: &File, region: Region, size_bytes: u64) -> Result<bool, DiskError> {
    let mut block = Block::zeroed();
    for (offset, len) in pages(region.start()..size_bytes) {
        read(file, offset, &mut block[..len])?;
        if block[..len].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(file: &File, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
    file.read_exact_at(into, offset).map_err(|error| DiskError::from_io(&error))
}

/// Signatures, by where they lie. The first that matches names the contents.
const SIGNATURES: [(usize, &[u8], &str); 9] = [
    (512, b"EFI PART", "a GPT partition table"),
    (4096, b"EFI PART", "a GPT partition table"),
    (512, b"LABELONE", "an LVM physical volume"),
    (0, b"XFSB", "an XFS file system"),
    (1024 + 56, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (4096 - 10, b"SWAPSPACE2", "swap space"),
    (65_536 + 64, b"_BHRfS_M", "a btrfs file system"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (510, b"\x55\xaa", "a boot sector or MBR partition table"),
];

/// What the first MiB of a disk looks like; `None` for nothing at all.
fn judge(start: &[u8]) -> Option<String> {
    let has = |at: usize, signature: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(signature));
    if let Some((_, _, what)) = SIGNATURES.iter().find(|(at, signature, _)| has(*at, signature)) {
        return Some((*what).to_owned());
    }
    let at = start.iter().position(|&byte| byte != 0)?;
    let first: Vec<String> = start[at..].iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("unknown data at byte {at}: {}", first.join(" ")))
}

#[cfg(test)]
mod tests;
