//! What the files of both heads must say alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest, Sha256};

use super::Config;

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
    /// Every setting that must be the same on both heads, by its dotted key; all of the file except the paths of the
    /// control sockets. Defaults are filled in, spelling and order of tables do not matter; the order of portals does.
    #[must_use]
    pub fn agreement(&self) -> BTreeMap<String, String> {
        let mut agreed = BTreeMap::from([("target.iqn".to_owned(), self.iqn.clone())]);
        let mut put = |key: String, value: String| {
            agreed.insert(key, value);
        };
        for (name, head) in &self.heads {
            for (index, portal) in head.portals.iter().enumerate() {
                put(format!("heads.{name}.portals.{index}.listen"), portal.listen.to_string());
                put(format!("heads.{name}.portals.{index}.advertise"), portal.advertise.clone());
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
        for (id, lun) in &self.luns {
            put(format!("luns.{id}.name"), lun.name.clone());
            put(format!("luns.{id}.disk"), lun.disk.display().to_string());
            put(format!("luns.{id}.preferred"), lun.preferred.to_string());
            put(format!("luns.{id}.read-only"), lun.read_only.to_string());
            if let Some(writers) = &lun.writers {
                put(format!("luns.{id}.writers"), writers.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
            }
            if let Some(bytes) = lun.block_bytes {
                put(format!("luns.{id}.block-bytes"), bytes.to_string());
            }
        }
        agreed
    }

    /// SHA-256 over [`Config::agreement`]: equal exactly when the agreements are.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(DIGEST_DOMAIN);
        for (key, value) in self.agreement() {
            for part in [key, value] {
                // Lengths first, so that no two lists run into the same bytes.
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }
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
