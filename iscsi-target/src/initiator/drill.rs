//! The drill: write numbered blocks, read them back, and say whether anything was lost, stale or torn while paths and heads
//! came and went. This file is the shell around [`workload`].

pub mod block;
pub mod oracle;
pub mod pause;
pub mod random;
pub mod report;
pub mod state;
pub mod workload;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::command::{Capacity, Command, lun_bytes};
use super::engine::{Engine, EngineOptions};
use super::multipath::IoId;
use super::path::Clock;
use super::session::SessionOptions;
use crate::pdu::digest::Digests;
use crate::session::access::Account;
use block::Contents;
use oracle::Oracle;
use report::PathNews;
pub use report::{DrillReport, Latency, Phase};
use state::{MAX_BLOCKS, State};
use workload::{OpId, Workload};

/// The name of the drill as an initiator.
pub const INITIATOR_NAME: &str = "iqn.2025-01.org.twinhead:drill";
/// Small, so that the sizes of the workload reach immediate data, unsolicited data and R2T.
const FIRST_BURST_BYTES: u32 = 16 << 10;
/// Blocks that the drill takes when it is not told.
const DEFAULT_BLOCKS: u64 = 65_536;
/// Bytes of a read of the survey.
const SURVEY_BYTES: u32 = 256 << 10;

/// What to drill, and how.
#[derive(Clone, Debug)]
pub struct DrillOptions {
    /// One path for each.
    pub portals: Vec<SocketAddr>,
    /// The target; without it each portal is asked for the only one it has.
    pub iqn: Option<String>,
    /// The initiator's name.
    pub initiator_name: String,
    /// What the initiator proves itself with, if the target wants that.
    pub account: Option<Account>,
    /// The logical unit.
    pub lun: u64,
    /// First block of the region.
    pub offset_blocks: u64,
    /// Blocks of the region; without it 65536, or as many as there are.
    pub blocks: Option<u64>,
    /// Commands in flight.
    pub depth: usize,
    /// How long to write; without it until [`Control::Stop`].
    pub duration: Option<Duration>,
    /// Decides about the workload; drawn when not given.
    pub seed: Option<u64>,
    /// Digests to ask for.
    pub digests: Digests,
    /// Overwrite whatever is there.
    pub overwrite: bool,
    /// Where to keep what was acknowledged.
    pub state: Option<PathBuf>,
    /// Only read, and check against `state`.
    pub verify_only: bool,
    /// How a path that is silent is noticed: ping after this long,
    pub nop_interval: Duration,
    /// and give up this long after the ping.
    pub nop_timeout: Duration,
    /// Give up when no path works in the beginning.
    pub start_timeout: Duration,
    /// Give up when commands are not answered, or the verification does not end, after the end.
    pub drain_timeout: Duration,
}

/// What the caller tells a running drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A new phase of that name begins now.
    Phase(String),
    /// Stop writing, verify, report.
    Stop,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// No path to the unit.
    #[error("logical unit {lun} cannot be reached: {reasons}")]
    Unreachable {
        /// The unit.
        lun: u64,
        /// What was heard of the paths.
        reasons: String,
    },
    /// The options cannot be.
    #[error("{0}")]
    Options(String),
    /// The region is in use.
    #[error("block {0} holds data that no drill has written; nothing was changed")]
    InUse(u64),
    /// The unit does not work.
    #[error("the logical unit failed: {0}")]
    Unit(String),
    /// The file of `state`, or random numbers.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

/// The file that the table goes to, written aside so that the workload does not wait.
struct Keeper {
    path: Option<PathBuf>,
    lun: u64,
    block_bytes: u32,
    saving: Option<JoinHandle<io::Result<()>>>,
}

struct Drill {
    engine: Engine,
    clock: Clock,
    /// When the workload began: what came before is not in the report's times.
    started: Duration,
    workload: Workload,
    keeper: Keeper,
    ops: BTreeMap<IoId, OpId>,
}

