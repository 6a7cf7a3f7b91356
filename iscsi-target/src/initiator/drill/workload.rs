//! What the drill does: random writes and reads, never two overlapping writes in flight; and what it makes of the answers.
//!
//! ```text
//!  Work --stop()--> Drain --all answered--> Verify --all read--> Done
//! ```
//! A block that is not what it must be is read once more, alone, while no write may touch it: if it is right then, the
//! first read was *stale*, else the write is *lost*.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;

use super::block::{self, Stamp};
use super::oracle::{Found, Oracle, Violation};
use super::pause::PauseMeter;
use super::random::SplitMix64;
use super::report::{DrillReport, Latency, Phase};
use crate::initiator::command::{Answer, Command};

/// Sizes of reads and writes, drawn evenly.
const SIZES_BYTES: [u32; 8] = [512, 1024, 4096, 4096, 8192, 16384, 32768, 65536];
/// Size of a read of the verification.
const VERIFY_BYTES: u32 = 65536;
/// Of a hundred commands so many are reads, and of a hundred writes so many have FUA.
const READ_PERCENT: u64 = 30;
const FUA_PERCENT: u64 = 5;
/// Commands between two SYNCHRONIZE CACHE.
const FLUSH_INTERVAL: u32 = 50;
/// Writes that count as recent.
const MAX_RECENT: usize = 256;
/// Attempts to find a place that no write is at.
const MAX_PICKS: u32 = 16;
/// The slowest latency that the histogram tells from slower ones: an hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// Names a command of the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Work,
    Drain,
    Verify,
    Done,
}

#[derive(Debug)]
enum Op {
    Write {
        lbas: Range<u64>,
        write: u64,
    },
    Read {
        lbas: Range<u64>,
        floors: Vec<u64>,
    },
    /// The second look at a violation.
    Confirm {
        first: Violation,
        floor: u64,
    },
    Flush,
}

#[derive(Debug)]
struct Running {
    op: Op,
    issued_at: Duration,
}

/// See the module's description.
#[derive(Debug)]
pub struct Workload {
    oracle: Oracle,
    block_bytes: u32,
    depth: usize,
    random: SplitMix64,
    stage: Stage,
    running: BTreeMap<OpId, Running>,
    next_op: u64,
    next_write: u64,
    /// Blocks that were written at some time, for the reads to choose from.
    written: Vec<u64>,
    /// The last writes acknowledged: what a failover loses, if it loses anything, is among them.
    recent: VecDeque<Range<u64>>,
    verifying: VecDeque<Range<u64>>,
    /// Violations waiting for their second look, and all that had none yet, by block.
    confirming: VecDeque<Violation>,
    suspects: BTreeSet<u64>,
    since_flush: u32,
    lost_writes: BTreeSet<u64>,
    started: Duration,
    meter: PauseMeter,
    phase: Phase,
    latency_us: Histogram<u64>,
    report: DrillReport,
}

impl Workload {
    /// Write to and read from the blocks of `oracle`, `depth` commands at a time.
    #[must_use]
    pub fn new(oracle: Oracle, block_bytes: u32, depth: usize, seed: u64, now: Duration) -> Self {
        let last_write = oracle.blocks().iter().map(|known| known.issued).max().unwrap_or_default();
        let written = (oracle.offset()..).zip(oracle.blocks()).filter(|(_, known)| known.floor() > 0);
        Self {
            written: written.map(|(lba, _)| lba).collect(),
            oracle,
            block_bytes,
            depth: depth.max(1),
            random: SplitMix64::new(seed),
            stage: Stage::Work,
            running: BTreeMap::new(),
            next_op: 0,
            next_write: last_write + 1,
            recent: VecDeque::new(),
            verifying: VecDeque::new(),
            confirming: VecDeque::new(),
            suspects: BTreeSet::new(),
            since_flush: 0,
            lost_writes: BTreeSet::new(),
            started: now,
            meter: PauseMeter::default(),
            phase: Phase { name: "start".to_owned(), ..Phase::default() },
            latency_us: new_histogram(),
            report: DrillReport { version: 1, ..DrillReport::default() },
        }
    }

    /// The next command to send, if there is one now.
    pub fn poll_command(&mut self, now: Duration) -> Option<(OpId, Command)> {
        self.advance_stage();
        if self.running.len() >= self.depth {
            return None;
        }
        let (op, command) = self.next_confirmation().or_else(|| match self.stage {
            Stage::Work => self.next_work(),
            Stage::Verify => self.next_verification(),
            Stage::Drain | Stage::Done => None,
        })?;
        let id = OpId(self.next_op);
        self.next_op += 1;
        self.running.insert(id, Running { op, issued_at: now });
        self.meter.on_issue(now);
        Some((id, command))
    }

