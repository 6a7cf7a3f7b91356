//! What the owner keeps for clients beside the blocks, their reservations: bytes that mean nothing here. They lie behind
//! the copy of the superblock that speaks of them, and are written before it. So whichever copy counts, its record is
//! whole.

use std::sync::Arc;

use crate::buffer::{Block, PAGE_BYTES};

/// The longest record.
pub const RECORD_MAX_BYTES: usize = 60 << 10;

/// One state of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// How many of its first bytes outlive the end of both heads' processes.
    pub kept: u32,
    /// The contents.
    pub bytes: Arc<[u8]>,
}

/// What the superblock says of its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordSum {
    /// [`Record::kept`].
    pub kept: u32,
    /// Bytes, at most [`RECORD_MAX_BYTES`].
    pub length: u32,
    /// CRC32C of them.
    pub crc: u32,
}

impl Record {
    /// What the superblock has to say of it.
    ///
    /// # Panics
    /// If it is longer than [`RECORD_MAX_BYTES`]: whoever makes one sees to that.
    #[must_use]
    pub fn sum(&self) -> RecordSum {
        assert!(self.bytes.len() <= RECORD_MAX_BYTES, "a record has a bound");
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        RecordSum { kept: self.kept, length, crc: crc32c::crc32c(&self.bytes) }
    }

    /// What outlives the end of both heads' processes.
    #[must_use]
    pub fn outliving(&self) -> Self {
        let kept = usize::try_from(self.kept).unwrap_or(usize::MAX).min(self.bytes.len());
        Self { kept: self.kept, bytes: self.bytes[..kept].into() }
    }

    /// As blocks for the disk; none if it is empty.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        self.bytes.chunks(PAGE_BYTES).map(|chunk| {
            let mut block = Block::zeroed();
            block[..chunk.len()].copy_from_slice(chunk);
            block
        })
    }
}

impl RecordSum {
    /// How many blocks have to be read.
    #[must_use]
    pub fn blocks(self) -> u64 {
        u64::from(self.length).div_ceil(PAGE_BYTES as u64)
    }

    /// The record, if `bytes` begins with the one that is meant.
    #[must_use]
    pub fn find(self, bytes: &[u8]) -> Option<Record> {
        let bytes = bytes.get(..usize::try_from(self.length).ok()?)?;
        let record = Record { kept: self.kept, bytes: bytes.into() };
        (bytes.len() <= RECORD_MAX_BYTES && record.sum() == self).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_again_and_no_other() {
        for length in [0, 1, 4095, 4096, 4097, RECORD_MAX_BYTES] {
            let record = Record { kept: 1, bytes: (0..=250).cycle().take(length).collect() };
            let on_disk: Vec<u8> = record.blocks().flat_map(|block| block.to_vec()).collect();
            assert_eq!(on_disk.len() as u64, record.sum().blocks() * 4096);
            assert_eq!(record.sum().find(&on_disk), Some(record.clone()));
            if length > 0 {
                let mut torn = on_disk;
                torn[length - 1] ^= 1;
                assert_eq!(record.sum().find(&torn), None);
                assert_eq!(record.sum().find(&torn[..length - 1]), None);
            }
        }
    }

    #[test]
    fn what_is_not_to_outlive_does_not() {
        let record = |kept, bytes: &[u8]| Record { kept, bytes: bytes.into() };
        assert_eq!(record(0, b"held").outliving(), Record::default());
        assert_eq!(record(1, b"held").outliving(), record(1, b"h"));
        assert_eq!(record(4, b"held").outliving(), record(4, b"held"));
    }
}
