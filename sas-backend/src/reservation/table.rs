//! The reservations of one disk as a value: who is registered, who holds the reservation, what each command does.
//!
//! ```text
//!            register                    preempt by the other head
//!   Empty ------------> Registered -------------------------------> Preempted
//!     ^                   |    ^                                        |
//!     +---- unregister ---+    +---------------- register --------------+
//! ```
//!
//! A preempted slot remembers the process, so that whoever fenced it can see to it that its I/O ends.
//!
//! Encoded in 512 bytes, integers little-endian, the rest zero: magic `TWRSVTBL` (8), version (4), CRC32C over the block
//! with this field zero (4), generation (8), holder (1: 0 nobody, 1 a, 2 b), zero (7), and for each head 32 bytes: state
//! (1: 0 empty, 1 registered, 2 preempted), zero (3), pid (4), key (8), start time of the process (8), generation of the
//! registration (8).

use nom::IResult;
use nom::bytes::complete::{tag, take};
use nom::number::complete::{le_u8, le_u32, le_u64};

use super::{Key, ReservationError};
use crate::superblock::HeadId;

/// Bytes of an encoded table.
pub const TABLE_BYTES: usize = 512;

const MAGIC: &[u8; 8] = b"TWRSVTBL";
const VERSION: u32 = 1;
const CRC_AT: usize = 12;
const _: () = assert!(32 + 2 * 32 <= TABLE_BYTES);

/// A process: its number alone may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// What a head is registered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The key.
    pub key: Key,
    /// The process that registered.
    pub process: Process,
    /// The generation that this registration made: tells it from any other.
    pub since: u64,
}

/// The place of one head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// Never registered, or gone by itself.
    #[default]
    Empty,
    /// Registered.
    Registered(Registration),
    /// Fenced by the other head, and not registered again since.
    Preempted(Registration),
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    generation: u64,
    slots: [Slot; 2],
    holder: Option<HeadId>,
}

impl Table {
    /// What a head's place holds.
    #[must_use]
    pub fn slot(&self, head: HeadId) -> Slot {
        self.slots[head.index()]
    }

    /// All registered keys.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        HeadId::BOTH.into_iter().filter_map(|head| self.key(head)).collect()
    }

    /// The key that holds the reservation.
    #[must_use]
    pub fn holder(&self) -> Option<Key> {
        self.holder.and_then(|head| self.key(head))
    }

    /// Whether the disk would execute a command of this head, registered with `key` as it believes.
    #[must_use]
    pub fn admits(&self, head: HeadId, key: Option<Key>) -> bool {
        self.holder.is_none() || (key.is_some() && self.key(head) == key)
    }

    /// Whether `key` is this head's registration.
    #[must_use]
    pub fn is_registered(&self, head: HeadId, key: Key) -> bool {
        self.key(head) == Some(key)
    }

    /// REGISTER AND IGNORE EXISTING KEY.
    pub fn register(&mut self, head: HeadId, key: Key, process: Process) {
        self.generation += 1;
        self.slots[head.index()] = Slot::Registered(Registration { key, process, since: self.generation });
    }

    /// REGISTER with a zero key: a reservation that the head holds ends with its registration.
    ///
    /// # Errors
    /// `Fenced` when it is not registered.
    pub fn unregister(&mut self, head: HeadId, key: Key) -> Result<(), ReservationError> {
        self.expect_registered(head, key)?;
        self.generation += 1;
        self.slots[head.index()] = Slot::Empty;
        if self.holder == Some(head) {
            self.holder = None;
        }
        Ok(())
    }

    /// RESERVE.
    ///
    /// # Errors
    /// `Fenced` when the head is not registered, `HeldByOther` when the other one holds it.
    pub fn reserve(&mut self, head: HeadId, key: Key) -> Result<(), ReservationError> {
        self.expect_registered(head, key)?;
        match self.holder {
            Some(holder) if holder != head => Err(ReservationError::HeldByOther),
            _ => {
                self.holder = Some(head);
                Ok(())
            }
        }
    }

    /// PREEMPT AND ABORT: the victim's registration goes, the preemptor holds the reservation. Returns what was
    /// removed, now or by an earlier call with the same victim that could not be finished.
    ///
    /// # Errors
    /// `Fenced` when the head is not registered, `NoSuchKey` when the victim is not, `WrongKey` for its own.
    pub fn preempt(&mut self, head: HeadId, key: Key, victim: Key) -> Result<Registration, ReservationError> {
        self.expect_registered(head, key)?;
        if victim == key {
            return Err(ReservationError::WrongKey(victim));
        }
        let slot = &mut self.slots[head.other().index()];
        let (Slot::Registered(removed) | Slot::Preempted(removed)) = *slot else {
            return Err(ReservationError::NoSuchKey(victim));
        };
        if removed.key != victim {
            return Err(ReservationError::NoSuchKey(victim));
        }
        *slot = Slot::Preempted(removed);
        self.generation += 1;
        self.holder = Some(head);
        Ok(removed)
    }

    fn key(&self, head: HeadId) -> Option<Key> {
        match self.slot(head) {
            Slot::Registered(registration) => Some(registration.key),
            Slot::Empty | Slot::Preempted(_) => None,
        }
    }

    fn expect_registered(&self, head: HeadId, key: Key) -> Result<(), ReservationError> {
        if self.is_registered(head, key) { Ok(()) } else { Err(ReservationError::Fenced) }
    }

    /// The bytes of this table.
    #[must_use]
    pub fn emit(&self) -> [u8; TABLE_BYTES] {
        let mut bytes = Vec::with_capacity(TABLE_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.generation.to_le_bytes());
        bytes.push(match self.holder {
            None => 0,
            Some(HeadId::A) => 1,
            Some(HeadId::B) => 2,
        });
        bytes.extend([0; 7]);
        for slot in self.slots {
            emit_slot(slot, &mut bytes);
        }
        let mut block = [0; TABLE_BYTES];
        block[..bytes.len()].copy_from_slice(&bytes);
        let crc = crc32c::crc32c(&block);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Read a table; all zeroes are the empty one. `None` when it is torn or something else.
    #[must_use]
    pub fn parse(block: &[u8; TABLE_BYTES]) -> Option<Self> {
        if block.iter().all(|&byte| byte == 0) {
            return Some(Self::default());
        }
        let mut unsealed = *block;
        unsealed[CRC_AT..CRC_AT + 4].fill(0);
        let (_, table) = table(block, crc32c::crc32c(&unsealed)).ok()?;
        table
    }
}

