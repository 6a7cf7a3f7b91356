//! A thread of its own for what the kernel may take its time for: addresses, announcements, interfaces.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::Context;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use replication::wire::ClientConnection;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc as channel;

use super::frames;
use super::netlink::{self, Netlink};
use super::place::{self, Interface, MovingAddress};

/// Hardware type of Ethernet (ARPHRD_ETHER).
const ETHERNET: u16 = 1;
/// Raw IP packets that bring their own header (IPPROTO_RAW).
const RAW: i32 = 255;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Report the interfaces.
    Look,
    /// Put these onto their interfaces.
    Add { addresses: Vec<MovingAddress>, change: u64 },
    /// Take these off, as far as this program has put them there.
    Remove { addresses: Vec<MovingAddress>, change: u64 },
    /// Tell the network where these are.
    Announce(Vec<MovingAddress>),
    /// Make these clients notice that their connections are gone.
    Tickle(Vec<ClientConnection>),
}

/// What the thread tells.
#[derive(Debug)]
pub(super) enum Report {
    Interfaces(Vec<Interface>),
    Changed {
        change: u64,
        done: Vec<IpAddr>,
        /// What could not be put up.
        failed: Vec<IpAddr>,
    },
}

/// See the module's description.
pub(super) struct Network {
    netlink: Netlink,
    /// For announcements and tickles; `None` when no address moves, so that no privilege is needed.
    raw: Option<RawSockets>,
    /// Interface and address of what this process has put there; kernels that forget marks do not know it.
    added: BTreeSet<(u32, IpAddr)>,
    /// A look is waiting: whatever else changes until then will be seen by it.
    look_waits: Arc<AtomicBool>,
}

struct RawSockets {
    frames: OwnedFd,
    v4: Socket,
    /// A machine may be without IPv6.
    v6: Option<Socket>,
}

impl Network {
    /// # Errors
    /// Without the privileges that moving addresses needs, if any do move.
    pub(super) fn open(addresses_move: bool) -> anyhow::Result<Self> {
        let mut netlink = Netlink::open().context("netlink")?;
        let raw = if addresses_move {
            anyhow::ensure!(netlink.may_change(), "not permitted to change addresses: it needs CAP_NET_ADMIN");
            Some(RawSockets::open().context("raw sockets, which need CAP_NET_RAW")?)
        } else {
            None
        };
        Ok(Self { netlink, raw, added: BTreeSet::new(), look_waits: Arc::default() })
    }

    pub(super) fn interfaces(&mut self) -> io::Result<Vec<Interface>> {
        self.netlink.interfaces()
    }

    /// Begin to take orders. Whenever an interface has changed, all are reported.
    pub(super) fn start(mut self) -> io::Result<(mpsc::Sender<Order>, channel::UnboundedReceiver<Report>)> {
        let (orders, inbox) = mpsc::channel();
        let (reports, outbox) = channel::unbounded_channel();
        let watch = netlink::open_watch()?;
        let (looks, waits) = (orders.clone(), Arc::clone(&self.look_waits));
        let look = move || waits.swap(true, Ordering::AcqRel) || looks.send(Order::Look).is_ok();
        std::thread::Builder::new().name("interfaces".to_owned()).spawn(move || netlink::watch_links(&watch, look))?;
        std::thread::Builder::new().name("addresses".to_owned()).spawn(move || {
            while let Ok(order) = inbox.recv() {
                if let Some(report) = self.execute(order)
                    && reports.send(report).is_err()
                {
                    return;
                }
            }
        })?;
        Ok((orders, outbox))
    }

    fn execute(&mut self, order: Order) -> Option<Report> {
        match order {
            Order::Look => {
                // Before the look: what changes from here on needs another one.
                self.look_waits.store(false, Ordering::Release);
                match self.netlink.interfaces() {
                    Ok(interfaces) => return Some(Report::Interfaces(interfaces)),
                    Err(error) => tracing::warn!(%error, "the network's interfaces cannot be looked at"),
                }
            }
            Order::Add { addresses, change } => {
                let (done, failed) = addresses.iter().partition::<Vec<_>, _>(|address| self.add(address));
                let ips = |of: Vec<&MovingAddress>| of.into_iter().map(|address| address.ip).collect();
                return Some(Report::Changed { change, done: ips(done), failed: ips(failed) });
            }
            Order::Remove { addresses, change } => {
                self.remove(&addresses);
                let done = addresses.iter().map(|address| address.ip).collect();
                return Some(Report::Changed { change, done, failed: Vec::new() });
            }
            Order::Announce(addresses) => self.announce(&addresses),
            Order::Tickle(connections) => self.tickle(&connections),
        }
        None
    }

