//! `targetctl drill`.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use iscsi_target::daemon::config::load_chap_secret;
use iscsi_target::initiator::drill::{Control, DrillError, DrillOptions, DrillReport, run as run_drill};
use iscsi_target::pdu::digest::Digests;
use iscsi_target::session::access::Account;
use tokio::sync::mpsc;

use crate::Global;
use crate::failure::Failure;

/// Write to a LUN over all of its paths, and say whether anything was lost, stale or torn
///
/// Writes numbered blocks at random, reads them back all the time and at the end all of them, and measures how long nothing
/// went on. Meanwhile end heads, break links, hand over: a client must not lose anything. The region is overwritten; one that
/// holds anything but zeroes and blocks of an earlier drill is refused.
///
/// Exit code 0 only when nothing was lost, stale or torn, and no command failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address and port of a path; once for each path [default: the portals of the configuration]
    #[arg(long = "portal", value_name = "ADDRESS:PORT")]
    portals: Vec<SocketAddr>,
    /// The target [default: the only one that a portal has]
    #[arg(long)]
    iqn: Option<String>,
    /// The LUN by number
    #[arg(long, value_name = "NUMBER")]
    lun: u64,
    /// Log in under this name, as one that may and that sees the LUN
    #[arg(long, value_name = "NAME")]
    initiator: Option<String>,
    /// Prove it with CHAP, as this user
    #[arg(long, value_name = "USER", requires = "secret_file")]
    user: Option<String>,
    /// The file with the secret of --user
    #[arg(long, value_name = "FILE", requires = "user")]
    secret_file: Option<PathBuf>,
    /// How long to write; the verification comes on top
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Commands in flight
    #[arg(long, default_value_t = 16, value_name = "COMMANDS")]
    depth: usize,
    /// First block of the region
    #[arg(long, default_value_t = 0, value_name = "BLOCK")]
    offset_blocks: u64,
    /// Blocks of the region [default: 65536, or as many as there are]
    #[arg(long)]
    blocks: Option<u64>,
    /// Repeat the workload of this number
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Have all headers and data checked with CRC32C
    #[arg(long)]
    digests: bool,
    /// Keep what was acknowledged in this file, for --verify-only
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Write nothing, only check what the run that left --state was promised
    #[arg(long, requires = "state")]
    verify_only: bool,
    /// Overwrite the region, whatever it holds
    #[arg(long, alias = "yes-destroy-data")]
    overwrite: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    let json = arguments.json;
    let options = options(arguments, global)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(drill(options)).map_err(failure)?;
    print(&report, json, out)?;
    if report.is_clean() { Ok(()) } else { Err(Failure::failed("the drill found faults")) }
}

fn options(arguments: Arguments, global: &Global) -> Result<DrillOptions, Failure> {
    let Arguments { mut portals, mut iqn, .. } = arguments;
    if portals.is_empty() {
        let config = global.load()?;
        for portal in config.heads.values().flat_map(|head| &head.portals) {
            portals.extend(portal.advertise.to_socket_addrs()?.next());
        }
        iqn = iqn.or(Some(config.iqn));
    }
    let account = match (arguments.user, arguments.secret_file) {
        (Some(user), Some(file)) => {
            let secret = load_chap_secret(&file).map_err(|error| Failure::failed(error.to_string()))?;
            Some(Account { user, secret })
        }
        _ => None,
    };
    let default = DrillOptions::default();
    Ok(DrillOptions {
        portals,
        iqn,
        initiator_name: arguments.initiator.unwrap_or(default.initiator_name),
        account,
        lun: arguments.lun,
        offset_blocks: arguments.offset_blocks,
        blocks: arguments.blocks,
        depth: arguments.depth,
        duration: Some(Duration::from_secs(arguments.seconds)),
        seed: arguments.seed,
        digests: Digests { header: arguments.digests, data: arguments.digests },
        overwrite: arguments.overwrite,
        state: arguments.state,
        verify_only: arguments.verify_only,
        ..default
    })
}

/// An interrupt ends the writing; what was written is verified all the same.
async fn drill(options: DrillOptions) -> Result<DrillReport, DrillError> {
    let (sender, control) = mpsc::channel(1);
    let interrupts = tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(Control::Stop).await.is_ok() {}
    });
    let report = run_drill(options, control).await;
    interrupts.abort();
    report
}

fn failure(error: DrillError) -> Failure {
    match error {
        DrillError::Options(message) => Failure::Usage(message),
        error => error.into(),
    }
}

fn print(report: &DrillReport, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        serde_json::to_writer(&mut *out, report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(())
}
