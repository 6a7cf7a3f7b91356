//! Logical block provisioning (SBC-3 4.7): UNMAP and GET LBA STATUS (SBC-3 5.28, 5.4). What is not mapped is deallocated,
//! never anchored, and reads as zeroes.

use nom::number::complete::{be_u16, be_u32, be_u64};
use nom::{IResult, Parser};

use crate::scsi::block::{BlockIo, BlockOp, check_range};
use crate::scsi::config::UnitConfig;
use crate::scsi::decode::Extent;
use crate::scsi::sense::{Sense, SenseCode};
use crate::scsi::unit::Verdict;
use crate::scsi::{Command, Response};

/// MAXIMUM UNMAP LBA COUNT, in bytes: what a disk that has to write zeroes does within the patience of an initiator.
pub const MAX_UNMAP_BYTES: u32 = 256 << 20;
/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
pub const MAX_UNMAP_DESCRIPTORS: u16 = 256;

/// Bytes of the UNMAP parameter list header.
const HEADER_BYTES: usize = 8;
/// Bytes of an UNMAP block descriptor.
const DESCRIPTOR_BYTES: usize = 16;
/// PROVISIONING STATUS.
const MAPPED: u8 = 0;
const DEALLOCATED: u8 = 1;

/// UNMAP: all of the list is checked before anything is done.
pub(super) fn unmap(config: &UnitConfig, command: &Command, length: u16) -> Verdict {
    match extents(config, command.data_out.as_deref(), length) {
        Ok(extents) if extents.is_empty() => {
            Response { data_out_wanted: Some(length.into()), ..Response::good() }.into()
        }
        Ok(extents) => Verdict::Io(BlockIo {
            op: BlockOp::Unmap { extents },
            data_out_wanted: Some(length.into()),
            data_in_wanted: None,
        }),
        Err(sense) => Response { data_out_wanted: Some(length.into()), ..Response::check(sense) }.into(),
    }
}

/// What an UNMAP parameter list (SBC-3 5.28.2) names: in order, without what is named twice, and nothing empty.
fn extents(config: &UnitConfig, data: Option<&[u8]>, length: u16) -> Result<Vec<Extent>, Sense> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let list = data.unwrap_or_default().get(..length.into()).ok_or(SenseCode::PARAMETER_LIST_LENGTH_ERROR)?;
    let (rest, (data_length, descriptor_bytes)) =
        header(list).map_err(|_| Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR))?;
    let descriptors = rest.get(..descriptor_bytes.into()).ok_or(Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR))?;
    if usize::from(data_length) + 2 < HEADER_BYTES + usize::from(descriptor_bytes) {
        return Err(Sense::invalid_parameter(0));
    }
    // An incomplete one at the end is to be ignored.
    let mut named = Vec::new();
    for descriptor in descriptors.chunks_exact(DESCRIPTOR_BYTES) {
        let (_, extent) = extent(descriptor).map_err(|_| Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR))?;
        check_range(config, extent)?;
        named.push(extent);
    }
    let blocks: u64 = named.iter().map(|extent| extent.blocks).sum();
    if named.len() > MAX_UNMAP_DESCRIPTORS.into() || blocks > u64::from(MAX_UNMAP_BYTES / config.block_bytes) {
        return Err(SenseCode::INVALID_FIELD_IN_PARAMETER_LIST.into());
    }
    Ok(merged(named))
}

/// UNMAP DATA LENGTH and UNMAP BLOCK DESCRIPTOR DATA LENGTH.
fn header(list: &[u8]) -> IResult<&[u8], (u16, u16)> {
    (be_u16, be_u16, be_u32).map(|(data, descriptors, _)| (data, descriptors)).parse(list)
}

fn extent(descriptor: &[u8]) -> IResult<&[u8], Extent> {
    (be_u64, be_u32).map(|(lba, blocks)| Extent { lba, blocks: blocks.into() }).parse(descriptor)
}

/// The same blocks in order; each once, and those that follow one another in one extent.
fn merged(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.retain(|extent| extent.blocks > 0);
    extents.sort_by_key(|extent| extent.lba);
    let mut out: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        match out.last_mut() {
            Some(last) if extent.lba <= last.lba + last.blocks => {
                last.blocks = last.blocks.max(extent.lba + extent.blocks - last.lba);
            }
            _ => out.push(extent),
        }
    }
    out
}

/// GET LBA STATUS: of a thin unit the disk has to be asked.
pub(super) fn get_lba_status(config: &UnitConfig, command: &Command, lba: u64, allocation: u32) -> Verdict {
    if lba >= config.blocks {
        return Response::check(SenseCode::LBA_OUT_OF_RANGE).into();
    }
    let blocks = config.blocks - lba;
    if !config.thin {
        return lba_status(lba, blocks, true, allocation).into();
    }
    let data_out_wanted = command.data_out.is_some().then_some(0);
    Verdict::Io(BlockIo { op: BlockOp::Map { lba, blocks, allocation }, data_out_wanted, data_in_wanted: None })
}

/// The answer to GET LBA STATUS (SBC-3 5.4.2) in one LBA status descriptor; initiators go on from its end.
#[must_use]
pub fn lba_status(lba: u64, blocks: u64, mapped: bool, allocation: u32) -> Response {
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    let mut bytes = vec![0, 0, 0, 20, 0, 0, 0, 0]; // PARAMETER DATA LENGTH
    bytes.extend(lba.to_be_bytes());
    bytes.extend(blocks.to_be_bytes());
    bytes.extend([if mapped { MAPPED } else { DEALLOCATED }, 0, 0, 0]);
    Response::parameters(bytes, allocation)
}

#[cfg(test)]
mod tests;
