//! The addresses of the portals: who holds those that move between the heads, and whether clients can reach this head.
//!
//! * `holding`: the rules; `event`: what goes in and comes out.
//! * `carrier`: whether clients can reach this head; `place`: which interfaces that depends on.
//! * `frames`: what is said to the network and to clients, as bytes.
//! * `network`: a thread that executes; `netlink`: how it asks the kernel.
//!
//! Every head listens on the addresses of both all the time, also on those that it does not have: a client is never
//! refused because an address was there before its listener.

mod carrier;
mod event;
mod frames;
mod holding;
mod netlink;
mod network;
mod place;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use replication::head::{Access, Order as UnitOrder};
use replication::message::Mode;
use replication::wire::{ClientConnection, Endpoint, OwnAddresses, PortalState};
use tokio::sync::Notify;
use tokio::sync::mpsc as channel;

use super::clock::Clock;
use super::config::{Config, HeadName};
use super::lun::Pair;
use event::{Action, Event, Set};
use holding::Holding;
use network::{Network, Order, Report};
use place::{MovingAddress, Reach};

/// Longer than the rules take; for a kernel that does not answer.
const STOP: Duration = Duration::from_secs(3);

/// The portal addresses, as the rest of the daemon knows them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Portals {
    shared: Rc<Shared>,
}

struct Shared {
    me: HeadName,
    clock: Clock,
    pair: OnceCell<Pair>,
    core: RefCell<Holding>,
    inbox: RefCell<VecDeque<Event>>,
    running: Cell<bool>,
    own: Vec<MovingAddress>,
    theirs: Vec<MovingAddress>,
    reach: RefCell<Reach>,
    orders: OnceCell<mpsc::Sender<Order>>,
    /// What should be on an interface, and could not be put there.
    missing: RefCell<BTreeSet<IpAddr>>,
    /// What was last told of the units.
    units: Cell<(bool, bool)>,
    /// Whether every portal of the other head can come here.
    all_move: bool,
    /// Whether they are all here, and the other head is not.
    has_both: Cell<bool>,
    /// The state of the connections that the other head was last told of.
    told: Cell<Option<u64>>,
    stopped: Notify,
}

