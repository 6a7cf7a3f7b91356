//! Which head holds which portal addresses, and who gives them back when: the rules, without a socket.
//!
//! A head has addresses of its own. It holds them unless the other head has them:
//!
//! ```text
//!            the other head does not have them, or was taken over,
//!            or is not heard of and never said that it has them
//!     Away ------------------------------------------------------> Held
//!      ^ ^                                                         |  |
//!      | +---- fenced with the link down, or the other head -------+  |
//!      |       has them                                               |
//!      +---- clients can reach it again ---- Offered <----------------+
//!                                                     clients cannot reach it, or it ends;
//!                                                     and the other head can take them
//! ```
//!
//! Beside them it holds those of the other head after it took over from it (it fenced it, and the link is down), or
//! because they were offered; until they are wanted back. Losing the link alone changes nothing.
//!
//! While the link is up each head says where it stands ([`PortalState`]), and again at each change; the newest
//! statement counts. Statements about one's own addresses are numbered, and the other head repeats the number that it
//! has acted on: a head puts its addresses up only when the other one has answered the newest one, and does not have
//! them. So they are never on both heads, however statements cross.
//!
//! Whoever lets an address go takes it off the interface *before* it ends the connections that came in by it, and says
//! so after both: their clients hear of it from the new holder, which is ready for them by then, and nothing that they
//! had asked for is executed behind their backs. See [`super::frames`] for how they hear of it.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use replication::Millis;
use replication::wire::{ClientConnection, OwnAddresses, PortalState};

use super::carrier::Carrier;
use super::event::{Action, Config, Event, Set};

/// How long a head that has just started waits to hear from the other one before it puts its addresses up.
const START_MS: u64 = 1_500;
/// A fence and the loss of the link that are no further apart have to do with each other.
const TOGETHER_MS: u64 = 500;
/// When addresses are announced after they were put up, and clients told: announcements get lost, and switches learn late.
/// A client that has answered one, or anything else that came too late for its connection, does not answer again for half
/// a second (Linux, `tcp_invalid_ratelimit`).
const ANNOUNCE_MS: [u64; 6] = [0, 100, 300, 620, 1_500, 3_000];
/// How often a head that no client can reach tries to hand its units over.
const HAND_OVER_AGAIN_MS: u64 = 1_000;
/// How long a head that ends waits for the other one to take its addresses.
const LEAVE_MS: u64 = 1_000;
/// How long the ends of connections may take to go out before their address is taken away.
const FAREWELL_MS: u64 = 100;

/// Where this head's own addresses belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// Not here, at least for now; without the link, here from then on.
    Away {
        until: Option<Millis>,
    },
    Held,
    Offered,
}

/// Whether addresses are on this head's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Absent,
    Adding { change: u64 },
    Present { since: Millis, announced: usize },
    Removing { change: u64 },
}

/// The other head, while it is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Peer {
    heard: Option<PortalState>,
    sent: Option<PortalState>,
}

/// The process is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// What is not handed over goes at that moment; the process ends at the deadline.
    Since {
        go: Millis,
        deadline: Millis,
    },
    Gone,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Holding {
    config: Config,
    now: Millis,
    own: Own,
    /// Whether the other head's addresses belong here.
    adopt: bool,
    own_presence: Presence,
    their_presence: Presence,
    changes: u64,
    peer: Option<Peer>,
    /// The number of the last statement about the own addresses, and what it said.
    said: (u64, OwnAddresses),
    /// As far as is known, the other head has this head's addresses.
    lent: bool,
    took_over: Option<Millis>,
    fenced: Option<Millis>,
    clients: BTreeSet<ClientConnection>,
    carrier: Carrier,
    fit: bool,
    owns: bool,
    handed_over: Option<Millis>,
    leaving: Leaving,
    actions: VecDeque<Action>,
}

