//! Fills in the status document from what the units know.

use std::collections::BTreeMap;
use std::rc::Rc;

use replication::head::{Access, Status as HeadState};
use replication::message::Mode as HeadMode;

use super::config::HeadName;
use super::lun::{Lun, Pair};
use super::status::{HeadStatus, LinkStatus, LunStatus, Mode, Status, VERSION};

/// What this head knows.
pub(crate) fn status(pair: &Pair) -> Status {
    let link = pair.link.state();
    let me = pair.name();
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
    });
    Status {
        version: VERSION,
        target: pair.config.iqn.clone(),
        head: me,
        heads: heads.collect(),
        luns: luns.iter().map(|lun| lun_status(pair, lun, &sessions)).collect(),
        link: pair.config.link.as_ref().map(|addresses| LinkStatus {
            up: link.peer.is_some(),
            peer: addresses.address_of(me.other()).to_string(),
            reason: link.peer.is_none().then(|| link.reason.clone()),
        }),
    }
}

fn lun_status(pair: &Pair, lun: &Rc<Lun>, sessions: &BTreeMap<HeadName, u32>) -> LunStatus {
    let state = lun.status();
    let mode = mode_of(&state);
    let block = u64::from(lun.block_bytes);
    let usual = matches!(mode, Mode::Mirrored) || (pair.config.single() && mode == Mode::Solo);
    LunStatus {
        id: lun.config.id,
        name: lun.config.name.clone(),
        owner: state.owner.map(HeadName::from),
        mode,
        protected_by: protected_by(&state, mode),
        epoch: state.epoch.0,
        dirty_bytes: state.dirty_blocks * block,
        mirror_bytes: state.mirror_blocks * block,
        size_bytes: lun.size_bytes(),
        sessions: sessions.clone(),
        reason: (!usual).then(|| state.reason.clone()),
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
