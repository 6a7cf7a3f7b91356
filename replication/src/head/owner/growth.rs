//! The unit grows, because the disk has.
//!
//! The superblock is at the end of the disk, so it has to move, and where it was becomes data of clients. In this order:
//!
//! 1. **Measure**: both heads' paths show the disk with its new size. A head whose path does not would look for the
//!    superblock where it no longer is.
//! 2. **Move**: a superblock that names both places is written to the old one, then to the new one. Nothing else in it
//!    changes, so a takeover that finds the record just before, and one that finds it just after, rest on the same claim;
//!    neither mode nor epoch takes part. Clients still see the old size.
//! 3. **Settle**: the other head has seen the superblock at its new place and has nothing under way to the old one; or,
//!    if there is none, it is taken off the disk, so that nothing of it can arrive there any more.
//! 4. **Clear**: the old place reads as zeroes.
//! 5. **Finish**: the superblock says so, and from then on everybody sees the new size.
//!
//! Whoever becomes the owner in between finds in the superblock that it has to go on at step 3.

use super::{Owner, OwnerMode};
use crate::block::Data;
use crate::head::claim::Capacity;
use crate::head::event::{Action, StorageError};
use crate::head::{Core, Next};
use crate::message::Message;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// Nowhere.
    None,
    /// The paths are being measured: this head's and, `with_peer`, the other one's.
    Measuring { with_peer: bool, mine: Option<u64>, theirs: Option<u64> },
    /// A superblock that moves is being written.
    Moving,
    /// The other head has to follow, `asked` to do so over the present link; or to be taken off the disk.
    Settling { asked: bool },
    /// It is being taken off the disk.
    Fencing,
    /// Nobody else looks at the old place any more.
    Settled,
    /// It is being cleared. A superblock that was written meanwhile would go there, too: it has to wait.
    Clearing,
    /// That did not work: again at the next tick.
    ClearAgain,
    /// It reads as zeroes: the superblock may say so.
    Cleared,
    /// It is being written.
    Finishing,
}

/// With whom the unit can grow now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Company {
    /// A mirror that is connected.
    Mirror,
    /// There is no other head to be heard.
    Nobody,
}

impl Growth {
    /// Whether something is under way to the disk that must have ended before another head may own the unit.
    pub(super) fn is_at_the_disk(self) -> bool {
        matches!(self, Self::Fencing | Self::Clearing)
    }

    /// What the other head has said or was asked belongs to the link.
    pub(super) fn on_link_down(&mut self) {
        match self {
            Self::Measuring { .. } => *self = Self::None,
            Self::Settling { asked } => *asked = false,
            _ => {}
        }
    }

    pub(super) fn on_tick(&mut self) {
        if *self == Self::ClearAgain {
            *self = Self::Settling { asked: false };
        }
    }

    /// Whether a superblock would undo what is being done.
    pub(super) fn holds_the_superblock(self) -> bool {
        matches!(self, Self::Clearing | Self::Cleared)
    }

    fn waits_for(self) -> &'static str {
        match self {
            Self::None => "the other head has to be mirrored or gone first",
            Self::Measuring { .. } => "a path does not tell its size",
            Self::Moving | Self::Finishing => "the superblock is being written",
            Self::Settling { .. } => "the other head has not followed the superblock to its new place yet",
            Self::Fencing => "the other head is being taken off the disk",
            Self::Settled | Self::Clearing | Self::ClearAgain | Self::Cleared => {
                "the old place of the superblock is being cleared"
            }
        }
    }
}

