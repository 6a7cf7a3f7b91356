//! Where things are: clients see the disk up to the reserved region, the last 4 MiB.
//!
//! | from the region's start | what |
//! | --- | --- |
//! | 0 | superblock, copy 0 |
//! | 4 KiB | record behind copy 0, 60 KiB |
//! | 64 KiB | superblock, copy 1 |
//! | 68 KiB | record behind copy 1, 60 KiB |
//! | 128 KiB | heartbeat of head a |
//! | 132 KiB | heartbeat of head b |
//! | 136 KiB | for later versions |

use super::HeadId;
use super::record::RECORD_MAX_BYTES;

/// Bytes of the reserved region.
pub const REGION_BYTES: u64 = 4 << 20;
/// A device's size is rounded down to a multiple of this first, so that both heads see the same place even if their
/// paths report the odd sector differently.
pub const ROUNDING_BYTES: u64 = 1 << 20;

const BLOCK_BYTES: u64 = 4096;
const COPY_AT: [u64; 2] = [0, 64 << 10];
const HEARTBEAT_AT: [u64; 2] = [128 << 10, 132 << 10];
/// Copies lie in different erase or RAID units as far as that is possible in so small a region.
const _: () = assert!(COPY_AT[1] - COPY_AT[0] >= 64 << 10);
const _: () = assert!(COPY_AT[0] + BLOCK_BYTES + RECORD_MAX_BYTES as u64 <= COPY_AT[1]);
const _: () = assert!(COPY_AT[1] + BLOCK_BYTES + RECORD_MAX_BYTES as u64 <= HEARTBEAT_AT[0]);
const _: () =
    assert!(HEARTBEAT_AT[0] + BLOCK_BYTES <= HEARTBEAT_AT[1] && HEARTBEAT_AT[1] + BLOCK_BYTES <= REGION_BYTES);
const _: () = assert!(REGION_BYTES.is_multiple_of(ROUNDING_BYTES) && ROUNDING_BYTES.is_multiple_of(BLOCK_BYTES));

/// One of the two copies of the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SuperblockCopy {
    /// The one at the region's start.
    First,
    /// The one 64 KiB behind it.
    Second,
}

impl SuperblockCopy {
    /// Both, in disk order.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The reserved region of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    start: u64,
}

/// The device has no room for the reserved region and data before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{device_bytes} bytes are too small: 4 MiB at the end are reserved, and there must be at least 1 MiB before them"
)]
pub struct TooSmall {
    device_bytes: u64,
}

impl Region {
    /// The region of a device of that size.
    ///
    /// # Errors
    /// If less than 1 MiB would remain for data.
    pub fn of(device_bytes: u64) -> Result<Self, TooSmall> {
        let rounded = device_bytes - device_bytes % ROUNDING_BYTES;
        if rounded < REGION_BYTES + ROUNDING_BYTES {
            return Err(TooSmall { device_bytes });
        }
        Ok(Self { start: rounded - REGION_BYTES })
    }

    /// The region that begins there.
    ///
    /// # Errors
    /// If less than 1 MiB would remain for data.
    pub fn behind(data_bytes: u64) -> Result<Self, TooSmall> {
        Self::of(data_bytes.saturating_add(REGION_BYTES))
    }

    /// Bytes of the device that it is at the end of.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start + REGION_BYTES
    }

    /// Bytes before the region: what clients see.
    #[must_use]
    pub fn data_bytes(self) -> u64 {
        self.start
    }

    /// First byte of the region.
    #[must_use]
    pub fn start(self) -> u64 {
        self.start
    }

    /// Where a copy of the superblock is.
    #[must_use]
    pub fn superblock(self, copy: SuperblockCopy) -> u64 {
        self.start
            + match copy {
                SuperblockCopy::First => COPY_AT[0],
                SuperblockCopy::Second => COPY_AT[1],
            }
    }

    /// Where the record behind a copy of the superblock is.
    #[must_use]
    pub fn record(self, copy: SuperblockCopy) -> u64 {
        self.superblock(copy) + BLOCK_BYTES
    }

    /// Where a head shows that it lives.
    #[must_use]
    pub fn heartbeat(self, head: HeadId) -> u64 {
        self.start + HEARTBEAT_AT[head.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_last_four_mebibytes() {
        let region = Region::of((64 << 20) + 4096).unwrap();
        assert_eq!(region.data_bytes(), 60 << 20);
        assert_eq!(region.superblock(SuperblockCopy::First), 60 << 20);
        assert_eq!(region.superblock(SuperblockCopy::Second), (60 << 20) + (64 << 10));
        assert_eq!(region.heartbeat(HeadId::A), (60 << 20) + (128 << 10));
        assert_eq!(region.heartbeat(HeadId::B), (60 << 20) + (132 << 10));
    }

    #[test]
    fn small_devices_are_refused() {
        assert!(Region::of(0).is_err());
        assert!(Region::of((5 << 20) - 1).is_err());
        assert_eq!(Region::of(5 << 20).unwrap().data_bytes(), 1 << 20);
    }
}
