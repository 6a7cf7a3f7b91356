//! Windows Server.

use iscsi_target::daemon::config::Config;

use super::template;

/// Commands for PowerShell.
pub(super) fn text(config: &Config) -> String {
    template::fill(include_str!("windows.ps1"), config)
}
