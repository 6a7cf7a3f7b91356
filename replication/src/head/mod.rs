//! The failover state machine of one logical unit on one head.
//!
//! ```text
//!               +--------------------- conflict ----------------------+
//!               v                                                     |
//!   start -> Rejoining --superblock read--> Standby --claim--> TakingOver --lease--> Owner
//!               ^                           ^   |  ^               |                   |
//!               |                           |   |  +--void---------+                   |
//!               +---------- conflict -------|---+                                      |
//!                                           +------------- handover -------------------+
//! ```
//!
//! One event goes in, the same maintenance steps run after it, and the actions come out; the daemon executes them. The
//! rules themselves stand where they are applied:
//!
//! * [`claim`]: who may take over, and with what.
//! * [`standby`]: the mirror's side, and when to take over by oneself.
//! * [`takeover`]: claim, fence, claim again, superblock, lease, serve. Never a disk write before the fence.
//! * [`owner`]: what may be acknowledged in which mode; join, degrade, drain, hand over.
//! * [`orders`]: what operators and clients want of the unit as a whole.
//! * [`forward`]: what the standby's clients want, and the owner does.
//!
//! A registration that is gone ends every role at once, whatever it was doing (`Rejoining`): the sessions are closed,
//! the link is dropped with all that is queued on it, and only then does this head register again.

mod claim;
mod event;
mod forward;
mod orders;
mod owner;
mod standby;
mod takeover;

use std::collections::VecDeque;

use sas_backend::{Epoch, Incarnation};

pub use claim::{Capacity, Claim, Label, Memory, Ownership};
pub use event::{
    Access, Action, Config, DiskCommand, Event, IoError, IoId, OpId, Operation, Order, OrderId, Outcome, Request,
    Status, StorageError,
};

use crate::block::{Data, Millis};
use crate::message::{Message, Mode, PeerRole, PeerState};
use forward::{Received, Sent};
use orders::PendingOrder;
use owner::Owner;
use standby::Standby;
use takeover::Takeover;

/// A failed step with the disk is tried again after this long.
const RETRY_MS: u64 = 250;
/// Figures that only people look at are sent again no sooner than this.
const FIGURES_MS: u64 = 1_000;

/// What one head does for one logical unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Head<D> {
    core: Core<D>,
    role: Role<D>,
}

/// What every role works with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Core<D> {
    config: Config,
    now: Millis,
    /// This head's RAM: a mirror's copy, an owner's dirty data, or nothing.
    memory: Memory<D>,
    /// The superblock as last read or durably written by this head.
    recorded: Option<Ownership>,
    /// The other head, while the link is up.
    peer: Option<Peer>,
    /// The other head's process when the link was last up.
    met: Option<Incarnation>,
    /// Requests of this head's clients that the owner has.
    sent: Sent<D>,
    /// Requests of the other head's clients that this head has, as the owner.
    received: Received,
    orders: Vec<PendingOrder>,
    /// When the unit began to move, or had moved, between living heads.
    moved_at: Option<Millis>,
    /// Who wants the unit to grow, and until when.
    growth_orders: Vec<(OrderId, Millis)>,
    /// Blocks that clients of this head see.
    blocks: u64,
    stopping: bool,
    io_ids: u64,
    /// Disk operations that have not been answered.
    in_flight: u64,
    access: Option<Access>,
    other_forwards: bool,
    sent_state: Option<PeerState>,
    sent_at: Millis,
    sessions: u32,
    /// Why the role is what it is, for the status display.
    reason: String,
    actions: VecDeque<Action<D>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Peer {
    incarnation: Incarnation,
    state: Option<PeerState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role<D> {
    Rejoining(Rejoin),
    Standby(Standby),
    TakingOver(Takeover),
    Owner(Box<Owner<D>>),
    Stopped,
}

/// On the way back from nothing or from a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rejoin {
    /// Until every command of this head is answered. One that is still under way would find the head registered again,
    /// and land on top of what the new owner has written.
    Quiescing,
    Registering,
    Reading,
    Waiting {
        until: Millis,
    },
}

