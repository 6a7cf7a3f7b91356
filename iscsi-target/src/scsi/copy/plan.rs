//! What a segment comes to: so many blocks of one unit to as many bytes of another, in steps.

use super::MAX_SEGMENT_BYTES;
use super::failure::Failed;
use super::list::{Cscd, ParameterList, Segment};
use crate::scsi::Response;
use crate::scsi::block::{self, IoError};
use crate::scsi::decode::Extent;
use crate::scsi::sense::SenseCode;

/// Bytes of one step, so that a long copy leaves room for others; a multiple of every block.
const STEP_BYTES: u64 = 1 << 20;
/// PERIPHERAL DEVICE TYPE of a direct access block device.
const BLOCK_DEVICE: u8 = 0x00;
/// Where a segment descriptor has its source and its destination.
const SOURCE: u16 = 4;
const DESTINATION: u16 = 6;
/// Where it has its number of blocks.
const BLOCKS: u16 = 10;
/// Where a CSCD descriptor has its DISK BLOCK LENGTH.
const DISK_BLOCK_LENGTH: u16 = 29;

/// One of the two ends of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It is read.
    Source,
    /// It is written.
    Destination,
}

/// A unit, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Which.
    pub number: u8,
    /// Bytes per block.
    pub block_bytes: u32,
    /// Blocks that it has now.
    pub blocks: u64,
}

/// A segment whose ends are known and large enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// From here.
    pub source: End,
    /// To there.
    pub destination: End,
    bytes: u64,
    /// The end first: the beginning of the destination is still to be read.
    backwards: bool,
}

/// One end of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The unit's number.
    pub unit: u8,
    lba: u64,
    block_bytes: u32,
}

impl End {
    fn extent(&self, first_byte: u64, bytes: u64) -> Extent {
        let block = u64::from(self.block_bytes);
        Extent { lba: self.lba + first_byte / block, blocks: bytes / block }
    }
}

impl Piece {
    /// What to read and where to write it, one after the other.
    pub fn steps(&self) -> impl Iterator<Item = (Extent, Extent)> + use<> {
        let Self { source, destination, bytes, backwards } = *self;
        let steps = bytes.div_ceil(STEP_BYTES);
        (0..steps).map(move |step| {
            let first = STEP_BYTES * if backwards { steps - 1 - step } else { step };
            let bytes = STEP_BYTES.min(bytes - first);
            (source.extent(first, bytes), destination.extent(first, bytes))
        })
    }

