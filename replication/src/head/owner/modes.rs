//! One mode after the other, and what the superblock says about it.

use super::{Owner, OwnerMode, Stream, Switch};
use crate::block::Data;
use crate::head::claim::{Label, Ownership};
use crate::head::event::{Action, Outcome, StorageError};
use crate::head::{Core, Next};
use crate::message::{Message, PeerRole, PeerState, Tag};

/// A unit without dirty data for this long is marked clean, so that the loss of both heads would cost nothing.
const IDLE_MS: u64 = 1_000;

impl<D: Data> Owner<D> {
    /// Follow the arrows of the diagram as far as they lead now.
    pub(super) fn advance_mode(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        let wanted_elsewhere = core.orders.iter().any(|order| order.to != core.config.me);
        if wanted_elsewhere || core.stopping {
            self.handing_over |= matches!(self.mode, OwnerMode::Mirrored { .. });
        }
        match self.mode {
            OwnerMode::Solo { invited } => return self.advance_solo(core, invited),
            OwnerMode::Joining { stream, barrier, switch: Switch::NotYet } if stream.confirmed >= barrier => {
                self.switch_to_mirrored(core, stream, barrier);
            }
            OwnerMode::Mirrored { .. } if self.handing_over => return self.hand_over(core),
            OwnerMode::Degrading => self.finish_degrading(core),
            OwnerMode::Joining { .. } | OwnerMode::Mirrored { .. } => {}
        }
        // A wish that the mode does not allow (any more) holds nobody up.
        if self.handing_over && !matches!(self.mode, OwnerMode::Mirrored { .. }) {
            self.handing_over = false;
        }
        None
    }

    fn advance_solo(&mut self, core: &mut Core<D>, invited: Option<Tag>) -> Option<Next<D>> {
        if core.stopping {
            return self.stop_solo(core);
        }
        self.handing_over = false;
        let standby =
            matches!(core.peer.and_then(|peer| peer.state), Some(PeerState { role: PeerRole::Standby { .. }, .. }));
        if invited.is_none() && standby && self.recording.is_none() {
            let epoch = core.recorded.as_ref()?.epoch.next();
            self.invitations += 1;
            let tag = Tag { epoch, invitation: self.invitations };
            self.mode = OwnerMode::Solo { invited: Some(tag) };
            core.send(Message::Invite(tag));
        }
        None
    }

    /// The standby is empty and registered: send it all that is dirty, and from now on everything new.
    pub(super) fn on_accepted(&mut self, core: &mut Core<D>, tag: Tag) {
        if self.mode != (OwnerMode::Solo { invited: Some(tag) }) {
            return;
        }
        for (_, write) in self.pending.iter_mut() {
            write.position = None;
        }
        let mut dirty: Vec<_> =
            core.memory.map.iter().map(|(at, piece)| (piece.version, at, piece.data.clone())).collect();
        dirty.sort_by_key(|(version, at, _)| (*version, *at));
        let mut sent = 0;
        for (version, extent, data) in dirty {
            sent += 1;
            core.send(Message::Write { tag, position: sent, version, extent, data });
            if let Some(write) = self.pending.get_mut(version) {
                write.position = Some(sent);
            }
        }
        // A write whose pieces have all reached the disk before needs no confirmation of its own; it is confirmed with
        // whatever was sent last.
        for (_, write) in self.pending.iter_mut() {
            write.position.get_or_insert(0);
        }
        self.tell_record(core);
        let stream = Stream { tag, sent, confirmed: 0 };
        self.mode = OwnerMode::Joining { stream, barrier: sent, switch: Switch::NotYet };
        core.announce(format!("head {} joins, {sent} dirty extents to copy", core.config.me.other()));
    }

    pub(super) fn on_confirmed(&mut self, core: &mut Core<D>, tag: Tag, position: u64) {
        let Some(stream) = self.stream_mut() else { return };
        if stream.tag != tag || position > stream.sent {
            return;
        }
        stream.confirmed = stream.confirmed.max(position);
        match self.mode {
            // Confirmed in the order of admission: the front is all there is to look at.
            OwnerMode::Mirrored { .. } => self.acknowledge_front(core),
            OwnerMode::Joining { .. } => self.acknowledge_all(core),
            OwnerMode::Solo { .. } | OwnerMode::Degrading => {}
        }
    }

