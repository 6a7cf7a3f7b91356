//! Keeping the superblock: which bytes of it go where, and in which order, so that whoever looks finds the newest whole
//! one, whatever is cut short. Pure but for the disk that it is given.

use sas_backend::buffer::Block;
use sas_backend::disk::DiskError;
use sas_backend::superblock::locate::{Found, Known, LocateError, locate};
use sas_backend::superblock::pick::{check, pick};
use sas_backend::superblock::region::{REGION_BYTES, Region, SuperblockCopy};
use sas_backend::superblock::sectors::Sectors;
use sas_backend::superblock::{Identity, Record, Superblock};

use crate::head::{Capacity, Ownership, StorageError};

const BLOCK_BYTES: u64 = 4096;

/// How often the superblock is read again whose record does not fit: its owner may just be writing the next one.
const RECORD_ATTEMPTS: u32 = 5;

/// What one head knows of the superblock of one disk.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// Where it is.
    region: Region,
    /// A place that was cleared by this head for a superblock that is to move there.
    prepared: Option<Region>,
    /// The superblock as last seen, and where the next one goes.
    seen: Option<(Superblock, SuperblockCopy)>,
    iqn: String,
    /// `None`: as the disk has it.
    name: Option<String>,
}

impl Keeper {
    /// Nothing is known yet but where to look first, and whose disk it has to be.
    #[must_use]
    pub fn new(region: Region, iqn: String) -> Self {
        Self { region, prepared: None, seen: None, iqn, name: None }
    }

    /// Where the superblock is.
    #[must_use]
    pub fn region(&self) -> Region {
        self.region
    }

    /// The superblock as last seen.
    #[must_use]
    pub fn seen(&self) -> Option<&Superblock> {
        self.seen.as_ref().map(|(seen, _)| seen)
    }

    /// The LUN has another name in the superblocks that are written from now on.
    pub fn rename(&mut self, name: String) {
        self.name = Some(name);
    }

    /// This head registers anew: the other one may have written wherever this one has prepared anything.
    pub fn forget_prepared(&mut self) {
        self.prepared = None;
    }

    /// Find the superblock. The disk may have grown, and the superblock moved, since it was read last.
    ///
    /// # Errors
    /// Why there is none that can be used.
    pub fn read(&mut self, disk: &impl Sectors) -> Result<Ownership, StorageError> {
        let size_bytes = disk.measure()?;
        let known = Known {
            region: self.seen.is_some().then_some(self.region),
            uuid: self.seen().map(|seen| seen.identity.uuid),
        };
        let (Found { superblock, region, next, .. }, record) = locate_with_record(disk, known, size_bytes)?;
        check(&superblock, &self.iqn, size_bytes).map_err(|error| StorageError::Failed(error.to_string()))?;
        if let Some(seen) = self.seen()
            && (superblock.epoch, superblock.sequence) < (seen.epoch, seen.sequence)
        {
            let (then, now) = (seen.epoch, superblock.epoch);
            return Err(StorageError::Failed(format!("the superblock has gone back from epoch {then} to {now}")));
        }
        let ownership = ownership_of(&superblock, record);
        self.seen = Some((superblock, next));
        self.region = region;
        Ok(ownership)
    }

    /// Flush, write, flush: what was written before is durable before the superblock speaks of it. While the unit grows,
    /// it goes to its old place first, so that whoever looks there finds the way, and then to its new one.
    ///
    /// # Errors
    /// As the disk says. It may have been written all the same.
    pub fn write(&mut self, disk: &impl Sectors, next: &Ownership) -> Result<(), StorageError> {
        let Some((seen, copy)) = &self.seen else { return Err(unread()) };
        let block_bytes = u64::from(seen.identity.block_bytes);
        let data_bytes = next.capacity.reserved_at() * block_bytes;
        let region = region_behind(data_bytes)?;
        let moves = region != self.region;
        let device_bytes = if moves { region.end() } else { seen.identity.device_bytes };
        let copy = if moves { SuperblockCopy::First } else { *copy };
        let mut identity = Identity { data_bytes, device_bytes, ..seen.identity.clone() };
        if let Some(name) = &self.name {
            identity.lun_name.clone_from(name);
        }
        let superblock = Superblock {
            identity,
            sequence: seen.sequence + 1,
            flags: seen.flags,
            epoch: next.epoch,
            owner: next.owner,
            owner_incarnation: next.owner_incarnation,
            mirror: next.mirror,
            draining: next.draining,
            dirty: next.dirty,
            losses_accepted: next.losses,
            growing_from: next.capacity.growing_to.map(|_| next.capacity.blocks * block_bytes),
            record: next.record.sum(),
        };
        if moves {
            self.prepare(disk, region)?;
        }
        disk.flush()?;
        let block = Block::from(&superblock.emit());
        if let Some(old) = superblock.growing_from {
            let old = region_behind(old)?;
            let copy = next_copy(disk, old)?;
            write_copy(disk, old, copy, &block, &next.record)?;
        }
        write_copy(disk, region, copy, &block, &next.record)?;
        self.seen = Some((superblock, copy.other()));
        self.region = region;
        Ok(())
    }

