//! The processes of both heads. None of them outlives this one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use iscsi_target::daemon::config::HeadName;
use iscsi_target::daemon::status::Status;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::observer::Observer;
use super::place::Place;
use super::seen::{Goal, Seen};
use crate::failure::Failure;

/// How much of its log is shown when a head has died.
const LOG_BYTES: i64 = 800;
/// Longer than a head takes before it ends anyway.
const STOP_MAX: Duration = Duration::from_secs(70);

/// Both heads.
pub(super) struct Heads {
    a: Head,
    b: Head,
}

/// One head, running or not.
struct Head {
    name: HeadName,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    starts: u32,
    /// How it ended the last time.
    last: Option<Ended>,
    observer: Observer,
}

/// A head that has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) head: HeadName,
    /// Whether it ended well.
    pub(super) is_good: bool,
    /// In words.
    pub(super) how: String,
}

impl Heads {
    pub(super) fn new(place: &Place) -> Result<Self, Failure> {
        Ok(Self { a: Head::new(HeadName::A, place)?, b: Head::new(HeadName::B, place)? })
    }

    pub(super) fn start(&mut self, head: HeadName) -> Result<(), String> {
        self.head_mut(head).start()
    }

    /// How often a head was started again.
    pub(super) fn restarts(&self, head: HeadName) -> u32 {
        self.head(head).starts.saturating_sub(1)
    }

    /// The process of a head that runs.
    pub(super) fn pid(&self, head: HeadName) -> Option<u32> {
        self.head(head).child.as_ref().and_then(Child::id)
    }

    /// What they said last.
    pub(super) fn seen(&self) -> Seen {
        Seen { a: self.a.observer.seen.borrow().clone(), b: self.b.observer.seen.borrow().clone() }
    }

    pub(super) fn signal(&self, head: HeadName, signal: Signal) -> Result<(), String> {
        self.head(head).signal(signal)
    }

    /// Wait until either has ended, or has something else to say.
    pub(super) async fn news(&mut self) -> Option<Ended> {
        let Self { a, b } = self;
        let (head, status) = tokio::select! {
            status = exit(&mut a.child) => (a, status),
            status = exit(&mut b.child) => (b, status),
            () = change(&mut a.observer.seen) => return None,
            () = change(&mut b.observer.seen) => return None,
        };
        Some(head.ended(&status))
    }

    /// Wait for `goal`. Only `leaving` may end meanwhile.
    pub(super) async fn reach(
        &mut self,
        goal: &Goal,
        leaving: Option<HeadName>,
        limit: Duration,
    ) -> Result<(), String> {
        self.wait_until(|heads| heads.seen().meets(goal), leaving, limit, &goal.to_string()).await
    }

    /// Wait until a head that was told to end, or killed, has ended and nothing of it answers any more.
    pub(super) async fn gone(&mut self, head: HeadName, limit: Duration) -> Result<Ended, String> {
        let is_gone = |heads: &Self| heads.head(head).child.is_none() && heads.seen().of(head).is_none();
        self.wait_until(is_gone, Some(head), limit, &format!("head {head} has ended")).await?;
        self.head_mut(head).last.take().ok_or_else(|| format!("head {head} did not run"))
    }

    async fn wait_until(
        &mut self,
        is_so: impl Fn(&Self) -> bool,
        leaving: Option<HeadName>,
        limit: Duration,
        what: &str,
    ) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while !is_so(self) {
            tokio::select! {
                news = self.news() => if let Some(ended) = news {
                    check(&ended, leaving)?;
                },
                () = sleep_until(deadline) => {
                    return Err(format!("{} s and not yet: {what}; {}", limit.as_secs(), self.seen()));
                }
            }
        }
        Ok(())
    }

    /// End both as an operator would, and say what did not go well.
    pub(super) async fn stop(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for head in [&self.a, &self.b].into_iter().filter(|head| head.child.is_some()) {
            // One that is stopped must go on to end.
            problems.extend(head.signal(Signal::SIGTERM).and_then(|()| head.signal(Signal::SIGCONT)).err());
        }
        for head in [&mut self.a, &mut self.b].into_iter().filter(|head| head.child.is_some()) {
            match timeout(STOP_MAX, exit(&mut head.child)).await {
                Ok(status) => {
                    let ended = head.ended(&status);
                    problems.extend((!ended.is_good).then(|| format!("head {}: {}", ended.head, ended.how)));
                }
                Err(_) => problems.push(format!("head {} did not end when it was told to", head.name)),
            }
        }
        problems
    }

    fn head(&self, head: HeadName) -> &Head {
        match head {
            HeadName::A => &self.a,
            HeadName::B => &self.b,
        }
    }

    fn head_mut(&mut self, head: HeadName) -> &mut Head {
        match head {
            HeadName::A => &mut self.a,
            HeadName::B => &mut self.b,
        }
    }
}

/// Whether that head was to end.
fn check(ended: &Ended, leaving: Option<HeadName>) -> Result<(), String> {
    let Ended { head, how, .. } = ended;
    if leaving == Some(*head) { Ok(()) } else { Err(format!("head {head} ended by itself: {how}")) }
}

impl Head {
    fn new(name: HeadName, place: &Place) -> Result<Self, Failure> {
        let control = place.config().heads[&name].control.clone();
        let observer = Observer::start(control)?;
        Ok(Self {
            name,
            config: place.config_path(),
            log: place.log(name),
            child: None,
            starts: 0,
            last: None,
            observer,
        })
    }

    fn start(&mut self) -> Result<(), String> {
        self.child = Some(self.spawn().map_err(|error| format!("head {} cannot be started: {error}", self.name))?);
        self.starts += 1;
        Ok(())
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        Command::new(std::env::current_exe()?)
            .args(["run-head", "--head", self.name.as_str(), "--parent", &std::process::id().to_string()])
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for us only: a second signal would end a head at once.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let failed = |why: String| format!("head {} cannot be sent {signal}: {why}", self.name);
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| failed("it does not run".to_owned()))?;
        kill(Pid::from_raw(pid), signal).map_err(|errno| failed(errno.to_string()))
    }

    fn ended(&mut self, status: &io::Result<ExitStatus>) -> Ended {
        self.child = None;
        let is_good = matches!(status, Ok(status) if status.success());
        let mut how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        if !is_good && let Ok(last) = self.end_of_log() {
            how = format!("{how}; its log ends with:\n{last}");
        }
        let ended = Ended { head: self.name, is_good, how };
        self.last = Some(ended.clone());
        ended
    }

    fn end_of_log(&self) -> io::Result<String> {
        let mut log = File::open(&self.log)?;
        let len = i64::try_from(log.metadata()?.len()).unwrap_or(i64::MAX);
        log.seek(SeekFrom::End(-len.min(LOG_BYTES)))?;
        let mut last = Vec::new();
        log.read_to_end(&mut last)?;
        let last = String::from_utf8_lossy(&last);
        // The first line is a part of one, most likely.
        let lines = if len > LOG_BYTES { last.split_once('\n').map_or("", |(_, lines)| lines) } else { &*last };
        Ok(lines.trim_end().to_owned())
    }
}

/// Wait until the process has ended; one that does not run never ends.
async fn exit(child: &mut Option<Child>) -> io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

async fn change(seen: &mut watch::Receiver<Option<Status>>) {
    if seen.changed().await.is_err() {
        // The observer has ended: there is nothing more to hear.
        std::future::pending::<()>().await;
    }
}
