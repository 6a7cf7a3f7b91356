//! VMware ESXi.

use iscsi_target::daemon::config::Config;

use super::template;

/// Commands for the shell of a host.
pub(super) fn text(config: &Config) -> String {
    template::fill(include_str!("esxi.sh"), config)
}
