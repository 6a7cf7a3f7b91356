//! Commands as the initiator builds them, and what comes back (SPC-4 6, SBC-3 5).

use bytes::Bytes;
use nom::Parser;
use nom::number::complete::{be_u32, be_u64};

use super::port_groups::GroupState;
use crate::scsi::Status;

/// The longest parameter data that the initiator asks for.
const ALLOCATION_LENGTH: u16 = 4096;
/// READ CAPACITY (16) parameter data.
const CAPACITY_BYTES: u32 = 32;
const FUA: u8 = 0x08;

/// A command on its way to a logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Command descriptor block, 6 to 16 bytes.
    pub cdb: Vec<u8>,
    /// What is transferred.
    pub data: Data,
}

/// The data of a command, seen from the initiator.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Data {
    /// No data.
    #[default]
    None,
    /// Up to this many bytes come.
    In(u32),
    /// These bytes go.
    Out(Bytes),
}

/// The end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The SAM status byte; one of [`Status`] unless the target made it up.
    pub status: u8,
    /// With CHECK CONDITION, if there is sense data that makes sense.
    pub sense: Option<Sense>,
    /// Data-In.
    pub data: Vec<u8>,
}

/// Sense key and additional sense code (SPC-4 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// What kind.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
}

/// What READ CAPACITY (16) tells (SBC-3 5.16.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of blocks.
    pub blocks: u64,
    /// Bytes per block.
    pub block_bytes: u32,
}

/// The eight bytes of a logical unit number: one level, peripheral device addressing up to 255, flat space
/// addressing above (SAM-5 4.7.5). `None` when it does not fit.
#[must_use]
pub fn lun_bytes(lun: u64) -> Option<u64> {
    match lun {
        0..=0xff => Some(lun << 48),
        0x100..=0x3fff => Some((0x4000 | lun) << 48),
        _ => None,
    }
}

impl Command {
    /// TEST UNIT READY (SPC-4 6.47).
    #[must_use]
    pub fn test_unit_ready() -> Self {
        Self { cdb: vec![0; 6], data: Data::None }
    }

    /// INQUIRY for the device identification page (SPC-4 6.6, 7.8.6).
    #[must_use]
    pub fn inquiry_device_identification() -> Self {
        let [high, low] = ALLOCATION_LENGTH.to_be_bytes();
        Self { cdb: vec![0x12, 1, 0x83, high, low, 0], data: Data::In(ALLOCATION_LENGTH.into()) }
    }

    /// READ CAPACITY (16) (SBC-3 5.16).
    #[must_use]
    pub fn read_capacity() -> Self {
        let mut cdb = vec![0; 16];
        cdb[..2].copy_from_slice(&[0x9e, 0x10]);
        cdb[10..14].copy_from_slice(&CAPACITY_BYTES.to_be_bytes());
        Self { cdb, data: Data::In(CAPACITY_BYTES) }
    }

    /// READ (16) (SBC-3 5.10).
    #[must_use]
    pub fn read(lba: u64, blocks: u32, block_bytes: u32) -> Self {
        Self { cdb: block_cdb(0x88, 0, lba, blocks), data: Data::In(blocks.saturating_mul(block_bytes)) }
    }

    /// WRITE (16) of `data`, which is `blocks` long (SBC-3 5.34).
    #[must_use]
    pub fn write(lba: u64, blocks: u32, data: Bytes, fua: bool) -> Self {
        Self { cdb: block_cdb(0x8a, if fua { FUA } else { 0 }, lba, blocks), data: Data::Out(data) }
    }

    /// SYNCHRONIZE CACHE (16) of the whole medium (SBC-3 5.27).
    #[must_use]
    pub fn synchronize_cache() -> Self {
        Self { cdb: block_cdb(0x91, 0, 0, 0), data: Data::None }
    }

    /// REPORT TARGET PORT GROUPS, with the extended or the old header (SPC-4 6.37).
    #[must_use]
    pub fn report_target_port_groups(extended: bool) -> Self {
        let mut cdb = vec![0; 12];
        cdb[..2].copy_from_slice(&[0xa3, if extended { 0x2a } else { 0x0a }]);
        cdb[6..10].copy_from_slice(&u32::from(ALLOCATION_LENGTH).to_be_bytes());
        Self { cdb, data: Data::In(ALLOCATION_LENGTH.into()) }
    }

    /// SET TARGET PORT GROUPS: make `group` active/optimized (SPC-4 6.45).
    #[must_use]
    pub fn activate(group: u16) -> Self {
        let [high, low] = group.to_be_bytes();
        let list = [0, 0, 0, 0, GroupState::ActiveOptimized.code(), 0, high, low];
        let mut cdb = vec![0; 12];
        cdb[..2].copy_from_slice(&[0xa4, 0x0a]);
        cdb[9] = 8;
        Self { cdb, data: Data::Out(Bytes::copy_from_slice(&list)) }
    }
}

