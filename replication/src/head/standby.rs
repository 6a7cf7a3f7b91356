//! Not the owner: keeping the owner's copy, and watching for the moment to take over.

use sas_backend::Incarnation;

use super::claim::{Claim, Label, Ownership};
use super::event::{Access, Action, Event, StorageError};
use super::takeover::Takeover;
use super::{Core, Memory, Next, RETRY_MS};
use crate::block::{Data, Millis};
use crate::message::{Message, Mode, PeerRole, PeerState, Tag};

/// How long a handover that this head began may take before both heads are mere standbys again.
const HANDOVER_MS: u64 = 1_000;

/// How long a connected head may be starting before the other one goes on without it.
const STARTING_MS: u64 = 2_000;

/// What a standby remembers beside its RAM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Standby {
    /// Whether the superblock was read since this role began or the link last changed.
    fresh: bool,
    reading: Reading,
    read_after: Millis,
    /// After a failure, not even what is wanted at once is read before.
    retry_after: Millis,
    watch: Watch,
    accepting: Option<Accepting>,
    /// The superblock has moved to behind so many blocks, and the owner waits until this head has seen it there.
    following: Option<u64>,
    confirm: Option<(Tag, u64)>,
    handover_until: Millis,
    /// When the link came up or this role began.
    met: Millis,
    /// The newest that is known of the owner's clock.
    heard: Option<Millis>,
}

/// How far an invitation has been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Accepting {
    Registering(Tag),
    /// A mirror must be able to take over: it has to see the superblock that its owner writes. A path that shows the disk
    /// smaller than it is would not.
    Looking(Tag),
}

/// Whether the superblock is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reading {
    No,
    Yes,
    /// Yes, but something has happened since that it may not show.
    Outdated,
}

/// What the disk shows of the other head's heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Watch {
    beat: Option<(Incarnation, u64)>,
    seen: bool,
    /// Since when it has not moved.
    still_since: Millis,
    /// When it was last seen moving.
    moved: Option<Millis>,
    /// It has not moved for T.
    silent: bool,
}

impl Standby {
    pub(super) fn new<D: Data>(core: &mut Core<D>, open_link: bool) -> Self {
        if open_link {
            core.actions.push_back(Action::OpenLink);
        }
        core.actions.push_back(Action::WatchPeer(core.config.paired && core.peer.is_none()));
        let handing_over = matches!(core.memory.label, Label::Either(..)) && core.peer.is_some();
        Self {
            fresh: open_link && core.recorded.is_some(),
            reading: Reading::No,
            read_after: core.now.after(RETRY_MS),
            retry_after: core.now,
            watch: Watch::new(core.now),
            accepting: None,
            following: None,
            confirm: None,
            handover_until: if handing_over { core.now.after(HANDOVER_MS) } else { core.now },
            met: core.now,
            heard: None,
        }
    }

    pub(super) fn on_link_up<D: Data>(&mut self, core: &mut Core<D>) {
        core.actions.push_back(Action::WatchPeer(false));
        self.doubt();
        self.met = core.now;
        self.heard = None;
    }

    pub(super) fn on_link_down<D: Data>(&mut self, core: &mut Core<D>) {
        core.actions.push_back(Action::WatchPeer(core.config.paired));
        self.watch = Watch::new(core.now);
        self.doubt();
        self.accepting = None;
        self.following = None;
        self.confirm = None;
        self.handover_until = core.now;
        self.heard = None;
        core.give_back_forwarded();
    }