    fn acknowledge_front(&mut self, core: &mut Core<D>) {
        while let Some(version) = self.pending.oldest_if(|write| self.may_acknowledge(core, write)) {
            self.end_write(core, version, Outcome::Done);
        }
    }

    fn switch_to_mirrored(&mut self, core: &mut Core<D>, stream: Stream, barrier: u64) {
        let Some(peer) = core.peer else { return };
        if !self.may_record() {
            return;
        }
        self.mode = OwnerMode::Joining { stream, barrier, switch: Switch::InFlight };
        self.record(core, |next| {
            next.epoch = next.epoch.next();
            next.mirror = Some(peer.incarnation);
            next.draining = false;
            next.dirty = true;
        });
    }

    pub(in crate::head) fn on_link_down(&mut self, core: &mut Core<D>) {
        self.growth.on_link_down();
        self.drop_received(core);
        self.keeping.on_link_down(core);
        match &mut self.mode {
            OwnerMode::Solo { invited } => *invited = None,
            // The superblock still says solo, and every acknowledgement held under solo.
            OwnerMode::Joining { switch: Switch::NotYet, .. } => {
                self.mode = OwnerMode::Solo { invited: None };
                core.announce("the link is lost: the join is off, solo as before".to_owned());
                self.acknowledge_all(core);
            }
            OwnerMode::Joining { switch, .. } => *switch = Switch::Orphaned,
            OwnerMode::Mirrored { .. } => self.degrade(core),
            OwnerMode::Degrading => {}
        }
    }

    fn degrade(&mut self, core: &mut Core<D>) {
        self.mode = OwnerMode::Degrading;
        self.handing_over = false;
        let blocks = core.memory.map.blocks();
        core.announce(format!("the mirror is lost: acknowledgements held until {blocks} blocks are on the disk"));
    }

    /// The disk has everything, flushed: nothing rests on the mirror any more, and the superblock may say so.
    fn finish_degrading(&mut self, core: &mut Core<D>) {
        if self.may_record() && core.memory.map.is_empty() && self.runs.is_empty() {
            self.record(core, |next| {
                next.epoch = next.epoch.next();
                next.mirror = None;
                next.draining = false;
                next.dirty = false;
            });
        }
    }

    /// Give the unit away: what is in flight ends, then the other head gets the word. From then on this head is neither
    /// owner nor mirror until the superblock names it as one of them.
    fn hand_over(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        self.send_back_waiting(core);
        let quiet = self.pending.is_empty() && self.disk_is_quiet() && !self.growth.is_at_the_disk();
        if !quiet || self.recording.is_some() || !self.keeping.is_idle() || !self.held.is_empty() {
            return None;
        }
        let epoch = core.recorded.as_ref()?.epoch;
        self.invitations += 1;
        let tag = Tag { epoch: epoch.next(), invitation: self.invitations };
        core.memory.label = Label::Either(epoch, tag);
        core.actions.push_back(Action::StopHeartbeat);
        core.send(Message::Handover { tag, from: core.config.incarnation });
        Some(Next::Standby { why: format!("handing over to head {}", core.config.me.other()) })
    }

    /// The last of it: everything on the disk and the superblock clean, then the process may end.
    fn stop_solo(&mut self, core: &mut Core<D>) -> Option<Next<D>> {
        self.mode = OwnerMode::Solo { invited: None };
        self.handing_over = true;
        self.send_back_waiting(core);
        let quiet = self.disk_is_quiet() && !self.growth.is_at_the_disk();
        let drained = core.memory.map.is_empty() && self.pending.is_empty() && quiet;
        let clean = self.recording.is_none()
            && self.keeping.is_idle()
            && core.recorded.as_ref().is_none_or(|recorded| !recorded.draining);
        (drained && clean && self.syncs.is_empty() && self.flusher.has_nothing_to_do()).then_some(Next::Stop)
    }

    /// Whether the disk and the flushes must stand still because the unit is being given away.
    pub(super) fn handing_over_now(&self) -> bool {
        self.handing_over && matches!(self.mode, OwnerMode::Mirrored { .. })
    }

