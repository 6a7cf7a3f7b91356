//! The bytes of one copy of the superblock: one block of 4096 bytes, integers little-endian, the rest zero.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `TWINHEAD` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | CRC32C over the block with this field zero |
//! | 16 | 8 | sequence |
//! | 24 | 8 | epoch |
//! | 32 | 1 | owner: 0 nobody, 1 head a, 2 head b |
//! | 33 | 1 | bit 0 draining, bit 1 dirty |
//! | 34 | 2 | zero |
//! | 36 | 4 | losses accepted |
//! | 40 | 8 | incarnation of the owner, 0 none |
//! | 48 | 8 | incarnation of the mirror, 0 none |
//! | 56 | 8 | flags for later versions |
//! | 64 | 16 | uuid |
//! | 80 | 4 | block bytes |
//! | 84 | 2 | length of the LUN's name |
//! | 86 | 2 | length of the iSCSI name |
//! | 88 | 8 | data bytes |
//! | 96 | 8 | device bytes |
//! | 104 | 64 | name of the LUN |
//! | 168 | 224 | iSCSI name of the target |
//! | 392 | 8 | while the LUN grows: data bytes that clients still see; 0 otherwise |
//! | 400 | 4 | length of the record behind this copy |
//! | 404 | 4 | CRC32C of the record |
//! | 408 | 4 | how many of its first bytes outlive the end of both heads' processes |

use nom::IResult;
use nom::bytes::complete::{tag, take};
use nom::number::complete::{le_u8, le_u16, le_u32, le_u64};

use super::identity::{IQN_MAX_BYTES, Identity, LUN_NAME_MAX_BYTES};
use super::record::{RECORD_MAX_BYTES, RecordSum};
use super::region::{REGION_BYTES, ROUNDING_BYTES};
use super::{Epoch, HeadId, Incarnation, Superblock};

/// Bytes of one copy.
pub const SUPERBLOCK_BYTES: usize = 4096;
/// The only version of the layout so far.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"TWINHEAD";
const CRC_AT: usize = 12;
const UUID_AT: usize = 64;
const LUN_NAME_AT: usize = 104;
const IQN_AT: usize = LUN_NAME_AT + LUN_NAME_MAX_BYTES;
const GROWING_FROM_AT: usize = IQN_AT + IQN_ROOM_BYTES;
const RECORD_AT: usize = GROWING_FROM_AT + 8;
const END: usize = RECORD_AT + 12;
const IQN_ROOM_BYTES: usize = 224;
const DRAINING: u8 = 1;
const DIRTY: u8 = 2;

const _: () =
    assert!(IQN_AT == 168 && GROWING_FROM_AT == 392 && END <= SUPERBLOCK_BYTES && IQN_MAX_BYTES <= IQN_ROOM_BYTES);
const _: () = assert!(UUID_AT == 64 && CRC_AT + 4 == 16);

/// Why a block is not a superblock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing but zeroes.
    #[error("it is all zeroes")]
    Blank,
    /// Something else.
    #[error("it holds something else")]
    Foreign,
    /// Torn, or damaged later.
    #[error("its checksum is wrong")]
    Checksum,
    /// Written by a later version of this program.
    #[error("it has version {0}, and this program knows version {VERSION} only")]
    Newer(u32),
    /// The checksum is right and a field is not.
    #[error("its field \"{0}\" makes no sense")]
    Field(&'static str),
}

