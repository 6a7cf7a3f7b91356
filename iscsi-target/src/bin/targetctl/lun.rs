//! `targetctl lun`.

use std::io::Write;

use iscsi_target::daemon::control::{LunRef, Request};

use crate::Global;
use crate::daemon;
use crate::failure::Failure;

/// Decide about a LUN
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Serve a LUN again although acknowledged data is lost for good
    ///
    /// For a LUN that is unavailable because both heads lost their RAM while it held data that the disk had not. `status`
    /// says which ranges can be affected. Afterwards the disk's contents count, as they are: check or restore what is
    /// on it.
    AcceptLoss {
        /// The LUN by name or number
        lun: LunRef,
    },
}

pub(crate) fn run(arguments: Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    let Command::AcceptLoss { lun } = arguments.command;
    daemon::act(&Request::AcceptLoss { lun }, global, out)
}
