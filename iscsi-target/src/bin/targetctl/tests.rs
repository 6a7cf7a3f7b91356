use std::path::Path;
use std::thread;

use clap::CommandFactory;
use expect_test::{Expect, expect};
use iscsi_target::daemon::control::{ControlRequest, LunRef, LunSelector, Server};
use iscsi_target::daemon::status::Status;
use tokio::sync::{mpsc, watch};

use super::*;

const STATUS: &str = r#"{"version":1,"target":"iqn.2026-11.com.example:pair1","head":"a","heads":[
  {"name":"a","up":true,"incarnation":"01ab","portals":["192.0.2.1:3260","[2001:db8::1]:3260"],"sessions":2,
   "addresses":[{"address":"192.0.2.1","adopted":false},{"address":"192.0.2.2","adopted":true}]},
  {"name":"b","up":false,"incarnation":null,"portals":["192.0.2.2:3260"],"sessions":0}],"luns":[
  {"id":0,"name":"db","owner":"a","mode":"mirrored","protected_by":"RAM of a and b","epoch":7,"dirty_bytes":12582912,
   "mirror_bytes":0,"size_bytes":1099511627776,"sessions":{"a":1,"b":1}},
  {"id":12,"name":"scratch","owner":null,"mode":"unavailable","protected_by":"nothing","epoch":12,"dirty_bytes":0,
   "mirror_bytes":1536,"size_bytes":4096,"sessions":{},"reason":"both heads lost their RAM; see accept-loss",
   "differs":["luns.12.preferred: \"a\" here, \"b\" on the other head"]}],
  "link":{"up":false,"peer":"198.51.100.2:3270","reason":"connection refused"}}"#;

fn status() -> Status {
    serde_json::from_str(STATUS).unwrap()
}

/// A daemon for head a (and b, if asked for) in a directory of its own, with a configuration that names it.
struct Fixture {
    directory: PathBuf,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("targetctl-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let at = directory.display();
        let config = format!(
            "target = {{ iqn = \"iqn.2026-11.com.example:pair1\" }}\n\
             heads.a = {{ portals = [\"127.0.0.1:3260\"], link = \"127.0.0.1:3270\", control = \"{at}/a.sock\" }}\n\
             heads.b = {{ portals = [\"127.0.0.1:3261\"], link = \"127.0.0.1:3271\", control = \"{at}/b.sock\" }}\n\
             link = {{ secret-file = \"{at}/secret\" }}\n\
             luns = [{{ id = 0, name = \"db\", disk = \"{at}/db.img\" }}]\n"
        );
        std::fs::write(directory.join("pair.toml"), config).unwrap();
        Self { directory }
    }

