//! Where initiators connect.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::names;
use super::raw::{self, RawPortal};

/// One address on which a head listens for initiators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// What is bound; may be a wildcard address.
    pub listen: SocketAddr,
    /// What SendTargets says (RFC 7143 13.8, TargetAddress without the portal group tag); never a wildcard address.
    pub advertise: String,
    /// Whether the other head takes the address over when it takes over from this one.
    pub vip: Option<Vip>,
}

/// An address that moves between the heads: the head that holds it puts it onto an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The interface; `None`: on each head the one whose subnet the address belongs to.
    pub interface: Option<String>,
}

/// What is wrong with a portal, and what would be right.
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) right: String,
}

impl Wrong {
    fn new(what: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what: what.into(), right: right.into() }
    }
}

impl Portal {
    pub(super) fn check(raw: &toml::Value) -> Result<Self, Wrong> {
        let RawPortal { listen, advertise, vip, interface } = match raw {
            toml::Value::String(listen) => {
                RawPortal { listen: listen.clone(), advertise: None, vip: None, interface: None }
            }
            other => other.clone().try_into().map_err(|error| Wrong::new(error.message(), raw::PORTALS_RIGHT))?,
        };
        let listen = address(&listen)?;
        let advertise = match advertise {
            Some(advertise) => checked_advertise(&advertise)?,
            None if is_wildcard(listen.ip()) => {
                let right = format!("{{ listen = \"{listen}\", advertise = \"192.0.2.1:{}\" }}", listen.port());
                return Err(Wrong::new("initiators would be told to connect to every address", right));
            }
            None => without_scope(listen).to_string(),
        };
        let vip = check_vip(listen, vip, interface)?;
        Ok(Self { listen, advertise, vip })
    }

    /// Whether one has an address that moves and the other has it, too, and is to keep it.
    pub(super) fn divides(&self, other: &Self) -> bool {
        self.listen.ip() == other.listen.ip() && self.vip != other.vip
    }

    /// Whether both cannot be bound on one machine.
    pub(super) fn collides(&self, other: SocketAddr) -> bool {
        let (mine, theirs) = (self.listen.ip(), other.ip());
        self.listen.port() == other.port() && (mine == theirs || is_wildcard(mine) || is_wildcard(theirs))
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.listen)?;
        if without_scope(self.listen).to_string() == self.advertise {
            Ok(())
        } else {
            write!(f, " as {}", self.advertise)
        }
    }
}

/// An address and a port to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    let example = || {
        let ip = text.parse().or_else(|_| text.trim_matches(['[', ']']).parse());
        let likely =
            ip.map_or_else(|_| "192.0.2.1:3260".to_owned(), |ip: IpAddr| SocketAddr::new(ip, 3260).to_string());
        format!("\"{likely}\", or for IPv6 \"[2001:db8::1]:3260\"")
    };
    let address: SocketAddr =
        text.parse().map_err(|_| Wrong::new(format!("\"{text}\" is not an address and a port"), example()))?;
    if address.port() == 0 {
        return Err(Wrong::new("nothing can connect to port 0", "a port from 1 to 65535; 3260 is iSCSI's own"));
    }
    let ip = address.ip().to_canonical();
    if ip.is_multicast() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
        return Err(Wrong::new("nothing can connect to a multicast or broadcast address", "an address of this head"));
    }
    Ok(address)
}

/// What moves between machines is one address of a network that both are on.
fn check_vip(listen: SocketAddr, vip: Option<bool>, interface: Option<String>) -> Result<Option<Vip>, Wrong> {
    if vip != Some(true) {
        let useless = interface.is_some();
        let wrong = || Wrong::new("an interface is of use to an address that moves only", "vip = true with it");
        return if useless { Err(wrong()) } else { Ok(None) };
    }
    let ip = listen.ip();
    let why = match ip {
        _ if is_wildcard(ip) => Some("it stands for every address"),
        _ if ip.to_canonical().is_loopback() => Some("every machine has it for itself"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("it is link-local"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("it is link-local"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("write it as an IPv4 address"),
        _ => None,
    };
    if let Some(why) = why {
        let right = "an address of its own for the portal, such as { listen = \"192.0.2.1:3260\", vip = true }";
        return Err(Wrong::new(format!("{ip} cannot move to the other head: {why}"), right));
    }
    let is_name = |name: &String| {
        // IFNAMSIZ with its final zero; what the kernel takes for a name.
        (1..16).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':')
    };
    if interface.as_ref().is_some_and(|name| !is_name(name)) {
        return Err(Wrong::new("not the name of an interface", "a name such as \"eth1\""));
    }
    Ok(Some(Vip { interface }))
}

pub(super) fn is_wildcard(ip: IpAddr) -> bool {
    ip.to_canonical().is_unspecified()
}

/// A scope means something on this machine only.
fn without_scope(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0).into(),
    }
}

/// What initiators are told: an address or a domain name, and a port.
fn checked_advertise(text: &str) -> Result<String, Wrong> {
    let right = "an address or name by which initiators reach this head, such as \"192.0.2.1:3260\"";
    if let Ok(address) = text.parse::<SocketAddr>() {
        let usable = !is_wildcard(address.ip()) && !address.ip().to_canonical().is_multicast() && address.port() != 0;
        let said = || without_scope(address).to_string();
        return usable.then(said).ok_or_else(|| Wrong::new(format!("nobody can connect to \"{text}\""), right));
    }
    let is_domain = |host: &str| {
        // All digits and dots would be an address gone wrong.
        host.len() <= 253
            && host.split('.').all(names::is_dns_label)
            && host.contains(|c: char| c.is_ascii_alphabetic())
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    match text.rsplit_once(':') {
        Some((host, port)) if is_domain(host) && is_port(port) => Ok(text.to_ascii_lowercase()),
        _ => Err(Wrong::new(format!("\"{text}\" is not an address or name and a port"), right)),
    }
}
