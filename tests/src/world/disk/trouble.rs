//! Commands that fail, blocks that cannot be read, a disk without room, and power that is lost.

use replication::Data;
use replication::head::{DiskCommand, IoError};
use replication::keeper::Keeper;
use sas_backend::HeadId;
use sas_backend::disk::DiskError;
use sas_backend::superblock::region::Region;

use super::{IQN, from_disk};
use crate::world::{Entry, Marks, World, ZEROES, slot_of};

/// What is wrong with one head's way to the disk, until when.
#[derive(Clone, Copy, Default)]
pub(in crate::world) struct Trouble {
    pub(in crate::world) until: u64,
    kind: Kind,
    /// How many of the commands that it concerns fail.
    percent: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// Writes fail.
    #[default]
    Writes,
    /// Everything does.
    Path,
}

impl World {
    /// Whether a command of the data path fails now, and how.
    pub(super) fn fails(&mut self, of: HeadId, command: &DiskCommand<Marks>) -> Option<IoError> {
        let writes = matches!(command, DiskCommand::Write(..) | DiskCommand::Deallocate(_));
        let trouble = self.disk.trouble[slot_of(of)];
        if trouble.until > self.now && (writes || trouble.kind == Kind::Path) && self.chance(trouble.percent) {
            return Some(if trouble.kind == Kind::Path { IoError::Path } else { IoError::Medium });
        }
        let DiskCommand::Write(extent, pieces) = command else { return None };
        debug_assert_eq!(extent.blocks, pieces.iter().map(Data::blocks).sum::<u64>());
        let wants_room = (extent.lba..extent.end()).any(|lba| self.disk.media.mark(lba) == ZEROES);
        (self.disk.full && wants_room).then_some(IoError::NoSpace)
    }

    /// Whether something that is done for the superblock or a heartbeat fails now.
    pub(super) fn job_fails(&mut self, of: HeadId) -> Option<DiskError> {
        let trouble = self.disk.trouble[slot_of(of)];
        let fails = trouble.until > self.now && self.chance(trouble.percent);
        fails.then(|| DiskError::Path("no answer".to_owned()))
    }

    pub(in crate::world) fn make_trouble(&mut self, of: HeadId) {
        let kind = if self.chance(60) { Kind::Writes } else { Kind::Path };
        self.count(if kind == Kind::Writes { "writes fail" } else { "paths to the disk fail" });
        let length = self.between(20, 2_000);
        let percent = [10, 50, 100][super::index(self.between(0, 2))];
        self.note(|| format!("{percent} % of what {of} wants of the disk fails for {length} ms"));
        self.disk.trouble[slot_of(of)] = Trouble { until: self.now + length, kind, percent };
    }

    /// Some block cannot be read until it is written again.
    pub(in crate::world) fn spoil(&mut self) {
        self.count("blocks that cannot be read");
        let lba = self.between(0, self.disk.ownership.capacity.blocks - 1);
        self.note(|| format!("disk: block {lba} cannot be read any more"));
        self.disk.media.spoil(lba);
    }

    pub(in crate::world) fn fill_up(&mut self) {
        self.count("the disk is full");
        self.note(|| "disk: full".to_owned());
        self.disk.full = true;
        let length = self.between(100, 3_000);
        self.at(length, Entry::Room);
    }

    /// The power of everything is lost. The heads lose their memory, the disk its cache, and maybe its reservations.
    pub(in crate::world) fn lose_power(&mut self) -> Result<(), String> {
        self.count("power lost");
        self.note(|| "the power is lost".to_owned());
        for of in HeadId::BOTH {
            if self.slots[slot_of(of)].head.is_some() {
                self.kill(of);
            }
            if let Some(job) = std::mem::take(&mut self.slots[slot_of(of)].arbiter).die() {
                self.tear_job(&job);
            }
        }
        let commands = std::mem::take(&mut self.disk.commands);
        for command in commands.into_values().filter(|command| !command.is_aborted()) {
            self.tear(&command.command);
        }
        self.disk.media.lose_power(&mut self.rng);
        if self.chance(30) {
            self.disk.registered = [None; 2];
        }
        self.oracle.lose_power();
        self.forget_floors();
        let size = self.disk.media.blocks() * super::BLOCK_BYTES;
        let mut keeper = Keeper::new(Region::of(size).map_err(|error| error.to_string())?, IQN.to_owned());
        self.disk.mend_paths();
        let found = self.at_once(HeadId::A, |script| keeper.read(script));
        let found = from_disk(found.map_err(|why| format!("no superblock after a loss of power: {why}"))?);
        if found.epoch < self.disk.written {
            return Err(format!("after a loss of power the superblock is {found:?}, older than {}", self.disk.written));
        }
        self.note(|| format!("disk: {found:?}"));
        self.disk.ownership = found;
        Ok(())
    }
}