    /// The marks that do not change the mode: *dirty* before the first acknowledgement that rests on RAM, clean after a
    /// while without; *draining* until the last block of an earlier owner is on the disk.
    pub(super) fn mark_superblock(&mut self, core: &mut Core<D>) {
        let Some(recorded) = &core.recorded else { return };
        if !self.may_record() {
            return;
        }
        let quiet = core.memory.map.is_empty() && self.pending.is_empty();
        match self.mode {
            _ if self.keeping.waits() => self.record_record(core),
            _ if std::mem::take(&mut self.unrecorded) => self.record(core, |_| {}),
            OwnerMode::Mirrored { .. } if !recorded.dirty && !quiet => self.record(core, |next| next.dirty = true),
            OwnerMode::Mirrored { .. } if recorded.dirty && quiet && !self.handing_over => {
                let since = *self.idle_since.get_or_insert(core.now);
                if core.now.since(since) >= IDLE_MS {
                    self.record(core, |next| next.dirty = false);
                }
            }
            OwnerMode::Solo { .. } if recorded.draining && !core.memory.map.owes() => {
                core.announce("drained: the disk is complete".to_owned());
                self.record(core, |next| next.draining = false);
            }
            OwnerMode::Solo { .. } | OwnerMode::Joining { .. } | OwnerMode::Mirrored { .. } | OwnerMode::Degrading => {}
        }
        if !quiet {
            self.idle_since = None;
        }
    }

    /// Whether the superblock says *dirty* and is not about to say otherwise.
    pub(super) fn marked_dirty(&self, core: &Core<D>) -> bool {
        let dirty = |ownership: &Ownership| ownership.dirty;
        core.recorded.as_ref().is_some_and(dirty) && self.recording.as_ref().is_none_or(dirty)
    }

    /// Whether a superblock may be written now.
    fn may_record(&self) -> bool {
        self.recording.is_none() && !self.growth.holds_the_superblock()
    }

    /// Write the superblock. Our RAM counts for the epoch that is on its way, too: it may land and the answer be lost.
    pub(super) fn record(&mut self, core: &mut Core<D>, change: impl FnOnce(&mut Ownership)) {
        let Some(recorded) = &core.recorded else { return };
        let mut next = recorded.clone();
        change(&mut next);
        core.memory.label = Label::Owned(next.epoch);
        core.actions.push_back(Action::WriteSuperblock(next.clone()));
        self.recording = Some(next);
    }

    pub(super) fn on_recorded(&mut self, core: &mut Core<D>, result: Result<(), StorageError>) -> Option<Next<D>> {
        let next = self.recording.take()?;
        match result {
            Ok(()) => {}
            Err(StorageError::Fenced) => {
                return Some(Next::Rejoin { why: "fenced while writing the superblock".to_owned() });
            }
            Err(StorageError::Failed(why)) => {
                // It may have landed or not. Asking for the same again is right in both cases.
                core.announce(format!("writing the superblock failed, trying again: {why}"));
                self.recording = Some(next);
                self.record_again = true;
                return None;
            }
        }
        let new_epoch = core.recorded.as_ref().is_none_or(|recorded| recorded.epoch != next.epoch);
        core.recorded = Some(next.clone());
        self.on_capacity_recorded(core, next.capacity);
        self.on_record_recorded(core);
        if new_epoch {
            core.actions.push_back(Action::ChangeKey { epoch: next.epoch });
            self.on_new_mode(core);
        } else {
            self.acknowledge_all(core);
        }
        None
    }

    fn on_new_mode(&mut self, core: &mut Core<D>) {
        match self.mode {
            OwnerMode::Joining { stream, switch: Switch::InFlight, .. } => {
                core.send(Message::Joined(stream.tag));
                core.memory.map.owe_all();
                self.mode = OwnerMode::Mirrored { stream };
                core.announce(format!("mirrored in the RAM of head {}", core.config.me.other()));
            }
            OwnerMode::Joining { .. } => self.degrade(core),
            OwnerMode::Degrading => {
                self.mode = OwnerMode::Solo { invited: None };
                core.announce("solo: every write goes to the disk before it is acknowledged".to_owned());
            }
            OwnerMode::Solo { .. } | OwnerMode::Mirrored { .. } => {}
        }
        self.acknowledge_all(core);
    }

    /// The writes to the mirror, while there is one.
    pub(super) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.mode {
            // Over another link the same mirror would take new writes without having had the old ones.
            OwnerMode::Joining { switch: Switch::Orphaned, .. } => None,
            OwnerMode::Joining { stream, .. } | OwnerMode::Mirrored { stream } => Some(stream),
            OwnerMode::Solo { .. } | OwnerMode::Degrading => None,
        }
    }
}
