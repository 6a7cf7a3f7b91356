//! Where the superblock is, and which one counts, on a disk that may have grown and while it moves to the new end.
//!
//! A head looks at the end of the disk as it is now and where it knows the superblock to be, and follows what it finds:
//! while a LUN grows, each superblock names both places, and is written to the old one first and then to the new one. So
//! at the new place there is never one that the old one does not lead to, until the old one is cleared; and whoever finds
//! any of them finds the newest. The rules:
//!
//! * At its end, a finished record is the one that counts: where it was before is data of clients by now, who may have
//!   written anything there.
//! * Otherwise the highest epoch counts, then the highest sequence.
//! * A record that belongs to a larger disk than the path shows means that this head cannot go on: it would not see what
//!   the other one writes.

use std::collections::BTreeSet;

use super::layout::SUPERBLOCK_BYTES;
use super::pick::{Picked, pick};
use super::region::{Region, SuperblockCopy};
use super::search;
use super::{ParseError, Superblock};
use crate::buffer::Block;
use crate::disk::DiskError;

/// What a head knows of the superblock before it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Where it was.
    pub region: Option<Region>,
    /// Whose it is.
    pub uuid: Option<[u8; 16]>,
}

/// A superblock and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The record that counts.
    pub superblock: Superblock,
    /// Where the next one is to be written.
    pub region: Region,
    /// The copy there that the next one goes to.
    pub next: SuperblockCopy,
    /// Where its record is.
    pub record_at: u64,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The disk cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not there, or cannot be used; in plain words.
    #[error("{0}")]
    Unusable(String),
    /// This path does not show all of the disk.
    #[error(
        "this path shows the disk with {is_bytes} bytes, and the LUN has grown to a disk of {needed_bytes}: this machine \
         has to look at the disk again (rescan it)"
    )]
    PathTooSmall {
        /// Bytes that the path shows.
        is_bytes: u64,
        /// Bytes that are in use.
        needed_bytes: u64,
    },
}

/// Find the superblock that counts. `read` reads the 4096 bytes at an offset.
///
/// # Errors
/// Why there is none that can be used. A place that cannot be read is an error, too: it may have had the newest.
pub fn locate(
    known: Known,
    device_bytes: u64,
    mut read: impl FnMut(u64, &mut Block) -> Result<(), DiskError>,
) -> Result<Found, LocateError> {
    let end = Region::of(device_bytes).map_err(|error| LocateError::Unusable(error.to_string()))?;
    let mut look = Look { end, uuid: known.uuid, looked: BTreeSet::new(), best: None, newer: None };
    let at_end = look.at(end, &mut read)?;
    look.follow(known.region.into_iter().collect(), &mut read)?;
    if look.best.is_none() && look.newer.is_none() {
        for region in search::places(device_bytes) {
            if may_be_one(region, &mut read)? {
                look.follow(vec![region], &mut read)?;
            }
            if look.best.is_some() {
                break;
            }
        }
    }
    look.result(device_bytes, at_end)
}

struct Look {
    end: Region,
    uuid: Option<[u8; 16]>,
    looked: BTreeSet<u64>,
    best: Option<(Superblock, Region, SuperblockCopy)>,
    /// A record of a later version is somewhere.
    newer: Option<Picked>,
}

impl Look {
    /// Look at `regions`, and wherever the records there lead.
    fn follow(
        &mut self,
        mut regions: Vec<Region>,
        read: &mut impl FnMut(u64, &mut Block) -> Result<(), DiskError>,
    ) -> Result<(), LocateError> {
        loop {
            if let Some((superblock, ..)) = &self.best
                && !self.is_final()
            {
                regions.extend(places_of(superblock));
            }
            regions.retain(|region| region.end() <= self.end.end() && !self.looked.contains(&region.start()));
            let Some(region) = regions.pop() else { return Ok(()) };
            if self.is_final() {
                return Ok(());
            }
            self.at(region, read)?;
        }
    }