impl Default for DrillOptions {
    fn default() -> Self {
        Self {
            portals: Vec::new(),
            iqn: None,
            initiator_name: INITIATOR_NAME.to_owned(),
            account: None,
            lun: 0,
            offset_blocks: 0,
            blocks: None,
            depth: 16,
            duration: None,
            seed: None,
            digests: Digests::default(),
            overwrite: false,
            state: None,
            verify_only: false,
            nop_interval: Duration::from_secs(1),
            nop_timeout: Duration::from_secs(1),
            start_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(60),
        }
    }
}

/// Run a drill to its end. When the sender of `control` is dropped, the drill goes on for its duration.
///
/// # Errors
/// When the drill could not begin, or its state not be kept; faults of the target are in the report.
pub async fn run(options: DrillOptions, mut control: mpsc::Receiver<Control>) -> Result<DrillReport, DrillError> {
    let saved = load_state(&options)?;
    let clock = Clock::start();
    let mut engine = Engine::start(&engine_options(&options)?, clock);
    let prepared = prepare(&options, saved, &mut engine, clock).await;
    let (workload, block_bytes) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            engine.close().await;
            return Err(error);
        }
    };
    let path = options.state.clone().filter(|_| !options.verify_only);
    let keeper = Keeper { path, lun: options.lun, block_bytes, saving: None };
    let mut drill = Drill { engine, clock, started: clock.now(), workload, keeper, ops: BTreeMap::new() };
    drill.work(&options, &mut control).await;
    drill.finish().await
}

fn engine_options(options: &DrillOptions) -> Result<EngineOptions, DrillError> {
    let lun = lun_bytes(options.lun).ok_or_else(|| DrillError::Options(format!("there is no LUN {}", options.lun)))?;
    if options.portals.is_empty() {
        return Err(DrillError::Options("no portal was given".to_owned()));
    }
    // A random initiator session id (RFC 7143 11.12.5: T is 10b), so that two drills do not end each other's sessions.
    let [_, _, _, _, _, a, b, c] = random()?.to_be_bytes();
    let session = SessionOptions {
        initiator_name: options.initiator_name.clone(),
        account: options.account.clone(),
        isid: [0x80, a, b, c, 0, 0],
        target_name: options.iqn.clone(),
        lun,
        digests: options.digests,
        first_burst_length: FIRST_BURST_BYTES,
        login_timeout: Duration::from_secs(2),
        nop_interval: options.nop_interval,
        nop_timeout: options.nop_timeout,
        command_timeout: Duration::from_secs(30),
        abort_after: None,
    };
    Ok(EngineOptions { portals: options.portals.clone(), session, connect_timeout: Duration::from_secs(1) })
}

fn random() -> Result<u64, DrillError> {
    getrandom::u64().map_err(|error| DrillError::Io("random numbers".to_owned(), io::Error::other(error.to_string())))
}

fn load_state(options: &DrillOptions) -> Result<Option<State>, DrillError> {
    if !options.verify_only {
        return Ok(None);
    }
    let path = options.state.as_ref();
    let path = path.ok_or_else(|| DrillError::Options("what is to be verified stands in a state file".to_owned()))?;
    let loaded = File::open(path).and_then(|file| State::load(BufReader::new(file)));
    let state = loaded.map_err(|error| DrillError::Io(path.display().to_string(), error))?;
    if state.lun != options.lun {
        return Err(DrillError::Options(format!("{} is about LUN {}", path.display(), state.lun)));
    }
    Ok(Some(state))
}

