//! What came of an exercise.

use std::collections::BTreeMap;
use std::fmt;

use iscsi_target::daemon::config::HeadName;
use iscsi_target::initiator::drill::DrillReport;
use serde::Serialize;

use super::plan::Action;

/// The version of [`Report`].
const VERSION: u32 = 1;

/// What `targetctl demo --exercise N --json` prints. A pause is the longest time during which no command of the client ended
/// although some were outstanding.
///
/// | key | what it says |
/// | --- | --- |
/// | `version` | 1. Keys may be added without a new version. |
/// | `is_good` | nothing was lost, stale or torn, no command failed, and `problems` is empty |
/// | `seconds` | how long the client wrote |
/// | `writes_acknowledged`, `reads_verified`, `writes_lost`, `stale_reads`, `torn_blocks` | as in `drill` |
/// | `longest_pause_ms` | of all |
/// | `longest_steady_pause_ms` | while nothing was done to the heads |
/// | `kinds[]` | for each kind of event: `event`, `count`, `longest_pause_ms` |
/// | `events[]` | in order; see below |
/// | `restarts` | how often each head was started again |
/// | `is_interrupted` | an operator ended it early |
/// | `problems[]` | in words: states that were not reached, heads that ended by themselves or badly |
/// | `directory` | the disk and the logs; removed at a good end unless asked for with `--dir` |
/// | `drill` | all that the client saw: what `targetctl drill --json` prints |
/// | `events[].event` | `kill-owner`, `hand-over`, `terminate-owner`, `kill-standby`, `stop-owner`, `terminate-standby` |
/// | `events[].head` | the head that it happened to; for a hand-over the one that gets the disk |
/// | `events[].at_ms` | since the exercise began |
/// | `events[].owner_before`, `.owner_after`, `.epoch_before`, `.epoch_after` | the last two once both mirror again |
/// | `events[].epoch_reached` | in which clients were served again |
/// | `events[].reached_ms` | from the event until the heads said that clients are served as they should be |
/// | `events[].pause_ms` | the longest pause in that time and 0.7 s more |
/// | `events[].mirrored_ms` | from the new start of the head until it mirrors; `null` for a hand-over |
/// | `events[].rejoin_pause_ms` | the longest pause in that time and 0.7 s more |
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    pub(super) is_good: bool,
    pub(super) seconds: f64,
    pub(super) writes_acknowledged: u64,
    pub(super) reads_verified: u64,
    pub(super) writes_lost: u64,
    pub(super) stale_reads: u64,
    pub(super) torn_blocks: u64,
    pub(super) longest_pause_ms: u64,
    pub(super) longest_steady_pause_ms: u64,
    pub(super) kinds: Vec<Kind>,
    pub(super) events: Vec<Row>,
    pub(super) restarts: BTreeMap<HeadName, u32>,
    pub(super) is_interrupted: bool,
    pub(super) problems: Vec<String>,
    pub(super) directory: String,
    pub(super) drill: Option<DrillReport>,
}

/// All events of one kind.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Kind {
    event: Action,
    count: usize,
    longest_pause_ms: u64,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) event: Action,
    pub(super) head: HeadName,
    pub(super) at_ms: u64,
    pub(super) owner_before: HeadName,
    pub(super) owner_after: Option<HeadName>,
    pub(super) epoch_before: u64,
    pub(super) epoch_reached: Option<u64>,
    pub(super) epoch_after: Option<u64>,
    pub(super) reached_ms: Option<u64>,
    pub(super) pause_ms: Option<u64>,
    pub(super) mirrored_ms: Option<u64>,
    pub(super) rejoin_pause_ms: Option<u64>,
}

/// What the exercise itself knows; the rest is the client's.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) rows: Vec<Row>,
    pub(super) restarts: BTreeMap<HeadName, u32>,
    pub(super) is_interrupted: bool,
    pub(super) problems: Vec<String>,
    pub(super) directory: String,
}

/// A part of an event, as the client is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// From the event itself on.
    Event,
    /// From the new start of the head on.
    Rejoin,
    /// Nothing is done any more.
    Steady,
}

impl Part {
    /// The name of the client's phase, for the event of that number.
    pub(super) fn phase(self, number: usize, action: Action) -> String {
        let number = number + 1;
        match self {
            Self::Event => format!("{number} {action}"),
            Self::Rejoin => format!("{number} rejoin"),
            Self::Steady => format!("{number} steady"),
        }
    }
}