/// A change of role that a role asks for.
enum Next<D> {
    Rejoin { why: String },
    Standby { why: String },
    TakeOver { takeover: Takeover, why: String },
    Own { owner: Box<Owner<D>>, why: String },
    Stop,
}

impl<D: Data> Head<D> {
    /// A head that has not looked at anything yet; it begins with [`Event::Start`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let core = Core {
            blocks: config.blocks,
            config,
            now: Millis(0),
            memory: Memory::default(),
            recorded: None,
            peer: None,
            met: None,
            sent: Sent::default(),
            received: Received::default(),
            orders: Vec::new(),
            moved_at: None,
            growth_orders: Vec::new(),
            stopping: false,
            io_ids: 0,
            in_flight: 0,
            access: None,
            other_forwards: false,
            sent_state: None,
            sent_at: Millis(0),
            sessions: 0,
            reason: "starting".to_owned(),
            actions: VecDeque::new(),
        };
        Self { core, role: Role::Rejoining(Rejoin::Waiting { until: Millis(0) }) }
    }

    /// Take in one event; then [`Head::poll_action`] until it has nothing more.
    pub fn handle(&mut self, now: Millis, event: Event<D>) {
        self.core.now = now;
        if matches!(event, Event::Disk { .. } | Event::Mapped { .. }) {
            self.core.in_flight = self.core.in_flight.saturating_sub(1);
        }
        let next = match event {
            Event::Start => Some(Next::Rejoin { why: "the process has started".to_owned() }),
            Event::Conflict => self.on_conflict(),
            Event::LinkUp { peer } => {
                self.core.peer = Some(Peer { incarnation: peer, state: None });
                self.core.met = Some(peer);
                self.core.sent_state = None;
                self.on_link_up()
            }
            Event::LinkDown => {
                let was_up = self.core.peer.take().is_some();
                if was_up { self.on_link_down() } else { None }
            }
            Event::Message(message) => self.on_message(message),
            Event::Order { id, order } => self.on_order(id, order),
            Event::Sessions(sessions) => {
                self.core.sessions = sessions;
                None
            }
            Event::Preferred(head) => {
                self.core.config.preferred = head;
                None
            }
            Event::Shutdown => {
                self.core.stopping = true;
                None
            }
            event => self.on_role_event(event),
        };
        self.apply(next);
        self.maintain();
    }

    /// The next thing to execute, in this order.
    pub fn poll_action(&mut self) -> Option<Action<D>> {
        self.core.actions.pop_front()
    }

    /// For the status display.
    #[must_use]
    pub fn status(&self) -> Status {
        let core = &self.core;
        let mode = match (&self.role, core.access) {
            (Role::Owner(owner), _) => Some(owner.mode(core)),
            (_, Some(Access::Unavailable)) => None,
            _ => match core.peer.and_then(|peer| peer.state).map(|state| state.role) {
                Some(PeerRole::Owner(mode)) => Some(mode),
                _ => None,
            },
        };
        Status {
            owner: match &self.role {
                Role::Owner(_) => Some(core.config.me),
                _ => core.peer_owner().then(|| core.config.me.other()),
            },
            mode,
            access: core.access.unwrap_or(Access::Changing),
            epoch: core.known_epoch(),
            dirty_blocks: match &self.role {
                Role::Owner(_) => core.memory.map.blocks(),
                _ => core.peer.and_then(|peer| peer.state).map_or(0, |state| state.dirty_blocks),
            },
            mirror_blocks: match &self.role {
                Role::Owner(_) => 0,
                _ => core.memory.map.blocks(),
            },
            link_up: core.peer.is_some(),
            peer_sessions: core.peer.and_then(|peer| peer.state).map(|state| state.sessions),
            reason: core.reason.clone(),
        }
    }

    fn on_conflict(&mut self) -> Option<Next<D>> {
        match self.role {
            // It is on its way to register; the conflict tells of what came before.
            Role::Rejoining(_) | Role::Stopped => None,
            _ => Some(Next::Rejoin { why: "fenced: this head's registration on the disk is gone".to_owned() }),
        }
    }

    fn on_link_up(&mut self) -> Option<Next<D>> {
        match &mut self.role {
            Role::Standby(standby) => {
                standby.on_link_up(&mut self.core);
                None
            }
            Role::TakingOver(takeover) => takeover.on_link_up(),
            Role::Owner(_) | Role::Rejoining(_) | Role::Stopped => None,
        }
    }

    fn on_link_down(&mut self) -> Option<Next<D>> {
        match &mut self.role {
            Role::Standby(standby) => standby.on_link_down(&mut self.core),
            Role::Owner(owner) => owner.on_link_down(&mut self.core),
            Role::TakingOver(takeover) => takeover.on_link_down(),
            Role::Rejoining(_) | Role::Stopped => {}
        }
        None
    }

    fn on_message(&mut self, message: Message<D>) -> Option<Next<D>> {
        let core = &mut self.core;
        // The link layer drops what belongs to a closed link; this is for the model, which can deliver anything.
        let peer = core.peer.as_mut()?;
        if let Message::State(state) = message {
            peer.state = Some(state);
            // It says so once the superblock does.
            if matches!(state.role, PeerRole::Owner(_)) {
                core.set_blocks(state.blocks);
            }
        }
        match (&self.role, &message) {
            (_, Message::Returned { .. } | Message::Forwarded { .. } | Message::Answer { .. }) => {
                core.on_answer(message);
                return None;
            }
            (Role::Owner(_), _) => {}
            (_, Message::Forward { number, .. }) => core.refuse_forwarded(*number),
            _ => {}
        }
        match &mut self.role {
            Role::Standby(standby) => standby.handle_message(core, message),
            Role::Owner(owner) => {
                owner.handle_message(core, message);
                None
            }
            Role::TakingOver(_) | Role::Rejoining(_) | Role::Stopped => None,
        }
    }

    fn on_role_event(&mut self, event: Event<D>) -> Option<Next<D>> {
        let core = &mut self.core;
        match &mut self.role {
            Role::Rejoining(step) => step.handle(core, event),
            Role::Standby(standby) => standby.handle(core, event),
            Role::TakingOver(takeover) => takeover.handle(core, event),
            Role::Owner(owner) => owner.handle(core, event),
            Role::Stopped => core.refuse(event),
        }
    }

    fn apply(&mut self, next: Option<Next<D>>) {
        let Some(next) = next else { return };
        assert!(self.may_become(&next), "no such change of role from {:?}", self.role_name());
        let core = &mut self.core;
        let was_owner = matches!(self.role, Role::Owner(_));
        if let Role::Standby(_) = &self.role {
            core.give_back_forwarded();
        }
        if let Role::Owner(owner) = &mut self.role {
            owner.leave(core);
            core.end_growth_orders(&Err(format!("head {} does not own the unit any more", core.config.me)));
        }
        match next {
            Next::Rejoin { why } => {
                core.announce(why);
                core.actions.push_back(Action::StopHeartbeat);
                core.actions.push_back(Action::WatchPeer(false));
                if was_owner {
                    core.actions.push_back(Action::CloseSessions);
                }
                core.actions.push_back(Action::CloseLink);
                core.peer = None;
                self.role = Role::Rejoining(Rejoin::Quiescing);
            }
            Next::Standby { why } => {
                core.announce(why);
                if was_owner {
                    core.moved_at = Some(core.now);
                }
                let from_rejoin = matches!(self.role, Role::Rejoining(_));
                self.role = Role::Standby(Standby::new(core, from_rejoin));
            }
            Next::TakeOver { takeover, why } => {
                core.announce(why);
                self.role = Role::TakingOver(takeover);
                core.actions.push_back(Action::ReadSuperblock);
            }
            Next::Own { owner, why } => {
                core.announce(why);
                core.moved_at = Some(core.now);
                self.role = Role::Owner(owner);
            }
            Next::Stop => {
                core.announce("stopped".to_owned());
                core.actions.push_back(Action::StopHeartbeat);
                core.actions.push_back(Action::WatchPeer(false));
                core.actions.push_back(Action::CloseLink);
                core.actions.push_back(Action::Stopped);
                self.role = Role::Stopped;
            }
        }
    }

    /// The whitelist of the diagram above.
    fn may_become(&self, next: &Next<D>) -> bool {
        match (&self.role, next) {
            (Role::Stopped, _) => false,
            (_, Next::Stop | Next::Rejoin { .. })
            | (Role::Rejoining(_) | Role::TakingOver(_) | Role::Owner(_), Next::Standby { .. })
            | (Role::Standby(_), Next::TakeOver { .. })
            | (Role::TakingOver(_), Next::Own { .. }) => true,
            (_, Next::Standby { .. } | Next::TakeOver { .. } | Next::Own { .. }) => false,
        }
    }

    fn role_name(&self) -> &'static str {
        match self.role {
            Role::Rejoining(_) => "rejoining",
            Role::Standby(_) => "standby",
            Role::TakingOver(_) => "taking over",
            Role::Owner(_) => "owner",
            Role::Stopped => "stopped",
        }
    }

    /// The same steps after every event: let the role go on, answer orders, tell the world.
    fn maintain(&mut self) {
        loop {
            let done = self.core.actions.len();
            let next = match &mut self.role {
                Role::Standby(standby) => standby.maintain(&mut self.core),
                Role::Owner(owner) => owner.maintain(&mut self.core),
                Role::Rejoining(step) => step.maintain(&mut self.core),
                Role::TakingOver(_) | Role::Stopped => None,
            };
            let changed = next.is_some();
            self.apply(next);
            self.settle_orders();
            self.tell();
            if !changed && self.core.actions.len() == done {
                return;
            }
        }
    }

    fn tell(&mut self) {
        let core = &mut self.core;
        let access = match &self.role {
            Role::Rejoining(_) | Role::TakingOver(_) => Access::Changing,
            Role::Standby(standby) => standby.access(core),
            Role::Owner(owner) => owner.access(),
            Role::Stopped => Access::Standby,
        };
        if core.access != Some(access) {
            core.access = Some(access);
            core.actions.push_back(Action::SetAccess(access));
        }
        let mirrored = matches!(&self.role, Role::Owner(owner) if owner.mode(core) == Mode::Mirrored);
        let other_forwards = mirrored && matches!(core.peer_role(), Some(PeerRole::Standby { .. }));
        if core.other_forwards != other_forwards && access == Access::Serving {
            core.other_forwards = other_forwards;
            core.actions.push_back(Action::SetOtherForwards(other_forwards));
        }
        let role = match &self.role {
            Role::Rejoining(_) => PeerRole::Starting,
            Role::Standby(standby) => standby.peer_role(core),
            Role::TakingOver(_) => PeerRole::Changing,
            Role::Owner(owner) => PeerRole::Owner(owner.mode(core)),
            Role::Stopped => return,
        };
        let state = PeerState {
            role,
            epoch: core.recorded.as_ref().map_or(Epoch(0), |recorded| recorded.epoch),
            dirty_blocks: if matches!(role, PeerRole::Owner(_)) { core.memory.map.blocks() } else { 0 },
            sessions: core.sessions,
            blocks: core.blocks,
        };
        let due = core.now.since(core.sent_at) >= FIGURES_MS;
        let news = |state: PeerState| (state.role, state.epoch, state.blocks);
        let is_news = |sent: PeerState| news(sent) != news(state) || (due && sent != state);
        if core.peer.is_some() && core.sent_state.is_none_or(is_news) {
            core.sent_state = Some(state);
            core.sent_at = core.now;
            core.actions.push_back(Action::Send(Message::State(state)));
        }
    }
}

