//! Commands for blocks: checked here, executed by the daemon, answered here again (SBC-3 5).

use sas_backend::buffer::Payload;

use crate::scsi::attention::Attention;
use crate::scsi::config::UnitConfig;
use crate::scsi::decode::{BlockCommand, Extent};
use crate::scsi::opcodes::WRITE_ATOMIC_16;
use crate::scsi::provisioning;
use crate::scsi::sense::{Sense, SenseCode};
use crate::scsi::unit::Verdict;
use crate::scsi::{Command, DataIn, Response};

/// MAXIMUM TRANSFER LENGTH, in bytes.
pub const MAX_TRANSFER_BYTES: u32 = 16 << 20;
/// MAXIMUM WRITE SAME LENGTH, in bytes.
pub const MAX_WRITE_SAME_BYTES: u32 = 16 << 20;

/// MAXIMUM COMPARE AND WRITE LENGTH, in blocks: all that the command can ask for.
pub const MAX_COMPARE_AND_WRITE_BLOCKS: u8 = u8::MAX;

/// What the daemon has to do with blocks. Ranges are within the unit, data are whole blocks unless it says otherwise, and
/// neither is empty.
#[derive(Debug, PartialEq, Eq)]
pub enum BlockOp {
    /// Read them.
    Read {
        /// First block.
        lba: u64,
        /// Blocks.
        blocks: u64,
    },
    /// Write them.
    Write {
        /// First block.
        lba: u64,
        /// What.
        data: Payload,
        /// Not acknowledged before it is stable.
        fua: bool,
    },
    /// Write them, of the last one only the beginning: the rest of it stays as it is.
    WritePart {
        /// First block.
        lba: u64,
        /// What; no whole blocks.
        data: Payload,
        /// Not acknowledged before it is stable.
        fua: bool,
    },
    /// Write them to the disk and read them back.
    WriteAndVerify {
        /// First block.
        lba: u64,
        /// What.
        data: Payload,
        /// Compare with `data`; otherwise being readable is enough.
        compare: bool,
    },
    /// See whether they can be read.
    Verify {
        /// First block.
        lba: u64,
        /// Blocks.
        blocks: u64,
    },
    /// Compare them.
    Compare {
        /// First block.
        lba: u64,
        /// With what.
        data: Payload,
    },
    /// Compare them with the first half of `data`, and if they are alike write the second half; in one step.
    CompareAndWrite {
        /// First block.
        lba: u64,
        /// What is expected, and what to write.
        data: Payload,
        /// Not acknowledged before it is stable.
        fua: bool,
    },
    /// Set their bits that are set in `data`, and leave the others; in one step.
    Or {
        /// First block.
        lba: u64,
        /// Which bits.
        data: Payload,
        /// Not acknowledged before it is stable.
        fua: bool,
    },
    /// Write the same block over and over.
    WriteSame {
        /// First block.
        lba: u64,
        /// Blocks.
        blocks: u64,
        /// One block; `None` is zeroes.
        pattern: Option<Payload>,
    },
    /// Unmap them: they read as zeroes.
    Unmap {
        /// In order, and apart from each other.
        extents: Vec<Extent>,
    },
    /// Say whether they are mapped, as far from the first on as the answer is the same.
    Map {
        /// First block.
        lba: u64,
        /// Blocks.
        blocks: u64,
        /// ALLOCATION LENGTH of the answer.
        allocation: u32,
    },
    /// Make everything stable that was acknowledged before, in these blocks at least.
    Flush {
        /// First block.
        lba: u64,
        /// Blocks.
        blocks: u64,
    },
}

