//! The disk of a pair: one block, the superblock, and who is registered.

use std::collections::VecDeque;

use replication::head::{Action, Capacity, DiskCommand, Event, IoError, IoId, Ownership, StorageError};
use sas_backend::superblock::Record;
use sas_backend::{Epoch, HeadId, Incarnation};

use super::pair::Mark;

/// A command under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Command {
    pub(super) of: HeadId,
    pub(super) life: Incarnation,
    pub(super) id: IoId,
    pub(super) command: DiskCommand<Mark>,
    is_aborted: bool,
}

/// What the heads share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    /// The block as it is read.
    cached: Mark,
    /// The block as it is after a loss of power.
    durable: Mark,
    superblock: Ownership,
    registered: [Option<Incarnation>; 2],
    beats: [Option<(Incarnation, u64)>; 2],
    pub(super) commands: Vec<Command>,
    /// What a process was writing when it ended.
    pub(super) orphan: Option<(HeadId, Incarnation, Ownership)>,
}

impl Disk {
    pub(super) fn new(nothing: Mark) -> Self {
        let superblock = Ownership {
            record: Record { kept: 0, bytes: [].into() },
            epoch: Epoch(0),
            owner: None,
            owner_incarnation: None,
            mirror: None,
            draining: false,
            dirty: false,
            losses: 0,
            capacity: Capacity::of(1),
        };
        Self {
            cached: nothing,
            durable: nothing,
            superblock,
            registered: [None; 2],
            beats: [None; 2],
            commands: Vec::new(),
            orphan: None,
        }
    }

    pub(super) fn is_registered(&self, of: HeadId, life: Incarnation) -> bool {
        self.registered[of.index()] == Some(life)
    }

    /// The superblock says that the disk does not have all.
    pub(super) fn is_incomplete(&self) -> bool {
        self.superblock.dirty || self.superblock.draining
    }

    pub(super) fn submit(&mut self, of: HeadId, life: Incarnation, id: IoId, command: DiskCommand<Mark>) {
        self.commands.push(Command { of, life, id, command, is_aborted: false });
    }

    /// A command of the data takes effect.
    pub(super) fn execute(&mut self, command: &Command) -> Result<Option<Mark>, IoError> {
        if command.is_aborted || !self.is_registered(command.of, command.life) {
            return Err(IoError::Fenced);
        }
        match &command.command {
            DiskCommand::Read(_) => return Ok(Some(self.cached)),
            DiskCommand::Write(_, pieces) => self.cached = pieces[0],
            DiskCommand::Flush => self.durable = self.cached,
            DiskCommand::Deallocate(_) | DiskCommand::Map(_) => unreachable!("there are no holes"),
        }
        Ok(None)
    }

    /// A superblock or reservation command takes effect. `other_is_gone`: the process of the other head.
    ///
    /// # Errors
    /// The superblock would go back.
    pub(super) fn arbitrate(
        &mut self,
        of: HeadId,
        life: Incarnation,
        action: Action<Mark>,
        other_is_gone: bool,
    ) -> Result<Event<Mark>, String> {
        let allowed = if self.is_registered(of, life) { Ok(()) } else { Err(StorageError::Fenced) };
        Ok(match action {
            Action::ReadSuperblock => Event::SuperblockRead(allowed.map(|()| self.superblock.clone())),
            Action::WriteSuperblock(next) => {
                if allowed.is_ok() {
                    self.put_superblock(next)?;
                }
                Event::SuperblockWritten(allowed)
            }
            Action::Register { .. } => {
                self.registered[of.index()] = Some(life);
                Event::Registered(Ok(()))
            }
            Action::ChangeKey { .. } => Event::Registered(allowed),
            Action::Fence { .. } => {
                if allowed.is_ok() {
                    self.fence(of.other());
                }
                Event::FenceDone(allowed.map(|()| other_is_gone))
            }
            other => unreachable!("not for the arbiter: {other:?}"),
        })
    }

    fn fence(&mut self, victim: HeadId) {
        let Some(life) = self.registered[victim.index()].take() else { return };
        self.commands.iter_mut().filter(|command| command.life == life).for_each(|command| command.is_aborted = true);
    }

    /// The epoch only grows, and each epoch has one owner.
    fn put_superblock(&mut self, next: Ownership) -> Result<(), String> {
        let old = &self.superblock;
        if next.epoch < old.epoch || (next.epoch == old.epoch && next.owner != old.owner) {
            return Err(format!("the superblock goes back: {old:?} -> {next:?}"));
        }
        self.superblock = next;
        Ok(())
    }

    /// What a process that is gone was writing reaches the disk after all, unless it was fenced.
    ///
    /// # Errors
    /// The superblock would go back.
    pub(super) fn land(&mut self) -> Result<(), String> {
        match self.orphan.take() {
            Some((of, life, superblock)) if self.is_registered(of, life) => self.put_superblock(superblock),
            Some(_) | None => Ok(()),
        }
    }

    /// The process is gone; the first of what it had asked may still land.
    pub(super) fn forsake(&mut self, of: HeadId, life: Incarnation, asked: &mut VecDeque<Action<Mark>>) {
        if let Some(Action::WriteSuperblock(superblock)) = asked.pop_front() {
            self.orphan = Some((of, life, superblock));
        }
        asked.clear();
    }

    /// A sign of life.
    pub(super) fn beat(&mut self, of: HeadId, life: Incarnation, now: u64) {
        self.beats[of.index()] = Some((life, now));
    }

    pub(super) fn last_beat(&self, of: HeadId) -> Option<(Incarnation, u64)> {
        self.beats[of.index()]
    }

    /// Without power nothing is under way, and nobody is registered: the registrations were not to outlive it.
    pub(super) fn lose_power(&mut self, cache: bool) {
        if cache {
            self.cached = self.durable;
        }
        self.durable = self.cached;
        self.registered = [None; 2];
        self.commands.clear();
        self.orphan = None;
    }
}