    pub(super) fn handle<D: Data>(&mut self, core: &mut Core<D>, event: Event<D>) -> Option<Next<D>> {
        match event {
            Event::Request(request) => match (self.access(core), self.heard) {
                (Access::Forwarding, Some(heard)) => core.forward(request, heard),
                _ => return core.refuse(Event::Request(request)),
            },
            Event::Cancel(op) => core.cancel_forwarded(op),
            Event::SuperblockRead(result) => {
                let reading = std::mem::replace(&mut self.reading, Reading::No);
                self.read_after = core.now.after(RETRY_MS);
                match result {
                    Ok(_) if reading == Reading::Outdated => {}
                    Ok(found) => self.on_found(core, found),
                    Err(StorageError::Fenced) => {
                        return Some(Next::Rejoin { why: "fenced: the disk does not let this head read".to_owned() });
                    }
                    Err(StorageError::Failed(why)) => {
                        core.reason = format!("the superblock cannot be read: {why}");
                        self.retry_after = self.read_after;
                    }
                }
            }
            Event::Registered(result) => match (result, self.accepting) {
                (Ok(()), Some(Accepting::Registering(tag))) => {
                    self.accepting = Some(Accepting::Looking(tag));
                    self.doubt();
                }
                (Err(error), Some(Accepting::Registering(_))) => {
                    return Some(Next::Rejoin { why: format!("cannot register with the disk: {error}") });
                }
                (_, Some(Accepting::Looking(_)) | None) => {}
            },
            Event::Measured(Ok(blocks)) => core.send(Message::Measured { blocks }),
            Event::Measured(Err(error)) => core.announce(format!("the size of the disk is not to be had: {error}")),
            Event::PeerHeartbeat { started, beat } => self.watch.on_beat(core, started, beat),
            event => return core.refuse(event),
        }
        None
    }

    pub(super) fn handle_message<D: Data>(&mut self, core: &mut Core<D>, message: Message<D>) -> Option<Next<D>> {
        match message {
            Message::Invite(tag) => {
                core.memory = Memory { label: Label::Mirror(tag), ..Memory::default() };
                self.confirm = None;
                self.accepting = Some(Accepting::Registering(tag));
                core.actions.push_back(Action::Register { epoch: tag.epoch });
            }
            Message::Write { extent, .. } if extent.end() > core.blocks => {
                core.announce(format!("head {} writes beyond the end of the unit: {extent:?}", core.config.me.other()));
                core.actions.push_back(Action::CloseLink);
                core.actions.push_back(Action::OpenLink);
                core.peer = None;
                self.on_link_down(core);
            }
            Message::Write { tag, position, version, extent, data } if core.memory.label == Label::Mirror(tag) => {
                core.memory.map.insert(extent, version, data, true);
                // Nothing is destaged from here: its age does not matter, only that it is remembered in one place.
                core.memory.map.ripen(version);
                self.confirm = Some((tag, position));
            }
            Message::Release { tag, extent, version } if core.memory.label == Label::Mirror(tag) => {
                core.memory.map.remove_up_to(extent, version);
            }
            Message::Joined(tag) if core.memory.label == Label::Mirror(tag) => {
                self.doubt();
                let owner = core.config.me.other();
                core.announce(format!("mirror of head {owner} from epoch {} on", tag.epoch.0));
            }
            Message::Handover { tag, from } if matches!(core.memory.label, Label::Mirror(_)) && !core.stopping => {
                self.confirm = None;
                let takeover = Takeover::by_handover(core, tag, from);
                return Some(Next::TakeOver { takeover, why: format!("head {} hands over", core.config.me.other()) });
            }
            Message::TookOver(tag) => {
                if matches!(core.memory.label, Label::Either(_, mine) if mine == tag) {
                    core.memory.label = Label::Mirror(tag);
                    self.handover_until = core.now;
                    // The superblock names this head's RAM now: what was read before is no reason to stop.
                    self.doubt();
                    core.announce(format!("handed over to head {}; now its mirror", core.config.me.other()));
                }
            }
            Message::LeaseRequest { sent } => {
                self.heard = Some(sent);
                core.send(Message::LeaseGrant { sent });
            }
            Message::Record { number, record } => {
                core.actions.push_back(Action::SetRecord(record));
                core.send(Message::RecordKnown { number });
            }
            Message::Measure => core.actions.push_back(Action::Measure),
            Message::Follow { blocks } => {
                self.following = Some(blocks);
                self.doubt();
            }
            Message::State(_)
            | Message::Measured { .. }
            | Message::Followed { .. }
            | Message::Accepted(_)
            | Message::Confirmed { .. }
            | Message::RequestHandover
            | Message::LeaseGrant { .. }
            | Message::Write { .. }
            | Message::Release { .. }
            | Message::Joined(_)
            | Message::Handover { .. }
            | Message::Forward { .. }
            | Message::CancelForwarded { .. }
            | Message::Returned { .. }
            | Message::Forwarded { .. }
            | Message::Answer { .. }
            | Message::RecordKnown { .. } => {}
        }
        None
    }

