//! The shell around the link between the heads: head b dials, head a listens; what arrives goes to the units.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};
use std::time::Duration;

use replication::block::Blocks;
use replication::link::{Config as LinkConfig, Link, LinkEvent, Units};
use replication::message::Message;
use replication::wire::{ClientConnection, OutFrame, PortalState, UnitSettings};
use sas_backend::buffer::Pool;
use sas_backend::{HeadId, Incarnation};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::batch::Flush;
use super::clock::Clock;
use super::config::{Config, LinkSecret};
use super::lun::Lun;
use super::portal::Portals;
use super::registry::Registry;

/// How long head b waits before it dials again.
const DIAL_AGAIN: Duration = Duration::from_millis(100);
/// How long a connection may take to come up.
const DIAL: Duration = Duration::from_secs(1);
/// Connections of strangers that are listened to at a time.
const HANDSHAKES_MAX: usize = 8;
/// Frames handed to the kernel in one call; few, so that a lease does not wait behind many of them.
const FRAMES_MAX: usize = 16;

/// The link, as the rest of the daemon knows it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LinkHandle {
    shared: Rc<Shared>,
}

struct Shared {
    me: HeadId,
    incarnation: Incarnation,
    clock: Clock,
    registry: Rc<Registry>,
    portals: Portals,
    settings: RefCell<Option<Settings>>,
    /// The units while no connection has them.
    units: RefCell<Option<Units>>,
    /// The connection that has them.
    current: RefCell<Option<Rc<Wire>>>,
    /// Connections that are not closed, of the peer or of strangers.
    connections: Cell<usize>,
    peer: Cell<Option<Incarnation>>,
    reason: RefCell<String>,
}

struct Settings {
    secret: LinkSecret,
    config: Config,
    pool: Pool,
    ping_ms: u64,
    dead_ms: u64,
}

/// What the status display shows.
pub(crate) struct LinkState {
    pub(crate) peer: Option<Incarnation>,
    pub(crate) reason: String,
}

/// One TCP connection.
struct Wire {
    stream: TcpStream,
    shared: Rc<Shared>,
    /// Gone when the units have been taken from it.
    core: RefCell<Option<Link>>,
    outgoing: RefCell<VecDeque<Outgoing>>,
    flush_wanted: Cell<bool>,
    blocked: Cell<bool>,
    failed: Cell<bool>,
    wake: Notify,
    this: Weak<Self>,
}

struct Outgoing {
    frame: OutFrame,
    sent: usize,
}

impl LinkHandle {
    pub(crate) fn new(
        me: HeadId,
        incarnation: Incarnation,
        clock: Clock,
        registry: &Rc<Registry>,
        portals: &Portals,
    ) -> Self {
        let shared = Shared {
            me,
            incarnation,
            clock,
            registry: Rc::clone(registry),
            portals: portals.clone(),
            settings: RefCell::default(),
            // Generations begin at a number that no other process of this head has used.
            units: RefCell::new(Some(Units::new(incarnation.get()))),
            current: RefCell::default(),
            connections: Cell::new(0),
            peer: Cell::new(None),
            reason: RefCell::new("the other head has not been heard yet".to_owned()),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Begin to listen or to dial.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) async fn start(&self, config: &Config, secret: LinkSecret, pool: Pool) -> io::Result<()> {
        let Some(link) = &config.link else { return Ok(()) };
        let lease_ms = u64::try_from(config.limits.lease.as_millis()).unwrap_or(u64::MAX);
        let settings = Settings { secret, config: config.clone(), pool, ping_ms: lease_ms / 4, dead_ms: lease_ms };
        *self.shared.settings.borrow_mut() = Some(settings);
        let shared = Rc::clone(&self.shared);
        match shared.me {
            HeadId::A => {
                let listener = TcpListener::bind(link.a).await?;
                tokio::task::spawn_local(listen(shared, listener));
            }
            HeadId::B => drop(tokio::task::spawn_local(dial(shared, link.a))),
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> LinkState {
        LinkState { peer: self.shared.peer.get(), reason: self.shared.reason.borrow().clone() }
    }

    pub(crate) fn open(&self, unit: u8, block_bytes: u32, settings: UnitSettings) {
        let (unit, again) = (unit.into(), settings.clone());
        self.with(|core| core.open_unit(unit, block_bytes, settings), |units| units.open(unit, block_bytes, again));
    }

    /// Settings of a unit have changed, those that may.
    pub(crate) fn change(&self, unit: u8, settings: UnitSettings) {
        let (unit, again) = (unit.into(), settings.clone());
        self.with(|core| core.change_unit(unit, settings), |units| units.change(unit, again));
    }

    /// What the other head is configured with for a unit; `None` while it has not opened it.
    pub(crate) fn settings_of_peer(&self, unit: u8) -> Option<UnitSettings> {
        let wire = self.shared.current.borrow().clone()?;
        let core = wire.core.borrow();
        core.as_ref()?.settings_of_peer(unit.into()).cloned()
    }

    pub(crate) fn close(&self, unit: u8) {
        self.with(|core| core.close_unit(unit.into()), |units| units.close(unit.into()));
    }

    pub(crate) fn send(&self, unit: u8, message: Message<Blocks>) {
        self.with(|core| core.send(unit.into(), message), |_| {});
    }

    /// Say something about portal addresses; heard by nobody while the other head is not connected.
    pub(crate) fn send_portals(&self, state: PortalState) {
        self.with(|core| core.send_portals(state), |_| {});
    }

    pub(crate) fn send_clients(&self, clients: Vec<ClientConnection>) {
        self.with(|core| core.send_clients(clients), |_| {});
    }

    /// Some time has passed.
    pub(crate) fn tick(&self) {
        if let Some(wire) = self.shared.current.borrow().as_ref() {
            wire.wake.notify_one();
        }
    }

    fn with(&self, connected: impl FnOnce(&mut Link), alone: impl FnOnce(&mut Units)) {
        if let Some(wire) = self.shared.current.borrow().as_ref() {
            if let Some(core) = wire.core.borrow_mut().as_mut() {
                connected(core);
            }
            wire.want_flush();
        } else if let Some(units) = self.shared.units.borrow_mut().as_mut() {
            alone(units);
        }
    }
}

async fn listen(shared: Rc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if shared.connections.get() < HANDSHAKES_MAX => {
                drop(tokio::task::spawn_local(run(Rc::clone(&shared), stream)));
            }
            Ok((_, from)) => tracing::warn!(%from, "too many connections for the link: closing this one"),
            Err(error) => {
                tracing::warn!(%error, "a connection of the other head could not be accepted");
                tokio::time::sleep(DIAL_AGAIN).await;
            }
        }
    }
}

async fn dial(shared: Rc<Shared>, to: std::net::SocketAddr) {
    loop {
        match tokio::time::timeout(DIAL, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => run(Rc::clone(&shared), stream).await,
            Ok(Err(error)) => shared.say(format!("{to}: {error}")),
            Err(_) => shared.say(format!("{to}: no answer")),
        }
        tokio::time::sleep(DIAL_AGAIN).await;
    }
}

/// One connection from its handshake to its end.
async fn run(shared: Rc<Shared>, stream: TcpStream) {
    let Some(wire) = Wire::new(&shared, stream) else { return };
    shared.connections.set(shared.connections.get() + 1);
    wire.serve().await;
    shared.connections.set(shared.connections.get() - 1);
    let is_current = shared.current.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, &wire));
    if is_current {
        shared.retire("the connection is lost");
    }
}

