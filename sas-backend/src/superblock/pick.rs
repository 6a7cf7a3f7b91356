//! Which of the two copies counts.
//!
//! Writes alternate between the copies, so a torn write leaves the other one valid: that is the state before the write.

use super::layout::{ParseError, SUPERBLOCK_BYTES, VERSION};
use super::region::{ROUNDING_BYTES, SuperblockCopy};
use super::{Identity, Superblock};

/// What two copies amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picked {
    /// The record that counts.
    Valid {
        /// The record.
        superblock: Box<Superblock>,
        /// The copy that the next write goes to.
        next: SuperblockCopy,
    },
    /// Never initialised: both are zero.
    Blank,
    /// Something else is there.
    Foreign {
        /// Its first bytes.
        first_bytes: [u8; 16],
    },
    /// It was ours and cannot be used.
    Damaged {
        /// In plain words.
        why: String,
    },
    /// A later version of this program wrote it.
    NewerVersion {
        /// The version.
        version: u32,
    },
}

/// Decide between the two copies, in disk order.
#[must_use]
pub fn pick(first: &[u8; SUPERBLOCK_BYTES], second: &[u8; SUPERBLOCK_BYTES]) -> Picked {
    use ParseError::{Blank, Foreign, Newer};
    match (Superblock::parse(first), Superblock::parse(second)) {
        // A later version may know why an older copy no longer counts.
        (Err(Newer(version)), _) | (_, Err(Newer(version))) => Picked::NewerVersion { version },
        (Ok(first), Ok(second)) => newer_of(first, second),
        (Ok(superblock), Err(_)) => valid(superblock, SuperblockCopy::Second),
        (Err(_), Ok(superblock)) => valid(superblock, SuperblockCopy::First),
        (Err(Blank), Err(Blank)) => Picked::Blank,
        (Err(Blank), Err(Foreign)) => foreign(second),
        (Err(Foreign), Err(Blank | Foreign)) => foreign(first),
        (Err(one), Err(other)) => Picked::Damaged { why: format!("first copy: {one}; second copy: {other}") },
    }
}

fn valid(superblock: Superblock, next: SuperblockCopy) -> Picked {
    Picked::Valid { superblock: Box::new(superblock), next }
}

fn foreign(block: &[u8; SUPERBLOCK_BYTES]) -> Picked {
    let mut first_bytes = [0; 16];
    first_bytes.copy_from_slice(&block[..16]);
    Picked::Foreign { first_bytes }
}

fn newer_of(first: Superblock, second: Superblock) -> Picked {
    let damaged = |why: &str| Picked::Damaged { why: why.to_owned() };
    if !first.identity.is_of_same_lun(&second.identity) {
        return damaged("the two copies belong to different LUNs");
    }
    if first.sequence == second.sequence && first != second {
        return damaged("the two copies have the same sequence number and differ");
    }
    let (newer, older, next) = if first.sequence >= second.sequence {
        (first, second, SuperblockCopy::Second)
    } else {
        (second, first, SuperblockCopy::First)
    };
    if newer.epoch < older.epoch {
        return damaged("the newer copy has the lower epoch, and epochs only grow");
    }
    valid(newer, next)
}

/// Why a valid superblock is not the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongDisk {
    /// Another pair's.
    #[error("this disk belongs to the target {found}, and the configuration says {expected}")]
    OtherPair {
        /// The name on the disk.
        found: String,
        /// The configured name.
        expected: String,
    },
    /// Part of the data is gone.
    #[error(
        "this path shows the disk with {is_bytes} bytes, and the LUN needs {was_bytes}: the disk has shrunk, or this \
         machine has to look at it again (rescan it)"
    )]
    Shrank {
        /// Bytes that are in use.
        was_bytes: u64,
        /// Bytes now.
        is_bytes: u64,
    },
}

/// Whether the superblock belongs to this pair, and the disk is as large as it says; it may be larger.
///
/// # Errors
/// Says what differs.
pub fn check(superblock: &Superblock, expected_iqn: &str, device_bytes: u64) -> Result<(), WrongDisk> {
    let Identity { iqn, device_bytes: was_bytes, .. } = &superblock.identity;
    if iqn != expected_iqn {
        return Err(WrongDisk::OtherPair { found: iqn.clone(), expected: expected_iqn.to_owned() });
    }
    if device_bytes / ROUNDING_BYTES < was_bytes / ROUNDING_BYTES {
        return Err(WrongDisk::Shrank { was_bytes: *was_bytes, is_bytes: device_bytes });
    }
    Ok(())
}

