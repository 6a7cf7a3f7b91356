//! On which interface a portal address belongs, and whether clients can reach a head through its interfaces.

use std::net::IpAddr;

use crate::daemon::config::Portal;

/// A network interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// Administratively up, and with carrier.
    pub(super) is_up: bool,
    pub(super) is_loopback: bool,
    pub(super) addresses: Vec<Assigned>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    /// Put there by this program, maybe by an earlier process of it.
    pub(super) is_ours: bool,
}

/// An address that moves, and the interface that the configuration names for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MovingAddress {
    pub(super) ip: IpAddr,
    pub(super) interface: Option<String>,
}

/// Where an address belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) prefix: u8,
    /// It is there already.
    pub(super) is_there: bool,
}

/// Where `address` belongs: where it is already; otherwise where the configuration says, or on the interface with the
/// smallest subnet to which it belongs.
pub(super) fn find(address: &MovingAddress, interfaces: &[Interface]) -> Result<Place, String> {
    let ip = address.ip;
    let at = |interface: &Interface, prefix, is_there| Place {
        index: interface.index,
        name: interface.name.clone(),
        prefix,
        is_there,
    };
    for interface in interfaces {
        if let Some(assigned) = interface.addresses.iter().find(|assigned| assigned.ip == ip) {
            return Ok(at(interface, assigned.prefix, true));
        }
    }
    let subnet = |interface: &Interface| {
        let around = interface.addresses.iter().filter(|assigned| assigned.is_around(ip));
        around.map(|assigned| assigned.prefix).max()
    };
    if let Some(name) = &address.interface {
        let interface = interfaces.iter().find(|interface| interface.name == *name);
        let interface = interface.ok_or_else(|| format!("there is no interface {name} for {ip}"))?;
        return Ok(at(interface, subnet(interface).unwrap_or(bits(ip)), false));
    }
    let candidates = interfaces.iter().filter(|interface| !interface.is_loopback);
    let best =
        candidates.filter_map(|interface| Some((subnet(interface)?, interface))).max_by_key(|(prefix, _)| *prefix);
    let (prefix, interface) = best.ok_or_else(|| {
        format!(
            "no interface has a subnet to which {ip} belongs: give one of them an address of its own there, or say \
             interface = \"...\" in the portal"
        )
    })?;
    Ok(at(interface, prefix, false))
}

