//! The table of commands. The parser, the gate and REPORT SUPPORTED OPERATION CODES read nothing else.

use alua::CommandClass;

use crate::scsi::decode::{self, Decoded, Operation};
use crate::scsi::sense::{Sense, SenseCode};

/// Which way a command's data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// No data.
    None,
    /// To the initiator.
    In,
    /// From the initiator.
    Out,
}

/// A reservation that another nexus holds, as it looks to a nexus without a part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// RESERVE(6) or RESERVE(10) (SPC-2 5.5.1).
    Unit,
    /// A persistent reservation of a write exclusive type.
    WriteExclusive,
    /// A persistent reservation of an exclusive access type.
    ExclusiveAccess,
}

/// How commands get along with another nexus' reservation (SPC-2 5.5.1, SPC-4 5.13.1, SBC-3 4.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservationClass {
    /// Never conflicts.
    Always,
    /// Conflicts with RESERVE only.
    Persistent,
    /// Conflicts unless the reservation lets others read.
    Read,
    /// Conflicts with every reservation.
    Change,
}

impl ReservationClass {
    /// Whether a command of this class conflicts with `reserved`.
    #[must_use]
    pub const fn conflicts_with(self, reserved: Reserved) -> bool {
        match self {
            Self::Always => false,
            Self::Persistent => matches!(reserved, Reserved::Unit),
            Self::Read => matches!(reserved, Reserved::Unit | Reserved::ExclusiveAccess),
            Self::Change => true,
        }
    }
}

/// What a command does to blocks, and so which others it may overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Touches no block.
    Free,
    /// Touches no block, but speaks of the medium: there must be one.
    Medium,
    /// Moves the medium itself: it need not be there.
    Load,
    /// Reads blocks.
    Read,
    /// Changes blocks; refused to a nexus for which the unit is write-protected.
    Write,
    /// Speaks of everything written before.
    Flush,
}

impl Order {
    /// Whether a unit without its medium refuses the command.
    #[must_use]
    pub const fn needs_medium(self) -> bool {
        match self {
            Self::Free | Self::Load => false,
            Self::Medium | Self::Read | Self::Write | Self::Flush => true,
        }
    }
}

/// One command.
#[derive(Debug)]
pub struct Row {
    /// The CDB USAGE DATA of SPC-4 6.35.3: operation code, service action where there is one, and elsewhere the bits
    /// that are looked at. Its length is the CDB's.
    pub usage: &'static [u8],
    /// SERVICE ACTION, in the low five bits of byte 1.
    pub service_action: Option<u8>,
    /// As the standard calls it.
    pub name: &'static str,
    /// Where its data goes.
    pub direction: Direction,
    /// How access states treat it.
    pub class: CommandClass,
    /// How reservations treat it.
    pub reservation: ReservationClass,
    /// What it does to blocks.
    pub order: Order,
    decode: fn(&[u8]) -> Decoded<'_>,
}

/// OPERATION CODE of WRITE ATOMIC(16), which not every unit offers.
pub const WRITE_ATOMIC_16: u8 = 0x9C;
/// OPERATION CODE of UNMAP, likewise.
pub const UNMAP: u8 = 0x42;
/// OPERATION CODE of SANITIZE.
pub const SANITIZE: u8 = 0x48;
/// OPERATION CODE of WRITE SAME(10).
pub const WRITE_SAME_10: u8 = 0x41;
/// OPERATION CODE of WRITE SAME(16).
pub const WRITE_SAME_16: u8 = 0x93;
/// OPERATION CODE of EXTENDED COPY and the other commands that begin or end copies.
pub const THIRD_PARTY_COPY_OUT: u8 = 0x83;
/// OPERATION CODE of the commands that ask about copies.
pub const THIRD_PARTY_COPY_IN: u8 = 0x84;
/// OPERATION CODE of READ(16).
const READ_16: u8 = 0x88;
/// OPERATION CODE of WRITE(16).
const WRITE_16: u8 = 0x8A;
/// Bits of byte 1 that hold a service action.
const SERVICE_ACTION: u8 = 0x1F;

