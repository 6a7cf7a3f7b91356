//! EXTENDED COPY against real heads: between LUNs that are served here and elsewhere, of different blocks, and never
//! between LUNs that the initiator does not have.

use std::process::Stdio;

use iscsi_target::initiator::command::{Answer, Command, Data, Sense};

use super::heads::{GOOD, Lun, PATIENCE, Pair, STRANGER, US, refused, targetctl};

const OURS: u64 = 0;
const OF_THE_OTHER_HEAD: u64 = 1;
const LARGE_BLOCKS: u64 = 2;
const MASKED: u64 = 3;
const READ_ONLY: u64 = 4;
const NOT_REACHABLE: Sense = Sense { key: 0x0A, asc: 0x0D, ascq: 0x02 };
const COPY_ABORTED: Sense = Sense { key: 0x0A, asc: 0x00, ascq: 0x00 };

/// The pair of this test, with a LUN that head b owns and else what head a does.
fn start(test: u8) -> Pair {
    let masked = format!("initiators = [\"{STRANGER}\"]");
    let luns = [
        ("ours", ""),
        ("other", ""),
        ("large", "block-bytes = 4096"),
        ("masked", masked.as_str()),
        ("read-only", "read-only = true"),
    ];
    let pair = Pair::start(test, &luns);
    pair.hand_over("other", "b");
    pair
}

/// A session with a LUN that the head serves by now, or forwards.
fn session<'a>(pair: &'a Pair, initiator: &str, head: usize, lun: u64) -> Lun<'a> {
    let mut lun = pair.session(initiator, head, lun);
    let capacity = lun.execute(Command::read_capacity());
    lun.block_bytes = u32::from_be_bytes(capacity.data[8..12].try_into().unwrap());
    let page = lun.execute(Command::inquiry_device_identification());
    lun.naa = page.data[8..8 + usize::from(page.data[7])].to_vec();
    lun.read(0, 4096);
    lun
}

trait Copies {
    /// EXTENDED COPY through this LUN: so many blocks of the source, from here to there.
    fn copy(&mut self, from: (&Name, u64), to: (&Name, u64), blocks: u16) -> Answer;

    fn name(&self) -> Name;
}

impl Copies for Lun<'_> {
    fn copy(&mut self, from: (&Name, u64), to: (&Name, u64), blocks: u16) -> Answer {
        self.execute(extended_copy(from, to, blocks, 1))
    }

    fn name(&self) -> Name {
        Name { naa: self.naa.clone(), block_bytes: self.block_bytes }
    }
}

/// EXTENDED COPY, the same segment so many times.
fn extended_copy(
    (from, source_lba): (&Name, u64),
    (to, destination_lba): (&Name, u64),
    blocks: u16,
    times: usize,
) -> Command {
    let mut list = vec![1, 0, 0, 64, 0, 0, 0, 0];
    list.extend(u32::try_from(28 * times).unwrap().to_be_bytes());
    list.extend([0; 4]);
    for Name { naa, block_bytes } in [from, to] {
        list.extend([0xE4, 0, 0, 0, 1, 3, 0, u8::try_from(naa.len()).unwrap()]);
        list.extend(naa);
        list.resize(list.len() + 20 - naa.len(), 0);
        list.extend(block_bytes.to_be_bytes());
    }
    for _ in 0..times {
        list.extend([2, 0, 0, 24, 0, 0, 0, 1, 0, 0]);
        list.extend(blocks.to_be_bytes());
        list.extend(source_lba.to_be_bytes());
        list.extend(destination_lba.to_be_bytes());
    }
    let mut cdb = vec![0; 16];
    cdb[0] = 0x83;
    cdb[10..14].copy_from_slice(&u32::try_from(list.len()).unwrap().to_be_bytes());
    Command { cdb, data: Data::Out(list.into()) }
}

/// What a list calls a LUN.
#[derive(Clone)]
struct Name {
    naa: Vec<u8>,
    block_bytes: u32,
}

/// So many bytes of which no block is like another.
fn pattern(bytes: usize, seed: u32) -> Vec<u8> {
    (0..u32::try_from(bytes / 4).unwrap())
        .flat_map(|word| (word.wrapping_mul(2_654_435_761) ^ seed).to_be_bytes())
        .collect()
}

