//! What the files of both heads must say alike.
//!
//! What concerns the pair as a whole is compared when the heads meet: while it differs they are no pair. What concerns
//! one LUN is compared for that LUN alone, so that LUNs can come and go on one head after the other: its *fixed*
//! settings must be the same before it is mirrored, the *online* ones may differ for a while. Who may log in is online, too:
//! the heads compare a digest of it that includes the secrets, and say so while it differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest, Sha256};

use super::{ClientLimits, Config, HeadName, Lun};

/// Begins every digest; a new version of the list below gets a new one.
const DIGEST_DOMAIN: &[u8] = b"twinhead configuration 1\n";

/// A setting in which two heads do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The setting, as in `luns.0.disk`.
    pub key: String,
    /// What this head has; `None`: nothing.
    pub here: Option<String>,
    /// What the other head has; `None`: nothing.
    pub there: Option<String>,
}

impl Config {
    /// Every setting that should be the same on both heads, by its dotted key; all of the file except the paths of the
    /// control sockets. Defaults are filled in, spelling and order of tables do not matter; the order of portals does.
    #[must_use]
    pub fn agreement(&self) -> BTreeMap<String, String> {
        let mut agreed = self.pair_agreement();
        agreed.extend(self.logins.settings());
        for lun in self.luns.values() {
            agreed.extend(lun.fixed_settings());
            agreed.extend(lun.online_settings());
        }
        agreed
    }

    /// The settings without which two heads are no pair: all but those of single LUNs, and but who may log in, which
    /// changes on one head after the other.
    #[must_use]
    pub fn pair_agreement(&self) -> BTreeMap<String, String> {
        let mut agreed = BTreeMap::from([("target.iqn".to_owned(), self.iqn.clone())]);
        let mut put = |key: String, value: String| {
            agreed.insert(key, value);
        };
        for (name, head) in &self.heads {
            for (index, portal) in head.portals.iter().enumerate() {
                put(format!("heads.{name}.portals.{index}.listen"), portal.listen.to_string());
                put(format!("heads.{name}.portals.{index}.advertise"), portal.advertise.clone());
                if let Some(vip) = &portal.vip {
                    put(format!("heads.{name}.portals.{index}.vip"), "true".to_owned());
                    if let Some(interface) = &vip.interface {
                        put(format!("heads.{name}.portals.{index}.interface"), interface.clone());
                    }
                }
            }
        }
        if let Some(link) = &self.link {
            put("heads.a.link".to_owned(), link.a.to_string());
            put("heads.b.link".to_owned(), link.b.to_string());
            put("link.secret-file".to_owned(), link.secret_file.display().to_string());
        }
        put("limits.max-drain-ms".to_owned(), self.limits.max_drain.as_millis().to_string());
        put("limits.lease-ms".to_owned(), self.limits.lease.as_millis().to_string());
        put("limits.takeover-ms".to_owned(), self.limits.takeover.as_millis().to_string());
        if let Some(bytes) = self.limits.mirror_bytes {
            put("limits.mirror-bytes".to_owned(), bytes.to_string());
        }
        let (clients, default) = (self.limits.clients, ClientLimits::default());
        for (key, value, default) in [
            ("connections", clients.connections.into(), default.connections.into()),
            ("connections-per-address", clients.connections_per_address.into(), default.connections_per_address.into()),
            ("logins", clients.logins.into(), default.logins.into()),
            ("logins-per-address", clients.logins_per_address.into(), default.logins_per_address.into()),
            ("client-bytes", clients.bytes, default.bytes),
        ] {
            if value != default {
                put(format!("limits.{key}"), value.to_string());
            }
        }
        agreed
    }

    /// SHA-256 over [`Config::agreement`]: equal exactly when the agreements are.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.agreement())
    }

    /// SHA-256 over [`Config::pair_agreement`].
    #[must_use]
    pub fn pair_digest(&self) -> [u8; 32] {
        digest(&self.pair_agreement())
    }
}

impl Lun {
    /// The dotted key of one of its settings.
    #[must_use]
    pub fn key(&self, setting: &str) -> String {
        format!("luns.{}.{setting}", self.id)
    }

    /// What must be the same on both heads before it is mirrored, and stays as it is while it is served.
    #[must_use]
    pub fn fixed_settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::from([(self.key("disk"), self.disk.display().to_string())]);
        if let Some(bytes) = self.block_bytes {
            settings.insert(self.key("block-bytes"), bytes.to_string());
        }
        if let Some(bytes) = self.physical_block_bytes {
            settings.insert(self.key("physical-block-bytes"), bytes.to_string());
        }
        if let Some(bytes) = self.atomic_write_bytes {
            settings.insert(self.key("atomic-write-bytes"), bytes.to_string());
        }
        if self.removable {
            settings.insert(self.key("removable"), "true".to_owned());
        }
        if self.thin {
            settings.insert(self.key("thin"), "true".to_owned());
        }
        settings
    }

    /// What can change while it is served.
    #[must_use]
    pub fn online_settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::from([
            (self.key("name"), self.name.clone()),
            (self.key("preferred"), self.preferred.to_string()),
            (self.key("read-only"), self.read_only.to_string()),
        ]);
        if let Some(bytes) = self.sanitize_bytes_per_second {
            settings.insert(self.key("sanitize-bytes-per-second"), bytes.to_string());
        }
        for (setting, names) in [("initiators", &self.initiators), ("writers", &self.writers)] {
            if let Some(names) = names {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                settings.insert(self.key(setting), names.join(", "));
            }
        }
        settings
    }
}

/// The head that takes over a LUN when both could, if this one's file says `here` and the other's `there`. Both heads must
/// come to the same answer, or both would take over, or neither: while the files differ it is a.
#[must_use]
pub fn preferred_by_both(here: HeadName, there: Option<HeadName>) -> HeadName {
    if there.is_none_or(|there| there == here) { here } else { HeadName::A }
}

fn digest(settings: &BTreeMap<String, String>) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(DIGEST_DOMAIN);
    for part in settings.iter().flat_map(|(key, value)| [key, value]) {
        // Lengths first, so that no two lists run into the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Where two agreements differ, by key; empty when the heads may become a pair.
#[must_use]
pub fn differences(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Vec<Difference> {
    let keys: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    let differing = keys.into_iter().filter(|key| here.get(*key) != there.get(*key));
    differing
        .map(|key| Difference { key: key.clone(), here: here.get(key).cloned(), there: there.get(key).cloned() })
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.as_ref().map_or("nothing".to_owned(), |value| format!("{value:?}"));
        write!(f, "{}: {} here, {} on the other head", self.key, shown(&self.here), shown(&self.there))
    }
}