impl Rejoin {
    fn handle<D: Data>(&mut self, core: &mut Core<D>, event: Event<D>) -> Option<Next<D>> {
        match (*self, event) {
            (Self::Registering, Event::Registered(Ok(()))) => {
                *self = Self::Reading;
                core.actions.push_back(Action::ReadSuperblock);
            }
            (Self::Reading, Event::SuperblockRead(Ok(ownership))) => {
                core.learn(ownership);
                return Some(Next::Standby { why: "registered with the disk".to_owned() });
            }
            (Self::Registering, Event::Registered(Err(error))) | (Self::Reading, Event::SuperblockRead(Err(error))) => {
                core.reason = format!("the disk cannot be used: {error}");
                *self = Self::Waiting { until: core.now.after(RETRY_MS) };
            }
            (Self::Waiting { until }, Event::Tick) if core.now >= until => *self = Self::Quiescing,
            (_, event) => return core.refuse(event),
        }
        None
    }

    fn maintain<D: Data>(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        if *self == Self::Quiescing && core.in_flight == 0 {
            let epoch = core.recorded.as_ref().map_or(Epoch(0), |recorded| recorded.epoch);
            core.actions.push_back(Action::Register { epoch });
            *self = Self::Registering;
        }
        // A process that ends takes its RAM with it: not before the superblock has been seen.
        (core.stopping && core.memory.label == Label::Nothing).then_some(Next::Stop)
    }
}