    /// Put an address where it belongs; false if that cannot be done.
    fn add(&mut self, address: &MovingAddress) -> bool {
        let ip = address.ip;
        let added = self.netlink.interfaces().map_err(|error| error.to_string()).and_then(|interfaces| {
            let place = place::find(address, &interfaces)?;
            if !place.is_there {
                self.netlink.add(place.index, ip, place.prefix).map_err(|error| error.to_string())?;
                self.added.insert((place.index, ip));
            }
            Ok(place)
        });
        match &added {
            Ok(place) if place.is_there => tracing::info!(interface = %place.name, "{ip} is there already"),
            Ok(place) => tracing::info!(interface = %place.name, "{ip}/{} added", place.prefix),
            Err(error) => tracing::error!("{ip} cannot be added: {error}"),
        }
        added.is_ok()
    }

    fn remove(&mut self, addresses: &[MovingAddress]) {
        if addresses.is_empty() {
            return;
        }
        let interfaces = match self.netlink.interfaces() {
            Ok(interfaces) => interfaces,
            Err(error) => return tracing::error!("addresses cannot be removed: {error}"),
        };
        for interface in interfaces {
            let moving = |ip: IpAddr| addresses.iter().any(|address| address.ip == ip);
            for assigned in interface.addresses.iter().filter(|assigned| moving(assigned.ip)) {
                let ip = assigned.ip;
                if !assigned.is_ours && !self.added.contains(&(interface.index, ip)) {
                    tracing::warn!(interface = %interface.name, "{ip} stays: somebody else has put it there");
                    continue;
                }
                match self.netlink.remove(interface.index, ip, assigned.prefix) {
                    Ok(()) => tracing::info!(interface = %interface.name, "{ip} removed"),
                    Err(error) => tracing::error!(interface = %interface.name, "{ip} cannot be removed: {error}"),
                }
                self.added.remove(&(interface.index, ip));
            }
        }
    }

    fn announce(&mut self, addresses: &[MovingAddress]) {
        let Some(raw) = &self.raw else { return };
        let Ok(interfaces) = self.netlink.interfaces() else { return };
        for address in addresses {
            let place = place::find(address, &interfaces).ok().filter(|place| place.is_there);
            let Some(place) = place else { continue };
            if let Err(error) = raw.announce(&place.name, address.ip) {
                tracing::warn!(interface = %place.name, "{} cannot be announced: {error}", address.ip);
            }
        }
    }

    fn tickle(&self, connections: &[ClientConnection]) {
        let Some(raw) = &self.raw else { return };
        for connection in connections {
            if let Err(error) = raw.tickle(connection) {
                tracing::debug!(%error, ?connection, "a client cannot be told that its connection is gone");
            }
        }
    }
}

impl RawSockets {
    fn open() -> io::Result<Self> {
        // Protocol 0: nothing is received.
        let frames =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
        let raw = |domain| Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(RAW)));
        Ok(Self { frames, v4: raw(Domain::IPV4)?, v6: raw(Domain::IPV6).ok() })
    }

    fn announce(&self, interface: &str, ip: IpAddr) -> io::Result<()> {
        let Some(link) = link_address(interface)? else { return Ok(()) };
        // Other kinds of network have other kinds of address, and their own ways.
        let Some(mac) = link.addr().filter(|_| link.hatype() == ETHERNET) else { return Ok(()) };
        for frame in frames::announcements(mac, ip) {
            sendto(self.frames.as_raw_fd(), &frame, &link, MsgFlags::empty())?;
        }
        Ok(())
    }

    fn tickle(&self, connection: &ClientConnection) -> io::Result<()> {
        let (socket, client): (_, IpAddr) = match connection {
            ClientConnection::V4 { client, .. } => (Some(&self.v4), client.ip.into()),
            ClientConnection::V6 { client, .. } => (self.v6.as_ref(), client.ip.into()),
        };
        let Some(socket) = socket else { return Ok(()) };
        socket.send_to(&frames::tickle(connection), &SocketAddr::new(client, 0).into()).map(drop)
    }
}

/// Where frames of an interface are sent to, with its hardware address.
fn link_address(interface: &str) -> io::Result<Option<LinkAddr>> {
    let mut all = nix::ifaddrs::getifaddrs()?;
    Ok(all.find_map(|one| {
        let address = one.address.filter(|_| one.interface_name == interface)?;
        address.as_link_addr().copied()
    }))
}
