//! What a logical unit is, as both heads are configured.

use alua::{GroupId, PortGroups, TargetPort};

use crate::scsi::decode::WRITE_SAME_UNMAP;
use crate::scsi::opcodes::{Row, SANITIZE, UNMAP, WRITE_ATOMIC_16, WRITE_SAME_10, WRITE_SAME_16};
use crate::scsi::protection::Protection;
use crate::scsi::sanitize;

/// What a logical unit is; the same on both heads but for `my_group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitConfig {
    /// UNIT SERIAL NUMBER: 1 to 64 graphic ASCII characters.
    pub serial: String,
    /// The NAA designator.
    pub naa: Naa,
    /// PRODUCT REVISION LEVEL: at most four graphic ASCII characters.
    pub revision: String,
    /// Bytes per block: 512 or 4096.
    pub block_bytes: u32,
    /// Blocks; at least one.
    pub blocks: u64,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT, below 16.
    pub physical_block_exponent: u8,
    /// RMB: the medium can be ejected and loaded.
    pub removable: bool,
    /// Blocks can be unmapped: LBPME, and LBPRZ.
    pub thin: bool,
    /// MAXIMUM ATOMIC TRANSFER LENGTH in bytes, a multiple of the physical block; 0: there is no WRITE ATOMIC(16).
    pub atomic_bytes: u32,
    /// Whether the disk has no rotating medium.
    pub solid_state: bool,
    /// The target port group of this head.
    pub my_group: GroupId,
    /// All target ports of both heads.
    pub ports: Vec<TargetPort>,
    /// The target's iSCSI name, at most 223 bytes; the same on both heads.
    pub target_name: String,
    /// Who may not change blocks.
    pub protection: Protection,
}

/// A network address authority identifier (SPC-4 7.8.5.6), its first four bits included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naa {
    /// NAA 2, 3 or 5.
    Short([u8; 8]),
    /// NAA 6.
    Long([u8; 16]),
}

impl Naa {
    /// The bytes of the designator.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

impl UnitConfig {
    /// Blocks per physical block.
    #[must_use]
    pub const fn physical_blocks(&self) -> u64 {
        1 << self.physical_block_exponent
    }

    /// WSNZ: whether WRITE SAME refuses a length of 0 instead of going on to the end. With UNMAP it is an everyday command,
    /// of lengths that were computed, and one that has wrapped to 0 must not wipe what lies behind.
    #[must_use]
    pub const fn wants_write_same_length(&self) -> bool {
        self.thin
    }

    /// Whether the unit has the command of `row`.
    #[must_use]
    pub const fn offers(&self, row: &Row) -> bool {
        match row.opcode() {
            WRITE_ATOMIC_16 => self.atomic_bytes > 0,
            UNMAP => self.thin,
            SANITIZE => self.thin || !matches!(row.service_action, Some(sanitize::BLOCK_ERASE)),
            _ => true,
        }
    }

    /// The CDB USAGE DATA of `row`, without the bits that mean something to other units only.
    #[must_use]
    pub fn usage(&self, row: &Row) -> Vec<u8> {
        let mut usage = row.usage.to_vec();
        if matches!(row.opcode(), WRITE_SAME_10 | WRITE_SAME_16) && !self.thin {
            usage[1] &= !WRITE_SAME_UNMAP;
        }
        usage
    }

    /// The bounds that the fields name.
    pub(super) fn assert_bounds(&self) {
        let graphic = |text: &str| text.bytes().all(|byte| (0x20..0x7F).contains(&byte));
        assert!((1..=64).contains(&self.serial.len()) && graphic(&self.serial), "serial number");
        assert!(self.revision.len() <= 4 && graphic(&self.revision), "revision");
        assert!(matches!(self.block_bytes, 512 | 4096) && self.blocks > 0, "blocks");
        assert!(self.physical_block_exponent < 16, "physical block exponent");
        let physical_bytes = self.physical_blocks() * u64::from(self.block_bytes);
        assert!(u64::from(self.atomic_bytes).is_multiple_of(physical_bytes), "atomic writes");
        assert!(PortGroups::IDS.contains(&self.my_group), "target port group");
        assert!(self.target_name.len() <= 223, "target name");
    }
}
