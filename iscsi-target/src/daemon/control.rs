//! The control socket: how `targetctl` speaks to the daemon of a head.
//!
//! A Unix socket, open to its owner only. The client sends one JSON object per line and gets one JSON object per line
//! for each, in order; a request has at most [`REQUEST_BYTES_MAX`] bytes, an answer [`RESPONSE_BYTES_MAX`].
//!
//! | request | answer when it went well |
//! | --- | --- |
//! | `{"request":"status"}` | `{"ok":true,"status":{...}}`, see [`super::status`] |
//! | `{"request":"watch"}` | the same at once, at each change, and at least every second, until the client closes |
//! | `{"request":"handover","lun":"db","to":"b"}` | `{"ok":true,"message":"..."}` once the new owner serves |
//! | `{"request":"reload"}` | `{"ok":true,"message":"..."}` once the head is what its file says |
//! | `{"request":"accept-loss","lun":"db"}` | `{"ok":true,"message":"..."}` once the LUN is served again |
//! | `{"request":"resize","lun":"db"}` | `{"ok":true,"message":"..."}` once initiators see the new size |
//!
//! `lun` is a name or a number; for a handover also `"all"`. `to` may be left out: the head that does not own it now.
//! What went wrong is answered with `{"ok":false,"error":"..."}`: what failed, why, and what to do.
//!
//! [`Server`] accepts connections and turns each request into a [`ControlRequest`] for the daemon's own loop, which
//! answers through the request's `reply`. [`Client`] is the other end.

mod client;
mod line;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::config::{HeadName, Lun};
use super::status::Status;

pub use client::{Client, ClientError};
pub use line::parse as parse_request;
pub use server::{CONNECTIONS_MAX, Server};

/// The longest line of a client, its newline included.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// The longest line of the daemon, its newline included: the status of 256 LUNs with their reasons.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What this head knows.
    Status {},
    /// The same again and again.
    Watch {},
    /// Change the owner by plan.
    Handover {
        /// Of what.
        lun: LunSelector,
        /// Who shall own it; `None`: the head that does not own it now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<HeadName>,
    },
    /// Read the configuration again.
    Reload {},
    /// Serve a LUN again although acknowledged data is lost.
    AcceptLoss {
        /// Which one; never all at once.
        lun: LunRef,
    },
    /// Let a LUN grow to the size that its disk has now.
    Resize {
        /// Which one.
        lun: LunRef,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// What it knows.
    Status(Box<Status>),
    /// It is done, and what was done.
    Done(String),
    /// What failed, why, and what to do.
    Error(String),
}

/// A request on its way to the daemon's loop, which answers through `reply`. A reply that nobody waits for any more
/// may be dropped.
#[derive(Debug)]
pub enum ControlRequest {
    /// What this head knows.
    Status {
        /// The answer.
        reply: oneshot::Sender<Status>,
    },
    /// Change the owner by plan. Answer when it is done or has failed.
    Handover {
        /// Of what.
        lun: LunSelector,
        /// Who shall own it; `None`: the head that does not own it now.
        to: Option<HeadName>,
        /// The answer.
        reply: oneshot::Sender<Outcome>,
    },
    /// Read the configuration again, and do what can be done online.
    Reload {
        /// The answer.
        reply: oneshot::Sender<Outcome>,
    },
    /// Serve a LUN again although acknowledged data is lost.
    AcceptLoss {
        /// Which one.
        lun: LunRef,
        /// The answer.
        reply: oneshot::Sender<Outcome>,
    },
    /// Let a LUN grow to the size that its disk has now.
    Resize {
        /// Which one.
        lun: LunRef,
        /// The answer.
        reply: oneshot::Sender<Outcome>,
    },
}

/// What was done; or what failed, why, and what to do.
pub type Outcome = Result<String, String>;

/// One LUN, by name or number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LunRef {
    /// Its number.
    Id(u8),
    /// Its name, or its number written as text.
    Name(String),
}

/// One LUN or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LunSelector {
    /// Each one.
    All,
    /// This one.
    One(LunRef),
}

impl LunRef {
    /// The number of the LUN among those that are configured.
    pub fn resolve(&self, luns: &BTreeMap<u8, Lun>) -> Result<u8, String> {
        let found = match self {
            Self::Id(id) => luns.get(id),
            Self::Name(name) => luns.values().find(|lun| lun.name == *name),
        };
        found.map(|lun| lun.id).ok_or_else(|| {
            let names: Vec<String> = luns.values().map(|lun| format!("{} ({})", lun.name, lun.id)).collect();
            format!("there is no LUN {self}; there is {}", names.join(", "))
        })
    }
}

impl LunSelector {
    /// The numbers of the LUNs among those that are configured.
    pub fn resolve(&self, luns: &BTreeMap<u8, Lun>) -> Result<Vec<u8>, String> {
        match self {
            Self::All => Ok(luns.keys().copied().collect()),
            Self::One(lun) => lun.resolve(luns).map(|id| vec![id]),
        }
    }
}

/// Names begin with a letter, so digits are a number.
impl FromStr for LunRef {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id))
    }
}

impl FromStr for LunSelector {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::One) }
    }
}

impl fmt::Display for LunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => write!(f, "`{name}`"),
        }
    }
}

impl Serialize for LunSelector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::One(lun) => lun.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LunSelector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match LunRef::deserialize(deserializer)? {
            LunRef::Name(name) if name == "all" => Self::All,
            lun => Self::One(lun),
        })
    }
}

/// The wire form of a [`Response`].
#[derive(Serialize, Deserialize)]
struct RawResponse {
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Box<Status>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Serialize for Response {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (status, message, error) = match self.clone() {
            Self::Status(status) => (Some(status), None, None),
            Self::Done(message) => (None, Some(message), None),
            Self::Error(error) => (None, None, Some(error)),
        };
        RawResponse { ok: error.is_none(), status, message, error }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawResponse::deserialize(deserializer)?;
        match (raw.ok, raw.status, raw.message, raw.error) {
            (true, Some(status), _, _) => Ok(Self::Status(status)),
            (true, None, Some(message), _) => Ok(Self::Done(message)),
            (false, _, _, Some(error)) => Ok(Self::Error(error)),
            _ => Err(serde::de::Error::custom("an answer without a status, a message or an error")),
        }
    }
}
