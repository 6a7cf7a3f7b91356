//! A simulated pair: production cores, with a disk, a link, clients, and whatever can go wrong.
//!
//! Everything that happens is an entry in one queue ordered by virtual time; one seed decides every delay and every
//! fault, so a run can be repeated exactly. First there are faults, then everything is healed, then there must be progress.
//!
//! Of production are the heads ([`replication::head`]), what keeps the superblock ([`replication::keeper`]) with its bytes
//! and heartbeats, and between heads and hosts the sessions, the units, and the initiators (`iscsi_target`). The shells
//! around them are modelled with the promises that the real ones give:
//!
//! * superblock and reservation commands of a head are executed one after the other;
//! * a disk command takes effect at some moment before it is answered, unless its head is fenced first; one that is cut
//!   short has done a part;
//! * messages arrive in order or not at all, and never from an earlier connection.

mod client;
mod daemon;
mod disk;
mod faults;
mod growth;
mod heads;
mod invariants;
mod link;
mod log;
mod marks;
mod oracle;
mod plan;
mod sessions;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use iscsi_target::scsi::NexusId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use replication::head::{Event, OpId};
use replication::message::Message;
use sas_backend::{HeadId, Incarnation};

use client::Client;
use disk::SimDisk;
use heads::Slot;
use invariants::{Invariants, progress_is_made};
use link::Link;
pub use log::Log;
use marks::{Marks, ZEROES};
pub use oracle::Oracle;
pub use plan::{Plan, Report};
use sas_backend::superblock::region::Region;
use sessions::host::Host;
use sessions::wire::{End, Packet, Wires};

/// Blocks of the simulated unit.
pub const BLOCKS: u64 = 64;
const LEASE_MS: u64 = 200;
const TAKEOVER_MS: u64 = 300;
const CLIENTS: u64 = 4;

pub(crate) fn index(block: u64) -> usize {
    usize::try_from(block).expect("a simulated unit is small")
}

/// One entry of the queue.
#[derive(Clone, Debug)]
enum Entry {
    Deliver { to: HeadId, life: Incarnation, event: Box<Event<Marks>> },
    Message { to: HeadId, connection: u64, message: Box<Message<Marks>> },
    LinkUp { to: HeadId, connection: u64 },
    LinkDown { to: HeadId, connection: u64 },
    Silence { to: HeadId, since: u64 },
    DiskEffect { of: HeadId, command: u64 },
    ArbiterEffect { of: HeadId, life: Incarnation },
    Beat { of: HeadId, life: Incarnation },
    BeatEffect { of: HeadId, life: Incarnation, started: u64, region: Region },
    WatchEffect { of: HeadId, life: Incarnation, started: u64 },
    Tick { of: HeadId, life: Incarnation },
    Client { of: u64 },
    Raise { at: HeadId, life: Incarnation, of: u64, op: OpId, number: u64 },
    Patience { of: u64, op: OpId },
    Dial,
    Drain,
    Packet { wire: u64, to: End, packet: Packet },
    FlushTo { of: HeadId, nexus: NexusId },
    HostPoll { host: usize },
    MendPath { host: usize, path: HeadId },
    Mend,
    Room,
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
    link: Link,
    clients: Vec<Client>,
    /// The first clients are these.
    hosts: Vec<Host>,
    wires: Wires,
    oracle: Oracle,
    invariants: Invariants,
    plan: Plan,
    orders: u64,
    /// Until then no client wants anything new: the disk gets everything, and the superblock says so.
    quiet_until: u64,
    /// The most blocks that clients have seen at a head that served.
    blocks_seen: u64,
    /// Whether everything that was acknowledged is certain to be there.
    certain: bool,
    owners: BTreeSet<u64>,
    report: Report,
    log: Log,
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
    pub fn new(seed: u64, plan: Plan, log: Log) -> Self {
        let mut world = Self {
            now: 0,
            serial: 0,
            queue: BinaryHeap::new(),
            entries: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            slots: [Slot::new(), Slot::new()],
            disk: SimDisk::new(),
            link: Link::new(),
            clients: (0..CLIENTS).map(Client::new).collect(),
            hosts: (0..plan.hosts).map(|_| Host::new()).collect(),
            wires: Wires::default(),
            oracle: Oracle::default(),
            invariants: Invariants::default(),
            plan,
            orders: 0,
            quiet_until: 0,
            blocks_seen: BLOCKS,
            certain: true,
            owners: BTreeSet::new(),
            report: Report::default(),
            log,
        };
        world.start(HeadId::A);
        world.start(HeadId::B);
        for client in 0..CLIENTS {
            world.at(10, Entry::Client { of: client });
        }
        world.at(1, Entry::Dial);
        for host in 0..world.hosts.len() {
            world.at(5, Entry::HostPoll { host });
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
            progress_is_made(self.now, deadline, || self.describe())?;
            self.accept_reported_loss()?;
            self.order_growth()?;
            self.run_until(self.now + 100)?;
        }
        self.report.simulated_ms = self.now;
        self.report.owners = self.owners.len() as u64;
        self.report.blocks = self.blocks_seen;
        Ok(self.report.clone())
    }

    /// What happened.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
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
        self.log.note(self.now, line);
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
            Entry::Message { to, connection, message } => self.on_message(to, connection, *message),
            Entry::LinkUp { to, connection } => self.on_link_up(to, connection),
            Entry::LinkDown { to, connection } => self.on_link_down(to, connection),
            Entry::Silence { to, since } => self.on_silence(to, since),
            Entry::DiskEffect { of, command } => self.on_disk_effect(of, command),
            Entry::ArbiterEffect { of, life } => self.on_arbiter_effect(of, life),
            Entry::Beat { of, life } => {
                self.on_beat(of, life);
                Ok(())
            }
            Entry::BeatEffect { of, life, started, region } => self.on_beat_effect(of, life, started, region),
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
            Entry::Dial => self.dial(),
            Entry::Drain => self.drain(),
            Entry::Packet { wire, to, packet } => self.on_packet(wire, to, packet),
            Entry::FlushTo { of, nexus } => self.flush_to(of, nexus),
            Entry::HostPoll { host } => self.on_host_poll(host),
            Entry::MendPath { host, path } => {
                self.mend_path(host, path);
                Ok(())
            }
            Entry::Mend => {
                self.mend();
                Ok(())
            }
            Entry::Room => {
                self.disk.full = false;
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
}
