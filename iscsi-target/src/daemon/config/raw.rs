//! The file as it is written: every setting optional and of the right type, nothing checked yet.
//!
//! Serde stops at the first key it does not know or cannot read. To report all of them, [`read`] takes the offender out
//! of the parsed document and tries again until the rest fits.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use super::problem::Findings;

pub(super) type Field<T> = Option<Spanned<T>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawConfig {
    pub(super) target: Field<RawTarget>,
    pub(super) heads: Field<RawHeads>,
    pub(super) link: Field<RawLink>,
    pub(super) limits: Field<RawLimits>,
    pub(super) auth: Field<RawAuth>,
    pub(super) luns: Field<Vec<Spanned<RawLun>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawTarget {
    pub(super) iqn: Field<String>,
    pub(super) initiators: Field<Vec<Spanned<String>>>,
    pub(super) networks: Field<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawAuth {
    pub(super) default: Field<RawCredential>,
    pub(super) discovery: Field<RawCredential>,
    pub(super) initiators: Field<Vec<Spanned<RawCredential>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawCredential {
    pub(super) name: Field<String>,
    pub(super) user: Field<String>,
    pub(super) secret_file: Field<String>,
    pub(super) target_user: Field<String>,
    pub(super) target_secret_file: Field<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawHeads {
    pub(super) a: Field<RawHead>,
    pub(super) b: Field<RawHead>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawHead {
    pub(super) portals: Field<Vec<Spanned<toml::Value>>>,
    pub(super) link: Field<String>,
    pub(super) control: Field<String>,
}

/// A portal that is not just an address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawPortal {
    pub(super) listen: String,
    pub(super) advertise: Option<String>,
    pub(super) vip: Option<bool>,
    pub(super) interface: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawLink {
    pub(super) secret_file: Field<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawLimits {
    pub(super) max_drain_ms: Field<u64>,
    pub(super) lease_ms: Field<u64>,
    pub(super) takeover_ms: Field<u64>,
    pub(super) mirror_bytes: Field<RawSize>,
    pub(super) connections: Field<u64>,
    pub(super) connections_per_address: Field<u64>,
    pub(super) logins: Field<u64>,
    pub(super) logins_per_address: Field<u64>,
    pub(super) client_bytes: Field<RawSize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum RawSize {
    Bytes(u64),
    Human(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawLun {
    pub(super) id: Field<u64>,
    pub(super) name: Field<String>,
    pub(super) disk: Field<String>,
    pub(super) preferred: Field<String>,
    pub(super) block_bytes: Field<u64>,
    pub(super) physical_block_bytes: Field<RawSize>,
    pub(super) atomic_write_bytes: Field<RawSize>,
    pub(super) removable: Field<bool>,
    pub(super) thin: Field<bool>,
    pub(super) sanitize_bytes_per_second: Field<RawSize>,
    pub(super) read_only: Field<bool>,
    pub(super) initiators: Field<Vec<Spanned<String>>>,
    pub(super) writers: Field<Vec<Spanned<String>>>,
}

/// What belongs where, said to whoever wrote something else there. Paths without array indices.
const RIGHT: &[(&str, &str)] = &[
    ("target", "a table [target] with the iqn"),
    ("target.iqn", IQN_RIGHT),
    ("target.initiators", NAMES_RIGHT),
    ("target.networks", NETWORKS_RIGHT),
    ("auth", AUTH_RIGHT),
    ("auth.default", CREDENTIAL_RIGHT),
    ("auth.default.user", USER_RIGHT),
    ("auth.default.secret-file", CHAP_SECRET_RIGHT),
    ("auth.default.target-user", USER_RIGHT),
    ("auth.default.target-secret-file", CHAP_SECRET_RIGHT),
    ("auth.discovery", CREDENTIAL_RIGHT),
    ("auth.discovery.user", USER_RIGHT),
    ("auth.discovery.secret-file", CHAP_SECRET_RIGHT),
    ("auth.discovery.target-user", USER_RIGHT),
    ("auth.discovery.target-secret-file", CHAP_SECRET_RIGHT),
    ("auth.initiators", "tables [[auth.initiators]] with name, user and secret-file"),
    ("auth.initiators.name", NAME_RIGHT),
    ("auth.initiators.user", USER_RIGHT),
    ("auth.initiators.secret-file", CHAP_SECRET_RIGHT),
    ("auth.initiators.target-user", USER_RIGHT),
    ("auth.initiators.target-secret-file", CHAP_SECRET_RIGHT),
    ("heads", "the tables [heads.a] and, for a pair, [heads.b]"),
    ("heads.a", HEAD_RIGHT),
    ("heads.b", HEAD_RIGHT),
    ("heads.a.portals", PORTALS_RIGHT),
    ("heads.b.portals", PORTALS_RIGHT),
    ("heads.a.link", LINK_RIGHT),
    ("heads.b.link", LINK_RIGHT),
    ("heads.a.control", CONTROL_RIGHT),
    ("heads.b.control", CONTROL_RIGHT),
    ("link", "a table [link] with the secret-file"),
    ("link.secret-file", SECRET_RIGHT),
    ("limits", "a table [limits] with times such as lease-ms, and bounds such as mirror-bytes and connections"),
    ("limits.max-drain-ms", "a number of milliseconds, such as 1000"),
    ("limits.lease-ms", "a number of milliseconds, such as 200"),
    ("limits.takeover-ms", "a number of milliseconds, such as 300"),
    ("limits.mirror-bytes", "a size such as \"1GiB\", or a number of bytes"),
    ("limits.connections", "a number of connections, such as 1024"),
    ("limits.connections-per-address", "a number of connections, such as 256"),
    ("limits.logins", "a number of connections, such as 128"),
    ("limits.logins-per-address", "a number of connections, such as 32"),
    ("limits.client-bytes", "a size such as \"1GiB\", or a number of bytes"),
    ("luns", LUNS_RIGHT),
    ("luns.id", LUN_ID_RIGHT),
    ("luns.name", LUN_NAME_RIGHT),
    ("luns.disk", DISK_RIGHT),
    ("luns.preferred", "\"a\" or \"b\""),
    ("luns.block-bytes", BLOCK_BYTES_RIGHT),
    ("luns.physical-block-bytes", PHYSICAL_RIGHT),
    ("luns.atomic-write-bytes", ATOMIC_RIGHT),
    ("luns.removable", "true or false"),
    ("luns.thin", "true or false"),
    ("luns.sanitize-bytes-per-second", "a size such as \"200MiB\", or a number of bytes"),
    ("luns.read-only", "true or false"),
    ("luns.initiators", NAMES_RIGHT),
    ("luns.writers", NAMES_RIGHT),
];
pub(super) const IQN_RIGHT: &str = "a name such as \"iqn.2026-11.com.example:pair1\": iqn., the year and month in which \
     you held the domain, the domain backwards, optionally a colon and a name of your own";
pub(super) const HEAD_RIGHT: &str = "a table with portals, and link if there are two heads";
pub(super) const PORTALS_RIGHT: &str = "a list such as [\"192.0.2.1:3260\"]; an entry may also be \
     { listen = \"0.0.0.0:3260\", advertise = \"192.0.2.1:3260\" } or { listen = \"192.0.2.1:3260\", vip = true }";
pub(super) const LINK_RIGHT: &str =
    "the address on which the other head reaches this one, such as \"198.51.100.1:3270\"";
pub(super) const CONTROL_RIGHT: &str = "an absolute path such as \"/run/twinhead/a.sock\", at most 107 bytes long";
pub(super) const SECRET_RIGHT: &str = "an absolute path such as \"/etc/twinhead/link.secret\"";
pub(super) const LUNS_RIGHT: &str = "at least one table [[luns]] with id, name and disk";
pub(super) const LUN_ID_RIGHT: &str = "a whole number from 0 to 255, used once";
pub(super) const LUN_NAME_RIGHT: &str =
    "1 to 32 characters of a-z, 0-9, - _ and . that begin with a letter; not \"all\"; used once";
pub(super) const DISK_RIGHT: &str =
    "an absolute path without .. to a block device or a file, such as \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\"";
pub(super) const BLOCK_BYTES_RIGHT: &str = "512 or 4096, or nothing for what the disk has";
pub(super) const PHYSICAL_RIGHT: &str = "a power of two from 512 to \"1MiB\", such as 4096; not below block-bytes";
pub(super) const ATOMIC_RIGHT: &str =
    "a power of two from 512 to \"1MiB\" that the disk's vendor vouches for; not below physical-block-bytes";

pub(super) const NAMES_RIGHT: &str = "a list of names of initiators, such as [\"iqn.1993-08.org.debian:01:abc\"]; /etc/iscsi/initiatorname.iscsi has a client's";

pub(super) const NAME_RIGHT: &str = "the name of an initiator, such as \"iqn.1993-08.org.debian:01:abc\", once; if there is target.initiators, one that is in it";
pub(super) const NETWORKS_RIGHT: &str =
    "a list of networks or addresses of initiators, such as [\"192.0.2.0/24\", \"2001:db8::/64\", \"198.51.100.7\"]";
pub(super) const AUTH_RIGHT: &str = "a table [auth] with any of default, discovery, and tables [[auth.initiators]]";
pub(super) const CREDENTIAL_RIGHT: &str =
    "a table such as { user = \"clients\", secret-file = \"/etc/twinhead/chap/clients\" }";
pub(super) const USER_RIGHT: &str =
    "a name such as \"db1\", 1 to 255 visible characters: the other side has to be given the same one";
pub(super) const CHAP_SECRET_RIGHT: &str = "an absolute path such as \"/etc/twinhead/chap/db1\"";

/// Read `text` as far as it can be read; what cannot is in `findings`.
pub(super) fn read(text: &str, findings: &mut Findings<'_>) -> Option<Spanned<RawConfig>> {
    let (mut document, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        for error in syntax_errors {
            let right = "TOML (toml.io): key = value, strings in quotes, [table], [[table of a list]]";
            findings.add(&error.span().unwrap_or(0..0), "", error.message(), right);
        }
        return None;
    }
    while !findings.is_full() {
        let error = match Spanned::<RawConfig>::deserialize(Deserializer::from(document.clone())) {
            Ok(raw) => return Some(raw),
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        match prune_table(document.get_mut(), &span, Path::default()) {
            Some(pruned) => report(&pruned, &error, &span, findings),
            None => {
                findings.add(&span, "", error.message(), "see the documentation of the configuration");
                return None;
            }
        }
    }
    None
}

/// A key in two spellings: `luns[1].disk` for people, `luns.disk` for [`RIGHT`].
#[derive(Clone, Default)]
struct Path {
    shown: String,
    plain: String,
}

struct Pruned {
    path: Path,
    /// Whether it was its key that offended; its value otherwise.
    unknown: bool,
}

impl Path {
    fn key(&self, key: &str) -> Self {
        let join = |base: &str| if base.is_empty() { key.to_owned() } else { format!("{base}.{key}") };
        Self { shown: join(&self.shown), plain: join(&self.plain) }
    }

    fn index(&self, index: usize) -> Self {
        Self { shown: format!("{}[{index}]", self.shown), plain: self.plain.clone() }
    }
}

fn report(pruned: &Pruned, error: &toml::de::Error, span: &Range<usize>, findings: &mut Findings<'_>) {
    if pruned.unknown {
        let expected = error.message().split_once("expected ").map_or("nothing", |(_, expected)| expected);
        findings.add(span, &pruned.path.shown, "there is no such setting", expected.replace('`', ""));
    } else {
        // What stands in the place of a credential may be a secret, and is not quoted.
        let span = if pruned.path.plain.starts_with("auth") { &(span.start..span.start) } else { span };
        let right = RIGHT.iter().find(|(path, _)| *path == pruned.path.plain).map_or("another value", |(_, r)| r);
        findings.add(span, &pruned.path.shown, "not a value that can stand here", right);
    }
}

/// Take the smallest entry that covers `span` out of `table`.
fn prune_table(table: &mut DeTable<'_>, span: &Range<usize>, path: Path) -> Option<Pruned> {
    let mut offender = None;
    for (key, value) in table.iter_mut() {
        let path = path.key(key.get_ref());
        if key.span() == *span {
            offender = Some((key.clone(), Pruned { path, unknown: true }));
            break;
        }
        if let Some(pruned) = prune_value(value.get_mut(), span, &path) {
            return Some(pruned);
        }
        if covers(&value.span(), span) {
            offender = Some((key.clone(), Pruned { path, unknown: false }));
            break;
        }
    }
    let (key, pruned) = offender?;
    table.remove(&key);
    Some(pruned)
}

fn prune_value(value: &mut DeValue<'_>, span: &Range<usize>, path: &Path) -> Option<Pruned> {
    match value {
        DeValue::Table(table) => prune_table(table, span, path.clone()),
        DeValue::Array(array) => prune_array(array, span, path),
        _ => None,
    }
}

/// An entry itself is reported under the list's own key: its index may have moved since the file was written.
fn prune_array(array: &mut DeArray<'_>, span: &Range<usize>, path: &Path) -> Option<Pruned> {
    for (index, value) in array.iter_mut().enumerate() {
        if let Some(pruned) = prune_value(value.get_mut(), span, &path.index(index)) {
            return Some(pruned);
        }
    }
    let offender = array.iter().position(|value| covers(&value.span(), span))?;
    let entries = std::mem::replace(array, DeArray::new()).into_iter().enumerate();
    *array = entries.filter(|(index, _)| *index != offender).map(|(_, value)| value).collect();
    Some(Pruned { path: path.clone(), unknown: false })
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
