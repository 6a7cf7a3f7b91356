//! What a head knows about the pair: the document that `targetctl status --json` prints. A stable interface.
//!
//! One JSON object:
//!
//! | key | what it says |
//! | --- | --- |
//! | `version` | 1. Keys may be added without a new version; none is removed or changes its meaning. |
//! | `target` | the target's iSCSI name |
//! | `head` | the head that answered: everything below is what *it* knows |
//! | `heads[]` | one per configured head, `a` first |
//! | `heads[].name` | `a` or `b` |
//! | `heads[].up` | whether the answering head hears it |
//! | `heads[].incarnation` | hexadecimal; another one after each start of its daemon; `null` while it is unknown |
//! | `heads[].portals[]` | where initiators reach it, `address:port` |
//! | `heads[].sessions` | iSCSI sessions on it; 0 while it is not up |
//! | `heads[].addresses[]` | portal addresses with `vip` that it holds; left out when there are none |
//! | `heads[].addresses[].address` | the address |
//! | `heads[].addresses[].adopted` | whether it is one of the other head, taken over |
//! | `luns[]` | by LUN number |
//! | `luns[].id`, `.name` | as configured |
//! | `luns[].owner` | the head that is active/optimized; `null` when none serves |
//! | `luns[].mode` | see [`Mode`]; a standby reports its owner's mode, or, with the link down, what the disk says |
//! | `luns[].protected_by` | in words: where every acknowledged write is right now |
//! | `luns[].epoch` | counts changes of owner and of mode |
//! | `luns[].dirty_bytes` | acknowledged and not yet on the disk |
//! | `luns[].mirror_bytes` | RAM of the answering head that holds the other head's data of this LUN |
//! | `luns[].size_bytes` | as initiators see it |
//! | `luns[].sessions` | sessions that use it by head; a head that is not up is left out |
//! | `luns[].reason` | in words, when the mode is not the usual one; otherwise left out |
//! | `luns[].sanitize` | in words, while initiators have it sanitized (SANITIZE), or that has failed; otherwise left out |
//! | `luns[].differs[]` | in words: settings in which the other head's file says something else; left out if there are none |
//! | `link` | the connection between the heads; `null` for a single head |
//! | `link.up` | whether the heads hear each other |
//! | `link.peer` | where the answering head finds the other one |
//! | `link.reason` | in words, while it is down; otherwise left out |

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::HeadName;

/// The version of this document.
pub const VERSION: u32 = 1;

/// What one head knows about the pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub version: u32,
    /// The target's iSCSI name.
    pub target: String,
    /// The head that says so.
    pub head: HeadName,
    /// All configured heads, `a` first.
    pub heads: Vec<HeadStatus>,
    /// All configured LUNs, by number.
    pub luns: Vec<LunStatus>,
    /// The connection between the heads; `None` for a single head.
    pub link: Option<LinkStatus>,
}

/// One head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadStatus {
    /// Which one.
    pub name: HeadName,
    /// Whether the answering head hears it.
    pub up: bool,
    /// Hexadecimal.
    pub incarnation: Option<String>,
    /// Where initiators reach it.
    pub portals: Vec<String>,
    /// iSCSI sessions on it.
    pub sessions: u32,
    /// Portal addresses that move between the heads, and that it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<HeldAddress>,
}

/// A portal address that a head holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAddress {
    /// The address.
    pub address: String,
    /// Whether it is one of the other head, taken over.
    pub adopted: bool,
}

/// One logical unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunStatus {
    /// The LUN number.
    pub id: u8,
    /// What operators call it.
    pub name: String,
    /// The head that is active/optimized.
    pub owner: Option<HeadName>,
    /// How it is served.
    pub mode: Mode,
    /// Where every acknowledged write is right now, in words.
    pub protected_by: String,
    /// Of the superblock.
    pub epoch: u64,
    /// Acknowledged and not yet on the disk.
    pub dirty_bytes: u64,
    /// RAM of the answering head that holds the other head's data.
    pub mirror_bytes: u64,
    /// As initiators see it.
    pub size_bytes: u64,
    /// Sessions that use it, by head.
    pub sessions: BTreeMap<HeadName, u32>,
    /// Why the mode is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far SANITIZE is, or that it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<String>,
    /// Settings in which the other head's file says something else, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
}

/// The connection between the heads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Whether the heads hear each other.
    pub up: bool,
    /// Where the other head is looked for.
    pub peer: String,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a logical unit is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By one head; a write is acknowledged when the disk has it.
    Solo,
    /// Still like solo, while the other head's RAM is being filled.
    Joining,
    /// A write is acknowledged when both heads have it in RAM.
    Mirrored,
    /// The mirror was lost; writes wait until everything is on the disk.
    Degrading,
    /// After a takeover; like solo, while what the other head left is written to the disk.
    Draining,
    /// The owner is changing by plan; commands wait for some milliseconds.
    HandingOver,
    /// Not served; `reason` says why and what to do.
    Unavailable,
}

