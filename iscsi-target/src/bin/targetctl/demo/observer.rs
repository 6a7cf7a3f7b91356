//! A thread that listens to what a head says, again and again, whether it runs or not.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use iscsi_target::daemon::control::{Client, Request, Response};
use iscsi_target::daemon::status::Status;
use tokio::sync::watch;

/// How soon a head that does not answer is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// The last word of a head. The thread ends soon after this is dropped.
pub(super) struct Observer {
    pub(super) seen: watch::Receiver<Option<Status>>,
    _alive: Sender<()>,
}

impl Observer {
    pub(super) fn start(control: PathBuf) -> std::io::Result<Self> {
        let (say, seen) = watch::channel(None);
        let (alive, ended) = channel();
        std::thread::Builder::new().name("observer".to_owned()).spawn(move || observe(&control, &say, &ended))?;
        Ok(Self { seen, _alive: alive })
    }
}

fn observe(control: &Path, say: &watch::Sender<Option<Status>>, ended: &Receiver<()>) {
    while ended.recv_timeout(AGAIN) == Err(RecvTimeoutError::Timeout) {
        if let Ok(mut client) = Client::connect(control) {
            let mut answer = client.ask(&Request::Watch {});
            while let Ok(Response::Status(status)) = answer {
                if say.send(Some(*status)).is_err() {
                    return;
                }
                answer = client.next_answer();
            }
            say.send_replace(None);
        }
    }
}
