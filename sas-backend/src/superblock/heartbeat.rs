//! The sector in which a head shows that it lives, and that it may still write: a fenced head's heartbeat fails.
//!
//! One block of 4096 bytes, integers little-endian, the rest zero.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `TWHBEAT1` |
//! | 8 | 4 | CRC32C over the block with this field zero |
//! | 12 | 1 | head: 1 a, 2 b |
//! | 13 | 3 | zero |
//! | 16 | 8 | incarnation |
//! | 24 | 8 | epoch |
//! | 32 | 8 | counter |

use nom::IResult;
use nom::bytes::complete::{tag, take};
use nom::number::complete::{le_u8, le_u32, le_u64};

use super::{Epoch, HeadId, Incarnation};

/// Bytes of one record.
pub const HEARTBEAT_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"TWHBEAT1";
const CRC_AT: usize = 8;
const END: usize = 40;
const _: () = assert!(END <= HEARTBEAT_BYTES);

/// One beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who.
    pub head: HeadId,
    /// Which process.
    pub incarnation: Incarnation,
    /// The epoch in which it believes to be.
    pub epoch: Epoch,
    /// One more with each beat.
    pub counter: u64,
}

impl Heartbeat {
    /// The bytes of this beat.
    #[must_use]
    pub fn emit(&self) -> [u8; HEARTBEAT_BYTES] {
        let mut bytes = Vec::with_capacity(END);
        bytes.extend(MAGIC);
        bytes.extend([0; 4]);
        bytes.push(match self.head {
            HeadId::A => 1,
            HeadId::B => 2,
        });
        bytes.extend([0; 3]);
        bytes.extend(self.incarnation.get().to_le_bytes());
        bytes.extend(self.epoch.0.to_le_bytes());
        bytes.extend(self.counter.to_le_bytes());

        let mut block = [0; HEARTBEAT_BYTES];
        block[..END].copy_from_slice(&bytes);
        let crc = crc32c::crc32c(&block);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Read a beat; `None` for anything that is not a whole one (no beat yet, or a torn one: the next tells more).
    #[must_use]
    pub fn parse(block: &[u8; HEARTBEAT_BYTES]) -> Option<Self> {
        let (_, fields) = fields(block).ok()?;
        let mut unsealed = *block;
        unsealed[CRC_AT..CRC_AT + 4].fill(0);
        if fields.crc != crc32c::crc32c(&unsealed) {
            return None;
        }
        let head = match fields.head {
            1 => HeadId::A,
            2 => HeadId::B,
            _ => return None,
        };
        let incarnation = Incarnation::new(fields.incarnation)?;
        Some(Self { head, incarnation, epoch: Epoch(fields.epoch), counter: fields.counter })
    }
}

struct Fields {
    crc: u32,
    head: u8,
    incarnation: u64,
    epoch: u64,
    counter: u64,
}

fn fields(block: &[u8]) -> IResult<&[u8], Fields> {
    let (rest, _) = tag(&MAGIC[..])(block)?;
    let (rest, crc) = le_u32(rest)?;
    let (rest, head) = le_u8(rest)?;
    let (rest, _) = take(3usize)(rest)?;
    let (rest, incarnation) = le_u64(rest)?;
    let (rest, epoch) = le_u64(rest)?;
    let (rest, counter) = le_u64(rest)?;
    Ok((rest, Fields { crc, head, incarnation, epoch, counter }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_both_ways() {
        let beat = Heartbeat {
            head: HeadId::B,
            incarnation: Incarnation::new(0x0102).unwrap(),
            epoch: Epoch(9),
            counter: 0xffff_0000,
        };
        let mut bytes = b"TWHBEAT1".to_vec();
        bytes.extend(b"\x5d\x80\x09\x87\x02\0\0\0\x02\x01\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0");
        let block = beat.emit();
        assert_eq!(block[..END], bytes[..]);
        assert!(block[END..].iter().all(|&byte| byte == 0));
        assert_eq!(Heartbeat::parse(&block), Some(beat));
    }

    #[test]
    fn torn_and_blank_beats_are_none() {
        let beat =
            Heartbeat { head: HeadId::A, incarnation: Incarnation::new(1).unwrap(), epoch: Epoch(1), counter: 1 };
        let mut block = beat.emit();
        block[33] ^= 1;
        assert_eq!(Heartbeat::parse(&block), None);
        assert_eq!(Heartbeat::parse(&[0; HEARTBEAT_BYTES]), None);
    }
}