impl Holding {
    /// Nothing is held; it begins with [`Event::Start`].
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            now: Millis(0),
            own: Own::Away { until: None },
            adopt: false,
            own_presence: Presence::Absent,
            their_presence: Presence::Absent,
            changes: 0,
            peer: None,
            said: (1, OwnAddresses::Away),
            lent: false,
            took_over: None,
            fenced: None,
            clients: BTreeSet::new(),
            carrier: Carrier::default(),
            fit: false,
            owns: false,
            handed_over: None,
            leaving: Leaving::No,
            actions: VecDeque::new(),
        }
    }

    /// Take in one event; then [`Holding::poll_action`] until it has nothing more.
    pub(super) fn handle(&mut self, now: Millis, event: Event) {
        self.now = now;
        match event {
            Event::Start => self.on_start(),
            Event::Tick => {}
            Event::LinkUp => {
                self.peer = Some(Peer::default());
                (self.took_over, self.fenced) = (None, None);
            }
            Event::LinkDown => self.on_link_down(),
            Event::Heard(state) => self.on_heard(state),
            Event::Clients(clients) => self.on_clients(clients),
            Event::TookOver => self.took_over = Some(now),
            Event::Fenced => self.fenced = Some(now),
            Event::Changed { change } => self.on_changed(change),
            Event::Carrier(carrier) => self.carrier.set(now, carrier),
            Event::Units { fit, owns } => (self.fit, self.owns) = (fit, owns),
            Event::Stop => self.on_stop(),
        }
        self.maintain();
    }

    /// The next thing to do.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether addresses are on this head's interfaces; for the status display.
    pub(super) fn holds(&self, set: Set) -> bool {
        matches!(self.presence(set), Presence::Present { .. })
    }

    /// Whether the other head is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.peer.is_some()
    }

    /// What the other head said last, while it is connected; for the status display.
    pub(super) fn heard(&self) -> Option<PortalState> {
        self.peer?.heard
    }

    fn on_start(&mut self) {
        self.own = Own::Away { until: Some(if self.config.paired { self.now.after(START_MS) } else { self.now }) };
        // What an earlier process has left there would be held unasked.
        for set in [Set::Own, Set::Theirs] {
            let change = self.next_change();
            *self.presence_mut(set) = Presence::Removing { change };
            self.actions.push_back(Action::Remove { set, change });
        }
    }

    fn on_link_down(&mut self) {
        self.peer = None;
        let now = self.now;
        let recent = |at: &Millis| now.since(*at) <= TOGETHER_MS;
        self.took_over = self.took_over.filter(recent);
        self.fenced = self.fenced.filter(recent);
        // What was asked for may be on its way back: nobody has it then.
        let asked = self.said.1 == OwnAddresses::Wanted;
        if let Own::Away { until } = &mut self.own {
            *until = (asked || !self.lent).then(|| now.after(START_MS));
        }
    }

    fn on_heard(&mut self, state: PortalState) {
        let Some(peer) = &mut self.peer else { return };
        peer.heard = Some(state);
        self.lent = state.holds_yours;
        match state.own {
            OwnAddresses::Wanted => self.adopt = false,
            OwnAddresses::Held | OwnAddresses::Offered | OwnAddresses::Away => {}
        }
    }

    /// While addresses are being fetched, who is gone from the list may be gone because of that: it must be told.
    fn on_clients(&mut self, clients: Vec<ClientConnection>) {
        if !self.is_fetching() {
            self.clients.clear();
        }
        let room = replication::wire::portals::MAX_CLIENTS.saturating_mul(2);
        self.clients.extend(clients.into_iter().take(room.saturating_sub(self.clients.len())));
    }

    fn is_fetching(&self) -> bool {
        let settled = |presence: Presence| match presence {
            Presence::Present { announced, .. } => announced == ANNOUNCE_MS.len(),
            Presence::Absent => true,
            Presence::Adding { .. } | Presence::Removing { .. } => false,
        };
        matches!(self.own, Own::Away { .. }) || !settled(self.own_presence) || !settled(self.their_presence)
    }

    fn on_changed(&mut self, done: u64) {
        let now = self.now;
        for set in [Set::Own, Set::Theirs] {
            let presence = self.presence_mut(set);
            match *presence {
                Presence::Adding { change } if change == done => {
                    *presence = Presence::Present { since: now, announced: 0 };
                }
                Presence::Removing { change } if change == done => {
                    *presence = Presence::Absent;
                    self.actions.push_back(Action::Reset(set));
                }
                // An answer to what is no longer asked.
                _ => {}
            }
        }
    }

    fn on_stop(&mut self) {
        if self.leaving != Leaving::No {
            return;
        }
        self.leaving = Leaving::Since { go: self.now.after(FAREWELL_MS), deadline: self.now.after(LEAVE_MS) };
        self.adopt = false;
        if self.config.own.is_empty() && self.config.theirs.is_empty() {
            self.leaving = Leaving::Gone;
            self.actions.push_back(Action::Stopped);
            return;
        }
        if !self.can_offer() {
            self.actions.push_back(Action::Reset(Set::Own));
        }
        self.actions.push_back(Action::Reset(Set::Theirs));
    }

    /// The same steps after every event.
    fn maintain(&mut self) {
        if self.peer.is_none() {
            self.settle_without_link();
        }
        self.settle_own();
        self.settle_theirs();
        for set in [Set::Own, Set::Theirs] {
            self.settle_presence(set);
            self.announce(set);
        }
        self.hand_over();
        self.tell();
        self.leave();
    }

    /// Who has fenced whom says who has the addresses. Both for different units: each keeps its own.
    fn settle_without_link(&mut self) {
        match (self.took_over, self.fenced) {
            (None, None) => {}
            (Some(_), fenced) => {
                self.adopt = fenced.is_none() && self.leaving == Leaving::No;
                self.lent = false;
                if let Own::Away { until } = &mut self.own {
                    *until = Some(self.now);
                }
            }
            (None, Some(_)) => {
                self.adopt = false;
                self.lent = true;
                if self.own == Own::Held {
                    self.become_own(Own::Away { until: None }, "fenced");
                }
            }
        }
    }

    fn settle_own(&mut self) {
        match self.own {
            Own::Away { .. } if self.leaving != Leaving::No => {}
            Own::Away { until } => {
                if self.own_presence == Presence::Absent && self.may_hold(until) {
                    self.become_own(Own::Held, "the other head does not have them");
                }
            }
            Own::Held if self.heard().is_some_and(|heard| heard.holds_yours) => {
                self.become_own(Own::Away { until: None }, "the other head has them");
            }
            Own::Held => match self.leaving {
                Leaving::No if self.carrier.is_lost(self.now) && self.can_offer() && !self.owns => {
                    self.become_own(Own::Offered, "no client can reach this head");
                }
                Leaving::Since { .. } if self.can_offer() => self.become_own(Own::Offered, "stopping"),
                Leaving::Since { go, .. } if self.now >= go => {
                    self.become_own(Own::Away { until: None }, "stopping");
                }
                Leaving::No | Leaving::Since { .. } | Leaving::Gone => {}
            },
            Own::Offered if self.leaving == Leaving::No && self.carrier.is_good(self.now) => {
                let until = (!self.lent).then(|| self.now.after(START_MS));
                self.become_own(Own::Away { until }, "clients can reach this head again");
            }
            Own::Offered => {}
        }
    }

    /// Whether it is certain that the other head does not have them, or nobody can say.
    fn may_hold(&self, until: Option<Millis>) -> bool {
        match self.peer {
            _ if !self.config.paired => true,
            Some(Peer { heard: Some(heard), sent: Some(sent) }) => heard.echo == sent.number && !heard.holds_yours,
            Some(_) => false,
            None => until.is_some_and(|until| self.now >= until),
        }
    }

    /// Whether the other head would take this head's addresses.
    fn can_offer(&self) -> bool {
        self.heard().is_some_and(|heard| heard.carrier && heard.own != OwnAddresses::Offered)
    }

    fn settle_theirs(&mut self) {
        let able = self.leaving == Leaving::No && self.own != Own::Offered && self.carrier.is_good(self.now);
        if able && self.heard().is_some_and(|heard| heard.own == OwnAddresses::Offered) {
            self.adopt = true;
        }
        // Whoever cannot be reached is of no use as a substitute.
        if self.own == Own::Offered {
            self.adopt = false;
        }
    }

    fn become_own(&mut self, next: Own, why: &str) {
        let legal = matches!(
            (self.own, next),
            (Own::Away { .. }, Own::Held)
                | (Own::Held, Own::Away { .. } | Own::Offered)
                | (Own::Offered, Own::Away { .. })
        );
        assert!(legal, "no such change of the own addresses: from {:?} to {next:?}", self.own);
        self.own = next;
        let what = match next {
            Own::Away { .. } => "are not held any more",
            Own::Held => "are held",
            Own::Offered => "are offered to the other head",
        };
        self.say(Set::Own, &format!("{what}: {why}"));
    }

    fn settle_presence(&mut self, set: Set) {
        let wanted = match set {
            Set::Own => self.own == Own::Held,
            Set::Theirs => self.adopt,
        };
        match (wanted, self.presence(set)) {
            (true, Presence::Absent) => {
                let change = self.next_change();
                *self.presence_mut(set) = Presence::Adding { change };
                if set == Set::Theirs {
                    self.say(set, "are taken over");
                }
                self.actions.push_back(Action::Add { set, change });
            }
            (false, Presence::Present { .. } | Presence::Adding { .. }) if self.may_let_go(set) => {
                let change = self.next_change();
                *self.presence_mut(set) = Presence::Removing { change };
                if set == Set::Theirs {
                    self.say(set, "are given back");
                }
                self.actions.push_back(Action::Remove { set, change });
            }
            _ => {}
        }
    }

    /// A head that ends lets the clients of the other one know first: nobody else will.
    fn may_let_go(&self, set: Set) -> bool {
        match self.leaving {
            Leaving::Since { go, .. } if set == Set::Theirs => self.now >= go,
            Leaving::No | Leaving::Since { .. } | Leaving::Gone => true,
        }
    }

    fn announce(&mut self, set: Set) {
        let now = self.now;
        let Presence::Present { since, announced } = self.presence_mut(set) else { return };
        if ANNOUNCE_MS.get(*announced).is_none_or(|after| now < since.after(*after)) {
            return;
        }
        *announced += 1;
        let addresses = self.addresses(set);
        if addresses.is_empty() {
            return;
        }
        let clients = self.clients.iter().filter(|client| addresses.contains(&server_of(client))).copied().collect();
        self.actions.push_back(Action::Announce(set));
        self.actions.push_back(Action::Tickle(clients));
    }

    /// No client can reach this head, and the other one may be reached: that one shall own everything.
    fn hand_over(&mut self) {
        let helps = self.owns
            && self.leaving == Leaving::No
            && self.carrier.is_lost(self.now)
            && self.heard().is_some_and(|heard| heard.carrier);
        let due = self.handed_over.is_none_or(|at| self.now.since(at) >= HAND_OVER_AGAIN_MS);
        if helps && due {
            self.handed_over = Some(self.now);
            self.actions.push_back(Action::HandOver);
        }
    }

    fn tell(&mut self) {
        let own = match (self.own, self.own_presence) {
            (Own::Held, _) => OwnAddresses::Held,
            (Own::Offered, Presence::Absent) => OwnAddresses::Offered,
            (Own::Away { .. }, Presence::Absent) if self.fit && self.leaving == Leaving::No => OwnAddresses::Wanted,
            (Own::Away { .. } | Own::Offered, _) => OwnAddresses::Away,
        };
        if self.said.1 != own {
            self.said = (self.said.0 + 1, own);
        }
        let state = PortalState {
            own,
            holds_yours: self.their_presence != Presence::Absent,
            carrier: self.carrier.is_good(self.now) && self.leaving == Leaving::No,
            number: self.said.0,
            echo: self.heard().map_or(0, |heard| heard.number),
        };
        if let Some(peer) = &mut self.peer
            && peer.sent != Some(state)
        {
            peer.sent = Some(state);
            self.actions.push_back(Action::State(state));
        }
    }

    fn leave(&mut self) {
        let Leaving::Since { deadline, .. } = self.leaving else { return };
        let absent = [self.own_presence, self.their_presence] == [Presence::Absent; 2];
        let taken = match self.own {
            Own::Away { .. } => true,
            Own::Offered => self.heard().is_none_or(|heard| heard.holds_yours && heard.echo == self.said.0),
            Own::Held => false,
        };
        if (absent && taken) || self.now >= deadline {
            self.leaving = Leaving::Gone;
            self.actions.push_back(Action::Stopped);
        }
    }

    fn say(&mut self, set: Set, what: &str) {
        if self.addresses(set).is_empty() {
            return;
        }
        let whose = match set {
            Set::Own => "this head's addresses",
            Set::Theirs => "the other head's addresses",
        };
        self.actions.push_back(Action::Say(format!("{whose} {what}")));
    }

    fn addresses(&self, set: Set) -> &BTreeSet<IpAddr> {
        match set {
            Set::Own => &self.config.own,
            Set::Theirs => &self.config.theirs,
        }
    }

    fn presence(&self, set: Set) -> Presence {
        match set {
            Set::Own => self.own_presence,
            Set::Theirs => self.their_presence,
        }
    }

    fn presence_mut(&mut self, set: Set) -> &mut Presence {
        match set {
            Set::Own => &mut self.own_presence,
            Set::Theirs => &mut self.their_presence,
        }
    }

    fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }
}

/// The address by which a client came in.
fn server_of(client: &ClientConnection) -> IpAddr {
    match client {
        ClientConnection::V4 { server, .. } => server.ip.into(),
        ClientConnection::V6 { server, .. } => server.ip.into(),
    }
}

#[cfg(test)]
mod tests;
