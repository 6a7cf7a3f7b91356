//! CDBs as operations. Whoever calls a decoder has checked the length and the reserved bits by the opcode table.

use nom::bytes::complete::take;
use nom::combinator::map;
use nom::number::complete::{be_u8, be_u16, be_u24, be_u32, be_u64};
use nom::{IResult, Parser};

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// LOGICAL BLOCK ADDRESS.
    pub lba: u64,
    /// Blocks; in some commands 0 means "to the end".
    pub blocks: u64,
}

/// MODE SENSE (SPC-4 6.13, 6.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSense {
    /// The ten-byte command with its longer header.
    pub ten: bool,
    /// DBD: no block descriptor.
    pub disable_block_descriptors: bool,
    /// LLBAA: the long block descriptor may be used.
    pub long_lba_accepted: bool,
    /// PC: 0 current, 1 changeable, 2 default, 3 saved.
    pub page_control: u8,
    /// PAGE CODE.
    pub page: u8,
    /// SUBPAGE CODE.
    pub subpage: u8,
    /// ALLOCATION LENGTH.
    pub allocation: u32,
}

/// REPORT SUPPORTED OPERATION CODES (SPC-4 6.35).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOpcodes {
    /// RCTD: add timeouts descriptors.
    pub timeouts: bool,
    /// REPORTING OPTIONS.
    pub options: u8,
    /// REQUESTED OPERATION CODE.
    pub opcode: u8,
    /// REQUESTED SERVICE ACTION.
    pub service_action: u16,
    /// ALLOCATION LENGTH.
    pub allocation: u32,
}

/// START STOP UNIT (SBC-3 5.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartStop {
    /// START: start, or load; otherwise stop, or eject.
    pub start: bool,
    /// LOEJ: load or eject.
    pub load_eject: bool,
    /// `NO_FLUSH`.
    pub no_flush: bool,
    /// POWER CONDITION; when it is not 0, `start` and `load_eject` mean nothing.
    pub power_condition: u8,
}

/// READ DEFECT DATA (SBC-3 5.17, 5.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadDefectData {
    /// The twelve-byte command with its longer header.
    pub twelve: bool,
    /// REQ_PLIST and REQ_GLIST, in the bits in which the header answers them.
    pub lists: u8,
    /// DEFECT LIST FORMAT.
    pub format: u8,
    /// ALLOCATION LENGTH.
    pub allocation: u32,
}

/// What a CDB asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the standards, named as there")]
pub enum Operation {
    /// SPC-4 6.47.
    TestUnitReady,
    /// SPC-4 6.39.
    RequestSense { descriptor: bool, allocation: u32 },
    /// SPC-4 6.6.
    Inquiry { evpd: bool, page: u8, allocation: u32 },
    /// SPC-4 6.33.
    ReportLuns { select: u8, allocation: u32 },
    /// SBC-3 5.15.
    ReadCapacity10,
    /// SBC-3 5.16.
    ReadCapacity16 { allocation: u32 },
    /// SBC-3 5.17, 5.18.
    ReadDefectData(ReadDefectData),
    /// SBC-3 5.4.
    GetLbaStatus { lba: u64, allocation: u32 },
    /// SPC-4, EXTENDED COPY(LID1).
    ExtendedCopy { length: u32 },
    /// SPC-4, RECEIVE COPY STATUS(LID1).
    ReceiveCopyStatus { identifier: u8, allocation: u32 },
    /// SPC-4, RECEIVE COPY OPERATING PARAMETERS.
    ReceiveCopyOperatingParameters { allocation: u32 },
    /// SPC-4, RECEIVE COPY FAILURE DETAILS(LID1).
    ReceiveCopyFailureDetails { identifier: u8, allocation: u32 },
    /// SBC-3 5.20.
    StartStopUnit(StartStop),
    /// SBC-3 5.9.
    PreventAllowMediumRemoval { prevent: bool },
    /// SPC-4 6.8.
    LogSense { page_control: u8, page: u8, subpage: u8, pointer: u16, allocation: u32 },
    /// SPC-4 6.13, 6.14.
    ModeSense(ModeSense),
    /// SPC-4 6.11, 6.12.
    ModeSelect { ten: bool, length: u32 },
    /// A command for blocks.
    Block(BlockCommand),
    /// SPC-4 6.37.
    ReportTargetPortGroups { extended: bool, allocation: u32 },
    /// SPC-4 6.46.
    SetTargetPortGroups { length: u32 },
    /// SPC-4 6.35.
    ReportSupportedOperationCodes(ReportOpcodes),
    /// SPC-4 6.36.
    ReportSupportedTaskManagementFunctions { extended: bool, allocation: u32 },
    /// SPC-4 6.15.
    PersistentReserveIn { action: u8, allocation: u32 },
    /// SPC-4 6.16.
    PersistentReserveOut { action: u8, scope_type: u8, length: u32 },
    /// SBC-4 5.32.
    Sanitize { action: u8, immediate: bool, unrestricted: bool, length: u16 },
    /// SPC-2 7.21, 7.22.
    Reserve,
    /// SPC-2 7.16, 7.17.
    Release,
}

