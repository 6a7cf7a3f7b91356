//! What both heads say, and what is expected of them.

use std::fmt;

use iscsi_target::daemon::config::HeadName;
use iscsi_target::daemon::status::{LunStatus, Mode, Status};

use crate::status::words;

const HEADS: [HeadName; 2] = [HeadName::A, HeadName::B];

/// The last word of each head; none of a head that does not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) a: Option<Status>,
    pub(super) b: Option<Status>,
}

/// A state that the heads are expected to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Both answer, agree, and mirror each other.
    Mirrored,
    /// And a client is connected to both: one that is not would answer a handover by asking for the disk back.
    Ready,
    /// Mirrored, under this owner.
    MirroredBy(HeadName),
    /// This head serves, in a later epoch than this.
    ServedBy(HeadName, u64),
    /// This head serves alone and the disk has everything, in a later epoch than this.
    SoloBy(HeadName, u64),
}

impl Seen {
    pub(super) fn of(&self, head: HeadName) -> Option<&Status> {
        match head {
            HeadName::A => self.a.as_ref(),
            HeadName::B => self.b.as_ref(),
        }
    }

    fn lun(&self, head: HeadName) -> Option<&LunStatus> {
        self.of(head)?.luns.first()
    }

    /// What `head` says while it says that it serves.
    fn served(&self, head: HeadName) -> Option<&LunStatus> {
        self.lun(head)
            .filter(|lun| lun.owner == Some(head) && !matches!(lun.mode, Mode::Unavailable | Mode::HandingOver))
    }

    /// The head that says that it serves.
    pub(super) fn owner(&self) -> Option<HeadName> {
        HEADS.into_iter().find(|head| self.served(*head).is_some())
    }

    /// The highest that any of them knows.
    pub(super) fn epoch(&self) -> u64 {
        HEADS.into_iter().filter_map(|head| self.lun(head)).map(|lun| lun.epoch).max().unwrap_or(0)
    }

    /// The status to show: of the owner if it answers, else of whoever does.
    pub(super) fn best(&self) -> Option<&Status> {
        self.owner().and_then(|owner| self.of(owner)).or(self.a.as_ref()).or(self.b.as_ref())
    }

    pub(super) fn meets(&self, goal: &Goal) -> bool {
        match *goal {
            Goal::Mirrored => self.mirrored_by().is_some(),
            Goal::Ready => self.mirrored_by().is_some() && HEADS.into_iter().all(|head| self.has_client(head)),
            Goal::MirroredBy(head) => self.mirrored_by() == Some(head),
            Goal::ServedBy(head, epoch) => self.served(head).is_some_and(|lun| lun.epoch > epoch),
            Goal::SoloBy(head, epoch) => {
                self.served(head).is_some_and(|lun| lun.epoch > epoch && lun.mode == Mode::Solo)
            }
        }
    }

    fn has_client(&self, head: HeadName) -> bool {
        let heads = self.of(head).map_or(&[][..], |status| &status.heads);
        heads.iter().any(|status| status.name == head && status.sessions > 0)
    }

