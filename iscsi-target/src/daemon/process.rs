//! One head as a process of its own: its log and its runtime.

use std::io::IsTerminal;
use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::config::{Config, HeadName};

/// Be head `head` of the pair in the configuration at `config` until told to stop. The log goes to the standard error
/// output; `RUST_LOG` says how much of it.
///
/// Called once, as the last thing that a `main` does but to say what went wrong.
///
/// # Errors
/// What keeps it from starting.
pub fn main_of_head(config: &Path, head: HeadName) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for terminals, not for a journal or a file.
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let (path, config) = (config, Config::load(config)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, super::serve(config, path, head))
}
