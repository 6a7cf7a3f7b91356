//! One head from its start to its end: the composition of everything.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use replication::head::{Event, Order};
use sas_backend::Incarnation;
use sas_backend::buffer::Pool;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::access::{Access, new_challenge};
use super::admission::{Standing, Verdict};
use super::clock::Clock;
use super::config::{ByteSize, Config, HeadName, LinkSecret};
use super::connection::{Arrival, ConnectionHandle};
use super::control::{ControlRequest, LunRef, LunSelector, Outcome, Server};
use super::link::LinkHandle;
use super::lun::{self, Pair};
use super::portal::Portals;
use super::registry::Registry;
use super::reload::Reloader;
use super::report;
use crate::session::access::Entrance;
use crate::session::{PortalAddress, PortalConfig};

/// How often units and connections are told that time has passed.
const TICK: Duration = Duration::from_millis(25);
/// How long a shutdown may take before the process ends anyway; what is not handed over or drained by then is as safe
/// as after a crash.
const SHUTDOWN: Duration = Duration::from_secs(60);
const LISTEN_BACKLOG: i32 = 256;

/// Run head `me` of the pair, configured by the file at `path`, until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub async fn serve(config: Config, path: &Path, me: HeadName) -> anyhow::Result<()> {
    // Before anybody could send one: it would end the process.
    let hangup = signal(SignalKind::hangup())?;
    let config = Rc::new(config);
    let head = config.head(me).with_context(|| format!("the configuration has no head {me}"))?;
    let clock = Clock::start();
    let registry = Rc::new(Registry::new(config.limits.clients));
    let (changed, changes) = watch::channel(());
    let incarnation = new_incarnation()?;
    let portals = Portals::new(&config, me, clock);
    let secret = config.link.as_ref().map(|link| LinkSecret::load(&link.secret_file)).transpose()?;
    registry.set_access(Access::load(&config, secret.as_ref()).map_err(anyhow::Error::msg)?);
    let pair = Pair {
        me: me.into(),
        incarnation,
        config: Rc::clone(&config),
        clock,
        pool: Pool::new(),
        link: LinkHandle::new(me.into(), incarnation, clock, &registry, &portals),
        portals: portals.clone(),
        registry: Rc::clone(&registry),
        opened: Rc::default(),
        changes: Rc::new(move || {
            // Nobody may be watching.
            changed.send(()).ok();
        }),
    };
    let control = Server::bind(&head.control).await?;
    let listeners = open_portals(&config, me)?;
    portals.open()?;
    open_luns(&pair).await?;
    if let Some(secret) = secret {
        pair.link.start(&config, secret, pair.pool.clone()).await.context("the link")?;
    }
    for lun in registry.luns() {
        lun.post(Event::Start);
    }
    for (listener, door) in listeners {
        tokio::task::spawn_local(accept(pair.clone(), listener, door));
    }
    portals.start(&pair);
    let (requests, inbox) = mpsc::channel(16);
    let control = tokio::task::spawn_local(control.serve(requests, changes.clone()));
    let reloader = Reloader::new(&pair, path.to_path_buf());
    tokio::task::spawn_local(answer(pair.clone(), Rc::clone(&reloader), inbox));
    tokio::task::spawn_local(reload_on(hangup, Rc::clone(&reloader)));
    tokio::task::spawn_local(reloader.retry());
    tokio::task::spawn_local(tick(pair.clone()));
    tracing::info!(head = %me, incarnation = format!("{:016x}", incarnation.get()), target = %config.iqn, "ready");
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "systemd could not be told that we are ready");
    }
    let result = until_stopped(&pair, changes).await;
    control.abort();
    result
}

/// Open the disk of every LUN. A bad one keeps no other from being served, but a head that can serve nothing at all does
/// not start: whoever started it sees that, and starts it again.
async fn open_luns(pair: &Pair) -> anyhow::Result<()> {
    let mut first = None;
    for config in pair.config.luns.values() {
        match lun::open(pair, config).await {
            Ok(lun) => pair.registry.add_lun(&lun),
            Err(error) => {
                tracing::error!("{error}");
                pair.registry.add_failed(config.clone(), error.to_string());
                first.get_or_insert(error);
            }
        }
    }
    match first {
        Some(error) if pair.registry.luns().is_empty() => Err(error.into()),
        _ => Ok(()),
    }
}

/// SIGHUP: as `targetctl reload`, with the answer in the log.
async fn reload_on(mut hangup: Signal, reloader: Rc<Reloader>) {
    while hangup.recv().await.is_some() {
        match reloader.reload().await {
            Ok(done) => tracing::info!("reload: {done}"),
            Err(why) => tracing::error!("reload: {why}"),
        }
    }
}

