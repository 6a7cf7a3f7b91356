//! A drill while the heads are killed, stopped, ended and handed over.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use iscsi_target::daemon::config::HeadName;
use iscsi_target::daemon::control::{Client, LunSelector, Request, Response};
use iscsi_target::initiator::drill::{self, Control, DrillError, DrillOptions, DrillReport};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::heads::Heads;
use super::place::Place;
use super::plan::{self, Action, Deed};
use super::report::{Findings, Part, Report, Row};
use super::seen::Goal;
use super::{DEADLINE, Interrupts};
use crate::failure::Failure;

/// What goes on at present.
struct Exercise<'e> {
    heads: &'e mut Heads,
    place: &'e Place,
    /// To the client.
    marks: mpsc::Sender<Control>,
    began: Instant,
    rows: Vec<Row>,
    /// A line for each event, as they happen.
    progress: &'e mut dyn Write,
}

/// Put the heads through an exercise of about `duration`, stop them, and report.
pub(super) async fn run(
    heads: &mut Heads,
    place: &Place,
    duration: Duration,
    json: bool,
    interrupts: &Interrupts,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (marks, control) = mpsc::channel(16);
    let mut client = start_client(place, control)?;
    let mut findings = Findings { directory: place.directory().display().to_string(), ..Findings::default() };
    let progress: &mut dyn Write = if json { &mut io::stderr() } else { &mut *out };
    let mut exercise = Exercise { heads, place, marks, began: Instant::now(), rows: Vec::new(), progress };
    let mut early = None;
    let outcome = tokio::select! {
        outcome = exercise.all(duration) => outcome,
        report = &mut client => {
            early = Some(report);
            Err("the client ended before the exercise did".to_owned())
        }
        () = interrupts.asked(1) => {
            findings.is_interrupted = true;
            Ok(())
        }
    };
    findings.problems.extend(outcome.err());
    // It may have ended already.
    exercise.marks.send(Control::Stop).await.ok();
    findings.rows = exercise.rows;
    let drill = match early {
        Some(report) => report,
        None => client.await,
    };
    let drill =
        drill.map_err(|_| "the client has panicked".to_owned()).and_then(|drill| drill.map_err(|e| e.to_string()));
    let drill = drill.map_err(|why| findings.problems.push(why)).ok();
    findings.problems.extend(heads.stop().await);
    findings.restarts = [HeadName::A, HeadName::B].map(|head| (head, heads.restarts(head))).into();
    print(&Report::new(findings, drill), json, out)
}

fn print(report: &Report, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    } else {
        write!(out, "\n{report}")?;
    }
    if report.is_good { Ok(()) } else { Err(Failure::failed("the exercise found faults")) }
}

/// The client has a thread of its own, so that nothing done here looks like a pause.
fn start_client(
    place: &Place,
    control: mpsc::Receiver<Control>,
) -> Result<oneshot::Receiver<Result<DrillReport, DrillError>>, Failure> {
    let config = place.config();
    let mut portals: Vec<SocketAddr> = Vec::new();
    for portal in config.heads.values().flat_map(|head| &head.portals) {
        portals.extend(portal.advertise.to_socket_addrs()?.next());
    }
    let options = DrillOptions { portals, iqn: Some(config.iqn.clone()), overwrite: true, ..DrillOptions::default() };
    let (done, report) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("client".to_owned()).spawn(move || {
        // Whoever waits for it may have been interrupted.
        done.send(runtime.block_on(drill::run(options, control))).ok();
    })?;
    Ok(report)
}

impl Exercise<'_> {
    async fn all(&mut self, duration: Duration) -> Result<(), String> {
        for number in 0.. {
            self.steady(plan::load_before(number)).await?;
            if number >= plan::AT_LEAST && self.began.elapsed() >= duration {
                break;
            }
            let action = plan::action(number);
            let done = self.event(number, action).await;
            let row = self.rows.last().map(Row::to_string).unwrap_or_default();
            // Whoever read it has seen enough.
            writeln!(self.progress, "{row}").and_then(|()| self.progress.flush()).ok();
            done.map_err(|why| format!("{action}: {why}"))?;
            self.mark(Part::Steady, number, action).await;
        }
        Ok(())
    }

    /// Only the client is busy.
    async fn steady(&mut self, duration: Duration) -> Result<(), String> {
        let until = Instant::now() + duration;
        loop {
            tokio::select! {
                news = self.heads.news() => if let Some(ended) = news {
                    return Err(format!("head {} ended by itself: {}", ended.head, ended.how));
                },
                () = sleep_until(until) => return Ok(()),
            }
        }
    }

    async fn event(&mut self, number: usize, action: Action) -> Result<(), String> {
        self.heads.reach(&Goal::Ready, None, DEADLINE).await?;
        let seen = self.heads.seen();
        let owner = seen.owner().ok_or_else(|| format!("no head serves: {seen}"))?;
        let step = action.step(owner, seen.epoch());
        let (Deed::End { head, .. } | Deed::HandOverTo(head)) = step.deed;
        self.mark(Part::Event, number, action).await;
        let at = Instant::now();
        self.rows.push(Row::new(action, head, ms(at - self.began), owner, seen.epoch()));
        match step.deed {
            Deed::HandOverTo(to) => {
                self.hand_over(owner, to).await?;
                self.heads.reach(&step.goal, None, DEADLINE).await?;
                self.reached(at);
            }
            Deed::End { head, signal, is_orderly } => {
                self.heads.signal(head, signal)?;
                self.heads.reach(&step.goal, Some(head), DEADLINE).await?;
                self.reached(at);
                let ended = self.heads.gone(head, DEADLINE).await?;
                if is_orderly && !ended.is_good {
                    return Err(format!("head {head} was told to end, and failed: {}", ended.how));
                }
                self.rejoin(number, action, head).await?;
            }
        }
        self.steady(plan::AFTERWARDS).await?;
        let seen = self.heads.seen();
        let row = self.rows.last_mut().expect("pushed above");
        row.owner_after = seen.owner();
        row.epoch_after = Some(seen.epoch());
        Ok(())
    }

    async fn rejoin(&mut self, number: usize, action: Action, head: HeadName) -> Result<(), String> {
        self.steady(plan::AFTERWARDS).await?;
        self.mark(Part::Rejoin, number, action).await;
        let at = Instant::now();
        self.heads.start(head)?;
        self.heads.reach(&Goal::Mirrored, None, DEADLINE).await?;
        let row = self.rows.last_mut().expect("the event has a row");
        row.mirrored_ms = Some(ms(at.elapsed()));
        Ok(())
    }

    fn reached(&mut self, since: Instant) {
        let epoch = self.heads.seen().epoch();
        let row = self.rows.last_mut().expect("the event has a row");
        row.reached_ms = Some(ms(since.elapsed()));
        row.epoch_reached = Some(epoch);
    }

    /// As `targetctl handover` does it.
    async fn hand_over(&self, owner: HeadName, to: HeadName) -> Result<(), String> {
        let control = self.place.config().heads[&owner].control.clone();
        let request = Request::Handover { lun: LunSelector::All, to: Some(to) };
        let asked = tokio::task::spawn_blocking(move || Client::connect(&control)?.ask(&request));
        match asked.await.map_err(|error| error.to_string())? {
            Ok(Response::Error(why)) => Err(why),
            Ok(Response::Done(_) | Response::Status(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A part of the client's report begins.
    async fn mark(&self, part: Part, number: usize, action: Action) {
        // A client that has ended is noticed elsewhere.
        self.marks.send(Control::Phase(part.phase(number, action))).await.ok();
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