    /// The owner of a pair in which everything is as it should be.
    fn mirrored_by(&self) -> Option<HeadName> {
        let owner = self.owner()?;
        let (owns, mirrors) = (self.served(owner)?, self.lun(owner.other())?);
        let is_mirrored = |lun: &LunStatus| lun.mode == Mode::Mirrored && lun.owner == Some(owner);
        (is_mirrored(owns) && is_mirrored(mirrors) && owns.epoch == mirrors.epoch).then_some(owner)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = HEADS.map(|head| match self.of(head) {
            Some(status) => format!("head {head} says \"{}\"", words(status).join("; ")),
            None => format!("head {head} does not answer"),
        });
        f.write_str(&said.join(", "))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mirrored => f.write_str("the heads mirror each other"),
            Self::Ready => f.write_str("the heads mirror each other and the client is connected to both"),
            Self::MirroredBy(head) => write!(f, "head {head} serves and is mirrored"),
            Self::ServedBy(head, epoch) => write!(f, "head {head} serves in an epoch after {epoch}"),
            Self::SoloBy(head, epoch) => write!(f, "head {head} serves alone in an epoch after {epoch}"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use iscsi_target::daemon::status::{HeadStatus, VERSION};

    use super::*;

    /// What `head` says.
    pub(in crate::demo) fn status(head: HeadName, owner: Option<HeadName>, mode: Mode, epoch: u64) -> Status {
        let lun = LunStatus {
            id: 0,
            name: "demo".to_owned(),
            owner,
            mode,
            protected_by: "the disk".to_owned(),
            epoch,
            dirty_bytes: 0,
            mirror_bytes: 0,
            size_bytes: 1 << 30,
            sessions: BTreeMap::new(),
            reason: None,
            sanitize: None,
            differs: Vec::new(),
        };
        Status { version: VERSION, target: "iqn".to_owned(), head, heads: Vec::new(), luns: vec![lun], link: None }
    }

    fn seen(owner: Option<HeadName>, mode: Mode, epochs: [u64; 2]) -> Seen {
        let [a, b] = epochs;
        Seen { a: Some(status(HeadName::A, owner, mode, a)), b: Some(status(HeadName::B, owner, mode, b)) }
    }

    #[test]
    fn mirrored_is_what_both_say() {
        let both = seen(Some(HeadName::B), Mode::Mirrored, [5, 5]);
        assert!(both.meets(&Goal::Mirrored) && both.meets(&Goal::MirroredBy(HeadName::B)));
        assert!(!both.meets(&Goal::MirroredBy(HeadName::A)));
        assert!(!seen(Some(HeadName::B), Mode::Mirrored, [5, 6]).meets(&Goal::Mirrored), "one is behind");
        assert!(!seen(None, Mode::Mirrored, [5, 5]).meets(&Goal::Mirrored));
        assert!(!Seen { a: None, ..both }.meets(&Goal::Mirrored));
        assert!(!seen(Some(HeadName::A), Mode::Joining, [5, 5]).meets(&Goal::Mirrored));
    }

    #[test]
    fn a_client_has_to_be_connected_to_both() {
        let with_client = |head: HeadName, sessions| {
            let mut status = status(head, Some(HeadName::A), Mode::Mirrored, 5);
            let counted = |name, sessions| HeadStatus {
                name,
                up: true,
                incarnation: None,
                portals: Vec::new(),
                sessions,
                addresses: Vec::new(),
            };
            // What a head says of the other one does not count.
            status.heads = vec![counted(head, sessions), counted(head.other(), 1)];
            Some(status)
        };
        let seen = |a, b| Seen { a: with_client(HeadName::A, a), b: with_client(HeadName::B, b) };
        assert!(seen(1, 1).meets(&Goal::Ready));
        assert!(!seen(1, 0).meets(&Goal::Ready) && !seen(0, 1).meets(&Goal::Ready));
    }

    #[test]
    fn a_takeover_is_a_later_epoch() {
        let alone = Seen { b: Some(status(HeadName::B, Some(HeadName::B), Mode::Draining, 6)), a: None };
        assert!(alone.meets(&Goal::ServedBy(HeadName::B, 5)) && !alone.meets(&Goal::ServedBy(HeadName::B, 6)));
        assert!(!alone.meets(&Goal::SoloBy(HeadName::B, 5)), "not everything is on the disk");
        assert!(!alone.meets(&Goal::ServedBy(HeadName::A, 5)));
        assert_eq!((alone.owner(), alone.epoch()), (Some(HeadName::B), 6));
    }

    #[test]
    fn in_words() {
        let alone = Seen { b: Some(status(HeadName::B, Some(HeadName::B), Mode::Solo, 6)), a: None };
        assert_eq!(
            alone.to_string(),
            "head a does not answer, head b says \"demo: solo, owner b, protected by the disk, nothing to destage, epoch 6\""
        );
        assert_eq!(Goal::ServedBy(HeadName::A, 3).to_string(), "head a serves in an epoch after 3");
    }
}
