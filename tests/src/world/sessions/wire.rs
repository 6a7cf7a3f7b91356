//! Simulated TCP connections between hosts and heads: bytes in order and without gaps, sooner or later or never. Each
//! direction between a host and a head can be cut by itself; what was sent waits until it is mended. An end that is closed
//! answers with a reset, which can be held up as well: until it arrives the other end believes in the connection.
//!
//! What a host has sent over a connection that it has given up since does not arrive any more. If it did, late, after the
//! host has gone on through the other head, no target could tell that it is too late.

use std::collections::{BTreeMap, VecDeque};

use sas_backend::{HeadId, Incarnation};

use crate::world::{Entry, World, slot_of};

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::world) enum End {
    Target,
    Host,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Target => Self::Host,
            Self::Host => Self::Target,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Target => 0,
            Self::Host => 1,
        }
    }
}

/// What is under way.
#[derive(Clone, Debug)]
pub(in crate::world) enum Packet {
    /// The first one.
    Connect,
    Bytes(Vec<u8>),
    /// The other end is closed.
    Reset,
}

/// One connection.
pub(in crate::world) struct Wire {
    pub(super) host: usize,
    pub(super) path: HeadId,
    /// The life of the head that has accepted it.
    pub(super) life: Option<Incarnation>,
    /// Whether each end is open.
    pub(super) open: [bool; 2],
    /// What has arrived and nobody has read.
    pub(super) inbox: [VecDeque<u8>; 2],
    /// The end of the stream has arrived.
    pub(super) reset: [bool; 2],
    delay_ms: u64,
    last_delivery: [u64; 2],
}

/// What waits for a cut direction.
type Stuck = VecDeque<(u64, Packet)>;

/// All of them.
#[derive(Default)]
pub(in crate::world) struct Wires {
    pub(super) all: BTreeMap<u64, Wire>,
    last: u64,
    /// What does not arrive between a host and a head, at which end.
    cut: BTreeMap<(usize, HeadId, End), Stuck>,
}

impl Wires {
    pub(super) fn inbox(&mut self, wire: u64, end: End) -> Option<&mut VecDeque<u8>> {
        self.all.get_mut(&wire).map(|wire| &mut wire.inbox[end.index()])
    }
}

impl World {
    /// A host connects to a head; what it sends follows.
    pub(super) fn connect(&mut self, host: usize, path: HeadId) -> u64 {
        self.wires.last += 1;
        let number = self.wires.last;
        let delay_ms = if self.chance(10) { 40 } else { 2 };
        let wire = Wire {
            host,
            path,
            life: None,
            open: [false, true],
            inbox: [VecDeque::new(), VecDeque::new()],
            reset: [false; 2],
            delay_ms,
            last_delivery: [self.now; 2],
        };
        self.wires.all.insert(number, wire);
        self.transmit(number, End::Target, Packet::Connect);
        number
    }

    pub(super) fn transmit(&mut self, number: u64, to: End, packet: Packet) {
        let Some(wire) = self.wires.all.get(&number) else { return };
        let place = (wire.host, wire.path, to);
        if let Some(stuck) = self.wires.cut.get_mut(&place) {
            stuck.push_back((number, packet));
            return;
        }
        let most = wire.delay_ms;
        let delay = self.between(0, most);
        let Some(wire) = self.wires.all.get_mut(&number) else { return };
        let at = (self.now + delay).max(wire.last_delivery[to.index()]);
        wire.last_delivery[to.index()] = at;
        self.at(at - self.now, Entry::Packet { wire: number, to, packet });
    }

    /// One end is closed.
    pub(super) fn close_wire(&mut self, number: u64, end: End) {
        let Some(wire) = self.wires.all.get_mut(&number) else { return };
        if std::mem::replace(&mut wire.open[end.index()], false) {
            self.transmit(number, end.other(), Packet::Reset);
        }
        self.forget_wire(number);
    }

    fn forget_wire(&mut self, number: u64) {
        if self.wires.all.get(&number).is_some_and(|wire| wire.open == [false; 2]) {
            self.wires.all.remove(&number);
        }
    }

    /// A head has died. Its kernel tells the hosts, or does not live any more either.
    pub(in crate::world) fn close_wires_of(&mut self, path: HeadId, silently: bool) {
        let numbers: Vec<u64> = self
            .wires
            .all
            .iter()
            .filter(|(_, wire)| wire.path == path && wire.open[0])
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            if silently && let Some(wire) = self.wires.all.get_mut(&number) {
                wire.open[0] = false;
                self.forget_wire(number);
            } else {
                self.close_wire(number, End::Target);
            }
        }
    }

    pub(in crate::world) fn on_packet(&mut self, number: u64, to: End, packet: Packet) -> Result<(), String> {
        let Some(wire) = self.wires.all.get_mut(&number) else { return Ok(()) };
        let slot = &self.slots[slot_of(wire.path)];
        if to == End::Target && slot.head.is_none() {
            // Nobody listens. A machine that is gone does not even say that.
            let path = wire.path;
            if wire.open[0] || slot.silent {
                return Ok(());
            }
            self.note(|| format!("{path} refuses a connection"));
            self.transmit(number, End::Host, Packet::Reset);
            return Ok(());
        }
        match packet {
            Packet::Connect => {
                wire.life = Some(slot.life);
                wire.open[0] = true;
                self.accept(number);
                return Ok(());
            }
            Packet::Bytes(_) if to == End::Target && !wire.open[End::Host.index()] => return Ok(()),
            Packet::Bytes(_) if !wire.open[to.index()] => {
                self.transmit(number, to.other(), Packet::Reset);
                return Ok(());
            }
            Packet::Bytes(bytes) => wire.inbox[to.index()].extend(bytes),
            Packet::Reset => wire.reset[to.index()] = true,
        }
        match to {
            End::Target => self.read_at_target(number),
            End::Host => self.read_at_host(number),
        }
    }

    /// What is sent between a host and a head does not arrive at one end, or at both.
    pub(in crate::world) fn cut_path(&mut self) {
        let host = super::super::index(self.between(0, self.plan.hosts.saturating_sub(1)));
        let path = if self.chance(50) { HeadId::A } else { HeadId::B };
        let ends = match self.between(0, 2) {
            0 => vec![End::Target],
            1 => vec![End::Host],
            _ => vec![End::Target, End::Host],
        };
        self.count(if ends.len() == 2 { "clients' paths cut" } else { "clients' paths cut in one direction" });
        self.note(|| format!("what host {host} and {path} send does not arrive at {ends:?}"));
        for end in ends {
            self.wires.cut.entry((host, path, end)).or_default();
        }
        let delay = self.between(5, 3_000);
        self.at(delay, Entry::MendPath { host, path });
    }

    pub(in crate::world) fn mend_path(&mut self, host: usize, path: HeadId) {
        for end in [End::Target, End::Host] {
            for (number, packet) in self.wires.cut.remove(&(host, path, end)).unwrap_or_default() {
                self.transmit(number, end, packet);
            }
        }
    }

    /// Nothing that is under way arrives.
    pub(in crate::world) fn lose_packets(&mut self) {
        self.wires.all.clear();
    }

    /// Nothing is cut any more.
    pub(in crate::world) fn mend_paths(&mut self) {
        let places: Vec<(usize, HeadId)> = self.wires.cut.keys().map(|(host, path, _)| (*host, *path)).collect();
        places.into_iter().for_each(|(host, path)| self.mend_path(host, path));
    }
}