fn emit_slot(slot: Slot, bytes: &mut Vec<u8>) {
    let (state, registration) = match slot {
        Slot::Empty => {
            bytes.extend([0; 32]);
            return;
        }
        Slot::Registered(registration) => (1, registration),
        Slot::Preempted(registration) => (2, registration),
    };
    bytes.extend([state, 0, 0, 0]);
    bytes.extend(registration.process.pid.to_le_bytes());
    bytes.extend(registration.key.0.to_le_bytes());
    bytes.extend(registration.process.started.to_le_bytes());
    bytes.extend(registration.since.to_le_bytes());
}

fn table(block: &[u8], crc_wanted: u32) -> IResult<&[u8], Option<Table>> {
    let (rest, _) = tag(&MAGIC[..])(block)?;
    let (rest, version) = le_u32(rest)?;
    let (rest, crc) = le_u32(rest)?;
    let (rest, generation) = le_u64(rest)?;
    let (rest, holder) = le_u8(rest)?;
    let (rest, _) = take(7usize)(rest)?;
    let (rest, a) = slot(rest)?;
    let (rest, b) = slot(rest)?;
    let holder = match holder {
        0 => Some(None),
        1 => Some(Some(HeadId::A)),
        2 => Some(Some(HeadId::B)),
        _ => None,
    };
    let sound = version == VERSION && crc == crc_wanted && generation < u64::MAX;
    let table = match (holder, a, b) {
        (Some(holder), Some(a), Some(b)) if sound => Some(Table { generation, slots: [a, b], holder }),
        _ => None,
    };
    Ok((rest, table))
}