impl Shared {
    fn say(&self, reason: String) {
        *self.reason.borrow_mut() = reason;
    }

    /// End the connection that has the units. Its last events tell the units so, and it gives them back.
    fn retire(&self, why: &str) {
        let Some(wire) = self.current.borrow_mut().take() else { return };
        self.peer.set(None);
        if let Some(core) = wire.core.borrow_mut().as_mut() {
            core.close(why);
        }
        wire.dispatch();
        let units = wire.core.borrow_mut().take().and_then(Link::into_units);
        *self.units.borrow_mut() = units;
        self.portals.on_link_down();
        wire.wake.notify_one();
    }

    /// The peer has proved who it is over `wire`: an older connection to it is one that has not noticed its end.
    fn adopt(&self, wire: &Rc<Wire>, peer: Incarnation) {
        self.retire("the other head has connected anew");
        let Some(units) = self.units.borrow_mut().take() else { return };
        if let Some(core) = wire.core.borrow_mut().as_mut() {
            core.adopt(units);
        }
        self.peer.set(Some(peer));
        *self.current.borrow_mut() = Some(Rc::clone(wire));
        tracing::info!(peer = format!("{:016x}", peer.get()), "the other head is connected");
        self.portals.on_link_up();
    }
}

impl Wire {
    fn new(shared: &Rc<Shared>, stream: TcpStream) -> Option<Rc<Self>> {
        let settings = shared.settings.borrow();
        let settings = settings.as_ref()?;
        let mut nonce = [0; 32];
        if let Err(error) = stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())
            .and_then(|()| getrandom::fill(&mut nonce).map_err(|error| error.to_string()))
        {
            tracing::warn!(%error, "the link could not be set up");
            return None;
        }
        let config = LinkConfig {
            me: shared.me,
            incarnation: shared.incarnation,
            secret: settings.secret.expose(),
            digest: settings.config.pair_digest(),
            agreement: settings.config.pair_agreement(),
            nonce,
            ping_ms: settings.ping_ms,
            dead_ms: settings.dead_ms,
        };
        let core = Link::new(config, settings.pool.clone(), shared.clock.now());
        Some(Rc::new_cyclic(|this| Self {
            stream,
            shared: Rc::clone(shared),
            core: RefCell::new(Some(core)),
            outgoing: RefCell::default(),
            flush_wanted: Cell::new(false),
            blocked: Cell::new(false),
            failed: Cell::new(false),
            wake: Notify::new(),
            this: Weak::clone(this),
        }))
    }

    async fn serve(&self) {
        loop {
            if !self.dispatch() || self.failed.get() {
                self.flush();
                return;
            }
            let writing = !self.outgoing.borrow().is_empty();
            let interest = if writing { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let ready = tokio::select! {
                () = self.wake.notified() => None,
                // A handshake that is not answered must end, and pings must go out.
                () = tokio::time::sleep(DIAL_AGAIN) => None,
                ready = self.stream.ready(interest) => Some(ready),
            };
            match ready {
                Some(Ok(ready)) if ready.is_writable() => {
                    self.blocked.set(false);
                    self.flush();
                }
                Some(Err(_)) => return,
                _ => {}
            }
            // What has arrived counts before what has not: a thread that was held up must not blame the other head.
            if !self.read() {
                return;
            }
            if let Some(core) = self.core.borrow_mut().as_mut() {
                let now = self.shared.clock.now();
                if core.poll_timeout().is_some_and(|at| at <= now) {
                    core.handle_timeout(now);
                }
            }
        }
    }

    /// Read what there is; false at the end of the stream.
    fn read(&self) -> bool {
        let mut core = self.core.borrow_mut();
        let Some(core) = core.as_mut() else { return false };
        let mut slices = core.recv_slices();
        if slices.iter().all(|slice| slice.is_empty()) {
            return true;
        }
        match self.stream.try_read_vectored(&mut slices) {
            Ok(0) => false,
            Ok(count) => {
                core.received(count, self.shared.clock.now());
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Hand on what has arrived; false when the connection is at its end.
    fn dispatch(&self) -> bool {
        let _batch = self.shared.registry.batch().begin();
        loop {
            let event = match self.core.borrow_mut().as_mut() {
                Some(core) => core.poll_event(),
                None => return false,
            };
            match event {
                Some(LinkEvent::Ready { incarnation, .. }) => {
                    if let Some(this) = self.this.upgrade() {
                        self.shared.adopt(&this, incarnation);
                    }
                }
                Some(LinkEvent::UnitUp { unit, peer }) => self.tell(unit, |lun| lun.on_link_up(peer)),
                Some(LinkEvent::UnitDown { unit }) => self.tell(unit, Lun::on_link_down),
                Some(LinkEvent::UnitSettings { unit }) => self.tell(unit, Lun::on_settings_of_peer),
                Some(LinkEvent::Message { unit, message }) => self.tell(unit, |lun| lun.on_message(message)),
                Some(LinkEvent::Portals(state)) => self.shared.portals.on_heard(state),
                Some(LinkEvent::Clients(clients)) => self.shared.portals.on_clients(clients),
                Some(LinkEvent::Refused { why }) => return self.end(&why, "the heads do not become a pair"),
                Some(LinkEvent::Closed { why }) => return self.end(&why, "the link is down"),
                None => break,
            }
        }
        self.want_flush();
        true
    }

    fn end(&self, why: &str, what: &str) -> bool {
        if *self.shared.reason.borrow() != why {
            tracing::warn!("{what}: {why}");
        }
        self.shared.say(why.to_owned());
        false
    }

    fn tell(&self, unit: u32, what: impl FnOnce(&Lun)) {
        if let Some(lun) = u8::try_from(unit).ok().and_then(|id| self.shared.registry.lun(id)) {
            what(&lun);
        }
    }

    fn want_flush(&self) {
        if !self.flush_wanted.replace(true)
            && let Some(this) = self.this.upgrade()
        {
            self.shared.registry.batch().add(this);
        }
    }
}

impl Flush for Wire {
    fn flush(&self) {
        self.flush_wanted.set(false);
        let mut outgoing = self.outgoing.borrow_mut();
        while !self.blocked.get() && !self.failed.get() {
            if let Some(core) = self.core.borrow_mut().as_mut() {
                while outgoing.len() < FRAMES_MAX
                    && let Some(frame) = core.poll_transmit()
                {
                    outgoing.push_back(Outgoing { frame, sent: 0 });
                }
            }
            if outgoing.is_empty() {
                return;
            }
            let slices: Vec<IoSlice<'_>> = outgoing.iter().flat_map(Outgoing::rest).map(IoSlice::new).collect();
            match self.stream.try_write_vectored(&slices) {
                Ok(count) => advance(&mut outgoing, count),
                Err(error) => {
                    let busy = error.kind() == io::ErrorKind::WouldBlock;
                    self.blocked.set(busy);
                    self.failed.set(!busy);
                    self.wake.notify_one();
                }
            }
        }
    }
}

fn advance(outgoing: &mut VecDeque<Outgoing>, mut count: usize) {
    while let Some(first) = outgoing.front_mut() {
        let rest: usize = first.rest().map(<[u8]>::len).sum();
        if count < rest {
            first.sent += count;
            return;
        }
        count -= rest;
        outgoing.pop_front();
    }
}

impl Outgoing {
    /// What the kernel has not taken yet.
    fn rest(&self) -> impl Iterator<Item = &[u8]> {
        let payload: &[u8] = self.frame.payload.as_deref().unwrap_or_default();
        let head = self.frame.head.get(self.sent..).unwrap_or_default();
        let payload = payload.get(self.sent.saturating_sub(self.frame.head.len())..).unwrap_or_default();
        [head, payload].into_iter().filter(|part| !part.is_empty())
    }
}