/// A command for blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the standards, named as there")]
pub enum BlockCommand {
    /// SBC-3 5.10 to 5.13.
    Read { extent: Extent },
    /// SBC-3 5.31 to 5.34.
    Write { extent: Extent, fua: bool },
    /// SBC-3 5.2.
    CompareAndWrite { extent: Extent, fua: bool },
    /// SBC-3, ORWRITE (16).
    OrWrite { extent: Extent, fua: bool },
    /// SBC-3 5.26 to 5.28; `compare` is BYTCHK 01b.
    Verify { extent: Extent, compare: bool },
    /// SBC-3 5.36 to 5.38.
    WriteAndVerify { extent: Extent, compare: bool },
    /// SBC-3 5.41, 5.42; `no_data_out` is NDOB.
    WriteSame { extent: Extent, unmap: bool, no_data_out: bool },
    /// SBC-3 5.28.
    Unmap { length: u16 },
    /// SBC-3 5.7, 5.8.
    PreFetch { extent: Extent },
    /// SBC-3 5.22, 5.23.
    SynchronizeCache { extent: Extent },
    /// SBC-4, WRITE ATOMIC (16).
    WriteAtomic { extent: Extent, fua: bool },
}

/// Result of a decoder.
pub(super) type Decoded<'a> = IResult<&'a [u8], Operation>;

const DPO_FUA_FUA: u8 = 0x08;
/// The UNMAP bit in byte 1 of WRITE SAME.
pub(super) const WRITE_SAME_UNMAP: u8 = 0x08;
const BYTCHK_COMPARE: u8 = 0x02;

pub(super) fn test_unit_ready(cdb: &[u8]) -> Decoded<'_> {
    Ok((cdb, Operation::TestUnitReady))
}

pub(super) fn read_capacity_10(cdb: &[u8]) -> Decoded<'_> {
    Ok((cdb, Operation::ReadCapacity10))
}

pub(super) fn reserve(cdb: &[u8]) -> Decoded<'_> {
    Ok((cdb, Operation::Reserve))
}

pub(super) fn release(cdb: &[u8]) -> Decoded<'_> {
    Ok((cdb, Operation::Release))
}

pub(super) fn persistent_reserve_in(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, take(5_usize), be_u16), |(_, action, _, allocation)| Operation::PersistentReserveIn {
        action: action & 0x1F,
        allocation: allocation.into(),
    })
    .parse(cdb)
}

pub(super) fn persistent_reserve_out(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, be_u8, be_u16, be_u32), |(_, action, scope_type, _, length)| Operation::PersistentReserveOut {
        action: action & 0x1F,
        scope_type,
        length,
    })
    .parse(cdb)
}

pub(super) fn sanitize(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, take(5usize), be_u16), |(_, flags, _, length)| Operation::Sanitize {
        action: flags & 0x1F,
        immediate: flags & 0x80 != 0,
        unrestricted: flags & 0x20 != 0,
        length,
    })
    .parse(cdb)
}

