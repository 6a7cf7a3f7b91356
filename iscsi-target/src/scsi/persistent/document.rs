//! The table as bytes, for the other head's RAM and for the disk.
//!
//! | bytes | field |
//! | --- | --- |
//! | 4 | magic `TWPR` |
//! | 2 | version, 1 |
//! | 1 | 1: it outlives a loss of power |
//! | 1 | type of the reservation, 0 without one |
//! | 4 | generation |
//! | 2 | number of registrants |
//! | 2 | the holder among them, counted from 1; 0: all, or there is no reservation |
//! | | the registrants: key (8), relative target port (2), ISID (6), length of the name (1), name |
//! | 4 | CRC32C of everything before |
//!
//! Integers are little-endian. An encoding is unique.

use nom::IResult;
use nom::bytes::complete::{tag, take};
use nom::number::complete::{le_u8, le_u16, le_u32, le_u64};

use super::table::{REGISTRANTS_MAX, Registrant, Reservation, Table};
use super::{Key, Nexus, Type};
use crate::scsi::InitiatorPort;

const MAGIC: &[u8] = b"TWPR";
const VERSION: u16 = 1;
const NAME_MAX: usize = 223;
/// The longest document.
pub const MAX_BYTES: usize = 16 + REGISTRANTS_MAX * (17 + NAME_MAX) + 4;

/// The bytes.
#[must_use]
pub fn emit(table: &Table) -> Vec<u8> {
    let number = |index: usize| u16::try_from(index).unwrap_or(u16::MAX).to_le_bytes();
    let holder = table.reservation.as_ref().and_then(|held| {
        let holder = held.holder.as_ref()?;
        table.registrants.iter().position(|registrant| registrant.nexus == *holder)
    });
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([u8::from(table.keep), table.reservation.as_ref().map_or(0, |held| held.kind as u8)]);
    bytes.extend(table.generation.to_le_bytes());
    bytes.extend(number(table.registrants.len()));
    bytes.extend(number(holder.map_or(0, |index| index + 1)));
    for Registrant { nexus: Nexus { initiator, relative_port }, key } in &table.registrants {
        bytes.extend(key.0.to_le_bytes());
        bytes.extend(relative_port.to_le_bytes());
        bytes.extend(initiator.isid);
        bytes.push(u8::try_from(initiator.name.len()).unwrap_or(u8::MAX));
        bytes.extend(initiator.name.as_bytes());
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// The table; bytes behind the document are padding. `None` if it is none, or damaged.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Table> {
    let (rest, table) = table(bytes).ok()?;
    let length = bytes.len() - rest.len();
    let (_, crc) = le_u32::<_, nom::error::Error<&[u8]>>(rest).ok()?;
    (crc32c::crc32c(&bytes[..length]) == crc && emit(&table).len() == length + 4).then_some(table)
}

fn table(input: &[u8]) -> IResult<&[u8], Table> {
    let failed = || nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Verify));
    let (rest, _) = tag(MAGIC)(input)?;
    let (rest, version) = le_u16(rest)?;
    let (rest, keep) = le_u8(rest)?;
    let (rest, kind) = le_u8(rest)?;
    let (rest, generation) = le_u32(rest)?;
    let (rest, count) = le_u16(rest)?;
    let (mut rest, holder) = le_u16(rest)?;
    if version != VERSION || keep > 1 || usize::from(count) > REGISTRANTS_MAX || holder > count {
        return Err(failed());
    }
    let mut registrants = Vec::new();
    for _ in 0..count {
        let (after, registrant) = registrant(rest)?;
        registrants.push(registrant);
        rest = after;
    }
    if !registrants.is_sorted_by(|a, b| a.nexus < b.nexus) {
        return Err(failed());
    }
    let holder = usize::from(holder).checked_sub(1).map(|index| registrants[index].nexus.clone());
    let reservation = match (kind, Type::of(kind)) {
        (0, _) if holder.is_none() => None,
        (_, Some(kind)) if kind.is_held_by_all() == holder.is_none() && count > 0 => Some(Reservation { kind, holder }),
        _ => return Err(failed()),
    };
    Ok((rest, Table { generation, keep: keep == 1, registrants, reservation }))
}

fn registrant(input: &[u8]) -> IResult<&[u8], Registrant> {
    let failed = || nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Verify));
    let (rest, key) = le_u64(input)?;
    let (rest, relative_port) = le_u16(rest)?;
    let (rest, isid) = take(6usize)(rest)?;
    let (rest, length) = le_u8(rest)?;
    let (rest, name) = take(length)(rest)?;
    let isid = isid.try_into().map_err(|_| failed())?;
    let name = std::str::from_utf8(name).map_err(|_| failed())?.to_owned();
    if key == 0 || name.is_empty() || name.len() > NAME_MAX {
        return Err(failed());
    }
    let nexus = Nexus { initiator: InitiatorPort { name, isid }, relative_port };
    Ok((rest, Registrant { nexus, key: Key(key) }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nexus() -> impl Strategy<Value = Nexus> {
        ("[a-z]{1,30}", any::<[u8; 6]>(), 1_u16..4)
            .prop_map(|(name, isid, relative_port)| Nexus { initiator: InitiatorPort { name, isid }, relative_port })
    }

    fn tables() -> impl Strategy<Value = Table> {
        let registrants = proptest::collection::btree_map(nexus(), 1_u64.., 1..6);
        (registrants, any::<u32>(), any::<bool>(), 0..7_usize, any::<prop::sample::Index>()).prop_map(
            |(registrants, generation, keep, kind, holder)| {
                let registrants: Vec<_> =
                    registrants.into_iter().map(|(nexus, key)| Registrant { nexus, key: Key(key) }).collect();
                let holder = holder.get(&registrants).nexus.clone();
                let reservation = Type::ALL
                    .get(kind)
                    .map(|&kind| Reservation { kind, holder: (!kind.is_held_by_all()).then_some(holder) });
                Table { generation, keep, registrants, reservation }
            },
        )
    }

    #[test]
    fn golden_bytes() {
        let initiator = InitiatorPort { name: "iqn.a".to_owned(), isid: [1, 2, 3, 4, 5, 6] };
        let nexus = Nexus { initiator, relative_port: 0x101 };
        let table = Table {
            generation: 9,
            keep: true,
            registrants: vec![Registrant { nexus: nexus.clone(), key: Key(0x1122) }],
            reservation: Some(Reservation { kind: Type::ExclusiveAccess, holder: Some(nexus) }),
        };
        let body =
            b"TWPR\x01\0\x01\x03\x09\0\0\0\x01\0\x01\0\x22\x11\0\0\0\0\0\0\x01\x01\x01\x02\x03\x04\x05\x06\x05iqn.a";
        assert_eq!(emit(&table)[..body.len()], body[..]);
        assert_eq!(emit(&table).len(), body.len() + 4);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(table in tables()) {
            let mut bytes = emit(&table);
            prop_assert!(bytes.len() <= MAX_BYTES);
            bytes.extend([0; 100]);
            prop_assert_eq!(parse(&bytes), Some(table));
        }

        #[test]
        fn one_wrong_bit_is_found(table in tables(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = emit(&table);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(parse(&bytes), None);
        }

        #[test]
        fn nonsense_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(parse(&bytes), None);
        }
    }
}
