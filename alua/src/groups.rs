//! The two target port groups of a pair and the ports in them.

use crate::state::AccessState;

/// A TARGET PORT GROUP number: 1 is head a's, 2 is head b's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u16);

/// One target port as the descriptors name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetPort {
    /// RELATIVE TARGET PORT IDENTIFIER (SPC-4 4.5.4); never 0.
    pub relative_id: u16,
    /// The group it belongs to.
    pub group: GroupId,
}

/// Why a group is in its state (SPC-4 6.37, STATUS CODE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum StatusCode {
    /// Nothing to tell.
    #[default]
    None = 0x00,
    /// SET TARGET PORT GROUPS asked for it.
    BySetTargetPortGroups = 0x01,
    /// The target did it by itself.
    ByImplicitBehaviour = 0x02,
}

/// One target port group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// Its state.
    pub state: AccessState,
    /// Why.
    pub status: StatusCode,
}

/// A move that [`AccessState::may_become`] forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target port group {} cannot go from {from} to {to}", group.0)]
pub struct IllegalMove {
    /// The group.
    pub group: GroupId,
    /// Where it is.
    pub from: AccessState,
    /// Where it was sent.
    pub to: AccessState,
}

/// The target port groups of one logical unit. Both heads hold the same picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortGroups {
    groups: [Group; 2],
    ports: Vec<TargetPort>,
}

impl PortGroups {
    /// Groups of a pair.
    pub const IDS: [GroupId; 2] = [GroupId(1), GroupId(2)];

    /// Both groups in `state`. `ports` of other groups are left out; a group can be without ports.
    #[must_use]
    pub fn new(mut ports: Vec<TargetPort>, state: AccessState) -> Self {
        ports.retain(|port| Self::IDS.contains(&port.group));
        ports.sort_unstable();
        ports.dedup();
        // A descriptor counts its ports in one byte.
        ports.truncate(usize::from(u8::MAX));
        Self { groups: Self::IDS.map(|id| Group { id, state, status: StatusCode::None }), ports }
    }

    /// Both groups, by number.
    #[must_use]
    pub const fn groups(&self) -> &[Group; 2] {
        &self.groups
    }

    /// All ports, by relative target port identifier.
    #[must_use]
    pub fn ports(&self) -> &[TargetPort] {
        &self.ports
    }

    /// The group that is active/optimized.
    #[must_use]
    pub fn active(&self) -> Option<GroupId> {
        self.groups.iter().find(|group| group.state == AccessState::ActiveOptimized).map(|group| group.id)
    }

    /// Whether this group is active/optimized; both are when one head has the ports of both.
    #[must_use]
    pub fn is_active(&self, id: GroupId) -> bool {
        self.groups.iter().any(|group| group.id == id && group.state == AccessState::ActiveOptimized)
    }

    /// Put both groups into `states` (by number) because of `status`; says whether anything changed.
    ///
    /// # Errors
    /// If a move is illegal; then nothing changed.
    pub fn set(&mut self, states: [AccessState; 2], status: StatusCode) -> Result<bool, IllegalMove> {
        for (group, to) in self.groups.iter().zip(states) {
            if !group.state.may_become(to) {
                return Err(IllegalMove { group: group.id, from: group.state, to });
            }
        }
        let mut changed = false;
        for (group, to) in self.groups.iter_mut().zip(states) {
            if group.state != to {
                changed = true;
                group.state = to;
                group.status = status;
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AccessState::{ActiveOptimized, LbaDependent, Offline, Standby, Unavailable};

    #[test]
    fn a_change_is_told_once_and_keeps_its_reason() {
        let mut groups = PortGroups::new(vec![], Standby);
        assert_eq!(groups.active(), None);
        assert_eq!(groups.set([ActiveOptimized, Standby], StatusCode::ByImplicitBehaviour), Ok(true));
        assert_eq!(groups.set([ActiveOptimized, Standby], StatusCode::BySetTargetPortGroups), Ok(false));
        assert_eq!(groups.active(), Some(GroupId(1)));
        assert_eq!(groups.groups()[0].status, StatusCode::ByImplicitBehaviour);
        assert_eq!(groups.groups()[1].status, StatusCode::None);
    }

    #[test]
    fn an_illegal_move_changes_nothing() {
        let mut groups = PortGroups::new(vec![], Unavailable);
        groups.set([Offline, Unavailable], StatusCode::None).unwrap();
        let before = groups.clone();
        let refused = groups.set([LbaDependent, Standby], StatusCode::None).unwrap_err();
        assert_eq!(refused.to_string(), "target port group 1 cannot go from offline to LBA dependent");
        assert_eq!(groups, before);
    }

    #[test]
    fn ports_of_strange_groups_are_left_out() {
        let port = |relative_id, group| TargetPort { relative_id, group: GroupId(group) };
        let groups = PortGroups::new(vec![port(9, 3), port(2, 2), port(1, 1), port(2, 2)], Standby);
        assert_eq!(groups.ports(), [port(1, 1), port(2, 2)]);
    }
}