    pub(super) fn maintain<D: Data>(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        if let Some((tag, position)) = self.confirm.take() {
            core.send(Message::Confirmed { tag, position });
        }
        if core.stopping && core.now >= self.handover_until {
            if self.may_stop(core) {
                return Some(Next::Stop);
            }
            self.leave_the_owner(core);
        }
        let looking = matches!(self.accepting, Some(Accepting::Looking(_))) || self.following.is_some();
        let wanted = looking || !core.peer_owner();
        let due = core.now >= self.retry_after && (!self.fresh || core.now >= self.read_after);
        if self.reading == Reading::No && wanted && due {
            self.reading = Reading::Yes;
            core.actions.push_back(Action::ReadSuperblock);
        }
        self.ask_for_ownership(core);
        self.consider(core)
    }

    /// The superblock as it is now.
    fn on_found<D: Data>(&mut self, core: &mut Core<D>, found: Ownership) {
        let place = found.capacity.reserved_at();
        if core.recorded.as_ref().is_some_and(|recorded| recorded.capacity.reserved_at() != place) {
            // The heartbeats have moved with it.
            self.watch = Watch::new(core.now);
        }
        let epoch = found.epoch;
        core.learn(found);
        self.fresh = true;
        if self.following == Some(place) {
            self.following = None;
            core.send(Message::Followed { blocks: place });
        }
        match self.accepting {
            Some(Accepting::Looking(tag)) if epoch.next() == tag.epoch => {
                self.accepting = None;
                core.send(Message::Accepted(tag));
            }
            Some(Accepting::Looking(tag)) => {
                let why = format!(
                    "not joining: this head finds a superblock of epoch {epoch}, and head {} has written one of epoch \
                     {}; is it the same disk, and has this head's path to it the same size?",
                    core.config.me.other(),
                    tag.epoch.0.saturating_sub(1),
                );
                if core.reason != why {
                    core.announce(why);
                }
            }
            Some(Accepting::Registering(_)) | None => {}
        }
    }

    pub(super) fn access<D: Data>(&self, core: &Core<D>) -> Access {
        match (core.peer, core.peer_role()) {
            (Some(_), Some(PeerRole::Owner(Mode::Mirrored))) if self.heard.is_some() => Access::Forwarding,
            (Some(_), Some(PeerRole::Owner(Mode::Mirrored | Mode::HandingOver))) => Access::Changing,
            (Some(_), Some(PeerRole::Owner(_))) => Access::Standby,
            (Some(_), Some(PeerRole::Standby { claim: Some(false) })) if self.hopeless(core) => Access::Unavailable,
            (None, _) if self.watch.moves(core) => Access::Standby,
            (None, _) if self.watch.silent && self.hopeless(core) => Access::Unavailable,
            _ => Access::Changing,
        }
    }

    pub(super) fn peer_role<D: Data>(&self, core: &Core<D>) -> PeerRole {
        if core.now < self.handover_until {
            PeerRole::Changing
        } else {
            PeerRole::Standby { claim: self.fresh.then(|| core.claim().is_some()) }
        }
    }

    /// This head's RAM and the superblock give it nothing to serve.
    fn hopeless<D: Data>(&self, core: &Core<D>) -> bool {
        self.fresh && core.claim().is_none()
    }

    /// What was read of the superblock, or is just being read, may not be what it says now.
    fn doubt(&mut self) {
        self.fresh = false;
        if self.reading == Reading::Yes {
            self.reading = Reading::Outdated;
        }
    }

