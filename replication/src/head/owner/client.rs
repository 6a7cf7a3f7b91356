//! Requests of clients: admission, what they wait for, and their answers.

use super::pending::PendingWrite;
use super::{Owner, OwnerMode};
use crate::block::{Data, Extent};
use crate::cache::Version;
use crate::head::Core;
use crate::head::event::{Action, DiskCommand, IoError, OpId, Operation, Outcome, Request};
use crate::message::Message;

/// A read that waits for the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct DiskRead<D> {
    pub(super) op: Option<OpId>,
    extent: Extent,
    /// What is read from the disk: from the first block that RAM does not have to the last.
    span: Extent,
    /// What RAM had when the read was admitted, in disk order.
    overlay: Vec<(Extent, D)>,
    /// The operation that depends on what is there, instead of a client that reads.
    before: Option<Request<D>>,
}

impl<D> DiskRead<D> {
    pub(super) fn span(&self) -> Extent {
        self.span
    }
}

impl<D: Data> Owner<D> {
    pub(super) fn on_request(&mut self, core: &mut Core<D>, request: Request<D>) {
        if !self.serves() {
            core.answer(request.op, Outcome::NotServing);
            return;
        }
        match &request.operation {
            Operation::Read(extent) => {
                let extent = *extent;
                if let Some(write) = self.blocking(extent) {
                    write.waiting.push_back(request);
                } else {
                    self.read(core, request.op, extent);
                }
            }
            Operation::Write { extent, .. }
            | Operation::CompareAndWrite { extent, .. }
            | Operation::Or { extent, .. } => {
                let extent = *extent;
                if let Some(write) = self.blocking(extent) {
                    write.waiting.push_back(request);
                } else if self.has_room(core, extent) && self.throttled.is_empty() {
                    self.change(core, request);
                } else {
                    self.throttled.push_back(request);
                }
            }
            Operation::Map(_) => self.map(core, request),
            Operation::Flush => self.syncs.push(request.op),
            Operation::Ask(_) => self.ask(core, request),
        }
    }

    /// A client has given up: what has not begun must not begin. What has begun ends as ever.
    pub(super) fn on_cancel(&mut self, core: &mut Core<D>, op: OpId) {
        let waiting = self.throttled.len() + self.syncs.len();
        self.throttled.retain(|request| request.op != op);
        self.syncs.retain(|sync| *sync != op);
        let looked = self.reads.values_mut().any(|read| {
            let found = read.before.take_if(|request| request.op == op).is_some();
            read.op.take_if(|_| found);
            found
        });
        if looked || self.throttled.len() + self.syncs.len() < waiting || self.pending.forget_waiting(op) {
            core.answer(op, Outcome::NotServing);
        }
    }

    /// The other head is gone, and its clients look for their data elsewhere: what they wanted must not begin any more.
    pub(super) fn drop_received(&mut self, core: &mut Core<D>) {
        for op in core.forget_received() {
            self.on_cancel(core, op);
        }
    }

    pub(super) fn blocking(&mut self, extent: Extent) -> Option<&mut PendingWrite<D>> {
        let version = self.pending.meets(extent)?;
        self.pending.get_mut(version)
    }

    /// Whether a write may be admitted: within the dirty limit, and never while degrading, which would never end. Where
    /// the disk decides anyway, what an earlier owner left to drain does not hold up new writes.
    fn has_room(&self, core: &Core<D>, extent: Extent) -> bool {
        let held = match self.mode {
            OwnerMode::Degrading => return false,
            OwnerMode::Mirrored { .. } => core.memory.map.blocks(),
            OwnerMode::Solo { .. } | OwnerMode::Joining { .. } => self.pending.blocks(),
        };
        held == 0 || held + extent.blocks <= self.limit.blocks()
    }

