//! Shell: the paths and the multipath core that decides about them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::command::{Answer, Command};
use super::multipath::{Action, IoId, Multipath, Notice, PathEvent, PathId};
use super::path::{Clock, PathRequest, PathTask};
use super::session::SessionOptions;

/// What is waited for logouts.
const LOGOUT_TIME: Duration = Duration::from_millis(500);

/// How to reach a logical unit.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// One path for each.
    pub portals: Vec<SocketAddr>,
    /// How to log in; the last byte of the ISID counts the paths.
    pub session: SessionOptions,
    /// A connection that takes longer has failed.
    pub connect_timeout: Duration,
}

/// A logical unit over all of its paths. Must be made and used inside a tokio runtime; any flavour will do.
#[derive(Debug)]
pub struct Engine {
    clock: Clock,
    multipath: Multipath,
    portals: Vec<SocketAddr>,
    requests: Vec<UnboundedSender<PathRequest>>,
    events: UnboundedReceiver<(PathId, PathEvent)>,
    /// Ends the paths with the engine.
    _paths: JoinSet<()>,
}

impl Engine {
    /// Start to connect to all portals.
    #[must_use]
    pub fn start(options: &EngineOptions, clock: Clock) -> Self {
        let (event_sender, events) = unbounded_channel();
        let mut paths = JoinSet::new();
        let mut requests = Vec::new();
        for (index, portal) in options.portals.iter().enumerate() {
            let (sender, receiver) = unbounded_channel();
            let mut session = options.session.clone();
            session.isid[5] = session.isid[5].wrapping_add(u8::try_from(index).unwrap_or(u8::MAX));
            let path = PathTask {
                id: PathId(index),
                portal: *portal,
                session,
                connect_timeout: options.connect_timeout,
                clock,
                requests: receiver,
                events: event_sender.clone(),
            };
            paths.spawn(path.run());
            requests.push(sender);
        }
        let multipath = Multipath::new(options.portals.len(), clock.now());
        let portals = options.portals.clone();
        let mut engine = Self { clock, multipath, portals, requests, events, _paths: paths };
        engine.act();
        engine
    }

    /// Execute `command` on whatever path works; the answer comes from [`Engine::take_result`].
    pub fn submit(&mut self, command: Command) -> IoId {
        let id = self.multipath.submit(command, self.clock.now());
        self.act();
        id
    }

    /// The next command that is answered for good.
    pub fn take_result(&mut self) -> Option<(IoId, Answer)> {
        self.multipath.poll_result()
    }

    /// The next piece of news about a path.
    pub fn take_notice(&mut self) -> Option<(SocketAddr, Notice)> {
        let notice = self.multipath.poll_notice()?;
        self.portals.get(notice.path.0).map(|portal| (*portal, notice))
    }

    /// Wait until something happened, at most until `deadline`. Nothing is lost when this is dropped half-way.
    pub async fn wait(&mut self, deadline: Option<Duration>) {
        let timeout = [self.multipath.next_timeout(self.clock.now()), deadline].into_iter().flatten().min();
        tokio::select! {
            event = self.events.recv() => {
                let mut next = event;
                while let Some((path, event)) = next {
                    self.multipath.handle_path_event(path, event, self.clock.now());
                    next = self.events.try_recv().ok();
                }
            }
            () = self.clock.sleep_until(timeout) => self.multipath.handle_timeout(self.clock.now()),
        }
        self.act();
    }

    /// Execute one command when nothing else is under way; `None` when there is no answer until `deadline`.
    pub async fn execute(&mut self, command: Command, deadline: Duration) -> Option<Answer> {
        let id = self.submit(command);
        while self.clock.now() < deadline {
            while let Some((done, answer)) = self.take_result() {
                if done == id {
                    return Some(answer);
                }
            }
            self.wait(Some(deadline)).await;
        }
        None
    }

    /// Log out everywhere, as far as the targets answer soon.
    pub async fn close(mut self) {
        let connected = self.multipath.connected().filter_map(|path| self.requests.get(path.0));
        let mut open = connected.filter(|path| path.send(PathRequest::Disconnect).is_ok()).count();
        let deadline = self.clock.now() + LOGOUT_TIME;
        while open > 0 {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some((_, PathEvent::Down(_))) => open -= 1,
                    Some(_) => {}
                    None => return,
                },
                () = self.clock.sleep_until(Some(deadline)) => return,
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.multipath.poll_action() {
            let (path, request) = match action {
                Action::Connect(path) => (path, PathRequest::Connect),
                Action::Disconnect(path) => (path, PathRequest::Disconnect),
                Action::Submit(path, tag, command) => (path, PathRequest::Submit(tag, command)),
            };
            // A path whose task is gone is never up; then there is nobody to tell.
            if let Some(sender) = self.requests.get(path.0) {
                sender.send(request).unwrap_or_default();
            }
        }
    }
}
