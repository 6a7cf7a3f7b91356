//! The simulated disk: blocks, superblock, heartbeats, registrations; and each head's way to it.
//!
//! What is at the place of the superblock is something that no client has written: whoever reads it as data reads
//! [`GARBAGE`], and so does whoever reads where a late heartbeat has hit.

use std::collections::{BTreeMap, VecDeque};

use replication::head::{Action, Capacity, DiskCommand, Event, IoError, IoId, Ownership, StorageError};
use replication::{Data, Extent, Millis, Stretch};
use sas_backend::superblock::Record;
use sas_backend::{Epoch, HeadId, Incarnation};

use super::invariants::epochs_grow;
use super::records::{Place, Records};
use super::{BLOCKS, Entry, Marks, World, ZEROES, index, slot_of};

/// What no client has written.
pub(super) const GARBAGE: u64 = u64::MAX;
/// Blocks at the end of the disk that belong to the heads: the superblock, the heartbeat of each head, one more.
pub(super) const RESERVED: u64 = 4;

/// What the disk holds.
pub(super) struct SimDisk {
    pub(super) blocks: Vec<u64>,
    /// The superblock that was written last.
    pub(super) ownership: Ownership,
    pub(super) records: Records,
    /// How large each head's path shows the disk.
    pub(super) paths: [u64; 2],
    /// The process that is registered for each head.
    registered: [Option<Incarnation>; 2],
    beats: BTreeMap<(Place, HeadId), (Incarnation, u64)>,
    commands: BTreeMap<u64, Command>,
    serial: u64,
}

struct Command {
    life: Incarnation,
    aborted: bool,
    id: IoId,
    command: DiskCommand<Marks>,
}

/// One head's superblock and reservation commands, executed one after the other.
#[derive(Default)]
pub(super) struct Arbiter {
    queue: VecDeque<Action<Marks>>,
    busy: bool,
    /// While the unit grows a superblock goes to both places, one after the other; this one has to go to the new one yet.
    second: Option<(Place, Ownership, u64)>,
    /// Where this head looks for the superblock, and where its heartbeats go.
    pub(super) place: Place,
    /// Heartbeats that are on their way: the place does not change before they have arrived.
    pub(super) beats_under_way: u64,
}

impl Arbiter {
    /// Superblocks that may still be written, whatever becomes of the head.
    pub(super) fn superblocks_under_way(&self) -> impl Iterator<Item = &Ownership> {
        self.queue.iter().filter_map(|action| match action {
            Action::WriteSuperblock(next) => Some(next),
            _ => None,
        })
    }

    /// Of a head that has just started.
    pub(super) fn at(place: Place) -> Self {
        Self { place, ..Self::default() }
    }
}

