//! A simulated pair: the production [`Head`]s, a disk, a link, clients, and whatever can go wrong.
//!
//! Everything that happens is an entry in one queue ordered by virtual time; one seed decides every delay and every
//! fault, so a run can be repeated exactly. The shells around the heads are modelled with the promises that the real
//! ones give:
//!
//! * superblock and reservation commands of a head are executed one after the other;
//! * a disk command takes effect at some moment before it is answered, unless its head is fenced first;
//! * messages arrive in order or not at all, and never from an earlier connection.

mod client;
mod daemon;
mod disk;
mod faults;
mod growth;
mod link;
mod oracle;
mod records;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use replication::head::{Access, Action, Config, Event, Head, OpId, Request};
use replication::message::Message;
use replication::{Data, Millis};
use sas_backend::{Epoch, HeadId, Incarnation};

use client::Client;
use daemon::Daemon;
use disk::{Arbiter, SimDisk};
pub use oracle::Oracle;
use records::Place;

/// Blocks of the simulated unit.
pub const BLOCKS: u64 = 64;
const LEASE_MS: u64 = 200;
const TAKEOVER_MS: u64 = 300;
const CLIENTS: u64 = 4;

/// Contents of blocks: the number of the write that they come from, [`ZEROES`] where that was none or made a hole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Marks {
    /// One for each block.
    Written(Vec<u64>),
    /// So many blocks.
    Hole(u64),
}

/// What a block has that nobody has written, or that is a hole.
const ZEROES: u64 = 0;

impl Marks {
    fn to_vec(&self) -> Vec<u64> {
        match self {
            Self::Written(marks) => marks.clone(),
            Self::Hole(blocks) => vec![ZEROES; index(*blocks)],
        }
    }
}

impl Data for Marks {
    fn blocks(&self) -> u64 {
        match self {
            Self::Written(marks) => marks.len() as u64,
            Self::Hole(blocks) => *blocks,
        }
    }
    fn slice(&self, first: u64, blocks: u64) -> Self {
        match self {
            Self::Written(marks) => Self::Written(marks[index(first)..index(first + blocks)].to_vec()),
            Self::Hole(_) => Self::Hole(blocks),
        }
    }
    fn first_difference(&self, other: &Self) -> Option<u64> {
        let (mine, theirs) = (self.to_vec(), other.to_vec());
        mine.iter().zip(&theirs).position(|(mine, theirs)| mine != theirs).map(|at| at as u64 * 512)
    }
    fn is_hole(&self) -> bool {
        matches!(self, Self::Hole(_))
    }
    fn or(&self, parts: &[Self]) -> Self {
        let theirs = parts.iter().flat_map(Self::to_vec);
        Self::Written(self.to_vec().into_iter().zip(theirs).map(|(mine, theirs)| mine | theirs).collect())
    }
}

pub(crate) fn index(block: u64) -> usize {
    usize::try_from(block).expect("a simulated unit is small")
}

/// What a run may do to the pair.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long faults happen.
    pub chaos_ms: u64,
    /// Whether a second head may die before the first is whole again; the loss must then be reported, not served.
    pub double_faults: bool,
    /// Whether the disk grows now and then, and the unit shall follow.
    pub growth: bool,
    /// Whether clients unmap blocks, and ask which ones are.
    pub holes: bool,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Reads that were checked.
    pub reads: u64,
    /// Blocks of which clients were told that they are a hole, which was checked.
    pub holes: u64,
    /// Takeovers and handovers.
    pub owners: u64,
    /// Losses that were reported and accepted.
    pub losses: u64,
    /// Blocks that clients see at the end.
    pub blocks: u64,
}

struct Slot {
    head: Option<Head<Marks>>,
    /// One life of the unit on this head: what belongs to another one reaches nobody.
    life: Incarnation,
    /// The process that it lives in.
    process: Incarnation,
    /// It was let go of, and its process goes on.
    let_go: bool,
    /// The epoch on the disk when this life began.
    since: Epoch,
    paused_until: u64,
    /// What has arrived while it was stopped.
    backlog: VecDeque<Event<Marks>>,
    arbiter: Arbiter,
    daemon: Daemon,
    heartbeat: Option<u64>,
    watching: bool,
    link_open: bool,
    /// The connection that it knows of.
    link_seen: Option<u64>,
    access: Access,
    /// What its clients see.
    blocks: u64,
    restart_at: Option<u64>,
}

/// One entry of the queue.
#[derive(Clone, Debug)]
enum Entry {
    Deliver { to: HeadId, life: Incarnation, event: Box<Event<Marks>> },
    Message { to: HeadId, connection: u64, message: Box<Message<Marks>> },
    Link { to: HeadId, connection: u64, up: bool },
    DiskEffect { of: HeadId, command: u64 },
    ArbiterEffect { of: HeadId, life: Incarnation },
    Beat { of: HeadId, life: Incarnation },
    BeatEffect { of: HeadId, life: Incarnation, started: u64, place: Place },
    WatchEffect { of: HeadId, life: Incarnation, started: u64 },
    Tick { of: HeadId, life: Incarnation },
    Client { of: u64 },
    Raise { at: HeadId, life: Incarnation, of: u64, op: OpId, number: u64 },
    Patience { of: u64, op: OpId },
    Connect,
    Fault,
    OneFault,
    Grow,
    Rescan { of: HeadId },
    OrderGrowth { to: HeadId },
    Restart { of: HeadId },
    Wake { of: HeadId, life: Incarnation },
}

