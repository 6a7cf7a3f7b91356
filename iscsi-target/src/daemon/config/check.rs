//! From what is written to what can be: ranges, names, and what must fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::check_logins::{Names, check_names};
use super::portal::{self, Portal};
use super::problem::Findings;
use super::raw::{self, Field, RawConfig, RawHead, RawHeads, RawLimits, RawLink, RawLun, RawSize};
use super::{ByteSize, ClientLimits, Config, Head, HeadName, Limits, Link, Lun, SizeError, check_logins, names};

const MAX_DRAIN_MS: RangeInclusive<u64> = 100..=60_000;
const LEASE_MS: RangeInclusive<u64> = 50..=10_000;
const TAKEOVER_MS: RangeInclusive<u64> = 100..=30_000;
/// At the lower end: the largest write that an initiator can send at once.
const MIRROR_BYTES: RangeInclusive<u64> = 16 << 20..=1 << 44;
/// At the lower end: a few of the largest writes.
const CLIENT_BYTES: RangeInclusive<u64> = 64 << 20..=1 << 44;
/// At the lower end: it gets on, and a LUN that is let go of does not wait for it.
const SANITIZE_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 44;
const CONNECTIONS: RangeInclusive<u32> = 1..=65_536;
/// A physical block, or what is written as a whole; at the upper end the largest write that a head sends to its disk.
const UNIT_OF_WRITING_BYTES: RangeInclusive<u32> = 512..=1 << 20;

/// Names in one list of a LUN, and bytes of all of them: they fit into what the heads tell each other about it.
const NAMES_MAX: usize = 64;
const NAMES_BYTES_MAX: usize = 20 << 10;

/// A value and where it stands.
type Placed<T> = (T, Range<usize>);

/// What `raw` says, if everything in it holds. If not, `findings` has at least one problem.
pub(super) fn check(raw: Spanned<RawConfig>, findings: &mut Findings<'_>) -> Option<Config> {
    let mut raw = raw.into_inner();
    let pair = raw.heads.as_ref().is_some_and(|heads| heads.get_ref().b.is_some()) || findings.reported("heads.b");
    let (initiators, networks) = raw.target.as_mut().map_or((None, None), |target| {
        let target = target.get_mut();
        (target.initiators.take(), target.networks.take())
    });
    let iqn = check_iqn(raw.target, findings);
    let heads = check_heads(raw.heads, pair, findings);
    let secret_file = check_secret_file(raw.link, pair, findings);
    let limits = check_limits(raw.limits, findings);
    let logins = check_logins::check(initiators, networks, raw.auth, findings);
    let luns = check_luns(raw.luns, pair, findings);
    if let (Some(logins), Some(luns)) = (&logins, &luns) {
        check_logins::check_audience(luns, logins, findings);
    }
    let luns = luns.map(|luns| luns.into_iter().map(|(id, (lun, _))| (id, lun)).collect());
    let (heads, secret_file) = (heads?, secret_file?);
    let address = |name| heads.get(&name).and_then(|head: &CheckedHead| head.link.clone());
    let addresses = address(HeadName::A).zip(address(HeadName::B));
    let link = addresses.zip(secret_file).map(|(((a, _), (b, _)), secret_file)| Link { a, b, secret_file });
    let heads = heads.into_iter().map(|(name, head)| (name, head.head)).collect();
    Some(Config { iqn: iqn?, heads, link, limits: limits?, logins: logins?, luns: luns? })
}

fn check_iqn(target: Field<raw::RawTarget>, findings: &mut Findings<'_>) -> Option<String> {
    let Some(target) = target else {
        findings.missing(&(0..0), "target", "a table [target] with the iqn");
        return None;
    };
    let span = target.span();
    let iqn = required(target.into_inner().iqn, &span, "target.iqn", raw::IQN_RIGHT, findings)?;
    match names::check_iqn(iqn.get_ref()) {
        Ok(()) => Some(iqn.into_inner()),
        Err(wrong) => {
            findings.add(&iqn.span(), "target.iqn", wrong, raw::IQN_RIGHT);
            None
        }
    }
}

