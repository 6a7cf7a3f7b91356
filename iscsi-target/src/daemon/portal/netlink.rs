//! The kernel's interfaces and addresses, by rtnetlink (RFC 3549).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily as SocketFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::place::{Assigned, Interface};

/// Marks an address as put there by this program (IFA_PROTO, Linux 5.18): the letter T. Older kernels forget it.
const MARK: u8 = b'T';
/// The multicast group of changes of links (RTMGRP_LINK).
const GROUP_LINK: u32 = 1;
/// The kernel's parts of a dump are no longer.
const BUFFER_BYTES: usize = 64 << 10;
/// The kernel answers at once; if it should not, this thread must not stand still for ever.
const PATIENCE_S: i64 = 2;

/// A socket for questions and orders.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open(0)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE_S, 0))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_BYTES] })
    }

    /// All interfaces with their addresses.
    pub(super) fn interfaces(&mut self) -> io::Result<Vec<Interface>> {
        let links = self.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        let mut interfaces: Vec<Interface> = links.into_iter().filter_map(interface).collect();
        for answer in self.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)? {
            let RouteNetlinkMessage::NewAddress(address) = answer else { continue };
            let on = interfaces.iter_mut().find(|interface| interface.index == address.header.index);
            if let (Some(interface), Some(assigned)) = (on, assigned(&address)) {
                interface.addresses.push(assigned);
            }
        }
        Ok(interfaces)
    }

    /// Put an address onto an interface; nothing happens if it is there.
    pub(super) fn add(&mut self, index: u32, ip: IpAddr, prefix: u8) -> io::Result<()> {
        let message = address_message(index, ip, prefix);
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.ask(RouteNetlinkMessage::NewAddress(message), flags) {
            Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Take an address off an interface; nothing happens if it is not there.
    pub(super) fn remove(&mut self, index: u32, ip: IpAddr, prefix: u8) -> io::Result<()> {
        match self.ask(RouteNetlinkMessage::DelAddress(address_message(index, ip, prefix)), NLM_F_ACK) {
            Err(error) if error.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether this process may change addresses: the kernel looks at that before it looks for the interface, and there
    /// is none with the index 0.
    pub(super) fn may_change(&mut self) -> bool {
        let nothing = address_message(0, IpAddr::from([127, 0, 0, 1]), 32);
        let refused = self.ask(RouteNetlinkMessage::DelAddress(nothing), NLM_F_ACK);
        !refused.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// All answers to one message.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut answers = Vec::new();
        loop {
            let count = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            let mut rest = &self.buffer[..count];
            while let Some((message, after)) = cut(rest) {
                rest = after;
                // What is of a kind that is not known here says nothing about what is looked for.
                let Ok(answer) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else { continue };
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }
}

/// Wait until some interface has changed, again and again, for as long as `changed` returns true.
pub(super) fn watch_links(socket: &OwnedFd, mut changed: impl FnMut() -> bool) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            // Of what was lost for want of room, too, it is known that something has changed.
            Ok(_) | Err(Errno::ENOBUFS) => {
                if !changed() {
                    return;
                }
            }
            Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::warn!(%error, "changes of the network's interfaces are not seen any more");
                return;
            }
        }
    }
}

/// A socket for [`watch_links`].
pub(super) fn open_watch() -> io::Result<OwnedFd> {
    open(GROUP_LINK)
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let socket = socket(SocketFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// The first message and what follows it.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    const ALIGNED: usize = 4;
    let length = usize::try_from(u32::from_ne_bytes(bytes.first_chunk::<4>().copied()?)).ok()?;
    let message = bytes.get(..length).filter(|message| message.len() >= 16)?;
    Some((message, bytes.get(length.next_multiple_of(ALIGNED)..).unwrap_or_default()))
}

fn interface(answer: RouteNetlinkMessage) -> Option<Interface> {
    let RouteNetlinkMessage::NewLink(link) = answer else { return None };
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let flags = link.header.flags;
    Some(Interface {
        index: link.header.index,
        name,
        is_up: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        is_loopback: flags.contains(LinkFlags::Loopback),
        addresses: Vec::new(),
    })
}

fn assigned(message: &AddressMessage) -> Option<Assigned> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    // With IPv4 it is the local one that counts; with IPv6 there is mostly none.
    let local = find(|attribute| if let AddressAttribute::Local(ip) = attribute { Some(*ip) } else { None });
    let address = || find(|attribute| if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None });
    let is_ours = message.attributes.contains(&AddressAttribute::Protocol(AddressProtocol::Other(MARK)));
    Some(Assigned { ip: local.or_else(address)?, prefix: message.header.prefix_len, is_ours })
}

fn address_message(index: u32, ip: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix;
    message.header.index = index;
    // Routes to the subnet are the business of the address that the interface has of its own.
    let mut flags = AddressFlags::Noprefixroute;
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    if ip.is_ipv6() {
        // No time to look for duplicates: who holds it is decided. And nothing of its own goes out from it.
        flags |= AddressFlags::Nodad;
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_valid = u32::MAX;
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(MARK)));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_describes_its_loopback() {
        let interfaces = Netlink::open().unwrap().interfaces().unwrap();
        let loopback = interfaces.iter().find(|interface| interface.is_loopback).unwrap();
        assert_eq!(loopback.name, "lo");
        assert!(loopback.index > 0 && loopback.addresses.iter().all(|assigned| !assigned.is_ours));
        if loopback.is_up {
            let ip = IpAddr::from([127, 0, 0, 1]);
            assert!(loopback.addresses.contains(&Assigned { ip, prefix: 8, is_ours: false }), "{loopback:?}");
        }
    }

    #[test]
    fn an_order_that_is_refused_is_an_error() {
        let mut netlink = Netlink::open().unwrap();
        assert!(netlink.add(0, IpAddr::from([192, 0, 2, 1]), 32).is_err(), "there is no interface 0");
        assert!(netlink.interfaces().is_ok(), "and what is asked after it is answered");
    }

    #[test]
    fn pieces_that_are_no_messages_are_left_alone() {
        assert_eq!(cut(&[]), None);
        assert_eq!(cut(&[16, 0, 0]), None);
        assert_eq!(cut(&15_u32.to_ne_bytes()), None);
        let mut one = [0; 20];
        one[..4].copy_from_slice(&17_u32.to_ne_bytes());
        assert_eq!(cut(&one), Some((&one[..17], &[][..])));
        assert_eq!(cut(&one[..16]), None, "cut off");
    }
}
