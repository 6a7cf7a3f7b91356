//! The state as bytes, for the other head and for the disk.
//!
//! | bytes | field |
//! | --- | --- |
//! | 4 | magic `TWPR` |
//! | 2 | version, 2 |
//! | 4 | serial |
//! | 1 | sanitize operation: 0 none, 1 overwrite, 2 block erase, 3 cryptographic erase; bit 6: unrestricted; bit 7: it has failed |
//! | | of one, who wanted it: a name |
//! | 9 | of one that has not failed, complete passes (1) and blocks of the present one (8) |
//! | 4 | of an overwrite, passes (1), whether they are inverted (1), bytes of the pattern (2) |
//! | | the pattern |
//!
//! So much outlives a loss of power in any case. What follows is there if it, or what comes after it, says anything:
//!
//! | bytes | field |
//! | --- | --- |
//! | 1 | 1: it outlives a loss of power, too |
//! | 1 | type of the persistent reservation, 0 without one |
//! | 4 | generation |
//! | 2 | number of registrants |
//! | 2 | the holder among them, counted from 1; 0: all, or there is no persistent reservation |
//! | | the keys of the registrants (8 each), and their names |
//!
//! What is forgotten with the power is there if it says anything:
//!
//! | bytes | field |
//! | --- | --- |
//! | 1 | bit 0: somebody has the unit by RESERVE; bit 1: the medium is ejected; bit 2: the unit is software write-protected |
//! | 1 | what concerned everybody: 0 nothing, 1 a reset, 2 CLEAR TASK SET, 3 the medium was loaded, 4 the protection |
//! | 2 | number of those who prevent the removal of the medium |
//! | 2 | number of others, whom only the last change concerns |
//! | 2 | number of news |
//! | | the names of the others, of those who prevent the removal, who has the unit, and who caused what concerned everybody |
//! | | the news: whom it concerns, counted from 0 among the registrants and then the others (2), what (1): 1 reservations preempted, 2 released, 3 registrations preempted, 4 power on, 5 its commands end |
//!
//! A name is the relative target port (2), ISID (6), length of the iSCSI name (1), iSCSI name. Integers are little-endian.
//! An encoding is unique; nothing at all is the state without anything.

use nom::bytes::complete::{tag, take};
use nom::combinator::{all_consuming, cond, map_opt, verify};
use nom::multi::count;
use nom::number::complete::{le_u8, le_u16, le_u32, le_u64};
use nom::{IResult, Parser};
use sas_backend::superblock::{RECORD_MAX_BYTES, Record};

use super::state::State;
use crate::scsi::InitiatorPort;
use crate::scsi::attention::Attention;
use crate::scsi::medium::Medium;
use crate::scsi::reservation::table::{Effects, Everyone, REGISTRANTS_MAX, Registrant, Reservation, Table, What};
use crate::scsi::reservation::{Key, Nexus, Type};
use crate::scsi::sanitize::{Method, Overwrite, Place, Sanitize};

/// The longest document.
pub const MAX_BYTES: usize = RECORD_MAX_BYTES;

const MAGIC: &[u8] = b"TWPR";
const VERSION: u16 = 2;
/// Of a sanitize operation: AUSE.
const UNRESTRICTED: u8 = 0x40;
/// Of a sanitize operation.
const FAILED: u8 = 0x80;
const RESERVED: u8 = 0x01;
const EJECTED: u8 = 0x02;
const PROTECTED: u8 = 0x04;
const NAME_MAX: usize = 223;
/// What the last change brought somebody, by its code; the last of them is the end of commands.
const NEWS: [Option<Attention>; 5] = [
    Some(Attention::ReservationsPreempted),
    Some(Attention::ReservationsReleased),
    Some(Attention::RegistrationsPreempted),
    Some(Attention::PowerOn),
    None,
];

/// What concerned everybody, by its code.
const EVERYONE: [Option<What>; 5] =
    [None, Some(What::Reset), Some(What::Cleared), Some(What::Loaded), Some(What::Protected)];

/// What is to be kept.
#[must_use]
pub fn record(state: &State) -> Record {
    let [outliving, table, _] = parts(state);
    let kept = match &state.sanitize {
        _ if state.is_kept() => outliving.len() + table.len(),
        Some(_) => outliving.len(),
        None => 0,
    };
    Record { kept: u32::try_from(kept).unwrap_or(u32::MAX), bytes: emit(state).into() }
}

/// The bytes.
#[must_use]
pub fn emit(state: &State) -> Vec<u8> {
    if *state == State::default() { Vec::new() } else { parts(state).concat() }
}