/// An operation and what its answer needs to know of the command.
#[derive(Debug, PartialEq, Eq)]
pub struct BlockIo {
    /// What to do.
    pub op: BlockOp,
    pub(super) data_out_wanted: Option<u64>,
    /// Bytes that a read asks for, of which the initiator has room for fewer.
    pub(super) data_in_wanted: Option<u64>,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoError {
    /// The data differ, first at this byte of the Data-Out.
    Miscompare {
        /// Offset in bytes.
        offset: u64,
    },
    /// The blocks cannot be read or written.
    Medium {
        /// The first bad block, if known.
        lba: Option<u64>,
    },
    /// The disk has no room.
    NoSpace,
    /// Not done, or done in part; the initiator should try again.
    Aborted,
    /// The unit has moved to the other head meanwhile; not done, or done in part.
    Moved,
}

/// The end of an operation: for a read its blocks, in order; otherwise nothing.
pub type IoResult = Result<Vec<Payload>, IoError>;

/// The answer to a command that became [`BlockOp::Map`]: so many blocks are mapped, or are not.
#[must_use]
pub fn finish_map(io: &BlockIo, blocks: u64, mapped: bool) -> Response {
    let BlockOp::Map { lba, blocks: asked, allocation } = io.op else {
        return finish(io, Err(IoError::Aborted));
    };
    let answer = provisioning::lba_status(lba, blocks.min(asked), mapped, allocation);
    Response { data_out_wanted: io.data_out_wanted, ..answer }
}

/// The answer to the command that became `io`.
#[must_use]
pub fn finish(io: &BlockIo, result: IoResult) -> Response {
    let answer = match (result, &io.op) {
        (Ok(blocks), BlockOp::Read { .. }) => {
            Response { data_in: DataIn::Blocks(blocks), data_in_wanted: io.data_in_wanted, ..Response::good() }
        }
        (Ok(_), _) => Response::good(),
        (Err(error), op) => failed(error, op.only_reads()),
    };
    Response { data_out_wanted: io.data_out_wanted, ..answer }
}

impl BlockOp {
    const fn only_reads(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Verify { .. } | Self::Compare { .. } | Self::Map { .. } => true,
            Self::Write { .. }
            | Self::WritePart { .. }
            | Self::WriteAndVerify { .. }
            | Self::CompareAndWrite { .. }
            | Self::Or { .. }
            | Self::WriteSame { .. }
            | Self::Unmap { .. }
            | Self::Flush { .. } => false,
        }
    }
}

/// What is said of an operation that failed, and only reads blocks, or does not.
#[must_use]
pub fn failed(error: IoError, only_reads: bool) -> Response {
    Response::check(sense_of(error, only_reads))
}

fn sense_of(error: IoError, only_reads: bool) -> Sense {
    match error {
        IoError::Miscompare { offset } => Sense::from(SenseCode::MISCOMPARE_DURING_VERIFY).with_information(offset),
        IoError::Medium { lba } => {
            let code = if only_reads { SenseCode::UNRECOVERED_READ_ERROR } else { SenseCode::WRITE_ERROR };
            Sense { information: lba, ..code.into() }
        }
        IoError::NoSpace => SenseCode::SPACE_ALLOCATION_FAILED.into(),
        IoError::Aborted => SenseCode::INTERNAL_TARGET_FAILURE.into(),
        IoError::Moved => Attention::AccessStateChanged.code().into(),
    }
}

/// Check the medium command `asked` and say what to do.
pub(super) fn begin(config: &UnitConfig, command: &Command, asked: BlockCommand) -> Verdict {
    checked(config, command, asked).unwrap_or_else(Into::into)
}

fn checked(config: &UnitConfig, command: &Command, asked: BlockCommand) -> Result<Verdict, Sense> {
    let without_data = |op| {
        Verdict::Io(BlockIo { op, data_out_wanted: command.data_out.is_some().then_some(0), data_in_wanted: None })
    };
    Ok(match asked {
        BlockCommand::Read { extent } => {
            check_transfer(config, command, extent)?;
            read(config, command, extent)
        }
        BlockCommand::Verify { extent, compare: false } => {
            // No data goes over the wire, so no transfer length limits it.
            check_range(config, extent)?;
            let Extent { lba, blocks } = extent;
            // The row says Data-Out, for the form that compares.
            if blocks == 0 { nothing_wanted(0) } else { without_data(BlockOp::Verify { lba, blocks }) }
        }
        BlockCommand::Write { extent, fua } => write(config, command, extent, fua)?,
        BlockCommand::CompareAndWrite { extent, fua } => compare_and_write(config, command, extent, fua)?,
        BlockCommand::OrWrite { extent, fua } => {
            with_data(config, command, extent, |lba, data| BlockOp::Or { lba, data, fua })?
        }
        BlockCommand::Verify { extent, compare: true } => {
            with_data(config, command, extent, |lba, data| BlockOp::Compare { lba, data })?
        }
        BlockCommand::WriteAndVerify { extent, compare } => {
            with_data(config, command, extent, |lba, data| BlockOp::WriteAndVerify { lba, data, compare })?
        }
        BlockCommand::WriteSame { extent, unmap, no_data_out } => {
            write_same(config, command, extent, unmap, no_data_out)?
        }
        BlockCommand::Unmap { length } => provisioning::unmap(config, command, length),
        BlockCommand::PreFetch { extent } => {
            // GOOD, not CONDITION MET: nothing was put into the cache.
            check_range(config, extent)?;
            Response::good().into()
        }
        BlockCommand::SynchronizeCache { extent } => {
            let Extent { lba, blocks } = to_the_end(config, extent)?;
            if blocks == 0 { Response::good().into() } else { without_data(BlockOp::Flush { lba, blocks }) }
        }
        BlockCommand::WriteAtomic { extent, fua } => {
            check_atomic(config, command, extent)?;
            with_data(config, command, extent, |lba, data| BlockOp::Write { lba, data, fua })?
        }
    })
}