/// A head with what is compared across heads.
struct CheckedHead {
    head: Head,
    span: Range<usize>,
    link: Option<Placed<SocketAddr>>,
}

type CheckedHeads = BTreeMap<HeadName, CheckedHead>;

fn check_heads(heads: Field<RawHeads>, pair: bool, findings: &mut Findings<'_>) -> Option<CheckedHeads> {
    let Some(heads) = heads else {
        findings.missing(&(0..0), "heads", "the tables [heads.a] and, for a pair, [heads.b]");
        return None;
    };
    let span = heads.span();
    let RawHeads { a, b } = heads.into_inner();
    let a = required(a, &span, "heads.a", raw::HEAD_RIGHT, findings);
    let a = a.map(|a| check_head(a, HeadName::A, pair, findings));
    let b = b.map(|b| check_head(b, HeadName::B, pair, findings));
    let mut checked = CheckedHeads::from([(HeadName::A, a??)]);
    if let Some(b) = b {
        checked.insert(HeadName::B, b?);
        check_apart(&checked, findings);
    }
    Some(checked)
}

fn check_head(raw: Spanned<RawHead>, name: HeadName, pair: bool, findings: &mut Findings<'_>) -> Option<CheckedHead> {
    let span = raw.span();
    let RawHead { portals, link, control } = raw.into_inner();
    let key = |key: &str| format!("heads.{name}.{key}");
    let portals = check_portals(portals, &span, &key("portals"), findings);
    let link = match (link, pair) {
        (Some(link), true) => check_link_address(&link, &key("link"), portals.as_deref(), findings).map(Some),
        (None, true) => {
            findings.missing(&span, &key("link"), raw::LINK_RIGHT);
            None
        }
        (Some(link), false) => {
            findings.add(
                &link.span(),
                &key("link"),
                "a single head has no other head to link to",
                "add [heads.b], or leave it out",
            );
            None
        }
        (None, false) => Some(None),
    };
    let control = match control {
        None => Some(PathBuf::from(format!("/run/twinhead/{name}.sock"))),
        Some(control) => {
            let path = names::socket_path(control.get_ref());
            if path.is_none() {
                findings.add(&control.span(), &key("control"), "not a path for a socket", raw::CONTROL_RIGHT);
            }
            path
        }
    };
    Some(CheckedHead { head: Head { portals: portals?, control: control? }, span, link: link? })
}

fn check_portals(
    portals: Field<Vec<Spanned<toml::Value>>>,
    parent: &Range<usize>,
    key: &str,
    findings: &mut Findings<'_>,
) -> Option<Vec<Portal>> {
    let portals = required(portals, parent, key, raw::PORTALS_RIGHT, findings)?;
    if portals.get_ref().is_empty() {
        findings.missing(&portals.span(), key, raw::PORTALS_RIGHT);
        return None;
    }
    let mut checked: Vec<Portal> = Vec::new();
    let mut all_good = true;
    for raw in portals.into_inner() {
        match Portal::check(raw.get_ref()) {
            Ok(portal) if checked.iter().any(|other| other.collides(portal.listen)) => {
                findings.add(
                    &raw.span(),
                    key,
                    "listens where another portal of this head does",
                    "each address and port once",
                );
                all_good = false;
            }
            Ok(portal) if checked.iter().any(|other| other.divides(&portal)) => {
                let wrong = format!("another portal of this head has {}, and vip differently", portal.listen.ip());
                findings.add(&raw.span(), key, wrong, "vip and interface alike for all ports of an address");
                all_good = false;
            }
            Ok(portal) => checked.push(portal),
            Err(wrong) => {
                findings.add(&raw.span(), key, wrong.what, wrong.right);
                all_good = false;
            }
        }
    }
    all_good.then_some(checked)
}

fn check_link_address(
    link: &Spanned<String>,
    key: &str,
    portals: Option<&[Portal]>,
    findings: &mut Findings<'_>,
) -> Option<Placed<SocketAddr>> {
    let wrong = match portal::address(link.get_ref()) {
        Ok(address) if portal::is_wildcard(address.ip()) => "the other head cannot connect to every address".to_owned(),
        Ok(address) if portals.is_some_and(|portals| portals.iter().any(|portal| portal.collides(address))) => {
            "initiators connect there".to_owned()
        }
        Ok(address) => return Some((address, link.span())),
        Err(wrong) => wrong.what,
    };
    findings.add(&link.span(), key, wrong, raw::LINK_RIGHT);
    None
}

