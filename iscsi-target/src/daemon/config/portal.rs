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
        let RawPortal { listen, advertise } = match raw {
            toml::Value::String(listen) => RawPortal { listen: listen.clone(), advertise: None },
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
        Ok(Self { listen, advertise })
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