/// What outlives a loss of power in any case, what does if it is to, and what does not.
fn parts(state: &State) -> [Vec<u8>; 3] {
    let State { table, serial, sanitize, .. } = state;
    let (mut of_table, mut volatile) = (Vec::new(), Vec::new());
    let kept = State { table: table.clone(), serial: *serial, sanitize: sanitize.clone(), ..State::default() };
    if *state != kept {
        emit_volatile(state, &mut volatile);
    }
    if !volatile.is_empty() || *table != Table::default() {
        emit_table(table, &mut of_table);
    }
    [emit_outliving(state), of_table, volatile]
}

fn emit_outliving(state: &State) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(state.serial.to_le_bytes());
    let Some(Sanitize { by, method, unrestricted, place }) = &state.sanitize else {
        bytes.push(0);
        return bytes;
    };
    let code = match method {
        Method::Overwrite(_) => 1,
        Method::BlockErase => 2,
        Method::CryptographicErase => 3,
    };
    bytes.push(code | if *unrestricted { UNRESTRICTED } else { 0 } | if place.is_none() { FAILED } else { 0 });
    emit_nexus(by, &mut bytes);
    if let Some(Place { pass, lba }) = place {
        bytes.push(*pass);
        bytes.extend(lba.to_le_bytes());
    }
    if let Method::Overwrite(Overwrite { pattern, passes, invert }) = method {
        bytes.extend([*passes, u8::from(*invert)]);
        bytes.extend(number(pattern.len()));
        bytes.extend(pattern);
    }
    bytes
}

fn emit_table(table: &Table, bytes: &mut Vec<u8>) {
    let Table { generation, keep, registrants, reservation } = table;
    let holder = reservation.as_ref().and_then(|held| held.holder.as_ref());
    let index = registrants.iter().position(|registrant| Some(&registrant.nexus) == holder);
    bytes.extend([u8::from(*keep), reservation.as_ref().map_or(0, |held| held.kind as u8)]);
    bytes.extend(generation.to_le_bytes());
    bytes.extend(number(registrants.len()));
    bytes.extend(number(index.map_or(0, |index| index + 1)));
    bytes.extend(registrants.iter().flat_map(|registrant| registrant.key.0.to_le_bytes()));
    registrants.iter().for_each(|registrant| emit_nexus(&registrant.nexus, bytes));
}

fn emit_volatile(state: &State, bytes: &mut Vec<u8>) {
    let State { table, reserved_by, medium, protected, effects, .. } = state;
    let mut names: Vec<&Nexus> = table.registrants.iter().map(|registrant| &registrant.nexus).collect();
    let mut place = |nexus| {
        names.iter().position(|name| *name == nexus).unwrap_or_else(|| {
            names.push(nexus);
            names.len() - 1
        })
    };
    let told = effects.news.iter().map(|(nexus, attention)| (nexus, Some(*attention)));
    let ended = effects.aborted.iter().map(|nexus| (nexus, None));
    let news: Vec<(usize, Option<Attention>)> = told.chain(ended).map(|(nexus, what)| (place(nexus), what)).collect();
    let mut others = names.split_off(table.registrants.len());

    let bits = [(reserved_by.is_some(), RESERVED), (medium.ejected, EJECTED), (*protected, PROTECTED)];
    bytes.push(bits.iter().map(|(is, bit)| u8::from(*is) * bit).sum());
    let everyone = effects.everyone.as_ref();
    bytes.extend(code_of(&EVERYONE, &everyone.map(|everyone| everyone.what)));
    for count in [medium.prevented_by.len(), others.len(), news.len()] {
        bytes.extend(number(count));
    }
    others.extend(&medium.prevented_by);
    others.extend(reserved_by);
    others.extend(everyone.map(|everyone| &everyone.by));
    for nexus in others {
        emit_nexus(nexus, bytes);
    }
    for (whom, what) in news {
        bytes.extend(number(whom));
        bytes.extend(code_of(&NEWS, &what).map(|code| code + 1));
    }
}

fn code_of<T: PartialEq>(known: &[T], what: &T) -> Option<u8> {
    known.iter().position(|known| known == what).and_then(|code| u8::try_from(code).ok())
}

fn number(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes()
}

/// The state; `None` if the bytes are none, or none of this version.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<State> {
    if bytes.is_empty() {
        return Some(State::default());
    }
    let (rest, (serial, sanitize)) = outliving(bytes).ok()?;
    let mut state = State { serial, sanitize, ..State::default() };
    if !rest.is_empty() {
        let (rest, table) = raw_table(rest).ok()?;
        state.table = table.check()?;
        if !rest.is_empty() {
            all_consuming(raw_volatile).parse_complete(rest).ok()?.1.put_into(&mut state)?;
        }
    }
    (emit(&state) == bytes).then_some(state)
}

