//! One head's superblock and reservation commands, executed one after the other.

use std::collections::VecDeque;

use replication::head::{Action, Event, Ownership, StorageError};
use replication::keeper::Keeper;
use sas_backend::disk::DiskError;
use sas_backend::superblock::region::Region;
use sas_backend::{HeadId, Incarnation};

use super::media::BLOCK_BYTES;
use super::sectors::{Done, Job, Script};
use super::{IQN, SCALE, from_disk, to_disk};
use crate::world::invariants::{disk_is_complete, epochs_grow};
use crate::world::{Entry, Marks, World, slot_of};

/// What has come of an action, and what is known of the superblock then.
type Ended = Option<(Event<Marks>, Keeper)>;

/// See the module.
#[derive(Default)]
pub(in crate::world) struct Arbiter {
    queue: VecDeque<Action<Marks>>,
    busy: bool,
    keeper: Option<Keeper>,
    /// What the disk has answered so far to the first of the queue, and what it was asked last.
    answers: Vec<Result<Done, DiskError>>,
    asked: Option<Job>,
    /// What has come of it, while the heartbeats are waited for.
    ended: Ended,
    /// Heartbeats that are on their way: the place does not change before they have arrived.
    pub(in crate::world) beats_under_way: u64,
    pub(super) beats: u64,
}

impl Arbiter {
    /// Superblocks that may still be written, whatever becomes of the head.
    pub(in crate::world) fn superblocks_under_way(&self) -> impl Iterator<Item = &Ownership> {
        self.queue.iter().filter_map(|action| match action {
            Action::WriteSuperblock(next) => Some(next),
            _ => None,
        })
    }

    /// Where this head looks for the superblock, and where its heartbeats go.
    pub(super) fn region(&self) -> Option<Region> {
        self.keeper.as_ref().map(Keeper::region)
    }

    /// Its head has died: what the disk has been given may arrive, and nothing else. That is returned.
    pub(in crate::world) fn die(&mut self) -> Option<Job> {
        self.queue.truncate(usize::from(self.asked.is_some()));
        self.answers.clear();
        self.ended = None;
        self.asked.clone()
    }
}

impl World {
    /// What a head finds on the disk when it starts: how large the unit is, and who owned it last.
    pub(in crate::world) fn look(&mut self, of: HeadId) -> Option<u64> {
        let region = Region::of(self.disk.size_bytes(of)).ok()?;
        let mut keeper = Keeper::new(region, IQN.to_owned());
        let found = self.at_once(of, |script| keeper.read(script)).ok()?;
        self.slots[slot_of(of)].arbiter = Arbiter { keeper: Some(keeper), ..Arbiter::default() };
        Some(from_disk(found).capacity.blocks)
    }

