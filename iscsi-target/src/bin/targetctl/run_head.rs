//! `targetctl run-head`: a head, from this executable. `demo` starts its heads so, because `twinhead` may not be built.

use iscsi_target::daemon::main_of_head;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use crate::Global;
use crate::failure::Failure;

/// Be a head, as `twinhead` is
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Arguments {
    /// End as soon as the process of this number, which starts this one, has ended
    #[arg(long, value_name = "PID")]
    parent: i32,
}

pub(crate) fn run(arguments: &Arguments, global: &Global) -> Result<(), Failure> {
    let Some(head) = global.head else { return Err(Failure::Usage("say --head a or --head b".to_owned())) };
    set_pdeathsig(Signal::SIGKILL)?;
    // It may have ended before the signal was asked for.
    if getppid().as_raw() != arguments.parent {
        return Err(Failure::failed("whoever started this head has ended"));
    }
    main_of_head(&global.config, head).map_err(|error| Failure::failed(format!("{error:#}")))
}