struct RawTable {
    keep: bool,
    kind: u8,
    generation: u32,
    holder: u16,
    keys: Vec<u64>,
    names: Vec<Nexus>,
}

impl RawTable {
    fn check(self) -> Option<Table> {
        let registrants: Vec<Registrant> =
            self.names.into_iter().zip(self.keys).map(|(nexus, key)| Registrant { nexus, key: Key(key) }).collect();
        if !registrants.is_sorted_by(|a, b| a.nexus < b.nexus) {
            return None;
        }
        let holder = match self.holder.checked_sub(1) {
            Some(index) => Some(registrants.get(usize::from(index))?.nexus.clone()),
            None => None,
        };
        let reservation = match (self.kind, Type::of(self.kind)) {
            (0, _) if holder.is_none() => None,
            (_, Some(kind)) if kind.is_held_by_all() == holder.is_none() && !registrants.is_empty() => {
                Some(Reservation { kind, holder })
            }
            _ => return None,
        };
        Some(Table { generation: self.generation, keep: self.keep, registrants, reservation })
    }
}

struct RawVolatile {
    bits: u8,
    what: Option<What>,
    others: Vec<Nexus>,
    prevented_by: Vec<Nexus>,
    reserved_by: Option<Nexus>,
    by: Option<Nexus>,
    news: Vec<(u16, u8)>,
}

impl RawVolatile {
    fn put_into(self, state: &mut State) -> Option<()> {
        let registrants = state.table.registrants.iter().map(|registrant| &registrant.nexus);
        let names: Vec<&Nexus> = registrants.chain(&self.others).collect();
        let everyone = self.what.zip(self.by).map(|(what, by)| Everyone { what, by });
        let mut effects = Effects { everyone, ..Effects::default() };
        for (whom, what) in self.news {
            let nexus = (*names.get(usize::from(whom))?).clone();
            match NEWS.get(usize::from(what).checked_sub(1)?)? {
                Some(attention) => effects.news.push((nexus, *attention)),
                None => effects.aborted.push(nexus),
            }
        }
        let prevented_by = self.prevented_by.into_iter().collect();
        state.medium = Medium { ejected: self.bits & EJECTED != 0, prevented_by };
        state.protected = self.bits & PROTECTED != 0;
        state.reserved_by = self.reserved_by;
        state.effects = effects;
        Some(())
    }
}

fn flag(input: &[u8]) -> IResult<&[u8], bool> {
    let (rest, flag) = verify(le_u8, |flag| *flag <= 1).parse_complete(input)?;
    Ok((rest, flag == 1))
}

fn outliving(input: &[u8]) -> IResult<&[u8], (u32, Option<Sanitize>)> {
    let (rest, _) = (tag(MAGIC), verify(le_u16, |version| *version == VERSION)).parse_complete(input)?;
    let (rest, serial) = le_u32(rest)?;
    let is_known = |bits: &u8| *bits == 0 || (1..=3).contains(&(bits & !(UNRESTRICTED | FAILED)));
    let (rest, bits) = verify(le_u8, is_known).parse_complete(rest)?;
    if bits == 0 {
        return Ok((rest, (serial, None)));
    }
    let (rest, by) = nexus(rest)?;
    let (rest, place) = cond(bits & FAILED == 0, (le_u8, le_u64)).parse_complete(rest)?;
    let place = place.map(|(pass, lba)| Place { pass, lba });
    let (rest, method) = match bits & !(UNRESTRICTED | FAILED) {
        1 => overwrite(rest)?,
        2 => (rest, Method::BlockErase),
        _ => (rest, Method::CryptographicErase),
    };
    Ok((rest, (serial, Some(Sanitize { by, method, unrestricted: bits & UNRESTRICTED != 0, place }))))
}

fn overwrite(input: &[u8]) -> IResult<&[u8], Method> {
    let (rest, passes) = verify(le_u8, |passes| *passes > 0).parse_complete(input)?;
    let (rest, invert) = flag(rest)?;
    let (rest, length) = verify(le_u16, |length| *length > 0).parse_complete(rest)?;
    let (rest, pattern) = take(length)(rest)?;
    Ok((rest, Method::Overwrite(Overwrite { pattern: pattern.to_vec(), passes, invert })))
}