/// Look at the unit, and at the region unless it may be overwritten.
async fn prepare(
    options: &DrillOptions,
    saved: Option<State>,
    engine: &mut Engine,
    clock: Clock,
) -> Result<(Workload, u32), DrillError> {
    let deadline = clock.now() + options.start_timeout;
    let Some(answer) = engine.execute(Command::read_capacity(), deadline).await else {
        let reasons = std::iter::from_fn(|| engine.take_notice());
        let reasons: Vec<String> = reasons.map(|(portal, notice)| format!("{portal} {}", notice.text)).collect();
        return Err(DrillError::Unreachable { lun: options.lun, reasons: reasons.join("; ") });
    };
    let capacity = Capacity::parse(&answer.data).filter(|_| answer.is_good());
    let capacity = capacity.ok_or_else(|| DrillError::Unit(format!("no capacity: {answer}")))?;
    let seed = options.seed.map_or_else(random, Ok)?;
    let oracle = match saved {
        Some(state) if state.block_bytes != capacity.block_bytes => {
            return Err(DrillError::Options("the unit has another block size than the state file".to_owned()));
        }
        Some(state) => state.oracle,
        None => {
            let blocks = region_blocks(options, capacity)?;
            if !options.overwrite {
                survey(options, blocks, capacity.block_bytes, engine, clock).await?;
            }
            Oracle::new(random()?, options.offset_blocks, blocks)
        }
    };
    let mut workload = Workload::new(oracle, capacity.block_bytes, options.depth, seed, clock.now());
    if options.verify_only {
        workload.stop();
    }
    Ok((workload, capacity.block_bytes))
}

fn region_blocks(options: &DrillOptions, capacity: Capacity) -> Result<usize, DrillError> {
    let room = capacity.blocks.saturating_sub(options.offset_blocks);
    let blocks = options.blocks.unwrap_or_else(|| room.min(DEFAULT_BLOCKS));
    let is_sane = blocks > 0 && blocks <= room.min(MAX_BLOCKS);
    let outside = || DrillError::Options(format!("the region does not fit: the unit has {} blocks", capacity.blocks));
    usize::try_from(blocks).ok().filter(|_| is_sane).ok_or_else(outside)
}

/// Refuse a region with anything but zeroes and blocks of a drill.
async fn survey(
    options: &DrillOptions,
    blocks: usize,
    block_bytes: u32,
    engine: &mut Engine,
    clock: Clock,
) -> Result<(), DrillError> {
    let end = options.offset_blocks + u64::try_from(blocks).unwrap_or(u64::MAX);
    let step = SURVEY_BYTES / block_bytes;
    let mut lba = options.offset_blocks;
    while lba < end {
        let count = u32::try_from(end - lba).unwrap_or(u32::MAX).min(step);
        let deadline = clock.now() + options.start_timeout;
        let answer = engine.execute(Command::read(lba, count, block_bytes), deadline).await;
        let answer = answer.ok_or_else(|| DrillError::Unit(format!("no answer to a read of block {lba}")))?;
        if !answer.is_good() {
            return Err(DrillError::Unit(format!("block {lba} cannot be read: {answer}")));
        }
        let blocks = answer.data.chunks(usize::try_from(block_bytes).unwrap_or(usize::MAX));
        if let Some((used, _)) = (lba..).zip(blocks).find(|(_, block)| block::parse(block) == Contents::Other) {
            return Err(DrillError::InUse(used));
        }
        lba += u64::from(count);
    }
    Ok(())
}

impl Drill {
    /// Until everything is answered and verified, or it takes too long.
    async fn work(&mut self, options: &DrillOptions, control: &mut mpsc::Receiver<Control>) {
        let mut stop_at = options.duration.map(|duration| self.clock.now() + duration);
        let mut give_up_at = options.verify_only.then(|| self.clock.now() + options.drain_timeout);
        let mut is_controlled = true;
        while !self.workload.is_done() {
            let now = self.clock.now();
            if give_up_at.is_some_and(|at| now >= at) {
                break;
            }
            if stop_at.is_some_and(|at| now >= at) {
                stop_at = None;
                give_up_at = Some(now + options.drain_timeout);
                self.workload.stop();
            }
            self.submit();
            let deadline = [stop_at, give_up_at].into_iter().flatten().min();
            tokio::select! {
                () = self.engine.wait(deadline) => {}
                message = control.recv(), if is_controlled => match message {
                    Some(Control::Phase(name)) => {
                        self.workload.mark(&name, self.clock.now());
                        self.keeper.save_aside(self.workload.oracle());
                    }
                    Some(Control::Stop) => stop_at = Some(self.clock.now()),
                    None => is_controlled = false,
                },
            }
            self.collect();
        }
    }

