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
    /// Let a LUN grow to the size that its disk has now
    ///
    /// First make the disk larger, and let both machines see that: for a LUN of an array, rescan it on both. Then run this
    /// on the head that owns the LUN. Clients go on meanwhile, and are told that the capacity has changed; rescan it there
    /// as well. A LUN cannot shrink.
    Resize {
        /// The LUN by name or number
        lun: LunRef,
    },
}

pub(crate) fn run(arguments: Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    let request = match arguments.command {
        Command::AcceptLoss { lun } => Request::AcceptLoss { lun },
        Command::Resize { lun } => Request::Resize { lun },
    };
    daemon::act(&request, global, out)
}
