//! Other processes: whether they live, how to end them, how to wait for them.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::table::Process;

/// How long another process may hold us up before it is ended.
pub(crate) const GRACE: Duration = Duration::from_millis(100);
/// How long we wait for the kernel to end a process before we say so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

impl Process {
    /// The process that runs this code.
    pub(crate) fn this() -> std::io::Result<Self> {
        let pid = std::process::id();
        let started = start_time(pid).ok_or_else(|| std::io::Error::other("/proc/self/stat cannot be read"))?;
        Ok(Self { pid, started })
    }

    /// Whether this very process still exists.
    pub(crate) fn exists(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Whether it runs no code any more: gone, or waiting for its parent to take note of its end.
    pub(crate) fn has_ended(self) -> bool {
        let Some((state, started)) = status(self.pid) else { return true };
        started != self.started || matches!(state, 'Z' | 'X')
    }

    /// SIGKILL, unless it is this process, or gone.
    pub(crate) fn end(self) {
        if self.exists() {
            end(i32::try_from(self.pid).unwrap_or(0));
        }
    }
}

/// SIGKILL for a process, never for our own, for init or for a group.
pub(crate) fn end(pid: i32) {
    if pid <= 1 || u32::try_from(pid) == Ok(std::process::id()) {
        return;
    }
    tracing::warn!(pid, "ending a process of the other head that does not let go of the disk");
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => tracing::error!(pid, %errno, "it cannot be ended"),
    }
}

fn start_time(pid: u32) -> Option<u64> {
    status(pid).map(|(_, started)| started)
}

fn status(pid: u32) -> Option<(char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_status(&stat)
}

/// Fields 3 and 22 of /proc/PID/stat: the state, and the time of the start. The name before them may contain anything, a
/// parenthesis closes it.
fn parse_status(stat: &str) -> Option<(char, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// How long something has lasted.
pub(crate) struct Waiting {
    since: Instant,
}

impl Waiting {
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a shell: it waits for other processes")]
        Self { since: Instant::now() }
    }

    pub(crate) fn lasts(&self, duration: Duration) -> bool {
        self.since.elapsed() >= duration
    }

    /// Neither locks of other processes nor their end can be waited for with a limit: look again in a moment.
    pub(crate) fn nap(&self) -> Result<(), Errno> {
        match poll(&mut [], PollTimeout::from(2u8)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart_by_their_start() {
        let this = Process::this().unwrap();
        assert!(this.exists());
        assert!(!Process { started: this.started + 1, ..this }.exists());
        this.end();
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 99";
        assert_eq!(parse_status(stat), Some(('S', 4242)));
        assert_eq!(parse_status(""), None);
        assert!(!this.has_ended() && Process { started: this.started + 1, ..this }.has_ended());
    }
}
