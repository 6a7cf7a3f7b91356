//! What a connection tells the daemon, and what the daemon may tell an initiator unasked.

use sas_backend::buffer::Payload;

use super::access::Denied;
use crate::pdu::framer::FrameError;
use crate::pdu::login::LoginStatus;
use crate::pdu::{Itt, PduError};
use crate::scsi::{InitiatorPort, TaskAttribute};

/// A SCSI command of this connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    pub(super) itt: Itt,
    pub(super) serial: u64,
}

/// A task management function of this connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskManagementId(pub(super) u64);

/// What a session is for (RFC 7143 13.21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionType {
    /// SCSI commands.
    Normal,
    /// SendTargets only.
    Discovery,
}

/// Something that the daemon has to act on.
#[derive(Debug)]
pub enum Event {
    /// The negotiation is over. Nothing more is read until `handle_login_granted` or `handle_login_refused`.
    LoginComplete(LoginDetails),
    /// Somebody was kept out, which an operator may want to know. [`Event::Close`] follows.
    LoginDenied(LoginDenied),
    /// A command with all its Data-Out; `handle_response` ends it.
    Command(CommandEvent),
    /// `handle_task_management_done` ends it.
    TaskManagement(TaskManagementEvent),
    /// The initiator wants to log out: end all tasks of the session, and whatever goes with it. Nothing more is read;
    /// `handle_logged_out` answers, and [`Event::Close`] follows.
    LoggedOut,
    /// Everything was given out by `poll_transmit`: write it, then close the connection. The last event.
    Close(CloseReason),
}

/// Who wants to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginDetails {
    /// The initiator port: a session of the same port on the same portal group is replaced (RFC 7143 6.3.5).
    pub initiator: InitiatorPort,
    /// What it calls itself, for humans.
    pub initiator_alias: Option<String>,
    /// The CHAP user as whom it has proven itself; `None`: it did not have to.
    pub user: Option<String>,
    /// What the session is for.
    pub session_type: SessionType,
    /// Zero for a new session. Anything else asks to join, or to take over, the connection of an existing session.
    pub tsih: u16,
    /// The connection's identifier within its session.
    pub cid: u16,
}

/// Who was kept out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginDenied {
    /// The name by which it introduced itself.
    pub initiator: String,
    /// What the session would have been for.
    pub session_type: SessionType,
    /// For the operator; the initiator hears only the status.
    pub why: Denied,
}

/// A command for a logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandEvent {
    /// For the answer.
    pub task: TaskId,
    /// The LUN field as sent (SAM-5 4.7), first byte highest.
    pub lun: u64,
    /// 16 bytes, or more.
    pub cdb: Vec<u8>,
    /// Ordering.
    pub attribute: TaskAttribute,
    /// What the initiator sent; `None` when it announced nothing.
    pub data_out: Option<Payload>,
    /// Bytes of Data-In that it has room for.
    pub data_in_max: u32,
    /// Whether it was delivered immediately.
    pub immediate: bool,
    /// The arrival mark in force when its header was read.
    pub arrival: u64,
}

/// A request to end tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskManagementEvent {
    /// For the answer.
    pub id: TaskManagementId,
    /// What to do.
    pub function: TaskManagementFunction,
    /// The arrival mark in force when its header was read.
    pub arrival: u64,
}

/// What a task management request asks for. Tasks that were still collecting data are gone already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the logical unit as sent, and the task")]
pub enum TaskManagementFunction {
    /// End one task, which was given out by an [`Event::Command`].
    AbortTask { lun: u64, task: TaskId },
    /// End all tasks of this nexus on the logical unit.
    AbortTaskSet { lun: u64 },
    /// End all tasks of all nexuses on the logical unit.
    ClearTaskSet { lun: u64 },
    /// Reset the logical unit.
    LogicalUnitReset { lun: u64 },
    /// Reset all logical units.
    TargetWarmReset,
    /// Reset all logical units and drop all sessions.
    TargetColdReset,
}

/// Why a connection is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The initiator has logged out.
    #[error("logged out")]
    LoggedOut,
    /// The login was refused.
    #[error("login refused with status {:#04x}{:02x}", .0.class, .0.detail)]
    LoginRefused(LoginStatus),
    /// The login took too long.
    #[error("login not complete in time")]
    LoginTimeout,
    /// The initiator does not answer pings.
    #[error("the initiator does not answer pings")]
    PingTimeout,
    /// The byte stream cannot be understood any more.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The initiator breaks the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolViolation),
    /// The daemon has announced that it drops the connection.
    #[error("dropped by the target")]
    Dropped,
}

/// What an initiator did that error recovery level 0 cannot mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolViolation {
    /// A header without a meaning.
    #[error(transparent)]
    Pdu(#[from] PduError),
    /// Something else than a login request before the end of the login.
    #[error("a PDU with opcode {0:#04x} during login")]
    NotALogin(u8),
    /// A login request after the end of the login.
    #[error("a login request in full feature phase")]
    LoginInFullFeature,
    /// Commands are missing, and cannot come any more.
    #[error("a gap in the command numbers")]
    CommandGap,
}

/// What the daemon can tell an initiator unasked (RFC 7143 11.9). Times are seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsyncNotice {
    /// Log out, and in again if you like, within this time.
    RequestLogout {
        /// How long the connection stays.
        within: u16,
    },
    /// The connection is dropped now.
    DropConnection {
        /// Time2Wait: the initiator does not come back earlier.
        time2wait: u16,
    },
    /// The session is dropped now.
    DropSession {
        /// Time2Wait: the initiator does not come back earlier.
        time2wait: u16,
    },
    /// Something has changed about a logical unit.
    ScsiEvent {
        /// Which, as in the LUN field.
        lun: u64,
        /// Sense data.
        sense: Vec<u8>,
    },
}
