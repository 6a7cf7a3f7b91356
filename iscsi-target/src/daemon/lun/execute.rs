//! Block operations that take more than one request: verify, compare, write and verify, write same, unmap.

use replication::block::Blocks;
use replication::head::{Operation, Outcome};
use replication::{Data, Extent};
use sas_backend::buffer::Payload;

use super::tasks::{Caller, Home};
use super::{Lun, io_result};
use crate::scsi::block::{self, BlockIo, BlockOp, IoError, IoResult};

/// Bytes of one step, so that a long operation leaves room for others.
pub(super) const STEP_BYTES: u64 = 1 << 20;
/// Bytes of one step that makes a hole: it takes no memory, but where the disk has to write zeroes it takes its time.
const HOLE_BYTES: u64 = 8 << 20;

impl Lun {
    /// Run `io` as a task of its own and answer it.
    pub(super) fn execute(&self, caller: Caller, io: BlockIo) {
        let Some(lun) = self.this.upgrade() else { return };
        self.begin_steps(&caller, Home::Here);
        tokio::task::spawn_local(async move {
            let result = lun.steps(&caller, &io.op).await;
            lun.end_steps(&caller);
            caller.respond(block::finish(&io, result));
        });
    }

    async fn steps(&self, caller: &Caller, op: &BlockOp) -> IoResult {
        match op {
            BlockOp::Verify { lba, blocks } => {
                for extent in self.cut(Extent::new(*lba, *blocks)) {
                    self.one(caller, Operation::Read(extent)).await?;
                }
            }
            BlockOp::WritePart { lba, data, fua } => self.write_part(caller, *lba, data, *fua).await?,
            BlockOp::Compare { lba, data } => self.compare(caller, *lba, data).await?,
            BlockOp::WriteAndVerify { lba, data, compare } => {
                let blocks = Blocks::new(data.clone(), self.block_bytes).ok_or(IoError::Aborted)?;
                let extent = Extent::new(*lba, blocks.blocks());
                self.one(caller, Operation::Write { extent, data: blocks, fua: true }).await?;
                if *compare {
                    self.compare(caller, *lba, data).await?;
                } else {
                    self.one(caller, Operation::Read(extent)).await?;
                }
            }
            BlockOp::WriteSame { lba, blocks, pattern } => {
                self.write_same(caller, Extent::new(*lba, *blocks), pattern.as_ref()).await?;
            }
            BlockOp::Read { lba, blocks } => {
                return self.one(caller, Operation::Read(Extent::new(*lba, *blocks))).await;
            }
            BlockOp::Unmap { extents } => {
                for extent in extents {
                    for extent in cut(Extent::new(extent.lba, extent.blocks), self.hole_blocks()) {
                        self.one(caller, self.hole(extent).ok_or(IoError::Aborted)?).await?;
                    }
                }
            }
            BlockOp::Write { .. }
            | BlockOp::CompareAndWrite { .. }
            | BlockOp::Or { .. }
            | BlockOp::Map { .. }
            | BlockOp::Flush { .. } => {
                return Err(IoError::Aborted);
            }
        }
        Ok(Vec::new())
    }

    pub(super) async fn one(&self, caller: &Caller, operation: Operation<Blocks>) -> IoResult {
        let Some(step) = self.step(caller, operation) else { return Err(IoError::Aborted) };
        let outcome = step.await.unwrap_or(Outcome::NotServing);
        io_result(outcome).unwrap_or(Err(IoError::Moved))
    }

    fn cut(&self, extent: Extent) -> impl Iterator<Item = Extent> + use<> {
        cut(extent, STEP_BYTES / u64::from(self.block_bytes))
    }

    /// Blocks of the longest hole that is made in one step.
    pub(super) fn hole_blocks(&self) -> u64 {
        HOLE_BYTES / u64::from(self.block_bytes)
    }

    /// What makes a hole of `extent`.
    pub(super) fn hole(&self, extent: Extent) -> Option<Operation<Blocks>> {
        let data = Blocks::hole(extent.blocks, self.block_bytes)?;
        Some(Operation::Write { extent, data, fua: false })
    }

    async fn compare(&self, caller: &Caller, lba: u64, data: &Payload) -> Result<(), IoError> {
        let blocks = Blocks::new(data.clone(), self.block_bytes).ok_or(IoError::Aborted)?;
        let mut at = 0;
        for extent in self.cut(Extent::new(lba, blocks.blocks())) {
            for part in self.one(caller, Operation::Read(extent)).await? {
                let expected = &data[at..at + part.len()];
                if let Some(offset) = part.iter().zip(expected).position(|(is, should)| is != should) {
                    return Err(IoError::Miscompare { offset: (at + offset) as u64 });
                }
                at += part.len();
            }
        }
        Ok(())
    }

    /// The last block may be written by somebody else between the look at it and the write: then once more.
    async fn write_part(&self, caller: &Caller, lba: u64, data: &Payload, fua: bool) -> Result<(), IoError> {
        let block = usize::try_from(self.block_bytes).expect("512 or 4096");
        let (whole, part) = data.split_at(data.len() - data.len() % block);
        let blocks = (whole.len() / block) as u64;
        if blocks > 0 {
            let data = Blocks::new(data.slice(0..whole.len()), self.block_bytes).ok_or(IoError::Aborted)?;
            self.one(caller, Operation::Write { extent: Extent::new(lba, blocks), data, fua }).await?;
        }
        let extent = Extent::new(lba + blocks, 1);
        loop {
            let present = self.in_one(self.one(caller, Operation::Read(extent)).await?);
            let mut both = self.pool.take(2 * block);
            both.chunks_exact_mut(block).for_each(|half| half.copy_from_slice(&present));
            both[block..block + part.len()].copy_from_slice(part);
            let data = Blocks::new(both.freeze(), self.block_bytes).ok_or(IoError::Aborted)?;
            match self.one(caller, Operation::CompareAndWrite { extent, data, fua }).await {
                Err(IoError::Miscompare { .. }) => {}
                done => return done.map(drop),
            }
        }
    }

    async fn write_same(&self, caller: &Caller, extent: Extent, pattern: Option<&Payload>) -> Result<(), IoError> {
        let step = extent.blocks.min(STEP_BYTES / u64::from(self.block_bytes));
        let data = self.filled(pattern.map_or(&[0], |pattern| pattern), step).ok_or(IoError::Aborted)?;
        for extent in self.cut(extent) {
            let data = data.slice(0, extent.blocks);
            self.one(caller, Operation::Write { extent, data, fua: false }).await?;
        }
        Ok(())
    }

    /// So many blocks, at least one, each of them `pattern` over and over from its beginning.
    pub(super) fn filled(&self, pattern: &[u8], blocks: u64) -> Option<Blocks> {
        let block = usize::try_from(self.block_bytes).expect("512 or 4096");
        let mut buffer = self.pool.take(usize::try_from(blocks).expect("a step is small") * block);
        let (first, others) = buffer.split_at_mut(block);
        first.chunks_mut(pattern.len()).for_each(|part| part.copy_from_slice(&pattern[..part.len()]));
        others.chunks_exact_mut(block).for_each(|other| other.copy_from_slice(first));
        Blocks::new(buffer.freeze(), self.block_bytes)
    }
}

fn cut(extent: Extent, step: u64) -> impl Iterator<Item = Extent> {
    let end = extent.end();
    (extent.lba..end)
        .step_by(usize::try_from(step).expect("a step is small"))
        .map(move |lba| Extent::new(lba, step.min(end - lba)))
}