/// The simulated pair.
pub struct World {
    now: u64,
    serial: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    entries: BTreeMap<usize, Entry>,
    rng: StdRng,
    slots: [Slot; 2],
    disk: SimDisk,
    /// The cable, and the number of the connection over it.
    cable: bool,
    connection: u64,
    last_delivery: [u64; 2],
    clients: Vec<Client>,
    oracle: Oracle,
    plan: Plan,
    orders: u64,
    /// Until then no client wants anything new: the disk gets everything, and the superblock says so.
    quiet_until: u64,
    /// The most blocks that clients have seen at a head that served.
    blocks_seen: u64,
    owners: BTreeSet<u64>,
    report: Report,
    log: Option<Vec<String>>,
}

fn slot_of(head: HeadId) -> usize {
    match head {
        HeadId::A => 0,
        HeadId::B => 1,
    }
}

impl World {
    /// A new pair with an initialised disk; both heads start at once.
    #[must_use]
    pub fn new(seed: u64, plan: Plan, logging: bool) -> Self {
        let slot = || Slot {
            head: None,
            life: Incarnation::new(1).expect("not zero"),
            process: Incarnation::new(1).expect("not zero"),
            let_go: false,
            since: Epoch(0),
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
            restart_at: None,
        };
        let mut world = Self {
            now: 0,
            serial: 0,
            queue: BinaryHeap::new(),
            entries: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            slots: [slot(), slot()],
            disk: SimDisk::new(),
            cable: true,
            connection: 0,
            last_delivery: [0; 2],
            clients: (0..CLIENTS).map(Client::new).collect(),
            oracle: Oracle::default(),
            plan,
            orders: 0,
            quiet_until: 0,
            blocks_seen: BLOCKS,
            owners: BTreeSet::new(),
            report: Report::default(),
            log: logging.then(Vec::new),
        };
        world.start(HeadId::A);
        world.start(HeadId::B);
        for client in 0..CLIENTS {
            world.at(10, Entry::Client { of: client });
        }
        world.at(500, Entry::Fault);
        if plan.growth {
            world.at(700, Entry::Grow);
        }
        world
    }

    /// Chaos, then healing, then required progress.
    ///
    /// # Errors
    /// The first violated invariant, in words.
    pub fn run(&mut self) -> Result<Report, String> {
        self.run_until(self.plan.chaos_ms)?;
        self.heal();
        let deadline = self.now + 20_000;
        let goal = self.report.acknowledged + 200;
        while self.report.acknowledged < goal || !self.has_grown() {
            if self.now > deadline {
                return Err(format!("no progress after healing; {}", self.describe()));
            }
            self.accept_reported_loss()?;
            self.order_growth()?;
            self.run_until(self.now + 100)?;
        }
        self.report.owners = self.owners.len() as u64;
        self.report.blocks = self.blocks_seen;
        Ok(self.report.clone())
    }

    /// What happened, a line an event.
    #[must_use]
    pub fn log(&self) -> &[String] {
        self.log.as_deref().unwrap_or_default()
    }

    fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(&Reverse((at, _, key))) = self.queue.peek() {
            if at > end {
                break;
            }
            self.queue.pop();
            self.now = at;
            let entry = self.entries.remove(&key).expect("every queued entry is stored");
            self.execute(entry)?;
        }
        self.now = end;
        Ok(())
    }

    fn at(&mut self, delay: u64, entry: Entry) {
        self.serial += 1;
        let key = usize::try_from(self.serial).expect("a run is short");
        self.queue.push(Reverse((self.now + delay, self.serial, key)));
        self.entries.insert(key, entry);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>7} {}", self.now, line()));
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        self.rng.random_range(least..=most)
    }

    fn execute(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Deliver { to, life, event } => self.deliver(to, life, *event),
            Entry::Message { to, connection, message } => {
                if connection == self.connection && self.slots[slot_of(to)].link_seen == Some(connection) {
                    let life = self.slots[slot_of(to)].life;
                    return self.deliver(to, life, Event::Message(*message));
                }
                Ok(())
            }
            Entry::Link { to, connection, up } => self.on_link(to, connection, up),
            Entry::DiskEffect { of, command } => self.on_disk_effect(of, command),
            Entry::ArbiterEffect { of, life } => self.on_arbiter_effect(of, life),
            Entry::Beat { of, life } => {
                self.on_beat(of, life);
                Ok(())
            }
            Entry::BeatEffect { of, life, started, place } => self.on_beat_effect(of, life, started, place),
            Entry::WatchEffect { of, life, started } => self.on_watch_effect(of, life, started),
            Entry::Tick { of, life } => {
                if self.slots[slot_of(of)].life == life && self.slots[slot_of(of)].head.is_some() {
                    self.at(50, Entry::Tick { of, life });
                    return self.deliver(of, life, Event::Tick);
                }
                Ok(())
            }
            Entry::Client { of } => self.on_client(of),
            Entry::Raise { at, life, of, op, number } if self.slots[slot_of(at)].life == life => {
                self.raise_number(at, of, op, number)
            }
            Entry::Raise { .. } => Ok(()),
            Entry::Patience { of, op } => self.on_patience(of, op),
            Entry::Connect => {
                self.connect();
                Ok(())
            }
            Entry::Fault => {
                if self.now < self.plan.chaos_ms {
                    self.fault()?;
                    let next = self.between(20, 900);
                    self.at(next, Entry::Fault);
                }
                Ok(())
            }
            Entry::OneFault => self.fault(),
            Entry::Grow => {
                self.on_grow();
                Ok(())
            }
            Entry::Rescan { of } => {
                self.rescan(of);
                Ok(())
            }
            Entry::OrderGrowth { to } => self.on_order_growth(to),
            Entry::Wake { of, life } => self.wake(of, life),
            Entry::Restart { of } => {
                if self.slots[slot_of(of)].head.is_none() {
                    self.start(of);
                }
                Ok(())
            }
        }
    }

    /// Hand an event to a head, unless it belongs to an earlier life or has to wait until the head is scheduled again.
    fn deliver(&mut self, to: HeadId, life: Incarnation, event: Event<Marks>) -> Result<(), String> {
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
    fn wake(&mut self, of: HeadId, life: Incarnation) -> Result<(), String> {
        if self.slots[slot_of(of)].life != life || self.slots[slot_of(of)].paused_until > self.now {
            return Ok(());
        }
        while let Some(event) = self.slots[slot_of(of)].backlog.pop_front() {
            if self.slots[slot_of(of)].head.is_some() {
                self.take_in(of, event)?;
            }
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
            _ => {}
        }
        let now = Millis(self.now);
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
            Action::Disk { id, command } => self.submit(of, id, command),
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
            Action::OpenLink => {
                self.slots[slot_of(of)].link_open = true;
                let delay = self.between(1, 50);
                self.at(delay, Entry::Connect);
            }
            Action::CloseLink => {
                self.slots[slot_of(of)].link_open = false;
                self.slots[slot_of(of)].link_seen = None;
                self.disconnect(5);
            }
            Action::SetAccess(access) => {
                self.slots[slot_of(of)].access = access;
                if access == Access::Serving {
                    self.on_serving(of)?;
                    self.owners.insert(self.disk.ownership.epoch.0);
                }
            }
            Action::SetOtherForwards(_) => {}
            Action::SetRecord(record) => self.slots[slot_of(of)].daemon.set_record(&record),
            Action::Ask { op, question } => return self.on_ask(of, op, &question),
            Action::SetBlocks(blocks) => self.on_blocks(of, blocks)?,
            Action::CloseSessions => self.fail_requests_of(of),
            Action::OrderDone { .. } | Action::Announce(_) => {}
            Action::Stopped => {
                // Either the process ends, or it has let go of the unit and may open it again.
                self.slots[slot_of(of)].let_go = self.chance(50);
                self.kill(of);
            }
        }
        Ok(())
    }

    fn start(&mut self, of: HeadId) {
        let Some((place, blocks)) = self.look(of) else {
            self.at(200, Entry::Restart { of });
            return;
        };
        let life = Incarnation::new(self.rng.random_range(1..u64::MAX)).expect("not zero");
        let slot = &mut self.slots[slot_of(of)];
        let process = if std::mem::take(&mut slot.let_go) { slot.process } else { life };
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
        slot.arbiter = Arbiter::at(place);
        slot.daemon = Daemon::default();
        slot.blocks = blocks;
        slot.heartbeat = None;
        slot.watching = false;
        slot.access = Access::Changing;
        self.note(|| format!("{of} starts as {:x}", process.get()));
        self.at(0, Entry::Deliver { to: of, life, event: Box::new(Event::Start) });
        self.at(self.serial % 50, Entry::Tick { of, life });
    }

    fn kill(&mut self, of: HeadId) {
        self.note(|| format!("{of} dies"));
        let slot = &mut self.slots[slot_of(of)];
        slot.head = None;
        slot.link_open = false;
        slot.link_seen = None;
        slot.access = Access::Changing;
        // What it had given to the disk may still take effect; its answers reach nobody.
        self.fail_requests_of(of);
        self.disconnect(20);
        let delay = self.between(50, 3_000);
        self.slots[slot_of(of)].restart_at = Some(self.now + delay);
        self.at(delay, Entry::Restart { of });
    }
}