impl Row {
    /// OPERATION CODE.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.usage[0]
    }

    /// A bit that nobody looks at is set: INVALID FIELD IN CDB.
    fn check_reserved(&self, cdb: &[u8]) -> Result<(), Sense> {
        for (index, (&byte, &used)) in cdb.iter().zip(self.usage).enumerate().skip(1) {
            let used = if index == 1 && self.service_action.is_some() { used | SERVICE_ACTION } else { used };
            let unknown = byte & !used;
            if let Some(bit) = unknown.checked_ilog2() {
                return Err(invalid(index, u8::try_from(bit).ok()));
            }
        }
        Ok(())
    }
}

fn invalid(byte: usize, bit: Option<u8>) -> Sense {
    Sense::invalid_cdb(u16::try_from(byte).unwrap_or(u16::MAX), bit)
}

/// The row and the operation that `cdb` stands for; bytes beyond the command's length are padding.
///
/// # Errors
/// INVALID COMMAND OPERATION CODE or INVALID FIELD IN CDB.
pub fn parse(cdb: &[u8]) -> Result<(&'static Row, Operation), Sense> {
    let &opcode = cdb.first().ok_or(SenseCode::INVALID_OPERATION_CODE)?;
    let mut rows = rows_of(opcode).peekable();
    rows.peek().ok_or(SenseCode::INVALID_OPERATION_CODE)?;
    let asked = cdb.get(1).map(|byte| byte & SERVICE_ACTION);
    let row = rows
        .find(|row| row.service_action.is_none() || row.service_action == asked)
        .ok_or_else(|| Sense::invalid_cdb(1, Some(4)))?;
    let cdb = cdb.get(..row.usage.len()).ok_or_else(|| invalid(cdb.len(), None))?;
    row.check_reserved(cdb)?;
    let (_, operation) = (row.decode)(cdb).map_err(|_| Sense::from(SenseCode::INVALID_FIELD_IN_CDB))?;
    Ok((row, operation))
}

/// What a copy that reads blocks of a unit, or writes them, is treated as.
///
/// # Panics
/// Never: READ(16) and WRITE(16) are in the table.
#[must_use]
pub fn row_of_copy(writes: bool) -> &'static Row {
    rows_of(if writes { WRITE_16 } else { READ_16 }).next().expect("every unit has READ(16) and WRITE(16)")
}

/// All rows of an operation code: none, one, or one per service action.
pub fn rows_of(opcode: u8) -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(move |row| row.opcode() == opcode)
}

macro_rules! table {
    ($($name:literal $(/ $action:literal)? [$($usage:literal),*] $decode:ident $direction:ident $class:ident $reservation:ident
       $order:ident;)*) => {
        /// Every command of a logical unit, by operation code and service action.
        pub static TABLE: &[Row] = &[$(Row {
            usage: &[$($usage),*],
            service_action: table!(@action $($action)?),
            name: $name,
            direction: Direction::$direction,
            class: CommandClass::$class,
            reservation: ReservationClass::$reservation,
            order: Order::$order,
            decode: decode::$decode,
        },)*];
    };
    (@action) => { None };
    (@action $action:literal) => { Some($action) };
}

