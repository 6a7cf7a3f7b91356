//! `targetctl handover`.

use std::io::Write;

use iscsi_target::daemon::config::HeadName;
use iscsi_target::daemon::control::{LunSelector, Request};

use crate::Global;
use crate::daemon;
use crate::failure::Failure;

/// Let the other head own a LUN; clients notice nothing but some milliseconds
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The LUN by name or number, or `all`
    lun: LunSelector,
    /// Who shall own it; without it, the head that does not own it now
    #[arg(long, value_name = "a|b")]
    to: Option<HeadName>,
}

pub(crate) fn run(arguments: Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    daemon::act(&Request::Handover { lun: arguments.lun, to: arguments.to }, global, out)
}