fn raw_table(input: &[u8]) -> IResult<&[u8], RawTable> {
    let few = || verify(le_u16, |number| usize::from(*number) <= REGISTRANTS_MAX);
    let (rest, (keep, kind, generation)) = (flag, le_u8, le_u32).parse_complete(input)?;
    let (rest, (registrants, holder)) = (few(), few()).parse_complete(rest)?;
    let (rest, keys) = count(verify(le_u64, |key| *key != 0), registrants.into()).parse_complete(rest)?;
    let (rest, names) = count(nexus, registrants.into()).parse_complete(rest)?;
    Ok((rest, RawTable { keep, kind, generation, holder, keys, names }))
}

fn raw_volatile(input: &[u8]) -> IResult<&[u8], RawVolatile> {
    // Each takes bytes, of which there is a bound.
    let few = || verify(le_u16, |number| usize::from(*number) <= MAX_BYTES / 3);
    let (rest, bits) = verify(le_u8, |bits| *bits <= RESERVED | EJECTED | PROTECTED).parse_complete(input)?;
    let (rest, what) = map_opt(le_u8, |what| EVERYONE.get(usize::from(what)).copied()).parse_complete(rest)?;
    let (rest, (prevented_by, others, news)) = (few(), few(), few()).parse_complete(rest)?;
    let (rest, others) = count(nexus, others.into()).parse_complete(rest)?;
    let (rest, prevented_by) = count(nexus, prevented_by.into()).parse_complete(rest)?;
    let (rest, reserved_by) = cond(bits & RESERVED != 0, nexus).parse_complete(rest)?;
    let (rest, by) = cond(what.is_some(), nexus).parse_complete(rest)?;
    let (rest, news) = count((le_u16, le_u8), news.into()).parse_complete(rest)?;
    Ok((rest, RawVolatile { bits, what, others, prevented_by, reserved_by, by, news }))
}

/// A nexus; also in what heads ask each other.
pub(super) fn emit_nexus(nexus: &Nexus, bytes: &mut Vec<u8>) {
    let Nexus { initiator, relative_port } = nexus;
    bytes.extend(relative_port.to_le_bytes());
    bytes.extend(initiator.isid);
    bytes.push(u8::try_from(initiator.name.len()).unwrap_or(u8::MAX));
    bytes.extend(initiator.name.as_bytes());
}

