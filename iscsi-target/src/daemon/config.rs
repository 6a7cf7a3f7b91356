//! The configuration: one TOML file, the same on both heads.
//!
//! ```toml
//! [target]
//! iqn = "iqn.2026-11.com.example:pair1"
//! # initiators = ["iqn.1993-08.org.debian:01:abc"]   # optional: only these may log in
//! # networks = ["192.0.2.0/24"]       # optional: only from there
//!
//! [heads.a]
//! portals = ["192.0.2.1:3260", { listen = "0.0.0.0:3261", advertise = "san.example.com:3261" }]
//! link = "198.51.100.1:3270"           # where the other head connects to this one
//! control = "/run/twinhead/a.sock"     # optional; this is the default
//!
//! [heads.b]                            # absent: a single head, every write goes through to the disk
//! portals = [{ listen = "192.0.2.2:3260", vip = true }]   # the other head takes this address over
//! link = "198.51.100.2:3270"
//!
//! [link]
//! secret-file = "/etc/twinhead/link.secret"
//!
//! [limits]                             # all optional
//! max-drain-ms = 1000
//! lease-ms = 200
//! takeover-ms = 300
//! mirror-bytes = "1GiB"
//! connections = 1024                   # of clients with one head at a time
//! connections-per-address = 256
//! logins = 128                         # of them, those that have not logged in yet
//! logins-per-address = 32
//! client-bytes = "1GiB"                # RAM for the data of all commands that clients have outstanding
//!
//! [auth]                               # optional: without it nobody has to prove who he is
//! discovery = { user = "finder", secret-file = "/etc/twinhead/chap/finder" }   # optional: of discovery sessions
//! default = { user = "clients", secret-file = "/etc/twinhead/chap/clients" }   # optional: of all but the following
//!
//! [[auth.initiators]]                  # optional: what belongs to one initiator
//! name = "iqn.1993-08.org.debian:01:abc"
//! user = "db1"
//! secret-file = "/etc/twinhead/chap/db1"
//! target-user = "pair1"                # optional: with what the target proves itself to it
//! target-secret-file = "/etc/twinhead/chap/pair1"
//!
//! [[luns]]
//! id = 0
//! name = "db"
//! disk = "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"
//! preferred = "a"                      # optional; "a" is the default
//! block-bytes = 512                    # optional: 512 or 4096; otherwise the disk's own
//! physical-block-bytes = 4096          # optional: what initiators align to; otherwise a block
//! atomic-write-bytes = "64KiB"         # optional: what the disk writes whole or not at all, also when power fails
//! removable = false                    # optional: initiators may eject the medium, and load it
//! thin = false                         # optional: initiators may unmap blocks, which gives their room back to the disk
//! # sanitize-bytes-per-second = "200MiB"   # optional: what SANITIZE takes of the disk at the most
//! read-only = false                    # optional
//! # initiators = ["iqn.1993-08.org.debian:01:abc"]   # optional: only these see it
//! # writers = ["iqn.1993-08.org.debian:01:abc"]   # optional: only these initiators may write; others read
//! ```
//!
//! [`Config::parse`] either returns a configuration in which everything holds that the daemon relies on, or
//! [`Invalid`]: every problem of the file at once, each with its place, what stands there and what would be right.
//! Heads compare [`Config::pair_agreement`] when they meet and refuse to become a pair while it differs, and the
//! settings of each LUN when it opens. What a head that runs can take over from a new file is a [`Change`].

mod agreement;
mod change;
mod check;
mod check_logins;
mod logins;
mod names;
mod network;
mod portal;
mod problem;
mod raw;
mod secret;
mod size;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sas_backend::HeadId;
use serde::{Deserialize, Serialize};

pub use agreement::{Difference, differences, preferred_by_both};
pub use change::Change;
pub use logins::{Account, Auth, Credential, Logins};
pub use network::Network;
pub use portal::{Portal, Vip};
pub use problem::{Invalid, Problem};
pub use secret::{LinkSecret, SecretError, SecretKind, load_chap_secret};
pub use size::{ByteSize, SizeError};

/// Where the daemon and `targetctl` look for the configuration unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/twinhead/pair.toml";
/// The largest LUN number: what peripheral device addressing can say (SAM-5 4.7.7.2).
pub const LUN_ID_MAX: u8 = 255;
/// A file beyond this is not one of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Which of the two heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadName {
    /// The head under `[heads.a]`.
    A,
    /// The head under `[heads.b]`.
    B,
}

/// A configuration that has been checked as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The target's iSCSI name, the same through both heads.
    pub iqn: String,
    /// `a`, or `a` and `b`.
    pub heads: BTreeMap<HeadName, Head>,
    /// What makes two heads a pair; `None` for a single head.
    pub link: Option<Link>,
    /// Bounds in time and memory.
    pub limits: Limits,
    /// Who may log in.
    pub logins: Logins,
    /// By LUN number; at least one.
    pub luns: BTreeMap<u8, Lun>,
}

/// What belongs to one head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where initiators connect; at least one.
    pub portals: Vec<Portal>,
    /// The control socket of its daemon. The one setting in which the files of the heads may differ.
    pub control: PathBuf,
}

/// The connection between the heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where head `a` listens for head `b`.
    pub a: SocketAddr,
    /// Where head `b` listens for head `a`.
    pub b: SocketAddr,
    /// The file with the secret by which they know each other; see [`LinkSecret::load`].
    pub secret_file: PathBuf,
}