impl<D: Data> Core<D> {
    fn announce(&mut self, why: String) {
        self.reason.clone_from(&why);
        self.actions.push_back(Action::Announce(why));
    }

    /// The superblock as it has just been read.
    fn learn(&mut self, found: Ownership) {
        self.memory.settle(&found);
        self.set_blocks(found.capacity.blocks);
        self.recorded = Some(found);
    }

    /// A unit only grows: a superblock that was read before the owner said that it has is old.
    fn set_blocks(&mut self, blocks: u64) {
        if self.blocks < blocks {
            self.blocks = blocks;
            self.actions.push_back(Action::SetBlocks(blocks));
        }
    }

    fn send(&mut self, message: Message<D>) {
        if self.peer.is_some() {
            self.actions.push_back(Action::Send(message));
        }
    }

    fn next_io(&mut self) -> IoId {
        self.io_ids += 1;
        self.in_flight += 1;
        IoId(self.io_ids)
    }

    /// The newest epoch that this head has heard of.
    fn known_epoch(&self) -> Epoch {
        let read = self.recorded.as_ref().map(|recorded| recorded.epoch);
        let told = self.peer.and_then(|peer| peer.state).map(|state| state.epoch);
        read.max(told).max(self.memory.label.epoch()).unwrap_or_default()
    }

    fn peer_role(&self) -> Option<PeerRole> {
        self.peer.and_then(|peer| peer.state).map(|state| state.role)
    }

    fn peer_owner(&self) -> bool {
        matches!(self.peer.and_then(|peer| peer.state), Some(PeerState { role: PeerRole::Owner(_), .. }))
    }

    /// An event that the present role has no use for. A request is sent back: whoever holds it asks again when the
    /// access state has changed. Everything else is an answer to a question that is no longer asked.
    fn refuse(&mut self, event: Event<D>) -> Option<Next<D>> {
        if let Event::Request(Request { op, .. }) | Event::SetRecord { op, .. } | Event::Drain { op } = event {
            self.answer(op, Outcome::NotServing);
        }
        None
    }
}

#[cfg(test)]
mod tests;