fn block_cdb(opcode: u8, flags: u8, lba: u64, blocks: u32) -> Vec<u8> {
    let mut cdb = vec![opcode, flags];
    cdb.extend_from_slice(&lba.to_be_bytes());
    cdb.extend_from_slice(&blocks.to_be_bytes());
    cdb.extend_from_slice(&[0, 0]);
    cdb
}

impl Data {
    /// Expected Data Transfer Length.
    #[must_use]
    pub fn expected_length(&self) -> usize {
        match self {
            Self::None => 0,
            Self::In(len) => usize::try_from(*len).unwrap_or(usize::MAX),
            Self::Out(data) => data.len(),
        }
    }
}

impl Answer {
    /// GOOD with this Data-In.
    #[must_use]
    pub fn good(data: Vec<u8>) -> Self {
        Self { status: Status::Good as u8, sense: None, data }
    }

    /// CHECK CONDITION with this sense.
    #[must_use]
    pub fn check_condition(sense: Sense) -> Self {
        Self { status: Status::CheckCondition as u8, sense: Some(sense), data: Vec::new() }
    }

    /// Whether the command did what it was to do.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == Status::Good as u8
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {:#04x}", self.status)?;
        match self.sense {
            Some(Sense { key, asc, ascq }) => write!(f, ", sense {key:X}/{asc:02X}/{ascq:02X}"),
            None => Ok(()),
        }
    }
}

impl Sense {
    /// Read fixed (70h, 71h) or descriptor (72h, 73h) format (SPC-4 4.5.2, 4.5.3).
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? & 0x7f {
            0x70 | 0x71 => {
                let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
                Some(Self { key: bytes.get(2)? & 0x0f, asc: byte(12), ascq: byte(13) })
            }
            0x72 | 0x73 => Some(Self { key: bytes.get(1)? & 0x0f, asc: *bytes.get(2)?, ascq: *bytes.get(3)? }),
            _ => None,
        }
    }
}

impl Capacity {
    /// Read the parameter data; `None` when it is too short or describes no disk.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let parsed: nom::IResult<&[u8], (u64, u32)> = (be_u64, be_u32).parse(bytes);
        let (_, (last_lba, block_bytes)) = parsed.ok()?;
        let is_sane = block_bytes.is_power_of_two() && (512..=1 << 16).contains(&block_bytes);
        is_sane.then_some(Self { blocks: last_lba.checked_add(1)?, block_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cdbs_are_those_of_the_standards() {
        let cdb = |command: Command| command.cdb;
        assert_eq!(cdb(Command::inquiry_device_identification()), [0x12, 1, 0x83, 0x10, 0, 0]);
        assert_eq!(cdb(Command::read_capacity()), [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]);
        assert_eq!(cdb(Command::read(0x0102, 3, 512)), [0x88, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, 0, 0]);
        let write = Command::write(5, 1, Bytes::from_static(&[7; 512]), true);
        assert_eq!(write.cdb, [0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0]);
        assert_eq!(cdb(Command::synchronize_cache())[0], 0x91);
        assert_eq!(cdb(Command::report_target_port_groups(true)), [0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0]);
        let activate = Command::activate(2);
        assert_eq!(activate.cdb, [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
        assert_eq!(activate.data, Data::Out(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 2])));
    }

    #[test]
    fn lengths_are_those_of_the_data() {
        assert_eq!(Command::read(0, 8, 4096).data.expected_length(), 32768);
        assert_eq!(Command::test_unit_ready().data.expected_length(), 0);
        assert_eq!(Command::activate(1).data.expected_length(), 8);
    }

    #[test]
    fn sense_in_both_formats() {
        let sense = Some(Sense { key: 6, asc: 0x2a, ascq: 6 });
        assert_eq!(Sense::parse(&[0xf0, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 6, 0, 0, 0, 0]), sense);
        assert_eq!(Sense::parse(&[0x72, 6, 0x2a, 6, 0, 0, 0, 0]), sense);
        assert_eq!(Sense::parse(&[0x70, 0, 3]), Some(Sense { key: 3, asc: 0, ascq: 0 }));
        for bytes in [&[][..], &[0x70], &[0x72, 6, 0x2a], &[0x12, 0, 0, 0]] {
            assert_eq!(Sense::parse(bytes), None);
        }
    }

    #[test]
    fn capacity_is_one_more_than_the_last_block() {
        let mut data = [0; 32];
        data[7] = 0xff;
        data[10] = 2;
        assert_eq!(Capacity::parse(&data), Some(Capacity { blocks: 256, block_bytes: 512 }));
        assert_eq!(Capacity::parse(&data[..11]), None);
        data[11] = 1;
        assert_eq!(Capacity::parse(&data), None);
        assert_eq!(Capacity::parse(&[0xff; 32]), None);
    }

    #[test]
    fn luns_in_one_level() {
        assert_eq!(lun_bytes(1), Some(0x0001_0000_0000_0000));
        assert_eq!(lun_bytes(256), Some(0x4100_0000_0000_0000));
        assert_eq!(lun_bytes(1 << 14), None);
    }
}
