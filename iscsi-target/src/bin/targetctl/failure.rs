//! How a command ends when it does not end well.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// Why a command did not do what it was asked for; each kind has its exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was tried, and failed.
    Failed(anyhow::Error),
    /// It cannot be meant so.
    Usage(String),
    /// No daemon to ask.
    Unreachable(String),
}

impl Failure {
    /// It was tried, and failed with `message`.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(anyhow::Error::msg(message.into()))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        })
    }

    /// Whether all that failed is that nobody reads our output any more.
    pub(crate) fn is_closed_output(&self) -> bool {
        let Self::Failed(error) = self else { return false };
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            Self::Usage(message) | Self::Unreachable(message) => f.write_str(message),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
