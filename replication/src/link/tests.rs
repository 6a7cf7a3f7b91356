//! Two cores joined by a pipe that cuts where it likes.

mod handshake;
mod queue;
mod units;

use std::collections::{BTreeMap, VecDeque};

use sas_backend::Epoch;
use sas_backend::buffer::Pool;

use super::*;
use crate::block::Extent;
use crate::cache::Version;
use crate::message::Tag;
use sas_backend::{HeadId, Incarnation};

const SECRET: &[u8] = b"only the two heads know this";
const PING_MS: u64 = 50;
const DEAD_MS: u64 = 200;
const A: usize = 0;
const B: usize = 1;

fn config(side: usize) -> Config<'static> {
    Config {
        me: HeadId::BOTH[side],
        incarnation: incarnation(side),
        secret: SECRET,
        digest: [7; 32],
        agreement: BTreeMap::from([("luns.0.disk".to_owned(), "/dev/one".to_owned())]),
        nonce: [u8::try_from(side).unwrap() + 1; 32],
        ping_ms: PING_MS,
        dead_ms: DEAD_MS,
    }
}

/// Of a unit, on both heads unless a test says otherwise.
fn settings() -> UnitSettings {
    settings_of("/dev/one", "a")
}

fn settings_of(disk: &str, preferred: &str) -> UnitSettings {
    let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    UnitSettings::new(one("disk", disk), one("preferred", preferred))
}

fn incarnation(side: usize) -> Incarnation {
    Incarnation::new(100 + side as u64).unwrap()
}

/// Both ends, what is on its way between them, and what they have told.
struct Pair {
    links: [Link; 2],
    units: [Option<Units>; 2],
    /// Bytes on their way from this side.
    wires: [VecDeque<u8>; 2],
    told: [Vec<LinkEvent>; 2],
    now: Millis,
}

impl Pair {
    fn of(configs: [Config<'_>; 2]) -> Self {
        Self {
            links: configs.map(|config| Link::new(config, Pool::new(), Millis(0))),
            units: [Some(Units::new(1000)), Some(Units::new(5000))],
            wires: Default::default(),
            told: Default::default(),
            now: Millis(0),
        }
    }

    fn new() -> Self {
        Self::of([config(A), config(B)])
    }

    /// Past the handshake, nothing told.
    fn ready() -> Self {
        let mut pair = Self::new();
        pair.settle();
        for side in [A, B] {
            let peer = HeadId::BOTH[1 - side];
            assert_eq!(pair.take(side), [LinkEvent::Ready { peer, incarnation: incarnation(1 - side) }]);
        }
        pair
    }

    /// Ready, and unit 1 is up.
    fn up() -> Self {
        let mut pair = Self::ready();
        pair.links[A].open_unit(1, 512, settings());
        pair.links[B].open_unit(1, 512, settings());
        pair.settle();
        for side in [A, B] {
            assert_eq!(pair.take(side), [LinkEvent::UnitUp { unit: 1, peer: incarnation(1 - side) }]);
        }
        pair
    }

    fn poll(&mut self, side: usize) {
        while let Some(event) = self.links[side].poll_event() {
            if let (LinkEvent::Ready { .. }, Some(units)) = (&event, self.units[side].take()) {
                self.links[side].adopt(units);
            }
            self.told[side].push(event);
        }
    }

    /// Put up to `frames` frames of this side on the wire.
    fn transmit(&mut self, side: usize, frames: usize) -> bool {
        let mut any = false;
        for _ in 0..frames {
            let Some(OutFrame { head, payload }) = self.links[side].poll_transmit() else { break };
            self.wires[side].extend(head);
            self.wires[side].extend(payload.iter().flat_map(|payload| payload.iter()));
            any = true;
        }
        any
    }

    /// Hand up to `count` bytes from this side to the other one.
    fn deliver(&mut self, side: usize, count: usize) -> bool {
        let bytes: Vec<u8> = {
            let count = count.min(self.wires[side].len());
            self.wires[side].drain(..count).collect()
        };
        self.feed(1 - side, &bytes);
        !bytes.is_empty()
    }

    fn feed(&mut self, side: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut count = 0;
            for mut slice in self.links[side].recv_slices() {
                let part = slice.len().min(rest.len() - count);
                slice[..part].copy_from_slice(&rest[count..count + part]);
                count += part;
            }
            if count == 0 {
                return;
            }
            self.links[side].received(count, self.now);
            rest = &rest[count..];
            self.poll(side);
        }
    }

    /// Until nothing moves.
    fn settle(&mut self) {
        self.settle_in(usize::MAX);
    }

    fn settle_in(&mut self, chunk: usize) {
        for _ in 0..100_000 {
            let mut moved = false;
            for side in [A, B] {
                self.poll(side);
                moved |= self.transmit(side, usize::MAX);
                moved |= self.deliver(side, chunk);
            }
            if !moved {
                return;
            }
        }
        panic!("the two links never come to rest");
    }

    fn take(&mut self, side: usize) -> Vec<LinkEvent> {
        std::mem::take(&mut self.told[side])
    }

    fn refusal(&mut self, side: usize) -> String {
        match self.take(side).as_slice() {
            [LinkEvent::Refused { why }] => why.clone(),
            other => panic!("{other:?} is no refusal"),
        }
    }

    /// Connect anew, with the units that this connection leaves.
    fn reconnect(self) -> Self {
        let Self { mut links, mut told, now, .. } = self;
        for side in [A, B] {
            links[side].close("the cable was pulled");
            while let Some(event) = links[side].poll_event() {
                told[side].push(event);
            }
        }
        let nonces = [[11; 32], [12; 32]];
        let configs = [A, B].map(|side| Config { nonce: nonces[side], ..config(side) });
        let units = links.map(Link::into_units);
        let mut next = Self { units, told, now, ..Self::of(configs) };
        next.settle();
        next
    }
}

fn joined(epoch: u64, invitation: u64) -> Message<Blocks> {
    Message::Joined(Tag { epoch: Epoch(epoch), invitation })
}

fn confirmed(invitation: u64, position: u64) -> Message<Blocks> {
    Message::Confirmed { tag: Tag { epoch: Epoch(1), invitation }, position }
}

fn write(position: u64, blocks: u64) -> Message<Blocks> {
    let bytes = usize::try_from(blocks).unwrap() * 512;
    let payload = Pool::new().copy_of(&vec![u8::try_from(position % 256).unwrap(); bytes]);
    Message::Write {
        tag: Tag { epoch: Epoch(1), invitation: 1 },
        position,
        version: Version(position),
        extent: Extent::new(position, blocks),
        data: Blocks::new(payload, 512).unwrap(),
    }
}

fn messages(events: &[LinkEvent], of: u32) -> Vec<Message<Blocks>> {
    let message = |event: &LinkEvent| match event {
        LinkEvent::Message { unit, message } if *unit == of => Some(message.clone()),
        _ => None,
    };
    events.iter().filter_map(message).collect()
}