fn slot(input: &[u8]) -> IResult<&[u8], Option<Slot>> {
    let (rest, state) = le_u8(input)?;
    let (rest, _) = take(3usize)(rest)?;
    let (rest, pid) = le_u32(rest)?;
    let (rest, key) = le_u64(rest)?;
    let (rest, started) = le_u64(rest)?;
    let (rest, since) = le_u64(rest)?;
    let registration = Registration { key: Key(key), process: Process { pid, started }, since };
    let slot = match state {
        0 => Some(Slot::Empty),
        1 => Some(Slot::Registered(registration)),
        2 => Some(Slot::Preempted(registration)),
        _ => None,
    };
    Ok((rest, slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use HeadId::{A, B};

    const KEY_A: Key = Key(0x540a_0001_0000_0001);
    const KEY_B: Key = Key(0x540b_0001_0000_0002);

    fn process(pid: u32) -> Process {
        Process { pid, started: 1000 }
    }

    fn both_registered() -> Table {
        let mut table = Table::default();
        table.register(A, KEY_A, process(10));
        table.register(B, KEY_B, process(20));
        table.reserve(A, KEY_A).unwrap();
        table
    }

    #[test]
    fn without_a_reservation_everybody_is_admitted() {
        let mut table = Table::default();
        assert!(table.admits(A, None));
        table.register(A, KEY_A, process(10));
        assert!(table.admits(B, None));
        table.reserve(A, KEY_A).unwrap();
        assert!(!table.admits(B, None));
        assert!(!table.admits(B, Some(KEY_B)));
        assert!(table.admits(A, Some(KEY_A)));
    }

    #[test]
    fn registrants_share_the_access_and_one_holds() {
        let mut table = both_registered();
        assert_eq!(table.keys(), [KEY_A, KEY_B]);
        assert_eq!(table.holder(), Some(KEY_A));
        assert!(table.admits(B, Some(KEY_B)));
        assert_eq!(table.reserve(B, KEY_B), Err(ReservationError::HeldByOther));
        assert_eq!(table.reserve(A, KEY_A), Ok(()));
        table.unregister(A, KEY_A).unwrap();
        assert_eq!((table.holder(), table.keys()), (None, vec![KEY_B]));
    }

    #[test]
    fn a_preempted_head_is_out_and_cannot_strike_back() {
        let mut table = both_registered();
        let removed = table.preempt(B, KEY_B, KEY_A).unwrap();
        assert_eq!((removed.key, removed.process), (KEY_A, process(10)));
        assert_eq!((table.holder(), table.keys()), (Some(KEY_B), vec![KEY_B]));
        assert!(!table.admits(A, Some(KEY_A)));
        assert_eq!(table.preempt(A, KEY_A, KEY_B), Err(ReservationError::Fenced));
        assert_eq!(table.reserve(A, KEY_A), Err(ReservationError::Fenced));
        assert_eq!(table.unregister(A, KEY_A), Err(ReservationError::Fenced));
        assert_eq!(table.preempt(B, KEY_B, KEY_A), Ok(removed), "finishing an unfinished one");
        table.register(A, Key(KEY_A.0 + 1), process(10));
        assert_eq!(table.preempt(B, KEY_B, KEY_A), Err(ReservationError::NoSuchKey(KEY_A)));
        let Slot::Registered(again) = table.slot(A) else { panic!("registered again") };
        assert!(again.since > removed.since);
    }

    #[test]
    fn wrong_victims_are_refused() {
        let mut table = both_registered();
        assert_eq!(table.preempt(A, KEY_A, KEY_A), Err(ReservationError::WrongKey(KEY_A)));
        assert_eq!(table.preempt(A, KEY_A, Key(5)), Err(ReservationError::NoSuchKey(Key(5))));
        table.unregister(B, KEY_B).unwrap();
        assert_eq!(table.preempt(A, KEY_A, KEY_B), Err(ReservationError::NoSuchKey(KEY_B)));
    }

    #[test]
    fn golden_bytes_both_ways() {
        let mut table = both_registered();
        table.preempt(B, KEY_B, KEY_A).unwrap();
        let mut bytes = b"TWRSVTBL\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0".to_vec();
        bytes.extend(b"\x02\0\0\0\x0a\0\0\0\x01\0\0\0\x01\0\x0a\x54\xe8\x03\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
        bytes.extend(b"\x01\0\0\0\x14\0\0\0\x02\0\0\0\x01\0\x0b\x54\xe8\x03\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
        bytes.resize(TABLE_BYTES, 0);
        let mut block = table.emit();
        assert_eq!(Table::parse(&block), Some(table));
        assert_eq!(block[12..16], GOLDEN_CRC);
        block[12..16].fill(0);
        assert_eq!(block[..], bytes[..]);
    }

    const GOLDEN_CRC: [u8; 4] = [0xa7, 0xf5, 0x03, 0xa2];

    #[test]
    fn anything_else_is_none() {
        assert_eq!(Table::parse(&[0; TABLE_BYTES]), Some(Table::default()));
        let good = both_registered().emit();
        for at in 0..128 {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert_eq!(Table::parse(&bad), None, "byte {at}");
        }
    }
}