pub(super) fn nexus(input: &[u8]) -> IResult<&[u8], Nexus> {
    let failed = |_| nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Verify));
    let (rest, relative_port) = le_u16(input)?;
    let (rest, isid) = take(6usize)(rest)?;
    let (rest, length) = verify(le_u8, |length| (1..=NAME_MAX).contains(&usize::from(*length))).parse_complete(rest)?;
    let (rest, name) = take(length)(rest)?;
    let isid = isid.try_into().map_err(|_| failed(()))?;
    let name = std::str::from_utf8(name).map_err(|_| failed(()))?.to_owned();
    Ok((rest, Nexus { initiator: InitiatorPort { name, isid }, relative_port }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_nexus() -> impl Strategy<Value = Nexus> {
        ("[a-z]{1,30}", any::<[u8; 6]>(), 1_u16..4)
            .prop_map(|(name, isid, relative_port)| Nexus { initiator: InitiatorPort { name, isid }, relative_port })
    }

    fn tables() -> impl Strategy<Value = Table> {
        let registrants = proptest::collection::btree_map(a_nexus(), 1_u64.., 1..6);
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

    fn sanitizes() -> impl Strategy<Value = Sanitize> {
        let overwrite = (proptest::collection::vec(any::<u8>(), 1..9), 1_u8..32, any::<bool>())
            .prop_map(|(pattern, passes, invert)| Method::Overwrite(Overwrite { pattern, passes, invert }));
        let method = prop_oneof![Just(Method::BlockErase), Just(Method::CryptographicErase), overwrite];
        let place = proptest::option::of((any::<u8>(), any::<u64>()));
        (a_nexus(), method, any::<bool>(), place).prop_map(|(by, method, unrestricted, place)| {
            let place = place.map(|(pass, lba)| Place { pass, lba });
            Sanitize { by, method, unrestricted, place }
        })
    }

    fn states() -> impl Strategy<Value = State> {
        let news = proptest::collection::vec((a_nexus(), 0..4_usize), 0..4);
        let ended = proptest::collection::vec(a_nexus(), 0..3);
        let everyone = proptest::option::of((1..EVERYONE.len(), a_nexus()));
        let medium = (any::<bool>(), proptest::collection::btree_set(a_nexus(), 0..3))
            .prop_map(|(ejected, prevented_by)| Medium { ejected, prevented_by });
        let held = (proptest::option::of(tables()), proptest::option::of(a_nexus()), medium, any::<bool>());
        (held, proptest::option::of(sanitizes()), any::<u32>(), news, ended, everyone).prop_map(
            |((table, reserved_by, medium, protected), sanitize, serial, news, aborted, everyone)| {
                let table = table.unwrap_or_default();
                let everyone = everyone.and_then(|(code, by)| Some(Everyone { what: EVERYONE[code]?, by }));
                let news = news.into_iter().filter_map(|(nexus, code)| Some((nexus, NEWS[code]?))).collect();
                let effects = Effects { news, aborted, everyone };
                State { table, reserved_by, medium, protected, sanitize, serial, effects }
            },
        )
    }

    #[test]
    fn golden_bytes() {
        let nexus = |name: &str, relative_port| Nexus {
            initiator: InitiatorPort { name: name.to_owned(), isid: [1, 2, 3, 4, 5, 6] },
            relative_port,
        };
        let (holder, gone) = (nexus("iqn.a", 0x101), nexus("iqn.b", 1));
        let table = Table {
            generation: 9,
            keep: true,
            registrants: vec![Registrant { nexus: holder.clone(), key: Key(0x1122) }],
            reservation: Some(Reservation { kind: Type::ExclusiveAccess, holder: Some(holder) }),
        };
        let method = Method::Overwrite(Overwrite { pattern: b"abc".to_vec(), passes: 31, invert: true });
        let place = Some(Place { pass: 2, lba: 0x1234 });
        let sanitize = Sanitize { by: nexus("iqn.e", 5), method, unrestricted: true, place };
        let news = vec![(gone.clone(), Attention::RegistrationsPreempted)];
        let everyone = Some(Everyone { what: What::Cleared, by: nexus("d", 3) });
        let effects = Effects { news, aborted: vec![gone], everyone };
        let medium = Medium { ejected: true, prevented_by: [nexus("iqn.f", 6)].into() };
        let reserved_by = Some(nexus("c", 2));
        let state = State {
            table: table.clone(),
            reserved_by,
            medium,
            protected: true,
            serial: 7,
            effects,
            sanitize: Some(sanitize.clone()),
        };
        let outliving = b"TWPR\x02\0\x07\0\0\0\x41\x05\0\x01\x02\x03\x04\x05\x06\x05iqn.e\
            \x02\x34\x12\0\0\0\0\0\0\x1f\x01\x03\0abc";
        let registrations = b"\x01\x03\x09\0\0\0\x01\0\x01\0\x22\x11\0\0\0\0\0\0\
            \x01\x01\x01\x02\x03\x04\x05\x06\x05iqn.a";
        let rest = b"\x07\x02\x01\0\x01\0\x02\0\x01\0\x01\x02\x03\x04\x05\x06\x05iqn.b\
            \x06\0\x01\x02\x03\x04\x05\x06\x05iqn.f\x02\0\x01\x02\x03\x04\x05\x06\x01c\
            \x03\0\x01\x02\x03\x04\x05\x06\x01d\x01\0\x03\x01\0\x05";
        let bytes = [&outliving[..], registrations, rest].concat();
        assert_eq!(emit(&state), bytes);
        assert_eq!(parse(&bytes), Some(state.clone()));
        let left = State { serial: 7, sanitize: Some(sanitize), ..State::default() };
        assert_eq!(parse(outliving), Some(left.clone()));
        assert_eq!(parse(&[&outliving[..], registrations].concat()), Some(State { table, ..left }));
        assert_eq!(parse(&[]), Some(State::default()));
        let kept_of = |state: &State| record(state).kept as usize;
        assert_eq!(kept_of(&state), outliving.len() + registrations.len());
        let mut volatile = state;
        volatile.table.keep = false;
        assert_eq!(kept_of(&volatile), outliving.len());
        volatile.sanitize = None;
        assert_eq!(kept_of(&volatile), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(state in states()) {
            prop_assert_eq!(parse(&emit(&state)), Some(state));
        }

        #[test]
        fn what_outlives_a_loss_of_power_is_the_sanitize_operation_and_with_aptpl_the_registrations(state in states()) {
            let left = parse(&record(&state).outliving().bytes).unwrap();
            prop_assert_eq!(&left.sanitize, &state.sanitize);
            let table = if state.is_kept() { state.table } else { Table::default() };
            prop_assert_eq!((left.table, left.medium, left.protected), (table, Medium::default(), false));
        }

        #[test]
        fn what_is_read_is_written(state in states(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = emit(&state);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(state) = parse(&bytes) {
                prop_assert_eq!(emit(&state), bytes);
            }
        }

        #[test]
        fn nonsense_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            prop_assert_eq!(parse(&bytes), None);
        }
    }
}