impl Assigned {
    /// Whether `ip` belongs to the subnet of this address.
    fn is_around(&self, ip: IpAddr) -> bool {
        let common = match (self.ip, ip) {
            (IpAddr::V4(mine), IpAddr::V4(ip)) => (mine.to_bits() ^ ip.to_bits()).leading_zeros(),
            (IpAddr::V6(mine), IpAddr::V6(ip)) => (mine.to_bits() ^ ip.to_bits()).leading_zeros(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        // A subnet of one address is nobody else's.
        self.prefix < bits(ip) && common >= u32::from(self.prefix)
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The interfaces behind the portals of this head.
#[derive(Debug)]
pub(super) struct Reach {
    portals: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    address: MovingAddress,
    moves: bool,
    /// Once known, it stays known: an interface that has vanished has no carrier.
    interface: Option<String>,
}

impl Reach {
    pub(super) fn new(portals: &[Portal]) -> Self {
        let watched = |portal: &Portal| Watched {
            address: MovingAddress {
                ip: portal.listen.ip(),
                interface: portal.vip.as_ref().and_then(|vip| vip.interface.clone()),
            },
            moves: portal.vip.is_some(),
            interface: None,
        };
        Self { portals: portals.iter().map(watched).collect() }
    }

    /// Whether clients can reach this head: not when all interfaces of its portals have lost their carrier. A portal on
    /// every address or on a loopback address counts as reachable, one whose interface was never seen does not count.
    pub(super) fn look(&mut self, interfaces: &[Interface]) -> bool {
        let mut known = false;
        let mut any_up = false;
        for portal in &mut self.portals {
            let ip = portal.address.ip.to_canonical();
            if ip.is_loopback() || ip.is_unspecified() {
                return true;
            }
            let place = find(&portal.address, interfaces).ok().filter(|place| place.is_there || portal.moves);
            if let Some(place) = place {
                portal.interface = Some(place.name);
            }
            if let Some(name) = &portal.interface {
                known = true;
                any_up |= interfaces.iter().any(|interface| interface.name == *name && interface.is_up);
            }
        }
        any_up || !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
        let assigned = |text: &&str| {
            let (ip, prefix) = text.split_once('/').unwrap();
            Assigned { ip: ip.parse().unwrap(), prefix: prefix.parse().unwrap(), is_ours: false }
        };
        let addresses = addresses.iter().map(assigned).collect();
        Interface { index, name: name.to_owned(), is_up: true, is_loopback: name == "lo", addresses }
    }

    fn machine() -> Vec<Interface> {
        vec![
            interface(1, "lo", &["127.0.0.1/8", "::1/128"]),
            interface(2, "eth0", &["10.0.0.7/8", "2001:db8::7/64"]),
            interface(3, "eth1", &["10.1.0.7/16", "192.0.2.7/32"]),
        ]
    }

    fn place(ip: &str, on: Option<&str>) -> Result<(String, u8, bool), String> {
        let address = MovingAddress { ip: ip.parse().unwrap(), interface: on.map(str::to_owned) };
        find(&address, &machine()).map(|place| (place.name, place.prefix, place.is_there))
    }

    #[test]
    fn an_address_belongs_where_its_subnet_is() {
        assert_eq!(place("10.9.0.1", None), Ok(("eth0".to_owned(), 8, false)));
        assert_eq!(place("10.1.0.1", None), Ok(("eth1".to_owned(), 16, false)), "the smallest one");
        assert_eq!(place("2001:db8::1", None), Ok(("eth0".to_owned(), 64, false)));
        assert_eq!(place("10.1.0.7", None), Ok(("eth1".to_owned(), 16, true)));
        assert!(place("192.0.2.7", None).is_ok());
        assert!(place("192.0.2.8", None).unwrap_err().contains("no interface has a subnet"));
        assert!(place("127.0.0.2", None).is_err(), "not on the loopback");
    }

    #[test]
    fn the_configuration_may_name_the_interface() {
        assert_eq!(place("10.1.0.1", Some("eth0")), Ok(("eth0".to_owned(), 8, false)));
        assert_eq!(place("192.0.2.8", Some("eth1")), Ok(("eth1".to_owned(), 32, false)), "in no subnet: by itself");
        assert!(place("10.1.0.1", Some("eth9")).unwrap_err().contains("eth9"));
    }

    fn portals(listen: &[(&str, bool)]) -> Vec<Portal> {
        let portal = |(listen, moves): &(&str, bool)| Portal {
            listen: listen.parse().unwrap(),
            advertise: (*listen).to_owned(),
            vip: moves.then_some(crate::daemon::config::Vip { interface: None }),
        };
        listen.iter().map(portal).collect()
    }

    #[test]
    fn carrier_is_lost_when_every_interface_has_lost_it() {
        let mut machine = machine();
        let mut reach = Reach::new(&portals(&[("10.0.0.7:3260", false), ("10.1.0.1:3260", true)]));
        assert!(reach.look(&machine));
        machine[1].is_up = false;
        assert!(reach.look(&machine), "one is left");
        machine[2].is_up = false;
        assert!(!reach.look(&machine));
        machine[1].is_up = true;
        assert!(reach.look(&machine));
        machine.truncate(1);
        assert!(!reach.look(&machine), "an interface that has vanished has no carrier");
    }

    #[test]
    fn what_is_not_known_is_not_lost() {
        let mut down = machine();
        down.iter_mut().for_each(|interface| interface.is_up = false);
        for listen in ["127.0.0.1:3260", "[::1]:3260", "0.0.0.0:3260", "[::]:3260", "203.0.113.1:3260"] {
            assert!(Reach::new(&portals(&[(listen, false)])).look(&down), "{listen}");
        }
        let mut reach = Reach::new(&portals(&[("10.0.0.7:3260", false), ("127.0.0.1:3261", false)]));
        assert!(reach.look(&down), "a loopback portal is always reached");
        assert!(!Reach::new(&portals(&[("10.0.0.7:3260", false)])).look(&down));
    }
}
