//! Addresses for two heads on one machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::failure::Failure;

/// Below the ports that the system gives to outgoing connections: one of these could take the port of a head that is
/// down, and a connection to such a port could even reach itself.
const FREE_PORTS: u16 = 1000;
const PORTAL_A: u16 = 3260;
const PORTAL_B: u16 = 3261;
const LINKS: u16 = 3270;

/// Where the heads listen, a first.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) portals: [SocketAddr; 2],
    pub(super) links: [SocketAddr; 2],
}

/// Those that are asked for, and free ones.
pub(super) fn choose(portal_a: Option<SocketAddr>, portal_b: Option<SocketAddr>) -> Result<Ports, Failure> {
    // Given ones first, and all of them held until all are chosen, so that none is chosen twice.
    let given_a = portal_a.map(given).transpose()?;
    let given_b = portal_b.map(given).transpose()?;
    let a = given_a.map_or_else(|| free(PORTAL_A), Ok)?;
    let b = given_b.map_or_else(|| free(PORTAL_B), Ok)?;
    let links = [free(LINKS)?, free(LINKS)?];
    let [link_a, link_b] = &links;
    let address = TcpListener::local_addr;
    Ok(Ports { portals: [address(&a)?, address(&b)?], links: [address(link_a)?, address(link_b)?] })
}

fn given(portal: SocketAddr) -> Result<TcpListener, Failure> {
    if portal.port() == 0 {
        return Err(Failure::Usage(format!("{portal}: nothing can connect to port 0")));
    }
    TcpListener::bind(portal).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "; leave it out, and a free one is taken",
            _ => "",
        };
        Failure::failed(format!("no head can listen on {portal}: {error}{advice}"))
    })
}

fn free(from: u16) -> Result<TcpListener, Failure> {
    (from..from + FREE_PORTS)
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .ok_or_else(|| Failure::failed(format!("no port from {from} to {} is free", from + FREE_PORTS - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let Ports { portals, links } = choose(None, None).unwrap();
        let mut all = [portals, links].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn one_that_is_taken_is_refused() {
        let taken = free(4300).unwrap();
        let portal = taken.local_addr().unwrap();
        assert!(choose(Some(portal), None).unwrap_err().to_string().contains(&format!("on {portal}: ")));
        drop(taken);
        assert!(choose(Some(portal), Some(portal)).is_err());
        assert_eq!(choose(None, Some(portal)).unwrap().portals[1], portal);
    }
}
