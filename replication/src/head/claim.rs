//! Who may take over, and with what: the superblock and this head's RAM decide, nothing else.

use sas_backend::superblock::Record;
use sas_backend::{Epoch, HeadId, Incarnation};

use crate::block::Data;
use crate::cache::DirtyMap;
use crate::message::Tag;

/// How large the unit is.
///
/// While it grows, the superblock has moved to the new end of the disk already, and clients still see the old size: the
/// old place has to read as zeroes before it becomes part of what they see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// Blocks that clients see.
    pub blocks: u64,
    /// Blocks that they will see.
    pub growing_to: Option<u64>,
}

impl Capacity {
    /// A unit that does not grow.
    #[must_use]
    pub fn of(blocks: u64) -> Self {
        Self { blocks, growing_to: None }
    }

    /// Blocks before the superblock: where it is.
    #[must_use]
    pub fn reserved_at(self) -> u64 {
        self.growing_to.unwrap_or(self.blocks)
    }
}

/// The part of the superblock that says who owns the unit, and how large that is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ownership {
    /// Raised by every change of owner or of mode.
    pub epoch: Epoch,
    /// The owner; nobody yet on a new disk.
    pub owner: Option<HeadId>,
    /// The owner's process.
    pub owner_incarnation: Option<Incarnation>,
    /// The process that holds a copy of all that is acknowledged and not on the disk; `None`: solo.
    pub mirror: Option<Incarnation>,
    /// Solo, but RAM holds acknowledged data of an earlier owner that the disk does not have.
    pub draining: bool,
    /// Mirrored, and there may be acknowledged data that the disk does not have.
    pub dirty: bool,
    /// How often an operator accepted a loss.
    pub losses: u32,
    /// How large the unit is.
    pub capacity: Capacity,
    /// What the daemons keep for clients beside the blocks.
    pub record: Record,
}

/// This head's RAM and what it is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory<D> {
    /// What it is.
    pub label: Label,
    /// The dirty extents.
    pub map: DirtyMap<D>,
}

/// What a head's RAM may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Nothing.
    Nothing,
    /// The owner's copy of an unfinished or current join.
    Mirror(Tag),
    /// All that this head acknowledged as owner and the disk does not have, up to the last epoch that it wrote or tried
    /// to write into the superblock.
    Owned(Epoch),
    /// Between the two, while a superblock that changes the owner is on its way: as owner up to that epoch or as mirror
    /// under the tag, whichever the superblock turns out to name.
    Either(Epoch, Tag),
}

/// What a takeover rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// The superblock names this RAM as the mirror.
    Mirror,
    /// The disk is complete.
    Disk,
    /// This head was the last owner and still has its data.
    Owned,
    /// An operator goes on with what the disk has.
    AcceptedLoss,
}

impl<D> Default for Memory<D> {
    fn default() -> Self {
        Self { label: Label::Nothing, map: DirtyMap::default() }
    }
}

impl<D: Data> Memory<D> {
    /// Keep the contents only if the superblock could still want them; a higher epoch than theirs means that somebody
    /// went on without.
    pub(super) fn settle(&mut self, recorded: &Ownership) {
        if self.label.epoch().is_none_or(|newest| newest < recorded.epoch) {
            *self = Self::default();
        }
    }
}

impl Label {
    /// The newest epoch for which the contents could count.
    pub(super) fn epoch(self) -> Option<Epoch> {
        match self {
            Self::Nothing => None,
            Self::Mirror(tag) => Some(tag.epoch),
            Self::Owned(epoch) => Some(epoch),
            Self::Either(epoch, tag) => Some(epoch.max(tag.epoch)),
        }
    }
}

impl Claim {
    /// The claim that `recorded` gives to the head `me` with this RAM. The order of the rules matters: a mirror before
    /// the disk, the disk before one's own leftovers.
    pub fn find(recorded: &Ownership, label: Label, me: HeadId, incarnation: Incarnation) -> Option<Self> {
        let mirror_epoch = match label {
            Label::Mirror(tag) | Label::Either(_, tag) => Some(tag.epoch),
            Label::Nothing | Label::Owned(_) => None,
        };
        let owned_epoch = match label {
            Label::Owned(epoch) | Label::Either(epoch, _) => Some(epoch),
            Label::Nothing | Label::Mirror(_) => None,
        };
        if recorded.mirror == Some(incarnation) && mirror_epoch == Some(recorded.epoch) {
            Some(Self::Mirror)
        } else if recorded.mirror.is_none() && !recorded.draining {
            Some(Self::Disk)
        } else if recorded.owner == Some(me)
            && recorded.owner_incarnation == Some(incarnation)
            && owned_epoch.is_some_and(|last| recorded.epoch <= last)
        {
            // This very process wrote that superblock, and nobody has owned the unit since; whether the last write of
            // the superblock landed before the fence does not matter.
            Some(Self::Owned)
        } else if recorded.mirror.is_some() && !recorded.dirty {
            // Mirrored and idle: nothing was acknowledged that the disk does not have.
            Some(Self::Disk)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(number: u64) -> Incarnation {
        Incarnation::new(number).unwrap()
    }

    fn recorded(owner: HeadId, mirror: Option<Incarnation>, draining: bool, dirty: bool) -> Ownership {
        Ownership {
            epoch: Epoch(5),
            owner: Some(owner),
            owner_incarnation: Some(process(if owner == HeadId::A { 7 } else { 8 })),
            mirror,
            draining,
            dirty,
            losses: 0,
            capacity: Capacity::of(1000),
            record: Record::default(),
        }
    }

    fn tag(epoch: u64) -> Tag {
        Tag { epoch: Epoch(epoch), invitation: 1 }
    }

    #[test]
    fn the_rules_one_by_one() {
        let find = |recorded: &Ownership, label| Claim::find(recorded, label, HeadId::A, process(7));
        let mirror_is_me = recorded(HeadId::B, Some(process(7)), false, true);
        assert_eq!(find(&mirror_is_me, Label::Mirror(tag(5))), Some(Claim::Mirror));
        assert_eq!(find(&mirror_is_me, Label::Mirror(tag(6))), None, "a mirror of a join that never happened");
        assert_eq!(find(&mirror_is_me, Label::Nothing), None);
        assert_eq!(find(&mirror_is_me, Label::Either(Epoch(4), tag(5))), Some(Claim::Mirror));

        let solo = recorded(HeadId::B, None, false, false);
        assert_eq!(find(&solo, Label::Nothing), Some(Claim::Disk));
        assert_eq!(find(&recorded(HeadId::B, None, true, false), Label::Nothing), None, "draining elsewhere");

        let owner_is_me = recorded(HeadId::A, Some(process(8)), false, true);
        assert_eq!(find(&owner_is_me, Label::Owned(Epoch(5))), Some(Claim::Owned));
        assert_eq!(find(&owner_is_me, Label::Either(Epoch(5), tag(6))), Some(Claim::Owned));
        assert_eq!(find(&owner_is_me, Label::Owned(Epoch(6))), Some(Claim::Owned), "the next superblock did not land");
        assert_eq!(find(&owner_is_me, Label::Owned(Epoch(4))), None);
        assert_eq!(find(&owner_is_me, Label::Nothing), None, "a restarted owner would destroy the only copy");

        let idle = recorded(HeadId::A, Some(process(8)), false, false);
        assert_eq!(find(&idle, Label::Nothing), Some(Claim::Disk), "nothing was at stake");
    }
}