#[test]
fn copies_between_luns_through_either_head() {
    let pair = start(0);
    let [mut ours, mut others, mut large] =
        [OURS, OF_THE_OTHER_HEAD, LARGE_BLOCKS].map(|lun| session(&pair, US, 0, lun));
    let mut others_there = session(&pair, US, 1, OF_THE_OTHER_HEAD);
    let data = pattern(3 << 20, 1);
    let blocks = u16::try_from(data.len() / 512).unwrap();
    ours.write(16, &data);

    // Within a LUN, over itself, towards its end: what is still to be read must not be overwritten.
    assert_eq!(ours.copy((&ours.name(), 16), (&ours.name(), 24), blocks).status, GOOD);
    assert_eq!(ours.read(24, data.len()), data);
    assert_eq!(ours.read(16, 8 * 512), data[..8 * 512]);

    // To a LUN that the other head serves, and back again through that head, to one that the first one serves.
    assert_eq!(ours.copy((&ours.name(), 24), (&others.name(), 7), blocks).status, GOOD);
    assert_eq!(others.read(7, data.len()), data);
    assert_eq!(others_there.read(7, data.len()), data);
    assert_eq!(others_there.copy((&others.name(), 7), (&ours.name(), 40_000), blocks).status, GOOD);
    assert_eq!(ours.read(40_000, data.len()), data);

    // To larger blocks; what does not fill them is refused.
    assert_eq!(large.copy((&ours.name(), 24), (&large.name(), 3), blocks).status, GOOD);
    assert_eq!(large.read(3, data.len()), data);
    let answer = large.copy((&ours.name(), 24), (&large.name(), 3), 9);
    assert!(refused(&answer, Sense { key: 0x0A, asc: 0x26, ascq: 0x0A }), "{answer:?}");

    // A LUN that this initiator may only read is a source and no destination.
    let mut protected = session(&pair, US, 0, READ_ONLY);
    assert_eq!(protected.copy((&protected.name(), 0), (&ours.name(), 24), 8).status, GOOD);
    assert_eq!(ours.read(24, 8 * 512), [0; 8 * 512]);
    let answer = ours.copy((&ours.name(), 32), (&protected.name(), 0), 8);
    assert!(refused(&answer, COPY_ABORTED), "{answer:?}");
    assert_eq!(protected.read(0, 8 * 512), [0; 8 * 512]);

    // A LUN that this initiator does not see can be neither read nor written, and looks like none at all.
    let mut masked = session(&pair, STRANGER, 0, MASKED);
    let secret = pattern(8 * 512, 2);
    masked.write(0, &secret);
    let nowhere = Name { naa: pattern(16, 3), block_bytes: 512 };
    for hidden in [masked.name(), nowhere] {
        let read = ours.copy((&hidden, 0), (&ours.name(), 24), 8);
        let written = ours.copy((&ours.name(), 32), (&hidden, 0), 8);
        assert!(refused(&read, NOT_REACHABLE) && refused(&written, NOT_REACHABLE), "{read:?} {written:?}");
    }
    assert_eq!(ours.read(24, 8 * 512), [0; 8 * 512]);
    assert_eq!(masked.read(0, secret.len()), secret);
    assert_eq!(masked.copy((&masked.name(), 0), (&masked.name(), 64), 8).status, GOOD, "whose it is may copy it");
    assert_eq!(masked.read(64, secret.len()), secret);
}

#[test]
fn a_copy_ends_with_its_session_and_touches_nothing_afterwards() {
    let pair = start(1);
    let mut observer = session(&pair, US, 1, OF_THE_OTHER_HEAD);
    let mut ours = session(&pair, US, 0, OURS);
    ours.write(0, &pattern(512, 1));
    let long = extended_copy((&ours.name(), 0), (&observer.name(), 0), 65_535, 64);
    ours.engine.submit(long);
    while observer.read(0, 512) == [0; 512] {
        pair.runtime.block_on(ours.engine.wait(pair.soon()));
        assert!(pair.clock.now() < 2 * PATIENCE, "the copy does not get there");
    }
    drop(ours);

    // The copy was on its way to these blocks, for dozens of times.
    let mut again = session(&pair, US, 0, OURS);
    let ours = pattern(1 << 20, 2);
    for part in 24..31 {
        observer.write(part * 2048, &ours);
    }
    let answer = again.copy((&again.name(), 0), (&again.name(), 65_536), 60_000);
    assert_eq!(answer.status, GOOD, "{answer:?}");
    for part in 24..31 {
        assert!(observer.read(part * 2048, ours.len()) == ours, "part {part} was copied to after the end");
    }
}

#[test]
fn a_copy_is_finished_although_its_luns_move_meanwhile() {
    let pair = start(2);
    let [mut ours, mut others] = [OURS, OF_THE_OTHER_HEAD].map(|lun| session(&pair, US, 0, lun));
    let data = pattern(30 << 20, 1);
    for (part, data) in (0..).zip(data.chunks(1 << 20)) {
        ours.write(part * 2048, data);
    }
    let long = extended_copy((&ours.name(), 0), (&others.name(), 0), 30 * 2048, 8);
    let copy = ours.engine.submit(long);
    for (lun, to) in [("other", "a"), ("other", "b"), ("ours", "b"), ("ours", "a")].repeat(3) {
        let mut moving = targetctl(&pair.config, &["--head", "a", "handover", lun, "--to", to]);
        let mut moving = moving.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while moving.try_wait().unwrap().is_none() {
            pair.runtime.block_on(ours.engine.wait(pair.soon()));
        }
    }
    let (done, answer) = ours.answer();
    assert!(done == copy && answer.status == GOOD, "{answer:?}");
    for (part, data) in (0..).zip(data.chunks(1 << 20)) {
        assert!(others.read(part * 2048, data.len()) == data, "part {part}");
    }
}
