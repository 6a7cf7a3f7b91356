//! One path as the multipath core sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::IoId;
use crate::initiator::port_groups::{GroupState, Identity};

/// The connection of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down {
        retry_at: Duration,
    },
    Connecting,
    Up,
    /// Asked to log out.
    Closing,
}

/// A command of our own about the path; at most one is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Identify,
    Groups,
    Activate,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) link: Link,
    /// Known once the path was asked who it is.
    pub(super) identity: Option<Identity>,
    pub(super) state: Option<GroupState>,
    pub(super) probe: Option<Probe>,
    /// Something changed: the state is to be asked for before more I/O goes this way.
    pub(super) is_stale: bool,
    /// When to ask for the state (or who it is) next.
    pub(super) refresh_at: Duration,
    /// BUSY and the like: no I/O before.
    pub(super) paused_until: Duration,
    /// When activation may be tried; `None` when the target does not know SET TARGET PORT GROUPS.
    pub(super) activate_at: Option<Duration>,
    /// Whether the target knows the extended header of REPORT TARGET PORT GROUPS.
    pub(super) extended: bool,
    /// Another unit answers there: come back much later.
    pub(super) is_refused: bool,
    /// Whether the first attempt to connect has ended, well or not.
    pub(super) is_tried: bool,
    pub(super) in_flight: BTreeSet<IoId>,
}

impl Member {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            link: Link::Down { retry_at: now },
            identity: None,
            state: None,
            probe: None,
            is_stale: false,
            refresh_at: now,
            paused_until: now,
            activate_at: Some(now),
            extended: true,
            is_refused: false,
            is_tried: false,
            in_flight: BTreeSet::new(),
        }
    }

    /// Start over after a login: whatever was known may have changed meanwhile.
    pub(super) fn on_up(&mut self, now: Duration) {
        let in_flight = std::mem::take(&mut self.in_flight);
        *self = Self { link: Link::Up, in_flight, is_tried: true, ..Self::new(now) };
    }

    /// 0 is best; `None` when the path takes no I/O.
    pub(super) fn rank(&self) -> Option<u8> {
        if self.link != Link::Up || self.is_stale {
            return None;
        }
        match self.state? {
            GroupState::ActiveOptimized => Some(0),
            GroupState::ActiveNonOptimized => Some(1),
            _ => None,
        }
    }

    /// Whether the path is about to say more about itself: nothing rash is done meanwhile.
    pub(super) fn is_undecided(&self) -> bool {
        let is_in_between = self.is_stale || self.probe.is_some() || self.state == Some(GroupState::Transitioning);
        self.link == Link::Up && is_in_between
    }

    pub(super) fn can_be_activated(&self) -> bool {
        self.link == Link::Up
            && self.probe.is_none()
            && self.activate_at.is_some()
            && matches!(self.state, Some(GroupState::Standby | GroupState::Unavailable))
    }

    /// What to ask the path now.
    pub(super) fn due_probe(&self, now: Duration) -> Option<Probe> {
        if self.link != Link::Up || self.probe.is_some() || now < self.refresh_at {
            return None;
        }
        match &self.identity {
            None => Some(Probe::Identify),
            Some(identity) => identity.group.map(|_| Probe::Groups),
        }
    }

    /// When [`Member::due_probe`] or a reconnection is due.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        match self.link {
            Link::Down { retry_at } => Some(retry_at),
            Link::Connecting | Link::Closing => None,
            Link::Up if self.probe.is_some() => None,
            Link::Up => match &self.identity {
                Some(identity) if identity.group.is_none() => None,
                _ => Some(self.refresh_at),
            },
        }
    }

    /// Ask for the state at once, before more I/O goes this way. Without ALUA there is nothing to ask for.
    pub(super) fn mark_stale(&mut self, now: Duration) {
        let has_groups = self.identity.as_ref().is_none_or(|identity| identity.group.is_some());
        self.is_stale = has_groups;
        self.refresh_at = now;
    }

    pub(super) fn group(&self) -> Option<u16> {
        self.identity.as_ref().and_then(|identity| identity.group)
    }
}
