//! The daemon of one head.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use iscsi_target::daemon::config::{DEFAULT_PATH, HeadName};
use iscsi_target::daemon::main_of_head;

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
    match main_of_head(&arguments.config, arguments.head) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
