//! Reads and writes of a head's data path. Each takes effect at some moment before it is answered, in any order.

use replication::head::{DiskCommand, Event, IoError, IoId};
use replication::{Data, Extent};
use sas_backend::{HeadId, Incarnation};

use crate::world::disk::media::GARBAGE;
use crate::world::invariants::nothing_overlaps;
use crate::world::{Entry, Marks, World, ZEROES, index, slot_of};

/// One that is under way.
pub(in crate::world) struct Command {
    pub(in crate::world) life: Incarnation,
    aborted: bool,
    id: IoId,
    pub(in crate::world) command: DiskCommand<Marks>,
}

impl Command {
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted
    }
}

impl World {
    /// A disk command of a head: it takes effect after a while, if the head is still registered then.
    pub(in crate::world) fn submit(&mut self, of: HeadId, id: IoId, command: DiskCommand<Marks>) -> Result<(), String> {
        let life = self.slots[slot_of(of)].life;
        nothing_overlaps(of, &command, self.disk.commands.values().filter(|other| other.life == life))?;
        self.disk.serial += 1;
        let serial = self.disk.serial;
        self.disk.commands.insert(serial, Command { life, aborted: false, id, command });
        let delay = if self.chance(3) { self.between(20, 700) } else { self.between(0, 8) };
        self.at(delay, Entry::DiskEffect { of, command: serial });
        Ok(())
    }

    pub(in crate::world) fn on_disk_effect(&mut self, of: HeadId, serial: u64) -> Result<(), String> {
        let Some(Command { life, aborted, id, command, .. }) = self.disk.commands.remove(&serial) else {
            return Ok(());
        };
        let allowed = !aborted && self.disk.registered[slot_of(of)] == Some(life);
        let result = if allowed { self.carry_out(of, life, &command) } else { Err(IoError::Fenced) };
        let event = match (result, &command) {
            (Ok(_), DiskCommand::Map(extent)) => Event::Mapped { id, stretch: self.disk.media.map(*extent) },
            (result, _) => Event::Disk { id, result },
        };
        let delay = self.between(0, 3);
        self.at(delay, Entry::Deliver { to: of, life, event: Box::new(event) });
        Ok(())
    }

    fn carry_out(
        &mut self,
        of: HeadId,
        life: Incarnation,
        command: &DiskCommand<Marks>,
    ) -> Result<Option<Marks>, IoError> {
        if let Some(error) = self.fails(of, command) {
            self.tear(command);
            return Err(error);
        }
        match command {
            DiskCommand::Read(extent) => {
                let mut marks = self.disk.media.read(*extent).ok_or(IoError::Medium)?.to_vec();
                // Of what is being written anything may be there.
                let writes = self.disk.commands.values().filter(|write| write.life == life);
                for at in writes.filter_map(|write| touches(&write.command)).filter(|touched| touched.1) {
                    let Some(both) = at.0.intersection(*extent) else { continue };
                    marks[index(both.lba - extent.lba)..index(both.end() - extent.lba)].fill(GARBAGE);
                }
                return Ok(Some(Marks::Written(marks)));
            }
            DiskCommand::Write(..) | DiskCommand::Deallocate(_) => {
                for (lba, mark) in changes(command) {
                    self.disk.media.write(lba, mark);
                }
            }
            DiskCommand::Flush => self.disk.media.flush(),
            DiskCommand::Map(_) => {}
        }
        Ok(None)
    }

    /// A command that fails or is cut short has done a part of what it was to do, or nothing.
    pub(in crate::world) fn tear(&mut self, command: &DiskCommand<Marks>) {
        let done = self.between(0, 2);
        for (lba, mark) in changes(command) {
            if done == 2 || (done == 1 && self.chance(50)) {
                self.disk.media.write(lba, mark);
            }
        }
    }

    /// PREEMPT AND ABORT: what a life has in flight is gone, with what there is of it.
    pub(super) fn abort_commands(&mut self, victim: Incarnation) {
        let mut torn = Vec::new();
        for command in self.disk.commands.values_mut().filter(|command| command.life == victim && !command.aborted) {
            command.aborted = true;
            torn.push(command.command.clone());
        }
        torn.iter().for_each(|command| self.tear(command));
    }
}

/// What a command leaves in which block.
fn changes(command: &DiskCommand<Marks>) -> Vec<(u64, u64)> {
    match command {
        DiskCommand::Write(extent, pieces) => (extent.lba..).zip(pieces.iter().flat_map(Marks::to_vec)).collect(),
        DiskCommand::Deallocate(extent) => (extent.lba..extent.end()).map(|lba| (lba, ZEROES)).collect(),
        DiskCommand::Read(_) | DiskCommand::Flush | DiskCommand::Map(_) => Vec::new(),
    }
}

/// The blocks that a command reads or changes, and whether it changes them.
pub(in crate::world) fn touches(command: &DiskCommand<Marks>) -> Option<(Extent, bool)> {
    match command {
        DiskCommand::Read(extent) => Some((*extent, false)),
        DiskCommand::Write(extent, pieces) => {
            debug_assert_eq!(extent.blocks, pieces.iter().map(Data::blocks).sum::<u64>());
            Some((*extent, true))
        }
        DiskCommand::Deallocate(extent) => Some((*extent, true)),
        DiskCommand::Flush | DiskCommand::Map(_) => None,
    }
}