impl Row {
    /// Has yet to take place.
    pub(super) fn new(event: Action, head: HeadName, at_ms: u64, owner_before: HeadName, epoch_before: u64) -> Self {
        Self {
            event,
            head,
            at_ms,
            owner_before,
            owner_after: None,
            epoch_before,
            epoch_reached: None,
            epoch_after: None,
            reached_ms: None,
            pause_ms: None,
            mirrored_ms: None,
            rejoin_pause_ms: None,
        }
    }
}

impl Report {
    /// Put together what the exercise and its client found.
    pub(super) fn new(findings: Findings, drill: Option<DrillReport>) -> Self {
        let Findings { mut rows, restarts, is_interrupted, problems, directory } = findings;
        let client = drill.clone().unwrap_or_default();
        let pause =
            |name: &str| client.phases.iter().find(|phase| phase.name == name).map(|phase| phase.longest_pause_ms);
        for (number, row) in rows.iter_mut().enumerate() {
            row.pause_ms = pause(&Part::Event.phase(number, row.event));
            row.rejoin_pause_ms = pause(&Part::Rejoin.phase(number, row.event));
        }
        let steady = (0..rows.len()).filter_map(|number| pause(&Part::Steady.phase(number, rows[number].event)));
        Self {
            version: VERSION,
            is_good: problems.is_empty() && drill.as_ref().is_some_and(DrillReport::is_clean),
            seconds: client.seconds,
            writes_acknowledged: client.writes_acknowledged,
            reads_verified: client.reads_verified,
            writes_lost: client.writes_lost,
            stale_reads: client.stale_reads,
            torn_blocks: client.torn_blocks,
            longest_pause_ms: client.longest_pause_ms,
            longest_steady_pause_ms: steady.max().unwrap_or(0),
            kinds: kinds(&rows),
            events: rows,
            restarts,
            is_interrupted,
            problems,
            directory,
            drill,
        }
    }
}

