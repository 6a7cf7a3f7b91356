//! The thread that notices when the table of reservations changes.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Member;

/// Watch until `stop` is signalled. The watch stands when this returns.
pub(super) fn spawn(member: Arc<Member>, stop: Arc<EventFd>) -> std::io::Result<JoinHandle<()>> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    // IN_ATTRIB reports that a link to the file was removed.
    let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MOVE_SELF;
    inotify.add_watch(member.sidecar.path(), events)?;
    std::thread::Builder::new().name("reservations".to_owned()).spawn(move || {
        while let Some(()) = wait(&inotify, &stop) {
            if let Err(error) = member.look() {
                tracing::error!(%error, "the reservations of the disk cannot be followed");
            }
        }
    })
}

/// Wait for a change; `None` for the end.
fn wait(inotify: &Inotify, stop: &EventFd) -> Option<()> {
    loop {
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => panic!("the reservations cannot be watched: {errno}"),
        }
        if fds[1].any().unwrap_or(true) {
            return None;
        }
        match inotify.read_events() {
            Ok(_) => return Some(()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => panic!("the reservations cannot be watched: {errno}"),
        }
    }
}