/// A random number for this process; RAM contents belong to it.
fn new_incarnation() -> anyhow::Result<Incarnation> {
    let mut bytes = [0; 8];
    loop {
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
        if let Some(incarnation) = Incarnation::new(u64::from_be_bytes(bytes)) {
            return Ok(incarnation);
        }
    }
}

/// Where a connection comes in.
struct Door {
    /// The head whose portal it is.
    home: HeadName,
    /// The portal's place among those of that head.
    index: usize,
    address: SocketAddr,
}

/// Listen on all portals of this head, and on those of the other one that may come here: they are ready before the
/// address is.
fn open_portals(config: &Config, me: HeadName) -> anyhow::Result<Vec<(TcpListener, Door)>> {
    let mut listeners = Vec::new();
    for (name, head) in &config.heads {
        for (index, portal) in head.portals.iter().enumerate().filter(|(_, of)| *name == me || of.vip.is_some()) {
            let address = portal.listen;
            let listener = listen(address, portal.vip.is_some()).with_context(|| format!("portal {address}"))?;
            listeners.push((listener, Door { home: *name, index, address }));
        }
    }
    Ok(listeners)
}

/// `moves`: the address need not be there yet.
fn listen(address: SocketAddr, moves: bool) -> std::io::Result<TcpListener> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM.nonblocking(), None)?;
    // A restarted head must not wait for the connections of its former life.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match address {
        SocketAddr::V4(_) if moves => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) if moves => socket.set_freebind_v6(true)?,
        _ => {}
    }
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

async fn accept(pair: Pair, listener: TcpListener, door: Door) {
    let portal = Arc::new(portal_config(&pair.config, door.home));
    // The target port goes with the address: clients look at its identity once, and not again when they reconnect.
    let relative_port = Pair::relative_port(door.home.into(), door.index);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of descriptors, most likely: wait instead of spinning.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let standing = match pair.registry.arrived(peer, pair.clock.now().0) {
            Verdict::Welcome => Standing::LoggingIn,
            Verdict::TurnAway(_) => Standing::TurnedAway,
            Verdict::Close(_) => continue,
        };
        let entrance = match prepare(&pair, &stream, peer) {
            Ok(entrance) => Entrance { is_full: standing == Standing::TurnedAway, ..entrance },
            Err(error) => {
                tracing::warn!(%error, %peer, "the connection could not be set up");
                pair.registry.gone(peer, standing);
                continue;
            }
        };
        let nexus = pair.registry.next_nexus();
        let portal = Arc::clone(&portal);
        let arrival = Arrival { stream, local: door.address, peer, portal, entrance, standing, relative_port, nexus };
        let connection = ConnectionHandle::new(arrival, &pair.registry, pair.clock, pair.pool.clone());
        tokio::task::spawn_local(connection.run());
    }
}

fn prepare(pair: &Pair, stream: &TcpStream, peer: SocketAddr) -> std::io::Result<Entrance> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_keepalive(true)?;
    let challenge = new_challenge().map_err(std::io::Error::other)?;
    Ok(pair.registry.access().entrance(peer.ip(), challenge))
}

/// What is said at a portal of head `home`. The portal group tag goes with the address, or initiators that know it from
/// discovery would not log in.
fn portal_config(config: &Config, home: HeadName) -> PortalConfig {
    let portals = config.heads.iter().flat_map(|(name, head)| {
        let tag = Pair::group_of((*name).into()).0;
        head.portals
            .iter()
            .map(move |portal| PortalAddress { target_portal_group_tag: tag, address: portal.advertise.clone() })
    });
    PortalConfig {
        target_name: config.iqn.clone(),
        target_alias: String::new(),
        target_portal_group_tag: Pair::group_of(home.into()).0,
        portals: portals.collect(),
    }
}

async fn tick(pair: Pair) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for lun in pair.registry.luns() {
            lun.tick();
        }
        pair.registry.tick();
        pair.link.tick();
        pair.portals.tick();
    }
}

/// Answer what operators ask.
async fn answer(pair: Pair, reloader: Rc<Reloader>, mut inbox: mpsc::Receiver<ControlRequest>) {
    while let Some(request) = inbox.recv().await {
        match request {
            // Whoever asked may have gone.
            ControlRequest::Status { reply } => drop(reply.send(report::status(&pair))),
            ControlRequest::Handover { lun, to, reply } => {
                let pair = pair.clone();
                tokio::task::spawn_local(async move { drop(reply.send(hand_over(&pair, &lun, to).await)) });
            }
            ControlRequest::Reload { reply } => {
                let reloader = Rc::clone(&reloader);
                tokio::task::spawn_local(async move { drop(reply.send(reloader.reload().await)) });
            }
            ControlRequest::AcceptLoss { lun, reply } => {
                let pair = pair.clone();
                tokio::task::spawn_local(async move { drop(reply.send(accept_loss(&pair, &lun).await)) });
            }
            ControlRequest::Resize { lun, reply } => {
                let pair = pair.clone();
                tokio::task::spawn_local(async move { drop(reply.send(resize(&pair, &lun).await)) });
            }
        }
    }
}

