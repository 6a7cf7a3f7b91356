//! `targetctl reload`.

use std::io::Write;

use iscsi_target::daemon::control::Request;

use crate::Global;
use crate::daemon;
use crate::failure::Failure;

/// Let a head read its configuration again: LUNs come, go and change without a break
///
/// A file that is wrong, or that changes what needs a restart, changes nothing, and the answer says why. Reload the
/// other head as well: until then a LUN that only one of them has is not mirrored.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    daemon::act(&Request::Reload {}, global, out)
}
