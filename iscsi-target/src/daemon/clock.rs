//! The only clock of the daemon.

use std::time::Instant;

use replication::Millis;

/// Milliseconds since the daemon started; cheap to copy into every thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the daemon reads the clock")]
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Now.
    #[must_use]
    pub(crate) fn now(self) -> Millis {
        Millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