/// What must not be the same on both heads.
fn check_apart(heads: &CheckedHeads, findings: &mut Findings<'_>) {
    let (Some(a), Some(b)) = (heads.get(&HeadName::A), heads.get(&HeadName::B)) else { return };
    if a.head.control == b.head.control {
        findings.add(&b.span, "heads.b.control", "the same as of head a", "a path of its own for each head");
    }
    for portal in &b.head.portals {
        if a.head.portals.iter().any(|other| other.advertise == portal.advertise) {
            let wrong = format!("initiators reach head a at {} already", portal.advertise);
            findings.add(&b.span, "heads.b.portals", wrong, "addresses of its own for each head");
        }
    }
    check_vips(a, b, findings);
    if let (Some((a, _)), Some((b, span))) = (&a.link, &b.link)
        && a == b
    {
        findings.add(span, "heads.b.link", "the same as of head a", raw::LINK_RIGHT);
    }
}

/// An address that moves must have room on the other head.
fn check_vips(a: &CheckedHead, b: &CheckedHead, findings: &mut Findings<'_>) {
    let right = "an address that nothing else of the pair has";
    for (name, mine, theirs) in [(HeadName::A, a, b), (HeadName::B, b, a)] {
        for portal in mine.head.portals.iter().filter(|portal| portal.vip.is_some()) {
            let ip = portal.listen.ip();
            if theirs.head.portals.iter().any(|other| other.collides(portal.listen) || other.listen.ip() == ip) {
                let wrong = format!("{ip} cannot move to head {}, which listens there itself", name.other());
                findings.add(&mine.span, &format!("heads.{name}.portals"), wrong, right);
            }
            if [a, b].iter().any(|head| head.link.as_ref().is_some_and(|(link, _)| link.ip() == ip)) {
                let wrong = format!("{ip} cannot move: the link needs it where it is");
                findings.add(&mine.span, &format!("heads.{name}.portals"), wrong, right);
            }
        }
    }
}

/// `Some(None)` for a single head, `None` when something is wrong.
fn check_secret_file(link: Field<RawLink>, pair: bool, findings: &mut Findings<'_>) -> Option<Option<PathBuf>> {
    let link = match (link, pair) {
        (Some(link), true) => link,
        (Some(link), false) => {
            let wrong = "a single head has no other head to link to";
            findings.add(&link.span(), "link", wrong, "add [heads.b], or leave [link] out");
            return None;
        }
        (None, true) => {
            findings.missing(&(0..0), "link", format!("a table [link] with secret-file: {}", raw::SECRET_RIGHT));
            return None;
        }
        (None, false) => return Some(None),
    };
    let span = link.span();
    let secret = required(link.into_inner().secret_file, &span, "link.secret-file", raw::SECRET_RIGHT, findings)?;
    let path = names::absolute(secret.get_ref());
    if path.is_none() {
        findings.add(&secret.span(), "link.secret-file", "not an absolute path", raw::SECRET_RIGHT);
    }
    path.map(Some)
}

fn check_limits(raw: Field<RawLimits>, findings: &mut Findings<'_>) -> Option<Limits> {
    let default = Limits::default();
    let Some(raw) = raw else { return Some(default) };
    let mut raw = raw.into_inner();
    let clients = check_clients(&mut raw, findings);
    let lease_span = raw.lease_ms.as_ref().or(raw.takeover_ms.as_ref()).map(Spanned::span);
    let max_drain = check_ms(raw.max_drain_ms, default.max_drain, "limits.max-drain-ms", MAX_DRAIN_MS, findings);
    let lease = check_ms(raw.lease_ms, default.lease, "limits.lease-ms", LEASE_MS, findings);
    let takeover = check_ms(raw.takeover_ms, default.takeover, "limits.takeover-ms", TAKEOVER_MS, findings);
    let mirror_bytes = raw.mirror_bytes.map(|size| check_bytes(&size, "limits.mirror-bytes", MIRROR_BYTES, findings));
    let (lease, takeover) = (lease?, takeover?);
    if lease >= takeover {
        let (l, t) = (lease.as_millis(), takeover.as_millis());
        let wrong = format!("a lease of {l} ms is not shorter than the takeover time of {t} ms");
        findings.add(
            &lease_span.unwrap_or(0..0),
            "limits.lease-ms",
            wrong,
            "lease-ms below takeover-ms, such as 200 and 300",
        );
        return None;
    }
    let mirror_bytes = match mirror_bytes {
        Some(checked) => Some(checked?),
        None => None,
    };
    Some(Limits { max_drain: max_drain?, lease, takeover, mirror_bytes, clients: clients? })
}

