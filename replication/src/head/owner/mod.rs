//! The owner: what may be acknowledged in which mode, and how one mode follows another.
//!
//! ```text
//!            invitation accepted             superblock names the mirror
//!    Solo ----------------------> Joining ------------------------------> Mirrored --handover--> (standby)
//!     ^  ^                        |     |                                 |      ^    |
//!     |  +-------link lost--------+     +--link lost during the switch-+  |      +----+ not finished
//!     |                                                                v  v
//!     +--------------superblock names nobody, disk complete------- Degrading
//! ```
//!
//! | mode | a write is acknowledged when |
//! | --- | --- |
//! | Solo | the disk has it; flushed, for FUA |
//! | Joining | both: the disk has it and the mirror has confirmed it |
//! | Mirrored, handing over | the mirror has confirmed it, and the superblock says *dirty* |
//! | Degrading | not at all |
//!
//! * [`client`]: requests, what they wait for, acknowledgements.
//! * [`map`]: whether blocks are mapped.
//! * [`pending`]: writes that are not acknowledged yet.
//! * [`destage`]: from RAM to the disk, flush, release.
//! * [`modes`]: the arrows above, and what the superblock says.
//! * [`record`]: what the daemons keep for clients beside the blocks.
//! * [`growth`]: the unit becomes larger, in any mode.

mod client;
mod destage;
mod growth;
mod map;
mod modes;
mod pending;
mod record;

use std::collections::{BTreeMap, VecDeque};

use super::claim::Ownership;
use super::event::{Access, Action, Event, IoError, IoId, OpId, Outcome, Request, StorageError};
use super::{Core, Next};
use crate::block::{Data, Extent, Millis};
use crate::cache::{DirtyLimit, Run, Version};
use crate::message::{Message, Mode, Tag};
use client::DiskRead;
use destage::Flusher;
use growth::Growth;
use pending::Pending;
use record::Keeping;

/// What an owner works with beside its RAM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner<D> {
    mode: OwnerMode,
    lease_until: Millis,
    newest: Version,
    pending: Pending<D>,
    /// Writes that wait for room in RAM, or for the mode to allow them.
    throttled: VecDeque<Request<D>>,
    /// Flushes that wait for the disk.
    syncs: Vec<OpId>,
    /// Those that wait until nothing else does.
    drains: Vec<OpId>,
    reads: BTreeMap<IoId, DiskRead<D>>,
    /// What the disk was asked whether it is mapped.
    maps: BTreeMap<IoId, (OpId, Extent)>,
    runs: BTreeMap<IoId, Run<D>>,
    flusher: Flusher,
    /// Answers that wait for the lease.
    held: VecDeque<(OpId, Outcome<D>)>,
    recording: Option<Ownership>,
    /// The last attempt failed: once more at the next tick.
    record_again: bool,
    /// The superblock is to be written although the ownership stays as it is.
    unrecorded: bool,
    limit: DirtyLimit,
    /// When which version was the newest: what is older may be destaged.
    ages: VecDeque<(Millis, Version)>,
    retry_after: Millis,
    idle_since: Option<Millis>,
    handing_over: bool,
    invitations: u64,
    growth: Growth,
    keeping: Keeping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OwnerMode {
    Solo { invited: Option<Tag> },
    Joining { stream: Stream, barrier: u64, switch: Switch },
    Mirrored { stream: Stream },
    Degrading,
}

/// How far the superblock is on the way to naming the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Switch {
    NotYet,
    InFlight,
    /// The link broke meanwhile.
    Orphaned,
}

/// The writes sent to a mirror under one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stream {
    tag: Tag,
    sent: u64,
    confirmed: u64,
}