    /// The final answer to a command.
    pub fn handle_answer(&mut self, id: OpId, answer: &Answer, now: Duration) {
        let Some(Running { op, issued_at }) = self.running.remove(&id) else { return };
        self.meter.on_completion(now);
        let latency = u64::try_from((now.saturating_sub(issued_at)).as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(latency);
        if !answer.is_good() {
            self.report.add_error(format!("{op:?} failed: {answer}"));
        }
        match op {
            Op::Write { lbas, write } if answer.is_good() => self.on_written(lbas, write),
            Op::Read { lbas, floors } if answer.is_good() => self.on_read(&lbas, &floors, &answer.data),
            Op::Confirm { first, floor } => self.on_confirmed(&first, floor, answer),
            Op::Write { .. } | Op::Read { .. } | Op::Flush => {}
        }
    }

    /// A new phase begins; what was written in the old one is read again.
    pub fn mark(&mut self, name: &str, now: Duration) {
        self.end_phase(now);
        self.phase = Phase { name: name.to_owned(), at_ms: ms(now.saturating_sub(self.started)), ..Phase::default() };
        if self.stage == Stage::Work {
            self.verify_all();
        }
    }

    /// No more writes: let what is in flight end, then verify.
    pub fn stop(&mut self) {
        if self.stage == Stage::Work {
            self.stage = Stage::Drain;
        }
    }

    /// Whether everything is written, answered and verified.
    pub fn is_done(&mut self) -> bool {
        self.advance_stage();
        self.stage == Stage::Done
    }

    /// What is known about the blocks.
    #[must_use]
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The verdict, so far or for good.
    #[must_use]
    pub fn report(&mut self, now: Duration) -> DrillReport {
        self.end_phase(now);
        self.report.seconds = now.saturating_sub(self.started).as_secs_f64();
        self.report.writes_lost = u64::try_from(self.lost_writes.len()).unwrap_or(u64::MAX);
        self.report.latency_us = Latency {
            p50: self.latency_us.value_at_quantile(0.5),
            p99: self.latency_us.value_at_quantile(0.99),
            max: self.latency_us.max(),
        };
        if !self.running.is_empty() {
            self.report.add_error(format!("{} commands were never answered", self.running.len()));
        }
        self.report.clone()
    }

    fn advance_stage(&mut self) {
        let is_quiet = self.running.is_empty() && self.confirming.is_empty();
        match self.stage {
            Stage::Drain if is_quiet => {
                self.stage = Stage::Verify;
                self.verify_all();
            }
            Stage::Verify if is_quiet && self.verifying.is_empty() => self.stage = Stage::Done,
            _ => {}
        }
    }

    fn end_phase(&mut self, now: Duration) {
        let longest_pause_ms = ms(self.meter.longest(now));
        self.meter.next_phase();
        self.report.longest_pause_ms = self.report.longest_pause_ms.max(longest_pause_ms);
        let phase = std::mem::take(&mut self.phase);
        self.report.phases.push(Phase { longest_pause_ms, ..phase });
    }

    fn next_work(&mut self) -> Option<(Op, Command)> {
        if self.since_flush >= FLUSH_INTERVAL {
            self.since_flush = 0;
            return Some((Op::Flush, Command::synchronize_cache()));
        }
        self.since_flush += 1;
        let is_write = self.written.is_empty() || self.random.below(100) >= READ_PERCENT;
        if is_write && let Some(write) = self.next_write() {
            return Some(write);
        }
        if !self.verifying.is_empty() {
            return self.next_verification();
        }
        let lbas = self.random_written()?;
        Some(self.read(lbas))
    }

    /// Half of the time what was written lately, else what was written at any time.
    fn random_written(&mut self) -> Option<Range<u64>> {
        if self.random.below(2) == 0 {
            let index = self.random.below(u64::try_from(self.recent.len()).unwrap_or(u64::MAX));
            return self.recent.get(usize::try_from(index).ok()?).cloned();
        }
        let start = *self.random.choose(&self.written)?;
        Some(start..self.end().min(start + self.random_blocks()))
    }

    fn next_write(&mut self) -> Option<(Op, Command)> {
        let blocks = self.random_blocks();
        let region = self.end() - self.oracle.offset();
        for _ in 0..MAX_PICKS {
            let start = self.oracle.offset() + self.random.below(region.saturating_sub(blocks) + 1);
            let lbas = start..self.end().min(start + blocks);
            let suspects = self.suspects.range(lbas.clone()).next();
            if suspects.is_none() && !self.is_being_written(&lbas) {
                return Some(self.write(lbas));
            }
        }
        None
    }

    fn write(&mut self, lbas: Range<u64>) -> (Op, Command) {
        let write = self.next_write;
        self.next_write += 1;
        let mut data = Vec::new();
        for lba in lbas.clone() {
            let stamp = Stamp { run: self.oracle.run(), lba, write };
            block::emit(stamp, usize::try_from(self.block_bytes).unwrap_or_default(), &mut data);
        }
        self.oracle.issue(lbas.clone(), write);
        let fua = self.random.below(100) < FUA_PERCENT;
        let command = Command::write(lbas.start, blocks(&lbas), Bytes::from(data), fua);
        (Op::Write { lbas, write }, command)
    }

    fn read(&self, lbas: Range<u64>) -> (Op, Command) {
        let command = Command::read(lbas.start, blocks(&lbas), self.block_bytes);
        let floors = self.oracle.floors(lbas.clone());
        (Op::Read { lbas, floors }, command)
    }

    fn next_verification(&mut self) -> Option<(Op, Command)> {
        let lbas = self.verifying.pop_front()?;
        Some(self.read(lbas))
    }

    fn next_confirmation(&mut self) -> Option<(Op, Command)> {
        let is_free = |violation: &Violation| !self.is_being_written(&(violation.lba..violation.lba + 1));
        let index = self.confirming.iter().position(is_free)?;
        let first = self.confirming.remove(index)?;
        let command = Command::read(first.lba, 1, self.block_bytes);
        let floor = self.oracle.floors(first.lba..first.lba + 1).first().copied().unwrap_or_default();
        Some((Op::Confirm { first, floor }, command))
    }

    fn is_being_written(&self, lbas: &Range<u64>) -> bool {
        self.running.values().any(|running| match &running.op {
            Op::Write { lbas: other, .. } => other.start < lbas.end && lbas.start < other.end,
            Op::Read { .. } | Op::Confirm { .. } | Op::Flush => false,
        })
    }

    fn on_written(&mut self, lbas: Range<u64>, write: u64) {
        self.report.writes_acknowledged += 1;
        self.phase.writes += 1;
        for (lba, floor) in lbas.clone().zip(self.oracle.floors(lbas.clone())) {
            if floor == 0 {
                self.written.push(lba);
            }
        }
        self.oracle.acknowledge(lbas.clone(), write);
        self.recent.push_back(lbas);
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_front();
        }
    }

