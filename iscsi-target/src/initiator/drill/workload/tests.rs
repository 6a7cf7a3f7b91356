//! The workload against a disk in memory that can misbehave: each misdeed must be found, and counted as what it is.

use super::super::oracle::Known;
use super::*;
use crate::initiator::command::{Data, Sense};

const BLOCK: usize = 512;
const BLOCKS: u64 = 8192;
const OFFSET: u64 = 64;

/// What a write or read does instead of what it should, from the given command on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Acknowledge one write and forget it.
    LoseWrite,
    /// Write one block somewhere else.
    Misplace,
    /// Write only half of a block.
    Tear,
    /// Return the contents of the past once.
    StaleRead,
    /// Return zeroes for good.
    Wipe,
    /// Fail a write.
    Fail,
}

struct Disk {
    bytes: Vec<u8>,
    /// What each block held before it was written last.
    past: Vec<u8>,
    fault: Fault,
    fault_after: u32,
    writes: Vec<u64>,
}

impl Disk {
    fn new(fault: Fault) -> Self {
        let bytes = vec![0; usize::try_from(OFFSET + BLOCKS).unwrap() * BLOCK];
        // Late, so that few later writes cover the misdeed; stale reads need something old to return, and repeat.
        let fault_after = if matches!(fault, Fault::StaleRead | Fault::Wipe) { 300 } else { 1700 };
        Self { past: bytes.clone(), bytes, fault, fault_after, writes: Vec::new() }
    }

    /// Whether the fault strikes now; it strikes once.
    fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.fault == fault && self.fault_after == 0;
        if strikes {
            self.fault = Fault::None;
        }
        strikes
    }

    fn execute(&mut self, command: &Command) -> Answer {
        self.fault_after = self.fault_after.saturating_sub(1);
        let lba = u64::from_be_bytes(command.cdb[2..10].try_into().unwrap());
        let start = usize::try_from(lba).unwrap() * BLOCK;
        match &command.data {
            Data::None => Answer::good(vec![]),
            Data::In(len) => self.read(start..start + usize::try_from(*len).unwrap()),
            Data::Out(data) => self.write(start, data),
        }
    }

    fn read(&mut self, range: Range<usize>) -> Answer {
        if self.strikes(Fault::Wipe) {
            self.bytes.fill(0);
        }
        let differs = self.past[range.clone()] != self.bytes[range.clone()];
        let from = if differs && self.strikes(Fault::StaleRead) { &self.past } else { &self.bytes };
        Answer::good(from[range].to_vec())
    }

    fn write(&mut self, start: usize, data: &[u8]) -> Answer {
        let range = start..start + data.len();
        self.past[range.clone()].copy_from_slice(&self.bytes[range.clone()]);
        if self.strikes(Fault::LoseWrite) {
            return Answer::good(vec![]);
        }
        if self.strikes(Fault::Fail) {
            return Answer::check_condition(Sense { key: 3, asc: 0x0c, ascq: 0 });
        }
        self.bytes[range].copy_from_slice(data);
        if self.strikes(Fault::Misplace) {
            let elsewhere = (start + 4000 * BLOCK) % (usize::try_from(BLOCKS).unwrap() * BLOCK);
            self.bytes.copy_within(start..start + BLOCK, elsewhere);
        } else if self.strikes(Fault::Tear) {
            let half = start + BLOCK / 2..start + BLOCK;
            self.bytes[half.clone()].copy_from_slice(&self.past[half]);
        }
        self.writes.push(u64::try_from(start / BLOCK).unwrap());
        Answer::good(vec![])
    }
}

fn workload(seed: u64) -> Workload {
    Workload::new(Oracle::new(1, OFFSET, usize::try_from(BLOCKS).unwrap()), 512, 8, seed, Duration::ZERO)
}

/// Run some commands, answered in an order that the seed decides; then stop and verify.
fn drill(fault: Fault, seed: u64) -> (DrillReport, Disk) {
    let mut disk = Disk::new(fault);
    let mut workload = workload(seed);
    let mut random = SplitMix64::new(!seed);
    let mut now = Duration::ZERO;
    let mut queue = Vec::new();
    for count in 0.. {
        now += Duration::from_micros(100);
        if count == 900 {
            workload.mark("second half", now);
        }
        if count == 1750 {
            workload.stop();
        }
        while let Some(step) = workload.poll_command(now) {
            queue.push(step);
        }
        assert!(queue.len() <= 8);
        if queue.is_empty() {
            break;
        }
        let index = usize::try_from(random.below(u64::try_from(queue.len()).unwrap())).unwrap();
        let (id, command) = queue.swap_remove(index);
        workload.handle_answer(id, &disk.execute(&command), now);
    }
    assert!(workload.is_done());
    (workload.report(now), disk)
}