async fn hand_over(pair: &Pair, which: &LunSelector, to: Option<HeadName>) -> Outcome {
    let ids = which.resolve(&pair.registry.configured())?;
    let done: RefCell<Vec<String>> = RefCell::default();
    for id in ids {
        let lun = pair.registry.lun(id).ok_or_else(|| format!("LUN {id} is not open"))?;
        let owner = lun.status().owner;
        let to = to.map_or_else(|| owner.unwrap_or(pair.me).other(), Into::into);
        if pair.config.head(to.into()).is_none() {
            return Err(format!("there is no head {to}"));
        }
        let answer = lun.order(Order::Own(to)).await;
        answer
            .unwrap_or_else(|_| Err("the head is stopping".to_owned()))
            .map_err(|why| format!("{}: {why}", lun.name()))?;
        done.borrow_mut().push(format!("{} is served by head {to}", lun.name()));
    }
    Ok(done.take().join(", "))
}

async fn accept_loss(pair: &Pair, which: &LunRef) -> Outcome {
    let id = which.resolve(&pair.registry.configured())?;
    let lun = pair.registry.lun(id).ok_or_else(|| format!("LUN {id} is not open"))?;
    let answer = lun.order(Order::AcceptLoss).await;
    answer.unwrap_or_else(|_| Err("the head is stopping".to_owned()))?;
    Ok(format!("{}: goes on with what the disk has", lun.name()))
}

async fn resize(pair: &Pair, which: &LunRef) -> Outcome {
    let id = which.resolve(&pair.registry.configured())?;
    let lun = pair.registry.lun(id).ok_or_else(|| format!("LUN {id} is not open"))?;
    let answer = lun.order(Order::Grow).await;
    let name = lun.name();
    answer.unwrap_or_else(|_| Err("the head is stopping".to_owned())).map_err(|why| format!("{name}: {why}"))?;
    Ok(format!("{name}: initiators see {} now", ByteSize(lun.size_bytes())))
}

/// Wait for SIGTERM or SIGINT, then until every unit is handed over or drained. A second one ends the process at once.
async fn until_stopped(pair: &Pair, mut changes: watch::Receiver<()>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let either = async |terminate: &mut Signal, interrupt: &mut Signal| {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    either(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping: handing over, or draining");
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Stopping]) {
        tracing::debug!(%error, "systemd could not be told that we are stopping");
    }
    pair.registry.stop();
    for lun in pair.registry.luns() {
        lun.post(Event::Shutdown);
    }
    let stopped = async {
        while !pair.registry.luns().iter().all(|lun| lun.is_stopped()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
        pair.portals.stop().await;
    };
    tokio::select! {
        () = stopped => tracing::info!("stopped"),
        () = either(&mut terminate, &mut interrupt) => tracing::warn!("told to stop again: ending now"),
        () = tokio::time::sleep(SHUTDOWN) => tracing::warn!("ending although not everything is handed over or drained"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_portal_group_tag_wherever_it_is() {
        let config = Config::parse(
            r#"
            target = { iqn = "iqn.2026-11.com.example:pair1" }
            heads.a = { portals = [{ listen = "192.0.2.1:3260", vip = true }], link = "198.51.100.1:3270" }
            heads.b = { portals = ["192.0.2.2:3260"], link = "198.51.100.2:3270" }
            link = { secret-file = "/etc/twinhead/link.secret" }
            luns = [{ id = 0, name = "db", disk = "/dev/one" }]
            "#,
        );
        let config = config.unwrap();
        let tags = |home| {
            let said = portal_config(&config, home);
            let found = said.portals.iter().map(|at| (at.address.clone(), at.target_portal_group_tag)).collect();
            (said.target_portal_group_tag, found)
        };
        let found: Vec<_> = [("192.0.2.1:3260", 1), ("192.0.2.2:3260", 2)].map(|(at, tag)| (at.to_owned(), tag)).into();
        assert_eq!(tags(HeadName::A), (1, found.clone()), "what discovery says is what a login says");
        assert_eq!(tags(HeadName::B), (2, found));
    }
}