impl Superblock {
    /// The bytes of this record.
    ///
    /// # Panics
    /// If the identity breaks its bounds ([`Identity::check`]): that is checked where an identity is made.
    #[must_use]
    pub fn emit(&self) -> [u8; SUPERBLOCK_BYTES] {
        assert_eq!(self.identity.check(), Ok(()), "an identity is checked when it is made");
        let mut bytes = Vec::with_capacity(END);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.epoch.0.to_le_bytes());
        bytes.push(owner_byte(self.owner));
        bytes.push(if self.draining { DRAINING } else { 0 } | if self.dirty { DIRTY } else { 0 });
        bytes.extend([0; 2]);
        bytes.extend(self.losses_accepted.to_le_bytes());
        bytes.extend(self.owner_incarnation.map_or(0, Incarnation::get).to_le_bytes());
        bytes.extend(self.mirror.map_or(0, Incarnation::get).to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        emit_identity(&self.identity, &mut bytes);
        bytes.resize(GROWING_FROM_AT, 0);
        bytes.extend(self.growing_from.unwrap_or(0).to_le_bytes());
        bytes.extend(self.record.length.to_le_bytes());
        bytes.extend(self.record.crc.to_le_bytes());
        bytes.extend(self.record.kept.to_le_bytes());

        let mut block = [0; SUPERBLOCK_BYTES];
        block[..bytes.len()].copy_from_slice(&bytes);
        let crc = crc32c::crc32c(&block);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Read one copy.
    ///
    /// # Errors
    /// Says what the block is instead.
    pub fn parse(block: &[u8; SUPERBLOCK_BYTES]) -> Result<Self, ParseError> {
        if block.iter().all(|&byte| byte == 0) {
            return Err(ParseError::Blank);
        }
        let (rest, (version, crc)) = header(block).map_err(|_| ParseError::Foreign)?;
        if crc != crc_of(block) {
            return Err(ParseError::Checksum);
        }
        if version != VERSION {
            return Err(ParseError::Newer(version));
        }
        let (rest, state) = state(rest).map_err(|_| ParseError::Field("state"))?;
        let (rest, names) = names(rest).map_err(|_| ParseError::Field("names"))?;
        let (rest, growing_from) = growing_from(rest).map_err(|_| ParseError::Field("growing_from"))?;
        let (_, record) = record(rest).map_err(|_| ParseError::Field("record"))?;
        assemble(state, names, growing_from, record)
    }
}

fn emit_identity(identity: &Identity, bytes: &mut Vec<u8>) {
    let length = |text: &str| {
        #[expect(clippy::expect_used, reason = "Identity::check bounds both names")]
        u16::try_from(text.len()).expect("names are short").to_le_bytes()
    };
    bytes.extend(identity.uuid);
    bytes.extend(identity.block_bytes.to_le_bytes());
    bytes.extend(length(&identity.lun_name));
    bytes.extend(length(&identity.iqn));
    bytes.extend(identity.data_bytes.to_le_bytes());
    bytes.extend(identity.device_bytes.to_le_bytes());
    bytes.extend(identity.lun_name.as_bytes());
    bytes.resize(IQN_AT, 0);
    bytes.extend(identity.iqn.as_bytes());
}

fn owner_byte(owner: Option<HeadId>) -> u8 {
    match owner {
        None => 0,
        Some(HeadId::A) => 1,
        Some(HeadId::B) => 2,
    }
}

fn owner_from(byte: u8) -> Result<Option<HeadId>, ParseError> {
    match byte {
        0 => Ok(None),
        1 => Ok(Some(HeadId::A)),
        2 => Ok(Some(HeadId::B)),
        _ => Err(ParseError::Field("owner")),
    }
}

fn header(block: &[u8]) -> IResult<&[u8], (u32, u32)> {
    let (rest, _) = tag(&MAGIC[..])(block)?;
    let (rest, version) = le_u32(rest)?;
    let (rest, crc) = le_u32(rest)?;
    Ok((rest, (version, crc)))
}

fn crc_of(block: &[u8; SUPERBLOCK_BYTES]) -> u32 {
    let crc = crc32c::crc32c(&block[..CRC_AT]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &block[CRC_AT + 4..])
}

struct State {
    sequence: u64,
    epoch: u64,
    owner: u8,
    bits: u8,
    losses_accepted: u32,
    owner_incarnation: u64,
    mirror: u64,
    flags: u64,
}

fn state(input: &[u8]) -> IResult<&[u8], State> {
    let (rest, sequence) = le_u64(input)?;
    let (rest, epoch) = le_u64(rest)?;
    let (rest, owner) = le_u8(rest)?;
    let (rest, bits) = le_u8(rest)?;
    let (rest, _) = take(2usize)(rest)?;
    let (rest, losses_accepted) = le_u32(rest)?;
    let (rest, owner_incarnation) = le_u64(rest)?;
    let (rest, mirror) = le_u64(rest)?;
    let (rest, flags) = le_u64(rest)?;
    Ok((rest, State { sequence, epoch, owner, bits, losses_accepted, owner_incarnation, mirror, flags }))
}

struct Names<'a> {
    uuid: &'a [u8],
    block_bytes: u32,
    lun_name_len: u16,
    iqn_len: u16,
    data_bytes: u64,
    device_bytes: u64,
    lun_name: &'a [u8],
    iqn: &'a [u8],
}