impl Portals {
    pub(crate) fn new(config: &Config, me: HeadName, clock: Clock) -> Self {
        let own = moving(config, me);
        let theirs = moving(config, me.other());
        let ips = |addresses: &[MovingAddress]| addresses.iter().map(|address| address.ip).collect();
        let rules = event::Config { paired: !config.single(), own: ips(&own), theirs: ips(&theirs) };
        let portals = config.head(me).map(|head| head.portals.as_slice()).unwrap_or_default();
        let shared = Shared {
            me,
            clock,
            pair: OnceCell::new(),
            core: RefCell::new(Holding::new(rules)),
            inbox: RefCell::default(),
            running: Cell::new(false),
            reach: RefCell::new(Reach::new(portals)),
            own,
            theirs,
            orders: OnceCell::new(),
            missing: RefCell::default(),
            units: Cell::new((false, false)),
            all_move: config
                .head(me.other())
                .is_some_and(|head| head.portals.iter().all(|portal| portal.vip.is_some())),
            has_both: Cell::new(false),
            told: Cell::new(None),
            stopped: Notify::new(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Look whether what is configured can be done, before anything else is begun.
    ///
    /// # Errors
    /// When addresses shall move, and cannot.
    pub(crate) fn open(&self) -> anyhow::Result<()> {
        let shared = &self.shared;
        let moves = !(shared.own.is_empty() && shared.theirs.is_empty());
        match shared.open(moves) {
            Ok(reports) => drop(tokio::task::spawn_local(listen(self.clone(), reports))),
            Err(error) if moves => return Err(error.context("portals with `vip`")),
            Err(error) => tracing::warn!("whether clients can reach this head is not watched: {error:#}"),
        }
        Ok(())
    }

    /// Begin to hold addresses.
    pub(crate) fn start(&self, pair: &Pair) {
        self.shared.pair.set(pair.clone()).ok();
        self.post(Event::Start);
    }

    /// Some time has passed.
    pub(crate) fn tick(&self) {
        let shared = &self.shared;
        let Some(pair) = shared.pair.get() else { return };
        let luns = pair.registry.luns();
        let states: Vec<_> = luns.iter().map(|lun| lun.status()).collect();
        let fit =
            states.iter().all(|state| matches!(state.access, Access::Serving | Access::Forwarding | Access::Standby));
        let owns = states.iter().any(|state| state.owner == Some(pair.me));
        if shared.units.replace((fit, owns)) != (fit, owns) {
            self.post(Event::Units { fit, owns });
        }
        self.post(Event::Tick);
        self.tell_clients(pair);
    }

    /// The other head is connected.
    pub(crate) fn on_link_up(&self) {
        self.shared.told.set(None);
        self.post(Event::LinkUp);
    }

    /// It is not any more.
    pub(crate) fn on_link_down(&self) {
        self.post(Event::LinkDown);
    }

    /// It says where it stands.
    pub(crate) fn on_heard(&self, state: PortalState) {
        self.post(Event::Heard(state));
    }

    /// It says who is connected with it.
    pub(crate) fn on_clients(&self, clients: Vec<ClientConnection>) {
        self.post(Event::Clients(clients));
    }

    /// This head has fenced the other one for some unit, and serves it now.
    pub(crate) fn on_took_over(&self) {
        self.post(Event::TookOver);
    }

    /// The other head has fenced this one for some unit.
    pub(crate) fn on_fenced(&self) {
        self.post(Event::Fenced);
    }

    /// The process is to end, and all units are handed over or drained: leave the addresses to the other head.
    pub(crate) async fn stop(&self) {
        self.post(Event::Stop);
        if tokio::time::timeout(STOP, self.shared.stopped.notified()).await.is_err() {
            tracing::warn!("ending although the addresses are not left to the other head");
        }
    }

    /// Which addresses are held by which head, as far as this one knows, with the head that they belong to.
    pub(crate) fn held(&self) -> BTreeMap<HeadName, Vec<(IpAddr, HeadName)>> {
        let shared = &self.shared;
        let (me, other) = (shared.me, shared.me.other());
        let core = shared.core.borrow();
        let heard = core.heard();
        let holders = [
            (me, me, core.holds(Set::Own)),
            (me, other, core.holds(Set::Theirs)),
            (other, other, heard.is_some_and(|heard| heard.own == OwnAddresses::Held)),
            (other, me, heard.is_some_and(|heard| heard.holds_yours)),
        ];
        let mut held: BTreeMap<HeadName, Vec<_>> = BTreeMap::new();
        for (holder, of, holds) in holders {
            let addresses = if of == me { &shared.own } else { &shared.theirs };
            if holds {
                let missing = shared.missing.borrow();
                let here = addresses.iter().filter(|address| holder != me || !missing.contains(&address.ip));
                held.entry(holder).or_default().extend(here.map(|address| (address.ip, of)));
            }
        }
        held
    }

    /// Something has happened: let the rules decide, do what they say.
    fn post(&self, event: Event) {
        let shared = &self.shared;
        shared.inbox.borrow_mut().push_back(event);
        if shared.running.replace(true) {
            return;
        }
        loop {
            let Some(event) = shared.inbox.borrow_mut().pop_front() else { break };
            shared.core.borrow_mut().handle(shared.clock.now(), event);
            loop {
                let Some(action) = shared.core.borrow_mut().poll_action() else { break };
                self.perform(action);
            }
        }
        shared.running.set(false);
        self.tell_units();
    }

    /// While the other head is gone, clients that know only its addresses are served at them. While it is there, both
    /// heads report the same: that its ports are its own.
    fn tell_units(&self) {
        let shared = &self.shared;
        let Some(pair) = shared.pair.get() else { return };
        let has_both = {
            let core = shared.core.borrow();
            shared.all_move && core.holds(Set::Theirs) && !core.is_connected()
        };
        // Units come and go: while it is so, each is told again.
        if shared.has_both.replace(has_both) != has_both || has_both {
            for lun in pair.registry.luns() {
                lun.set_has_both(has_both);
            }
        }
    }

    fn perform(&self, action: Action) {
        let shared = &self.shared;
        let Some(pair) = shared.pair.get() else { return };
        match action {
            Action::State(state) => pair.link.send_portals(state),
            Action::Add { set, change } => shared.order(Order::Add { addresses: shared.of(set).to_vec(), change }),
            Action::Remove { set, change } => {
                shared.order(Order::Remove { addresses: shared.of(set).to_vec(), change });
            }
            Action::Announce(set) => shared.order(Order::Announce(shared.of(set).to_vec())),
            Action::Tickle(clients) => {
                if !clients.is_empty() {
                    tracing::info!(clients = clients.len(), "telling clients that their connections are gone");
                    shared.order(Order::Tickle(clients));
                }
            }
            Action::Reset(set) => {
                let addresses = shared.of(set);
                let here = |local: SocketAddr| addresses.iter().any(|address| address.ip == local.ip());
                pair.registry.reset_at(here, "their portal address is not held here any more");
            }
            Action::HandOver => hand_over(pair),
            Action::Say(what) => {
                tracing::info!(head = %shared.me, "{what}");
                (pair.changes)();
            }
            Action::Stopped => shared.stopped.notify_one(),
        }
    }

    /// Tell the other head of the connections that it would have to tell of a loss, if they have changed.
    fn tell_clients(&self, pair: &Pair) {
        let shared = &self.shared;
        let state = pair.registry.connections_state();
        if shared.told.replace(Some(state)) == Some(state) {
            return;
        }
        let moves = |ip: IpAddr| [&shared.own, &shared.theirs].into_iter().flatten().any(|address| address.ip == ip);
        let ends = pair.registry.connection_ends();
        let clients: Vec<_> =
            ends.into_iter().filter(|(local, _)| moves(local.ip())).filter_map(client_connection).collect();
        pair.link.send_clients(clients);
    }
}

impl Shared {
    fn open(&self, moves: bool) -> anyhow::Result<channel::UnboundedReceiver<Report>> {
        let mut network = Network::open(moves)?;
        let interfaces = network.interfaces().context("the network's interfaces")?;
        for address in &self.own {
            place::find(address, &interfaces).map_err(anyhow::Error::msg)?;
        }
        for address in &self.theirs {
            if let Err(why) = place::find(address, &interfaces) {
                tracing::warn!("the address of head {} could not be taken over: {why}", self.me.other());
            }
        }
        let (orders, reports) = network.start().context("a thread for addresses")?;
        self.orders.set(orders).ok();
        self.order(Order::Look);
        Ok(reports)
    }

    fn of(&self, set: Set) -> &[MovingAddress] {
        match set {
            Set::Own => &self.own,
            Set::Theirs => &self.theirs,
        }
    }

    /// Without a thread there is nothing that moves, and nothing to be done.
    fn order(&self, order: Order) {
        let Some(orders) = self.orders.get() else {
            if let Order::Add { change, .. } | Order::Remove { change, .. } = order {
                self.inbox.borrow_mut().push_back(Event::Changed { change });
            }
            return;
        };
        orders.send(order).expect("the thread ends only when nobody listens to it");
    }
}

/// The addresses that move and have no place on this machine, in words: each must have one on both machines.
#[must_use]
pub fn misplaced(config: &Config) -> Vec<String> {
    let all: Vec<_> = config.heads.keys().flat_map(|head| moving(config, *head)).collect();
    if all.is_empty() {
        return Vec::new();
    }
    match netlink::Netlink::open().and_then(|mut netlink| netlink.interfaces()) {
        Ok(interfaces) => all.iter().filter_map(|address| place::find(address, &interfaces).err()).collect(),
        Err(error) => vec![format!("the network's interfaces cannot be looked at: {error}")],
    }
}

async fn listen(portals: Portals, mut reports: channel::UnboundedReceiver<Report>) {
    while let Some(report) = reports.recv().await {
        match report {
            Report::Interfaces(interfaces) => {
                let carrier = portals.shared.reach.borrow_mut().look(&interfaces);
                portals.post(Event::Carrier(carrier));
            }
            Report::Changed { change, done, failed } => {
                let mut missing = portals.shared.missing.borrow_mut();
                missing.retain(|ip| !done.contains(ip) && !failed.contains(ip));
                missing.extend(failed);
                drop(missing);
                portals.post(Event::Changed { change });
            }
        }
    }
}

/// No client can reach this head: let the other one own every unit of which it is the mirror.
fn hand_over(pair: &Pair) {
    for lun in pair.registry.luns() {
        let state = lun.status();
        if state.owner == Some(pair.me) && state.mode == Some(Mode::Mirrored) {
            tracing::warn!(lun = %lun.config().name, "handing over: no client can reach this head");
            // How it ends is seen, and tried again.
            drop(lun.order(UnitOrder::Own(pair.me.other())));
        }
    }
}

/// The addresses of a head that move, each once.
fn moving(config: &Config, of: HeadName) -> Vec<MovingAddress> {
    let mut found: Vec<MovingAddress> = Vec::new();
    for portal in config.head(of).map(|head| head.portals.as_slice()).unwrap_or_default() {
        let ip = portal.listen.ip();
        if let Some(vip) = &portal.vip
            && !found.iter().any(|address| address.ip == ip)
        {
            found.push(MovingAddress { ip, interface: vip.interface.clone() });
        }
    }
    found
}

fn client_connection(ends: (SocketAddr, SocketAddr)) -> Option<ClientConnection> {
    match ends {
        (SocketAddr::V4(local), SocketAddr::V4(peer)) => {
            let end = |at: std::net::SocketAddrV4| Endpoint { ip: at.ip().octets(), port: at.port() };
            Some(ClientConnection::V4 { server: end(local), client: end(peer) })
        }
        (SocketAddr::V6(local), SocketAddr::V6(peer)) => {
            let end = |at: std::net::SocketAddrV6| Endpoint { ip: at.ip().octets(), port: at.port() };
            Some(ClientConnection::V6 { server: end(local), client: end(peer) })
        }
        _ => None,
    }
}
