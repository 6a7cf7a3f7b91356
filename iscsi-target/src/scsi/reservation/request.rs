//! PERSISTENT RESERVE OUT as it was sent (SPC-4 6.16): the parameter list, checked as far as that goes without the table.

use nom::IResult;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};

use super::{Key, Nexus, Type, transport_id};
use crate::scsi::InitiatorPort;
use crate::scsi::sense::{Sense, SenseCode};

/// Bytes of the basic parameter list, and of the fixed part of REGISTER AND MOVE's.
const BASIC_BYTES: usize = 24;
const SPEC_I_PT: u8 = 0x08;
const ALL_TG_PT: u8 = 0x04;
const APTPL: u8 = 0x01;
const UNREG: u8 = 0x02;
const LOGICAL_UNIT_SCOPE: u8 = 0;
/// TransportIDs in one list; more than there can be registrants.
const PORTS_MAX: usize = 128;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// REGISTER, REGISTER AND IGNORE EXISTING KEY.
    Register(Register),
    /// REGISTER AND MOVE.
    Move(Move),
    /// RESERVE.
    Reserve {
        /// RESERVATION KEY.
        key: Key,
        /// TYPE.
        kind: Type,
    },
    /// RELEASE.
    Release {
        /// RESERVATION KEY.
        key: Key,
        /// TYPE; `None` is one that no reservation has.
        kind: Option<Type>,
    },
    /// CLEAR.
    Clear {
        /// RESERVATION KEY.
        key: Key,
    },
    /// PREEMPT, PREEMPT AND ABORT.
    Preempt {
        /// RESERVATION KEY.
        key: Key,
        /// SERVICE ACTION RESERVATION KEY.
        victim: Key,
        /// TYPE; matters only when the reservation is preempted.
        kind: Option<Type>,
        /// Whether the victims' commands are to be ended.
        abort: bool,
    },
}

/// REGISTER, REGISTER AND IGNORE EXISTING KEY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// RESERVATION KEY; `None`: whatever it is.
    pub key: Option<Key>,
    /// SERVICE ACTION RESERVATION KEY; none to unregister.
    pub new: Key,
    /// SPEC_I_PT: initiator ports to register as well.
    pub others: Vec<InitiatorPort>,
    /// ALL_TG_PT: through every target port.
    pub all_ports: bool,
    /// APTPL.
    pub keep: bool,
}

/// REGISTER AND MOVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// RESERVATION KEY.
    pub key: Key,
    /// SERVICE ACTION RESERVATION KEY.
    pub new: Key,
    /// UNREG: the old holder is no registrant any more.
    pub unregister: bool,
    /// APTPL.
    pub keep: bool,
    /// Who is to hold it.
    pub to: Nexus,
}

/// Read a parameter list: `action` is the service action, `scope_type` byte 2 of the CDB, `length` the PARAMETER LIST
/// LENGTH, `data` what was sent.
///
/// # Errors
/// PARAMETER LIST LENGTH ERROR, INVALID FIELD IN CDB or IN PARAMETER LIST.
pub fn parse(action: u8, scope_type: u8, length: u32, data: Option<&[u8]>) -> Result<Request, Sense> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let list = data.unwrap_or_default().get(..length).ok_or(SenseCode::PARAMETER_LIST_LENGTH_ERROR)?;
    if list.len() < BASIC_BYTES {
        return Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    if action == 0x07 {
        return parse_move(list);
    }
    let too_short = |_| Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR);
    let (rest, Basic { key, new, flags }) = basic(list).map_err(too_short)?;
    if flags & SPEC_I_PT != 0 && action != 0x00 {
        return Err(Sense::invalid_parameter(20));
    }
    if flags & SPEC_I_PT == 0 && !rest.is_empty() {
        return Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let kind = Type::of(scope_type & 0x0F);
    let is_of_unit = scope_type >> 4 == LOGICAL_UNIT_SCOPE;
    Ok(match action {
        0x00 | 0x06 => {
            let others = if flags & SPEC_I_PT == 0 { Vec::new() } else { ports(rest)? };
            let key = (action == 0x00).then_some(key);
            let (all_ports, keep) = (flags & ALL_TG_PT != 0, flags & APTPL != 0);
            Request::Register(Register { key, new, others, all_ports, keep })
        }
        0x01 => match kind {
            Some(kind) if is_of_unit => Request::Reserve { key, kind },
            _ => return Err(Sense::invalid_cdb(2, None)),
        },
        0x02 => Request::Release { key, kind: kind.filter(|_| is_of_unit) },
        0x03 => Request::Clear { key },
        0x04 | 0x05 => Request::Preempt { key, victim: new, kind: kind.filter(|_| is_of_unit), abort: action == 0x05 },
        _ => return Err(Sense::invalid_cdb(1, Some(4))),
    })
}

