//! The simulated disk: blocks, superblock, heartbeats, registrations; and each head's way to it.

use std::collections::{BTreeMap, VecDeque};

use replication::head::{Action, DiskCommand, Event, IoError, IoId, Ownership, StorageError};
use replication::{Data, Millis};
use sas_backend::{Epoch, HeadId, Incarnation};

use super::{BLOCKS, Entry, Marks, World, index, slot_of};

/// What the disk holds.
pub(super) struct SimDisk {
    pub(super) blocks: Vec<u64>,
    pub(super) ownership: Ownership,
    /// The process that is registered for each head.
    registered: [Option<Incarnation>; 2],
    beats: [Option<(Incarnation, u64)>; 2],
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
}

impl SimDisk {
    pub(super) fn new() -> Self {
        Self {
            blocks: vec![0; index(BLOCKS)],
            ownership: Ownership {
                epoch: Epoch(0),
                owner: None,
                owner_incarnation: None,
                mirror: None,
                draining: false,
                dirty: false,
                losses: 0,
            },
            registered: [None; 2],
            beats: [None; 2],
            commands: BTreeMap::new(),
            serial: 0,
        }
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
        let result = if !aborted && self.disk.registered[slot_of(of)] == Some(life) {
            Ok(match command {
                DiskCommand::Read(extent) => {
                    Some(Marks(self.disk.blocks[index(extent.lba)..index(extent.end())].to_vec()))
                }
                DiskCommand::Write(extent, pieces) => {
                    let mut lba = extent.lba;
                    for piece in pieces {
                        self.disk.blocks[index(lba)..index(lba + piece.blocks())].copy_from_slice(&piece.0);
                        lba += piece.blocks();
                    }
                    None
                }
                DiskCommand::Flush => None,
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
        self.slots[me].arbiter.busy = false;
        let Some(action) = self.slots[me].arbiter.queue.pop_front() else { return Ok(()) };
        let registered = self.disk.registered[me] == Some(life);
        let event = match action {
            Action::ReadSuperblock if registered => Event::SuperblockRead(Ok(self.disk.ownership.clone())),
            Action::ReadSuperblock => Event::SuperblockRead(Err(StorageError::Fenced)),
            Action::WriteSuperblock(next) if registered => {
                self.check_superblock(&next)?;
                self.note(|| format!("disk: {next:?}"));
                self.disk.ownership = next;
                Event::SuperblockWritten(Ok(()))
            }
            Action::WriteSuperblock(_) => Event::SuperblockWritten(Err(StorageError::Fenced)),
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

    /// Invariant: the epoch only grows, and each epoch has one owner.
    fn check_superblock(&self, next: &Ownership) -> Result<(), String> {
        let old = &self.disk.ownership;
        let grows = next.epoch > old.epoch || (next.epoch == old.epoch && next.owner == old.owner);
        if grows { Ok(()) } else { Err(format!("the superblock goes back: {old:?} -> {next:?}")) }
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
                self.at(delay, Entry::BeatEffect { of, life, started });
            }
            if watching {
                let delay = self.between(0, 15);
                self.at(delay, Entry::WatchEffect { of, life, started });
            }
        }
        self.at(50, Entry::Beat { of, life });
    }

    pub(super) fn on_beat_effect(&mut self, of: HeadId, life: Incarnation, started: u64) -> Result<(), String> {
        let me = slot_of(of);
        if self.disk.registered[me] != Some(life) {
            return self.deliver(of, life, Event::Conflict);
        }
        let count = self.disk.beats[me].map_or(0, |(_, count)| count);
        self.disk.beats[me] = Some((self.slots[me].process, count + 1));
        self.deliver(of, life, Event::Heartbeat { started: Millis(started) })
    }

    pub(super) fn on_watch_effect(&mut self, of: HeadId, life: Incarnation, started: u64) -> Result<(), String> {
        if self.disk.registered[slot_of(of)] != Some(life) {
            return self.deliver(of, life, Event::Conflict);
        }
        let beat = self.disk.beats[slot_of(of.other())];
        self.deliver(of, life, Event::PeerHeartbeat { started: Millis(started), beat })
    }
}