    /// What was left behind where the superblock is to be must not be taken for one. Before anybody can know of the place,
    /// and once only: a superblock that was written there and seems to have failed may have been read.
    fn prepare(&mut self, disk: &impl Sectors, region: Region) -> Result<(), StorageError> {
        if self.prepared == Some(region) {
            return Ok(());
        }
        let size_bytes = disk.measure()?;
        if region.end() > size_bytes {
            return Err(StorageError::Failed(format!(
                "the disk has {size_bytes} bytes, and {} are needed",
                region.end()
            )));
        }
        disk.write_zeroes(region.start(), REGION_BYTES)?;
        self.prepared = Some(region);
        Ok(())
    }

    /// Blocks of the unit if it had all of the disk. It cannot have less than a whole region more: the superblock would
    /// move onto itself.
    ///
    /// # Errors
    /// When the size is not to be had.
    pub fn measure(&self, disk: &impl Sectors) -> Result<u64, StorageError> {
        let Some(seen) = self.seen() else { return Err(unread()) };
        let size_bytes = disk.measure()?;
        let end = Region::of(size_bytes).map_err(|error| StorageError::Failed(error.to_string()))?;
        let now = self.region;
        let grown_too_little = end.start() > now.start() && end.start() < now.end();
        let data_bytes = if grown_too_little { now.start() } else { end.start() };
        Ok(data_bytes / u64::from(seen.identity.block_bytes))
    }

    /// Write zeroes where the superblock was before it moved.
    ///
    /// # Errors
    /// As the disk says.
    pub fn clear_old_place(&self, disk: &impl Sectors) -> Result<(), StorageError> {
        let old = self.seen().and_then(|seen| seen.growing_from);
        old.map_or(Ok(()), |old| disk.write_zeroes(old, REGION_BYTES)).map_err(StorageError::from)
    }
}

fn locate_with_record(disk: &impl Sectors, known: Known, size_bytes: u64) -> Result<(Found, Record), StorageError> {
    for _ in 0..RECORD_ATTEMPTS {
        let found = locate(known, size_bytes, |offset, block| disk.read_block(offset, block)).map_err(locate_error)?;
        let sum = found.superblock.record;
        let mut bytes = Vec::new();
        for number in 0..sum.blocks() {
            let mut block = Block::zeroed();
            disk.read_block(found.record_at + number * BLOCK_BYTES, &mut block)?;
            bytes.extend_from_slice(&block[..]);
        }
        if let Some(record) = sum.find(&bytes) {
            return Ok((found, record));
        }
    }
    Err(StorageError::Failed("the reservations of clients on the disk are damaged".to_owned()))
}

/// The record first, so that the copy never speaks of one that is not there.
fn write_copy(
    disk: &impl Sectors,
    region: Region,
    copy: SuperblockCopy,
    superblock: &Block,
    record: &Record,
) -> Result<(), StorageError> {
    for (number, block) in (0..).zip(record.blocks()) {
        disk.write_block(region.record(copy) + number * BLOCK_BYTES, &block, false)?;
    }
    if !record.bytes.is_empty() {
        disk.flush()?;
    }
    Ok(disk.write_block(region.superblock(copy), superblock, true)?)
}

/// Which copy at `region` the next superblock goes to.
fn next_copy(disk: &impl Sectors, region: Region) -> Result<SuperblockCopy, StorageError> {
    let mut copies = [Block::zeroed(), Block::zeroed()];
    for (copy, block) in SuperblockCopy::BOTH.into_iter().zip(&mut copies) {
        disk.read_block(region.superblock(copy), block)?;
    }
    Ok(pick(&copies[0], &copies[1]).into_valid().map_or(SuperblockCopy::First, |(_, next)| next))
}

fn ownership_of(superblock: &Superblock, record: Record) -> Ownership {
    let blocks = |bytes: u64| bytes / u64::from(superblock.identity.block_bytes);
    Ownership {
        capacity: Capacity {
            blocks: blocks(superblock.visible_bytes()),
            growing_to: superblock.growing_from.map(|_| blocks(superblock.identity.data_bytes)),
        },
        epoch: superblock.epoch,
        owner: superblock.owner,
        owner_incarnation: superblock.owner_incarnation,
        mirror: superblock.mirror,
        draining: superblock.draining,
        dirty: superblock.dirty,
        losses: superblock.losses_accepted,
        record,
    }
}

fn region_behind(data_bytes: u64) -> Result<Region, StorageError> {
    Region::behind(data_bytes).map_err(|error| StorageError::Failed(error.to_string()))
}

fn unread() -> StorageError {
    StorageError::Failed("the superblock has not been read yet".to_owned())
}

fn locate_error(error: LocateError) -> StorageError {
    match error {
        LocateError::Disk(error) => error.into(),
        other => StorageError::Failed(other.to_string()),
    }
}

impl From<DiskError> for StorageError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Fenced => Self::Fenced,
            other => Self::Failed(other.to_string()),
        }
    }
}
