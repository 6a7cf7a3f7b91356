//! The daemon of one head.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use iscsi_target::daemon::config::{Config, DEFAULT_PATH, HeadName};
use tracing_subscriber::EnvFilter;

/// One head of a Twinhead pair: an iSCSI target whose LUNs outlive either head
#[derive(Debug, Parser)]
#[command(name = "twinhead", version)]
struct Arguments {
    /// The configuration, the same on both heads
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Which head this is
    #[arg(long, value_name = "a|b")]
    head: HeadName,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, iscsi_target::daemon::serve(config, arguments.head))
}
