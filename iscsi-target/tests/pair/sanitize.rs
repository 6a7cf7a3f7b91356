//! SANITIZE against real heads: whoever owns the LUN goes on with it, and nothing of what was there is left.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use bytes::Bytes;
use iscsi_target::initiator::command::{Command, Data};

use super::heads::{GOOD, Lun, PATIENCE, Pair, US};

const IMMED: u8 = 0x80;
/// What is there before.
const SECRET: [u8; 4096] = [0x5E; 4096];
/// The last 4 MiB of the disk belong to the heads.
const SIZE: u64 = 124 << 20;

/// Once, with a pattern of three bytes.
const LIST: [u8; 7] = [1, 0, 0, 3, 0xA1, 0xA2, 0xA3];

/// OVERWRITE.
fn overwrite(flags: u8) -> Command {
    let cdb = vec![0x48, 0x01 | flags, 0, 0, 0, 0, 0, 0, 7, 0];
    Command { cdb, data: Data::Out(Bytes::copy_from_slice(&LIST)) }
}

/// A block after it.
fn overwritten() -> Vec<u8> {
    [0xA1, 0xA2, 0xA3].into_iter().cycle().take(512).collect()
}

/// PROGRESS INDICATION, if REQUEST SENSE says that it is in progress.
fn progress(lun: &mut Lun<'_>) -> Option<u16> {
    let answer = lun.execute(Command { cdb: vec![0x03, 0, 0, 0, 18, 0], data: Data::In(18) });
    let sense = &answer.data;
    let said = (sense[2], sense[12], sense[13], sense[15]);
    (said == (0x02, 0x04, 0x1B, 0x80)).then(|| u16::from_be_bytes([sense[16], sense[17]]))
}

fn await_progress(pair: &Pair, lun: &mut Lun<'_>) {
    let since = pair.clock.now();
    while progress(lun).is_none_or(|progress| progress == 0) {
        assert!(pair.clock.now() < since + PATIENCE, "it does not get on");
    }
}

/// What the initiator is told to wait for it waits for.
fn await_end(lun: &mut Lun<'_>) {
    assert_eq!(lun.execute(Command::test_unit_ready()).status, GOOD);
}

/// Neither a client nor whoever has the disk in his hands finds anything.
fn assert_overwritten(pair: &Pair, lun: &mut Lun<'_>) {
    let disk = File::open(pair.folder.join("db.img")).unwrap();
    for at in [0, SIZE / 2, SIZE - 512] {
        assert!(lun.read(at / 512, 512) == overwritten(), "at {at}");
        let mut on_disk = [0; 512];
        disk.read_exact_at(&mut on_disk, at).unwrap();
        assert!(on_disk[..] == overwritten(), "on the disk at {at}");
    }
}

/// Secrets at both ends and in the middle; the disk is slow enough to be interrupted.
fn start(test: u8) -> Pair {
    let pair = Pair::start(test, &[("db", "sanitize-bytes-per-second = \"32MiB\"")]);
    let mut lun = pair.session(US, 0, 0);
    for at in [0, SIZE / 2, SIZE - 4096] {
        lun.write(at / 512, &SECRET);
    }
    drop(lun);
    pair
}

#[test]
fn a_new_owner_goes_on_with_it() {
    let mut pair = start(3);
    let mut lun = pair.session(US, 0, 0);
    assert_eq!(lun.execute(overwrite(IMMED)).status, GOOD);
    await_progress(&pair, &mut lun);
    let mut there = pair.session(US, 1, 0);
    assert!(progress(&mut there).is_some(), "through the other head");
    drop((lun, there));
    pair.kill_first_head();

    let mut there = pair.session(US, 1, 0);
    await_end(&mut there);
    assert_overwritten(&pair, &mut there);
}

#[test]
fn it_outlives_both_heads() {
    let mut pair = start(4);
    let mut lun = pair.session(US, 0, 0);
    assert_eq!(lun.execute(overwrite(IMMED)).status, GOOD);
    await_progress(&pair, &mut lun);
    drop(lun);
    pair.kill_heads();
    pair.start_head("a");
    // What was in RAM only is lost, and none of it may count as overwritten.
    pair.accept_loss("db");

    let mut lun = pair.session(US, 0, 0);
    await_end(&mut lun);
    assert_overwritten(&pair, &mut lun);
}

#[test]
fn whoever_waits_for_it_hears_of_its_end_through_either_head() {
    let pair = start(5);
    let mut there = pair.session(US, 1, 0);
    assert_eq!(there.execute(Command::test_unit_ready()).status, GOOD);
    there.engine.submit(overwrite(0));
    let mut lun = pair.session(US, 0, 0);
    await_progress(&pair, &mut lun);
    assert_eq!(there.answer().1.status, GOOD);
    assert_overwritten(&pair, &mut lun);
}

#[test]
fn whoever_waits_for_it_hears_of_its_end_although_the_lun_moves_meanwhile() {
    let pair = start(7);
    let mut waiting = pair.wire(US, 0);
    let mut lun = pair.session(US, 1, 0);
    // Away from the head through which it came, and then to it.
    for to in ["b", "a"] {
        while waiting.command(&Command::test_unit_ready().cdb, &[]).0 != GOOD {}
        waiting.send_command(&overwrite(0).cdb, &LIST);
        await_progress(&pair, &mut lun);
        pair.hand_over("db", to);
        await_progress(&pair, &mut lun);
        assert_eq!(waiting.answer(), (GOOD, [0; 3]), "to head {to}");
    }
    assert_overwritten(&pair, &mut lun);
}

#[test]
fn it_comes_to_its_end_although_the_lun_moves_every_second() {
    let pair = start(8);
    let mut lun = pair.session(US, 0, 0);
    assert_eq!(lun.execute(overwrite(IMMED)).status, GOOD);
    // The end is when it is answered.
    lun.engine.submit(Command::test_unit_ready());
    let since = pair.clock.now();
    let mut answer = None;
    for to in ["b", "a"].into_iter().cycle() {
        pair.hand_over("db", to);
        let next = pair.clock.now() + Duration::from_secs(1);
        while pair.clock.now() < next {
            pair.runtime.block_on(lun.engine.wait(pair.soon()));
        }
        answer = lun.engine.take_result();
        if answer.is_some() || pair.clock.now() > since + PATIENCE {
            break;
        }
    }
    assert_eq!(answer.expect("an end").1.status, GOOD);
    assert_overwritten(&pair, &mut lun);
}
