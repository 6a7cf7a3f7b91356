//! Fills in the status document from what the units know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use replication::head::{Access, Status as HeadState};
use replication::message::Mode as HeadMode;

use super::config::{HeadName, Lun as LunConfig, differences};
use super::lun::{Lun, Pair};
use super::status::{HeadStatus, HeldAddress, LinkStatus, LunStatus, Mode, Status, VERSION};

/// What this head knows.
pub(crate) fn status(pair: &Pair) -> Status {
    let link = pair.link.state();
    let me = pair.name();
    let held = pair.portals.held();
    let luns = pair.registry.luns();
    let theirs = luns.iter().find_map(|lun| lun.status().peer_sessions);
    let sessions: BTreeMap<HeadName, u32> = [(me, Some(pair.registry.sessions())), (me.other(), theirs)]
        .into_iter()
        .filter_map(|(head, of)| Some((head, of?)))
        .collect();
    let heads = pair.config.heads.iter().map(|(name, head)| HeadStatus {
        name: *name,
        up: *name == me || link.peer.is_some(),
        incarnation: if *name == me { Some(pair.incarnation) } else { link.peer }
            .map(|of| format!("{:016x}", of.get())),
        portals: head.portals.iter().map(|portal| portal.advertise.clone()).collect(),
        sessions: sessions.get(name).copied().unwrap_or(0),
        addresses: held.get(name).into_iter().flatten().map(|(ip, of)| held_address(*ip, *of, *name)).collect(),
    });
    Status {
        version: VERSION,
        target: pair.config.iqn.clone(),
        head: me,
        heads: heads.collect(),
        luns: all_luns(pair, &sessions),
        link: pair.config.link.as_ref().map(|addresses| LinkStatus {
            up: link.peer.is_some(),
            peer: addresses.address_of(me.other()).to_string(),
            reason: link.peer.is_none().then(|| link.reason.clone()),
        }),
    }
}

/// Those that are open and those that could not be opened, by number.
fn all_luns(pair: &Pair, sessions: &BTreeMap<HeadName, u32>) -> Vec<LunStatus> {
    let open = pair.registry.luns();
    let open = open.iter().map(|lun| lun_status(pair, lun, sessions));
    let failed = pair.registry.failed();
    let failed = failed.iter().map(|(config, why)| failed_status(config, why));
    let mut all: Vec<LunStatus> = open.chain(failed).collect();
    all.sort_by_key(|lun| lun.id);
    all
}

/// A LUN of which this head knows no more than its file.
fn failed_status(config: &LunConfig, why: &str) -> LunStatus {
    LunStatus {
        id: config.id,
        name: config.name.clone(),
        owner: None,
        mode: Mode::Unavailable,
        protected_by: "nothing is served".to_owned(),
        epoch: 0,
        dirty_bytes: 0,
        mirror_bytes: 0,
        size_bytes: 0,
        sessions: BTreeMap::new(),
        reason: Some(format!("not open on this head: {why}")),
        sanitize: None,
        differs: Vec::new(),
    }
}

/// Why the heads are no pair for this LUN although they are connected, and in what else their files differ.
fn compared(pair: &Pair, lun: &Lun) -> (Option<String>, Vec<String>) {
    if pair.link.state().peer.is_none() {
        return (None, Vec::new());
    }
    let Some(theirs) = pair.link.settings_of_peer(lun.id()) else {
        let other = pair.name().other();
        let why = format!("not mirrored: head {other} is connected, but has not opened this LUN; is it in its file?");
        return (Some(why), Vec::new());
    };
    let ours = lun.settings();
    let words = |here, there| differences(here, there).iter().map(ToString::to_string).collect::<Vec<_>>();
    let fixed = words(ours.fixed(), theirs.fixed());
    let why = (!fixed.is_empty()).then(|| format!("not mirrored: the heads do not agree: {}", fixed.join("; ")));
    (why, words(ours.online(), theirs.online()))
}

fn held_address(ip: IpAddr, of: HeadName, by: HeadName) -> HeldAddress {
    HeldAddress { address: ip.to_string(), adopted: of != by }
}

fn lun_status(pair: &Pair, lun: &Rc<Lun>, sessions: &BTreeMap<HeadName, u32>) -> LunStatus {
    let state = lun.status();
    let mode = mode_of(&state);
    let block = u64::from(lun.block_bytes);
    let usual = matches!(mode, Mode::Mirrored) || (pair.config.single() && mode == Mode::Solo);
    let (not_mirrored, differs) = compared(pair, lun);
    let reason = match not_mirrored {
        _ if lun.is_leaving() => Some(format!("being taken out: {}", state.reason)),
        Some(why) if mode == Mode::Solo => Some(why),
        Some(why) => Some(format!("{}; {why}", state.reason)),
        None => (!usual).then(|| state.reason.clone()),
    };
    LunStatus {
        id: lun.id(),
        name: lun.name(),
        owner: state.owner.map(HeadName::from),
        mode,
        protected_by: protected_by(&state, mode),
        epoch: state.epoch.0,
        dirty_bytes: state.dirty_blocks * block,
        mirror_bytes: state.mirror_blocks * block,
        size_bytes: lun.size_bytes(),
        sessions: sessions.clone(),
        reason,
        sanitize: lun.sanitize_in_words(),
        differs,
    }
}

fn mode_of(state: &HeadState) -> Mode {
    match state.mode {
        Some(HeadMode::Solo) => Mode::Solo,
        Some(HeadMode::Draining) => Mode::Draining,
        Some(HeadMode::Joining) => Mode::Joining,
        Some(HeadMode::Mirrored) => Mode::Mirrored,
        Some(HeadMode::Degrading) => Mode::Degrading,
        Some(HeadMode::HandingOver) => Mode::HandingOver,
        None if state.access == Access::Changing => Mode::HandingOver,
        None if state.access == Access::Standby => Mode::Solo,
        None => Mode::Unavailable,
    }
}

fn protected_by(state: &HeadState, mode: Mode) -> String {
    if state.mode.is_none() && state.access == Access::Changing {
        return "what it was, until it is decided who serves".to_owned();
    }
    let owner = state.owner.map(HeadName::from);
    let by = |head: HeadName| format!("RAM of head {head}");
    match mode {
        Mode::Mirrored | Mode::HandingOver => "RAM of heads a and b".to_owned(),
        Mode::Solo | Mode::Joining => "the disk".to_owned(),
        Mode::Draining => {
            owner.map_or_else(|| "one head's RAM".to_owned(), |owner| format!("the disk and {}", by(owner)))
        }
        Mode::Degrading => "RAM, until the disk has everything; nothing new is acknowledged".to_owned(),
        Mode::Unavailable => "nothing is served".to_owned(),
    }
}