impl SimDisk {
    pub(super) fn new() -> Self {
        let ownership = Ownership {
            record: Record { kept: 0, bytes: [].into() },
            epoch: Epoch(0),
            owner: None,
            owner_incarnation: None,
            mirror: None,
            draining: false,
            dirty: false,
            losses: 0,
            capacity: Capacity::of(BLOCKS),
        };
        let mut blocks = vec![0; index(BLOCKS + RESERVED)];
        blocks[index(BLOCKS)] = GARBAGE;
        Self {
            blocks,
            records: Records::new(BLOCKS, ownership.clone()),
            ownership,
            paths: [BLOCKS + RESERVED; 2],
            registered: [None; 2],
            beats: BTreeMap::new(),
            commands: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Whether the first blocks are a hole, as far as the answer is the same.
    fn map(&self, extent: Extent) -> Stretch {
        let is_hole = |mark: &u64| *mark == ZEROES;
        let blocks = &self.blocks[index(extent.lba)..index(extent.end())];
        let mapped = !is_hole(&blocks[0]);
        Stretch { blocks: blocks.iter().take_while(|mark| is_hole(mark) != mapped).count() as u64, mapped }
    }
}

impl World {
    /// A disk command of a head: it takes effect after a while, if the head is still registered then.
    pub(super) fn submit(&mut self, of: HeadId, id: IoId, command: DiskCommand<Marks>) {
        let life = self.slots[slot_of(of)].life;
        self.disk.serial += 1;
        let serial = self.disk.serial;
        self.disk.commands.insert(serial, Command { life, aborted: false, id, command });
        let delay = if self.chance(3) { self.between(20, 700) } else { self.between(0, 8) };
        self.at(delay, Entry::DiskEffect { of, command: serial });
    }

    pub(super) fn on_disk_effect(&mut self, of: HeadId, serial: u64) -> Result<(), String> {
        let Some(Command { life, aborted, id, command }) = self.disk.commands.remove(&serial) else { return Ok(()) };
        let allowed = !aborted && self.disk.registered[slot_of(of)] == Some(life);
        if let (true, DiskCommand::Map(extent)) = (allowed, &command) {
            let stretch = self.disk.map(*extent);
            let delay = self.between(0, 3);
            self.at(delay, Entry::Deliver { to: of, life, event: Box::new(Event::Mapped { id, stretch }) });
            return Ok(());
        }
        let result = if allowed {
            Ok(match command {
                DiskCommand::Read(extent) => {
                    Some(Marks::Written(self.disk.blocks[index(extent.lba)..index(extent.end())].to_vec()))
                }
                DiskCommand::Write(extent, pieces) => {
                    let mut lba = extent.lba;
                    for piece in pieces {
                        self.disk.blocks[index(lba)..index(lba + piece.blocks())].copy_from_slice(&piece.to_vec());
                        lba += piece.blocks();
                    }
                    None
                }
                DiskCommand::Deallocate(extent) => {
                    self.disk.blocks[index(extent.lba)..index(extent.end())].fill(ZEROES);
                    None
                }
                DiskCommand::Flush | DiskCommand::Map(_) => None,
            })
        } else {
            Err(IoError::Fenced)
        };
        let delay = self.between(0, 3);
        self.at(delay, Entry::Deliver { to: of, life, event: Box::new(Event::Disk { id, result }) });
        Ok(())
    }

    pub(super) fn arbitrate(&mut self, of: HeadId, action: Action<Marks>) {
        self.slots[slot_of(of)].arbiter.queue.push_back(action);
        self.next_arbitration(of);
    }

    fn next_arbitration(&mut self, of: HeadId) {
        let arbiter = &mut self.slots[slot_of(of)].arbiter;
        if arbiter.busy || arbiter.queue.is_empty() {
            return;
        }
        arbiter.busy = true;
        let life = self.slots[slot_of(of)].life;
        let delay = if self.chance(5) { self.between(20, 500) } else { self.between(0, 10) };
        self.at(delay, Entry::ArbiterEffect { of, life });
    }

    pub(super) fn on_arbiter_effect(&mut self, of: HeadId, life: Incarnation) -> Result<(), String> {
        let me = slot_of(of);
        if self.slots[me].life != life {
            return Ok(());
        }
        if self.slots[me].arbiter.beats_under_way > 0 && self.waits_for_heartbeats(of) {
            self.at(1, Entry::ArbiterEffect { of, life });
            return Ok(());
        }
        if let Some(second) = self.slots[me].arbiter.second.take() {
            self.write_second(of, second);
            return Ok(());
        }
        self.slots[me].arbiter.busy = false;
        let Some(action) = self.slots[me].arbiter.queue.pop_front() else { return Ok(()) };
        let registered = self.disk.registered[me] == Some(life);
        let event = match action {
            Action::ReadSuperblock if registered => Event::SuperblockRead(self.read_superblock(of)),
            Action::ReadSuperblock => Event::SuperblockRead(Err(StorageError::Fenced)),
            Action::WriteSuperblock(next) if registered => {
                let Some(event) = self.write_superblock(of, next)? else { return Ok(()) };
                event
            }
            Action::WriteSuperblock(_) => Event::SuperblockWritten(Err(StorageError::Fenced)),
            Action::Measure => Event::Measured(Ok(self.disk.paths[me] - RESERVED)),
            Action::ClearOldPlace if registered => Event::OldPlaceCleared(self.clear_old_place(of)),
            Action::ClearOldPlace => Event::OldPlaceCleared(Err(StorageError::Fenced)),
            Action::Register { .. } => {
                self.disk.registered[me] = Some(life);
                Event::Registered(Ok(()))
            }
            Action::ChangeKey { .. } if registered => Event::Registered(Ok(())),
            Action::ChangeKey { .. } => Event::Registered(Err(StorageError::Fenced)),
            Action::Fence { .. } => {
                // PREEMPT AND ABORT: what the other head has in flight is gone with its registration.
                let other = slot_of(of.other());
                let result = if registered {
                    if let Some(victim) = self.disk.registered[other].take() {
                        for command in self.disk.commands.values_mut().filter(|command| command.life == victim) {
                            command.aborted = true;
                        }
                    }
                    Ok(self.slots[other].head.is_none())
                } else {
                    Err(StorageError::Fenced)
                };
                Event::FenceDone(result)
            }
            other => unreachable!("not for the arbiter: {other:?}"),
        };
        self.next_arbitration(of);
        let delay = self.between(0, 3);
        self.at(delay, Entry::Deliver { to: of, life, event: Box::new(event) });
        Ok(())
    }

    pub(super) fn is_registered(&self, of: HeadId) -> bool {
        self.disk.registered[slot_of(of)] == Some(self.slots[slot_of(of)].life)
    }

    /// Whether the next command registers, or changes where this head's heartbeats go: none of an earlier registration or
    /// to another place may arrive after that.
    fn waits_for_heartbeats(&self, of: HeadId) -> bool {
        let arbiter = &self.slots[slot_of(of)].arbiter;
        if let Some((place, ..)) = &arbiter.second {
            return *place != arbiter.place;
        }
        match arbiter.queue.front() {
            Some(Action::Register { .. }) => true,
            Some(Action::ReadSuperblock) => {
                let found = self.disk.records.find(arbiter.place, self.disk.paths[slot_of(of)]);
                found.is_ok_and(|(place, _)| place != arbiter.place)
            }
            _ => false,
        }
    }

    fn read_superblock(&mut self, of: HeadId) -> Result<Ownership, StorageError> {
        let me = slot_of(of);
        let found = self.disk.records.find(self.slots[me].arbiter.place, self.disk.paths[me]);
        let (place, ownership) = found.map_err(StorageError::Failed)?;
        self.slots[me].arbiter.place = place;
        Ok(ownership)
    }

    /// `None`: it is to go to another place, too, before it counts as written.
    fn write_superblock(&mut self, of: HeadId, next: Ownership) -> Result<Option<Event<Marks>>, String> {
        epochs_grow(&self.disk.ownership, &next)?;
        self.note(|| format!("disk: {next:?}"));
        let Capacity { blocks, growing_to } = next.capacity;
        let number = self.disk.records.next_number();
        if next.owner == Some(of) {
            self.slots[slot_of(of)].owned = next.epoch;
        }
        self.disk.ownership = next.clone();
        self.put_superblock(blocks, next.clone(), number);
        let me = slot_of(of);
        let Some(place) = growing_to else {
            return Ok(Some(Event::SuperblockWritten(Ok(()))));
        };
        let arbiter = &mut self.slots[me].arbiter;
        arbiter.second = Some((place, next, number));
        arbiter.busy = true;
        let life = self.slots[me].life;
        let delay = self.between(0, 40);
        self.at(delay, Entry::ArbiterEffect { of, life });
        Ok(None)
    }

    fn write_second(&mut self, of: HeadId, (place, ownership, number): (Place, Ownership, u64)) {
        let me = slot_of(of);
        let life = self.slots[me].life;
        let result = if self.is_registered(of) {
            self.put_superblock(place, ownership, number);
            self.slots[me].arbiter.place = place;
            Ok(())
        } else {
            Err(StorageError::Fenced)
        };
        self.slots[me].arbiter.busy = false;
        self.next_arbitration(of);
        self.at(0, Entry::Deliver { to: of, life, event: Box::new(Event::SuperblockWritten(result)) });
    }

    fn put_superblock(&mut self, place: Place, ownership: Ownership, number: u64) {
        self.disk.blocks[index(place)] = GARBAGE;
        self.disk.records.put(place, ownership, number);
    }

    fn clear_old_place(&mut self, of: HeadId) -> Result<(), StorageError> {
        let me = slot_of(of);
        let found = self.disk.records.find(self.slots[me].arbiter.place, self.disk.paths[me]);
        let (_, ownership) = found.map_err(StorageError::Failed)?;
        let old = ownership.capacity.blocks;
        if ownership.capacity.growing_to.is_some() {
            self.note(|| format!("disk: zeroes at {old}"));
            self.disk.records.remove(old);
            self.disk.blocks[index(old)..index(old + RESERVED)].fill(0);
        }
        Ok(())
    }

    pub(super) fn on_beat(&mut self, of: HeadId, life: Incarnation) {
        let slot = &self.slots[slot_of(of)];
        if slot.life != life || slot.head.is_none() || (slot.heartbeat.is_none() && !slot.watching) {
            return;
        }
        let (beating, watching, paused) = (slot.heartbeat.is_some(), slot.watching, slot.paused_until > self.now);
        if !paused {
            let started = self.now;
            if beating {
                // Now and then the disk is slow, and a fenced owner learns of it late.
                let delay = if self.chance(10) { self.between(50, 400) } else { self.between(0, 15) };
                let arbiter = &mut self.slots[slot_of(of)].arbiter;
                arbiter.beats_under_way += 1;
                let place = arbiter.place;
                self.at(delay, Entry::BeatEffect { of, life, started, place });
            }
            if watching {
                let delay = self.between(0, 15);
                self.at(delay, Entry::WatchEffect { of, life, started });
            }
        }
        self.at(50, Entry::Beat { of, life });
    }

    pub(super) fn on_beat_effect(
        &mut self,
        of: HeadId,
        life: Incarnation,
        started: u64,
        place: Place,
    ) -> Result<(), String> {
        let me = slot_of(of);
        if self.slots[me].life == life {
            self.slots[me].arbiter.beats_under_way -= 1;
        }
        if self.disk.registered[me] != Some(life) {
            return self.deliver(of, life, Event::Conflict);
        }
        let count = self.disk.beats.get(&(place, of)).map_or(0, |(_, count)| *count);
        self.disk.beats.insert((place, of), (self.slots[me].process, count + 1));
        self.disk.blocks[index(place) + 1 + me] = GARBAGE;
        self.deliver(of, life, Event::Heartbeat { started: Millis(started) })
    }

    pub(super) fn on_watch_effect(&mut self, of: HeadId, life: Incarnation, started: u64) -> Result<(), String> {
        if self.disk.registered[slot_of(of)] != Some(life) {
            return self.deliver(of, life, Event::Conflict);
        }
        let place = self.slots[slot_of(of)].arbiter.place;
        let beat = self.disk.beats.get(&(place, of.other())).copied();
        self.deliver(of, life, Event::PeerHeartbeat { started: Millis(started), beat })
    }
}