impl Picked {
    /// The superblock and the copy that the next write goes to.
    ///
    /// # Errors
    /// Says in plain words why there is none.
    pub fn into_valid(self) -> Result<(Superblock, SuperblockCopy), String> {
        match self {
            Self::Valid { superblock, next } => Ok((*superblock, next)),
            Self::Blank => Err("the disk is not initialised (run `targetctl disk init`)".to_owned()),
            Self::Foreign { .. } => {
                Err("the disk holds something else where the superblock should be (see `targetctl disk init`)"
                    .to_owned())
            }
            Self::Damaged { why } => Err(format!("the superblock is damaged: {why}")),
            Self::NewerVersion { version } => Err(format!(
                "the superblock has version {version}, and this program knows version {VERSION} only: update this head"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::example;
    use super::super::{Epoch, HeadId};
    use super::*;

    type Block = [u8; SUPERBLOCK_BYTES];
    const ZERO: Block = [0; SUPERBLOCK_BYTES];

    fn copy(sequence: u64, epoch: u64) -> Superblock {
        Superblock { sequence, epoch: Epoch(epoch), owner: Some(HeadId::A), ..Superblock::new(example()) }
    }

    fn torn(mut block: Block) -> Block {
        block[20] ^= 0xff;
        block
    }

    fn assert_valid(picked: Picked, sequence: u64, next: SuperblockCopy) {
        let (superblock, found) = picked.into_valid().unwrap();
        assert_eq!((superblock.sequence, found), (sequence, next));
    }

    #[test]
    fn the_higher_valid_sequence_counts() {
        let (old, new) = (copy(4, 2).emit(), copy(5, 3).emit());
        assert_valid(pick(&old, &new), 5, SuperblockCopy::First);
        assert_valid(pick(&new, &old), 5, SuperblockCopy::Second);
        assert_valid(pick(&old, &torn(new)), 4, SuperblockCopy::Second);
        assert_valid(pick(&torn(new), &old), 4, SuperblockCopy::First);
        assert_valid(pick(&old, &ZERO), 4, SuperblockCopy::Second);
        assert_valid(pick(&[7; SUPERBLOCK_BYTES], &old), 4, SuperblockCopy::First);
        assert_valid(pick(&old, &old), 4, SuperblockCopy::Second);
    }

    #[test]
    fn nothing_else_is_believed() {
        let good = copy(4, 2).emit();
        let junk = [7; SUPERBLOCK_BYTES];
        assert_eq!(pick(&ZERO, &ZERO), Picked::Blank);
        assert_eq!(pick(&ZERO, &junk), Picked::Foreign { first_bytes: [7; 16] });
        assert_eq!(pick(&junk, &ZERO), Picked::Foreign { first_bytes: [7; 16] });
        assert!(matches!(pick(&torn(good), &torn(good)), Picked::Damaged { .. }));
        assert!(matches!(pick(&torn(good), &ZERO), Picked::Damaged { .. }));
        assert!(matches!(pick(&good, &copy(5, 1).emit()), Picked::Damaged { .. }), "epochs only grow");
        assert!(matches!(pick(&good, &copy(4, 3).emit()), Picked::Damaged { .. }), "one sequence, two contents");
        let mut other = copy(5, 3);
        other.identity.uuid[0] ^= 1;
        assert!(matches!(pick(&good, &other.emit()), Picked::Damaged { .. }), "two LUNs");
    }

    #[test]
    fn a_newer_version_is_left_alone() {
        let good = copy(4, 2).emit();
        let mut newer = good;
        newer[8] = 2;
        newer[12..16].fill(0);
        let crc = crc32c::crc32c(&newer);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(pick(&good, &newer), Picked::NewerVersion { version: 2 });
        assert_eq!(pick(&newer, &ZERO), Picked::NewerVersion { version: 2 });
    }

    #[test]
    fn the_wrong_disk_is_named() {
        let superblock = copy(1, 1);
        let iqn = &superblock.identity.iqn;
        assert_eq!(check(&superblock, iqn, 64 << 20), Ok(()));
        assert_eq!(check(&superblock, iqn, (64 << 20) + 512), Ok(()), "the odd sector does not matter");
        assert!(matches!(check(&superblock, iqn, 63 << 20), Err(WrongDisk::Shrank { .. })));
        assert_eq!(check(&superblock, iqn, 65 << 20), Ok(()), "it is used with the size that it had");
        let error = check(&superblock, "iqn.x:y", 64 << 20).unwrap_err();
        assert!(error.to_string().contains("belongs to the target iqn.2025-01.example:pair"));
    }
}