    /// Begin what changes blocks.
    fn change(&mut self, core: &mut Core<D>, request: Request<D>) {
        match request.operation {
            Operation::Write { extent, data, fua } => self.write(core, request.op, extent, data, fua),
            Operation::CompareAndWrite { extent, .. } | Operation::Or { extent, .. } => {
                self.look_before(core, request, extent);
            }
            Operation::Read(_) | Operation::Map(_) | Operation::Flush | Operation::Ask(_) => {}
        }
    }

    fn write(&mut self, core: &mut Core<D>, op: OpId, extent: Extent, data: D, fua: bool) {
        self.newest = self.newest.next();
        let version = self.newest;
        let owed = matches!(self.mode, OwnerMode::Mirrored { .. });
        let position = self.stream_mut().map(|stream| {
            stream.sent += 1;
            (stream.tag, stream.sent)
        });
        if let Some((tag, position)) = position {
            core.send(Message::Write { tag, position, version, extent, data: data.clone() });
        }
        core.memory.map.insert(extent, version, data, owed);
        self.pending.insert(
            version,
            PendingWrite {
                op,
                extent,
                fua,
                position: position.map(|(_, position)| position),
                disk_left: extent.blocks,
                flush_asked: false,
                flushed: false,
                waiting: std::collections::VecDeque::new(),
            },
        );
    }

    /// Whether the rule of the present mode lets this write be acknowledged.
    pub(super) fn may_acknowledge(&self, core: &Core<D>, write: &PendingWrite<D>) -> bool {
        let on_disk = write.disk_left == 0 && (!write.fua || write.flushed);
        let mirrored = |confirmed: u64| write.position.is_some_and(|position| position <= confirmed);
        match self.mode {
            OwnerMode::Solo { .. } => on_disk,
            OwnerMode::Joining { stream, .. } => on_disk && mirrored(stream.confirmed),
            OwnerMode::Mirrored { stream } => mirrored(stream.confirmed) && self.marked_dirty(core),
            OwnerMode::Degrading => false,
        }
    }

    /// Acknowledge one write if it may be, and look again at what waited on it.
    pub(super) fn try_acknowledge(&mut self, core: &mut Core<D>, version: Version) {
        let Some(write) = self.pending.get_mut(version) else { return };
        let wants_flush = write.fua && write.disk_left == 0 && !write.flush_asked;
        if wants_flush && !matches!(self.mode, OwnerMode::Mirrored { .. } | OwnerMode::Degrading) {
            write.flush_asked = true;
            self.flusher.want_for(version);
        }
        let ready = self.pending.get(version).is_some_and(|write| self.may_acknowledge(core, write));
        if ready {
            self.end_write(core, version, Outcome::Done);
        }
    }

    /// Acknowledge everything that may be: after a change of what the rule is.
    pub(super) fn acknowledge_all(&mut self, core: &mut Core<D>) {
        let versions: Vec<_> = self.pending.iter().map(|(version, _)| version).collect();
        for version in versions {
            self.try_acknowledge(core, version);
        }
    }

    pub(super) fn end_write(&mut self, core: &mut Core<D>, version: Version, outcome: Outcome<D>) {
        let Some(write) = self.pending.remove(version) else { return };
        self.complete(core, write.op, outcome);
        for request in write.waiting {
            self.on_request(core, request);
        }
    }

    /// Admit writes that waited for room, in their order.
    pub(super) fn admit_waiting(&mut self, core: &mut Core<D>) {
        while let Some(extent) = self.throttled.front().and_then(|request| request.operation.extent()) {
            if let Some(version) = self.pending.meets(extent) {
                let request = self.throttled.pop_front().expect("just seen");
                self.pending.get_mut(version).expect("just found").waiting.push_back(request);
            } else if self.has_room(core, extent) {
                let request = self.throttled.pop_front().expect("just seen");
                self.change(core, request);
            } else {
                return;
            }
        }
    }

