//! LOGICAL UNIT RESET and logout while the LUN changes its owner: once they are answered, they have happened, at both heads.

use std::process::Stdio;

use super::heads::{GOOD, Pair, STRANGER, US, targetctl};
use super::wire::Wire;

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const RESERVE: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
const RELEASE: [u8; 6] = [0x17, 0, 0, 0, 0, 0];
const UNIT_ATTENTION: u8 = 0x06;
/// BUS DEVICE RESET FUNCTION OCCURRED.
const RESET: [u8; 3] = [UNIT_ATTENTION, 0x29, 0x03];

/// All unit attentions that wait.
fn attentions(wire: &mut Wire) -> Vec<[u8; 3]> {
    let next = || Some(wire.command(&TEST_UNIT_READY, &[]).1).filter(|sense| sense[0] == UNIT_ATTENTION);
    std::iter::from_fn(next).collect()
}

/// As every initiator does it: again after a unit attention.
fn done(wire: &mut Wire, cdb: &[u8]) -> u8 {
    loop {
        let (status, sense) = wire.command(cdb, &[]);
        if sense[0] != UNIT_ATTENTION {
            return status;
        }
    }
}

/// While the LUN goes to and fro, over and over.
fn while_it_moves(pair: &Pair, mut act: impl FnMut(&str)) {
    for to in ["b", "a"].repeat(10) {
        let mut moving = targetctl(&pair.config, &["--head", "a", "handover", "db", "--to", to]);
        let mut moving = moving.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while moving.try_wait().unwrap().is_none() {
            act(to);
        }
    }
}

#[test]
fn a_reset_reaches_everybody_although_the_lun_moves_meanwhile() {
    let pair = Pair::start(9, &[("db", "")]);
    let [mut ours, mut theirs] = [(US, 0), (STRANGER, 1)].map(|(initiator, head)| pair.wire(initiator, head));
    while_it_moves(&pair, |to| {
        assert_eq!(done(&mut ours, &RESERVE), GOOD, "to head {to}");
        attentions(&mut theirs);
        ours.reset();
        assert!(attentions(&mut theirs).contains(&RESET), "nobody was told, to head {to}");
        assert_eq!(done(&mut theirs, &RESERVE), GOOD, "to head {to}");
        assert_eq!(done(&mut theirs, &RELEASE), GOOD, "to head {to}");
    });
}

#[test]
fn a_logout_ends_what_its_session_held_although_the_lun_moves_meanwhile() {
    let pair = Pair::start(10, &[("db", "")]);
    let mut theirs = pair.wire(STRANGER, 1);
    while_it_moves(&pair, |to| {
        let mut ours = pair.wire(US, 0);
        assert_eq!(done(&mut ours, &RESERVE), GOOD, "to head {to}");
        ours.log_out();
        assert_eq!(done(&mut theirs, &TEST_UNIT_READY), GOOD, "it is still reserved, to head {to}");
    });
}
