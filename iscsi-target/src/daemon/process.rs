//! One head as a process of its own: its log and its runtime.

use std::io::IsTerminal;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
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
    allow_descriptors();
    let (path, config) = (config, Config::load(config)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, super::serve(config, path, head))
}

/// As many as the system lets us have: each client takes one, and when there are none left neither the other head nor the
/// operator is heard.
fn allow_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most).map(|()| most));
    match raised {
        Ok(most) => tracing::debug!(most, "file descriptors"),
        Err(error) => tracing::warn!(%error, "the limit of file descriptors stays as it is"),
    }
}