    /// Bytes of all of it.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Whether what these have written has not changed what any of them reads: then all of it may be done again.
#[must_use]
pub fn is_repeatable(pieces: &[Piece]) -> bool {
    let meets = |read: &Piece, written: &Piece| meet((read.source, read.bytes), (written.destination, written.bytes));
    !pieces.iter().any(|read| pieces.iter().any(|written| meets(read, written)))
}

/// What is to be done for `segment` of `list`; `None`: nothing. `unit` finds what a CSCD descriptor names.
///
/// # Errors
/// Why it cannot be.
pub fn piece(
    list: &ParameterList,
    segment: &Segment,
    unit: impl Fn(&Cscd) -> Option<Unit>,
) -> Result<Option<Piece>, Failed> {
    let find = |id: u16, field: u16| {
        let cscd = list.cscds.get(usize::from(id)).ok_or(Failed::NoSuchCscd { byte: segment.at + field })?;
        let unit = unit(cscd).ok_or(Failed::NotReachable)?;
        if cscd.device_type != BLOCK_DEVICE {
            return Err(Failed::WrongDeviceType);
        }
        if cscd.block_bytes != unit.block_bytes {
            return Err(Failed::InvalidField { byte: cscd.at + DISK_BLOCK_LENGTH });
        }
        Ok(unit)
    };
    let source = find(segment.source, SOURCE)?;
    let destination = find(segment.destination, DESTINATION)?;
    let counted_in = if segment.destination_count { destination } else { source };
    let bytes = u64::from(segment.blocks) * u64::from(counted_in.block_bytes);
    if bytes > MAX_SEGMENT_BYTES {
        return Err(Failed::InvalidField { byte: segment.at + BLOCKS });
    }
    let whole = |unit: Unit| bytes.is_multiple_of(u64::from(unit.block_bytes));
    if !whole(source) || !whole(destination) {
        return Err(Failed::Inexact);
    }
    let from = end(Side::Source, source, segment.source_lba, bytes)?;
    let to = end(Side::Destination, destination, segment.destination_lba, bytes)?;
    let backwards = from.lba < to.lba && meet((from, bytes), (to, bytes));
    Ok((bytes > 0).then_some(Piece { source: from, destination: to, bytes, backwards }))
}

/// Whether so many bytes of each have a block in common.
fn meet((one, bytes_of_one): (End, u64), (other, bytes_of_other): (End, u64)) -> bool {
    let (first, second) = (one.extent(0, bytes_of_one), other.extent(0, bytes_of_other));
    one.unit == other.unit && first.lba < second.lba + second.blocks && second.lba < first.lba + first.blocks
}

/// `bytes` from `lba` on, unless not all of them are on the unit: then it is told what the unit would have said.
fn end(side: Side, unit: Unit, lba: u64, bytes: u64) -> Result<End, Failed> {
    let block_bytes = unit.block_bytes;
    match lba.checked_add(bytes / u64::from(block_bytes)) {
        Some(end) if end <= unit.blocks => Ok(End { unit: unit.number, lba, block_bytes }),
        _ => Err(Failed::Unit { side, response: Response::check(SenseCode::LBA_OUT_OF_RANGE), moved: false }),
    }
}

/// What an end said that could not be read or written.
#[must_use]
pub fn failed(side: Side, error: IoError) -> Failed {
    let response = block::failed(error, side == Side::Source);
    Failed::Unit { side, response, moved: error == IoError::Moved }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::copy::list::parse;
    use crate::scsi::copy::list::tests::{blocks, list_of, naa};

    const SMALL: Unit = Unit { number: 1, block_bytes: 512, blocks: 0x2_0000 };
    const LARGE: Unit = Unit { number: 2, block_bytes: 4096, blocks: 0x1000 };

    /// Of a list whose CSCD descriptors name a unit of 512, one of 4096, and none.
    fn planned_of(cscds: &[[u8; 32]], segment: [u8; 28]) -> Result<Option<Piece>, Failed> {
        let bytes = list_of(0, 1, cscds, &[segment]);
        let list = parse(u32::try_from(bytes.len()).unwrap(), Some(&bytes)).unwrap().unwrap();
        let unit = |cscd: &Cscd| [SMALL, LARGE].into_iter().find(|unit| cscd.designator == [unit.number]);
        piece(&list, &list.segments[0], unit)
    }

    fn planned(segment: [u8; 28]) -> Result<Option<Piece>, Failed> {
        planned_of(&[naa(&[1], 512), naa(&[2], 4096), naa(&[3], 512)], segment)
    }

    fn counted_at_destination(mut segment: [u8; 28]) -> [u8; 28] {
        segment[1] |= 0x02;
        segment
    }

    fn steps(piece: &Piece) -> Vec<((u64, u64), (u64, u64))> {
        piece.steps().map(|(from, to)| ((from.lba, from.blocks), (to.lba, to.blocks))).collect()
    }

    #[test]
    fn a_segment_is_cut_into_steps() {
        let piece = planned(blocks((0, 100), (0, 20_000), 5000)).unwrap().unwrap();
        assert_eq!((piece.source.unit, piece.destination.unit, piece.bytes()), (1, 1, 5000 * 512));
        let expected = [((100, 2048), (20_000, 2048)), ((2148, 2048), (22_048, 2048)), ((4196, 904), (24_096, 904))];
        assert_eq!(steps(&piece), expected);
        assert_eq!(planned(blocks((0, 100), (0, 20_000), 0)), Ok(None));
    }

    #[test]
    fn blocks_are_counted_at_the_end_that_dc_names_and_may_differ_in_size() {
        let piece = planned(blocks((0, 8), (1, 5), 16)).unwrap().unwrap();
        assert_eq!(steps(&piece), [((8, 16), (5, 2))]);
        let piece = planned(counted_at_destination(blocks((0, 8), (1, 5), 2))).unwrap().unwrap();
        assert_eq!(steps(&piece), [((8, 16), (5, 2))]);
        let piece = planned(blocks((1, 5), (0, 8), 257)).unwrap().unwrap();
        assert_eq!(steps(&piece), [((5, 256), (8, 2048)), ((261, 1), (2056, 8))]);
        assert_eq!(planned(blocks((0, 8), (1, 5), 17)), Err(Failed::Inexact), "an eighth of a block is left over");
        assert_eq!(planned(counted_at_destination(blocks((1, 8), (0, 5), 7))), Err(Failed::Inexact));
    }

    #[test]
    fn what_overlaps_is_copied_before_it_is_overwritten() {
        let lbas = |from, to| {
            let piece = planned(blocks((0, from), (0, to), 4096 + 8)).unwrap().unwrap();
            let lbas: Vec<_> = piece.steps().map(|(from, _)| from.lba).collect();
            (lbas, is_repeatable(&[piece]))
        };
        assert_eq!(lbas(0, 8), (vec![4096, 2048, 0], false));
        assert_eq!(lbas(8, 0), (vec![8, 2056, 4104], false));
        assert_eq!(lbas(0, 4103), (vec![4096, 2048, 0], false));
        assert_eq!(lbas(0, 4104), (vec![0, 2048, 4096], true));
        let piece = |from, to| planned(blocks(from, to, 8)).unwrap().unwrap();
        let (there, back) = (piece((0, 0), (1, 0)), piece((1, 0), (0, 64)));
        assert!(is_repeatable(&[]) && is_repeatable(&[there]) && is_repeatable(&[back]));
        assert!(!is_repeatable(&[there, back]) && !is_repeatable(&[back, there]), "one reads what the other writes");
    }

    #[test]
    fn ends_that_are_not_there() {
        let (cscds, first) = (3 * 32, 16);
        let segment = first + cscds;
        assert_eq!(planned(blocks((3, 0), (0, 0), 1)), Err(Failed::NoSuchCscd { byte: segment + 4 }));
        assert_eq!(planned(blocks((0, 0), (9, 0), 0)), Err(Failed::NoSuchCscd { byte: segment + 6 }));
        assert_eq!(planned(blocks((2, 0), (0, 0), 1)), Err(Failed::NotReachable));
        assert_eq!(planned(blocks((0, 0), (2, 0), 1)), Err(Failed::NotReachable));
        let mut tape = naa(&[1], 512);
        tape[1] = 0x01;
        assert_eq!(planned_of(&[tape], blocks((0, 0), (0, 8), 1)), Err(Failed::WrongDeviceType));
        let other_blocks = Failed::InvalidField { byte: first + 29 };
        assert_eq!(planned_of(&[naa(&[1], 4096)], blocks((0, 0), (0, 8), 1)), Err(other_blocks));
        let too_long = Failed::InvalidField { byte: segment + 10 };
        assert!(planned(blocks((1, 0), (1, 0), 0x4000)).is_err_and(|failed| failed != too_long), "64 MiB");
        assert_eq!(planned(blocks((1, 0), (1, 0), 0x4001)), Err(too_long));
    }

    #[test]
    fn ranges_beyond_the_end_are_refused_as_the_unit_would() {
        let beyond = |side| {
            let response = Response::check(SenseCode::LBA_OUT_OF_RANGE);
            Err(Failed::Unit { side, response, moved: false })
        };
        assert!(planned(blocks((0, 0x1_FFFF), (0, 0), 1)).is_ok_and(|piece| piece.is_some()));
        for lba in [0x2_0000, u64::MAX] {
            assert_eq!(planned(blocks((0, lba), (0, 0), 1)), beyond(Side::Source));
            assert_eq!(planned(blocks((0, 0), (0, lba), 1)), beyond(Side::Destination));
        }
        assert_eq!(planned(blocks((0, 0x1_FFFF), (0, 0), 2)), beyond(Side::Source));
    }
}
