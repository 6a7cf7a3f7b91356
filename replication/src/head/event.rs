//! What goes into a [`super::Head`] and what comes out.

use std::sync::Arc;

use sas_backend::superblock::Record;
use sas_backend::{Epoch, HeadId, Incarnation};

use super::claim::Ownership;
use crate::block::{Extent, Millis, Stretch};
use crate::message::{Message, Mode};

/// What a head is told once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Which head this is.
    pub me: HeadId,
    /// This process.
    pub incarnation: Incarnation,
    /// Whether there is another head at all.
    pub paired: bool,
    /// Which head takes over when both could.
    pub preferred: HeadId,
    /// L: how long a heartbeat or a grant allows the owner to serve.
    pub lease_ms: u64,
    /// T: how long the owner's heartbeat must stand still before the standby takes over.
    pub takeover_ms: u64,
    /// How long a drain may take; bounds what may be dirty.
    pub max_drain_ms: u64,
    /// Blocks of the unit as the superblock had it when the disk was opened.
    pub blocks: u64,
    /// Bytes of a block, for messages to people.
    pub block_bytes: u32,
    /// Blocks that may be dirty however slow the disk is.
    pub least_dirty_blocks: u64,
    /// The most blocks that may be dirty, however fast the disk is.
    pub max_dirty_blocks: u64,
    /// The largest disk write that destaging makes.
    pub max_run_blocks: u64,
}

/// Names a request of a client until it is completed; below 2^63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// Names from here on are those of requests that the other head has sent on.
const OF_PEER: u64 = 1 << 63;

impl OpId {
    pub(super) fn of_peer(number: u64) -> Self {
        Self(OF_PEER | number)
    }

    pub(super) fn is_of_peer(self) -> bool {
        self.0 >= OF_PEER
    }
}

/// Names a disk operation until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IoId(pub u64);

/// Names an order until it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub u64);

/// What a client wants of the blocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation<D> {
    /// The contents of an extent.
    Read(Extent),
    /// Whether an extent is mapped, as far from its first block on as the answer is the same, or a part of that.
    Map(Extent),
    /// New contents; a hole unmaps the blocks.
    Write {
        /// Where.
        extent: Extent,
        /// What.
        data: D,
        /// Force unit access: not acknowledged from a volatile disk cache.
        fua: bool,
    },
    /// New contents, if the old ones are as they should be; nothing else happens to the blocks in between.
    CompareAndWrite {
        /// Where.
        extent: Extent,
        /// What is expected, and behind it as many blocks of what to write.
        data: D,
        /// As for a write.
        fua: bool,
    },
    /// The old contents with these bits set as well; nothing else happens to the blocks in between.
    Or {
        /// Where.
        extent: Extent,
        /// Which bits.
        data: D,
        /// As for a write.
        fua: bool,
    },
    /// Everything acknowledged so far survives (SYNCHRONIZE CACHE).
    Flush,
    /// A standby's client wants something that the owner's daemon has to decide, in words that mean nothing here.
    Ask(Arc<[u8]>),
}

impl<D> Operation<D> {
    /// The blocks that it reads or changes.
    pub(super) fn extent(&self) -> Option<Extent> {
        match self {
            Self::Read(extent)
            | Self::Map(extent)
            | Self::Write { extent, .. }
            | Self::CompareAndWrite { extent, .. }
            | Self::Or { extent, .. } => Some(*extent),
            Self::Flush | Self::Ask(_) => None,
        }
    }
}

/// An operation with its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request<D> {
    /// The name under which it is completed.
    pub op: OpId,
    /// What to do.
    pub operation: Operation<D>,
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// An operator: this head shall be the owner.
    Own(HeadId),
    /// A client, by SET TARGET PORT GROUPS: this head shall be the owner. Refused while the unit has just moved: a client
    /// that asks on all of its paths at once, or several that do not see the same heads, would throw it to and fro.
    Prefer(HeadId),
    /// Go on without the acknowledged data that both heads have lost.
    AcceptLoss,
    /// The disk has grown under both heads: let the unit grow likewise.
    Grow,
}

