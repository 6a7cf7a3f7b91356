//! What the heads tell each other about one logical unit.
//!
//! The link delivers messages in order or not at all, and never one from an earlier connection.

use std::sync::Arc;

use sas_backend::superblock::Record;
use sas_backend::{Epoch, Incarnation};

use crate::block::{Extent, Millis, Stretch};
use crate::cache::Version;
use crate::head::{IoError, Operation};

/// Names one filling of a mirror. The epoch is the one in which the mirror will count; an invitation that is repeated
/// has the same epoch and another number, so that confirmations of the earlier one are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// The epoch from which on a claim may rest on this mirror.
    pub epoch: Epoch,
    /// Counts the invitations of the owner.
    pub invitation: u64,
}

/// What a head does for a logical unit, as its peer needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerRole {
    /// Not ready: it has not read the superblock yet.
    Starting,
    /// Not the owner.
    Standby {
        /// Whether the superblock would let it take over; `None` until it has looked.
        claim: Option<bool>,
    },
    /// On its way to becoming the owner, or being one that gives up.
    Changing,
    /// It serves.
    Owner(Mode),
}

/// The owner's mode: what an acknowledgement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The disk.
    Solo,
    /// The disk, while RAM still holds acknowledged data of an earlier owner.
    Draining,
    /// The disk and the mirror that is being filled.
    Joining,
    /// The mirror.
    Mirrored,
    /// Nothing: acknowledgements are held until the disk has everything.
    Degrading,
    /// The mirror, for what is still in flight.
    HandingOver,
}

/// A summary for the other head's status display and for its decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerState {
    /// What it does.
    pub role: PeerRole,
    /// The epoch it knows of.
    pub epoch: Epoch,
    /// Blocks that its disk writes still owe.
    pub dirty_blocks: u64,
    /// Sessions of initiators with it.
    pub sessions: u32,
    /// Blocks that its clients see.
    pub blocks: u64,
}

/// How a request ended that a standby has sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forwarded {
    /// A write or a flush is done, and safe.
    Done,
    /// The contents were sent before, piece by piece.
    Data,
    /// Whether the first so many blocks are mapped.
    Map(Stretch),
    /// Nothing has happened: not the owner (any more), or it was too old.
    NotServing,
    /// Nothing has happened: the blocks are not as expected, from this byte on.
    Miscompare(u64),
    /// The disk failed.
    Failed(IoError),
}

/// The longest question or answer of one daemon to the other, in bytes.
pub const WORDS_MAX_BYTES: usize = 60 << 10;

/// One message about one logical unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<D> {
    /// Sent when the link comes up and at every change.
    State(PeerState),
    /// Owner: empty your mirror, tag it, register with the disk.
    Invite(Tag),
    /// Standby: done.
    Accepted(Tag),
    /// Owner: keep this. `position` counts the writes sent under this tag.
    Write {
        /// The filling it belongs to.
        tag: Tag,
        /// Its place in the stream, from 1.
        position: u64,
        /// The version of the write.
        version: Version,
        /// Where.
        extent: Extent,
        /// What.
        data: D,
    },
    /// Mirror: everything up to this position is in RAM.
    Confirmed {
        /// The filling it belongs to.
        tag: Tag,
        /// The last position.
        position: u64,
    },
    /// Owner: the disk has this for good; drop what is of this version or older.
    Release {
        /// The filling it belongs to.
        tag: Tag,
        /// Where.
        extent: Extent,
        /// The newest version that may go.
        version: Version,
    },
    /// Owner: the superblock names you as mirror under this tag.
    Joined(Tag),
    /// Owner: everything is in your RAM and I have stopped; write yourself into the superblock, and me as your mirror.
    Handover {
        /// The tag that my RAM carries as your mirror.
        tag: Tag,
        /// My incarnation.
        from: Incarnation,
    },
    /// New owner: the superblock says so.
    TookOver(Tag),
    /// Standby: a client or an operator wants me to be the owner.
    RequestHandover,
    /// Owner: may I serve until `sent` plus the lease? (my clock)
    LeaseRequest {
        /// When this was sent, on the owner's clock.
        sent: Millis,
    },
    /// Standby: yes; I have not begun to take over.
    LeaseGrant {
        /// As in the request.
        sent: Millis,
    },
    /// Owner: how large does your path show the disk?
    Measure,
    /// Standby: so many blocks would the unit have.
    Measured {
        /// Blocks before the place of the superblock.
        blocks: u64,
    },
    /// Owner: the superblock has moved; look at its new place from now on.
    Follow {
        /// Blocks before it.
        blocks: u64,
    },
    /// Standby: it is there, and nothing of this head is under way to the old place.
    Followed {
        /// As in the request.
        blocks: u64,
    },
    /// Standby: a client of mine wants this.
    Forward {
        /// Its name.
        number: u64,
        /// The newest that I have heard of your clock: a bound for how long this has been on its way.
        heard: Millis,
        /// What it wants.
        operation: Operation<D>,
    },
    /// Standby: it does not want that any more.
    CancelForwarded {
        /// Which.
        number: u64,
    },
    /// Owner: the next part of what a client of yours reads.
    Returned {
        /// Which.
        number: u64,
        /// The contents.
        data: D,
    },
    /// Owner: this is what became of it.
    Forwarded {
        /// Which.
        number: u64,
        /// How it ended.
        end: Forwarded,
    },
    /// Owner: my daemon has decided.
    Answer {
        /// Which.
        number: u64,
        /// At most [`WORDS_MAX_BYTES`].
        answer: Arc<[u8]>,
    },
    /// Owner: go by this from now on.
    Record {
        /// Counts these messages.
        number: u64,
        /// What the superblock on the disk says.
        record: Record,
    },
    /// Standby: I do.
    RecordKnown {
        /// As it was numbered.
        number: u64,
    },
}