    fn at(
        &mut self,
        region: Region,
        read: &mut impl FnMut(u64, &mut Block) -> Result<(), DiskError>,
    ) -> Result<Picked, LocateError> {
        self.looked.insert(region.start());
        let mut copies = [Block::zeroed(), Block::zeroed()];
        for (copy, block) in SuperblockCopy::BOTH.into_iter().zip(&mut copies) {
            read(region.superblock(copy), block)?;
        }
        let picked = pick(&copies[0], &copies[1]);
        match &picked {
            Picked::Valid { superblock, next } if self.belongs(superblock, region) => {
                // The same record may be at both places; the next one goes by the copies at the new one.
                let order = |superblock: &Superblock, region: Region| {
                    (superblock.epoch, superblock.sequence, region.start() == superblock.identity.data_bytes)
                };
                let newest = self.best.as_ref().map(|(best, at, _)| order(best, *at));
                if newest.is_none_or(|newest| newest < order(superblock, region)) {
                    self.uuid = Some(superblock.identity.uuid);
                    self.best = Some(((**superblock).clone(), region, *next));
                }
            }
            Picked::NewerVersion { .. } => self.newer = Some(picked.clone()),
            _ => {}
        }
        Ok(picked)
    }

    /// Whether it is of the wanted LUN, and says itself that it may be here.
    fn belongs(&self, superblock: &Superblock, region: Region) -> bool {
        self.uuid.is_none_or(|uuid| uuid == superblock.identity.uuid) && places_of(superblock).any(|its| its == region)
    }

    /// A finished record at the end of the disk: nothing anywhere else counts.
    fn is_final(&self) -> bool {
        self.best
            .as_ref()
            .is_some_and(|(superblock, region, _)| *region == self.end && superblock.growing_from.is_none())
    }

    fn result(self, device_bytes: u64, at_end: Picked) -> Result<Found, LocateError> {
        if let Some(newer) = self.newer {
            return Err(unusable(newer));
        }
        let Some((superblock, region, next)) = self.best else { return Err(unusable(at_end)) };
        let needed =
            Region::behind(superblock.identity.data_bytes).map_err(|error| LocateError::Unusable(error.to_string()))?;
        if needed.end() > self.end.end() {
            return Err(LocateError::PathTooSmall { is_bytes: device_bytes, needed_bytes: needed.end() });
        }
        let record_at = region.record(next.other());
        // Found at the old place only: none has been written to the new one.
        let next = if region == needed { next } else { SuperblockCopy::First };
        Ok(Found { superblock, region: needed, next, record_at })
    }
}

/// Where a record may be: behind the data, and while the LUN grows also behind what clients see.
fn places_of(superblock: &Superblock) -> impl Iterator<Item = Region> + use<> {
    let places = [Some(superblock.identity.data_bytes), superblock.growing_from];
    places.into_iter().flatten().filter_map(|start| Region::behind(start).ok())
}

/// Whether it is worth looking at both copies.
fn may_be_one(
    region: Region,
    read: &mut impl FnMut(u64, &mut Block) -> Result<(), DiskError>,
) -> Result<bool, LocateError> {
    let mut block = Block::zeroed();
    read(region.superblock(SuperblockCopy::First), &mut block)?;
    let first: &[u8; SUPERBLOCK_BYTES] = &block;
    Ok(!matches!(Superblock::parse(first), Err(ParseError::Blank | ParseError::Foreign)))
}

fn unusable(picked: Picked) -> LocateError {
    let why = match picked {
        // Found, and of another LUN or from another place.
        Picked::Valid { superblock, .. } => format!(
            "the superblock at the end of the disk belongs to another LUN or disk: {} of the target {}",
            superblock.identity.lun_name, superblock.identity.iqn
        ),
        other => other.into_valid().map_or_else(|why| why, |_| String::new()),
    };
    LocateError::Unusable(why)
}

#[cfg(test)]
mod tests;