/// Only what the initiator has room for is read, or a command that announces nothing could take memory without end.
fn read(config: &UnitConfig, command: &Command, extent: Extent) -> Verdict {
    let Extent { lba, blocks } = extent;
    let data_out_wanted = command.data_out.is_some().then_some(0);
    let room = u64::from(command.data_in_max).div_ceil(u64::from(config.block_bytes));
    let data_in_wanted = (room < blocks).then_some(blocks * u64::from(config.block_bytes));
    match blocks.min(room) {
        0 => Response { data_in_wanted, ..Response::good() }.into(),
        blocks => Verdict::Io(BlockIo { op: BlockOp::Read { lba, blocks }, data_out_wanted, data_in_wanted }),
    }
}

/// GOOD to a command whose own length fields ask for `bytes` of Data-Out that it does not need.
fn nothing_wanted(bytes: u64) -> Verdict {
    Response { data_out_wanted: Some(bytes), ..Response::good() }.into()
}

/// LOGICAL BLOCK ADDRESS OUT OF RANGE unless all of `extent` is on the unit; an empty one may start at its very end.
pub(super) fn check_range(config: &UnitConfig, extent: Extent) -> Result<(), Sense> {
    match extent.lba.checked_add(extent.blocks) {
        Some(end) if end <= config.blocks => Ok(()),
        _ => Err(SenseCode::LBA_OUT_OF_RANGE.into()),
    }
}

/// `extent` with a length of 0 taken as "to the end of the medium" (SBC-3 5.22).
fn to_the_end(config: &UnitConfig, extent: Extent) -> Result<Extent, Sense> {
    check_range(config, extent)?;
    let blocks = if extent.blocks == 0 { config.blocks - extent.lba } else { extent.blocks };
    Ok(Extent { blocks, ..extent })
}

/// The range, and the limit of page B0h.
fn check_transfer(config: &UnitConfig, command: &Command, extent: Extent) -> Result<(), Sense> {
    check_range(config, extent)?;
    check_length(config, command, extent, MAX_TRANSFER_BYTES)
}

fn check_length(config: &UnitConfig, command: &Command, extent: Extent, max_bytes: u32) -> Result<(), Sense> {
    if extent.blocks > u64::from(max_bytes / config.block_bytes) {
        return Err(Sense::invalid_cdb(length_field(&command.cdb), Some(7)));
    }
    Ok(())
}

/// The limits of page B0h for WRITE ATOMIC(16) (SBC-4): whole physical blocks, not too many, and all of the data,
/// since writing a part would be just what must not happen.
fn check_atomic(config: &UnitConfig, command: &Command, extent: Extent) -> Result<(), Sense> {
    check_range(config, extent)?;
    check_length(config, command, extent, config.atomic_bytes)?;
    if !extent.lba.is_multiple_of(config.physical_blocks()) {
        return Err(Sense::invalid_cdb(2, Some(7)));
    }
    if !extent.blocks.is_multiple_of(config.physical_blocks()) {
        return Err(Sense::invalid_cdb(length_field(&command.cdb), Some(7)));
    }
    let came = command.data_out.as_ref().map_or(0, |data| data.len() as u64);
    if came < extent.blocks * u64::from(config.block_bytes) {
        return Err(SenseCode::INVALID_FIELD_IN_COMMAND_IU.into());
    }
    Ok(())
}

/// Where a medium CDB has its length: known by the group of its operation code.
fn length_field(cdb: &[u8]) -> u16 {
    match cdb.first().map(|opcode| opcode >> 5) {
        _ if cdb.first() == Some(&WRITE_ATOMIC_16) => 12,
        Some(0) => 4,
        Some(1 | 2) => 7,
        Some(5) => 6,
        _ => 10,
    }
}

/// A command that takes as many blocks as its CDB says.
///
/// When fewer whole blocks came, these are executed and the residual count says how much is missing (RFC 7143 11.4.5);
/// a broken block is refused with nothing done. What is too much is cut off.
fn with_data(
    config: &UnitConfig,
    command: &Command,
    extent: Extent,
    op: impl FnOnce(u64, Payload) -> BlockOp,
) -> Result<Verdict, Sense> {
    check_transfer(config, command, extent)?;
    let wanted = extent.blocks * u64::from(config.block_bytes);
    Ok(match came(command, wanted) {
        None => nothing_wanted(wanted),
        Some(data) if !data.len().is_multiple_of(block_len(config)) => {
            let refused = Response::check(SenseCode::INVALID_FIELD_IN_COMMAND_IU);
            Response { data_out_wanted: Some(wanted), ..refused }.into()
        }
        Some(data) => {
            Verdict::Io(BlockIo { op: op(extent.lba, data), data_out_wanted: Some(wanted), data_in_wanted: None })
        }
    })
}