impl Mode {
    /// As it stands in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Solo => "solo",
            Self::Joining => "joining",
            Self::Mirrored => "mirrored",
            Self::Degrading => "degrading",
            Self::Draining => "draining",
            Self::HandingOver => "handing-over",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::expect;

    use super::*;

    /// A pair with one LUN, mirrored.
    pub(in crate::daemon) fn mirrored() -> Status {
        let head = |name, incarnation: &str, portal: &str| HeadStatus {
            name,
            up: true,
            incarnation: Some(incarnation.to_owned()),
            portals: vec![portal.to_owned()],
            sessions: 1,
            addresses: Vec::new(),
        };
        Status {
            version: VERSION,
            target: "iqn.2026-11.com.example:pair1".to_owned(),
            head: HeadName::A,
            heads: vec![head(HeadName::A, "01ab", "192.0.2.1:3260"), head(HeadName::B, "02cd", "192.0.2.2:3260")],
            luns: vec![LunStatus {
                id: 0,
                name: "db".to_owned(),
                owner: Some(HeadName::A),
                mode: Mode::Mirrored,
                protected_by: "RAM of a and b".to_owned(),
                epoch: 7,
                dirty_bytes: 12 << 20,
                mirror_bytes: 0,
                size_bytes: 1 << 40,
                sessions: BTreeMap::from([(HeadName::A, 1), (HeadName::B, 1)]),
                reason: None,
                sanitize: None,
                differs: Vec::new(),
            }],
            link: Some(LinkStatus { up: true, peer: "198.51.100.2:3270".to_owned(), reason: None }),
        }
    }

    #[test]
    fn the_document_of_a_pair() {
        let json = serde_json::to_string_pretty(&mirrored()).unwrap();
        expect![[r#"
            {
              "version": 1,
              "target": "iqn.2026-11.com.example:pair1",
              "head": "a",
              "heads": [
                {
                  "name": "a",
                  "up": true,
                  "incarnation": "01ab",
                  "portals": [
                    "192.0.2.1:3260"
                  ],
                  "sessions": 1
                },
                {
                  "name": "b",
                  "up": true,
                  "incarnation": "02cd",
                  "portals": [
                    "192.0.2.2:3260"
                  ],
                  "sessions": 1
                }
              ],
              "luns": [
                {
                  "id": 0,
                  "name": "db",
                  "owner": "a",
                  "mode": "mirrored",
                  "protected_by": "RAM of a and b",
                  "epoch": 7,
                  "dirty_bytes": 12582912,
                  "mirror_bytes": 0,
                  "size_bytes": 1099511627776,
                  "sessions": {
                    "a": 1,
                    "b": 1
                  }
                }
              ],
              "link": {
                "up": true,
                "peer": "198.51.100.2:3270"
              }
            }"#]]
        .assert_eq(&json);
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), mirrored());
    }

    #[test]
    fn the_document_of_a_single_head_without_its_disk() {
        let mut status = mirrored();
        status.heads.truncate(1);
        status.link = None;
        status.luns[0].owner = None;
        status.luns[0].mode = Mode::Unavailable;
        status.luns[0].sessions.clear();
        status.luns[0].reason = Some("the disk cannot be read".to_owned());
        let json = serde_json::to_string(&status).unwrap();
        expect![[r#"{"version":1,"target":"iqn.2026-11.com.example:pair1","head":"a","heads":[{"name":"a","up":true,"incarnation":"01ab","portals":["192.0.2.1:3260"],"sessions":1}],"luns":[{"id":0,"name":"db","owner":null,"mode":"unavailable","protected_by":"RAM of a and b","epoch":7,"dirty_bytes":12582912,"mirror_bytes":0,"size_bytes":1099511627776,"sessions":{},"reason":"the disk cannot be read"}],"link":null}"#]].assert_eq(&json);
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }

    #[test]
    fn a_later_daemon_may_say_more() {
        let json = serde_json::to_string(&mirrored()).unwrap().replacen('{', "{\"more\":1,", 1);
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), mirrored());
    }

    #[test]
    fn modes_are_spelt_alike_everywhere() {
        use Mode::{Degrading, Draining, HandingOver, Joining, Mirrored, Solo, Unavailable};
        for mode in [Solo, Joining, Mirrored, Degrading, Draining, HandingOver, Unavailable] {
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        }
    }
}