fn kinds(rows: &[Row]) -> Vec<Kind> {
    let mut kinds: BTreeMap<Action, (usize, u64)> = BTreeMap::new();
    for row in rows {
        let (count, longest) = kinds.entry(row.event).or_default();
        *count += 1;
        *longest = (*longest).max(row.pause_ms.unwrap_or(0));
    }
    let kind = |(event, (count, longest_pause_ms))| Kind { event, count, longest_pause_ms };
    kinds.into_iter().map(kind).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict =
            if self.is_good { "GOOD: nothing lost, stale or torn; each takeover took place" } else { "FAILED" };
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
        let restarts = self.restarts.iter().map(|(head, times)| format!("head {head} {times} times"));
        writeln!(f, "started again: {}", restarts.collect::<Vec<_>>().join(", "))?;
        writeln!(f, "\nThe longest pause of the client:")?;
        for Kind { event, count, longest_pause_ms } in &self.kinds {
            writeln!(f, "  {event:<18} {longest_pause_ms:>6} ms  in {count} events")?;
        }
        writeln!(f, "  {:<18} {:>6} ms", "otherwise", self.longest_steady_pause_ms)?;
        self.events
            .iter()
            .filter(|row| row.pause_ms.is_none())
            .try_for_each(|row| writeln!(f, "not finished: {row}"))?;
        let errors = self.drill.iter().flat_map(|drill| &drill.errors);
        self.problems.iter().chain(errors).try_for_each(|problem| writeln!(f, "problem: {problem}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, head, at_ms, epoch_before, .. } = self;
        write!(f, "{:>7.1} s  {event:<18} head {head}, epoch {epoch_before}", secs(*at_ms))?;
        if let (Some(ms), Some(epoch)) = (self.reached_ms, self.epoch_reached) {
            write!(f, " -> {epoch} after {ms} ms")?;
        }
        if let (Some(ms), Some(epoch)) = (self.mirrored_ms, self.epoch_after) {
            write!(f, ", mirrored {ms} ms after it was started again, epoch {epoch}")?;
        }
        self.owner_after.map_or(Ok(()), |owner| write!(f, "; {owner} owns it"))
    }
}

/// For people; what is lost beyond hours does not matter.
fn secs(ms: u64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use iscsi_target::initiator::drill::Phase;

    use super::*;

    fn row() -> Row {
        Row {
            owner_after: Some(HeadName::B),
            epoch_reached: Some(6),
            epoch_after: Some(7),
            reached_ms: Some(450),
            mirrored_ms: Some(900),
            ..Row::new(Action::KillOwner, HeadName::A, 2000, HeadName::A, 4)
        }
    }

    fn drill() -> DrillReport {
        let phase =
            |name: &str, longest_pause_ms| Phase { name: name.to_owned(), longest_pause_ms, ..Phase::default() };
        DrillReport {
            version: 1,
            seconds: 31.25,
            writes_acknowledged: 1000,
            reads_verified: 500,
            longest_pause_ms: 480,
            phases: vec![
                phase("start", 3),
                phase("1 kill-owner", 480),
                phase("1 rejoin", 20),
                phase("1 steady", 5),
                phase("2 kill-owner", 470),
            ],
            ..DrillReport::default()
        }
    }

    fn findings() -> Findings {
        let unfinished = Row::new(Action::KillOwner, HeadName::B, 9000, HeadName::B, 7);
        Findings {
            rows: vec![row(), unfinished],
            restarts: BTreeMap::from([(HeadName::A, 1), (HeadName::B, 0)]),
            directory: "/tmp/demo".to_owned(),
            ..Findings::default()
        }
    }

    #[test]
    fn events_get_the_pauses_of_the_client() {
        let report = Report::new(findings(), Some(drill()));
        assert!(report.is_good);
        assert_eq!((report.events[0].pause_ms, report.events[0].rejoin_pause_ms), (Some(480), Some(20)));
        assert_eq!((report.events[1].pause_ms, report.events[1].rejoin_pause_ms), (Some(470), None));
        assert_eq!(report.kinds, [Kind { event: Action::KillOwner, count: 2, longest_pause_ms: 480 }]);
        assert_eq!(report.longest_steady_pause_ms, 5);
    }

    #[test]
    fn anything_wrong_is_bad() {
        assert!(!Report::new(findings(), None).is_good, "no word of the client");
        assert!(!Report::new(findings(), Some(DrillReport { stale_reads: 1, ..drill() })).is_good);
        assert!(!Report::new(Findings { problems: vec!["late".to_owned()], ..findings() }, Some(drill())).is_good);
    }

    #[test]
    fn the_document() {
        let mut findings = findings();
        findings.rows.truncate(1);
        let drill = DrillReport { phases: drill().phases.drain(1..2).collect(), ..drill() };
        let json = serde_json::to_string_pretty(&Report::new(findings, Some(drill))).unwrap();
        expect![[r#"
            {
              "version": 1,
              "is_good": true,
              "seconds": 31.25,
              "writes_acknowledged": 1000,
              "reads_verified": 500,
              "writes_lost": 0,
              "stale_reads": 0,
              "torn_blocks": 0,
              "longest_pause_ms": 480,
              "longest_steady_pause_ms": 0,
              "kinds": [
                {
                  "event": "kill-owner",
                  "count": 1,
                  "longest_pause_ms": 480
                }
              ],
              "events": [
                {
                  "event": "kill-owner",
                  "head": "a",
                  "at_ms": 2000,
                  "owner_before": "a",
                  "owner_after": "b",
                  "epoch_before": 4,
                  "epoch_reached": 6,
                  "epoch_after": 7,
                  "reached_ms": 450,
                  "pause_ms": 480,
                  "mirrored_ms": 900,
                  "rejoin_pause_ms": null
                }
              ],
              "restarts": {
                "a": 1,
                "b": 0
              },
              "is_interrupted": false,
              "problems": [],
              "directory": "/tmp/demo","#]]
        .assert_eq(json.split("\"drill\"").next().unwrap().trim_end());
    }

    #[test]
    fn in_words() {
        let mut findings = findings();
        findings.problems.push("head b ended by itself".to_owned());
        expect![[r#"
            FAILED
            1000 writes acknowledged, 500 reads verified in 31.2 s
            0 writes lost, 0 stale reads, 0 torn blocks
            started again: head a 1 times, head b 0 times

            The longest pause of the client:
              kill-owner            480 ms  in 2 events
              otherwise               5 ms
            problem: head b ended by itself
        "#]]
        .assert_eq(&Report::new(findings, Some(drill())).to_string());
        expect!["    2.0 s  kill-owner         head a, epoch 4 -> 6 after 450 ms, mirrored 900 ms after it was started again, epoch 7; b owns it"].assert_eq(&row().to_string());
    }
}