impl<D: Data> Owner<D> {
    /// Take the next step if it can be taken now.
    pub(super) fn grow(&mut self, core: &mut Core<D>) {
        let Some(capacity) = core.recorded.as_ref().map(|recorded| recorded.capacity) else { return };
        match self.growth {
            Growth::None if capacity.growing_to.is_some() => self.growth = Growth::Settling { asked: false },
            Growth::None if !core.growth_orders.is_empty() => self.measure(core),
            Growth::Measuring { with_peer, mine: Some(mine), theirs } if theirs.is_some() || !with_peer => {
                self.judge(core, with_peer, mine, theirs.unwrap_or(mine));
            }
            Growth::Settling { asked: false } => self.settle(core, capacity),
            Growth::Settled if self.recording.is_none() => {
                self.growth = Growth::Clearing;
                core.actions.push_back(Action::ClearOldPlace);
            }
            Growth::Cleared if self.recording.is_none() => {
                self.growth = Growth::Finishing;
                self.record(core, |next| next.capacity = Capacity::of(capacity.reserved_at()));
            }
            _ => {}
        }
    }

    fn company(&self, core: &Core<D>) -> Option<Company> {
        match self.mode {
            _ if self.handing_over => None,
            OwnerMode::Mirrored { .. } => Some(Company::Mirror),
            OwnerMode::Solo { .. } if core.peer.is_none() => Some(Company::Nobody),
            OwnerMode::Solo { .. } | OwnerMode::Joining { .. } | OwnerMode::Degrading => None,
        }
    }

    fn measure(&mut self, core: &mut Core<D>) {
        let Some(company) = self.company(core) else { return };
        let with_peer = company == Company::Mirror;
        self.growth = Growth::Measuring { with_peer, mine: None, theirs: None };
        core.actions.push_back(Action::Measure);
        if with_peer {
            core.send(Message::Measure);
        }
    }

    pub(super) fn on_measured(&mut self, core: &mut Core<D>, result: Result<u64, StorageError>) {
        let Growth::Measuring { mine, .. } = &mut self.growth else { return };
        match result {
            Ok(blocks) => *mine = Some(blocks),
            Err(error) => {
                self.growth = Growth::None;
                core.end_growth_orders(&Err(format!("the size of the disk is not to be had: {error}")));
            }
        }
    }

    pub(super) fn on_peer_measured(&mut self, blocks: u64) {
        if let Growth::Measuring { with_peer: true, theirs, .. } = &mut self.growth {
            *theirs = Some(blocks);
        }
    }

    /// Both paths are measured: move the superblock, or say why not.
    fn judge(&mut self, core: &mut Core<D>, with_peer: bool, mine: u64, theirs: u64) {
        let same_company = self.company(core).is_some_and(|company| with_peer == (company == Company::Mirror));
        if core.growth_orders.is_empty() || !same_company {
            self.growth = Growth::None;
            return;
        }
        if let Some(why) = reason_against(core, mine, theirs) {
            self.growth = Growth::None;
            core.end_growth_orders(&Err(why));
        } else if self.recording.is_none() {
            self.growth = Growth::Moving;
            let blocks = core.blocks;
            core.announce(format!("growing from {} to {}", size(core, blocks), size(core, mine)));
            self.record(core, |next| next.capacity.growing_to = Some(mine));
        }
    }

    fn settle(&mut self, core: &mut Core<D>, capacity: Capacity) {
        match self.company(core) {
            Some(Company::Mirror) => {
                self.growth = Growth::Settling { asked: true };
                core.send(Message::Follow { blocks: capacity.reserved_at() });
            }
            Some(Company::Nobody) if core.config.paired => {
                // An owner has a claim, and nobody is its mirror: what is taken off the disk is nothing but a standby.
                let Some(epoch) = core.recorded.as_ref().map(|recorded| recorded.epoch) else { return };
                self.growth = Growth::Fencing;
                core.actions.push_back(Action::Fence { epoch });
            }
            Some(Company::Nobody) => self.growth = Growth::Settled,
            None => {}
        }
    }

    pub(super) fn on_followed(&mut self, core: &Core<D>, blocks: u64) {
        let capacity = core.recorded.as_ref().map(|recorded| recorded.capacity.reserved_at());
        if self.growth == (Growth::Settling { asked: true }) && capacity == Some(blocks) {
            self.growth = Growth::Settled;
        }
    }