pub(super) fn request_sense(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, be_u16, be_u8), |(_, flags, _, allocation)| Operation::RequestSense {
        descriptor: flags & 0x01 != 0,
        allocation: allocation.into(),
    })
    .parse(cdb)
}

pub(super) fn inquiry(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, be_u8, be_u16), |(_, flags, page, allocation)| Operation::Inquiry {
        evpd: flags & 0x01 != 0,
        page,
        allocation: allocation.into(),
    })
    .parse(cdb)
}

pub(super) fn report_luns(cdb: &[u8]) -> Decoded<'_> {
    map((be_u16, be_u8, be_u24, be_u32), |(_, select, _, allocation)| Operation::ReportLuns { select, allocation })
        .parse(cdb)
}

pub(super) fn read_capacity_16(cdb: &[u8]) -> Decoded<'_> {
    map((take(10_usize), be_u32), |(_, allocation)| Operation::ReadCapacity16 { allocation }).parse(cdb)
}

pub(super) fn mode_sense_6(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, be_u8, be_u8, be_u8), |(_, flags, page, subpage, allocation)| {
        mode_sense(false, flags, page, subpage, allocation.into())
    })
    .parse(cdb)
}

pub(super) fn mode_sense_10(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, be_u8, be_u8, be_u24, be_u16), |(_, flags, page, subpage, _, allocation)| {
        mode_sense(true, flags, page, subpage, allocation.into())
    })
    .parse(cdb)
}

fn mode_sense(ten: bool, flags: u8, page: u8, subpage: u8, allocation: u32) -> Operation {
    Operation::ModeSense(ModeSense {
        ten,
        disable_block_descriptors: flags & 0x08 != 0,
        long_lba_accepted: ten && flags & 0x10 != 0,
        page_control: page >> 6,
        page: page & 0x3F,
        subpage,
        allocation,
    })
}

pub(super) fn mode_select_6(cdb: &[u8]) -> Decoded<'_> {
    map((be_u32, be_u8), |(_, length)| Operation::ModeSelect { ten: false, length: length.into() }).parse(cdb)
}

pub(super) fn mode_select_10(cdb: &[u8]) -> Decoded<'_> {
    map((take(7_usize), be_u16), |(_, length)| Operation::ModeSelect { ten: true, length: length.into() }).parse(cdb)
}

/// The flags in byte 1 and the blocks of a six-byte CDB, where a length of 0 means 256 (SBC-3 5.9).
fn extent_6(cdb: &[u8]) -> IResult<&[u8], (u8, Extent)> {
    map((be_u8, be_u24, be_u8), |(_, lba, blocks)| {
        let blocks = if blocks == 0 { 256 } else { blocks.into() };
        (0, Extent { lba: (lba & 0x1F_FFFF).into(), blocks })
    })
    .parse(cdb)
}

fn extent_10(cdb: &[u8]) -> IResult<&[u8], (u8, Extent)> {
    map((be_u8, be_u8, be_u32, be_u8, be_u16), |(_, flags, lba, _, blocks)| {
        (flags, Extent { lba: lba.into(), blocks: blocks.into() })
    })
    .parse(cdb)
}

fn extent_12(cdb: &[u8]) -> IResult<&[u8], (u8, Extent)> {
    map((be_u8, be_u8, be_u32, be_u32), |(_, flags, lba, blocks)| {
        (flags, Extent { lba: lba.into(), blocks: blocks.into() })
    })
    .parse(cdb)
}

fn extent_16(cdb: &[u8]) -> IResult<&[u8], (u8, Extent)> {
    map((be_u8, be_u8, be_u64, be_u32), |(_, flags, lba, blocks)| (flags, Extent { lba, blocks: blocks.into() }))
        .parse(cdb)
}

/// One decoder per CDB length of the same operation: name, where its extent is, what it becomes.
macro_rules! medium {
    ($($name:ident($extent_of:ident) $flags:ident, $extent:ident => $operation:expr;)*) => {
        $(pub(super) fn $name(cdb: &[u8]) -> Decoded<'_> {
            map($extent_of, |($flags, $extent)| Operation::Block($operation)).parse(cdb)
        })*
    };
}

