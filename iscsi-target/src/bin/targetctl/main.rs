//! `targetctl`: administration of a pair.
//!
//! Each subcommand is a file with its arguments and a `run(arguments, global, out)`; [`Command`] lists them.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the daemon is not reachable.

mod client_config;
mod config;
mod daemon;
mod demo;
mod disk;
mod drill;
mod failure;
mod handover;
mod lun;
mod reload;
mod run_head;
mod status;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use iscsi_target::daemon::config::{Config, DEFAULT_PATH, HeadName};

use failure::Failure;

/// Administration of a Twinhead pair
#[derive(Debug, Parser)]
#[command(
    name = "targetctl",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the daemon is not reachable."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand understands.
#[derive(Debug, clap::Args)]
struct Global {
    /// The configuration, the same on both heads
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// The head to speak to; without it, the only one whose daemon answers on this machine
    #[arg(long, global = true, value_name = "a|b")]
    head: Option<HeadName>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Arguments),
    Handover(handover::Arguments),
    Disk(disk::Arguments),
    Reload(reload::Arguments),
    Lun(lun::Arguments),
    Config(config::Arguments),
    ClientConfig(client_config::Arguments),
    Drill(drill::Arguments),
    Demo(demo::Arguments),
    RunHead(run_head::Arguments),
}

impl Global {
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config)?)
    }
}

impl Command {
    fn run(self, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
        match self {
            Self::Status(arguments) => status::run(&arguments, global, out),
            Self::Handover(arguments) => handover::run(arguments, global, out),
            Self::Disk(arguments) => disk::run(&arguments, global, out),
            Self::Reload(arguments) => reload::run(&arguments, global, out),
            Self::Lun(arguments) => lun::run(arguments, global, out),
            Self::Config(arguments) => config::run(&arguments, global, out),
            Self::ClientConfig(arguments) => client_config::run(&arguments, global, out),
            Self::Drill(arguments) => drill::run(arguments, global, out),
            Self::Demo(arguments) => demo::run(&arguments, out),
            Self::RunHead(arguments) => run_head::run(&arguments, global),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command.run(&cli.global, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as in `targetctl status | head -1`.
        Err(failure) if failure.is_closed_output() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("targetctl: {failure}");
            failure.exit_code()
        }
    }
}
