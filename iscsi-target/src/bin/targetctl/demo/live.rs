//! What the heads are doing, until Ctrl-C.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use iscsi_target::daemon::config::HeadName;
use iscsi_target::daemon::status::Status;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::Interrupts;
use super::guide::guide;
use super::heads::{Ended, Heads};
use super::place::Place;
use super::seen::Seen;
use crate::failure::Failure;
use crate::status::{render, words};

const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";
/// How long a head that died stays dead: time to see what the other one makes of it.
const RESTART: Duration = Duration::from_secs(2);
/// Messages that stay on the screen.
const MESSAGES: usize = 6;

/// A line of the JSON form.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'l> {
    Started { directory: &'l Path, config: PathBuf, target: &'l str, lun: u8, portals: BTreeMap<HeadName, &'l str> },
    HeadStarted { head: HeadName, pid: Option<u32> },
    HeadEnded { head: HeadName, how: &'l str },
    Status { status: &'l Status },
    Stopped { problems: &'l [String] },
}

/// Where and how to print.
enum Form {
    /// All of it, in place of what was there.
    Screen { guide: String, messages: Vec<String> },
    /// What has changed since.
    Lines(Vec<String>),
    /// The same, for programs.
    Json(Option<Status>),
}

struct View<'o> {
    out: &'o mut dyn Write,
    form: Form,
}

/// Show what goes on until interrupted; then stop both heads.
pub(super) async fn run(
    heads: &mut Heads,
    place: &Place,
    json: bool,
    interrupts: &Interrupts,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut view = View::new(json, out);
    view.started(place)?;
    for head in [HeadName::A, HeadName::B] {
        view.head_started(head, heads.pid(head))?;
    }
    let mut due: BTreeMap<HeadName, Instant> = BTreeMap::new();
    loop {
        view.show(&heads.seen())?;
        let next = due.first_key_value().map(|(head, at)| (*head, *at));
        let (head, at) = next.unwrap_or((HeadName::A, Instant::now()));
        tokio::select! {
            news = heads.news() => if let Some(ended) = news {
                view.head_ended(&ended)?;
                due.insert(ended.head, Instant::now() + RESTART);
            },
            () = sleep_until(at), if next.is_some() => {
                due.remove(&head);
                heads.start(head).map_err(Failure::failed)?;
                view.head_started(head, heads.pid(head))?;
            }
            () = interrupts.asked(1) => break,
        }
    }
    view.say("stopping both heads; Ctrl-C again kills them")?;
    let problems = heads.stop().await;
    view.stopped(&problems)?;
    if problems.is_empty() { Ok(()) } else { Err(Failure::failed(problems.join("\n"))) }
}

impl<'o> View<'o> {
    fn new(json: bool, out: &'o mut dyn Write) -> Self {
        let form = match json {
            true => Form::Json(None),
            false if io::stdout().is_terminal() => Form::Screen { guide: String::new(), messages: Vec::new() },
            false => Form::Lines(Vec::new()),
        };
        Self { out, form }
    }

    fn started(&mut self, place: &Place) -> Result<(), Failure> {
        let config = place.config();
        let text = guide(config, &place.config_path());
        match &mut self.form {
            Form::Screen { guide, .. } => *guide = text,
            Form::Lines(_) => write!(self.out, "{text}")?,
            Form::Json(_) => {
                let portals = config.heads.iter().map(|(name, head)| (*name, head.portals[0].advertise.as_str()));
                self.json(&Line::Started {
                    directory: place.directory(),
                    config: place.config_path(),
                    target: &config.iqn,
                    lun: 0,
                    portals: portals.collect(),
                })?;
            }
        }
        Ok(())
    }

    fn head_started(&mut self, head: HeadName, pid: Option<u32>) -> Result<(), Failure> {
        let shown = pid.map_or("-".to_owned(), |pid| pid.to_string());
        self.event(&Line::HeadStarted { head, pid }, &format!("head {head} runs as process {shown}"))
    }

    fn head_ended(&mut self, ended: &Ended) -> Result<(), Failure> {
        let Ended { head, how, .. } = ended;
        let text = format!("head {head} ended: {how}\nit is started again in {} s", RESTART.as_secs());
        self.event(&Line::HeadEnded { head: *head, how }, &text)
    }

    fn stopped(&mut self, problems: &[String]) -> Result<(), Failure> {
        let text = if problems.is_empty() { "both heads have ended" } else { "the heads have ended, not well" };
        self.event(&Line::Stopped { problems }, text)
    }

    /// Something for people only.
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.form {
            // The screen is drawn no more.
            Form::Screen { .. } | Form::Lines(_) => writeln!(self.out, "{text}")?,
            Form::Json(_) => eprintln!("targetctl: {text}"),
        }
        Ok(self.out.flush()?)
    }

    fn event(&mut self, line: &Line<'_>, text: &str) -> Result<(), Failure> {
        match &mut self.form {
            Form::Screen { messages, .. } => {
                messages.extend(text.lines().map(str::to_owned));
                messages.drain(..messages.len().saturating_sub(MESSAGES));
                // At the end nothing is drawn after it.
                if matches!(line, Line::Stopped { .. }) {
                    writeln!(self.out, "{text}")?;
                }
            }
            Form::Lines(_) => writeln!(self.out, "{text}")?,
            Form::Json(_) => self.json(line)?,
        }
        Ok(self.out.flush()?)
    }

    /// What the heads say now.
    fn show(&mut self, seen: &Seen) -> Result<(), Failure> {
        match (&mut self.form, seen.best()) {
            (Form::Screen { guide, messages }, status) => {
                let status = status.map_or("No head answers.\n".to_owned(), render);
                write!(self.out, "{CLEAR_SCREEN}{guide}\n{status}\n{}\n", messages.join("\n"))?;
            }
            (Form::Lines(before), status) => {
                let now = status.map_or(vec!["no head answers".to_owned()], words);
                for line in now.iter().filter(|line| !before.contains(line)) {
                    writeln!(self.out, "{line}")?;
                }
                *before = now;
            }
            (Form::Json(before), Some(status)) if before.as_ref() != Some(status) => {
                *before = Some(status.clone());
                self.json(&Line::Status { status })?;
            }
            (Form::Json(_), _) => {}
        }
        Ok(self.out.flush()?)
    }

    fn json(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{}", serde_json::to_string(line)?)?)
    }
}