struct Basic {
    key: Key,
    new: Key,
    flags: u8,
}

fn basic(list: &[u8]) -> IResult<&[u8], Basic> {
    let (rest, key) = be_u64(list)?;
    let (rest, new) = be_u64(rest)?;
    let (rest, _obsolete) = be_u32(rest)?;
    let (rest, flags) = be_u8(rest)?;
    let (rest, _reserved) = take(3usize)(rest)?;
    Ok((rest, Basic { key: Key(key), new: Key(new), flags }))
}

/// TRANSPORTID PARAMETER DATA LENGTH and the TransportIDs (SPC-4 6.16.3).
fn ports(list: &[u8]) -> Result<Vec<InitiatorPort>, Sense> {
    let short = |_: nom::Err<nom::error::Error<&[u8]>>| Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR);
    let (rest, length) = be_u32(list).map_err(short)?;
    if usize::try_from(length) != Ok(rest.len()) {
        return Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let mut ports = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() {
        let (port, after) = transport_id::parse(rest).ok_or(Sense::invalid_parameter(28))?;
        if ports.len() == PORTS_MAX {
            return Err(SenseCode::INSUFFICIENT_REGISTRATION_RESOURCES.into());
        }
        ports.push(port);
        rest = after;
    }
    Ok(ports)
}

