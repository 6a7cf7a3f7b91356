//! PERSISTENT RESERVE IN (SPC-4 6.15): parameter data; the caller cuts it to the allocation length.

use super::table::Table;
use super::{Key, Type, transport_id};

/// SIP_C, ATP_C and PTPL_C: ports by name, all ports at once, and keeping it without power, are there.
const CAPABILITIES: u8 = 0b0000_1101;
/// TMV.
const TYPE_MASK_VALID: u8 = 0x80;
/// PTPL_A.
const KEPT: u8 = 0x01;
const R_HOLDER: u8 = 0x01;

/// READ KEYS.
#[must_use]
pub fn keys(table: &Table) -> Vec<u8> {
    let keys = table.registrants().iter().flat_map(|registrant| registrant.key.0.to_be_bytes()).collect();
    with_header(table, keys)
}

/// READ RESERVATION.
#[must_use]
pub fn reservation(table: &Table) -> Vec<u8> {
    let Some(held) = table.reservation() else { return with_header(table, Vec::new()) };
    // Of all registrants nobody's key is that of the holder.
    let key = held.holder.as_ref().and_then(|holder| table.key_of(holder)).unwrap_or(Key::NONE);
    let mut body = key.0.to_be_bytes().to_vec();
    body.extend([0, 0, 0, 0, 0, held.kind as u8, 0, 0]);
    with_header(table, body)
}

/// REPORT CAPABILITIES.
#[must_use]
pub fn capabilities(table: &Table) -> Vec<u8> {
    let kept = if table.is_kept() { KEPT } else { 0 };
    let mask = Type::ALL.into_iter().fold(0_u16, |mask, kind| mask | mask_of(kind));
    let [high, low] = mask.to_be_bytes();
    vec![0, 8, CAPABILITIES, TYPE_MASK_VALID | kept, high, low, 0, 0]
}

/// READ FULL STATUS.
#[must_use]
pub fn full_status(table: &Table) -> Vec<u8> {
    let mut body = Vec::new();
    for registrant in table.registrants() {
        let id = transport_id::emit(&registrant.nexus.initiator);
        let held = table.reservation().filter(|_| table.is_holder(&registrant.nexus));
        body.extend(registrant.key.0.to_be_bytes());
        body.extend([0; 4]);
        body.extend(held.map_or([0, 0], |held| [R_HOLDER, held.kind as u8]));
        body.extend([0; 4]);
        body.extend(registrant.nexus.relative_port.to_be_bytes());
        body.extend(length_of(&id));
        body.extend(id);
    }
    with_header(table, body)
}

/// The bit of PERSISTENT RESERVATION TYPE MASK (SPC-4 table 224).
const fn mask_of(kind: Type) -> u16 {
    match kind {
        Type::WriteExclusiveAllRegistrants => 0x8000,
        Type::ExclusiveAccessRegistrantsOnly => 0x4000,
        Type::WriteExclusiveRegistrantsOnly => 0x2000,
        Type::ExclusiveAccess => 0x0800,
        Type::WriteExclusive => 0x0200,
        Type::ExclusiveAccessAllRegistrants => 0x0001,
    }
}

fn with_header(table: &Table, body: Vec<u8>) -> Vec<u8> {
    let mut bytes = table.generation().to_be_bytes().to_vec();
    bytes.extend(length_of(&body));
    bytes.extend(body);
    bytes
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::InitiatorPort;
    use crate::scsi::reservation::Nexus;
    use crate::scsi::reservation::table::{Registrant, Reservation};

    fn table(held_by_all: bool) -> Table {
        let nexus = |name: &str, relative_port| Nexus {
            initiator: InitiatorPort { name: name.to_owned(), isid: [0, 2, 3, 4, 5, 6] },
            relative_port,
        };
        let (a, b) = (nexus("iqn.a", 1), nexus("iqn.b", 0x101));
        let kind = if held_by_all { Type::WriteExclusiveAllRegistrants } else { Type::ExclusiveAccess };
        Table {
            generation: 7,
            keep: true,
            registrants: vec![Registrant { nexus: a, key: Key(0x10) }, Registrant { nexus: b.clone(), key: Key(0x11) }],
            reservation: Some(Reservation { kind, holder: (!held_by_all).then_some(b) }),
        }
    }

    #[test]
    fn golden_bytes() {
        let free = Table::default();
        assert_eq!(keys(&free), [0; 8]);
        assert_eq!(reservation(&free), [0; 8]);
        assert_eq!(capabilities(&free), [0, 8, 0x0D, 0x80, 0xEA, 0x01, 0, 0]);
        let held = table(false);
        assert_eq!(keys(&held), *b"\0\0\0\x07\0\0\0\x10\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x11");
        assert_eq!(reservation(&held), *b"\0\0\0\x07\0\0\0\x10\0\0\0\0\0\0\0\x11\0\0\0\0\0\x03\0\0");
        assert_eq!(capabilities(&held)[3], 0x81);
        assert_eq!(reservation(&table(true)), *b"\0\0\0\x07\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0");
    }

    #[test]
    fn full_status_names_every_registrant() {
        let bytes = full_status(&table(false));
        assert_eq!(bytes[..8], *b"\0\0\0\x07\0\0\0\x68");
        assert_eq!(bytes[8..32], *b"\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x1c");
        assert_eq!(bytes[60..84], *b"\0\0\0\0\0\0\0\x11\0\0\0\0\x01\x03\0\0\0\0\x01\x01\0\0\0\x1c");
        let (port, rest) = transport_id::parse(&bytes[84..]).unwrap();
        assert_eq!((port.name.as_str(), rest.len()), ("iqn.b", 0));
        let all = full_status(&table(true));
        assert_eq!((all[20], all[21], all[72], all[73]), (1, 7, 1, 7), "all of them hold it");
    }
}
