//! Becoming the owner: claim, fence, claim again, superblock, lease, serve.
//!
//! The claim is read before the fence, because a head without one must not fence (a restarted owner would take the only
//! copy off the disk), and again after it, because until then the other head could still change the superblock. Nothing
//! is written to the data before the fence: a destage of the old owner could land on top of it.
//!
//! A planned handover goes the same way without the fence and without the wait: the old owner has stopped by itself and
//! stays registered as the mirror.

use sas_backend::Incarnation;

use super::claim::{Claim, Label, Ownership};
use super::event::{Action, Event, StorageError};
use super::owner::Owner;
use super::{Core, Next};
use crate::block::{Data, Millis};
use crate::message::{Message, Tag};

/// A takeover on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Takeover {
    step: Step,
    basis: Basis,
    /// Decided while the link was down; void once it is back.
    without_link: bool,
    /// The link has broken since: over another one, the old owner is no mirror that anything may be sent to.
    link_broke: bool,
    /// Not before this moment: a lease of the old owner may still run.
    serve_after: Millis,
    lease_until: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Claim,
    Fence,
    ClaimAgain,
    Superblock(Ownership),
    Lease { written: Millis },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Basis {
    Claim,
    AcceptedLoss,
    Handover { tag: Tag, from: Incarnation },
}

impl Takeover {
    /// On the strength of a claim.
    pub(super) fn by_claim<D>(core: &Core<D>) -> Self {
        Self::new(core, Basis::Claim)
    }

    /// Because the owner gave up in favour of this head.
    pub(super) fn by_handover<D>(core: &Core<D>, tag: Tag, from: Incarnation) -> Self {
        Self::new(core, Basis::Handover { tag, from })
    }

    /// Because an operator says so; a claim is used if there is one after all.
    pub(super) fn accepting_loss<D>(core: &Core<D>) -> Self {
        Self::new(core, Basis::AcceptedLoss)
    }

    fn new<D>(core: &Core<D>, basis: Basis) -> Self {
        Self {
            step: Step::Claim,
            basis,
            without_link: core.peer.is_none(),
            link_broke: core.peer.is_none(),
            serve_after: core.now,
            lease_until: core.now,
        }
    }

    /// The other head is back: it may be the owner, and what was decided without it no longer holds. After the fence
    /// there is no way back, and the other head finds out on the disk.
    pub(super) fn on_link_up<D>(&mut self) -> Option<Next<D>> {
        (self.step == Step::Claim && self.without_link)
            .then(|| Next::Standby { why: "the link is back: not taking over".to_owned() })
    }

    pub(super) fn on_link_down(&mut self) {
        self.link_broke = true;
    }

    pub(super) fn handle<D: Data>(&mut self, core: &mut Core<D>, event: Event<D>) -> Option<Next<D>> {
        match (&self.step, event) {
            (Step::Claim, Event::SuperblockRead(Ok(found))) => self.on_claim(core, found),
            (Step::Fence, Event::FenceDone(Ok(gone))) => {
                let lease_ms = if gone || !core.config.paired { 0 } else { core.config.lease_ms };
                // A tenth more, for clocks that do not run at the same speed.
                self.serve_after = core.now.after(lease_ms + lease_ms / 10);
                self.step = Step::ClaimAgain;
                core.actions.push_back(Action::ReadSuperblock);
                None
            }
            (Step::ClaimAgain, Event::SuperblockRead(Ok(found))) => self.on_claim_again(core, found),
            (Step::Superblock(_), Event::SuperblockWritten(Ok(()))) => self.on_recorded(core),
            (Step::Lease { written }, Event::Heartbeat { started }) if started >= *written => {
                self.lease_until = self.lease_until.max(started.after(core.config.lease_ms));
                self.serve(core)
            }
            (Step::Lease { .. }, Event::Tick) => self.serve(core),
            (
                _,
                Event::SuperblockRead(Err(error)) | Event::SuperblockWritten(Err(error)) | Event::FenceDone(Err(error)),
            ) => Some(match error {
                StorageError::Fenced => Next::Rejoin { why: "fenced while taking over".to_owned() },
                StorageError::Failed(why) => Next::Standby { why: format!("the takeover failed: {why}") },
            }),
            (_, event) => core.refuse(event),
        }
    }

    fn on_claim<D: Data>(&mut self, core: &mut Core<D>, found: Ownership) -> Option<Next<D>> {
        let place = core.recorded.as_ref().map(|recorded| recorded.capacity.reserved_at());
        let moved = place.is_some_and(|place| place != found.capacity.reserved_at());
        core.learn(found.clone());
        if moved && self.basis == Basis::Claim {
            // The heartbeat stood still where it was watched: the owner writes it elsewhere by now.
            return Some(Next::Standby { why: "not taking over yet: the superblock has moved".to_owned() });
        }
        if let Basis::Handover { tag, from } = self.basis {
            return self.on_handover_claim(core, &found, tag, from);
        }
        if core.claim().is_none() && self.basis != Basis::AcceptedLoss {
            return Some(Next::Standby { why: "no claim: the superblock names somebody else".to_owned() });
        }
        self.step = Step::Fence;
        core.actions.push_back(Action::Fence { epoch: found.epoch.next() });
        None
    }