    /// Mirrored, every acknowledged write is in two RAMs, and a flush has nothing to wait for. Otherwise it waits until
    /// the disk owes nothing, and for the disk's own cache.
    pub(super) fn answer_syncs(&mut self, core: &mut Core<D>) {
        if self.syncs.is_empty() {
            return;
        }
        match self.mode {
            OwnerMode::Mirrored { .. } => {
                for op in std::mem::take(&mut self.syncs) {
                    self.complete(core, op, Outcome::Done);
                }
            }
            OwnerMode::Solo { .. } | OwnerMode::Joining { .. } if !core.memory.map.owes() => {
                for op in std::mem::take(&mut self.syncs) {
                    self.flusher.want_sync(op);
                }
            }
            OwnerMode::Solo { .. } | OwnerMode::Joining { .. } | OwnerMode::Degrading => {}
        }
    }

    pub(super) fn on_drain(&mut self, core: &mut Core<D>, op: OpId) {
        if self.serves() {
            self.drains.push(op);
        } else {
            core.answer(op, Outcome::NotServing);
        }
    }

    /// What RAM has written to the disk is kept until it is flushed, while there is a mirror; otherwise not, so a drain ends
    /// with a flush of its own.
    pub(super) fn answer_drains(&mut self, core: &Core<D>) {
        let nothing_waits = self.pending.is_empty() && self.throttled.is_empty() && self.reads.is_empty();
        if nothing_waits && self.runs.is_empty() && core.memory.map.is_empty() {
            for op in std::mem::take(&mut self.drains) {
                self.flusher.want_sync(op);
            }
        }
    }

    fn read(&mut self, core: &mut Core<D>, op: OpId, extent: Extent) {
        let overlay = in_ram(core, extent);
        let Some(span) = uncovered_span(extent, &overlay) else {
            let data = overlay.into_iter().map(|(_, data)| data).collect();
            self.complete(core, op, Outcome::Data(data));
            return;
        };
        let id = core.next_io();
        self.reads.insert(id, DiskRead { op: Some(op), extent, span, overlay, before: None });
        core.actions.push_back(Action::Disk { id, command: DiskCommand::Read(span) });
    }

    /// COMPARE AND WRITE, ORWRITE: see what is there. What is on its way from RAM to the disk may land only after it is read
    /// there, and be dropped from RAM: what RAM has is kept, as for a read. The disk is asked for all of the blocks, also for
    /// those that RAM has, so that nothing newer goes to the disk before the answer comes.
    fn look_before(&mut self, core: &mut Core<D>, request: Request<D>, extent: Extent) {
        let overlay = in_ram(core, extent);
        if uncovered_span(extent, &overlay).is_none() {
            let data: Vec<D> = overlay.into_iter().map(|(_, data)| data).collect();
            self.change_over(core, request, &data);
            return;
        }
        let id = core.next_io();
        let (op, span) = (Some(request.op), extent);
        self.reads.insert(id, DiskRead { op, extent, span, overlay, before: Some(request) });
        core.actions.push_back(Action::Disk { id, command: DiskCommand::Read(span) });
    }

    /// The disk has said what is there. Writes that have come meanwhile count; one that is not acknowledged is waited for.
    fn change_over_disk(&mut self, core: &mut Core<D>, request: Request<D>, mut read: DiskRead<D>, disk: &D) {
        if !self.serves() {
            self.complete(core, request.op, Outcome::NotServing);
        } else if let Some(write) = self.blocking(read.extent) {
            write.waiting.push_back(request);
        } else if self.has_room(core, read.extent) {
            read.overlay = over(in_ram(core, read.extent), &read.overlay);
            self.change_over(core, request, &read.assemble(disk));
        } else {
            self.throttled.push_front(request);
        }
    }