/// Why a step with the superblock or the reservations failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum StorageError {
    /// This head's registration is gone.
    #[error("this head's registration on the disk is gone")]
    Fenced,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Why a disk operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoError {
    /// This head's registration is gone.
    Fenced,
    /// These blocks cannot be read or written.
    Medium,
    /// A thin disk is full.
    NoSpace,
    /// The path to the disk does not work.
    Path,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event<D> {
    /// The process has started; the disk is open.
    Start,
    /// Some time has passed; at least every quarter of the lease.
    Tick,
    /// A client wants something.
    Request(Request<D>),
    /// A client no longer wants something. What has not begun is completed as not served; what has begun, as ever.
    Cancel(OpId),
    /// The daemon of the owner has come to a new record: [`Outcome::Done`] says that it is on the disk, that the other head
    /// goes by it if it forwards, and that nothing is under way any more that this head had let in by an earlier one. One at a
    /// time.
    SetRecord {
        /// The name under which it is completed.
        op: OpId,
        /// The record.
        record: Record,
    },
    /// The daemon of the owner lets nothing in for clients and waits until all that it had let in is over and on the disk
    /// itself, whatever the other head's RAM has: [`Outcome::Done`] says so.
    Drain {
        /// The name under which it is completed.
        op: OpId,
    },
    /// The daemon answers [`Action::Ask`].
    Answered {
        /// As it was asked.
        op: OpId,
        /// In words that mean nothing here.
        answer: Arc<[u8]>,
    },
    /// The other head says something.
    Message(Message<D>),
    /// The link for this unit is up.
    LinkUp {
        /// The other head's process.
        peer: Incarnation,
    },
    /// The link for this unit is down.
    LinkDown,
    /// A disk operation has ended; a read brings its data.
    Disk {
        /// Which.
        id: IoId,
        /// How.
        result: Result<Option<D>, IoError>,
    },
    /// A [`DiskCommand::Map`] has ended well.
    Mapped {
        /// Which.
        id: IoId,
        /// What the disk has from the first block on.
        stretch: Stretch,
    },
    /// [`Action::ReadSuperblock`] has ended.
    SuperblockRead(Result<Ownership, StorageError>),
    /// [`Action::WriteSuperblock`] has ended.
    SuperblockWritten(Result<(), StorageError>),
    /// [`Action::Register`] or [`Action::ChangeKey`] has ended.
    Registered(Result<(), StorageError>),
    /// [`Action::Measure`] has ended: so many blocks would the unit have.
    Measured(Result<u64, StorageError>),
    /// [`Action::ClearOldPlace`] has ended.
    OldPlaceCleared(Result<(), StorageError>),
    /// [`Action::Fence`] has ended. `gone`: it is certain that the other head's process does not live.
    FenceDone(Result<bool, StorageError>),
    /// A heartbeat that was begun then is on the disk.
    Heartbeat {
        /// When the write was begun.
        started: Millis,
    },
    /// The other head's heartbeat was read.
    PeerHeartbeat {
        /// When the read was begun.
        started: Millis,
        /// Its process and its count; `None` when there never was one.
        beat: Option<(Incarnation, u64)>,
    },
    /// The disk refused something because this head's registration is gone.
    Conflict,
    /// Somebody orders something.
    Order {
        /// Under which name it is answered.
        id: OrderId,
        /// What.
        order: Order,
    },
    /// So many sessions of initiators use this head now: something to show, nothing depends on it.
    Sessions(u32),
    /// Another head is to take over from now on when both could.
    Preferred(HeadId),
    /// The daemon has changed what it keeps in the superblock beside the ownership: an owner writes it once more.
    RecordAgain,
    /// The process is to end, or to let go of the unit: hand over, or drain.
    Shutdown,
}

/// One operation for the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskCommand<D> {
    /// Bring the contents.
    Read(Extent),
    /// Write the pieces one after the other from the first block of the extent on; none of them is a hole.
    Write(Extent, Vec<D>),
    /// Make a hole of it.
    Deallocate(Extent),
    /// Say whether it is mapped; [`Event::Mapped`] brings the answer if there is one.
    Map(Extent),
    /// Everything written before is durable when this is done.
    Flush,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<D> {
    /// A write or a flush is done, and safe.
    Done,
    /// The contents, in order.
    Data(Vec<D>),
    /// Whether the first so many blocks are mapped.
    Map(Stretch),
    /// This head does not serve (any more); nothing has happened.
    NotServing,
    /// The blocks are not as expected, from this byte on; nothing has happened.
    Miscompare(u64),
    /// The disk failed.
    Failed(IoError),
    /// What the owner's daemon has answered.
    Answer(Arc<[u8]>),
}

/// What clients of this head are told about the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// This head serves.
    Serving,
    /// The other head serves, and this one sends on to it what its clients want.
    Forwarding,
    /// The other head serves.
    Standby,
    /// That is being decided: hold the commands.
    Changing,
    /// Nobody can serve.
    Unavailable,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action<D> {
    /// Answer a request.
    Complete {
        /// Which.
        op: OpId,
        /// How it ended.
        outcome: Outcome<D>,
    },
    /// Give an operation to the disk.
    Disk {
        /// Its name.
        id: IoId,
        /// The operation.
        command: DiskCommand<D>,
    },
    /// Read the superblock.
    ReadSuperblock,
    /// Flush the disk, write the superblock, flush again: behind the blocks that clients see; if the unit is growing, then
    /// also behind those that they will see, where it is from then on. Until the first place is cleared, whoever finds one
    /// of the two finds both.
    WriteSuperblock(Ownership),
    /// Look how large this head's path shows the disk.
    Measure,
    /// Write zeroes where the superblock was before it moved, and flush.
    ClearOldPlace,
    /// Register with the disk under the key of this head, this process and this epoch, instead of any earlier key.
    Register {
        /// The epoch in the key.
        epoch: Epoch,
    },
    /// Change the key of this head's registration to that of the epoch, *if it is still registered*. An owner that
    /// registered without that condition would undo its own fence.
    ChangeKey {
        /// The epoch in the key.
        epoch: Epoch,
    },
    /// Change the key likewise, take every other registration off the disk, and check that it is gone.
    Fence {
        /// The epoch in the key.
        epoch: Epoch,
    },
    /// Write a heartbeat at least every quarter of the lease.
    StartHeartbeat {
        /// The epoch that it names.
        epoch: Epoch,
    },
    /// No more.
    StopHeartbeat,
    /// Read the other head's heartbeat at least every quarter of the lease, or stop doing so.
    WatchPeer(bool),
    /// Tell the other head.
    Send(Message<D>),
    /// Open the link for this unit.
    OpenLink,
    /// Close the link for this unit, with everything queued on it in either direction.
    CloseLink,
    /// Clients are told this from now on. *Serving* and *forwarding* also mean: what they sent before is answered
    /// unexecuted.
    SetAccess(Access),
    /// Clients of the owner are told from now on whether the other head sends on what its clients want.
    SetOtherForwards(bool),
    /// Clients see so many blocks from now on, and are told that it has changed.
    SetBlocks(u64),
    /// The daemon goes by this record from now on. It comes before *serving*, and before *forwarding* again.
    SetRecord(Record),
    /// A client of the other head wants something: the daemon decides, and answers with [`Event::Answered`].
    Ask {
        /// Under which name.
        op: OpId,
        /// What.
        question: Arc<[u8]>,
    },
    /// End every session that uses this unit, without another answer.
    CloseSessions,
    /// Answer an order.
    OrderDone {
        /// Which.
        id: OrderId,
        /// How it ended, in words.
        result: Result<(), String>,
    },
    /// One line for the log: the role changes, and why.
    Announce(String),
    /// Nothing more to do; the process may end.
    Stopped,
}

/// What the status display shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who serves, as far as this head knows.
    pub owner: Option<HeadId>,
    /// The owner's mode, as far as this head knows.
    pub mode: Option<Mode>,
    /// What clients of this head are told.
    pub access: Access,
    /// The epoch in the superblock.
    pub epoch: Epoch,
    /// Blocks in the owner's RAM that the disk does not have for good.
    pub dirty_blocks: u64,
    /// Blocks that this head keeps for the owner.
    pub mirror_blocks: u64,
    /// Whether the other head is connected.
    pub link_up: bool,
    /// Sessions of initiators with the other head, while it is connected.
    pub peer_sessions: Option<u32>,
    /// Why it is so.
    pub reason: String,
}
