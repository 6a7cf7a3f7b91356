//! From RAM to the disk.
//!
//! A disk write never overlaps another disk operation in flight: not an older write (it could land later) and not a read
//! (it would return half of it). Mirrored, only what is acknowledged is destaged, in disk order and once it has aged a
//! little; in every other mode everything at once. What the disk has written is *flushed* before the mirror may forget
//! it, since it was acknowledged as durable.

use super::{Owner, OwnerMode};
use crate::block::{Data, Extent, Millis};
use crate::cache::{Run, Version};
use crate::head::Core;
use crate::head::event::{Action, DiskCommand, IoError, IoId, OpId, Outcome};
use crate::message::Message;

/// Disk writes in flight at the most.
const RUNS_MAX: usize = 64;
/// How long a block stays in RAM before it is destaged, so that what is rewritten at once is written once.
const AGE_MS: u64 = 100;
/// What was written is flushed after this many runs even if the disk is never idle.
const FLUSH_RUNS: usize = 256;
/// A failed disk write is tried again after this long.
const RETRY_MS: u64 = 500;

/// Flushes: one in flight, and what the next one is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Flusher {
    in_flight: Option<(IoId, Job)>,
    next: Job,
}

/// What a flush makes durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Job {
    syncs: Vec<OpId>,
    writes: Vec<Version>,
    /// Extents that the disk has written, to be released.
    written: Vec<(Extent, Version)>,
}

impl Job {
    fn is_empty(&self) -> bool {
        self.syncs.is_empty() && self.writes.is_empty() && self.written.is_empty()
    }

    fn is_urgent(&self) -> bool {
        !self.syncs.is_empty() || !self.writes.is_empty()
    }
}

impl Flusher {
    pub(super) fn want_sync(&mut self, op: OpId) {
        self.next.syncs.push(op);
    }

    pub(super) fn want_for(&mut self, version: Version) {
        self.next.writes.push(version);
    }

    pub(super) fn is(&self, id: IoId) -> bool {
        self.in_flight.as_ref().is_some_and(|(flush, _)| *flush == id)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    pub(super) fn has_nothing_to_do(&self) -> bool {
        self.is_idle() && self.next.is_empty()
    }

    pub(super) fn drain_ops(&mut self) -> impl Iterator<Item = OpId> + use<> {
        let Self { in_flight, next } = std::mem::take(self);
        in_flight.into_iter().flat_map(|(_, job)| job.syncs).chain(next.syncs)
    }
}

impl<D: Data> Owner<D> {
    /// Give the disk what it may have.
    pub(super) fn destage(&mut self, core: &mut Core<D>) {
        if self.handing_over_now() || core.now < self.retry_after {
            return;
        }
        self.ripen(core);
        while self.runs.len() < RUNS_MAX {
            let Self { mode, pending, reads, runs, .. } = self;
            let acknowledged_only = matches!(mode, OwnerMode::Mirrored { .. });
            let blocked = |extent: Extent| {
                (acknowledged_only && pending.meets(extent).is_some())
                    || runs.values().any(|run| run.extent.overlaps(extent))
                    || reads.values().any(|read| read.span().overlaps(extent))
            };
            let Some(run) = core.memory.map.next_run(core.config.max_run_blocks, blocked) else { return };
            self.limit.on_busy(core.now);
            let id = core.next_io();
            let data = || run.pieces.iter().map(|(_, _, data)| data.clone()).collect();
            let command = if run.is_hole() {
                DiskCommand::Deallocate(run.extent)
            } else {
                DiskCommand::Write(run.extent, data())
            };
            core.actions.push_back(Action::Disk { id, command });
            self.runs.insert(id, run);
        }
    }

    /// Decide what is old enough.
    fn ripen(&mut self, core: &mut Core<D>) {
        let pressure = core.memory.map.blocks() > self.limit.blocks() / 2;
        if pressure || !matches!(self.mode, OwnerMode::Mirrored { .. }) {
            core.memory.map.ripen(self.newest);
        }
    }

