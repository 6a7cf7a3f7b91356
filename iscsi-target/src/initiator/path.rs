//! Shell: one path. Connects when asked to, drives a [`Session`] until it ends, says so, and waits to be asked again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::command::Command;
use super::multipath::{PathEvent, PathId};
use super::session::{Event, Session, SessionOptions, Tag};
use crate::pdu::Transmit;

/// PDUs taken from the session at a time; while there are more, nothing more is received.
const MAX_QUEUED_PDUS: usize = 256;
/// Slices of one vectored write.
const MAX_IO_SLICES: usize = 256;

/// Counts from the moment of its making, so that the cores need not know what an hour is.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

/// What a path is asked to do.
#[derive(Debug)]
pub enum PathRequest {
    /// Connect and log in.
    Connect,
    /// Log out.
    Disconnect,
    /// Execute a command; ignored when there is no session.
    Submit(Tag, Command),
}

/// One path's end of the channels.
#[derive(Debug)]
pub struct PathTask {
    /// Its name towards [`super::multipath`].
    pub id: PathId,
    /// Where to connect to.
    pub portal: SocketAddr,
    /// How to log in; without a target name the portal is asked for the only one it has.
    pub session: SessionOptions,
    /// A connection that takes longer has failed.
    pub connect_timeout: Duration,
    /// The time.
    pub clock: Clock,
    /// What to do.
    pub requests: UnboundedReceiver<PathRequest>,
    /// What happened.
    pub events: UnboundedSender<(PathId, PathEvent)>,
}

/// A connection with its session.
struct Connection {
    stream: TcpStream,
    session: Session,
    outgoing: VecDeque<Transmit>,
    clock: Clock,
}

/// The other end of the channels is gone: nobody wants this path any more.
struct Abandoned;

impl Clock {
    /// Zero is now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the initiator reads the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }

    /// Wait until `deadline`; for ever without one.
    pub async fn sleep_until(&self, deadline: Option<Duration>) {
        match deadline {
            Some(deadline) => tokio::time::sleep(deadline.saturating_sub(self.now())).await,
            None => std::future::pending().await,
        }
    }
}

impl PathTask {
    /// Serve until nobody is left who could ask.
    pub async fn run(mut self) {
        while let Some(request) = self.requests.recv().await {
            if !matches!(request, PathRequest::Connect) {
                continue;
            }
            let Ok(reason) = self.connect().await else { return };
            if self.events.send((self.id, PathEvent::Down(reason))).is_err() {
                return;
            }
        }
    }

    /// Connect, and serve until the connection is lost; the reason why.
    async fn connect(&mut self) -> Result<String, Abandoned> {
        if self.session.target_name.is_none() {
            match self.discover().await {
                Ok(name) => self.session.target_name = Some(name),
                Err(reason) => return Ok(reason),
            }
        }
        match self.open(self.session.clone()).await {
            Ok(connection) => self.serve(connection).await,
            Err(error) => Ok(error),
        }
    }

    async fn open(&self, options: SessionOptions) -> Result<Connection, String> {
        let connected = tokio::time::timeout(self.connect_timeout, connect(self.portal)).await;
        let stream = connected.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
        let session = Session::new(options, self.clock.now());
        Ok(Connection { stream, session, outgoing: VecDeque::new(), clock: self.clock })
    }

    /// Ask the portal for its targets: there must be one.
    async fn discover(&self) -> Result<String, String> {
        let mut connection = self.open(self.session.clone()).await?;
        let mut found = Err("the portal has no target".to_owned());
        loop {
            while let Some(event) = connection.session.poll_event() {
                match event {
                    Event::LoggedIn => connection.session.send_targets(),
                    Event::Targets(names) => {
                        found = one_target(names);
                        connection.session.logout(self.clock.now());
                    }
                    Event::Closed(super::session::SessionError::LoggedOut) => return found,
                    Event::Closed(error) => return Err(error.to_string()),
                    Event::Completed(..) | Event::Aborted(_) | Event::Changed | Event::LogoutWanted => {}
                }
            }
            connection.step().await.map_err(|error| error.to_string())?;
        }
    }

    async fn serve(&mut self, mut connection: Connection) -> Result<String, Abandoned> {
        loop {
            while let Some(event) = connection.session.poll_event() {
                let event = match event {
                    Event::LoggedIn => PathEvent::Up,
                    Event::Completed(tag, answer) => PathEvent::Completed(tag, answer),
                    Event::Aborted(tag) => PathEvent::Aborted(tag),
                    Event::Changed => PathEvent::Changed,
                    Event::LogoutWanted => PathEvent::LogoutWanted,
                    Event::Closed(error) => return Ok(error.to_string()),
                    Event::Targets(_) => continue,
                };
                self.events.send((self.id, event)).map_err(|_| Abandoned)?;
            }
            tokio::select! {
                stepped = connection.step() => {
                    if let Err(error) = stepped {
                        return Ok(error.to_string());
                    }
                }
                request = self.requests.recv() => match request.ok_or(Abandoned)? {
                    PathRequest::Connect => {}
                    PathRequest::Disconnect => connection.session.logout(self.clock.now()),
                    PathRequest::Submit(tag, command) => connection.session.submit(tag, command, self.clock.now()),
                },
            }
        }
    }
}

/// What is not sent when the path is given up must never be: its commands are given to another path, whose later writes
/// an old one would overwrite when the network heals. So closing is a reset, as it is for the initiator of Linux.
async fn connect(portal: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(portal).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    Ok(stream)
}

fn one_target(mut names: Vec<String>) -> Result<String, String> {
    match names.len() {
        0 => Err("the portal has no target".to_owned()),
        1 => Ok(names.remove(0)),
        _ => Err(format!("the portal has several targets, name one: {}", names.join(", "))),
    }
}

impl Connection {
    /// Wait for the socket or the time, and let the session know. Nothing is lost when this is dropped half-way.
    async fn step(&mut self) -> io::Result<()> {
        self.collect();
        let mut interest = Interest::READABLE;
        if self.outgoing.len() >= MAX_QUEUED_PDUS {
            interest = Interest::WRITABLE;
        } else if !self.outgoing.is_empty() {
            interest |= Interest::WRITABLE;
        }
        let clock = self.clock;
        tokio::select! {
            ready = self.stream.ready(interest) => {
                let ready = ready?;
                if ready.is_writable() {
                    self.write()?;
                }
                if ready.is_readable() && interest.is_readable() {
                    self.read()?;
                }
            }
            () = clock.sleep_until(self.session.next_timeout()) => self.session.handle_timeout(clock.now()),
        }
        Ok(())
    }

    fn collect(&mut self) {
        while self.outgoing.len() < MAX_QUEUED_PDUS
            && let Some(transmit) = self.session.poll_transmit()
        {
            self.outgoing.push_back(transmit);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = Vec::new();
        for transmit in &self.outgoing {
            if slices.len() >= MAX_IO_SLICES {
                break;
            }
            transmit.io_slices(&mut slices);
        }
        let mut count = match self.stream.try_write_vectored(&slices) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            outcome => outcome?,
        };
        while let Some(front) = self.outgoing.front_mut() {
            count = front.advance(count);
            if front.remaining_bytes() > 0 {
                break;
            }
            self.outgoing.pop_front();
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        match self.stream.try_read_vectored(&mut self.session.recv_slices()) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the target closed the connection")),
            Ok(count) => {
                self.session.handle_received(count, self.clock.now());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_path_that_is_given_up_sends_nothing_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        drop(stream);
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
