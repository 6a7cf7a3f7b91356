use expect_test::{Expect, expect};

use super::*;

mod limits;
mod logins;
mod luns;

const PAIR: &str = r#"
[target]
iqn = "iqn.2026-11.com.example:pair1"

[heads.a]
portals = ["192.0.2.1:3260", { listen = "[::]:3261", advertise = "San.example.com:3261" }]
link = "198.51.100.1:3270"
control = "/run/twinhead/first.sock"

[heads.b]
portals = ["192.0.2.2:3260", "[2001:db8::2]:3260"]
link = "198.51.100.2:3270"

[link]
secret-file = "/etc/twinhead/link.secret"

[limits]
lease-ms = 100
mirror-bytes = "1GiB"

[[luns]]
id = 3
name = "db"
disk = "/dev/disk/by-id//wwn-0x5000c500a1b2c3d4"
preferred = "b"
block-bytes = 4096
read-only = true

[[luns]]
id = 0
name = "scratch"
disk = "/srv/scratch.img"
"#;

const SINGLE: &str = r#"
target = { iqn = "iqn.2026-11.com.example" }
heads.a.portals = ["127.0.0.1:3260"]
luns = [{ id = 0, name = "d", disk = "/srv/d" }]
"#;

fn refused(text: &str, expected: &Expect) {
    expected.assert_eq(&Config::parse(text).unwrap_err().to_string());
}

#[test]
fn a_pair() {
    let config = Config::parse(PAIR).unwrap();
    assert!(!config.single());
    let portals: Vec<_> = config.heads.values().flat_map(|head| &head.portals).map(ToString::to_string).collect();
    assert_eq!(
        portals,
        ["192.0.2.1:3260", "[::]:3261 as san.example.com:3261", "192.0.2.2:3260", "[2001:db8::2]:3260"]
    );
    let controls: Vec<_> = config.heads.values().map(|head| head.control.display().to_string()).collect();
    assert_eq!(controls, ["/run/twinhead/first.sock", "/run/twinhead/b.sock"]);
    let link = config.link.as_ref().unwrap();
    assert_eq!(link.address_of(HeadName::B), "198.51.100.2:3270".parse().unwrap());
    let expected = Limits { lease: Duration::from_millis(100), mirror_bytes: Some(1 << 30), ..Limits::default() };
    assert_eq!(config.limits, expected);
    let db = Lun {
        id: 3,
        name: "db".to_owned(),
        disk: PathBuf::from("/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"),
        preferred: HeadName::B,
        block_bytes: Some(4096),
        physical_block_bytes: None,
        atomic_write_bytes: None,
        removable: false,
        thin: false,
        sanitize_bytes_per_second: None,
        read_only: true,
        initiators: None,
        writers: None,
    };
    assert_eq!(config.lun_named("db"), Some(&db));
    assert_eq!(config.luns.keys().copied().collect::<Vec<_>>(), [0, 3]);
    assert_eq!(config.luns[&0].preferred, HeadName::A);
}