impl<D: Data> Owner<D> {
    /// Begins to serve: solo, or after a handover with the old owner as the mirror, if it is still there.
    pub(super) fn new(core: &mut Core<D>, mirror: Option<Tag>, connected: bool, lease_until: Millis) -> Self {
        let mode = match mirror {
            Some(tag) if connected => OwnerMode::Mirrored { stream: Stream { tag, sent: 0, confirmed: 0 } },
            Some(_) => OwnerMode::Degrading,
            None => OwnerMode::Solo { invited: None },
        };
        core.actions.push_back(Action::WatchPeer(false));
        core.memory.map.restart();
        if matches!(mode, OwnerMode::Mirrored { .. }) {
            // At once: the other head forwards as soon as it knows what time it is here.
            core.send(Message::LeaseRequest { sent: core.now });
        }
        let config = &core.config;
        Self {
            mode,
            lease_until,
            newest: core.memory.map.newest(),
            pending: Pending::default(),
            throttled: VecDeque::new(),
            syncs: Vec::new(),
            drains: Vec::new(),
            reads: BTreeMap::new(),
            maps: BTreeMap::new(),
            runs: BTreeMap::new(),
            flusher: Flusher::default(),
            held: VecDeque::new(),
            recording: None,
            record_again: false,
            unrecorded: false,
            limit: DirtyLimit::new(config.max_drain_ms, config.least_dirty_blocks..=config.max_dirty_blocks),
            ages: VecDeque::new(),
            retry_after: core.now,
            idle_since: None,
            handing_over: false,
            // Numbers of other owners' invitations never come back: the epoch differs.
            invitations: 0,
            growth: Growth::None,
            keeping: Keeping::default(),
        }
    }

    pub(super) fn handle(&mut self, core: &mut Core<D>, event: Event<D>) -> Option<Next<D>> {
        match event {
            Event::Request(request) => self.on_request(core, request),
            Event::Cancel(op) => self.on_cancel(core, op),
            Event::Disk { id, result } => return self.on_disk(core, id, result),
            Event::Mapped { id, stretch } => self.on_mapped(core, id, Ok(stretch)),
            Event::SuperblockWritten(result) => return self.on_recorded(core, result),
            Event::Measured(result) => self.on_measured(core, result),
            Event::FenceDone(result) => return self.on_fenced_off(core, result.map(|_| ())),
            Event::OldPlaceCleared(result) => return self.on_cleared(core, result),
            Event::Registered(Err(StorageError::Fenced)) => {
                return Some(Next::Rejoin { why: "fenced: cannot change the key of the registration".to_owned() });
            }
            Event::Heartbeat { started } => self.extend_lease(core, started),
            Event::Tick => self.on_tick(core),
            Event::SetRecord { op, record } => self.on_set_record(core, op, record),
            Event::Drain { op } => self.on_drain(core, op),
            Event::Answered { op, answer } => self.on_answered(core, op, answer),
            Event::RecordAgain => self.unrecorded = true,
            event => return core.refuse(event),
        }
        None
    }

    pub(super) fn handle_message(&mut self, core: &mut Core<D>, message: Message<D>) {
        match message {
            Message::Accepted(tag) => self.on_accepted(core, tag),
            Message::Confirmed { tag, position } => self.on_confirmed(core, tag, position),
            Message::LeaseGrant { sent } => self.extend_lease(core, sent),
            Message::RequestHandover => {
                core.announce(format!("head {} asks for the unit", core.config.me.other()));
                core.moved_at = Some(core.now);
                self.handing_over = true;
            }
            Message::Forward { number, heard, operation } => {
                if let Some(request) = core.receive(number, heard, operation) {
                    self.on_request(core, request);
                }
            }
            Message::CancelForwarded { number } => {
                if let Some(op) = core.received(number) {
                    self.on_cancel(core, op);
                }
            }
            Message::RecordKnown { number } => self.on_record_known(core, number),
            Message::Measured { blocks } => self.on_peer_measured(blocks),
            Message::Followed { blocks } => self.on_followed(core, blocks),
            // What only an owner says: the other head was one and has not noticed yet that it is fenced.
            Message::State(_)
            | Message::Invite(_)
            | Message::Write { .. }
            | Message::Release { .. }
            | Message::Joined(_)
            | Message::Handover { .. }
            | Message::TookOver(_)
            | Message::Measure
            | Message::Follow { .. }
            | Message::Returned { .. }
            | Message::Forwarded { .. }
            | Message::Answer { .. }
            | Message::Record { .. }
            | Message::LeaseRequest { .. } => {}
        }
    }