// Bits left out on purpose: RDPROTECT, WRPROTECT, VRPROTECT and ORPROTECT (no protection information), ANCHOR (ANC_SUP is
// 0), ATOMIC BOUNDARY, POWER CONDITION MODIFIER, NACA. FUA_NV and SYNC_NV are obsolete and harmless; GROUP NUMBER
// only sorts statistics; DPO is a hint.
#[rustfmt::skip]
table! {
//  name, service action        CDB usage data                                              decoder  data  access state  reservation  order
    "TEST UNIT READY"           [0x00, 0, 0, 0, 0, 0]                                       test_unit_ready None Configuration Persistent Medium;
    "REQUEST SENSE"             [0x03, 0x01, 0, 0, 0xFF, 0]                                 request_sense In Identity Always Free;
    "READ(6)"                   [0x08, 0x1F, 0xFF, 0xFF, 0xFF, 0]                           read_6 In Medium Read Read;
    "WRITE(6)"                  [0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 0]                           write_6 Out Medium Change Write;
    "INQUIRY"                   [0x12, 0x01, 0xFF, 0xFF, 0xFF, 0]                           inquiry In Identity Always Free;
    "MODE SELECT(6)"            [0x15, 0x10, 0, 0, 0xFF, 0]                                 mode_select_6 Out Configuration Change Free;
    "RESERVE(6)"                [0x16, 0, 0, 0, 0, 0]                                       reserve None Medium Change Free;
    "RELEASE(6)"                [0x17, 0, 0, 0, 0, 0]                                       release None Medium Always Free;
    "MODE SENSE(6)"             [0x1A, 0x08, 0xFF, 0xFF, 0xFF, 0]                           mode_sense_6 In Configuration Change Free;
    "START STOP UNIT"           [0x1B, 0x01, 0, 0, 0xF7, 0]                                 start_stop_unit None Medium Change Load;
    "PREVENT ALLOW MEDIUM REMOVAL" [0x1E, 0, 0, 0, 0x01, 0]                                 prevent_allow None Medium Change Load;
    "READ CAPACITY(10)"         [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]                           read_capacity_10 In Configuration Always Medium;
    "READ(10)"                  [0x28, 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0]   read_10 In Medium Read Read;
    "WRITE(10)"                 [0x2A, 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0]   write_10 Out Medium Change Write;
    "WRITE AND VERIFY(10)"      [0x2E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0]   write_verify_10 Out Medium Change Write;
    "VERIFY(10)"                [0x2F, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0]   verify_10 Out Medium Read Read;
    "PRE-FETCH(10)"             [0x34, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0]   pre_fetch_10 None Medium Read Read;
    "SYNCHRONIZE CACHE(10)"     [0x35, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0]   synchronize_cache_10 None Medium Change Flush;
    "READ DEFECT DATA(10)"      [0x37, 0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, 0]                  read_defect_data_10 In Medium Read Medium;
    "WRITE SAME(10)"            [0x41, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 0]      write_same_10 Out Medium Change Write;
    "UNMAP"                     [0x42, 0, 0, 0, 0, 0, 0x1F, 0xFF, 0xFF, 0]                  unmap Out Medium Change Write;
    "SANITIZE, OVERWRITE" / 0x01 [0x48, 0xA1, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]                 sanitize Out Medium Change Write;
    "SANITIZE, BLOCK ERASE" / 0x02 [0x48, 0xA2, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]               sanitize Out Medium Change Write;
    "SANITIZE, CRYPTOGRAPHIC ERASE" / 0x03 [0x48, 0xA3, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]       sanitize Out Medium Change Write;
    "SANITIZE, EXIT FAILURE MODE" / 0x1F [0x48, 0xBF, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]         sanitize Out Medium Change Write;
    "LOG SENSE"                 [0x4D, 0, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0]         log_sense In Configuration Persistent Free;
    "MODE SELECT(10)"           [0x55, 0x10, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]                  mode_select_10 Out Configuration Change Free;
    "RESERVE(10)"               [0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0]                           reserve None Medium Change Free;
    "RELEASE(10)"               [0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0]                           release None Medium Always Free;
    "MODE SENSE(10)"            [0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0]            mode_sense_10 In Configuration Change Free;
    "PERSISTENT RESERVE IN, READ KEYS" / 0x00 [0x5E, 0x00, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0] persistent_reserve_in In Medium Persistent Free;
    "PERSISTENT RESERVE IN, READ RESERVATION" / 0x01 [0x5E, 0x01, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0] persistent_reserve_in In Medium Persistent Free;
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES" / 0x02 [0x5E, 0x02, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0] persistent_reserve_in In Medium Persistent Free;
    "PERSISTENT RESERVE IN, READ FULL STATUS" / 0x03 [0x5E, 0x03, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0] persistent_reserve_in In Medium Persistent Free;
    "PERSISTENT RESERVE OUT, REGISTER" / 0x00 [0x5F, 0x00, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0] persistent_reserve_out Out Medium Persistent Free;
    "PERSISTENT RESERVE OUT, RESERVE" / 0x01 [0x5F, 0x01, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0] persistent_reserve_out Out Medium Persistent Free;
    "PERSISTENT RESERVE OUT, RELEASE" / 0x02 [0x5F, 0x02, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0] persistent_reserve_out Out Medium Persistent Free;
    "PERSISTENT RESERVE OUT, CLEAR" / 0x03 [0x5F, 0x03, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0] persistent_reserve_out Out Medium Persistent Free;
    "PERSISTENT RESERVE OUT, PREEMPT" / 0x04 [0x5F, 0x04, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0] persistent_reserve_out Out Medium Persistent Free;
    "PERSISTENT RESERVE OUT, PREEMPT AND ABORT" / 0x05 [0x5F, 0x05, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0] persistent_reserve_out Out Medium Persistent Free;
    "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY" / 0x06 [0x5F, 0x06, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0] persistent_reserve_out Out Medium Persistent Free;
    "PERSISTENT RESERVE OUT, REGISTER AND MOVE" / 0x07 [0x5F, 0x07, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0] persistent_reserve_out Out Medium Persistent Free;
    "EXTENDED COPY(LID1)" / 0x00 [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] extended_copy Out Medium Change Free;
    "RECEIVE COPY STATUS(LID1)" / 0x00 [0x84, 0, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] receive_copy_status In Configuration Change Free;
    "RECEIVE COPY OPERATING PARAMETERS" / 0x03 [0x84, 0x03, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] receive_copy_parameters In Configuration Change Free;
    "RECEIVE COPY FAILURE DETAILS(LID1)" / 0x04 [0x84, 0x04, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] receive_copy_details In Configuration Change Free;
    "READ(16)"                  [0x88, 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] read_16 In Medium Read Read;
    "COMPARE AND WRITE"         [0x89, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0x1F, 0] compare_and_write Out Medium Change Write;
    "WRITE(16)"                 [0x8A, 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] write_16 Out Medium Change Write;
    "ORWRITE(16)"               [0x8B, 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] orwrite_16 Out Medium Change Write;
    "WRITE AND VERIFY(16)"      [0x8E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] write_verify_16 Out Medium Change Write;
    "VERIFY(16)"                [0x8F, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] verify_16 Out Medium Read Read;
    "PRE-FETCH(16)"             [0x90, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] pre_fetch_16 None Medium Read Read;
    "SYNCHRONIZE CACHE(16)"     [0x91, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] synchronize_cache_16 None Medium Change Flush;
    "WRITE SAME(16)"            [0x93, 0x09, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] write_same_16 Out Medium Change Write;
    "WRITE ATOMIC(16)"          [0x9C, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0x1F, 0] write_atomic_16 Out Medium Change Write;
    "READ CAPACITY(16)" / 0x10  [0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] read_capacity_16 In Configuration Always Medium;
    "GET LBA STATUS" / 0x12     [0x9E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] get_lba_status In Medium Read Medium;
    "REPORT LUNS"               [0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0]      report_luns In Identity Always Free;
    "REPORT TARGET PORT GROUPS" / 0x0A [0xA3, 0x2A, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] report_target_port_groups In PortGroups Always Free;
    "REPORT SUPPORTED OPERATION CODES" / 0x0C [0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] report_opcodes In Configuration Change Free;
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS" / 0x0D [0xA3, 0x0D, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] report_task_management In Configuration Change Free;
    "SET TARGET PORT GROUPS" / 0x0A [0xA4, 0x0A, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0]  set_target_port_groups Out PortGroups Change Free;
    "READ(12)"                  [0xA8, 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] read_12 In Medium Read Read;
    "WRITE(12)"                 [0xAA, 0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] write_12 Out Medium Change Write;
    "WRITE AND VERIFY(12)"      [0xAE, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] write_verify_12 Out Medium Change Write;
    "VERIFY(12)"                [0xAF, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0] verify_12 Out Medium Read Read;
    "READ DEFECT DATA(12)"      [0xB7, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0] read_defect_data_12 In Medium Read Medium;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::decode::BlockCommand;

    #[test]
    fn the_table_is_sorted_and_each_cdb_has_the_length_of_its_group() {
        let keys: Vec<_> = TABLE.iter().map(|row| (row.opcode(), row.service_action)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:02x?}");
        for row in TABLE {
            let expected = match row.opcode() >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                5 => 12,
                group => panic!("{}: group {group}", row.name),
            };
            assert_eq!(row.usage.len(), expected, "{}", row.name);
            if let Some(action) = row.service_action {
                assert_eq!(row.usage[1] & SERVICE_ACTION, action, "{}", row.name);
            }
        }
    }

    #[test]
    fn every_reserved_bit_is_refused_and_pointed_at() {
        for row in TABLE {
            let mut plain = vec![0; 16];
            plain[0] = row.opcode();
            plain[1] = row.service_action.unwrap_or(0);
            assert!(parse(&plain).is_ok(), "{}", row.name);
            for (byte, used) in row.usage.iter().enumerate().skip(1) {
                let service_action = if byte == 1 && row.service_action.is_some() { SERVICE_ACTION } else { 0 };
                for bit in (0..8).filter(|bit| (used | service_action) & (1 << bit) == 0) {
                    let mut cdb = plain.clone();
                    cdb[byte] |= 1 << bit;
                    let expected = Sense::invalid_cdb(u16::try_from(byte).unwrap(), Some(bit));
                    assert_eq!(parse(&cdb).unwrap_err(), expected, "{}: byte {byte}, bit {bit}", row.name);
                }
            }
        }
    }

    #[test]
    fn unknown_codes_and_short_cdbs() {
        assert_eq!(parse(&[]).unwrap_err(), SenseCode::INVALID_OPERATION_CODE.into());
        assert_eq!(parse(&[0xFF; 16]).unwrap_err(), SenseCode::INVALID_OPERATION_CODE.into());
        assert_eq!(parse(&[0x9E, 0x13]).unwrap_err(), Sense::invalid_cdb(1, Some(4)));
        assert_eq!(parse(&[0x28, 0, 0]).unwrap_err(), Sense::invalid_cdb(3, None));
    }

    #[test]
    fn extents_by_cdb_length() {
        let extent = |cdb: &[u8]| match parse(cdb).unwrap().1 {
            Operation::Block(BlockCommand::Read { extent }) => (extent.lba, extent.blocks),
            other => panic!("{other:?}"),
        };
        assert_eq!(extent(&[0x08, 0x1F, 0xFF, 0xFE, 0, 0]), (0x1F_FFFE, 256));
        assert_eq!(extent(&[0x28, 0x18, 1, 2, 3, 4, 3, 5, 6, 0]), (0x0102_0304, 0x0506));
        assert_eq!(extent(&[0xA8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0]), (0x0102_0304, 0x0506_0708));
        let sixteen = [0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0];
        assert_eq!(extent(&sixteen), (0x0102_0304_0506_0708, 0x090A_0B0C));
    }

    #[test]
    fn reservation_classes_as_a_table() {
        use ReservationClass as C;
        use Reserved as R;
        for (class, unit, write_exclusive, exclusive_access) in [
            (C::Always, false, false, false),
            (C::Persistent, true, false, false),
            (C::Read, true, false, true),
            (C::Change, true, true, true),
        ] {
            assert_eq!(class.conflicts_with(R::Unit), unit, "{class:?}");
            assert_eq!(class.conflicts_with(R::WriteExclusive), write_exclusive, "{class:?}");
            assert_eq!(class.conflicts_with(R::ExclusiveAccess), exclusive_access, "{class:?}");
        }
    }
}