/// SPC-4 6.16.4.
fn parse_move(list: &[u8]) -> Result<Request, Sense> {
    let short = |_: nom::Err<nom::error::Error<&[u8]>>| Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR);
    let fixed = |list| -> IResult<&[u8], (u64, u64, u8, u16, u32)> {
        let (rest, key) = be_u64(list)?;
        let (rest, new) = be_u64(rest)?;
        let (rest, _reserved) = be_u8(rest)?;
        let (rest, flags) = be_u8(rest)?;
        let (rest, relative_port) = be_u16(rest)?;
        let (rest, length) = be_u32(rest)?;
        Ok((rest, (key, new, flags, relative_port, length)))
    };
    let (rest, (key, new, flags, relative_port, length)) = fixed(list).map_err(short)?;
    if usize::try_from(length) != Ok(rest.len()) {
        return Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let Some((initiator, [])) = transport_id::parse(rest) else { return Err(Sense::invalid_parameter(24)) };
    if new == 0 {
        return Err(Sense::invalid_parameter(8));
    }
    Ok(Request::Move(Move {
        key: Key(key),
        new: Key(new),
        unregister: flags & UNREG != 0,
        keep: flags & APTPL != 0,
        to: Nexus { initiator, relative_port },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(key: u64, new: u64, flags: u8) -> Vec<u8> {
        [&key.to_be_bytes()[..], &new.to_be_bytes(), &[0, 0, 0, 0, flags, 0, 0, 0]].concat()
    }

    fn parsed(action: u8, scope_type: u8, list: &[u8]) -> Result<Request, Sense> {
        parse(action, scope_type, u32::try_from(list.len()).unwrap(), Some(list))
    }

    fn port(name: &str) -> InitiatorPort {
        InitiatorPort { name: name.to_owned(), isid: [0, 2, 3, 4, 5, 6] }
    }

    #[test]
    fn service_actions() {
        let (key, new) = (Key(1), Key(2));
        let register = |key| Register { key, new, others: vec![], all_ports: true, keep: true };
        assert_eq!(parsed(0, 0, &list(1, 2, 5)), Ok(Request::Register(register(Some(key)))));
        assert_eq!(parsed(6, 0, &list(1, 2, 5)), Ok(Request::Register(register(None))));
        assert_eq!(parsed(1, 1, &list(1, 2, 0)), Ok(Request::Reserve { key, kind: Type::WriteExclusive }));
        assert_eq!(parsed(2, 3, &list(1, 2, 0)), Ok(Request::Release { key, kind: Some(Type::ExclusiveAccess) }));
        assert_eq!(parsed(2, 0x13, &list(1, 2, 0)), Ok(Request::Release { key, kind: None }));
        assert_eq!(parsed(3, 0, &list(1, 2, 0)), Ok(Request::Clear { key }));
        for (action, abort) in [(4, false), (5, true)] {
            let kind = Some(Type::ExclusiveAccessAllRegistrants);
            assert_eq!(parsed(action, 8, &list(1, 2, 0)), Ok(Request::Preempt { key, victim: new, kind, abort }));
        }
    }

    #[test]
    fn wrong_lists_are_refused() {
        let length = Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into());
        assert_eq!(parsed(0, 0, &list(1, 2, 0)[..23]), length);
        assert_eq!(parsed(0, 0, &[list(1, 2, 0), vec![0; 4]].concat()), length);
        assert_eq!(parse(0, 0, 24, Some(&list(1, 2, 0)[..20])), length, "less than was announced");
        assert_eq!(parse(0, 0, 24, None), length);
        assert_eq!(parsed(6, 0, &list(1, 2, SPEC_I_PT)), Err(Sense::invalid_parameter(20)));
        for scope_type in [0, 2, 4, 9, 0x11] {
            assert_eq!(parsed(1, scope_type, &list(1, 2, 0)), Err(Sense::invalid_cdb(2, None)), "{scope_type:#x}");
        }
        assert_eq!(parsed(8, 0, &list(1, 2, 0)), Err(Sense::invalid_cdb(1, Some(4))));
    }

    #[test]
    fn other_ports_are_named() {
        let ids: Vec<u8> = ["iqn.a", "iqn.b"].map(|name| transport_id::emit(&port(name))).concat();
        let length = u32::try_from(ids.len()).unwrap().to_be_bytes();
        let whole = [list(0, 2, SPEC_I_PT), length.to_vec(), ids.clone()].concat();
        let Ok(Request::Register(register)) = parsed(0, 0, &whole) else { panic!() };
        assert_eq!(register.others, [port("iqn.a"), port("iqn.b")]);
        assert_eq!(parsed(0, 0, &whole[..whole.len() - 1]), Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into()));
        let cut = [list(0, 2, SPEC_I_PT), vec![0, 0, 0, 8], ids[..8].to_vec()].concat();
        assert_eq!(parsed(0, 0, &cut), Err(Sense::invalid_parameter(28)));
    }

    #[test]
    fn a_move_names_where_to() {
        let id = transport_id::emit(&port("iqn.a"));
        let of = |new: u64, length: usize| {
            let length = u32::try_from(length).unwrap().to_be_bytes();
            [&1_u64.to_be_bytes()[..], &new.to_be_bytes(), &[0, UNREG | APTPL, 1, 2], &length, &id].concat()
        };
        let to = Nexus { initiator: port("iqn.a"), relative_port: 0x0102 };
        let moved = Move { key: Key(1), new: Key(2), unregister: true, keep: true, to };
        assert_eq!(parsed(7, 0, &of(2, id.len())), Ok(Request::Move(moved)));
        assert_eq!(parsed(7, 0, &of(0, id.len())), Err(Sense::invalid_parameter(8)));
        assert_eq!(parsed(7, 0, &of(2, id.len() - 4)), Err(SenseCode::PARAMETER_LIST_LENGTH_ERROR.into()));
    }
}