    fn on_handover_claim<D: Data>(
        &mut self,
        core: &mut Core<D>,
        found: &Ownership,
        tag: Tag,
        from: Incarnation,
    ) -> Option<Next<D>> {
        let agrees = core.claim() == Some(Claim::Mirror)
            && found.owner == Some(core.config.me.other())
            && found.owner_incarnation == Some(from)
            && found.epoch.next() == tag.epoch;
        if !agrees {
            return Some(Next::Standby { why: "the superblock does not fit the handover".to_owned() });
        }
        let next = Ownership { mirror: Some(from), dirty: true, draining: false, ..core.ownership_after(found) };
        self.record(core, next);
        None
    }

    fn on_claim_again<D: Data>(&mut self, core: &mut Core<D>, found: Ownership) -> Option<Next<D>> {
        core.learn(found.clone());
        let claim = match (core.claim(), self.basis) {
            (Some(claim), _) => claim,
            (None, Basis::AcceptedLoss) => Claim::AcceptedLoss,
            (None, _) => {
                let why = "no claim after the fence: the superblock has changed".to_owned();
                return Some(Next::Standby { why });
            }
        };
        match claim {
            Claim::Mirror | Claim::Owned => core.memory.map.restart(),
            Claim::Disk | Claim::AcceptedLoss => core.memory = super::Memory::default(),
        }
        core.memory.map.owe_all();
        let next = Ownership {
            mirror: None,
            draining: !core.memory.map.is_empty(),
            dirty: false,
            losses: found.losses + u32::from(claim == Claim::AcceptedLoss),
            ..core.ownership_after(&found)
        };
        self.record(core, next);
        None
    }

    fn record<D: Data>(&mut self, core: &mut Core<D>, next: Ownership) {
        core.memory.label = match core.memory.label {
            Label::Mirror(tag) | Label::Either(_, tag) => Label::Either(next.epoch, tag),
            Label::Nothing | Label::Owned(_) => Label::Owned(next.epoch),
        };
        core.actions.push_back(Action::WriteSuperblock(next.clone()));
        self.step = Step::Superblock(next);
    }

    fn on_recorded<D: Data>(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        let Step::Superblock(next) = std::mem::replace(&mut self.step, Step::Lease { written: core.now }) else {
            unreachable!("asked for in this step only")
        };
        core.memory.label = Label::Owned(next.epoch);
        if let Basis::Handover { tag, .. } = self.basis {
            core.send(Message::TookOver(tag));
        }
        if core.config.paired {
            core.actions.push_back(Action::StartHeartbeat { epoch: next.epoch });
        }
        core.recorded = Some(next);
        self.serve(core)
    }

    fn serve<D: Data>(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        let leased = !core.config.paired || core.now < self.lease_until;
        if !leased || core.now < self.serve_after {
            return None;
        }
        let recorded = core.recorded.as_ref()?;
        let owed = core.memory.map.blocks();
        core.actions.push_back(Action::SetRecord(recorded.record.clone()));
        let why = match self.basis {
            Basis::Handover { .. } => format!("serving: handed over, epoch {}", recorded.epoch.0),
            _ if recorded.draining => format!("serving: took over, epoch {}, {owed} blocks to drain", recorded.epoch.0),
            _ => format!("serving: took over, epoch {}, the disk is complete", recorded.epoch.0),
        };
        let mirror = match self.basis {
            Basis::Handover { tag, .. } => Some(tag),
            Basis::Claim | Basis::AcceptedLoss => None,
        };
        let owner = Owner::new(core, mirror, !self.link_broke, self.lease_until);
        Some(Next::Own { owner: Box::new(owner), why })
    }
}

impl<D: Data> Core<D> {
    /// The claim that the superblock gives as far as this head has read it.
    pub(super) fn claim(&self) -> Option<Claim> {
        let recorded = self.recorded.as_ref()?;
        Claim::find(recorded, self.memory.label, self.config.me, self.config.incarnation)
    }

    /// The next superblock with this head as the owner. What is not to outlive the end of both heads ends here if this
    /// process was not there together with the last owner's: then all memory of the time before is gone.
    fn ownership_after(&self, found: &Ownership) -> Ownership {
        let me = Some(self.config.incarnation);
        let was_there = found.owner_incarnation == me || found.mirror == me || found.owner_incarnation == self.met;
        let keep = was_there && found.owner_incarnation.is_some();
        Ownership {
            record: if keep { found.record.clone() } else { found.record.outliving() },
            epoch: found.epoch.next(),
            owner: Some(self.config.me),
            owner_incarnation: Some(self.config.incarnation),
            ..found.clone()
        }
    }
}
