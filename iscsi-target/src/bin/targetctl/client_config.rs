//! `targetctl client-config`: what a client of this pair must be told, with the reason for each setting.
//!
//! One file per kind of client makes the text from the configuration; the texts themselves stand beside them as files of
//! the language that they are written in, to be filled in by [`template`]. What is the same for every pair is shipped as
//! files of its own, `packaging/client/`, and included here.

mod esxi;
mod kubernetes;
mod linux;
mod template;
#[cfg(test)]
mod tests;
mod windows;

use std::io::Write;

use crate::Global;
use crate::failure::Failure;

/// Print the settings for a client of this pair, with the reason for each
///
/// With the portals and the name of the target from the configuration file; no daemon is asked. Comments are such that
/// the output can go into a file or a shell as it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    client: Client,
}

#[derive(Debug, clap::Subcommand)]
enum Client {
    /// open-iscsi and multipath-tools
    Linux {
        /// Only this one, to be redirected; without it, all of them one after the other
        #[arg(long, value_enum)]
        file: Option<linux::File>,
    },
    /// VMware ESXi: commands for the shell of a host
    Esxi,
    /// Windows Server: PowerShell
    Windows,
    /// A PersistentVolume for each LUN, and what the nodes need
    Kubernetes,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    let config = global.load()?;
    let text = match arguments.client {
        Client::Linux { file: Some(file) } => linux::file(&config, file),
        Client::Linux { file: None } => linux::everything(&config),
        Client::Esxi => esxi::text(&config),
        Client::Windows => windows::text(&config),
        Client::Kubernetes => kubernetes::text(&config),
    };
    Ok(out.write_all(text.as_bytes())?)
}