/// WRITE: a block of which only the beginning came keeps the rest, as blocks keep everything of which nothing came.
fn write(config: &UnitConfig, command: &Command, extent: Extent, fua: bool) -> Result<Verdict, Sense> {
    check_transfer(config, command, extent)?;
    let wanted = extent.blocks * u64::from(config.block_bytes);
    let Some(data) = came(command, wanted) else { return Ok(nothing_wanted(wanted)) };
    let lba = extent.lba;
    let is_whole = data.len().is_multiple_of(block_len(config));
    let op = if is_whole { BlockOp::Write { lba, data, fua } } else { BlockOp::WritePart { lba, data, fua } };
    Ok(Verdict::Io(BlockIo { op, data_out_wanted: Some(wanted), data_in_wanted: None }))
}

/// What came of so many bytes, if anything did.
fn came(command: &Command, wanted: u64) -> Option<Payload> {
    let data = command.data_out.as_ref()?;
    let length = usize::try_from(wanted).map_or(data.len(), |wanted| wanted.min(data.len()));
    (length > 0).then(|| data.slice(0..length))
}

/// COMPARE AND WRITE (SBC-3 5.2): exactly twice as many blocks of Data-Out as the CDB says, or nothing is done.
fn compare_and_write(config: &UnitConfig, command: &Command, extent: Extent, fua: bool) -> Result<Verdict, Sense> {
    check_range(config, extent)?;
    let wanted = 2 * extent.blocks * u64::from(config.block_bytes);
    let sent = command.data_out.as_ref().is_some_and(|data| !data.is_empty());
    if wanted == 0 && sent {
        // More blocks than the field has room for.
        return Err(Sense::invalid_cdb(13, Some(7)));
    }
    if wanted == 0 {
        return Ok(nothing_wanted(0));
    }
    let Some(data) = command.data_out.as_ref().filter(|data| data.len() as u64 == wanted) else {
        let refused = Response::check(SenseCode::INVALID_FIELD_IN_COMMAND_IU);
        return Ok(Response { data_out_wanted: Some(wanted), ..refused }.into());
    };
    let op = BlockOp::CompareAndWrite { lba: extent.lba, data: data.clone(), fua };
    Ok(Verdict::Io(BlockIo { op, data_out_wanted: Some(wanted), data_in_wanted: None }))
}

fn block_len(config: &UnitConfig) -> usize {
    usize::try_from(config.block_bytes).expect("512 or 4096")
}

/// WRITE SAME (SBC-3 5.41): exactly one block of Data-Out, or none with NDOB.
///
/// UNMAP unmaps only if that is what reads from then on return (SBC-4 4.7.3.4.4); anything but zeroes is written.
fn write_same(
    config: &UnitConfig,
    command: &Command,
    extent: Extent,
    unmap: bool,
    no_data_out: bool,
) -> Result<Verdict, Sense> {
    if unmap && !config.thin {
        return Err(Sense::invalid_cdb(1, Some(3)));
    }
    check_range(config, extent)?;
    if extent.blocks == 0 && config.wants_write_same_length() {
        return Err(Sense::invalid_cdb(length_field(&command.cdb), Some(7)));
    }
    let extent = to_the_end(config, extent)?;
    check_length(config, command, extent, MAX_WRITE_SAME_BYTES)?;
    let wanted = if no_data_out { 0 } else { u64::from(config.block_bytes) };
    let pattern = match &command.data_out {
        _ if no_data_out => None,
        Some(data) if data.len() == block_len(config) => Some(data.clone()),
        _ => {
            let refused = Response::check(SenseCode::INVALID_FIELD_IN_COMMAND_IU);
            return Ok(Response { data_out_wanted: Some(wanted), ..refused }.into());
        }
    };
    let Extent { lba, blocks } = extent;
    let are_zeroes = pattern.as_ref().is_none_or(|data| data.iter().all(|byte| *byte == 0));
    let op = match blocks {
        0 => return Ok(nothing_wanted(wanted)),
        _ if unmap && are_zeroes => BlockOp::Unmap { extents: vec![extent] },
        _ => BlockOp::WriteSame { lba, blocks, pattern },
    };
    Ok(Verdict::Io(BlockIo { op, data_out_wanted: Some(wanted), data_in_wanted: None }))
}

#[cfg(test)]
mod tests;