    fn on_read(&mut self, lbas: &Range<u64>, floors: &[u64], data: &[u8]) {
        let block_bytes = usize::try_from(self.block_bytes).unwrap_or(usize::MAX);
        if data.len() != block_bytes.saturating_mul(floors.len()) {
            self.report.add_error(format!("a read of blocks {lbas:?} returned {} bytes", data.len()));
            return;
        }
        self.report.reads_verified += 1;
        for ((lba, floor), bytes) in lbas.clone().zip(floors).zip(data.chunks_exact(block_bytes)) {
            if let Err(violation) = self.oracle.check(lba, *floor, bytes)
                && self.suspects.insert(lba)
            {
                self.confirming.push_back(violation);
            }
        }
    }

    fn on_confirmed(&mut self, first: &Violation, floor: u64, answer: &Answer) {
        self.suspects.remove(&first.lba);
        let second = self.oracle.check(first.lba, floor, &answer.data).err();
        let verdict = match (first.found, second) {
            (Found::Torn, _) | (_, Some(Violation { found: Found::Torn, .. })) => {
                self.report.torn_blocks += 1;
                "torn"
            }
            (_, Some(Violation { found: Found::Older(write), acknowledged, .. })) if write >= acknowledged => {
                self.report.stale_reads += 1;
                "stale"
            }
            (_, Some(Violation { acknowledged, .. })) => {
                self.lost_writes.insert(acknowledged);
                "lost"
            }
            (_, None) => {
                self.report.stale_reads += 1;
                "stale"
            }
        };
        self.report.add_error(format!("{verdict}: {first}"));
        if second.is_some() {
            self.oracle.forget(first.lba);
        }
    }

    /// Queue a read of everything that is known.
    fn verify_all(&mut self) {
        let step = blocks_of(VERIFY_BYTES, self.block_bytes);
        self.verifying.clear();
        let mut start = self.oracle.offset();
        while start < self.end() {
            let lbas = start..self.end().min(start + step);
            start = lbas.end;
            if self.oracle.floors(lbas.clone()).iter().any(|floor| *floor > 0) {
                self.verifying.push_back(lbas);
            }
        }
    }

    fn random_blocks(&mut self) -> u64 {
        let bytes = self.random.choose(&SIZES_BYTES).copied().unwrap_or(VERIFY_BYTES);
        blocks_of(bytes, self.block_bytes).min(self.end() - self.oracle.offset())
    }

    /// The block behind the last one.
    fn end(&self) -> u64 {
        self.oracle.offset() + u64::try_from(self.oracle.blocks().len()).unwrap_or(u64::MAX)
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(MAX_LATENCY_US, 3).expect("the bounds are constants that fit")
}

fn blocks_of(bytes: u32, block_bytes: u32) -> u64 {
    u64::from(bytes.div_ceil(block_bytes.max(1)))
}

fn blocks(lbas: &Range<u64>) -> u32 {
    u32::try_from(lbas.end - lbas.start).unwrap_or(u32::MAX)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