    pub(super) fn on_age(&mut self, core: &mut Core<D>) {
        if !matches!(self.mode, OwnerMode::Mirrored { .. }) {
            self.ages.clear();
            return;
        }
        if self.ages.back().is_none_or(|(_, newest)| *newest < self.newest) {
            self.ages.push_back((core.now, self.newest));
        }
        while let Some(&(seen, version)) = self.ages.front()
            && old_enough(core.now, seen)
        {
            self.ages.pop_front();
            core.memory.map.ripen(version);
        }
    }

    pub(super) fn on_run_done(&mut self, core: &mut Core<D>, run: &Run<D>, error: Option<IoError>) {
        if let Some(error) = error {
            self.on_run_failed(core, run, error);
            return;
        }
        self.limit.on_written(core.now, run.extent.blocks, run.is_hole(), self.runs.is_empty());
        let keep = !matches!(self.mode, OwnerMode::Solo { .. });
        core.memory.map.finish_run(run, keep);
        for (extent, version, _) in &run.pieces {
            if keep {
                self.flusher.next.written.push((*extent, *version));
            }
            if let Some(write) = self.pending.get_mut(*version) {
                write.disk_left = write.disk_left.saturating_sub(extent.blocks);
                self.try_acknowledge(core, *version);
            }
        }
    }

    /// Nothing acknowledged is given up: it is tried again. A write that still waits for the disk alone is answered with
    /// the error, and forgotten unless it stands in the place of acknowledged data.
    fn on_run_failed(&mut self, core: &mut Core<D>, run: &Run<D>, error: IoError) {
        core.memory.map.fail_run(run);
        self.retry_after = core.now.after(RETRY_MS);
        let blocks = run.extent.blocks;
        core.announce(format!("writing {blocks} blocks at {} to the disk failed: {error:?}", run.extent.lba));
        if !matches!(self.mode, OwnerMode::Solo { .. }) {
            return;
        }
        for (extent, version, _) in &run.pieces {
            if self.pending.get(*version).is_none() {
                continue;
            }
            let owed = core.memory.map.overlapping(*extent).any(|(_, piece)| piece.version == *version && piece.owed);
            if !owed {
                core.memory.map.remove_up_to(*extent, *version);
            }
            self.end_write(core, *version, Outcome::Failed(error));
        }
    }

    /// Begin a flush when somebody waits for it, or when there is something to release and nothing better to do.
    pub(super) fn flush(&mut self, core: &mut Core<D>) {
        let next = &self.flusher.next;
        let due = next.is_urgent() || self.runs.is_empty() || next.written.len() >= FLUSH_RUNS;
        if !self.flusher.is_idle() || next.is_empty() || !due || self.handing_over_now() || core.now < self.retry_after
        {
            return;
        }
        let id = core.next_io();
        self.flusher.in_flight = Some((id, std::mem::take(&mut self.flusher.next)));
        core.actions.push_back(Action::Disk { id, command: DiskCommand::Flush });
    }

    pub(super) fn on_flush_done(&mut self, core: &mut Core<D>, error: Option<IoError>) {
        let Some((_, job)) = self.flusher.in_flight.take() else { return };
        if let Some(error) = error {
            core.announce(format!("flushing the disk failed: {error:?}"));
            self.retry_after = core.now.after(RETRY_MS);
            let next = &mut self.flusher.next;
            next.written.extend(job.written);
            next.writes.extend(job.writes);
            for op in job.syncs {
                self.complete(core, op, Outcome::Failed(error));
            }
            return;
        }
        let tag = self.stream_mut().map(|stream| stream.tag);
        for (extent, version) in job.written {
            core.memory.map.remove_up_to(extent, version);
            if let Some(tag) = tag {
                core.send(Message::Release { tag, extent, version });
            }
        }
        for version in job.writes {
            if let Some(write) = self.pending.get_mut(version) {
                write.flushed = true;
                self.try_acknowledge(core, version);
            }
        }
        for op in job.syncs {
            self.complete(core, op, Outcome::Done);
        }
    }

    /// Whether nothing is in flight to the disk.
    pub(super) fn disk_is_quiet(&self) -> bool {
        self.runs.is_empty() && self.reads.is_empty() && self.flusher.is_idle()
    }
}

fn old_enough(now: Millis, seen: Millis) -> bool {
    now.since(seen) >= AGE_MS
}
