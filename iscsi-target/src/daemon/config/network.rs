//! Networks from which initiators may come.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether `address` is one of it. IPv4 addresses that come in by an IPv6 socket are taken for what they are.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && kept(address, self.prefix) == self.address
    }
}

/// `address` without the bits after the first `prefix`.
fn kept(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & !u32::MAX.checked_shr(prefix).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::MAX.checked_shr(prefix).unwrap_or(0)).into()),
    }
}

impl FromStr for Network {
    type Err = String;

    /// An address, or one with the number of bits that count.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| format!("\"{address}\" is not an address"))?;
        if address.to_canonical() != address {
            return Err("write it as an IPv4 address".to_owned());
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |text: &&str| text.bytes().all(|digit| digit.is_ascii_digit());
        let prefix = match prefix {
            None => Some(most),
            Some(bits) => Some(bits).filter(is_number).and_then(|bits| bits.parse().ok()).filter(|bits| *bits <= most),
        };
        let prefix = prefix.ok_or_else(|| format!("after the / there is a number of bits from 0 to {most}"))?;
        let network = Self { address: kept(address, prefix), prefix };
        if network.address != address {
            return Err(format!("{text} has bits that do not count; write \"{network}\""));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_are_in_it() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::ffff:192.0.3.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{outside} not in {network}");
        }
    }

    #[test]
    fn what_is_no_network() {
        for bad in ["", "/", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/+8", "192.0.2/24", "::/129", "::ffff:192.0.2.1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let wrong = "192.0.2.1/24".parse::<Network>().unwrap_err();
        assert_eq!(wrong, "192.0.2.1/24 has bits that do not count; write \"192.0.2.0/24\"");
        assert_eq!("192.0.2.1".parse::<Network>().unwrap().to_string(), "192.0.2.1/32");
    }
}
