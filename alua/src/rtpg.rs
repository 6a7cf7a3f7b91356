//! REPORT TARGET PORT GROUPS parameter data (SPC-4 6.37).

use crate::groups::{Group, PortGroups};
use crate::state::AccessState;

/// PARAMETER DATA FORMAT of the CDB: which header goes before the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 000b: the length only.
    LengthOnly,
    /// 001b: the length and how long an implicit transition may take.
    Extended {
        /// IMPLICIT TRANSITION TIME in seconds; a client waits that long before it gives a group up.
        implicit_transition_s: u8,
    },
}

/// T_SUP, U_SUP, S_SUP, AN_SUP and AO_SUP: the states that a group of a pair can be in.
const SUPPORTED_STATES: u8 = 0b1000_1111;
/// PREF.
const PREFERRED: u8 = 0x80;

/// All of the parameter data; the caller truncates it to the allocation length.
///
/// PREF is set only on the group that is active/optimized: multipath-tools rank a preferred group that is not
/// optimized above an optimized one.
#[must_use]
pub fn encode(groups: &PortGroups, format: Format) -> Vec<u8> {
    let mut bytes = vec![0; 4]; // RETURN DATA LENGTH, known at the end
    if let Format::Extended { implicit_transition_s } = format {
        bytes.extend([0x10, implicit_transition_s, 0, 0]);
    }
    for group in groups.groups() {
        encode_group(&mut bytes, groups, group);
    }
    let length = u32::try_from(bytes.len() - 4).expect("two groups of at most 255 ports");
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn encode_group(bytes: &mut Vec<u8>, groups: &PortGroups, group: &Group) {
    let ports = || groups.ports().iter().filter(|port| port.group == group.id);
    let preferred = if group.state == AccessState::ActiveOptimized { PREFERRED } else { 0 };
    bytes.extend([preferred | group.state.code(), SUPPORTED_STATES]);
    bytes.extend(group.id.0.to_be_bytes());
    let count = u8::try_from(ports().count()).expect("PortGroups keeps at most 255 ports");
    bytes.extend([0, group.status as u8, 0, count]);
    for port in ports() {
        bytes.extend([0, 0]);
        bytes.extend(port.relative_id.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::{GroupId, StatusCode, TargetPort};

    fn pair() -> PortGroups {
        let port = |relative_id, group| TargetPort { relative_id, group: GroupId(group) };
        let mut pair = PortGroups::new(vec![port(1, 1), port(2, 1), port(0x8001, 2)], AccessState::Standby);
        pair.set([AccessState::ActiveOptimized, AccessState::Standby], StatusCode::ByImplicitBehaviour).unwrap();
        pair
    }

    #[test]
    fn length_only_golden_bytes() {
        #[rustfmt::skip]
        let expected = [
            0, 0, 0, 28,
            0x80, 0x8F, 0, 1, 0, 2, 0, 2,   0, 0, 0, 1,   0, 0, 0, 2,
            0x02, 0x8F, 0, 2, 0, 0, 0, 1,   0, 0, 0x80, 1,
        ];
        assert_eq!(encode(&pair(), Format::LengthOnly), expected);
    }

    #[test]
    fn extended_golden_bytes() {
        let bytes = encode(&pair(), Format::Extended { implicit_transition_s: 10 });
        assert_eq!(bytes[..8], [0, 0, 0, 32, 0x10, 10, 0, 0]);
        assert_eq!(bytes[8..], encode(&pair(), Format::LengthOnly)[4..]);
    }

    #[test]
    fn both_groups_are_listed_even_without_ports() {
        let bytes = encode(&PortGroups::new(vec![], AccessState::Unavailable), Format::LengthOnly);
        assert_eq!(bytes, [0, 0, 0, 16, 3, 0x8F, 0, 1, 0, 0, 0, 0, 3, 0x8F, 0, 2, 0, 0, 0, 0]);
    }
}
