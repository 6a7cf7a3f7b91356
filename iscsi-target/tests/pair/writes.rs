//! Writes that are no whole blocks.

use bytes::Bytes;
use iscsi_target::initiator::command::Command;

use super::heads::{GOOD, Lun, Pair, US};

/// WRITE of so many blocks, for which less comes.
fn write_part(lun: &mut Lun<'_>, lba: u64, blocks: u32, data: &[u8]) {
    let answer = lun.execute(Command::write(lba, blocks, Bytes::copy_from_slice(data), false));
    assert_eq!(answer.status, GOOD);
}

#[test]
fn a_block_of_which_only_the_beginning_comes_keeps_the_rest() {
    let pair = Pair::start(6, &[("large", "block-bytes = 4096")]);
    let [mut ours, mut there] = [0, 1].map(|head| pair.session(US, head, 0));
    for lun in [&mut ours, &mut there] {
        lun.block_bytes = 4096;
    }
    ours.write(8, &[1; 3 * 4096]);
    write_part(&mut there, 8, 1, &[2; 512]);
    write_part(&mut ours, 9, 2, &[3; 4096 + 1000]);
    let expected = [&[2; 512][..], &[1; 4096 - 512], &[3; 4096 + 1000], &[1; 4096 - 1000]].concat();
    for lun in [&mut ours, &mut there] {
        assert!(lun.read(8, 3 * 4096) == expected);
    }
}