medium! {
    read_6(extent_6) _flags, extent => BlockCommand::Read { extent };
    read_10(extent_10) _flags, extent => BlockCommand::Read { extent };
    read_12(extent_12) _flags, extent => BlockCommand::Read { extent };
    read_16(extent_16) _flags, extent => BlockCommand::Read { extent };
    write_6(extent_6) _flags, extent => BlockCommand::Write { extent, fua: false };
    write_10(extent_10) flags, extent => BlockCommand::Write { extent, fua: flags & DPO_FUA_FUA != 0 };
    write_12(extent_12) flags, extent => BlockCommand::Write { extent, fua: flags & DPO_FUA_FUA != 0 };
    write_16(extent_16) flags, extent => BlockCommand::Write { extent, fua: flags & DPO_FUA_FUA != 0 };
    compare_and_write(extent_16) flags, extent =>
        BlockCommand::CompareAndWrite { extent, fua: flags & DPO_FUA_FUA != 0 };
    orwrite_16(extent_16) flags, extent => BlockCommand::OrWrite { extent, fua: flags & DPO_FUA_FUA != 0 };
    verify_10(extent_10) flags, extent => BlockCommand::Verify { extent, compare: flags & BYTCHK_COMPARE != 0 };
    verify_12(extent_12) flags, extent => BlockCommand::Verify { extent, compare: flags & BYTCHK_COMPARE != 0 };
    verify_16(extent_16) flags, extent => BlockCommand::Verify { extent, compare: flags & BYTCHK_COMPARE != 0 };
    write_verify_10(extent_10) flags, extent =>
        BlockCommand::WriteAndVerify { extent, compare: flags & BYTCHK_COMPARE != 0 };
    write_verify_12(extent_12) flags, extent =>
        BlockCommand::WriteAndVerify { extent, compare: flags & BYTCHK_COMPARE != 0 };
    write_verify_16(extent_16) flags, extent =>
        BlockCommand::WriteAndVerify { extent, compare: flags & BYTCHK_COMPARE != 0 };
    write_same_10(extent_10) flags, extent =>
        BlockCommand::WriteSame { extent, unmap: flags & WRITE_SAME_UNMAP != 0, no_data_out: false };
    write_same_16(extent_16) flags, extent => BlockCommand::WriteSame {
        extent,
        unmap: flags & WRITE_SAME_UNMAP != 0,
        no_data_out: flags & 0x01 != 0,
    };
    pre_fetch_10(extent_10) _flags, extent => BlockCommand::PreFetch { extent };
    pre_fetch_16(extent_16) _flags, extent => BlockCommand::PreFetch { extent };
    synchronize_cache_10(extent_10) _flags, extent => BlockCommand::SynchronizeCache { extent };
    synchronize_cache_16(extent_16) _flags, extent => BlockCommand::SynchronizeCache { extent };
}

/// The transfer length has two bytes only; before it, the boundary.
pub(super) fn write_atomic_16(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, be_u64, be_u16, be_u16), |(_, flags, lba, _, blocks)| {
        let extent = Extent { lba, blocks: blocks.into() };
        Operation::Block(BlockCommand::WriteAtomic { extent, fua: flags & DPO_FUA_FUA != 0 })
    })
    .parse(cdb)
}

pub(super) fn unmap(cdb: &[u8]) -> Decoded<'_> {
    map((take(7_usize), be_u16), |(_, length)| Operation::Block(BlockCommand::Unmap { length })).parse(cdb)
}

pub(super) fn start_stop_unit(cdb: &[u8]) -> Decoded<'_> {
    map((be_u32, be_u8), |(_, flags)| {
        Operation::StartStopUnit(StartStop {
            start: flags & 0x01 != 0,
            load_eject: flags & 0x02 != 0,
            no_flush: flags & 0x04 != 0,
            power_condition: flags >> 4,
        })
    })
    .parse(cdb)
}

