//! Any block as a superblock or a heartbeat, with the right checksum: what is read is written again the same, and of two
//! copies one that can be read is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sas_backend::Superblock;
use sas_backend::superblock::heartbeat::{HEARTBEAT_BYTES, Heartbeat};
use sas_backend::superblock::pick::pick;
use sas_backend::superblock::{ParseError, SUPERBLOCK_BYTES};

fn sealed(bytes: &[u8], crc_at: usize) -> [u8; SUPERBLOCK_BYTES] {
    let mut block = [0; SUPERBLOCK_BYTES];
    let count = bytes.len().min(block.len());
    block[..count].copy_from_slice(&bytes[..count]);
    block[crc_at..crc_at + 4].fill(0);
    let crc = crc32c::crc32c(&block);
    block[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    block
}

fuzz_target!(|bytes: &[u8]| {
    let block = sealed(bytes, 12);
    let parsed = Superblock::parse(&block);
    assert_ne!(parsed, Err(ParseError::Checksum), "it was sealed");
    if let Ok(superblock) = &parsed {
        assert_eq!(Superblock::parse(&superblock.emit()).as_ref(), Ok(superblock));
    }
    let mut torn = block;
    torn[100] ^= 1;
    assert!(Superblock::parse(&torn).is_err(), "one wrong bit is seen");
    for (first, second) in [(&block, &torn), (&torn, &block), (&block, &block)] {
        assert_eq!(pick(first, second).into_valid().is_ok(), parsed.is_ok());
    }

    assert_eq!(HEARTBEAT_BYTES, SUPERBLOCK_BYTES);
    if let Some(beat) = Heartbeat::parse(&sealed(bytes, 8)) {
        assert_eq!(Heartbeat::parse(&beat.emit()), Some(beat));
    }
});