    /// Serve head `name` for as long as the process lives.
    fn serve(&self, name: &str) {
        let path = self.directory.join(format!("{name}.sock"));
        let (ready, wait) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(&path).await.unwrap();
                let (requests, mut asked) = mpsc::channel(1);
                let (_changes, changed) = watch::channel(());
                ready.send(()).unwrap();
                tokio::join!(server.serve(requests, changed), async {
                    while let Some(request) = asked.recv().await {
                        match request {
                            ControlRequest::Status { reply } => reply.send(status()).unwrap(),
                            ControlRequest::Handover { to, reply, .. } => {
                                reply.send(Ok(format!("db: {to:?}"))).unwrap()
                            }
                            ControlRequest::Reload { reply } => reply.send(Ok("added vm (1)".to_owned())).unwrap(),
                            ControlRequest::AcceptLoss { reply, .. } => {
                                reply.send(Err("nothing is lost".to_owned())).unwrap()
                            }
                            ControlRequest::Resize { lun, reply } => {
                                reply.send(Ok(format!("{lun} has grown"))).unwrap()
                            }
                        }
                    }
                });
            });
        });
        wait.recv().unwrap();
    }

    fn run(&self, line: &str) -> Result<String, Failure> {
        let config = self.directory.join("pair.toml");
        let words = ["targetctl", "--config", config.to_str().unwrap()].into_iter().chain(line.split(' '));
        let cli = Cli::try_parse_from(words).unwrap();
        let mut out = Vec::new();
        cli.command.run(&cli.global, &mut out).map(|()| self.hide(&String::from_utf8(out).unwrap()))
    }

    fn refused(&self, line: &str, expected: &Expect) {
        let failure = self.run(line).unwrap_err();
        expected.assert_eq(&format!("{:?}: {}", failure.exit_code(), self.hide(&failure.to_string())));
    }

    fn hide(&self, text: &str) -> String {
        text.replace(self.directory.to_str().unwrap(), "DIR")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn arguments() {
    let cli = Cli::try_parse_from(["targetctl", "handover", "db", "--to", "b", "--head", "a"]).unwrap();
    assert_eq!(cli.global.head, Some(HeadName::A));
    assert_eq!(cli.global.config, Path::new("/etc/twinhead/pair.toml"));
    let wrong = [
        "",
        "handover",
        "handover db --to c",
        "--head c status",
        "lun accept-loss",
        "lun resize",
        "status db",
        "config",
    ];
    for line in wrong {
        let words = std::iter::once("targetctl").chain(line.split_whitespace());
        assert_eq!(Cli::try_parse_from(words).unwrap_err().exit_code(), 2, "{line}");
    }
    assert_eq!("all".parse(), Ok(LunSelector::All));
    assert_eq!("7".parse(), Ok(LunRef::Id(7)));
}

#[test]
fn status_in_words() {
    expect![[r#"
        db: mirrored, owner a, protected by RAM of a and b, 12 MiB to destage, epoch 7
        scratch: unavailable, no owner, protected by nothing, nothing to destage, epoch 12: both heads lost their RAM; see accept-loss; the heads differ in luns.12.preferred: "a" here, "b" on the other head
        head a holds 192.0.2.1, 192.0.2.2 (adopted)
        link to 198.51.100.2:3270: down: connection refused

        LUN NAME    MODE        OWNER  SIZE TO DESTAGE  MIRROR EPOCH SESSIONS
          0 db      mirrored    a     1 TiB     12 MiB     0 B     7 a:1 b:1
         12 scratch unavailable -     4 KiB        0 B 1.5 KiB    12 -

        HEAD STATE       SESSIONS PORTALS                           INCARNATION
        a    up, answers        2 192.0.2.1:3260 [2001:db8::1]:3260 01ab
        b    not heard          0 192.0.2.2:3260                    -
    "#]].assert_eq(&status::render(&status()));
}

#[test]
fn a_daemon_answers() {
    let fixture = Fixture::new("answers");
    fixture.serve("b");
    assert_eq!(fixture.run("status").unwrap(), status::render(&status()));
    let json = fixture.run("status --json --head b").unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status());
    assert_eq!(fixture.run("handover all --to a").unwrap(), "db: Some(A)\n");
    assert_eq!(fixture.run("reload").unwrap(), "added vm (1)\n");
    fixture.refused("lun accept-loss db", &expect!["ExitCode(unix_exit_status(1)): nothing is lost"]);
    fixture.refused("status --head a", &expect!["ExitCode(unix_exit_status(3)): head a: no daemon answers at DIR/a.sock: No such file or directory (os error 2); see whether it runs with `systemctl status twinhead`, or run targetctl on the machine of that head"]);
    fixture.serve("a");
    fixture.refused(
        "status",
        &expect!["ExitCode(unix_exit_status(2)): both heads answer on this machine; say --head a or --head b"],
    );
}

#[test]
fn no_daemon_answers() {
    let fixture = Fixture::new("silent");
    fixture.refused("status", &expect!["ExitCode(unix_exit_status(3)): head a: no daemon answers at DIR/a.sock: No such file or directory (os error 2); head b: no daemon answers at DIR/b.sock: No such file or directory (os error 2); see whether it runs with `systemctl status twinhead`, or run targetctl on the machine of that head"]);
    std::fs::write(fixture.directory.join("pair.toml"), "x").unwrap();
    fixture.refused(
        "status",
        &expect![[r#"
        ExitCode(unix_exit_status(1)): the configuration DIR/pair.toml cannot be used: 1 problem
        line 1, column 2: key with no value, expected `=`
          right: TOML (toml.io): key = value, strings in quotes, [table], [[table of a list]]"#]],
    );
}

#[test]
fn the_configuration_is_checked() {
    let fixture = Fixture::new("config");
    let good = fixture.run("config check --list").unwrap();
    // The digest covers the paths, and those depend on the process.
    let shown: Vec<&str> = good.lines().filter(|line| !line.starts_with("digest ")).collect();
    expect![[r#"
        DIR/pair.toml: good
        target iqn.2026-11.com.example:pair1, heads a and b, LUNs db (0)
        may log in: every initiator; from everywhere
        initiators: no CHAP, their names are not proven
        discovery: no CHAP
        heads.a.link = 127.0.0.1:3270
        heads.a.portals.0.advertise = 127.0.0.1:3260
        heads.a.portals.0.listen = 127.0.0.1:3260
        heads.b.link = 127.0.0.1:3271
        heads.b.portals.0.advertise = 127.0.0.1:3261
        heads.b.portals.0.listen = 127.0.0.1:3261
        limits.lease-ms = 200
        limits.max-drain-ms = 1000
        limits.takeover-ms = 300
        link.secret-file = DIR/secret
        luns.0.disk = DIR/db.img
        luns.0.name = db
        luns.0.preferred = a
        luns.0.read-only = false
        target.iqn = iqn.2026-11.com.example:pair1"#]]
    .assert_eq(&shown.join("\n"));
    fixture.refused(
        "config check --head a",
        &expect![[r#"
        ExitCode(unix_exit_status(1)): cannot read the link secret DIR/secret: No such file or directory (os error 2)
        LUN db: its disk DIR/db.img cannot be used here: No such file or directory (os error 2)"#]],
    );
    std::fs::write(fixture.directory.join("db.img"), "").unwrap();
    std::fs::write(fixture.directory.join("secret"), "0123456789abcdef").unwrap();
    std::fs::set_permissions(fixture.directory.join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    assert!(
        fixture.run("config check --head a").unwrap().ends_with("head a: its disks and the link secret are here\n")
    );
}

#[test]
fn disks_are_initialised_once() {
    let fixture = Fixture::new("disk");
    let image = fixture.directory.join("db.img");
    fixture.refused("disk init db", &expect!["ExitCode(unix_exit_status(1)): DIR/db.img is not initialised: DIR/db.img: no such file or device; --size creates a plain file"]);
    fixture.refused("disk init db --size 1MiB", &expect!["ExitCode(unix_exit_status(1)): DIR/db.img is not initialised: DIR/db.img: 1048576 bytes are too small: 4 MiB at the end are reserved, and there must be at least 1 MiB before them"]);
    assert!(!image.exists(), "a file that could not be used is removed again");
    let done = fixture.run("disk init db --size 16MiB").unwrap();
    let serial = |text: &str| text.lines().find(|line| line.contains("serial")).unwrap().to_owned();
    expect![[r#"
        DIR/db.img: LUN db of iqn.2026-11.com.example:pair1
          size    12 MiB, 512-byte blocks
          serial  ...
          owner   nobody yet, epoch 0
          mirror  none
          whole   yes
    "#]]
    .assert_eq(&done.replace(&serial(&done), "  serial  ..."));
    let path = image.to_str().unwrap();
    assert_eq!(fixture.run(&format!("disk inspect {path}")).unwrap(), done);
    fixture.refused(
        "disk init 0 --size 16MiB",
        &expect!["ExitCode(unix_exit_status(2)): DIR/db.img exists already; leave --size out to use it"],
    );
    fixture.refused(&format!("disk init {path}"), &expect![[r#"ExitCode(unix_exit_status(1)): DIR/db.img is not initialised: the disk is not blank: it is "db" of the target iqn.2026-11.com.example:pair1; nothing has to be done if it is in use already, --wipe makes it a new and empty disk"#]]);
    assert_ne!(serial(&fixture.run("disk init db --wipe").unwrap()), serial(&done));
}

#[test]
fn what_a_disk_holds_is_not_overwritten_by_mistake() {
    let fixture = Fixture::new("holds");
    let image = fixture.directory.join("db.img");
    let mut content = vec![0; 16 << 20];
    std::fs::write(&image, &content).unwrap();
    assert_eq!(fixture.run("disk inspect db").unwrap(), "DIR/db.img: blank\n");
    content[..4].copy_from_slice(b"XFSB");
    std::fs::write(&image, &content).unwrap();
    expect![[r#"
        DIR/db.img: not a disk of Twinhead; it holds an XFS file system
    "#]]
    .assert_eq(&fixture.run("disk inspect db").unwrap());
    fixture.refused("disk init db", &expect!["ExitCode(unix_exit_status(1)): DIR/db.img is not initialised: the disk is not blank: an XFS file system; --keep makes what it holds the contents of the LUN, --wipe overwrites it"]);
    fixture.run("disk init db --keep").unwrap();
    assert_eq!(std::fs::read(&image).unwrap()[..4], *b"XFSB");
    fixture.refused(
        "disk init other",
        &expect!["ExitCode(unix_exit_status(2)): the configuration has no LUN for other; it has db (0) on DIR/db.img"],
    );
    fixture.refused(
        "disk init /srv/other",
        &expect![
            "ExitCode(unix_exit_status(2)): the configuration has no LUN for /srv/other; it has db (0) on DIR/db.img"
        ],
    );
}
