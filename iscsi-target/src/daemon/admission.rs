//! How many may be here at a time, in all and from one address: connections, and among them those that have not logged in
//! yet. Pure: who is accepted, who has logged in and who has gone comes in, what to do with the next comes out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::config::ClientLimits;

/// Connections at a time that are told, and not just closed, that they are too many.
const TURNED_AWAY_MAX: u32 = 32;
/// The log says once in this time that an address has too many.
const NEWS_MS: u64 = 60_000;
/// Addresses of which is known when the log has spoken of them.
const NEWS_MAX: usize = 256;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may log in.
    Welcome,
    /// Its login is answered with "service unavailable", and it ends.
    TurnAway(Excess),
    /// It is closed at once.
    Close(Excess),
}

/// Of what there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Connections,
    ConnectionsOfAddress,
    Logins,
    LoginsOfAddress,
}

/// What one connection counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    LoggingIn,
    LoggedIn,
    TurnedAway,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    connections: u32,
    logging_in: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: ClientLimits,
    all: Count,
    of: BTreeMap<IpAddr, Count>,
    turned_away: u32,
    /// When the log last spoke of an address.
    news: BTreeMap<IpAddr, u64>,
}

impl Admission {
    pub(crate) fn new(limits: ClientLimits) -> Self {
        Self { limits, all: Count::default(), of: BTreeMap::new(), turned_away: 0, news: BTreeMap::new() }
    }

    /// Somebody has connected. Whoever is not closed is counted until [`Admission::gone`].
    pub(crate) fn arrived(&mut self, from: IpAddr) -> Verdict {
        match self.excess(from) {
            None => {
                for count in [&mut self.all, self.of.entry(from).or_default()] {
                    count.connections += 1;
                    count.logging_in += 1;
                }
                Verdict::Welcome
            }
            Some(excess) if self.turned_away < TURNED_AWAY_MAX => {
                self.turned_away += 1;
                Verdict::TurnAway(excess)
            }
            Some(excess) => Verdict::Close(excess),
        }
    }

    /// A connection that was welcome has logged in.
    pub(crate) fn logged_in(&mut self, from: IpAddr) {
        for count in [&mut self.all, self.of.entry(from).or_default()] {
            count.logging_in -= 1;
        }
    }

    /// A connection has ended.
    pub(crate) fn gone(&mut self, from: IpAddr, standing: Standing) {
        if standing == Standing::TurnedAway {
            self.turned_away -= 1;
            return;
        }
        for count in [&mut self.all, self.of.entry(from).or_default()] {
            count.connections -= 1;
            count.logging_in -= u32::from(standing == Standing::LoggingIn);
        }
        self.of.retain(|_, count| count.connections > 0);
    }

    /// Whether the log shall say that an address has too many.
    pub(crate) fn is_news(&mut self, from: IpAddr, now_ms: u64) -> bool {
        self.news.retain(|_, said_ms| now_ms < *said_ms + NEWS_MS);
        if self.news.contains_key(&from) || self.news.len() >= NEWS_MAX {
            return false;
        }
        self.news.insert(from, now_ms);
        true
    }

    fn excess(&self, from: IpAddr) -> Option<Excess> {
        let limits = &self.limits;
        let of = self.of.get(&from).copied().unwrap_or_default();
        [
            (of.connections, limits.connections_per_address, Excess::ConnectionsOfAddress),
            (of.logging_in, limits.logins_per_address, Excess::LoginsOfAddress),
            (self.all.connections, limits.connections, Excess::Connections),
            (self.all.logging_in, limits.logins, Excess::Logins),
        ]
        .into_iter()
        .find_map(|(count, most, excess)| (count >= most).then_some(excess))
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "there are too many connections (limits.connections)",
            Self::ConnectionsOfAddress => "its address has too many connections (limits.connections-per-address)",
            Self::Logins => "too many connections have not logged in yet (limits.logins)",
            Self::LoginsOfAddress => {
                "too many connections of its address have not logged in yet (limits.logins-per-address)"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ClientLimits =
        ClientLimits { connections: 5, connections_per_address: 3, logins: 3, logins_per_address: 2, bytes: 0 };

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn logins_are_bounded_by_address_and_in_all() {
        let mut admission = Admission::new(LIMITS);
        assert_eq!(admission.arrived(address(1)), Verdict::Welcome);
        assert_eq!(admission.arrived(address(1)), Verdict::Welcome);
        assert_eq!(admission.arrived(address(1)), Verdict::TurnAway(Excess::LoginsOfAddress));
        assert_eq!(admission.arrived(address(2)), Verdict::Welcome);
        assert_eq!(admission.arrived(address(3)), Verdict::TurnAway(Excess::Logins));
        admission.logged_in(address(1));
        assert_eq!(admission.arrived(address(3)), Verdict::Welcome);
        admission.gone(address(2), Standing::LoggingIn);
        assert_eq!(admission.arrived(address(1)), Verdict::Welcome);
    }

    #[test]
    fn connections_are_bounded_by_address_and_in_all() {
        let mut admission = Admission::new(LIMITS);
        let log_in = |admission: &mut Admission, last| {
            assert_eq!(admission.arrived(address(last)), Verdict::Welcome);
            admission.logged_in(address(last));
        };
        for last in [1, 1, 1, 2, 2] {
            log_in(&mut admission, last);
        }
        assert_eq!(admission.arrived(address(1)), Verdict::TurnAway(Excess::ConnectionsOfAddress));
        assert_eq!(admission.arrived(address(3)), Verdict::TurnAway(Excess::Connections));
        admission.gone(address(1), Standing::LoggedIn);
        log_in(&mut admission, 3);
        for (last, count) in [(1, 2), (2, 2), (3, 1)] {
            for _ in 0..count {
                admission.gone(address(last), Standing::LoggedIn);
            }
        }
        assert!(admission.of.is_empty() && admission.all.connections == 0 && admission.all.logging_in == 0);
    }

    #[test]
    fn few_are_told_and_the_rest_is_closed() {
        let mut admission = Admission::new(ClientLimits { logins: 0, ..LIMITS });
        for _ in 0..TURNED_AWAY_MAX {
            assert_eq!(admission.arrived(address(1)), Verdict::TurnAway(Excess::Logins));
        }
        assert_eq!(admission.arrived(address(1)), Verdict::Close(Excess::Logins));
        admission.gone(address(1), Standing::TurnedAway);
        assert_eq!(admission.arrived(address(2)), Verdict::TurnAway(Excess::Logins));
    }

    #[test]
    fn the_log_speaks_of_an_address_once_a_minute() {
        let mut admission = Admission::new(LIMITS);
        assert!(admission.is_news(address(1), 5) && !admission.is_news(address(1), 6));
        assert!(admission.is_news(address(2), 6));
        assert!(!admission.is_news(address(1), NEWS_MS + 4) && admission.is_news(address(1), NEWS_MS + 5));
        let mut many = Admission::new(LIMITS);
        let told = (0..=255).flat_map(|b| [(b, 0), (b, 1)]).filter(|(b, c)| many.is_news([192, 0, *c, *b].into(), 0));
        assert_eq!(told.count(), NEWS_MAX, "and of no more than so many");
    }
}
