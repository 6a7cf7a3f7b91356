//! EXTENDED COPY against real heads: between LUNs that are served here and elsewhere, of different blocks, and never
//! between LUNs that the initiator does not have.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use bytes::Bytes;
use iscsi_target::initiator::command::{Answer, Command, Data, Sense, lun_bytes};
use iscsi_target::initiator::engine::{Engine, EngineOptions};
use iscsi_target::initiator::path::Clock;
use iscsi_target::initiator::session::SessionOptions;
use iscsi_target::pdu::digest::Digests;

const IQN: &str = "iqn.2026-11.com.example:copy";
const US: &str = "iqn.2026-11.com.example:us";
const STRANGER: &str = "iqn.2026-11.com.example:stranger";
const PATIENCE: Duration = Duration::from_secs(60);

const OURS: u64 = 0;
const OF_THE_OTHER_HEAD: u64 = 1;
const LARGE_BLOCKS: u64 = 2;
const MASKED: u64 = 3;
const READ_ONLY: u64 = 4;
const LUNS: usize = 5;

const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const NOT_REACHABLE: Sense = Sense { key: 0x0A, asc: 0x0D, ascq: 0x02 };
const COPY_ABORTED: Sense = Sense { key: 0x0A, asc: 0x00, ascq: 0x00 };

/// Two heads on files; they end with it.
struct Pair {
    folder: PathBuf,
    config: PathBuf,
    heads: Vec<Child>,
    portals: Vec<SocketAddr>,
    runtime: tokio::runtime::Runtime,
    clock: Clock,
}

