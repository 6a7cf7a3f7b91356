//! Two heads as processes on files, and initiators of their LUNs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use bytes::Bytes;
use iscsi_target::initiator::command::{Answer, Command, Sense, lun_bytes};
use iscsi_target::initiator::engine::{Engine, EngineOptions};
use iscsi_target::initiator::multipath::IoId;
use iscsi_target::initiator::path::Clock;
use iscsi_target::initiator::session::SessionOptions;
use iscsi_target::pdu::digest::Digests;

use super::wire::Wire;

const IQN: &str = "iqn.2026-11.com.example:pair";
/// An initiator.
pub(crate) const US: &str = "iqn.2026-11.com.example:us";
/// Another one.
pub(crate) const STRANGER: &str = "iqn.2026-11.com.example:stranger";
/// Nothing takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// GOOD.
pub(crate) const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;

/// Two heads on files; they end with it.
pub(crate) struct Pair {
    /// Where the disks are.
    pub(crate) folder: PathBuf,
    /// The file of both heads.
    pub(crate) config: PathBuf,
    luns: usize,
    heads: Vec<Child>,
    portals: Vec<SocketAddr>,
    /// What initiators run on.
    pub(crate) runtime: tokio::runtime::Runtime,
    /// Their time.
    pub(crate) clock: Clock,
}