    fn submit(&mut self) {
        while let Some((op, command)) = self.workload.poll_command(self.clock.now()) {
            let io = self.engine.submit(command);
            self.ops.insert(io, op);
        }
    }

    fn collect(&mut self) {
        while let Some((io, answer)) = self.engine.take_result() {
            if let Some(op) = self.ops.remove(&io) {
                self.workload.handle_answer(op, &answer, self.clock.now());
            }
        }
    }

    async fn finish(mut self) -> Result<DrillReport, DrillError> {
        let mut report = self.workload.report(self.clock.now());
        while let Some((portal, notice)) = self.engine.take_notice() {
            let at_ms = u64::try_from(notice.at.saturating_sub(self.started).as_millis()).unwrap_or(u64::MAX);
            report.add_path_news(PathNews { at_ms, portal: portal.to_string(), what: notice.text });
        }
        self.engine.close().await;
        self.keeper.save(self.workload.oracle().clone()).await?;
        Ok(report)
    }
}

impl Keeper {
    /// Start to save, unless the last time is not over yet: the end of the run saves again.
    fn save_aside(&mut self, oracle: &Oracle) {
        if let Some(path) = self.path.clone()
            && self.saving.as_ref().is_none_or(JoinHandle::is_finished)
        {
            let state = self.state(oracle.clone(), false);
            self.saving = Some(tokio::task::spawn_blocking(move || write_state(&path, &state)));
        }
    }

    async fn save(mut self, oracle: Oracle) -> Result<(), DrillError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let failed = |error| DrillError::Io(path.display().to_string(), error);
        if let Some(saving) = self.saving.take() {
            // Whatever became of it, what is written now replaces it.
            drop(saving.await);
        }
        write_state(&path, &self.state(oracle, true)).map_err(failed)
    }

    fn state(&self, oracle: Oracle, is_complete: bool) -> State {
        State { lun: self.lun, block_bytes: self.block_bytes, is_complete, oracle }
    }
}

/// Replace the file as a whole.
fn write_state(path: &Path, state: &State) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let aside = PathBuf::from(name);
    state.save(BufWriter::new(File::create(&aside)?))?;
    std::fs::rename(aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity { blocks: 1000, block_bytes: 512 };

    fn region(offset_blocks: u64, blocks: Option<u64>) -> Option<usize> {
        region_blocks(&DrillOptions { offset_blocks, blocks, ..DrillOptions::default() }, CAPACITY).ok()
    }

    #[test]
    fn the_region_lies_inside_the_unit() {
        assert_eq!(region(0, None), Some(1000));
        assert_eq!(region(600, None), Some(400));
        assert_eq!(region(600, Some(400)), Some(400));
        for (offset, blocks) in [(600, Some(401)), (1000, None), (u64::MAX, Some(1)), (0, Some(0)), (0, Some(u64::MAX))]
        {
            assert_eq!(region(offset, blocks), None);
        }
    }

    #[tokio::test]
    async fn options_that_cannot_be_are_refused_on_any_runtime() {
        fn is_send<T: Send>(future: T) -> T {
            future
        }
        let refused = |options| async {
            let (_sender, control) = mpsc::channel(1);
            matches!(is_send(run(options, control)).await, Err(DrillError::Options(_)))
        };
        assert!(refused(DrillOptions::default()).await, "no portal");
        let portals = vec![SocketAddr::from(([127, 0, 0, 1], 1))];
        assert!(refused(DrillOptions { portals: portals.clone(), lun: 1 << 14, ..DrillOptions::default() }).await);
        assert!(refused(DrillOptions { portals, verify_only: true, ..DrillOptions::default() }).await, "no state");
    }

    #[tokio::test]
    async fn a_unit_that_nobody_serves_is_unreachable() {
        let (_sender, control) = mpsc::channel(1);
        let options = DrillOptions {
            portals: vec![SocketAddr::from(([127, 0, 0, 1], 1))],
            start_timeout: Duration::from_millis(50),
            ..DrillOptions::default()
        };
        let error = run(options, control).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1 not connected"), "{error}");
    }
}