impl Pair {
    /// The one of this test; each has its number.
    fn start(test: u8) -> Self {
        let folder = std::env::temp_dir().join(format!("twinhead-copy-{test}.{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let secret = folder.join("secret");
        fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let addresses = addresses(test);
        let config = folder.join("pair.toml");
        fs::write(&config, configuration(&folder, addresses)).unwrap();
        for name in ["ours", "other", "large", "masked", "read-only"] {
            let done = targetctl(&config, &["disk", "init", name, "--size", "128MiB"]).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let portals = addresses[..2].to_vec();
        let mut pair = Self { folder, config, heads: Vec::new(), portals, runtime, clock: Clock::start() };
        // One after the other: whoever takes a file over ends another process that does not let go of it at once.
        pair.start_head("a");
        pair.await_all("\"mode\":\"solo\"");
        pair.start_head("b");
        pair.await_all("\"mode\":\"mirrored\"");
        pair.hand_over("other", "b");
        pair
    }

    fn start_head(&mut self, name: &str) {
        let log = fs::File::create(self.folder.join(format!("{name}.log"))).unwrap();
        let mut process = Process::new(env!("CARGO_BIN_EXE_twinhead"));
        process.arg("--config").arg(&self.config).args(["--head", name]).stdin(Stdio::null());
        self.heads.push(process.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// Until head a says so of each LUN.
    fn await_all(&self, what: &str) {
        let status = || targetctl(&self.config, &["--head", "a", "status", "--json"]).output().unwrap().stdout;
        while String::from_utf8_lossy(&status()).matches(what).count() < LUNS {
            assert!(self.clock.now() < PATIENCE, "not {what}");
        }
    }

    fn hand_over(&self, lun: &str, to: &str) {
        let done = targetctl(&self.config, &["--head", "a", "handover", lun, "--to", to]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn soon(&self) -> Option<Duration> {
        Some(self.clock.now() + Duration::from_millis(1))
    }

    /// A session of its own with a LUN through a head.
    fn session(&self, initiator: &str, head: usize, lun: u64) -> Lun<'_> {
        let number = |number: usize| u8::try_from(number).unwrap();
        let own = u8::from(initiator == STRANGER);
        let session = SessionOptions {
            initiator_name: initiator.to_owned(),
            account: None,
            isid: [0x80, own, number(head), u8::try_from(lun).unwrap(), 0, 0],
            target_name: Some(IQN.to_owned()),
            lun: lun_bytes(lun).unwrap(),
            digests: Digests::default(),
            first_burst_length: 64 << 10,
            login_timeout: PATIENCE,
            nop_interval: PATIENCE,
            nop_timeout: PATIENCE,
            command_timeout: PATIENCE,
        };
        let options = EngineOptions { portals: vec![self.portals[head]], session, connect_timeout: PATIENCE };
        let engine = self.runtime.block_on(async { Engine::start(&options, self.clock) });
        let mut lun = Lun { pair: self, engine, block_bytes: 0, naa: Vec::new() };
        let capacity = lun.execute(Command::read_capacity());
        lun.block_bytes = u32::from_be_bytes(capacity.data[8..12].try_into().unwrap());
        let page = lun.execute(Command::inquiry_device_identification());
        lun.naa = page.data[8..8 + usize::from(page.data[7])].to_vec();
        // Not before the head serves it, or forwards.
        lun.read(0, 4096);
        lun
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for head in &mut self.heads {
            head.kill().ok();
            head.wait().ok();
        }
        if std::thread::panicking() {
            for name in ["a", "b"] {
                let log = fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
                eprintln!("--- head {name}\n{log}");
            }
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// A LUN as an initiator has it.
struct Lun<'a> {
    pair: &'a Pair,
    engine: Engine,
    block_bytes: u32,
    naa: Vec<u8>,
}

impl Lun<'_> {
    fn execute(&mut self, command: Command) -> Answer {
        let deadline = self.pair.clock.now() + PATIENCE;
        self.pair.runtime.block_on(self.engine.execute(command, deadline)).expect("an answer in time")
    }

    fn write(&mut self, lba: u64, data: &[u8]) {
        let blocks = u32::try_from(data.len()).unwrap() / self.block_bytes;
        let answer = self.execute(Command::write(lba, blocks, Bytes::copy_from_slice(data), false));
        assert_eq!(answer.status, GOOD);
    }

    fn read(&mut self, lba: u64, bytes: usize) -> Vec<u8> {
        let blocks = u32::try_from(bytes).unwrap() / self.block_bytes;
        let answer = self.execute(Command::read(lba, blocks, self.block_bytes));
        assert_eq!(answer.status, GOOD);
        answer.data
    }

    /// EXTENDED COPY through this LUN: so many blocks of the source, from here to there.
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

fn targetctl(config: &Path, arguments: &[&str]) -> Process {
    let mut process = Process::new(env!("CARGO_BIN_EXE_targetctl"));
    process.arg("--config").arg(config).args(arguments);
    process
}

/// Nobody else's: each run and each test has a host of its own on the loopback.
fn addresses(test: u8) -> [SocketAddr; 4] {
    let [_, a, b, c] = (std::process::id() << 2 | u32::from(test)).to_be_bytes();
    [3260, 3261, 3270, 3271].map(|port| (Ipv4Addr::new(127, a | 0x80, b, c), port).into())
}

fn configuration(folder: &Path, [portal_a, portal_b, link_a, link_b]: [SocketAddr; 4]) -> String {
    let folder = folder.display();
    let lun = |id: u64, name: &str, more: &str| {
        format!("[[luns]]\nid = {id}\nname = \"{name}\"\ndisk = \"{folder}/{name}.img\"\n{more}\n")
    };
    let head = |name: &str, portal, link| {
        format!("[heads.{name}]\nportals = [\"{portal}\"]\nlink = \"{link}\"\ncontrol = \"{folder}/{name}.sock\"\n")
    };
    [
        format!("[target]\niqn = \"{IQN}\"\n"),
        head("a", portal_a, link_a),
        head("b", portal_b, link_b),
        format!("[link]\nsecret-file = \"{folder}/secret\"\n"),
        // Nothing here is about a head that is late.
        "[limits]\nlease-ms = 1000\ntakeover-ms = 1500\n".to_owned(),
        lun(OURS, "ours", ""),
        lun(OF_THE_OTHER_HEAD, "other", ""),
        lun(LARGE_BLOCKS, "large", "block-bytes = 4096"),
        lun(MASKED, "masked", &format!("initiators = [\"{STRANGER}\"]")),
        lun(READ_ONLY, "read-only", "read-only = true"),
    ]
    .concat()
}

/// So many bytes of which no block is like another.
fn pattern(bytes: usize, seed: u32) -> Vec<u8> {
    (0..u32::try_from(bytes / 4).unwrap())
        .flat_map(|word| (word.wrapping_mul(2_654_435_761) ^ seed).to_be_bytes())
        .collect()
}

fn refused(answer: &Answer, sense: Sense) -> bool {
    (answer.status, answer.sense) == (CHECK_CONDITION, Some(sense))
}

#[test]
fn copies_between_luns_through_either_head() {
    let pair = Pair::start(0);
    let [mut ours, mut others, mut large] = [OURS, OF_THE_OTHER_HEAD, LARGE_BLOCKS].map(|lun| pair.session(US, 0, lun));
    let mut others_there = pair.session(US, 1, OF_THE_OTHER_HEAD);
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
    let mut protected = pair.session(US, 0, READ_ONLY);
    assert_eq!(protected.copy((&protected.name(), 0), (&ours.name(), 24), 8).status, GOOD);
    assert_eq!(ours.read(24, 8 * 512), [0; 8 * 512]);
    let answer = ours.copy((&ours.name(), 32), (&protected.name(), 0), 8);
    assert!(refused(&answer, COPY_ABORTED), "{answer:?}");
    assert_eq!(protected.read(0, 8 * 512), [0; 8 * 512]);

    // A LUN that this initiator does not see can be neither read nor written, and looks like none at all.
    let mut masked = pair.session(STRANGER, 0, MASKED);
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
    let pair = Pair::start(1);
    let mut observer = pair.session(US, 1, OF_THE_OTHER_HEAD);
    let mut ours = pair.session(US, 0, OURS);
    ours.write(0, &pattern(512, 1));
    let long = extended_copy((&ours.name(), 0), (&observer.name(), 0), 65_535, 64);
    ours.engine.submit(long);
    while observer.read(0, 512) == [0; 512] {
        pair.runtime.block_on(ours.engine.wait(pair.soon()));
        assert!(pair.clock.now() < 2 * PATIENCE, "the copy does not get there");
    }
    drop(ours);

    // The copy was on its way to these blocks, for dozens of times.
    let mut again = pair.session(US, 0, OURS);
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
    let pair = Pair::start(2);
    let [mut ours, mut others] = [OURS, OF_THE_OTHER_HEAD].map(|lun| pair.session(US, 0, lun));
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
    let mut answer = None;
    while answer.is_none() && pair.clock.now() < 2 * PATIENCE {
        answer = ours.engine.take_result();
        pair.runtime.block_on(ours.engine.wait(pair.soon()));
    }
    let (done, answer) = answer.expect("an answer in time");
    assert!(done == copy && answer.status == GOOD, "{answer:?}");
    for (part, data) in (0..).zip(data.chunks(1 << 20)) {
        assert!(others.read(part * 2048, data.len()) == data, "part {part}");
    }
}
