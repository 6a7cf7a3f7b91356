//! `targetctl demo`: two heads on one file, to be looked at or to be put through an exercise.
//!
//! * `ports`, `place`: where they listen, and the directory with all that they need.
//! * `heads`, `observer`: their processes, and what they say of themselves.
//! * `seen`: what is expected of them.
//! * `guide`, `live`: how a client reaches them, and what they are doing.
//! * `exercise`, `plan`, `report`: a drill while heads die, what happens in which order, and what came of it.
//!
//! With `--json` and without `--exercise`, the standard output is one JSON object per line; `event` says which kind:
//!
//! | `event` | other keys |
//! | --- | --- |
//! | `started` | `directory`, `config`, `target`, `lun`, `portals` (by head) |
//! | `head-started` | `head`, `pid` |
//! | `head-ended` | `head`, `how` |
//! | `status` | `status`: see `targetctl status --json`; whenever it has changed |
//! | `stopped` | `problems`: what did not end as it should |
//!
//! With `--exercise` it is one document, [`report::Report`].

mod exercise;
mod guide;
mod heads;
mod live;
mod observer;
mod place;
mod plan;
mod ports;
mod report;
mod seen;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use iscsi_target::daemon::config::{ByteSize, HeadName};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::failure::Failure;
use heads::Heads;
use place::Place;
use seen::Goal;

/// How long an expected state may take to come about.
const DEADLINE: Duration = Duration::from_secs(30);

/// Run two heads on this machine, on one file as their disk
///
/// Prints how a client reaches them, and shows what they are doing until Ctrl-C. A head that dies is started again: kill
/// one, and see.
///
/// With --exercise, a client writes and reads all the time while heads are killed, stopped, ended and handed over; the report
/// says what the client noticed. Exit code 0 only when nothing was lost, stale or torn and each takeover took place.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Keep everything in this directory [default: a new one, removed at the end unless something failed]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Size of the disk; it takes up space only as it is written [default: 1GiB]
    #[arg(long)]
    size: Option<ByteSize>,
    /// Where head a serves clients [default: 127.0.0.1:3260, or the next port that is free]
    #[arg(long, value_name = "ADDRESS:PORT")]
    portal_a: Option<SocketAddr>,
    /// Where head b serves clients [default: 127.0.0.1:3261, or the next port that is free]
    #[arg(long, value_name = "ADDRESS:PORT")]
    portal_b: Option<SocketAddr>,
    /// Put the heads through an exercise of about so long, and report
    #[arg(long, value_name = "SECONDS")]
    exercise: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let ports = ports::choose(arguments.portal_a, arguments.portal_b)?;
    let place = Place::prepare(arguments.dir.as_deref(), arguments.size, &ports)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let interrupts = Interrupts::listen()?;
        tokio::select! {
            result = demo(arguments, &place, &interrupts, out) => result,
            // Whatever is dropped here kills its heads.
            () = interrupts.asked(2) => Err(Failure::failed("interrupted twice: the heads were killed")),
        }
    });
    runtime.shutdown_background();
    place.leave(result.is_ok());
    result
}

async fn demo(
    arguments: &Arguments,
    place: &Place,
    interrupts: &Interrupts,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut heads = Heads::new(place)?;
    let started = async {
        heads.start(HeadName::A)?;
        heads.start(HeadName::B)?;
        heads.reach(&Goal::Mirrored, None, DEADLINE).await
    };
    tokio::select! {
        started = started => started.map_err(|why| Failure::failed(format!("the heads did not become a pair: {why}")))?,
        () = interrupts.asked(1) => return Err(Failure::failed("interrupted before the heads were a pair")),
    }
    match arguments.exercise {
        Some(seconds) => {
            exercise::run(&mut heads, place, Duration::from_secs(seconds), arguments.json, interrupts, out).await
        }
        None => live::run(&mut heads, place, arguments.json, interrupts, out).await,
    }
}

/// How often we were told to end.
struct Interrupts(watch::Receiver<u32>);

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        let (count, counted) = watch::channel(0);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Ok(Self(counted))
    }

    /// Wait until we were told so often.
    async fn asked(&self, times: u32) {
        let mut count = self.0.clone();
        if count.wait_for(|count| *count >= times).await.is_err() {
            // Nobody listens any more: it does not come.
            std::future::pending::<()>().await;
        }
    }
}