#[test]
fn a_single_head() {
    let config = Config::parse(SINGLE).unwrap();
    assert!(config.single() && config.head(HeadName::B).is_none());
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn the_module_documentation_is_right() {
    let documented: String = include_str!("../config.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .skip_while(|line| !line.contains("```toml"))
        .skip(1)
        .take_while(|line| !line.contains("```"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(Config::parse(&documented).map(|config| config.luns.len()).map_err(|e| e.to_string()), Ok(1));
}

#[test]
fn an_empty_file_says_what_is_missing() {
    refused(
        "",
        &expect![[r#"
            3 problems
            line 1, column 1: target: missing
              right: a table [target] with the iqn
            line 1, column 1: heads: missing
              right: the tables [heads.a] and, for a pair, [heads.b]
            line 1, column 1: luns: missing
              right: at least one table [[luns]] with id, name and disk"#]],
    );
}

#[test]
fn syntax() {
    refused(
        "[target\niqn = 7\n",
        &expect![[r#"
        1 problem
        line 1, column 8: unclosed table, expected `]`
          right: TOML (toml.io): key = value, strings in quotes, [table], [[table of a list]]"#]],
    );
    refused(
        "[target]\niqn = \"x\n",
        &expect![[r#"
        1 problem
        line 2, column 9: invalid basic string, expected `"`
          right: TOML (toml.io): key = value, strings in quotes, [table], [[table of a list]]"#]],
    );
}

#[test]
fn unknown_and_mistyped_settings_are_all_reported() {
    let text = r#"
verbose = true
[target]
iqn = 7
name = "x"
[heads.a]
portals = "127.0.0.1:3260"
[heads.c]
portals = []
[limits]
lease-ms = -1
mirror-bytes = 1.5
[[luns]]
id = "0"
name = "d"
disk = "/srv/d"
read-only = "no"
[[luns]]
id = 1
nmae = "e"
disk = "/srv/e"
"#;
    refused(
        text,
        &expect![[r#"
            11 problems
            line 2, column 1: verbose: there is no such setting
              found: verbose
              right: one of target, heads, link, limits, auth, luns
            line 4, column 7: target.iqn: not a value that can stand here
              found: 7
              right: a name such as "iqn.2026-11.com.example:pair1": iqn., the year and month in which you held the domain, the domain backwards, optionally a colon and a name of your own
            line 5, column 1: target.name: there is no such setting
              found: name
              right: one of iqn, initiators, networks
            line 7, column 11: heads.a.portals: not a value that can stand here
              found: "127.0.0.1:3260"
              right: a list such as ["192.0.2.1:3260"]; an entry may also be { listen = "0.0.0.0:3260", advertise = "192.0.2.1:3260" } or { listen = "192.0.2.1:3260", vip = true }
            line 8, column 8: heads.c: there is no such setting
              found: c
              right: a or b
            line 11, column 12: limits.lease-ms: not a value that can stand here
              found: -1
              right: a number of milliseconds, such as 200
            line 12, column 16: limits.mirror-bytes: not a value that can stand here
              found: 1.5
              right: a size such as "1GiB", or a number of bytes
            line 14, column 6: luns[0].id: not a value that can stand here
              found: "0"
              right: a whole number from 0 to 255, used once
            line 17, column 13: luns[0].read-only: not a value that can stand here
              found: "no"
              right: true or false
            line 18, column 1: luns[1].name: missing
              found: [[luns]]
              right: 1 to 32 characters of a-z, 0-9, - _ and . that begin with a letter; not "all"; used once
            line 20, column 1: luns[1].nmae: there is no such setting
              found: nmae
              right: one of id, name, disk, preferred, block-bytes, physical-block-bytes, atomic-write-bytes, removable, thin, sanitize-bytes-per-second, read-only, initiators, writers"#]],
    );
}

#[test]
fn addresses_that_cannot_be_are_all_reported() {
    let text = r#"
target = { iqn = "iqn.2026-11.com.example:Pair" }
link = { secret-file = "link.secret" }
luns = [{ id = 0, name = "d", disk = "/srv/d" }]
[heads.a]
portals = [
    "0.0.0.0:3260",
    "127.0.0.1",
    { listen = "127.0.0.1:0" },
    { listen = "0.0.0.0:3260", advertise = "[::]:3260" },
    { lisen = "0.0.0.0:3260" },
    "san:3260",
    "224.0.0.1:3260",
]
link = "0.0.0.0:3270"
control = "a.sock"
[heads.b]
portals = []
"#;
    refused(
        text,
        &expect![[r#"
        13 problems
        line 2, column 18: target.iqn: iSCSI names are compared in lower case; write "iqn.2026-11.com.example:pair"
          found: "iqn.2026-11.com.example:Pair"
          right: a name such as "iqn.2026-11.com.example:pair1": iqn., the year and month in which you held the domain, the domain backwards, optionally a colon and a name of your own
        line 3, column 24: link.secret-file: not an absolute path
          found: "link.secret"
          right: an absolute path such as "/etc/twinhead/link.secret"
        line 7, column 5: heads.a.portals: initiators would be told to connect to every address
          found: "0.0.0.0:3260"
          right: { listen = "0.0.0.0:3260", advertise = "192.0.2.1:3260" }
        line 8, column 5: heads.a.portals: "127.0.0.1" is not an address and a port
          found: "127.0.0.1"
          right: "127.0.0.1:3260", or for IPv6 "[2001:db8::1]:3260"
        line 9, column 5: heads.a.portals: nothing can connect to port 0
          found: { listen = "127.0.0.1:0" }
          right: a port from 1 to 65535; 3260 is iSCSI's own
        line 10, column 5: heads.a.portals: nobody can connect to "[::]:3260"
          found: { listen = "0.0.0.0:3260", advertise = "[::]:3260" }
          right: an address or name by which initiators reach this head, such as "192.0.2.1:3260"
        line 11, column 5: heads.a.portals: unknown field `lisen`, expected one of `listen`, `advertise`, `vip`, `interface`
          found: { lisen = "0.0.0.0:3260" }
          right: a list such as ["192.0.2.1:3260"]; an entry may also be { listen = "0.0.0.0:3260", advertise = "192.0.2.1:3260" } or { listen = "192.0.2.1:3260", vip = true }
        line 12, column 5: heads.a.portals: "san:3260" is not an address and a port
          found: "san:3260"
          right: "192.0.2.1:3260", or for IPv6 "[2001:db8::1]:3260"
        line 13, column 5: heads.a.portals: nothing can connect to a multicast or broadcast address
          found: "224.0.0.1:3260"
          right: an address of this head
        line 15, column 8: heads.a.link: the other head cannot connect to every address
          found: "0.0.0.0:3270"
          right: the address on which the other head reaches this one, such as "198.51.100.1:3270"
        line 16, column 11: heads.a.control: not a path for a socket
          found: "a.sock"
          right: an absolute path such as "/run/twinhead/a.sock", at most 107 bytes long
        line 17, column 1: heads.b.link: missing
          found: [heads.b]
          right: the address on which the other head reaches this one, such as "198.51.100.1:3270"
        line 18, column 11: heads.b.portals: missing
          found: []
          right: a list such as ["192.0.2.1:3260"]; an entry may also be { listen = "0.0.0.0:3260", advertise = "192.0.2.1:3260" } or { listen = "192.0.2.1:3260", vip = true }"#]],
    );
}

#[test]
fn values_that_cannot_be_are_all_reported() {
    let text = r#"
target = { iqn = "iqn.2026-11.com.example" }
heads.a = { portals = ["127.0.0.1:3260"] }
[limits]
lease-ms = 10
max-drain-ms = 100000
mirror-bytes = "1G"
[[luns]]
id = 256
name = "all"
disk = "d"
preferred = "c"
block-bytes = 1024
[[luns]]
"#;
    refused(
        text,
        &expect![[r#"
        11 problems
        line 5, column 12: limits.lease-ms: out of range
          found: 10
          right: 50 to 10000 milliseconds, such as 200
        line 6, column 16: limits.max-drain-ms: out of range
          found: 100000
          right: 100 to 60000 milliseconds, such as 1000
        line 7, column 16: limits.mirror-bytes: `1G` is not a size; write a whole number and one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB
          found: "1G"
          right: 16 MiB to 16 TiB, such as "1GiB"
        line 9, column 6: luns[0].id: not a LUN number
          found: 256
          right: a whole number from 0 to 255, used once
        line 10, column 8: luns[0].name: not a name for a LUN
          found: "all"
          right: 1 to 32 characters of a-z, 0-9, - _ and . that begin with a letter; not "all"; used once
        line 11, column 8: luns[0].disk: not a path to a disk
          found: "d"
          right: an absolute path without .. to a block device or a file, such as "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"
        line 12, column 13: luns[0].preferred: `c` is not a head; heads are called a and b
          found: "c"
          right: a head that is configured: "a", or with two heads "b"
        line 13, column 15: luns[0].block-bytes: not a block size
          found: 1024
          right: 512 or 4096, or nothing for what the disk has
        line 14, column 1: luns[1].id: missing
          found: [[luns]]
          right: a whole number from 0 to 255, used once
        line 14, column 1: luns[1].name: missing
          found: [[luns]]
          right: 1 to 32 characters of a-z, 0-9, - _ and . that begin with a letter; not "all"; used once
        line 14, column 1: luns[1].disk: missing
          found: [[luns]]
          right: an absolute path without .. to a block device or a file, such as "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4""#]],
    );
}

#[test]
fn what_must_fit_together() {
    let text = r#"
[target]
iqn = "iqn.2026-11.com.example:pair"
[heads.a]
portals = ["127.0.0.1:3260", "127.0.0.1:3260", { listen = "[::]:3260", advertise = "x:1" }]
link = "127.0.0.1:3260"
[heads.b]
portals = ["127.0.0.1:3260"]
link = "127.0.0.1:3270"
[limits]
lease-ms = 300
[[luns]]
id = 0
name = "d"
disk = "/srv/d"
[[luns]]
id = 0
name = "d"
disk = "/srv//d"
"#;
    refused(
        text,
        &expect![[r#"
        7 problems
        line 1, column 1: link: missing
          right: a table [link] with secret-file: an absolute path such as "/etc/twinhead/link.secret"
        line 5, column 30: heads.a.portals: listens where another portal of this head does
          found: "127.0.0.1:3260"
          right: each address and port once
        line 5, column 48: heads.a.portals: listens where another portal of this head does
          found: { listen = "[::]:3260", advertise = "x:1" }
          right: each address and port once
        line 11, column 12: limits.lease-ms: a lease of 300 ms is not shorter than the takeover time of 300 ms
          found: 300
          right: lease-ms below takeover-ms, such as 200 and 300
        line 17, column 6: luns[1].id: used by d already
          found: 0
          right: a whole number from 0 to 255, used once
        line 18, column 8: luns[1].name: the name of LUN 0 already
          found: "d"
          right: 1 to 32 characters of a-z, 0-9, - _ and . that begin with a letter; not "all"; used once
        line 19, column 8: luns[1].disk: the disk of LUN 0 already
          found: "/srv//d"
          right: an absolute path without .. to a block device or a file, such as "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4""#]],
    );
}

#[test]
fn two_heads_do_not_share_addresses() {
    let text = r#"
[target]
iqn = "iqn.2026-11.com.example:pair"
[heads.a]
portals = ["127.0.0.1:3260"]
link = "127.0.0.1:3270"
control = "/run/twinhead/b.sock"
[heads.b]
portals = ["127.0.0.1:3260"]
link = "127.0.0.1:3270"
[link]
secret-file = "/etc/twinhead/link.secret"
[[luns]]
id = 0
name = "d"
disk = "/srv/d"
"#;
    refused(
        text,
        &expect![[r#"
        3 problems
        line 8, column 1: heads.b.control: the same as of head a
          found: [heads.b]
          right: a path of its own for each head
        line 8, column 1: heads.b.portals: initiators reach head a at 127.0.0.1:3260 already
          found: [heads.b]
          right: addresses of its own for each head
        line 10, column 8: heads.b.link: the same as of head a
          found: "127.0.0.1:3270"
          right: the address on which the other head reaches this one, such as "198.51.100.1:3270""#]],
    );
}

#[test]
fn a_single_head_has_no_link() {
    let text = r#"
heads.a = { portals = ["127.0.0.1:3260"], link = "127.0.0.1:3270" }
luns = [{ id = 0, name = "d", disk = "/srv/d", preferred = "b" }]
link = { secret-file = "/s" }
[target]
iqn = "iqn.2026-11.com.example"
"#;
    refused(
        text,
        &expect![[r#"
        3 problems
        line 2, column 50: heads.a.link: a single head has no other head to link to
          found: "127.0.0.1:3270"
          right: add [heads.b], or leave it out
        line 3, column 60: luns[0].preferred: there is no such head
          found: "b"
          right: a head that is configured: "a", or with two heads "b"
        line 4, column 8: link: a single head has no other head to link to
          found: { secret-file = "/s" }
          right: add [heads.b], or leave [link] out"#]],
    );
}

#[test]
fn a_flood_of_problems_ends() {
    let text: String = (0..2000).map(|n| format!("k{n} = {n}\n")).collect();
    assert_eq!(Config::parse(&text).unwrap_err().problems.len(), 50);
}

#[test]
fn agreement_of_a_pair() {
    let agreed = Config::parse(PAIR).unwrap().agreement();
    let listed: String = agreed.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    expect![[r#"
        heads.a.link = 198.51.100.1:3270
        heads.a.portals.0.advertise = 192.0.2.1:3260
        heads.a.portals.0.listen = 192.0.2.1:3260
        heads.a.portals.1.advertise = san.example.com:3261
        heads.a.portals.1.listen = [::]:3261
        heads.b.link = 198.51.100.2:3270
        heads.b.portals.0.advertise = 192.0.2.2:3260
        heads.b.portals.0.listen = 192.0.2.2:3260
        heads.b.portals.1.advertise = [2001:db8::2]:3260
        heads.b.portals.1.listen = [2001:db8::2]:3260
        limits.lease-ms = 100
        limits.max-drain-ms = 1000
        limits.mirror-bytes = 1073741824
        limits.takeover-ms = 300
        link.secret-file = /etc/twinhead/link.secret
        luns.0.disk = /srv/scratch.img
        luns.0.name = scratch
        luns.0.preferred = a
        luns.0.read-only = false
        luns.3.block-bytes = 4096
        luns.3.disk = /dev/disk/by-id/wwn-0x5000c500a1b2c3d4
        luns.3.name = db
        luns.3.preferred = b
        luns.3.read-only = true
        target.iqn = iqn.2026-11.com.example:pair1
    "#]]
    .assert_eq(&listed);
}

#[test]
fn form_and_control_sockets_may_differ() {
    let here = Config::parse(PAIR).unwrap();
    let there = PAIR
        .replace("/first.sock", "/a.sock")
        .replace("\"1GiB\"", "\"1024 MiB\" # the same")
        .replace("by-id//", "by-id/");
    let there = Config::parse(&there.replace("lease-ms = 100", "lease-ms = 100\ntakeover-ms = 300")).unwrap();
    assert_ne!(here, there);
    assert_eq!(here.digest(), there.digest());
    assert_eq!(differences(&here.agreement(), &there.agreement()), []);
}

#[test]
fn differences_are_named() {
    let here = Config::parse(PAIR).unwrap();
    let there = PAIR.replace("/srv/scratch.img", "/srv/other.img").replace("mirror-bytes = \"1GiB\"", "");
    let there = Config::parse(&there).unwrap();
    assert_ne!(here.digest(), there.digest());
    let named: Vec<String> =
        differences(&here.agreement(), &there.agreement()).iter().map(ToString::to_string).collect();
    expect![[r#"
        limits.mirror-bytes: "1073741824" here, nothing on the other head
        luns.0.disk: "/srv/scratch.img" here, "/srv/other.img" on the other head"#]]
    .assert_eq(&named.join("\n"));
}

#[test]
fn files() {
    let missing = Config::load(Path::new("/nowhere/pair.toml")).unwrap_err().to_string();
    expect!["cannot read the configuration /nowhere/pair.toml: No such file or directory (os error 2)"]
        .assert_eq(&missing);
    let endless = Config::load(Path::new("/dev/zero")).unwrap_err().to_string();
    expect!["cannot read the configuration /dev/zero: larger than 1 MiB; this is not a configuration"]
        .assert_eq(&endless);
}

proptest::proptest! {
    #[test]
    fn no_file_is_a_panic(at in 0..PAIR.len(), len in 0_usize..40, put in "[\\[\\]{}\"=.,a-c0-9\n ]{0,8}") {
        let mut text = PAIR.to_owned();
        text.replace_range(at..(at + len).min(PAIR.len()), &put);
        if let Err(invalid) = Config::parse(&text) {
            proptest::prop_assert!(!invalid.problems.is_empty());
        }
    }
}

#[test]
fn an_address_that_moves_must_be_able_to() {
    let text = r#"
[target]
iqn = "iqn.2026-11.com.example:pair"
[heads.a]
portals = [
    { listen = "127.0.0.1:3260", vip = true },
    { listen = "0.0.0.0:3261", advertise = "san.example.com:3261", vip = true },
    { listen = "[fe80::1]:3260", vip = true },
    { listen = "192.0.2.1:3260", interface = "eth1" },
    { listen = "192.0.2.3:3260", vip = true, interface = "eth/1" },
    { listen = "192.0.2.4:3260", vip = true },
    "192.0.2.4:3261",
]
link = "192.0.2.9:3270"
[heads.b]
portals = ["192.0.2.2:3260"]
link = "127.0.0.1:3270"
[link]
secret-file = "/etc/twinhead/link.secret"
[[luns]]
id = 0
name = "d"
disk = "/srv/d"
"#;
    refused(
        text,
        &expect![[r#"
        6 problems
        line 6, column 5: heads.a.portals: 127.0.0.1 cannot move to the other head: every machine has it for itself
          found: { listen = "127.0.0.1:3260", vip = true }
          right: an address of its own for the portal, such as { listen = "192.0.2.1:3260", vip = true }
        line 7, column 5: heads.a.portals: 0.0.0.0 cannot move to the other head: it stands for every address
          found: { listen = "0.0.0.0:3261", advertise = "san.example.com:3261...
          right: an address of its own for the portal, such as { listen = "192.0.2.1:3260", vip = true }
        line 8, column 5: heads.a.portals: fe80::1 cannot move to the other head: it is link-local
          found: { listen = "[fe80::1]:3260", vip = true }
          right: an address of its own for the portal, such as { listen = "192.0.2.1:3260", vip = true }
        line 9, column 5: heads.a.portals: an interface is of use to an address that moves only
          found: { listen = "192.0.2.1:3260", interface = "eth1" }
          right: vip = true with it
        line 10, column 5: heads.a.portals: not the name of an interface
          found: { listen = "192.0.2.3:3260", vip = true, interface = "eth/1"...
          right: a name such as "eth1"
        line 12, column 5: heads.a.portals: another portal of this head has 192.0.2.4, and vip differently
          found: "192.0.2.4:3261"
          right: vip and interface alike for all ports of an address"#]],
    );
}

#[test]
fn an_address_that_moves_has_room_on_the_other_head() {
    let text = r#"
[target]
iqn = "iqn.2026-11.com.example:pair"
[heads.a]
portals = [{ listen = "192.0.2.1:3260", vip = true }, { listen = "192.0.2.9:3260", vip = true }]
link = "127.0.0.1:3270"
[heads.b]
portals = [{ listen = "0.0.0.0:3260", advertise = "192.0.2.2:3260" }]
link = "192.0.2.9:3270"
[link]
secret-file = "/etc/twinhead/link.secret"
[[luns]]
id = 0
name = "d"
disk = "/srv/d"
"#;
    refused(
        text,
        &expect![[r#"
        3 problems
        line 4, column 1: heads.a.portals: 192.0.2.1 cannot move to head b, which listens there itself
          found: [heads.a]
          right: an address that nothing else of the pair has
        line 4, column 1: heads.a.portals: 192.0.2.9 cannot move to head b, which listens there itself
          found: [heads.a]
          right: an address that nothing else of the pair has
        line 4, column 1: heads.a.portals: 192.0.2.9 cannot move: the link needs it where it is
          found: [heads.a]
          right: an address that nothing else of the pair has"#]],
    );
}

#[test]
fn both_heads_must_agree_on_what_moves() {
    let fixed = Config::parse(PAIR).unwrap();
    let text =
        PAIR.replacen("[\"192.0.2.1:3260\"", "[{ listen = \"192.0.2.1:3260\", vip = true, interface = \"eth1\" }", 1);
    let moving = Config::parse(&text).unwrap();
    assert_eq!(moving.heads[&HeadName::A].portals[0].vip, Some(Vip { interface: Some("eth1".to_owned()) }));
    let differing: Vec<_> =
        differences(&fixed.agreement(), &moving.agreement()).iter().map(ToString::to_string).collect();
    assert_eq!(
        differing,
        [
            r#"heads.a.portals.0.interface: nothing here, "eth1" on the other head"#,
            r#"heads.a.portals.0.vip: nothing here, "true" on the other head"#,
        ]
    );
}
