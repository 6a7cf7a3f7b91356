//! One iSCSI connection as a pure state machine (RFC 7143). A session is one connection here (MaxConnections=1,
//! ErrorRecoveryLevel=0).
//!
//! The shell moves bytes and time in and out; the daemon stands behind the [`Event`]s:
//! ```text
//!  socket --recv_slices/received--> Connection --poll_event--> login, commands, task management
//!  socket <-----poll_transmit------ Connection <--handle_*---- grants, responses, aborts
//! ```
//! Inside, in the order in which data flows: `login` negotiates with the `keys` table, has `chap` ask for a proof where
//! [`access`] demands one; `full_feature` takes the
//! requests of a session that is logged in; `window` and `budget` decide which commands are taken, `transfer` collects Data-Out,
//! `answer` cuts up Data-In, `outbox` numbers what is sent, `discovery` answers texts.

mod abort;
pub mod access;
mod answer;
mod budget;
mod chap;
mod connection;
mod discovery;
mod event;
mod full_feature;
mod keys;
pub mod limits;
mod login;
mod outbox;
mod portal;
mod sense;
mod task;
mod transfer;
mod window;

pub use budget::Budget;
pub use chap::Algorithm;
pub use connection::Connection;
pub use event::{
    AsyncNotice, CloseReason, CommandEvent, Event, LoginDenied, LoginDetails, ProtocolViolation, SessionType, TaskId,
    TaskManagementEvent, TaskManagementFunction, TaskManagementId,
};
pub use portal::{PortalAddress, PortalConfig};
