//! What the fuzzers share.

use std::sync::Arc;

use alua::{GroupId, TargetPort};
use iscsi_target::pdu::digest::Digests;
use iscsi_target::pdu::framer::{Item, Place};
use iscsi_target::pdu::{Framer, Header, Request, Response, Transmit};
use iscsi_target::scsi::config::{Naa, UnitConfig};
use iscsi_target::scsi::protection::Protection;
use iscsi_target::session::access::{AccessPolicy, Challenge, Entrance};
use iscsi_target::session::{Budget, Connection, PortalAddress, PortalConfig};
use sas_backend::buffer::Pool;

/// Decisions taken from the fuzzer's bytes. What is missing is zero: every input is a whole one.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes, or fewer.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (now, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        now
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// The next bytes, filled up with zeroes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.take(N);
        let mut array = [0; N];
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A number.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// A number.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Yes once in `count` times.
    pub fn rarely(&mut self, count: u8) -> bool {
        self.byte() % count == count - 1
    }
}

/// One PDU as bytes.
pub fn pdu(header: &Header, data: &[u8], digests: Digests) -> Vec<u8> {
    let data = if data.is_empty() { vec![] } else { vec![data.to_vec().into()] };
    Transmit::new(header, data, digests).to_vec()
}

/// One request as bytes.
pub fn request(request: &Request, data: &[u8], digests: Digests) -> Vec<u8> {
    pdu(&request.emit(), data, digests)
}

/// The initiator's end of what a target sends: every PDU must be one that an initiator understands.
pub struct Receiver {
    framer: Framer,
    awaited: Option<Response>,
}

impl Receiver {
    /// For data segments of at most this many bytes.
    pub fn new(max_data_segment_length: usize) -> Self {
        Self { framer: Framer::new(max_data_segment_length), awaited: None }
    }

    /// From the next PDU on.
    pub fn set_digests(&mut self, digests: Digests) {
        self.framer.set_digests(digests);
    }

    /// From the next PDU on.
    pub fn set_max_data_segment_length(&mut self, length: usize) {
        self.framer.set_max_data_segment_length(length);
    }

    /// The PDUs in `bytes`, which are whole ones.
    pub fn pdus(&mut self, mut bytes: &[u8]) -> Vec<(Response, Vec<u8>)> {
        let mut pdus = Vec::new();
        while !bytes.is_empty() {
            bytes = &bytes[self.framer.push(bytes)..];
            while let Some(item) = self.framer.poll().expect("what a target sends is within what was negotiated") {
                match item {
                    Item::Header(header) => {
                        self.awaited = Some(Response::parse(&header).expect("what a target sends has a meaning"));
                        self.framer.place(Place::Memory(Vec::new()));
                    }
                    Item::Data { place, digest_matches } => {
                        assert!(digest_matches, "a digest of our own is wrong");
                        let Place::Memory(data) = place else { panic!("it was to be kept") };
                        pdus.push((self.awaited.take().expect("the header was first"), data));
                    }
                }
            }
        }
        assert!(self.awaited.is_none(), "the target sends whole PDUs");
        pdus
    }
}

/// A unit of a pair, with everything that a unit can have.
pub fn unit_config() -> UnitConfig {
    let port = |relative_id, group| TargetPort { relative_id, group: GroupId(group) };
    UnitConfig {
        serial: "0123456789abcdef".to_owned(),
        naa: Naa::Long([0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        revision: "0.1".to_owned(),
        block_bytes: 512,
        blocks: 1 << 16,
        physical_block_exponent: 3,
        removable: true,
        thin: true,
        atomic_bytes: 64 << 10,
        solid_state: true,
        my_group: GroupId(1),
        ports: vec![port(1, 1), port(2, 1), port(257, 2)],
        target_name: TARGET.to_owned(),
        protection: Protection::None,
    }
}

/// The target's name in all fuzzers.
pub const TARGET: &str = "iqn.2026-11.com.example:fuzz";

/// The memory for the data of one connection.
pub const BUDGET_BYTES: u64 = 64 << 20;

/// A connection that was just accepted, by a portal with a neighbour.
pub fn connection(policy: AccessPolicy, pool: &Pool) -> Connection {
    let at = |tag, address: &str| PortalAddress { target_portal_group_tag: tag, address: address.to_owned() };
    let portal = PortalConfig {
        target_name: TARGET.to_owned(),
        target_alias: "fuzz".to_owned(),
        target_portal_group_tag: 1,
        portals: vec![at(1, "192.0.2.1:3260"), at(2, "[2001:db8::2]:3260")],
    };
    let challenge = Challenge { identifier: 0x2A, value: *b"0123456789abcdef" };
    let entrance = Entrance { policy: Arc::new(policy), admits_address: true, is_full: false, challenge };
    Connection::new(Arc::new(portal), entrance, pool.clone(), Budget::new(BUDGET_BYTES), 0)
}

/// Let `connection` receive `bytes`, so many at a time; false when it reads no further.
pub fn feed(connection: &mut Connection, bytes: &[u8], at_a_time: usize, now_ms: u64) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut count = 0;
        for mut slice in connection.recv_slices() {
            let part = slice.len().min(rest.len() - count).min(at_a_time.max(1) - count);
            slice[..part].copy_from_slice(&rest[count..count + part]);
            count += part;
        }
        if count == 0 {
            return false;
        }
        connection.received(count, now_ms);
        rest = &rest[count..];
    }
    true
}