    /// A process that ends takes its RAM with it: not while the superblock still counts on that.
    fn may_stop<D: Data>(&self, core: &Core<D>) -> bool {
        self.fresh && self.reading == Reading::No && !matches!(core.claim(), Some(Claim::Mirror | Claim::Owned))
    }

    /// About to end: without the link the owner goes solo, and this head may stop when the superblock says so.
    fn leave_the_owner<D: Data>(&mut self, core: &mut Core<D>) {
        if core.peer.take().is_some() {
            core.announce("stopping: waiting until nobody counts on this head's RAM".to_owned());
            core.actions.push_back(Action::CloseLink);
            self.on_link_down(core);
        }
    }

    /// Take over by oneself: with a claim, and when it is certain that nobody else serves or the other head leaves it
    /// to this one.
    fn consider<D: Data>(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        let claim = core.claim();
        if !self.fresh
            || self.reading != Reading::No
            || core.now < self.handover_until
            || (core.stopping && self.may_stop(core))
        {
            return None;
        }
        let me = core.config.me;
        let why = match core.peer.map(|peer| peer.state) {
            None if !core.config.paired => "taking over: there is no other head".to_owned(),
            None if self.watch.silent => format!("taking over: head {} shows no heartbeat", me.other()),
            // Not when about to end: that would take the unit from a healthy head and give it back at once.
            None if !core.stopping && core.orders.iter().any(|order| order.to == me) => {
                "taking over: asked to".to_owned()
            }
            Some(Some(PeerState { role: PeerRole::Standby { claim: Some(theirs) }, .. }))
                if core.config.preferred == me || !theirs =>
            {
                "taking over: neither head owns the unit".to_owned()
            }
            Some(Some(PeerState { role: PeerRole::Starting, .. })) if core.now.since(self.met) >= STARTING_MS => {
                "taking over: the other head cannot use the disk".to_owned()
            }
            None | Some(_) => return None,
        };
        if claim.is_none() {
            self.explain(core);
            return None;
        }
        Some(Next::TakeOver { takeover: Takeover::by_claim(core), why })
    }

    fn explain<D: Data>(&self, core: &mut Core<D>) {
        let Some(recorded) = &core.recorded else { return };
        let holder = recorded.owner.map_or_else(|| "nobody".to_owned(), |owner| format!("head {owner}"));
        let losers = if core.peer.is_some() {
            "both heads have lost their RAM while".to_owned()
        } else {
            format!("head {} is not to be seen, and", core.config.me.other())
        };
        let why = format!(
            "unavailable: {losers} acknowledged data of epoch {} (owner: {holder}) was not on the disk yet; \
             `targetctl lun accept-loss` goes on with what the disk has",
            recorded.epoch.0
        );
        if core.reason != why {
            core.announce(why);
        }
    }

    /// Somebody ordered this head to become the owner, and the other one is: ask it.
    fn ask_for_ownership<D: Data>(&mut self, core: &mut Core<D>) {
        if !core.peer_owner() {
            return;
        }
        let (me, now) = (core.config.me, core.now);
        let due = |asked: Option<Millis>| asked.is_none_or(|asked| now.since(asked) >= RETRY_MS);
        if let Some(order) = core.orders.iter_mut().find(|order| order.to == me && due(order.asked_at)) {
            order.asked_at = Some(now);
            core.send(Message::RequestHandover);
        }
    }
}

impl Watch {
    fn new(now: Millis) -> Self {
        Self { beat: None, seen: false, still_since: now, moved: None, silent: false }
    }

    fn on_beat<D>(&mut self, core: &Core<D>, started: Millis, beat: Option<(Incarnation, u64)>) {
        if self.seen && beat == self.beat {
            self.silent = started.since(self.still_since) >= core.config.takeover_ms;
            return;
        }
        // The first look only says where it stands.
        if self.seen {
            self.moved = Some(core.now);
            self.still_since = started;
        }
        self.seen = true;
        self.beat = beat;
        self.silent = false;
    }

    fn moves<D>(&self, core: &Core<D>) -> bool {
        self.moved.is_some_and(|moved| core.now.since(moved) < core.config.takeover_ms)
    }
}
