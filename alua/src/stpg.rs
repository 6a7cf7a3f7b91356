//! SET TARGET PORT GROUPS: its parameter list and what it asks of a pair (SPC-4 6.46).

use nom::bytes::complete::take;
use nom::combinator::{all_consuming, map};
use nom::multi::many0;
use nom::number::complete::{be_u8, be_u16};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::groups::{GroupId, PortGroups};
use crate::state::AccessState;

/// Bytes before the first descriptor.
const HEADER_BYTES: usize = 4;
/// Bytes of one descriptor.
const DESCRIPTOR_BYTES: usize = 4;

/// What a valid parameter list asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StpgRequest {
    /// Nothing that is not already so.
    Nothing,
    /// This group is to become active/optimized, the other one standby.
    Activate(GroupId),
}

/// What is wrong with a parameter list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StpgError {
    /// It ends within a descriptor: PARAMETER LIST LENGTH ERROR.
    #[error("the parameter list ends within a descriptor")]
    Truncated,
    /// INVALID FIELD IN PARAMETER LIST.
    #[error("byte {byte} of the parameter list asks for what a pair cannot do")]
    InvalidField {
        /// Offset of the field in the parameter list.
        byte: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Descriptor {
    state: u8,
    group: u16,
}

fn descriptor(input: &[u8]) -> IResult<&[u8], Descriptor> {
    // The upper half of byte 0 and byte 1 are reserved; SPC-4 4.2.2 lets us ignore them in parameter lists.
    map((be_u8, be_u8, be_u16), |(state, _, group)| Descriptor { state: state & 0x0F, group }).parse(input)
}

fn parameter_list(input: &[u8]) -> IResult<&[u8], Vec<Descriptor>> {
    all_consuming(preceded(take(HEADER_BYTES), many0(descriptor))).parse(input)
}

/// What the parameter list `bytes` asks of the pair that is as `now` says. An empty list asks for nothing.
///
/// Of the states, a pair can be asked for active/optimized and standby only; sending the active group to standby
/// without a word on the other one makes the other one active, as there is always one.
///
/// # Errors
/// See [`StpgError`].
pub fn decide(bytes: &[u8], now: &PortGroups) -> Result<StpgRequest, StpgError> {
    if bytes.is_empty() {
        return Ok(StpgRequest::Nothing);
    }
    let (_, descriptors) = parameter_list(bytes).map_err(|_| StpgError::Truncated)?;
    let mut wanted = [None; PortGroups::IDS.len()];
    for (index, descriptor) in descriptors.iter().enumerate() {
        let invalid = |offset: usize| {
            let byte = HEADER_BYTES + index * DESCRIPTOR_BYTES + offset;
            StpgError::InvalidField { byte: u16::try_from(byte).unwrap_or(u16::MAX) }
        };
        let group = PortGroups::IDS.iter().position(|id| id.0 == descriptor.group).ok_or_else(|| invalid(2))?;
        if wanted[group].is_some() {
            return Err(invalid(2));
        }
        let state = AccessState::from_code(descriptor.state)
            .filter(|state| matches!(state, AccessState::ActiveOptimized | AccessState::Standby));
        wanted[group] = Some(state.ok_or_else(|| invalid(0))?);
    }
    activation(wanted, now)
}

fn activation(wanted: [Option<AccessState>; 2], now: &PortGroups) -> Result<StpgRequest, StpgError> {
    use AccessState::{ActiveOptimized, Standby};
    let [a, b] = PortGroups::IDS;
    let active = match wanted {
        [None, None] => None,
        [Some(ActiveOptimized), None | Some(Standby)] => Some(a),
        [None | Some(Standby), Some(ActiveOptimized)] => Some(b),
        [Some(Standby), None] => (now.active() == Some(a)).then_some(b),
        [None, Some(Standby)] => (now.active() == Some(b)).then_some(a),
        // Both active, or both standby: one head serves, always.
        _ => return Err(StpgError::InvalidField { byte: 4 }),
    };
    Ok(match active {
        Some(group) if !now.is_active(group) => StpgRequest::Activate(group),
        _ => StpgRequest::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::StatusCode;

    fn first_is_active() -> PortGroups {
        let mut pair = PortGroups::new(vec![], AccessState::Standby);
        pair.set([AccessState::ActiveOptimized, AccessState::Standby], StatusCode::None).unwrap();
        pair
    }

    fn asked(descriptors: &[[u8; 4]]) -> Result<StpgRequest, StpgError> {
        decide(&[&[[0; 4]], descriptors].concat().concat(), &first_is_active())
    }

    #[test]
    fn nothing_is_asked_of_a_head_whose_ports_are_active_elsewhere() {
        let mut both = PortGroups::new(vec![], AccessState::Standby);
        both.set([AccessState::ActiveOptimized; 2], StatusCode::None).unwrap();
        for group in [1, 2] {
            assert_eq!(decide(&[0, 0, 0, 0, 0, 0, 0, group], &both), Ok(StpgRequest::Nothing), "group {group}");
        }
    }

    #[test]
    fn what_linux_sends_activates_the_group() {
        assert_eq!(asked(&[[0, 0, 0, 2]]), Ok(StpgRequest::Activate(GroupId(2))));
        assert_eq!(asked(&[[0, 0, 0, 1]]), Ok(StpgRequest::Nothing));
    }

    #[test]
    fn decisions_as_a_table() {
        let switch = Ok(StpgRequest::Activate(GroupId(2)));
        let invalid = |byte| Err(StpgError::InvalidField { byte });
        let table: &[(&[[u8; 4]], _)] = &[
            (&[], Ok(StpgRequest::Nothing)),
            (&[[2, 0, 0, 1]], switch),
            (&[[2, 0, 0, 2]], Ok(StpgRequest::Nothing)),
            (&[[2, 0, 0, 1], [0, 0, 0, 2]], switch),
            (&[[0, 0, 0, 2], [2, 0, 0, 1]], switch),
            (&[[0, 0, 0, 1], [2, 0, 0, 2]], Ok(StpgRequest::Nothing)),
            (&[[0xF0, 9, 0, 2]], switch),
            (&[[0, 0, 0, 1], [0, 0, 0, 2]], invalid(4)),
            (&[[2, 0, 0, 1], [2, 0, 0, 2]], invalid(4)),
            (&[[0, 0, 0, 3]], invalid(6)),
            (&[[0, 0, 0, 2], [0, 0, 0, 2]], invalid(10)),
            (&[[1, 0, 0, 2]], invalid(4)),
            (&[[3, 0, 0, 1]], invalid(4)),
            (&[[0, 0, 0, 2], [0xF, 0, 0, 1]], invalid(8)),
            (&[[0xE, 0, 0, 1]], invalid(4)),
            (&[[7, 0, 0, 1]], invalid(4)),
        ];
        for (descriptors, expected) in table {
            assert_eq!(asked(descriptors), *expected, "{descriptors:02x?}");
        }
    }

    #[test]
    fn lengths_that_end_within_a_descriptor() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 2];
        for length in 0..=bytes.len() {
            let result = decide(&bytes[..length], &first_is_active());
            let expected = match length {
                0 | 4 => Ok(StpgRequest::Nothing),
                8 => Ok(StpgRequest::Activate(GroupId(2))),
                _ => Err(StpgError::Truncated),
            };
            assert_eq!(result, expected, "{length} bytes");
        }
    }
}