    /// Looking at what is there and the write are one step: nothing can come between.
    fn change_over(&mut self, core: &mut Core<D>, request: Request<D>, present: &[D]) {
        match request.operation {
            Operation::CompareAndWrite { extent, data, fua } => {
                if let Some(at) = first_difference(core, present, &data) {
                    self.complete(core, request.op, Outcome::Miscompare(at));
                } else {
                    self.write(core, request.op, extent, data.slice(extent.blocks, extent.blocks), fua);
                }
            }
            Operation::Or { extent, data, fua } => self.write(core, request.op, extent, data.or(present), fua),
            Operation::Read(_) | Operation::Map(_) | Operation::Write { .. } | Operation::Flush | Operation::Ask(_) => {
            }
        }
    }

    pub(super) fn on_read_done(
        &mut self,
        core: &mut Core<D>,
        mut read: DiskRead<D>,
        result: Result<Option<D>, IoError>,
    ) {
        let Some(op) = read.op else { return };
        let outcome = match result {
            Ok(Some(data)) if data.blocks() == read.span.blocks && read.before.is_some() => {
                if let Some(request) = read.before.take() {
                    self.change_over_disk(core, request, read, &data);
                }
                return;
            }
            Ok(Some(data)) if data.blocks() == read.span.blocks => Outcome::Data(read.assemble(&data)),
            Ok(_) => Outcome::Failed(IoError::Path),
            Err(error) => Outcome::Failed(error),
        };
        self.complete(core, op, outcome);
    }
}

impl<D: Data> DiskRead<D> {
    /// RAM over disk.
    fn assemble(&self, disk: &D) -> Vec<D> {
        let mut parts = Vec::with_capacity(2 * self.overlay.len() + 1);
        let mut at = self.extent.lba;
        let from_disk = |from: u64, to: u64| (from < to).then(|| disk.slice(from - self.span.lba, to - from));
        for (extent, data) in &self.overlay {
            parts.extend(from_disk(at, extent.lba));
            parts.push(data.clone());
            at = extent.end();
        }
        parts.extend(from_disk(at, self.extent.end()));
        parts
    }
}

/// The first byte in which `present` is not as `expected`.
fn first_difference<D: Data>(core: &Core<D>, present: &[D], expected: &D) -> Option<u64> {
    let mut lba = 0;
    present.iter().find_map(|part| {
        let from = lba;
        lba += part.blocks();
        let offset = part.first_difference(&expected.slice(from, part.blocks()))?;
        Some(from * u64::from(core.config.block_bytes) + offset)
    })
}

/// What RAM has of `extent`, in disk order.
fn in_ram<D: Data>(core: &Core<D>, extent: Extent) -> Vec<(Extent, D)> {
    let pieces = core.memory.map.overlapping(extent).filter_map(|(at, piece)| {
        let part = at.intersection(extent)?;
        Some((part, piece.data.slice(part.lba - at.lba, part.blocks)))
    });
    pieces.collect()
}

/// The newer ones, and what they leave of the older ones, in disk order.
fn over<D: Data>(newer: Vec<(Extent, D)>, older: &[(Extent, D)]) -> Vec<(Extent, D)> {
    let mut left = Vec::new();
    for (extent, data) in older {
        let mut at = extent.lba;
        let mut keep = |from: u64, to: u64| {
            if from < to {
                left.push((Extent::new(from, to - from), data.slice(from - extent.lba, to - from)));
            }
        };
        for (of, _) in newer.iter().filter(|(of, _)| of.overlaps(*extent)) {
            keep(at, of.lba);
            at = of.end();
        }
        keep(at, extent.end());
    }
    left.extend(newer);
    left.sort_unstable_by_key(|(extent, _)| extent.lba);
    left
}

/// From the first block of `extent` that `overlay` (in disk order) does not cover to the last one.
fn uncovered_span<D>(extent: Extent, overlay: &[(Extent, D)]) -> Option<Extent> {
    let mut first = extent.lba;
    for (at, _) in overlay {
        if at.lba != first {
            break;
        }
        first = at.end();
    }
    let mut end = extent.end();
    for (at, _) in overlay.iter().rev() {
        if at.end() != end {
            break;
        }
        end = at.lba;
    }
    (first < end).then(|| Extent::new(first, end - first))
}