fn check_clients(raw: &mut RawLimits, findings: &mut Findings<'_>) -> Option<ClientLimits> {
    let default = ClientLimits::default();
    let mut count = |field: &mut Field<u64>, default: u32, key: &str| {
        let Some(field) = field.take() else { return Some(default) };
        let count = u32::try_from(*field.get_ref()).ok().filter(|count| CONNECTIONS.contains(count));
        if count.is_none() {
            let right = format!("{} to {} connections, such as {default}", CONNECTIONS.start(), CONNECTIONS.end());
            findings.add(&field.span(), key, "out of range", right);
        }
        count
    };
    let connections = count(&mut raw.connections, default.connections, "limits.connections");
    let per_address = &mut raw.connections_per_address;
    let per_address = count(per_address, default.connections_per_address, "limits.connections-per-address");
    let logins = count(&mut raw.logins, default.logins, "limits.logins");
    let logins_per_address =
        count(&mut raw.logins_per_address, default.logins_per_address, "limits.logins-per-address");
    let bytes = match raw.client_bytes.take() {
        Some(size) => check_bytes(&size, "limits.client-bytes", CLIENT_BYTES, findings),
        None => Some(default.bytes),
    };
    Some(ClientLimits {
        connections: connections?,
        connections_per_address: per_address?,
        logins: logins?,
        logins_per_address: logins_per_address?,
        bytes: bytes?,
    })
}

fn check_ms(
    field: Field<u64>,
    default: Duration,
    key: &str,
    allowed: RangeInclusive<u64>,
    findings: &mut Findings<'_>,
) -> Option<Duration> {
    let Some(field) = field else { return Some(default) };
    let ms = *field.get_ref();
    if allowed.contains(&ms) {
        return Some(Duration::from_millis(ms));
    }
    let right = format!("{} to {} milliseconds, such as {}", allowed.start(), allowed.end(), default.as_millis());
    findings.add(&field.span(), key, "out of range", right);
    None
}

fn check_bytes(
    size: &Spanned<RawSize>,
    key: &str,
    allowed: RangeInclusive<u64>,
    findings: &mut Findings<'_>,
) -> Option<u64> {
    let right = format!("{} to {}, such as \"1GiB\"", ByteSize(*allowed.start()), ByteSize(*allowed.end()));
    let bytes = match size.get_ref() {
        RawSize::Bytes(bytes) => Ok(ByteSize(*bytes)),
        RawSize::Human(text) => text.parse(),
    };
    let wrong = match bytes {
        Ok(ByteSize(bytes)) if allowed.contains(&bytes) => return Some(bytes),
        Ok(_) => "out of range".to_owned(),
        Err(error) => error.to_string(),
    };
    findings.add(&size.span(), key, wrong, right);
    None
}

/// LUNs by number, and where they stand.
type CheckedLuns = BTreeMap<u8, Placed<Lun>>;

fn check_luns(luns: Field<Vec<Spanned<RawLun>>>, pair: bool, findings: &mut Findings<'_>) -> Option<CheckedLuns> {
    let raw = luns.map(Spanned::into_inner).unwrap_or_default();
    if raw.is_empty() {
        findings.missing(&(0..0), "luns", raw::LUNS_RIGHT);
    }
    let count = raw.len();
    let mut luns = CheckedLuns::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let span = raw.span();
        if let Some(lun) = check_lun(raw, index, &luns, pair, findings) {
            luns.insert(lun.id, (lun, span));
        }
    }
    (luns.len() == count).then_some(luns)
}