    /// Run what only reads, in no time.
    pub(super) fn at_once<T>(&mut self, of: HeadId, mut run: impl FnMut(&Script<'_>) -> T) -> T {
        let mut answers = Vec::new();
        loop {
            let script = Script::new(&answers);
            let result = run(&script);
            let Some(job) = script.into_next() else { return result };
            let answer = self.do_job(of, &job);
            answers.push(answer);
        }
    }

    /// The disk does something for the code that keeps the superblock.
    fn do_job(&mut self, of: HeadId, job: &Job) -> Result<Done, DiskError> {
        if !matches!(job, Job::Measure)
            && let Some(error) = self.job_fails(of)
        {
            self.tear_job(job);
            return Err(error);
        }
        match job {
            Job::Measure => return Ok(Done::Size(self.disk.size_bytes(of))),
            Job::Read { offset } => {
                let sector = self.disk.media.sector(*offset).ok_or(DiskError::Medium)?;
                return Ok(Done::Sector(Box::new(sector)));
            }
            Job::Write { offset, sector, durable } => self.disk.media.write_sector(*offset, sector, *durable),
            Job::Zeroes { offset, len } => self.disk.media.clear(*offset, *len),
            Job::Flush => self.disk.media.flush(),
        }
        Ok(Done::Nothing)
    }

    /// It was cut short: some of it is there, or all, or nothing.
    pub(in crate::world) fn tear_job(&mut self, job: &Job) {
        let done = self.between(0, 2);
        match job {
            Job::Write { offset, sector, .. } if done == 1 => {
                self.disk.media.tear_sector(*offset, sector, &mut self.rng);
            }
            Job::Write { offset, sector, .. } if done == 2 => self.disk.media.write_sector(*offset, sector, false),
            Job::Zeroes { offset, len } => {
                for at in (*offset..offset + len).step_by(super::index(BLOCK_BYTES)) {
                    if done == 2 || (done == 1 && self.chance(50)) {
                        self.disk.media.clear(at, BLOCK_BYTES);
                    }
                }
            }
            Job::Write { .. } | Job::Measure | Job::Read { .. } | Job::Flush => {}
        }
    }

    pub(in crate::world) fn arbitrate(&mut self, of: HeadId, action: Action<Marks>) {
        self.slots[slot_of(of)].arbiter.queue.push_back(action);
        self.next_arbitration(of);
    }

    fn next_arbitration(&mut self, of: HeadId) {
        let arbiter = &mut self.slots[slot_of(of)].arbiter;
        if arbiter.busy || arbiter.queue.is_empty() {
            return;
        }
        arbiter.busy = true;
        let delay = if self.chance(5) { self.between(20, 500) } else { self.between(0, 10) };
        self.arbitrate_later(of, delay);
    }

    fn arbitrate_later(&mut self, of: HeadId, delay: u64) {
        let life = self.slots[slot_of(of)].life;
        self.at(delay, Entry::ArbiterEffect { of, life });
    }

    pub(in crate::world) fn on_arbiter_effect(&mut self, of: HeadId, life: Incarnation) -> Result<(), String> {
        let me = slot_of(of);
        if self.slots[me].life != life {
            return Ok(());
        }
        let Some(action) = self.slots[me].arbiter.queue.front().cloned() else { return Ok(()) };
        if let Some(job) = self.slots[me].arbiter.asked.take() {
            let dead = self.slots[me].head.is_none();
            let answer = match self.is_registered(of) {
                false => Err(DiskError::Fenced),
                true if dead => {
                    self.tear_job(&job);
                    Ok(Done::Nothing)
                }
                true => self.do_job(of, &job),
            };
            if answer != Err(DiskError::Fenced) {
                self.on_superblock_sector(of, &action, &job)?;
            }
            if dead {
                self.slots[me].arbiter.queue.clear();
                return Ok(());
            }
            self.slots[me].arbiter.answers.push(answer);
        }
        let beats = self.slots[me].arbiter.beats_under_way > 0;
        if beats && matches!(action, Action::Register { .. }) {
            // One of an earlier registration would not be refused any more.
            self.arbitrate_later(of, 1);
            return Ok(());
        }
        let ended = match self.slots[me].arbiter.ended.take() {
            None => self.go_on(of, &action)?,
            ended => ended,
        };
        let Some((event, keeper)) = ended else {
            let delay = if self.chance(3) { self.between(5, 100) } else { self.between(0, 3) };
            self.arbitrate_later(of, delay);
            return Ok(());
        };
        let arbiter = &mut self.slots[me].arbiter;
        if beats && Some(keeper.region()) != arbiter.region() {
            // One that goes where this head will not look any more.
            arbiter.ended = Some((event, keeper));
            self.arbitrate_later(of, 1);
            return Ok(());
        }
        arbiter.keeper = Some(keeper);
        arbiter.answers.clear();
        arbiter.queue.pop_front();
        arbiter.busy = false;
        if let (Action::WriteSuperblock(next), Event::SuperblockWritten(Ok(()))) = (&action, &event) {
            self.disk.written = self.disk.written.max(next.epoch);
        }
        self.next_arbitration(of);
        let delay = self.between(0, 3);
        self.at(delay, Entry::Deliver { to: of, life, event: Box::new(event) });
        Ok(())
    }

    /// What comes of an action, and what is known of the superblock then; `None`: the disk has to do something first.
    fn go_on(&mut self, of: HeadId, action: &Action<Marks>) -> Result<Ended, String> {
        let me = slot_of(of);
        let life = self.slots[me].life;
        let registered = self.is_registered(of);
        let mut keeper = self.slots[me].arbiter.keeper.clone().expect("a head has looked before it starts");
        let fenced = Err(StorageError::Fenced);
        let event = match action {
            Action::ReadSuperblock if registered => {
                let found = self.at_once(of, |script| keeper.read(script));
                Event::SuperblockRead(found.map(from_disk))
            }
            Action::ReadSuperblock => Event::SuperblockRead(Err(StorageError::Fenced)),
            Action::WriteSuperblock(next) => {
                let next = to_disk(next.clone());
                let result = self.step(of, &mut keeper, |keeper, script| keeper.write(script, &next));
                let Some(result) = result else { return Ok(None) };
                Event::SuperblockWritten(result)
            }
            Action::ClearOldPlace => {
                let result = self.step(of, &mut keeper, |keeper, script| keeper.clear_old_place(script));
                let Some(result) = result else { return Ok(None) };
                Event::OldPlaceCleared(result)
            }
            Action::Measure => {
                Event::Measured(self.at_once(of, |script| keeper.measure(script)).map(|blocks| blocks / SCALE))
            }
            Action::Register { .. } => {
                keeper.forget_prepared();
                self.disk.registered[me] = Some(life);
                Event::Registered(Ok(()))
            }
            Action::ChangeKey { .. } => Event::Registered(if registered { Ok(()) } else { fenced }),
            Action::Fence { .. } => Event::FenceDone(match registered {
                true => Ok(self.fence(of)?),
                false => Err(StorageError::Fenced),
            }),
            other => unreachable!("not for the arbiter: {other:?}"),
        };
        Ok(Some((event, keeper)))
    }

    /// Run what writes as far as the disk has answered. It runs from its beginning each time, with what the head knew then.
    fn step(
        &mut self,
        of: HeadId,
        known: &mut Keeper,
        run: impl Fn(&mut Keeper, &Script<'_>) -> Result<(), StorageError>,
    ) -> Option<Result<(), StorageError>> {
        let me = slot_of(of);
        loop {
            let mut keeper = known.clone();
            let script = Script::new(&self.slots[me].arbiter.answers);
            let result = run(&mut keeper, &script);
            match script.into_next() {
                None => {
                    *known = keeper;
                    return Some(result);
                }
                Some(job @ (Job::Measure | Job::Read { .. })) => {
                    let answer = self.do_job(of, &job);
                    self.slots[me].arbiter.answers.push(answer);
                }
                Some(job) => {
                    self.slots[me].arbiter.asked = Some(job);
                    return None;
                }
            }
        }
    }

    /// PREEMPT AND ABORT: what the other head has in flight is gone with its registration. Whether that is certain to have
    /// ended.
    fn fence(&mut self, of: HeadId) -> Result<bool, String> {
        let other = slot_of(of.other());
        let Some(victim) = self.disk.registered[other].take() else { return Ok(false) };
        self.abort_commands(victim);
        let arbiter = &self.slots[other].arbiter;
        if self.slots[other].life == victim
            && let (Some(job), Some(action)) = (arbiter.asked.clone(), arbiter.queue.front().cloned())
        {
            self.tear_job(&job);
            self.on_superblock_sector(of.other(), &action, &job)?;
        }
        Ok(self.slots[other].head.is_none() && self.chance(50))
    }

    /// A superblock may be there by now.
    fn on_superblock_sector(&mut self, of: HeadId, action: &Action<Marks>, job: &Job) -> Result<(), String> {
        let (Action::WriteSuperblock(next), Job::Write { offset, sector, .. }) = (action, job) else { return Ok(()) };
        let is_superblock = sector.starts_with(b"TWINHEAD");
        let is_there = self.disk.media.sector(*offset).is_some_and(|found| found == **sector);
        if !is_superblock || !is_there || self.disk.ownership == *next {
            return Ok(());
        }
        self.note(|| format!("disk: {next:?}"));
        epochs_grow(&self.disk.ownership, next)?;
        self.disk.ownership = next.clone();
        if next.owner == Some(of) {
            self.slots[slot_of(of)].owned = next.epoch;
        }
        disk_is_complete(next, &self.disk.media, &self.oracle)
    }

    pub(in crate::world) fn is_registered(&self, of: HeadId) -> bool {
        self.disk.registered[slot_of(of)] == Some(self.slots[slot_of(of)].life)
    }
}
