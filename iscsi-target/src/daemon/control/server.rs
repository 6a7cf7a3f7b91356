//! The daemon's end of the control socket.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{ControlRequest, Request, Response, line};
use crate::daemon::status::Status;

/// Clients that are served at a time; another one is told so and closed.
pub const CONNECTIONS_MAX: usize = 16;
/// A client that asks for nothing for so long is closed, so that idle ones cannot use up all connections.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long the daemon may take for one request, and a client to take the answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The longest silence on a watch.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const LISTEN_BACKLOG: i32 = 16;

/// The listening control socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

/// What every connection needs to get at the daemon's loop.
#[derive(Clone)]
struct Daemon {
    requests: mpsc::Sender<ControlRequest>,
    changes: watch::Receiver<()>,
}

impl Server {
    /// Listen at `path`, for this user only. A socket file that nobody listens on is replaced.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        let bound = async {
            remove_stale(path).await?;
            Self::listen(path)
        };
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("control socket {}: {error}", path.display()));
        bound.await.map_err(named)
    }

    fn listen(path: &Path) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM.nonblocking(), None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        // Before it listens: nobody gets in while the mode is still what the umask says.
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        socket.listen(LISTEN_BACKLOG)?;
        let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into())?;
        Ok(Self { listener, path: path.to_path_buf(), inode })
    }

    /// Serve clients until dropped. Requests go to `requests`; whoever watches is told at each value that `changes`
    /// gets: the daemon sends one at each change of mode, owner or link, not for every byte.
    pub async fn serve(self, requests: mpsc::Sender<ControlRequest>, changes: watch::Receiver<()>) {
        let daemon = Daemon { requests, changes };
        let mut connections = JoinSet::new();
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a client of the control socket could not be accepted");
                    // Out of descriptors, most likely: wait instead of spinning.
                    sleep(WATCH_EVERY).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            if connections.len() < CONNECTIONS_MAX {
                connections.spawn(serve_logged(stream, daemon.clone()));
            } else {
                let busy = format!("{CONNECTIONS_MAX} clients are connected already; close one and try again");
                // It fits into an empty socket buffer, so this never waits; whether the client is still there is its business.
                stream.try_write(&line::print(&Response::Error(busy))).ok();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only if it is still ours: another daemon may have replaced it.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|about| about.ino() == self.inode)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the control socket could not be removed");
        }
    }
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let about = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        about => about?,
    };
    let taken = |why: &'static str| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    if !about.file_type().is_socket() {
        return taken("is there already and is not a socket");
    }
    match timeout(WATCH_EVERY, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => taken("is in use: another daemon listens on it"),
    }
}

async fn serve_logged(stream: UnixStream, daemon: Daemon) {
    if let Err(error) = serve_client(stream, daemon).await {
        tracing::debug!(%error, "a client of the control socket was closed");
    }
}

async fn serve_client(stream: UnixStream, mut daemon: Daemon) -> io::Result<()> {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    loop {
        let line = match timeout(IDLE_MAX, line::read(&mut input)).await? {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(error) => {
                send(&mut output, &Response::Error(error.to_string())).await?;
                return Err(error);
            }
        };
        match line::parse(&line) {
            Ok(Request::Watch {}) => return daemon.watch(&mut input, &mut output).await,
            Ok(request) => send(&mut output, &daemon.answer(request).await).await?,
            Err(refusal) => send(&mut output, &refusal).await?,
        }
    }
}

impl Daemon {
    async fn answer(&self, request: Request) -> Response {
        match request {
            Request::Status {} | Request::Watch {} => match self.status().await {
                Ok(status) => Response::Status(Box::new(status)),
                Err(error) => Response::Error(error),
            },
            Request::Handover { lun, to } => self.act(|reply| ControlRequest::Handover { lun, to, reply }).await,
            Request::Reload {} => self.act(|reply| ControlRequest::Reload { reply }).await,
            Request::AcceptLoss { lun } => self.act(|reply| ControlRequest::AcceptLoss { lun, reply }).await,
            Request::Resize { lun } => self.act(|reply| ControlRequest::Resize { lun, reply }).await,
        }
    }

    async fn status(&self) -> Result<Status, String> {
        self.ask(|reply| ControlRequest::Status { reply }).await
    }

    async fn act(&self, request: impl FnOnce(oneshot::Sender<super::Outcome>) -> ControlRequest) -> Response {
        match self.ask(request).await.flatten() {
            Ok(message) => Response::Done(message),
            Err(error) => Response::Error(error),
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> ControlRequest) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.requests.send(request(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(ANSWER_MAX, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("the daemon is stopping; ask the other head".to_owned()),
            Err(_) => {
                let seconds = ANSWER_MAX.as_secs();
                Err(format!("not done within {seconds} s, and it may still be under way: look at the status"))
            }
        }
    }

    /// Send the status at once, at each change and at least every second, until the client closes.
    async fn watch(&mut self, input: &mut BufReader<OwnedReadHalf>, output: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut closed = std::pin::pin!(line::read(input));
        loop {
            self.changes.mark_unchanged();
            let response = self.answer(Request::Watch {}).await;
            send(output, &response).await?;
            if matches!(response, Response::Error(_)) {
                return Ok(());
            }
            tokio::select! {
                _ = &mut closed => return Ok(()),
                () = changed(&mut self.changes) => {}
                () = sleep(WATCH_EVERY) => {}
            }
        }
    }
}

/// The next change; never, once the daemon has stopped telling.
async fn changed(changes: &mut watch::Receiver<()>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn send(output: &mut OwnedWriteHalf, response: &Response) -> impl Future<Output = io::Result<()>> {
    let line = line::print(response);
    async move { timeout(ANSWER_MAX, output.write_all(&line)).await? }
}
