//! What is done to a disk for the superblock: blocks of 4096 bytes, one thing after the other.

use crate::buffer::Block;
use crate::disk::DiskError;
use crate::sync::SyncIo;

/// A disk as whoever keeps the superblock sees it. Every error of a write leaves open whether the bytes were written.
pub trait Sectors {
    /// How large the disk is now.
    ///
    /// # Errors
    /// As the disk says.
    fn measure(&self) -> Result<u64, DiskError>;

    /// Read 4096 bytes.
    ///
    /// # Errors
    /// As the disk says; `Fenced` when this head may not use it.
    fn read_block(&self, offset: u64, into: &mut Block) -> Result<(), DiskError>;

    /// Write 4096 bytes; `durable`: they are on stable storage afterwards.
    ///
    /// # Errors
    /// As the disk says; `Fenced` when this head may not use it.
    fn write_block(&self, offset: u64, from: &Block, durable: bool) -> Result<(), DiskError>;

    /// Write zeroes, durably.
    ///
    /// # Errors
    /// As the disk says; `Fenced` when this head may not use it.
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), DiskError>;

    /// Everything written before is on stable storage afterwards.
    ///
    /// # Errors
    /// As the disk says; `Fenced` when this head may not use it.
    fn flush(&self) -> Result<(), DiskError>;
}

impl Sectors for SyncIo {
    fn measure(&self) -> Result<u64, DiskError> {
        Self::measure(self)
    }
    fn read_block(&self, offset: u64, into: &mut Block) -> Result<(), DiskError> {
        Self::read_block(self, offset, into)
    }
    fn write_block(&self, offset: u64, from: &Block, durable: bool) -> Result<(), DiskError> {
        Self::write_block(self, offset, from, durable)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        Self::write_zeroes(self, offset, len)
    }
    fn flush(&self) -> Result<(), DiskError> {
        Self::flush(self)
    }
}