/// Bounds in time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long destaging everything may take; bounds the dirty data.
    pub max_drain: Duration,
    /// L: how long a lease lasts. Shorter than `takeover`.
    pub lease: Duration,
    /// T: how long the owner's heartbeat stands still before the standby takes over.
    pub takeover: Duration,
    /// The most RAM for the other head's data; `None`: what `max_drain` and the machine allow.
    pub mirror_bytes: Option<u64>,
    /// What clients may take of one head.
    pub clients: ClientLimits,
}

/// What clients may take of one head. Who comes too many is told that the service is unavailable, or is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at a time.
    pub connections: u32,
    /// Of these, from one address.
    pub connections_per_address: u32,
    /// Connections at a time that have not logged in yet.
    pub logins: u32,
    /// Of these, from one address.
    pub logins_per_address: u32,
    /// RAM for the data of all commands that clients have outstanding. Who wants more is asked to try again later
    /// (TASK SET FULL); who is greedy leaves something to the others.
    pub bytes: u64,
}

/// One logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lun {
    /// The LUN number.
    pub id: u8,
    /// What operators call it; begins with a letter, so it is never taken for a number.
    pub name: String,
    /// The disk, by an absolute path that is the same on both heads.
    pub disk: PathBuf,
    /// The head that owns it when both are well.
    pub preferred: HeadName,
    /// 512 or 4096; `None`: as the disk has it.
    pub block_bytes: Option<u32>,
    /// What initiators are told that the disk writes at once: a power of two from 512 bytes to 1 MiB; `None`: a block.
    pub physical_block_bytes: Option<u32>,
    /// How much the disk writes whole or not at all, even when power fails: a power of two of at most 1 MiB, not below
    /// `physical_block_bytes`. `None`: unknown, and initiators are offered no atomic writes. While the heads are mirrored
    /// it is their memory that keeps this promise; while one of them serves alone, only the disk can.
    pub atomic_write_bytes: Option<u32>,
    /// Whether initiators may eject the medium, and load it again.
    pub removable: bool,
    /// Whether initiators may unmap blocks: what lies there is given up, reads as zeroes, and takes no room on a disk or in
    /// a file that can have holes.
    pub thin: bool,
    /// How much of the disk SANITIZE overwrites in a second at the most; `None`: as much as it can.
    pub sanitize_bytes_per_second: Option<u64>,
    /// Whether initiators may only read.
    pub read_only: bool,
    /// The iSCSI names, in their normal form, of the only initiators for which it is there; `None`: it is for all.
    pub initiators: Option<BTreeSet<String>>,
    /// The iSCSI names, in their normal form, of the only initiators that may write; `None`: all may, unless it is
    /// `read_only`.
    pub writers: Option<BTreeSet<String>>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file says something that cannot be.
    #[error("the configuration {} cannot be used: {invalid}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        invalid: Invalid,
    },
}

impl HeadName {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// As it is written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for HeadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<HeadName> for HeadId {
    fn from(name: HeadName) -> Self {
        match name {
            HeadName::A => Self::A,
            HeadName::B => Self::B,
        }
    }
}

impl From<HeadId> for HeadName {
    fn from(id: HeadId) -> Self {
        match id {
            HeadId::A => Self::A,
            HeadId::B => Self::B,
        }
    }
}

impl std::str::FromStr for HeadName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => Err(format!("`{text}` is not a head; heads are called a and b")),
        }
    }
}

impl Link {
    /// Where head `name` listens for the other one.
    #[must_use]
    pub fn address_of(&self, name: HeadName) -> SocketAddr {
        match name {
            HeadName::A => self.a,
            HeadName::B => self.b,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_drain: Duration::from_millis(1000),
            lease: Duration::from_millis(200),
            takeover: Duration::from_millis(300),
            mirror_bytes: None,
            clients: ClientLimits::default(),
        }
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { connections: 1024, connections_per_address: 256, logins: 128, logins_per_address: 32, bytes: 1 << 30 }
    }
}

impl Config {
    /// Read and check the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_bounded(path).map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
        Self::parse(&text).map_err(|invalid| ConfigError::Invalid { path: path.to_path_buf(), invalid })
    }

    /// Check `text`. No file is looked at: whether disks exist is not the configuration's business.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut findings = problem::Findings::new(text);
        let raw = raw::read(text, &mut findings);
        let config = raw.and_then(|raw| check::check(raw, &mut findings));
        match (config, findings.into_invalid()) {
            (_, Some(invalid)) => Err(invalid),
            (Some(config), None) => Ok(config),
            (None, None) => unreachable!("a configuration that is refused has a problem that says why"),
        }
    }

    /// Whether there is one head only: no mirror, every write goes through to the disk.
    #[must_use]
    pub fn single(&self) -> bool {
        self.link.is_none()
    }

    /// What belongs to head `name`, if there is such a head.
    #[must_use]
    pub fn head(&self, name: HeadName) -> Option<&Head> {
        self.heads.get(&name)
    }

    /// The LUN that operators call `name`.
    #[must_use]
    pub fn lun_named(&self, name: &str) -> Option<&Lun> {
        self.luns.values().find(|lun| lun.name == name)
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("larger than 1 MiB; this is not a configuration"));
    }
    Ok(text)
}
