//! SCSI as a logical unit sees it: commands in, answers out. Knows no transport, no disk and no clock.

pub mod attention;
pub mod block;
pub mod capacity;
pub mod config;
pub mod copy;
pub mod decode;
pub mod defects;
pub mod inquiry;
pub mod log;
pub mod lun;
pub mod mask;
pub mod medium;
pub mod missing_lun;
pub mod mode;
pub mod opcodes;

pub mod port_groups;
pub mod protection;
pub mod provisioning;
pub mod report_luns;
pub mod report_opcodes;
pub mod reservation;
pub mod sanitize;
pub mod sense;
pub mod shared;
pub mod unit;
pub mod vpd;

use sas_backend::buffer::Payload;

use crate::scsi::attention::Attention;
use crate::scsi::sense::Sense;

/// An I_T nexus: one initiator port logged in to one target port. Never used twice while the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NexusId(pub u64);

/// Who is at the other end of a nexus: what a TransportID names (SPC-4 7.6.4.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InitiatorPort {
    /// The iSCSI name.
    pub name: String,
    /// The initiator session id (RFC 7143 11.12.5).
    pub isid: [u8; 6],
}

/// How a command may be ordered among others (SAM-5 8.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TaskAttribute {
    /// May be reordered with other simple commands.
    #[default]
    Simple,
    /// After everything received before it, before everything received after it.
    Ordered,
    /// Before everything that has not started.
    HeadOfQueue,
    /// Auto contingent allegiance; not supported.
    Aca,
}

/// One command with all of its Data-Out.
#[derive(Clone, Debug)]
pub struct Command {
    /// Where it came from.
    pub nexus: NexusId,
    /// As sent; 16 bytes, or more with the additional CDB of an extended command.
    pub cdb: Vec<u8>,
    /// Ordering.
    pub attribute: TaskAttribute,
    /// What the initiator sent; `None` when it sent nothing.
    pub data_out: Option<Payload>,
    /// Bytes of Data-In that the initiator has room for.
    pub data_in_max: u32,
}

/// Data for the initiator.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DataIn {
    /// No data.
    #[default]
    None,
    /// Parameter data made by us.
    Parameters(Vec<u8>),
    /// Blocks, in order.
    Blocks(Vec<Payload>),
}

/// The status byte (SAM-5 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Good = 0x00,
    /// Sense data says what happened.
    CheckCondition = 0x02,
    /// COMPARE AND WRITE and the like: the condition is met.
    ConditionMet = 0x04,
    /// Try again later.
    Busy = 0x08,
    /// Another nexus has reserved the unit.
    ReservationConflict = 0x18,
    /// No room for another command.
    TaskSetFull = 0x28,
    /// Ended by a task management function (only with TAS).
    TaskAborted = 0x40,
}

/// What goes back to the initiator. Residual counts are the transport's: it compares `data_in` with what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// SAM status.
    pub status: Status,
    /// Fixed or descriptor format sense bytes; empty unless `status` is CHECK CONDITION.
    pub sense: Vec<u8>,
    /// Data-In.
    pub data_in: DataIn,
    /// Data-Out bytes that the command asked for by its own length fields, for the residual count; `None` when the
    /// command takes exactly what was sent.
    pub data_out_wanted: Option<u64>,
    /// Data-In bytes that there would be if the initiator had room for all of them, for the residual count; `None` when
    /// `data_in` is all that there is.
    pub data_in_wanted: Option<u64>,
}

impl Response {
    /// `status` without data.
    #[must_use]
    pub const fn status(status: Status) -> Self {
        Self { status, sense: Vec::new(), data_in: DataIn::None, data_out_wanted: None, data_in_wanted: None }
    }

    /// GOOD without data.
    #[must_use]
    pub const fn good() -> Self {
        Self::status(Status::Good)
    }

    /// GOOD with as much of `bytes` as the allocation length lets through.
    #[must_use]
    pub fn parameters(mut bytes: Vec<u8>, allocation: u32) -> Self {
        bytes.truncate(usize::try_from(allocation).unwrap_or(usize::MAX));
        Self { data_in: DataIn::Parameters(bytes), ..Self::good() }
    }

    /// CHECK CONDITION with fixed format sense data (D_SENSE is 0).
    #[must_use]
    pub fn check(sense: impl Into<Sense>) -> Self {
        Self { sense: sense.into().fixed(), ..Self::status(Status::CheckCondition) }
    }

    /// CHECK CONDITION that reports `attention`; the command was not executed. Also for commands that waited while
    /// this head became the owner and may have been given up by their initiator meanwhile.
    #[must_use]
    pub fn unit_attention(attention: Attention) -> Self {
        Self::check(attention.code())
    }
}