    /// The steps after every event, in this order: what the mode needs, then the clients, then the disk.
    pub(super) fn maintain(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        if let Some(next) = self.advance_mode(core) {
            return Some(next);
        }
        self.grow(core);
        self.settle_record(core);
        self.mark_superblock(core);
        self.admit_waiting(core);
        self.answer_syncs(core);
        self.answer_drains(core);
        self.destage(core);
        self.flush(core);
        None
    }

    /// Ends the role: everything that was asked and not answered goes back to where it came from. (After a fence its
    /// session is closed, and nobody hears it.)
    pub(super) fn leave(&mut self, core: &mut Core<D>) {
        let unanswered = self.pending.drain_ops().chain(self.throttled.drain(..).map(|request| request.op));
        let unanswered: Vec<OpId> = unanswered
            .chain(self.syncs.drain(..))
            .chain(self.drains.drain(..))
            .chain(self.flusher.drain_ops())
            .chain(std::mem::take(&mut self.reads).into_values().filter_map(|read| read.op))
            .chain(std::mem::take(&mut self.maps).into_values().map(|(op, _)| op))
            .chain(self.held.drain(..).map(|(op, _)| op))
            .chain(self.keeping.drain_ops())
            .collect();
        for op in unanswered {
            core.answer(op, Outcome::NotServing);
        }
        core.memory.map.restart();
    }

    pub(super) fn access(&self) -> Access {
        if self.serves() { Access::Serving } else { Access::Changing }
    }

    /// Whether new requests are taken.
    pub(super) fn serves(&self) -> bool {
        !self.handing_over
    }

    pub(super) fn mode(&self, core: &Core<D>) -> Mode {
        match self.mode {
            _ if self.handing_over => Mode::HandingOver,
            OwnerMode::Solo { .. } if core.recorded.as_ref().is_some_and(|recorded| recorded.draining) => {
                Mode::Draining
            }
            OwnerMode::Solo { .. } => Mode::Solo,
            OwnerMode::Joining { .. } => Mode::Joining,
            OwnerMode::Mirrored { .. } => Mode::Mirrored,
            OwnerMode::Degrading => Mode::Degrading,
        }
    }

    fn extend_lease(&mut self, core: &mut Core<D>, from: Millis) {
        self.lease_until = self.lease_until.max(from.after(core.config.lease_ms));
        if self.leased(core) {
            for (op, outcome) in self.held.drain(..) {
                core.answer(op, outcome);
            }
        }
    }

    fn leased(&self, core: &Core<D>) -> bool {
        !core.config.paired || core.now < self.lease_until
    }

    /// Answer a client, as soon as it is certain that this head still owns the unit.
    fn complete(&mut self, core: &mut Core<D>, op: OpId, outcome: Outcome<D>) {
        if self.leased(core) {
            core.answer(op, outcome);
        } else {
            self.held.push_back((op, outcome));
        }
    }

    fn on_tick(&mut self, core: &mut Core<D>) {
        if matches!(self.mode, OwnerMode::Joining { .. } | OwnerMode::Mirrored { .. }) {
            core.send(Message::LeaseRequest { sent: core.now });
        }
        if std::mem::take(&mut self.record_again)
            && let Some(next) = &self.recording
        {
            core.actions.push_back(Action::WriteSuperblock(next.clone()));
        }
        self.growth.on_tick();
        self.on_age(core);
    }

    /// Requests that have not begun go back to where they came from.
    fn send_back_waiting(&mut self, core: &mut Core<D>) {
        let mut waiting = self.pending.drain_waiting();
        waiting.extend(self.throttled.drain(..));
        for request in waiting {
            self.complete(core, request.op, Outcome::NotServing);
        }
        self.send_back_record(core);
    }

    fn on_disk(&mut self, core: &mut Core<D>, id: IoId, result: Result<Option<D>, IoError>) -> Option<Next<D>> {
        if matches!(result, Err(IoError::Fenced)) {
            return Some(Next::Rejoin { why: "fenced: the disk refused a command of this head".to_owned() });
        }
        if let Some(read) = self.reads.remove(&id) {
            self.on_read_done(core, read, result);
        } else if let Some(run) = self.runs.remove(&id) {
            self.on_run_done(core, &run, result.err());
        } else if self.flusher.is(id) {
            self.on_flush_done(core, result.err());
        } else if let Err(error) = result {
            self.on_mapped(core, id, Err(error));
        }
        None
    }
}