fn check_lun(
    raw: Spanned<RawLun>,
    index: usize,
    others: &CheckedLuns,
    pair: bool,
    findings: &mut Findings<'_>,
) -> Option<Lun> {
    let parent = raw.span();
    let raw = raw.into_inner();
    let key = |key: &str| format!("luns[{index}].{key}");
    let id = required(raw.id, &parent, &key("id"), raw::LUN_ID_RIGHT, findings).and_then(|id| {
        let taken = |id: &u8| others.get(id).map(|(other, _)| format!("used by {} already", other.name));
        let checked = u8::try_from(*id.get_ref()).map_err(|_| "not a LUN number".to_owned());
        accept(checked, taken, &id.span(), &key("id"), raw::LUN_ID_RIGHT, findings)
    });
    let name = required(raw.name, &parent, &key("name"), raw::LUN_NAME_RIGHT, findings).and_then(|name| {
        let taken =
            |name: &String| by(others, |lun| lun.name == *name).map(|id| format!("the name of LUN {id} already"));
        let good = names::is_lun_name(name.get_ref());
        let checked = good.then(|| name.get_ref().clone()).ok_or_else(|| "not a name for a LUN".to_owned());
        accept(checked, taken, &name.span(), &key("name"), raw::LUN_NAME_RIGHT, findings)
    });
    let disk = required(raw.disk, &parent, &key("disk"), raw::DISK_RIGHT, findings).and_then(|disk| {
        let taken =
            |disk: &PathBuf| by(others, |lun| lun.disk == *disk).map(|id| format!("the disk of LUN {id} already"));
        let checked = names::absolute(disk.get_ref()).ok_or_else(|| "not a path to a disk".to_owned());
        accept(checked, taken, &disk.span(), &key("disk"), raw::DISK_RIGHT, findings)
    });
    let preferred = raw.preferred.map_or(Some(HeadName::A), |preferred| {
        let absent = |name: &HeadName| (*name == HeadName::B && !pair).then(|| "there is no such head".to_owned());
        let right = "a head that is configured: \"a\", or with two heads \"b\"";
        accept(preferred.get_ref().parse(), absent, &preferred.span(), &key("preferred"), right, findings)
    });
    let block_bytes = raw.block_bytes.map_or(Some(None), |bytes| {
        let checked = match bytes.get_ref() {
            512 => Ok(Some(512)),
            4096 => Ok(Some(4096)),
            _ => Err("not a block size".to_owned()),
        };
        accept(checked, |_| None, &bytes.span(), &key("block-bytes"), raw::BLOCK_BYTES_RIGHT, findings)
    });
    let least = block_bytes.flatten();
    let physical = raw.physical_block_bytes;
    let physical_block_bytes =
        check_unit_of_writing(physical, least, &key("physical-block-bytes"), raw::PHYSICAL_RIGHT, findings);
    let least = physical_block_bytes.flatten().or(least);
    let atomic = raw.atomic_write_bytes;
    let atomic_write_bytes =
        check_unit_of_writing(atomic, least, &key("atomic-write-bytes"), raw::ATOMIC_RIGHT, findings);
    let removable = raw.removable.is_some_and(Spanned::into_inner);
    let thin = raw.thin.is_some_and(Spanned::into_inner);
    let sanitize_key = key("sanitize-bytes-per-second");
    let sanitize = raw.sanitize_bytes_per_second;
    let sanitize = sanitize.map(|size| check_bytes(&size, &sanitize_key, SANITIZE_BYTES, findings));
    let read_only = raw.read_only.is_some_and(Spanned::into_inner);
    let lists = check_lists(raw.initiators, raw.writers, read_only, key, findings);
    let (id, name, disk, preferred, block_bytes) = (id?, name?, disk?, preferred?, block_bytes?);
    let (physical_block_bytes, atomic_write_bytes) = (physical_block_bytes?, atomic_write_bytes?);
    let sanitize_bytes_per_second = match sanitize {
        Some(bytes) => Some(bytes?),
        None => None,
    };
    let (initiators, writers) = lists?;
    Some(Lun {
        id,
        name,
        disk,
        preferred,
        block_bytes,
        physical_block_bytes,
        atomic_write_bytes,
        removable,
        thin,
        sanitize_bytes_per_second,
        read_only,
        initiators,
        writers,
    })
}

