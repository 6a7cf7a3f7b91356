//! What goes into the rules of [`super::holding`], and what comes out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use replication::wire::{ClientConnection, PortalState};

/// Whose addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Set {
    /// This head's.
    Own,
    /// The other head's.
    Theirs,
}

/// What the rules are told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// Whether there is another head at all.
    pub(super) paired: bool,
    /// The addresses of this head that move.
    pub(super) own: BTreeSet<IpAddr>,
    /// Those of the other head.
    pub(super) theirs: BTreeSet<IpAddr>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The process has started.
    Start,
    /// Some time has passed.
    Tick,
    /// The other head is connected.
    LinkUp,
    /// It is not any more.
    LinkDown,
    /// It says where it stands.
    Heard(PortalState),
    /// It says who is connected with it.
    Clients(Vec<ClientConnection>),
    /// This head has fenced the other one for some unit, and serves it now.
    TookOver,
    /// The other head has fenced this one for some unit that it served.
    Fenced,
    /// [`Action::Add`] or [`Action::Remove`] is done, as far as it can be.
    Changed {
        /// Under this number.
        change: u64,
    },
    /// Whether clients can reach this head.
    Carrier(bool),
    /// How the units are.
    Units {
        /// Each is served by one of the heads.
        fit: bool,
        /// This head owns at least one.
        owns: bool,
    },
    /// All units are handed over or drained: the process is to end.
    Stop,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Tell the other head.
    State(PortalState),
    /// Put addresses onto their interfaces.
    Add {
        /// Which.
        set: Set,
        /// The number of the answer.
        change: u64,
    },
    /// Take addresses off that this head, or an earlier process of it, has put there.
    Remove {
        /// Which.
        set: Set,
        /// The number of the answer.
        change: u64,
    },
    /// End the connections that came in by these addresses.
    Reset(Set),
    /// Tell the network where they are.
    Announce(Set),
    /// Make these clients notice that their connections are gone.
    Tickle(Vec<ClientConnection>),
    /// Hand all units over to the other head, as far as it is ready for them.
    HandOver,
    /// One line for the log.
    Say(String),
    /// The process may end.
    Stopped,
}
