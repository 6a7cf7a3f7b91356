//! `targetctl config`.

use std::fmt::Write as _;
use std::io::Write;

use iscsi_target::daemon::Access;
use iscsi_target::daemon::config::{Config, HeadName, LinkSecret, Logins};

use crate::Global;
use crate::failure::Failure;

/// Look at the configuration
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say whether the configuration can be used, and if not, everything that is wrong with it
    ///
    /// With --head, also whether the disks and the secrets are there on this machine.
    Check {
        /// Also print each setting that must be the same on both heads, to compare them
        #[arg(long)]
        list: bool,
    },
}

pub(crate) fn run(arguments: &Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    let Command::Check { list } = arguments.command;
    let config = global.load()?;
    writeln!(out, "{}: good", global.config.display())?;
    let heads = if config.single() { "a single head" } else { "heads a and b" };
    let luns: Vec<String> = config.luns.values().map(|lun| format!("{} ({})", lun.name, lun.id)).collect();
    writeln!(out, "target {}, {heads}, LUNs {}", config.iqn, luns.join(", "))?;
    for line in config.logins.described() {
        writeln!(out, "{line}")?;
    }
    for lun in config.luns.values() {
        if let Some(initiators) = &lun.initiators {
            let names: Vec<&str> = initiators.iter().map(String::as_str).collect();
            writeln!(out, "{} ({}): seen by {} only", lun.name, lun.id, names.join(", "))?;
        }
    }
    writeln!(out, "digest {} (the same on both heads)", hex(&config.digest()))?;
    if list {
        for (key, value) in config.agreement() {
            writeln!(out, "{key} = {value}")?;
        }
    }
    match global.head {
        Some(name) => check_here(&config, name, out),
        None => Ok(()),
    }
}

/// What the configuration names must be there, on the machine of head `name`.
fn check_here(config: &Config, name: HeadName, out: &mut dyn Write) -> Result<(), Failure> {
    if config.head(name).is_none() {
        return Err(Failure::Usage(format!("there is no head {name}; it is a single head, a")));
    }
    let mut missing = Vec::new();
    if let Some(link) = &config.link
        && let Err(error) = LinkSecret::load(&link.secret_file)
    {
        missing.push(error.to_string());
    }
    missing.extend(Access::load(config, None).err());
    for lun in config.luns.values() {
        if let Err(error) = std::fs::metadata(&lun.disk) {
            missing.push(format!("LUN {}: its disk {} cannot be used here: {error}", lun.name, lun.disk.display()));
        }
    }
    missing.extend(iscsi_target::daemon::misplaced(config));
    if missing.is_empty() {
        let secrets = match (config.single(), config.logins == Logins::default()) {
            (true, true) => "",
            (false, true) => " and the link secret",
            (_, false) => " and its secrets",
        };
        return Ok(writeln!(out, "head {name}: its disks{secrets} are here")?);
    }
    Err(Failure::failed(missing.join("\n")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