fn names(input: &[u8]) -> IResult<&[u8], Names<'_>> {
    let (rest, uuid) = take(16usize)(input)?;
    let (rest, block_bytes) = le_u32(rest)?;
    let (rest, lun_name_len) = le_u16(rest)?;
    let (rest, iqn_len) = le_u16(rest)?;
    let (rest, data_bytes) = le_u64(rest)?;
    let (rest, device_bytes) = le_u64(rest)?;
    let (rest, lun_name) = take(LUN_NAME_MAX_BYTES)(rest)?;
    let (rest, iqn) = take(IQN_ROOM_BYTES)(rest)?;
    Ok((rest, Names { uuid, block_bytes, lun_name_len, iqn_len, data_bytes, device_bytes, lun_name, iqn }))
}

fn growing_from(input: &[u8]) -> IResult<&[u8], u64> {
    le_u64(input)
}

fn record(input: &[u8]) -> IResult<&[u8], RecordSum> {
    let (rest, length) = le_u32(input)?;
    let (rest, crc) = le_u32(rest)?;
    let (rest, kept) = le_u32(rest)?;
    if length as usize > RECORD_MAX_BYTES || kept > length {
        return Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Verify)));
    }
    Ok((rest, RecordSum { kept, length, crc }))
}

fn assemble(state: State, names: Names<'_>, growing_from: u64, record: RecordSum) -> Result<Superblock, ParseError> {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(names.uuid);
    let identity = Identity {
        iqn: text(names.iqn, names.iqn_len).ok_or(ParseError::Field("iqn"))?,
        lun_name: text(names.lun_name, names.lun_name_len).ok_or(ParseError::Field("lun_name"))?,
        uuid,
        block_bytes: names.block_bytes,
        data_bytes: names.data_bytes,
        device_bytes: names.device_bytes,
    };
    identity.check().map_err(|_| ParseError::Field("identity"))?;
    // What it grows by has room for where the superblock was.
    let grows = growing_from.checked_add(REGION_BYTES).is_some_and(|least| least <= identity.data_bytes);
    if growing_from != 0 && !(grows && growing_from.is_multiple_of(ROUNDING_BYTES)) {
        return Err(ParseError::Field("growing_from"));
    }
    if state.bits & !(DRAINING | DIRTY) != 0 {
        return Err(ParseError::Field("bits"));
    }
    // Both counters are only ever raised by one; at the end of their range the next write could not be ordered.
    if state.sequence == u64::MAX || state.epoch == u64::MAX {
        return Err(ParseError::Field("sequence"));
    }
    Ok(Superblock {
        identity,
        sequence: state.sequence,
        epoch: Epoch(state.epoch),
        owner: owner_from(state.owner)?,
        owner_incarnation: Incarnation::new(state.owner_incarnation),
        mirror: Incarnation::new(state.mirror),
        draining: state.bits & DRAINING != 0,
        dirty: state.bits & DIRTY != 0,
        losses_accepted: state.losses_accepted,
        flags: state.flags,
        growing_from: (growing_from != 0).then_some(growing_from),
        record,
    })
}