pub(super) fn prevent_allow(cdb: &[u8]) -> Decoded<'_> {
    map((be_u32, be_u8), |(_, flags)| Operation::PreventAllowMediumRemoval { prevent: flags & 0x01 != 0 }).parse(cdb)
}

pub(super) fn log_sense(cdb: &[u8]) -> Decoded<'_> {
    map((be_u16, be_u8, be_u8, be_u8, be_u16, be_u16), |(_, page, subpage, _, pointer, allocation)| {
        Operation::LogSense {
            page_control: page >> 6,
            page: page & 0x3F,
            subpage,
            pointer,
            allocation: allocation.into(),
        }
    })
    .parse(cdb)
}

pub(super) fn read_defect_data_10(cdb: &[u8]) -> Decoded<'_> {
    map((be_u16, be_u8, be_u32, be_u16), |(_, flags, _, allocation)| read_defect_data(false, flags, allocation.into()))
        .parse(cdb)
}

pub(super) fn read_defect_data_12(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, be_u32, be_u32), |(_, flags, _, allocation)| read_defect_data(true, flags, allocation))
        .parse(cdb)
}

fn read_defect_data(twelve: bool, flags: u8, allocation: u32) -> Operation {
    Operation::ReadDefectData(ReadDefectData { twelve, lists: flags & 0x18, format: flags & 0x07, allocation })
}

pub(super) fn get_lba_status(cdb: &[u8]) -> Decoded<'_> {
    map((be_u16, be_u64, be_u32), |(_, lba, allocation)| Operation::GetLbaStatus { lba, allocation }).parse(cdb)
}

pub(super) fn extended_copy(cdb: &[u8]) -> Decoded<'_> {
    map((take(10_usize), be_u32), |(_, length)| Operation::ExtendedCopy { length }).parse(cdb)
}

/// The list identifier and the allocation length of the commands that ask about copies.
fn receive_copy(cdb: &[u8]) -> IResult<&[u8], (u8, u32)> {
    map((be_u16, be_u8, take(7_usize), be_u32), |(_, identifier, _, allocation)| (identifier, allocation)).parse(cdb)
}

pub(super) fn receive_copy_status(cdb: &[u8]) -> Decoded<'_> {
    map(receive_copy, |(identifier, allocation)| Operation::ReceiveCopyStatus { identifier, allocation }).parse(cdb)
}

pub(super) fn receive_copy_parameters(cdb: &[u8]) -> Decoded<'_> {
    map(receive_copy, |(_, allocation)| Operation::ReceiveCopyOperatingParameters { allocation }).parse(cdb)
}

pub(super) fn receive_copy_details(cdb: &[u8]) -> Decoded<'_> {
    map(receive_copy, |(identifier, allocation)| Operation::ReceiveCopyFailureDetails { identifier, allocation })
        .parse(cdb)
}

pub(super) fn report_target_port_groups(cdb: &[u8]) -> Decoded<'_> {
    map((be_u8, be_u8, be_u32, be_u32), |(_, format, _, allocation)| Operation::ReportTargetPortGroups {
        extended: format >> 5 == 0b001,
        allocation,
    })
    .parse(cdb)
}

pub(super) fn set_target_port_groups(cdb: &[u8]) -> Decoded<'_> {
    map((take(6_usize), be_u32), |(_, length)| Operation::SetTargetPortGroups { length }).parse(cdb)
}

pub(super) fn report_opcodes(cdb: &[u8]) -> Decoded<'_> {
    map((be_u16, be_u8, be_u8, be_u16, be_u32), |(_, flags, opcode, service_action, allocation)| {
        Operation::ReportSupportedOperationCodes(ReportOpcodes {
            timeouts: flags & 0x80 != 0,
            options: flags & 0x07,
            opcode,
            service_action,
            allocation,
        })
    })
    .parse(cdb)
}

pub(super) fn report_task_management(cdb: &[u8]) -> Decoded<'_> {
    map((be_u16, be_u8, be_u24, be_u32), |(_, flags, _, allocation)| {
        Operation::ReportSupportedTaskManagementFunctions { extended: flags & 0x80 != 0, allocation }
    })
    .parse(cdb)
}
