//! What a target tells about a logical unit's name and its target port groups (SPC-4 6.37, 7.8.6). The initiator reads it
//! from the standard, not with the code that the target writes it with.

use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::complete;
use nom::multi::many0;
use nom::number::complete::{be_u16, be_u32, u8};

type Parsed<'a, T> = nom::IResult<&'a [u8], T>;

/// Asymmetric access state (SPC-4 6.37, table 310).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// 0h: everything works, and fast.
    ActiveOptimized,
    /// 1h: everything works.
    ActiveNonOptimized,
    /// 2h: no medium access until somebody activates it.
    Standby,
    /// 3h: hardly anything works.
    Unavailable,
    /// Fh: on the way to another state.
    Transitioning,
    /// Any other code.
    Other(u8),
}

/// What one descriptor of REPORT TARGET PORT GROUPS tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// TARGET PORT GROUP.
    pub id: u16,
    /// ASYMMETRIC ACCESS STATE.
    pub state: GroupState,
}

/// What the device identification page tells.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Identity {
    /// The name of the logical unit, the same on each of its paths: NAA, else EUI-64, else T10 vendor id.
    pub unit: Option<Vec<u8>>,
    /// The group of the port that the page came through; `None` without ALUA.
    pub group: Option<u16>,
}

/// DESIGNATOR TYPE codes of names for a unit, the best first.
const UNIT_DESIGNATORS: [u8; 3] = [3, 2, 1];
const ASSOCIATION_UNIT: u8 = 0;
const ASSOCIATION_PORT: u8 = 1;
const DESIGNATOR_PORT_GROUP: u8 = 5;

struct Designator<'a> {
    association: u8,
    kind: u8,
    value: &'a [u8],
}

impl GroupState {
    fn of(code: u8) -> Self {
        match code & 0x0f {
            0x0 => Self::ActiveOptimized,
            0x1 => Self::ActiveNonOptimized,
            0x2 => Self::Standby,
            0x3 => Self::Unavailable,
            0xf => Self::Transitioning,
            code => Self::Other(code),
        }
    }

    /// ASYMMETRIC ACCESS STATE.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::ActiveOptimized => 0x0,
            Self::ActiveNonOptimized => 0x1,
            Self::Standby => 0x2,
            Self::Unavailable => 0x3,
            Self::Transitioning => 0xf,
            Self::Other(code) => code & 0x0f,
        }
    }
}

impl std::fmt::Display for GroupState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ActiveOptimized => "active/optimized",
            Self::ActiveNonOptimized => "active/non-optimized",
            Self::Standby => "standby",
            Self::Unavailable => "unavailable",
            Self::Transitioning => "transitioning",
            Self::Other(_) => "of another state",
        })
    }
}

impl Identity {
    /// Read the page, as far as it is there; `None` when it is another page.
    #[must_use]
    pub fn parse(page: &[u8]) -> Option<Self> {
        let header: Parsed<'_, (u8, u8, u16)> = (u8, u8, be_u16).parse(page);
        let (rest, (_, page_code, length)) = header.ok()?;
        if page_code != 0x83 {
            return None;
        }
        let descriptors = &rest[..rest.len().min(length.into())];
        let (_, designators) = many0(complete(designator)).parse(descriptors).ok()?;
        let unit_name = |kind| designators.iter().find(|d| d.association == ASSOCIATION_UNIT && d.kind == kind);
        let unit = UNIT_DESIGNATORS.into_iter().find_map(unit_name).map(|designator| designator.value.to_vec());
        let group = designators.iter().find_map(|d| match (d.association, d.kind, d.value) {
            (ASSOCIATION_PORT, DESIGNATOR_PORT_GROUP, [_, _, high, low]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        });
        Some(Self { unit, group })
    }
}

/// Table 459: code set, association and type, length, designator.
fn designator(input: &[u8]) -> Parsed<'_, Designator<'_>> {
    let (rest, (_, kind, _, length)) = (u8, u8, u8, u8).parse(input)?;
    let (rest, value) = take(length).parse(rest)?;
    Ok((rest, Designator { association: kind >> 4 & 3, kind: kind & 0x0f, value }))
}

/// The groups in the parameter data of REPORT TARGET PORT GROUPS, with either header; `None` when it makes no sense.
#[must_use]
pub fn parse_groups(data: &[u8]) -> Option<Vec<Group>> {
    let header: Parsed<'_, u32> = be_u32(data);
    let (rest, length) = header.ok()?;
    let mut rest = rest.get(..usize::try_from(length).ok()?)?;
    // The extended header: RETURN DATA FORMAT 001b, IMPLICIT TRANSITION TIME, two reserved bytes. In the old one the
    // first descriptor stands there, and those bits of it are reserved.
    if rest.first()? & 0x70 == 0x10 {
        rest = rest.get(4..)?;
    }
    let (rest, groups) = many0(complete(group)).parse(rest).ok()?;
    (rest.is_empty() && !groups.is_empty()).then_some(groups)
}

/// Table 309: PREF and state, supported states, group, reserved, status code, vendor specific, the count of ports, and
/// four bytes for each of them.
fn group(input: &[u8]) -> Parsed<'_, Group> {
    let (rest, (state, _, id, _, _, _, ports)) = (u8, u8, be_u16, u8, u8, u8, u8).parse(input)?;
    let (rest, _) = take(usize::from(ports) * 4).parse(rest)?;
    Ok((rest, Group { id, state: GroupState::of(state) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_GROUPS: [u8; 24] = [
        0x80, 0x8f, 0, 1, 0, 2, 0, 1, 0, 0, 0, 1, // active/optimized and preferred, one port
        0x02, 0x8f, 0, 2, 0, 2, 0, 1, 0, 0, 0, 2, // standby, one port
    ];

    #[test]
    fn groups_with_either_header() {
        let groups = Some(vec![
            Group { id: 1, state: GroupState::ActiveOptimized },
            Group { id: 2, state: GroupState::Standby },
        ]);
        let old = [&[0, 0, 0, 24][..], &TWO_GROUPS].concat();
        let extended = [&[0, 0, 0, 28, 0x10, 5, 0, 0][..], &TWO_GROUPS].concat();
        assert_eq!(parse_groups(&old), groups);
        assert_eq!(parse_groups(&extended), groups);
        for len in 0..old.len() {
            assert_eq!(parse_groups(&old[..len]), None, "cut to {len} bytes");
        }
    }

    #[test]
    fn states_survive() {
        for code in 0..=0x0f {
            assert_eq!(GroupState::of(code).code(), code);
        }
    }

    #[test]
    fn identity_prefers_naa_and_finds_the_port_group() {
        let page = [
            &[0, 0x83, 0, 31][..],
            &[2, 1, 0, 3, b'a', b'b', b'c'],
            &[1, 3, 0, 8, 0x60, 1, 2, 3, 4, 5, 6, 7],
            &[1, 0x15, 0, 4, 0, 0, 0, 2],
            &[1, 0x14, 0, 4], // cut off
        ]
        .concat();
        let identity = Identity { unit: Some(vec![0x60, 1, 2, 3, 4, 5, 6, 7]), group: Some(2) };
        assert_eq!(Identity::parse(&page), Some(identity));
        assert_eq!(Identity::parse(&[0, 0x83, 0, 0]), Some(Identity::default()));
        assert_eq!(Identity::parse(&[0, 0x80, 0, 0]), None);
        assert_eq!(Identity::parse(&[0, 0x83]), None);
    }
}
