//! What the drill writes into a block, so that every block tells which write it came from.
//!
//! ```text
//!  0        8       16      24      32     36             block_bytes
//!  | magic  | run   | lba   | write | crc  | filler ...   |
//! ```
//! Numbers are big-endian; the CRC32C covers the whole block with its own field zero; the filler is random, so that no two
//! parts of blocks are alike.

use super::random::SplitMix64;

const MAGIC: [u8; 8] = *b"TWINDRL1";
const CRC_AT: usize = 32;
const FILLER_AT: usize = 36;

/// Names one write of one run, in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Drawn at the start of a run.
    pub run: u64,
    /// Where the block belongs.
    pub lba: u64,
    /// Counts the writes of a run from 1.
    pub write: u64,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Zeroes.
    Blank,
    /// A whole block of a drill.
    Stamped(Stamp),
    /// The start of a drill's block, but not all of it.
    Torn,
    /// No block of a drill.
    Other,
}

/// Append the block of `block_bytes` that bears `stamp`.
pub fn emit(stamp: Stamp, block_bytes: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    for number in [stamp.run, stamp.lba, stamp.write] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&[0; FILLER_AT - CRC_AT]);
    let mut random = SplitMix64::new(stamp.run ^ stamp.lba.rotate_left(40) ^ stamp.write.rotate_left(16));
    while out.len() < start + block_bytes {
        let rest = start + block_bytes - out.len();
        let filler = random.next_u64().to_be_bytes();
        out.extend_from_slice(&filler[..rest.min(filler.len())]);
    }
    let crc = crc32c::crc32c(&out[start..]);
    out[start + CRC_AT..start + FILLER_AT].copy_from_slice(&crc.to_be_bytes());
}

/// Read a block.
#[must_use]
pub fn parse(block: &[u8]) -> Contents {
    let number =
        |at: usize| block.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_be_bytes(*bytes));
    if block.iter().all(|byte| *byte == 0) {
        return Contents::Blank;
    }
    if !block.starts_with(&MAGIC) || block.len() < FILLER_AT {
        return Contents::Other;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..CRC_AT]), &[0; FILLER_AT - CRC_AT]);
    let crc = crc32c::crc32c_append(crc, &block[FILLER_AT..]);
    if crc.to_be_bytes() != block[CRC_AT..FILLER_AT] {
        return Contents::Torn;
    }
    Contents::Stamped(Stamp { run: number(8), lba: number(16), write: number(24) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { run: 0x0123_4567_89ab_cdef, lba: 77, write: 3 };

    fn block(stamp: Stamp, block_bytes: usize) -> Vec<u8> {
        let mut block = Vec::new();
        emit(stamp, block_bytes, &mut block);
        block
    }

    #[test]
    fn stamps_survive() {
        for block_bytes in [512, 4096] {
            let bytes = block(STAMP, block_bytes);
            assert_eq!(bytes.len(), block_bytes);
            assert_eq!(parse(&bytes), Contents::Stamped(STAMP));
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = block(STAMP, 512);
        assert_eq!(bytes[..32], *b"TWINDRL1\x01\x23\x45\x67\x89\xab\xcd\xef\0\0\0\0\0\0\0\x4d\0\0\0\0\0\0\0\x03");
    }

    #[test]
    fn any_wrong_byte_is_found() {
        let whole = block(STAMP, 512);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(parse(&bytes), if at < 8 { Contents::Other } else { Contents::Torn }, "byte {at}");
        }
    }

    #[test]
    fn half_a_block_of_another_write_is_torn() {
        let mut bytes = block(STAMP, 4096);
        bytes[2048..].copy_from_slice(&block(Stamp { write: 4, ..STAMP }, 4096)[2048..]);
        assert_eq!(parse(&bytes), Contents::Torn);
    }

    #[test]
    fn blank_and_foreign_blocks() {
        assert_eq!(parse(&[0; 512]), Contents::Blank);
        assert_eq!(parse(&[1; 512]), Contents::Other);
        assert_eq!(parse(b"TWINDRL1"), Contents::Other);
    }
}