fn counts(fault: Fault, seed: u64) -> (u64, u64, u64, usize) {
    let (report, _) = drill(fault, seed);
    (report.writes_lost, report.stale_reads, report.torn_blocks, report.errors.len())
}

#[test]
fn an_honest_disk_is_clean() {
    let (report, disk) = drill(Fault::None, 1);
    assert!(report.is_clean(), "{report}");
    assert!(report.writes_acknowledged > 1000 && report.reads_verified > 300, "{report}");
    assert_eq!(report.phases.len(), 2);
    assert_eq!(report.phases.iter().map(|phase| phase.writes).sum::<u64>(), report.writes_acknowledged);
    assert!(disk.writes.iter().all(|lba| (OFFSET..OFFSET + BLOCKS).contains(lba)));
}

#[test]
fn a_lost_write_is_found() {
    // Unless other writes cover all of it before anybody looks; then nothing was lost that counts.
    let found = (0..10).filter(|seed| {
        let (lost, stale, torn, _) = counts(Fault::LoseWrite, *seed);
        assert_eq!(torn, 0);
        assert!(lost <= 1 && stale <= 128);
        lost + stale > 0
    });
    assert!(found.count() >= 8);
}

#[test]
fn a_misplaced_block_is_found() {
    let found = (0..10).filter(|seed| counts(Fault::Misplace, *seed).3 > 0);
    // It may land where nothing was written yet.
    assert!(found.count() >= 7);
}

#[test]
fn a_torn_block_is_found() {
    let found = (0..10).filter(|seed| counts(Fault::Tear, *seed).2 == 1);
    assert!(found.count() >= 7);
}

#[test]
fn a_stale_read_is_found_and_is_no_loss() {
    let found = (0..10).filter(|seed| {
        let (lost, stale, torn, _) = counts(Fault::StaleRead, *seed);
        assert_eq!((lost, torn), (0, 0));
        stale > 0
    });
    assert!(found.count() >= 1);
}

#[test]
fn a_wiped_disk_is_a_great_loss() {
    let (lost, _, torn, errors) = counts(Fault::Wipe, 3);
    assert!(lost > 10 && errors > 50, "{lost} lost, {errors} errors");
    assert_eq!(torn, 0);
}

#[test]
fn a_failed_write_is_an_error_and_no_loss() {
    let (lost, stale, torn, errors) = counts(Fault::Fail, 4);
    assert_eq!((lost, stale, torn, errors), (0, 0, 0, 1));
}

#[test]
fn writes_in_flight_never_overlap() {
    let mut workload = workload(5);
    let mut blocks = BTreeSet::new();
    while let Some((_, command)) = workload.poll_command(Duration::ZERO) {
        let Data::Out(data) = &command.data else { panic!("nothing is written yet, so nothing is read") };
        let start = u64::from_be_bytes(command.cdb[2..10].try_into().unwrap());
        for lba in start..start + u64::try_from(data.len() / BLOCK).unwrap() {
            assert!(blocks.insert(lba), "block {lba} is written twice at a time");
        }
    }
    assert!(blocks.len() >= 8);
}

#[test]
fn what_is_never_answered_is_an_error() {
    let mut workload = workload(6);
    let step = workload.poll_command(Duration::ZERO);
    assert!(step.is_some());
    workload.stop();
    assert!(!workload.is_done());
    let report = workload.report(Duration::from_secs(2));
    assert_eq!(report.errors, ["1 commands were never answered"]);
    assert_eq!(report.longest_pause_ms, 2000);
}

#[test]
fn verification_alone_writes_nothing() {
    let (_, mut disk) = drill(Fault::None, 7);
    let blocks = vec![Known::default(); usize::try_from(BLOCKS).unwrap()];
    let mut oracle = Oracle::restore(1, OFFSET, blocks, true);
    let range = OFFSET + 10..OFFSET + 12;
    oracle.issue(range.clone(), u64::MAX - 1);
    oracle.acknowledge(range, u64::MAX - 1);
    let mut workload = Workload::new(oracle, 512, 8, 0, Duration::ZERO);
    workload.stop();
    let mut commands = 0;
    while let Some((id, command)) = workload.poll_command(Duration::ZERO) {
        assert_eq!(command.cdb[0], 0x88);
        commands += 1;
        workload.handle_answer(id, &disk.execute(&command), Duration::ZERO);
    }
    assert_eq!(commands, 3, "one read of all, and a second look at two blocks");
    assert_eq!(workload.report(Duration::ZERO).writes_lost, 1);
}
