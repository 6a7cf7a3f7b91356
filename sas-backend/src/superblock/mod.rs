//! The small checksummed record at the end of the disk that says whose disk it is and who may serve it.
//!
//! * [`region`]: where on the disk things are.
//! * `layout`: the bytes of one copy.
//! * [`pick`]: which of the two copies counts.
//! * [`locate`]: where it is on a disk that has grown, or while it moves.
//! * [`search`]: the same without knowing where it was.
//! * [`record`]: what lies behind each copy, for the daemon.
//! * [`sectors`]: what is done to the disk for it.
//! * [`heartbeat`]: the sector in which each head shows that it lives.

use std::fmt;
use std::str::FromStr;

pub mod heartbeat;
mod identity;
mod layout;
pub mod locate;
pub mod pick;
pub mod record;
pub mod region;
pub mod search;
pub mod sectors;

pub use identity::{IQN_MAX_BYTES, Identity, IdentityError, LUN_NAME_MAX_BYTES};
pub use layout::{ParseError, SUPERBLOCK_BYTES, VERSION};
pub use record::{RECORD_MAX_BYTES, Record, RecordSum};

/// One of the two heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeadId {
    /// Head a.
    A,
    /// Head b.
    B,
}

impl HeadId {
    /// Both heads, in order.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other head of the pair.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// 0 for a, 1 for b.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

impl fmt::Display for HeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// A head is called "a" or "b", and this was neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a head is called \"a\" or \"b\", not \"{0}\"")]
pub struct NoSuchHead(String);

impl FromStr for HeadId {
    type Err = NoSuchHead;
    fn from_str(text: &str) -> Result<Self, NoSuchHead> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => Err(NoSuchHead(text.to_owned())),
        }
    }
}

/// Counts the changes of owner or of mode; only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a head draws at random when its process starts; the contents of its RAM belong to it. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(u64);

impl Incarnation {
    /// `None` for 0, which on the disk means "nobody".
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// The number, never 0.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One copy of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// What does not change after `targetctl disk init`, but for the sizes, which may grow.
    pub identity: Identity,
    /// One more with each write; the valid copy with the higher number counts.
    pub sequence: u64,
    /// One more with each change of owner or mode.
    pub epoch: Epoch,
    /// Who may serve; nobody has yet after initialisation.
    pub owner: Option<HeadId>,
    /// The incarnation in which the owner became owner.
    pub owner_incarnation: Option<Incarnation>,
    /// Whose RAM holds a copy of all that is acknowledged and not yet on the disk; `None` in solo mode.
    pub mirror: Option<Incarnation>,
    /// The owner took over with data in its RAM that is not yet all on the disk.
    pub draining: bool,
    /// Acknowledged data may exist that is not on the disk.
    pub dirty: bool,
    /// How often an operator has accepted the loss of acknowledged data.
    pub losses_accepted: u32,
    /// For later versions; carried along untouched.
    pub flags: u64,
    /// The LUN grows: so many bytes clients still see, and behind them is where this record was before it moved.
    pub growing_from: Option<u64>,
    /// The record behind this copy.
    pub record: RecordSum,
}

impl Superblock {
    /// Bytes that clients see.
    #[must_use]
    pub fn visible_bytes(&self) -> u64 {
        self.growing_from.unwrap_or(self.identity.data_bytes)
    }

    /// The record of a disk that was just initialised: epoch 0, no owner, complete.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            sequence: 1,
            epoch: Epoch(0),
            owner: None,
            owner_incarnation: None,
            mirror: None,
            draining: false,
            dirty: false,
            losses_accepted: 0,
            flags: 0,
            growing_from: None,
            record: RecordSum::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_named_a_and_b() {
        for head in HeadId::BOTH {
            assert_eq!(head.to_string().parse(), Ok(head));
            assert_eq!(head.other().other(), head);
            assert_eq!(HeadId::BOTH[head.index()], head);
        }
        assert_eq!("A".parse::<HeadId>().unwrap_err().to_string(), "a head is called \"a\" or \"b\", not \"A\"");
    }

    #[test]
    fn no_incarnation_is_zero() {
        assert_eq!(Incarnation::new(0), None);
        assert_eq!(Incarnation::new(5).map(Incarnation::get), Some(5));
        assert_eq!(Epoch(7).next(), Epoch(8));
    }
}
