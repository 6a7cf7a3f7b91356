//! Blocking I/O of single blocks, for the threads that write superblock and heartbeat.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::buffer::{Block, PAGE_BYTES, Pool};
use crate::disk::{DiskError, Geometry};
use crate::file::DiskFile;

/// Bytes of one write of zeroes.
const ZEROES_BYTES: usize = 256 << 10;

/// A second way to the same open disk, through the same gate; cheap to clone.
#[derive(Clone, Debug)]
pub struct SyncIo {
    file: Arc<DiskFile>,
}

impl SyncIo {
    pub(crate) fn new(file: Arc<DiskFile>) -> Self {
        Self { file }
    }

    /// What the disk is.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.file.geometry()
    }

    /// How large the disk is now, in whole blocks.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn measure(&self) -> Result<u64, DiskError> {
        self.file.measure().map_err(|error| self.file.error(&error))
    }

    /// Write zeroes, durably; `offset` and `len` are multiples of 4096.
    ///
    /// # Errors
    /// As the disk says; `Fenced` when this head may not use it. Part of it may have been written all the same.
    pub fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        let mut zeroes = Pool::new().take(ZEROES_BYTES);
        zeroes.fill(0);
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let piece = ZEROES_BYTES.min(usize::try_from(end - at).unwrap_or(ZEROES_BYTES));
            // Each piece on its own: a fence in between is noticed.
            let _pass = self.file.gate.enter()?;
            self.file.file.write_all_at(&zeroes[..piece], at).map_err(|error| self.file.error(&error))?;
            at += u64::try_from(piece).unwrap_or(u64::MAX);
        }
        self.flush()
    }

    /// Read 4096 bytes.
    ///
    /// # Errors
    /// As the disk says; `Fenced` when this head may not use it.
    pub fn read_block(&self, offset: u64, into: &mut Block) -> Result<(), DiskError> {
        self.check(offset)?;
        let _pass = self.file.gate.enter()?;
        self.file.file.read_exact_at(&mut into[..], offset).map_err(|error| self.file.error(&error))
    }

    /// Write 4096 bytes; `durable` says that they must be on stable storage afterwards.
    ///
    /// # Errors
    /// As the disk says; `Fenced` when this head may not use it. The bytes may have been written all the same.
    pub fn write_block(&self, offset: u64, from: &Block, durable: bool) -> Result<(), DiskError> {
        self.check(offset)?;
        let _pass = self.file.gate.enter()?;
        let write = || -> io::Result<()> {
            self.file.file.write_all_at(&from[..], offset)?;
            if durable { self.file.file.sync_data() } else { Ok(()) }
        };
        write().map_err(|error| self.file.error(&error))
    }

    /// Everything written before, by whichever way, is on stable storage afterwards.
    ///
    /// # Errors
    /// As the disk says; `Fenced` when this head may not use it.
    pub fn flush(&self) -> Result<(), DiskError> {
        let _pass = self.file.gate.enter()?;
        self.file.file.sync_data().map_err(|error| self.file.error(&error))
    }

    fn check(&self, offset: u64) -> Result<(), DiskError> {
        let len = u64::try_from(PAGE_BYTES).unwrap_or(u64::MAX);
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.file.geometry().size_bytes);
        if fits && offset.is_multiple_of(len) {
            Ok(())
        } else {
            Err(DiskError::Path(format!("no block of {len} bytes at {offset}")))
        }
    }
}
