//! The two heads: what is delivered to them, what they want done, their lives and deaths.

use std::collections::VecDeque;

use rand::RngExt;
use replication::Millis;
use replication::head::{Access, Action, Config, Event, Head, Request};
use replication::message::Message;
use sas_backend::{Epoch, HeadId, Incarnation};

use super::daemon::Daemon;
use super::disk::Arbiter;
use super::sessions::portal::Portal;
use super::{BLOCKS, Entry, LEASE_MS, Marks, TAKEOVER_MS, World, slot_of};

/// One head.
pub(super) struct Slot {
    pub(super) head: Option<Head<Marks>>,
    /// One life of the unit on this head: what belongs to another one reaches nobody.
    pub(super) life: Incarnation,
    /// The process that it lives in.
    pub(super) process: Incarnation,
    /// It was let go of, and its process goes on.
    pub(super) let_go: bool,
    /// The epoch on the disk when this life began.
    pub(super) since: Epoch,
    /// The epoch of the newest superblock that it has written as the owner.
    pub(super) owned: Epoch,
    clock: Clock,
    /// Its machine died with it: nobody says that nobody listens.
    pub(super) silent: bool,
    /// Its sessions, if there are hosts.
    pub(super) portal: Option<Portal>,
    pub(super) paused_until: u64,
    /// What has arrived while it was stopped.
    pub(super) backlog: VecDeque<Event<Marks>>,
    pub(super) arbiter: Arbiter,
    pub(super) daemon: Daemon,
    pub(super) heartbeat: Option<u64>,
    pub(super) watching: bool,
    pub(super) link_open: bool,
    /// The connection that it knows of.
    pub(super) link_seen: Option<u64>,
    pub(super) access: Access,
    /// What its clients see.
    pub(super) blocks: u64,
}

/// A clock that began when the process did.
#[derive(Clone, Copy)]
struct Clock {
    born: u64,
    /// What it counts in a second.
    rate: u64,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            head: None,
            life: Incarnation::new(1).expect("not zero"),
            process: Incarnation::new(1).expect("not zero"),
            let_go: false,
            since: Epoch(0),
            owned: Epoch(0),
            clock: Clock { born: 0, rate: 1_000 },
            silent: false,
            portal: None,
            paused_until: 0,
            backlog: VecDeque::new(),
            arbiter: Arbiter::default(),
            daemon: Daemon::default(),
            heartbeat: None,
            watching: false,
            link_open: false,
            link_seen: None,
            access: Access::Changing,
            blocks: BLOCKS,
        }
    }
}

impl World {
    /// What a head's clock shows at some moment.
    pub(super) fn clock_at(&self, of: HeadId, moment: u64) -> Millis {
        let Clock { born, rate } = self.slots[slot_of(of)].clock;
        Millis(moment.saturating_sub(born) * rate / 1_000)
    }

    /// Hand an event to a head, unless it belongs to an earlier life or has to wait until the head is scheduled again.
    pub(super) fn deliver(&mut self, to: HeadId, life: Incarnation, event: Event<Marks>) -> Result<(), String> {
        let slot = &self.slots[slot_of(to)];
        if slot.life != life || slot.head.is_none() {
            return Ok(());
        }
        if slot.paused_until > self.now || !slot.backlog.is_empty() {
            self.slots[slot_of(to)].backlog.push_back(event);
            return Ok(());
        }
        self.take_in(to, event)
    }

    /// A stopped head goes on with what has arrived meanwhile, in order.
    pub(super) fn wake(&mut self, of: HeadId, life: Incarnation) -> Result<(), String> {
        if self.slots[slot_of(of)].life != life || self.slots[slot_of(of)].paused_until > self.now {
            return Ok(());
        }
        self.listen(of.other());
        // Either may be looked at first.
        let bytes_first = self.chance(50);
        if bytes_first {
            self.read_all_at(of)?;
        }
        while let Some(event) = self.slots[slot_of(of)].backlog.pop_front() {
            if self.slots[slot_of(of)].head.is_some() {
                self.take_in(of, event)?;
            }
        }
        if !bytes_first {
            self.read_all_at(of)?;
        }
        Ok(())
    }

    fn take_in(&mut self, to: HeadId, event: Event<Marks>) -> Result<(), String> {
        let dull = matches!(
            event,
            Event::Tick
                | Event::Heartbeat { .. }
                | Event::PeerHeartbeat { .. }
                | Event::Message(Message::LeaseRequest { .. } | Message::LeaseGrant { .. })
        );
        if !dull {
            self.note(|| format!("{to} <- {event:?}"));
        }
        match &event {
            Event::Request(Request { op, .. }) => self.judge(to, *op),
            Event::LinkDown => self.slots[slot_of(to)].daemon.on_link_down(),
            Event::Tick => self.tick_portal(to)?,
            _ => {}
        }
        let now = self.clock_at(to, self.now);
        let head = self.slots[slot_of(to)].head.as_mut().expect("checked");
        head.handle(now, event);
        let mut actions = VecDeque::new();
        while let Some(action) = head.poll_action() {
            actions.push_back(action);
        }
        for action in actions {
            self.perform(to, action)?;
        }
        Ok(())
    }

