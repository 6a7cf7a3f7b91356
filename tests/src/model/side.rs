//! One head and its shell.

use std::collections::VecDeque;

use replication::head::{Access, Action, Config, Event, Head, OpId};
use sas_backend::{HeadId, Incarnation};

use super::pair::Mark;

pub(super) const LEASE_MS: u64 = 200;
pub(super) const TAKEOVER_MS: u64 = 300;

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    Write(u8),
    Read,
}

/// A head, and what is between it and the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Side {
    pub(super) head: Option<Head<Mark>>,
    pub(super) life: Incarnation,
    /// Superblock and reservation commands that wait for their turn.
    pub(super) arbiter: VecDeque<Action<Mark>>,
    /// What has become of those that have had it.
    pub(super) answers: VecDeque<Event<Mark>>,
    pub(super) beats: bool,
    pub(super) watches: bool,
    /// It wants a connection.
    pub(super) link_open: bool,
    /// It believes that there is one.
    pub(super) is_linked: bool,
    pub(super) is_stopping: bool,
    pub(super) access: Access,
    pub(super) asked: Vec<(OpId, Asked)>,
}

impl Side {
    /// No process yet.
    pub(super) fn new() -> Self {
        Self {
            head: None,
            life: incarnation(1),
            arbiter: VecDeque::new(),
            answers: VecDeque::new(),
            beats: false,
            watches: false,
            link_open: false,
            is_linked: false,
            is_stopping: false,
            access: Access::Changing,
            asked: Vec::new(),
        }
    }

    /// A new process.
    pub(super) fn start(&mut self, me: HeadId, life: u64) {
        self.life = incarnation(life);
        self.head = Some(Head::new(Config {
            me,
            incarnation: self.life,
            paired: true,
            preferred: HeadId::A,
            lease_ms: LEASE_MS,
            takeover_ms: TAKEOVER_MS,
            max_drain_ms: 1000,
            blocks: 1,
            block_bytes: 512,
            least_dirty_blocks: 4,
            max_dirty_blocks: 4,
            max_run_blocks: 1,
        }));
    }

    /// The process is gone, and nobody waits any more for what its clients have asked.
    pub(super) fn end(&mut self) {
        *self = Self { life: self.life, ..Self::new() };
    }

    pub(super) fn has_writes(&self) -> usize {
        self.asked.iter().filter(|(_, asked)| matches!(asked, Asked::Write(_))).count()
    }

    /// Whether new requests of clients reach the unit through this head.
    pub(super) fn lets_in(&self) -> bool {
        matches!(self.access, Access::Serving | Access::Forwarding)
    }
}

fn incarnation(number: u64) -> Incarnation {
    Incarnation::new(number).expect("not zero")
}