impl Pair {
    /// The one of this test; each has its number. Each LUN has a name and what else is to be said about it.
    pub(crate) fn start(test: u8, luns: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("twinhead-pair-{test}.{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let secret = folder.join("secret");
        fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let addresses = addresses(test);
        let config = folder.join("pair.toml");
        fs::write(&config, configuration(&folder, addresses, luns)).unwrap();
        for (name, _) in luns {
            operate(&config, &["disk", "init", name, "--size", "128MiB"]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let portals = addresses[..2].to_vec();
        let clock = Clock::start();
        let mut pair = Self { folder, config, luns: luns.len(), heads: Vec::new(), portals, runtime, clock };
        // One after the other: whoever takes a file over ends another process that does not let go of it at once.
        pair.start_head("a");
        pair.await_all("\"mode\":\"solo\"");
        pair.start_head("b");
        pair.await_all("\"mode\":\"mirrored\"");
        pair
    }

    /// Also one that has ended.
    pub(crate) fn start_head(&mut self, name: &str) {
        let log = fs::File::create(self.folder.join(format!("{name}.log"))).unwrap();
        let mut process = Process::new(env!("CARGO_BIN_EXE_twinhead"));
        process.arg("--config").arg(&self.config).args(["--head", name]).stdin(Stdio::null());
        self.heads.push(process.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// End all heads at once, as a loss of power does.
    pub(crate) fn kill_heads(&mut self) {
        while !self.heads.is_empty() {
            self.kill_first_head();
        }
    }

    /// End the head that was started first of those that run.
    pub(crate) fn kill_first_head(&mut self) {
        let mut head = self.heads.remove(0);
        head.kill().unwrap();
        head.wait().unwrap();
    }

    /// Until head a says so of each LUN.
    pub(crate) fn await_all(&self, what: &str) {
        let status = || targetctl(&self.config, &["--head", "a", "status", "--json"]).output().unwrap().stdout;
        let since = self.clock.now();
        while String::from_utf8_lossy(&status()).matches(what).count() < self.luns {
            assert!(self.clock.now() < since + PATIENCE, "not {what}");
        }
    }

    /// Let a head own a LUN.
    pub(crate) fn hand_over(&self, lun: &str, to: &str) {
        operate(&self.config, &["--head", "a", "handover", lun, "--to", to]);
    }

    /// Go on without what both heads have lost, as soon as head a says that it is lost.
    pub(crate) fn accept_loss(&self, lun: &str) {
        self.await_all("acknowledged data");
        operate(&self.config, &["--head", "a", "lun", "accept-loss", lun]);
    }

    /// A moment from now.
    pub(crate) fn soon(&self) -> Option<Duration> {
        Some(self.clock.now() + Duration::from_millis(1))
    }

    /// A session of its own with a LUN through a head.
    pub(crate) fn session(&self, initiator: &str, head: usize, lun: u64) -> Lun<'_> {
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
            abort_after: None,
        };
        let options = EngineOptions { portals: vec![self.portals[head]], session, connect_timeout: PATIENCE };
        let engine = self.runtime.block_on(async { Engine::start(&options, self.clock) });
        Lun { pair: self, engine, block_bytes: 512, naa: Vec::new() }
    }

    /// A session with LUN 0 through a head, of an initiator that repeats nothing.
    pub(crate) fn wire(&self, initiator: &str, head: usize) -> Wire {
        Wire::login(self.portals[head], initiator, IQN)
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
pub(crate) struct Lun<'a> {
    pair: &'a Pair,
    /// The session.
    pub(crate) engine: Engine,
    /// Bytes of a block.
    pub(crate) block_bytes: u32,
    /// What it is called.
    pub(crate) naa: Vec<u8>,
}

impl Lun<'_> {
    /// Execute a command.
    pub(crate) fn execute(&mut self, command: Command) -> Answer {
        let deadline = self.pair.clock.now() + PATIENCE;
        self.pair.runtime.block_on(self.engine.execute(command, deadline)).expect("an answer in time")
    }

    /// The answer to the one command that was submitted.
    pub(crate) fn answer(&mut self) -> (IoId, Answer) {
        let since = self.pair.clock.now();
        loop {
            if let Some(answered) = self.engine.take_result() {
                return answered;
            }
            assert!(self.pair.clock.now() < since + PATIENCE, "no answer in time");
            self.pair.runtime.block_on(self.engine.wait(self.pair.soon()));
        }
    }

    /// Write whole blocks.
    pub(crate) fn write(&mut self, lba: u64, data: &[u8]) {
        let blocks = u32::try_from(data.len()).unwrap() / self.block_bytes;
        let answer = self.execute(Command::write(lba, blocks, Bytes::copy_from_slice(data), false));
        assert_eq!(answer.status, GOOD);
    }

    /// Read whole blocks.
    pub(crate) fn read(&mut self, lba: u64, bytes: usize) -> Vec<u8> {
        let blocks = u32::try_from(bytes).unwrap() / self.block_bytes;
        let answer = self.execute(Command::read(lba, blocks, self.block_bytes));
        assert_eq!(answer.status, GOOD);
        answer.data
    }
}

fn operate(config: &Path, arguments: &[&str]) {
    let done = targetctl(config, arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// `targetctl` with these arguments.
pub(crate) fn targetctl(config: &Path, arguments: &[&str]) -> Process {
    let mut process = Process::new(env!("CARGO_BIN_EXE_targetctl"));
    process.arg("--config").arg(config).args(arguments);
    process
}

/// Nobody else's: each run and each test has a host of its own on the loopback.
fn addresses(test: u8) -> [SocketAddr; 4] {
    let [_, a, b, c] = (std::process::id() << 4 | u32::from(test)).to_be_bytes();
    [3260, 3261, 3270, 3271].map(|port| (Ipv4Addr::new(127, a | 0x80, b, c), port).into())
}

fn configuration(
    folder: &Path,
    [portal_a, portal_b, link_a, link_b]: [SocketAddr; 4],
    luns: &[(&str, &str)],
) -> String {
    let folder = folder.display();
    let lun = |(id, (name, more)): (usize, &(&str, &str))| {
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
        luns.iter().enumerate().map(lun).collect(),
    ]
    .concat()
}

/// Whether it is CHECK CONDITION with this sense.
pub(crate) fn refused(answer: &Answer, sense: Sense) -> bool {
    (answer.status, answer.sense) == (CHECK_CONDITION, Some(sense))
}