    fn perform(&mut self, of: HeadId, action: Action<Marks>) -> Result<(), String> {
        if !matches!(action, Action::Send(Message::LeaseRequest { .. } | Message::LeaseGrant { .. })) {
            self.note(|| format!("{of}    -> {action:?}"));
        }
        let life = self.slots[slot_of(of)].life;
        match action {
            Action::Complete { op, outcome } => return self.on_complete(of, op, outcome),
            Action::Disk { id, command } => return self.submit(of, id, command),
            Action::ReadSuperblock
            | Action::WriteSuperblock(_)
            | Action::Register { .. }
            | Action::ChangeKey { .. }
            | Action::Fence { .. }
            | Action::Measure
            | Action::ClearOldPlace => {
                self.arbitrate(of, action);
            }
            Action::StartHeartbeat { epoch } => {
                let idle = self.slots[slot_of(of)].heartbeat.replace(epoch.0).is_none();
                if idle && !self.slots[slot_of(of)].watching {
                    self.at(0, Entry::Beat { of, life });
                }
            }
            Action::StopHeartbeat => self.slots[slot_of(of)].heartbeat = None,
            Action::WatchPeer(on) => {
                let slot = &mut self.slots[slot_of(of)];
                let idle = slot.heartbeat.is_none() && !slot.watching;
                slot.watching = on;
                if on && idle {
                    self.at(0, Entry::Beat { of, life });
                }
            }
            Action::Send(message) => self.send(of, message),
            Action::OpenLink => self.slots[slot_of(of)].link_open = true,
            Action::CloseLink => {
                self.slots[slot_of(of)].link_open = false;
                self.hang_up(of, 5);
            }
            Action::SetAccess(access) => {
                self.slots[slot_of(of)].access = access;
                if access == Access::Serving {
                    self.on_serving(of)?;
                    self.owners.insert(self.disk.ownership.epoch.0);
                }
                self.on_unit_access(of, access)?;
            }
            Action::SetOtherForwards(other_forwards) => self.on_other_forwards(of, other_forwards),
            Action::SetRecord(record) => self.slots[slot_of(of)].daemon.set_record(&record),
            Action::Ask { op, question } => return self.on_ask(of, op, &question),
            Action::SetBlocks(blocks) => {
                self.on_blocks(of, blocks)?;
                self.on_unit_blocks(of, blocks);
            }
            Action::CloseSessions => {
                self.fail_requests_of(of);
                self.close_sessions(of)?;
            }
            Action::OrderDone { id, result } => self.on_order_done(of, id, result.is_ok())?,
            Action::Announce(_) => {}
            Action::Stopped => {
                // Either the process ends, or it has let go of the unit and may open it again.
                self.slots[slot_of(of)].let_go = self.chance(50);
                self.kill(of);
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self, of: HeadId) {
        let Some(blocks) = self.look(of) else {
            self.at(200, Entry::Restart { of });
            return;
        };
        let life = Incarnation::new(self.rng.random_range(1..u64::MAX)).expect("not zero");
        let slot = &mut self.slots[slot_of(of)];
        let goes_on = std::mem::take(&mut slot.let_go);
        let process = if goes_on { slot.process } else { life };
        if !goes_on {
            // A tenth more is waited for than a lease; that leaves so much for clocks.
            let rate = if self.plan.drift { self.between(960, 1_040) } else { 1_000 };
            self.slots[slot_of(of)].clock = Clock { born: self.now, rate };
        }
        let config = Config {
            me: of,
            incarnation: process,
            paired: true,
            preferred: HeadId::A,
            lease_ms: LEASE_MS,
            takeover_ms: TAKEOVER_MS,
            max_drain_ms: 1000,
            blocks,
            block_bytes: 512,
            least_dirty_blocks: 16,
            max_dirty_blocks: 1 << 20,
            max_run_blocks: 16,
        };
        let slot = &mut self.slots[slot_of(of)];
        slot.head = Some(Head::new(config));
        slot.life = life;
        slot.process = process;
        slot.since = self.disk.ownership.epoch;
        slot.paused_until = 0;
        slot.backlog.clear();
        slot.daemon = Daemon::default();
        slot.blocks = blocks;
        slot.heartbeat = None;
        slot.watching = false;
        slot.access = Access::Changing;
        slot.silent = false;
        slot.portal = (self.plan.hosts > 0).then(|| Portal::new(of, blocks));
        self.note(|| format!("{of} starts as {:x}", process.get()));
        self.at(0, Entry::Deliver { to: of, life, event: Box::new(Event::Start) });
        self.at(self.serial % 50, Entry::Tick { of, life });
    }

    pub(super) fn kill(&mut self, of: HeadId) {
        self.note(|| format!("{of} dies"));
        let slot = &mut self.slots[slot_of(of)];
        slot.head = None;
        slot.link_open = false;
        slot.access = Access::Changing;
        slot.arbiter.die();
        // What it had given to the disk may still take effect; its answers reach nobody.
        self.fail_requests_of(of);
        // A machine that dies says nothing; the kernel of one that goes on does.
        let silently = self.chance(30);
        self.slots[slot_of(of)].silent = silently;
        self.slots[slot_of(of)].portal = None;
        self.close_wires_of(of, silently);
        if silently {
            self.hang_up_in_silence(of);
        } else {
            self.hang_up(of, 20);
        }
        let delay = self.between(50, 3_000);
        self.at(delay, Entry::Restart { of });
    }
}