/// What the disk writes at once: not below `least`, which says the same of a smaller unit.
fn check_unit_of_writing(
    size: Field<RawSize>,
    least: Option<u32>,
    key: &str,
    right: &str,
    findings: &mut Findings<'_>,
) -> Option<Option<u32>> {
    let Some(size) = size else { return Some(None) };
    let bytes = match size.get_ref() {
        RawSize::Bytes(bytes) => Ok(ByteSize(*bytes)),
        RawSize::Human(text) => text.parse().map_err(|error: SizeError| error.to_string()),
    };
    let checked = bytes.and_then(|ByteSize(bytes)| {
        let good = u32::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two());
        good.filter(|bytes| UNIT_OF_WRITING_BYTES.contains(bytes)).ok_or_else(|| "not such a size".to_owned())
    });
    let too_small = |bytes: &u32| {
        let least = least.filter(|least| bytes < least)?;
        Some(format!("below the {least} bytes of a block"))
    };
    accept(checked, too_small, &size.span(), key, right, findings).map(Some)
}

/// Names of initiators; `None`: all.
type List = Option<BTreeSet<String>>;

/// Who sees a LUN, and who of these may write.
fn check_lists(
    initiators: Names,
    writers: Names,
    read_only: bool,
    key: impl Fn(&str) -> String,
    findings: &mut Findings<'_>,
) -> Option<(List, List)> {
    let mut check = |names: Names, setting: &str, nobody: &str| match names {
        Some(names) => check_names(names, &key(setting), nobody, NAMES_MAX, findings).map(Some),
        None => Some(None),
    };
    let span = writers.as_ref().or(initiators.as_ref()).map(Spanned::span).unwrap_or_default();
    let (has_writers, may_write) = (writers.is_some(), !read_only);
    let initiators = check(initiators, "initiators", "nobody could see it");
    let writers = if may_write { check(writers, "writers", "nobody could write") } else { Some(None) };
    if has_writers && read_only {
        let right = "either read-only = true, or writers";
        findings.add(&span, &key("writers"), "with read-only = true nobody may write", right);
        return None;
    }
    let (initiators, writers) = (initiators?, writers?);
    let bytes: usize = initiators.iter().chain(&writers).flatten().map(|name| name.len() + 2).sum();
    if bytes > NAMES_BYTES_MAX {
        findings.add(&span, &key("initiators"), "more names than a LUN can have", "fewer names, or shorter ones");
        return None;
    }
    if let (Some(initiators), Some(writers)) = (&initiators, &writers)
        && let Some(blind) = writers.difference(initiators).next()
    {
        let right = "names that are also in the initiators of this LUN";
        findings.add(&span, &key("writers"), format!("{blind} does not see this LUN"), right);
        return None;
    }
    Some((initiators, writers))
}

/// The value if it is right and nothing stands `against` it.
fn accept<T>(
    checked: Result<T, String>,
    against: impl Fn(&T) -> Option<String>,
    span: &Range<usize>,
    key: &str,
    right: &str,
    findings: &mut Findings<'_>,
) -> Option<T> {
    let refused = checked.and_then(|value| against(&value).map_or(Ok(value), Err));
    refused.map_err(|wrong| findings.add(span, key, wrong, right)).ok()
}

fn by(luns: &CheckedLuns, same: impl Fn(&Lun) -> bool) -> Option<u8> {
    luns.values().find(|(lun, _)| same(lun)).map(|(lun, _)| lun.id)
}

pub(super) fn required<T>(
    field: Field<T>,
    parent: &Range<usize>,
    key: &str,
    right: &str,
    findings: &mut Findings<'_>,
) -> Option<Spanned<T>> {
    if field.is_none() {
        findings.missing(parent, key, right);
    }
    field
}