    pub(super) fn on_fenced_off(&mut self, core: &mut Core<D>, result: Result<(), StorageError>) -> Option<Next<D>> {
        if self.growth != Growth::Fencing {
            return None;
        }
        match result {
            Ok(()) => self.growth = Growth::Settled,
            Err(StorageError::Fenced) => {
                return Some(Next::Rejoin { why: "fenced while the unit was growing".to_owned() });
            }
            Err(StorageError::Failed(why)) => {
                core.announce(format!("the other head cannot be taken off the disk, trying again: {why}"));
                self.growth = Growth::ClearAgain;
            }
        }
        None
    }

    pub(super) fn on_cleared(&mut self, core: &mut Core<D>, result: Result<(), StorageError>) -> Option<Next<D>> {
        if self.growth != Growth::Clearing {
            return None;
        }
        match result {
            Ok(()) => self.growth = Growth::Cleared,
            Err(StorageError::Fenced) => {
                return Some(Next::Rejoin { why: "fenced while the unit was growing".to_owned() });
            }
            Err(StorageError::Failed(why)) => {
                core.announce(format!("the old place of the superblock cannot be cleared, trying again: {why}"));
                self.growth = Growth::ClearAgain;
            }
        }
        None
    }

    /// The superblock says `capacity` now.
    pub(super) fn on_capacity_recorded(&mut self, core: &mut Core<D>, capacity: Capacity) {
        core.set_blocks(capacity.blocks);
        match self.growth {
            Growth::Moving => self.growth = Growth::Settling { asked: false },
            Growth::Finishing => {
                self.growth = Growth::None;
                core.announce(format!("grown to {}", size(core, capacity.blocks)));
                core.end_growth_orders(&Ok(()));
            }
            _ => {}
        }
    }

    /// Nobody waits for ever. What has not begun does not begin any more; what has begun goes on.
    pub(in crate::head) fn end_overdue_growth_orders(&mut self, core: &mut Core<D>) {
        let now = core.now;
        if core.growth_orders.iter().all(|(_, end)| now < *end) {
            return;
        }
        let (overdue, waiting) = std::mem::take(&mut core.growth_orders).into_iter().partition(|(_, end)| now >= *end);
        core.growth_orders = overdue;
        let begun = !matches!(self.growth, Growth::None | Growth::Measuring { .. });
        let end = if begun { "; it goes on by itself" } else { "" };
        core.end_growth_orders(&Err(format!("not grown in time: {}{end}", self.growth.waits_for())));
        if matches!(self.growth, Growth::Measuring { .. }) {
            self.growth = Growth::None;
        }
        core.growth_orders = waiting;
    }
}

/// Why the unit cannot have the size that the paths show.
fn reason_against<D>(core: &Core<D>, mine: u64, theirs: u64) -> Option<String> {
    let (me, other) = (core.config.me, core.config.me.other());
    let rescan = |head, blocks| {
        format!(
            "head {head}'s path to the disk still shows it smaller, with room for {} only: rescan the disk there, \
             then try again",
            size(core, blocks)
        )
    };
    if mine < core.blocks || theirs < core.blocks {
        let (head, least) = if mine < core.blocks { (me, mine) } else { (other, theirs) };
        let (least, now) = (size(core, least), size(core, core.blocks));
        Some(format!(
            "the disk has become smaller: at head {head} it has room for {least}, and the LUN has {now}; a LUN can only \
             grow. Make the disk as large as it was"
        ))
    } else if theirs < mine {
        Some(rescan(other, theirs))
    } else if mine < theirs {
        Some(rescan(me, mine))
    } else if mine == core.blocks {
        Some(format!(
            "the disk has not grown: it has room for {}, which the LUN has already; grow it by 4 MiB at least, and \
             rescan it on both heads",
            size(core, mine)
        ))
    } else {
        None
    }
}

fn size<D>(core: &Core<D>, blocks: u64) -> String {
    let bytes = u128::from(blocks) * u128::from(core.config.block_bytes);
    format!("{} MiB", bytes >> 20)
}