fn text(room: &[u8], len: u16) -> Option<String> {
    let bytes = room.get(..usize::from(len))?;
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::identity::example;
    use super::*;
    use proptest::prelude::*;

    fn golden() -> (Superblock, Vec<u8>) {
        let superblock = Superblock {
            sequence: 0x0102,
            epoch: Epoch(7),
            owner: Some(HeadId::B),
            owner_incarnation: Incarnation::new(0x1111),
            mirror: Incarnation::new(0x2222),
            draining: true,
            dirty: true,
            losses_accepted: 3,
            flags: 0x8000_0000_0000_0001,
            growing_from: Some(52 << 20),
            record: RecordSum { kept: 0x0102, length: 0x0304, crc: 0x0506_0708 },
            ..Superblock::new(example())
        };
        let mut bytes = b"TWINHEAD\x01\0\0\0".to_vec();
        bytes.extend(b"\x7f\xaa\x88\xec");
        bytes.extend(b"\x02\x01\0\0\0\0\0\0\x07\0\0\0\0\0\0\0");
        bytes.extend(b"\x02\x03\0\0\x03\0\0\0");
        bytes.extend(b"\x11\x11\0\0\0\0\0\0\x22\x22\0\0\0\0\0\0\x01\0\0\0\0\0\0\x80");
        bytes.extend(b"\x12\x34\x56\x78\x9a\xbc\xde\xf0\x0f\xed\xcb\xa9\x87\x65\x43\x21");
        bytes.extend(b"\x00\x10\0\0\x08\0\x18\0\0\0\xc0\x03\0\0\0\0\0\0\0\x04\0\0\0\0");
        bytes.extend(b"vm-store");
        bytes.resize(168, 0);
        bytes.extend(b"iqn.2025-01.example:pair");
        bytes.resize(392, 0);
        bytes.extend(b"\0\0\x40\x03\0\0\0\0");
        bytes.extend(b"\x04\x03\0\0\x08\x07\x06\x05\x02\x01");
        bytes.resize(4096, 0);
        (superblock, bytes)
    }

    fn resealed(mut block: [u8; SUPERBLOCK_BYTES]) -> [u8; SUPERBLOCK_BYTES] {
        let crc = crc_of(&block);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        block
    }

    #[test]
    fn golden_bytes_both_ways() {
        let (superblock, bytes) = golden();
        let emitted = superblock.emit();
        assert_eq!(emitted[..416], bytes[..416]);
        assert_eq!(emitted[..], bytes[..]);
        assert_eq!(Superblock::parse(&emitted), Ok(superblock));
    }

    #[test]
    fn what_is_not_a_superblock_is_named() {
        let (_, bytes) = golden();
        let block: [u8; SUPERBLOCK_BYTES] = bytes.try_into().unwrap();
        let changed = |at: usize, byte: u8| {
            let mut block = block;
            block[at] = byte;
            block
        };
        assert_eq!(Superblock::parse(&[0; SUPERBLOCK_BYTES]), Err(ParseError::Blank));
        assert_eq!(Superblock::parse(&changed(0, b'X')), Err(ParseError::Foreign));
        assert_eq!(Superblock::parse(&changed(4000, 1)), Err(ParseError::Checksum));
        for (at, byte, error) in [
            (8, 2, ParseError::Newer(2)),
            (32, 3, ParseError::Field("owner")),
            (33, 4, ParseError::Field("bits")),
            (80, 1, ParseError::Field("identity")),
            (84, 65, ParseError::Field("lun_name")),
            (86, 225, ParseError::Field("iqn")),
            (104, 0xff, ParseError::Field("lun_name")),
            (392, 1, ParseError::Field("growing_from")),
            (395, 4, ParseError::Field("growing_from")),
            (409, 4, ParseError::Field("record")),
        ] {
            assert_eq!(Superblock::parse(&resealed(changed(at, byte))), Err(error));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0usize..400, with in proptest::collection::vec(any::<u8>(), 1..32)) {
            let mut block: [u8; SUPERBLOCK_BYTES] = golden().1.try_into().unwrap();
            block[at..at + with.len()].copy_from_slice(&with);
            let block = resealed(block);
            if let Ok(superblock) = Superblock::parse(&block) {
                prop_assert_eq!(Superblock::parse(&superblock.emit()), Ok(superblock));
            }
        }
    }
}
