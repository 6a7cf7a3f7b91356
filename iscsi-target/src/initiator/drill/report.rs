//! The verdict of a drill.

use std::fmt;

use serde::Serialize;

/// Error lines that are kept; more are only counted.
const MAX_ERRORS: usize = 50;
/// News about paths that are kept.
const MAX_PATH_EVENTS: usize = 500;

/// What a drill found. As JSON:
///
/// ```json
/// {"version":1,"seconds":10.0,"writes_acknowledged":9,"reads_verified":9,"writes_lost":0,"stale_reads":0,"torn_blocks":0,
///  "errors":["..."],"longest_pause_ms":480,"phases":[{"name":"start","at_ms":0,"longest_pause_ms":480,"writes":9}],
///  "latency_us":{"p50":90,"p99":400,"max":480000},"path_events":[{"at_ms":1,"portal":"127.0.0.1:3260","what":"connected"}]}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DrillReport {
    /// Of this layout: 1. Fields may be added without a new version.
    pub version: u32,
    /// From the first command of the workload to the last answer.
    pub seconds: f64,
    /// Writes that a target acknowledged.
    pub writes_acknowledged: u64,
    /// Reads whose contents were checked.
    pub reads_verified: u64,
    /// Acknowledged writes whose data is not there (older, foreign or no contents instead), each counted once.
    pub writes_lost: u64,
    /// Blocks that a read returned older than what was acknowledged or read before, although the data is there.
    pub stale_reads: u64,
    /// Blocks that held parts of several writes.
    pub torn_blocks: u64,
    /// The first faults in words, and commands that failed.
    pub errors: Vec<String>,
    /// The longest time during which no command ended although some were outstanding.
    pub longest_pause_ms: u64,
    /// In order.
    pub phases: Vec<Phase>,
    /// From the first attempt of a command to its final answer.
    pub latency_us: Latency,
    /// What happened to the paths meanwhile.
    pub path_events: Vec<PathNews>,
}

/// A part of the drill, from one mark to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// As marked.
    pub name: String,
    /// When it began.
    pub at_ms: u64,
    /// As in the report, of this phase.
    pub longest_pause_ms: u64,
    /// Writes acknowledged in it.
    pub writes: u64,
}

/// Percentiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 99 % are not slower.
    pub p99: u64,
    /// The slowest.
    pub max: u64,
}

/// What happened to a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathNews {
    /// When.
    pub at_ms: u64,
    /// Which path.
    pub portal: String,
    /// What.
    pub what: String,
}

impl DrillReport {
    /// Whether nothing was lost, stale or torn, and no command failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.writes_lost == 0 && self.stale_reads == 0 && self.torn_blocks == 0 && self.errors.is_empty()
    }

    /// Keep the line, unless there are many.
    pub(super) fn add_error(&mut self, line: String) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(line);
        } else if self.errors.len() == MAX_ERRORS {
            self.errors.push("more errors are not listed".to_owned());
        }
    }

    pub(super) fn add_path_news(&mut self, news: PathNews) {
        if self.path_events.len() < MAX_PATH_EVENTS {
            self.path_events.push(news);
        }
    }
}

impl fmt::Display for DrillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_clean() { "CLEAN: nothing lost, stale or torn" } else { "FAILED" };
        writeln!(f, "{verdict}")?;
        writeln!(
            f,
            "{} writes acknowledged, {} reads verified in {:.1} s",
            self.writes_acknowledged, self.reads_verified, self.seconds
        )?;
        writeln!(
            f,
            "{} writes lost, {} stale reads, {} torn blocks",
            self.writes_lost, self.stale_reads, self.torn_blocks
        )?;
        let Latency { p50, p99, max } = self.latency_us;
        writeln!(f, "latency: half within {p50} us, 99 % within {p99} us, all within {max} us")?;
        writeln!(f, "longest pause: {} ms", self.longest_pause_ms)?;
        for phase in &self.phases {
            let Phase { name, at_ms, longest_pause_ms, writes } = phase;
            writeln!(f, "  {at_ms:>7} ms  {name}: longest pause {longest_pause_ms} ms, {writes} writes")?;
        }
        for news in &self.path_events {
            writeln!(f, "  {:>7} ms  {} {}", news.at_ms, news.portal, news.what)?;
        }
        self.errors.iter().try_for_each(|error| writeln!(f, "error: {error}"))
    }
}
