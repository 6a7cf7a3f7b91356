//! Who may log in.

use super::*;

fn with(target: &str, rest: &str) -> String {
    format!(
        "[target]\niqn = \"iqn.2026-11.com.example\"\n{target}\n[heads.a]\nportals = [\"127.0.0.1:3260\"]\n{rest}\n\
         [[luns]]\nid = 0\nname = \"d\"\ndisk = \"/d\"\n"
    )
}

const TARGET: &str = r#"initiators = ["iqn.2026-11.x:DB1", "iqn.2026-11.x:web"]
networks = ["192.0.2.0/24", "2001:db8::/64"]"#;

const AUTH: &str = r#"
[auth]
discovery = { user = "finder", secret-file = "/etc/twinhead/chap/finder" }
default = { user = "clients", secret-file = "/etc/twinhead/chap/clients" }
[[auth.initiators]]
name = "iqn.2026-11.X:db1"
user = "db1"
secret-file = "/etc/twinhead/chap/db1"
target-user = "pair1"
target-secret-file = "/etc/twinhead/chap/pair1"
"#;

#[test]
fn without_rules_everybody_may() {
    let config = Config::parse(SINGLE).unwrap();
    assert_eq!(config.logins, Logins::default());
    expect![[r#"
        may log in: every initiator; from everywhere
        initiators: no CHAP, their names are not proven
        discovery: no CHAP"#]]
    .assert_eq(&config.logins.described().join("\n"));
}

#[test]
fn all_rules_at_once() {
    let config = Config::parse(&with(TARGET, AUTH)).unwrap();
    let own = &config.logins.auth.initiators["iqn.2026-11.x:db1"];
    assert_eq!(own.initiator, Account { user: "db1".to_owned(), secret_file: "/etc/twinhead/chap/db1".into() });
    expect![[r#"
        may log in: iqn.2026-11.x:db1, iqn.2026-11.x:web; from 192.0.2.0/24, 2001:db8::/64
        iqn.2026-11.x:db1: CHAP as db1, the target as pair1
        every other initiator: CHAP as clients
        discovery: CHAP as finder"#]]
    .assert_eq(&config.logins.described().join("\n"));
    let default = "default = { user = \"clients\", secret-file = \"/etc/twinhead/chap/clients\" }\n";
    let only_own = Config::parse(&with("", &AUTH.replace(default, ""))).unwrap();
    let described = only_own.logins.described().join("\n");
    assert!(described.contains("every other initiator: no credential, cannot log in"), "{described}");
}

#[test]
fn heads_should_agree_but_are_a_pair_while_they_do_not() {
    let (none, all) = (Config::parse(&with("", "")).unwrap(), Config::parse(&with(TARGET, AUTH)).unwrap());
    assert_ne!(none.digest(), all.digest());
    assert_eq!(none.pair_digest(), all.pair_digest());
    let keys = differences(&none.agreement(), &all.agreement()).into_iter().map(|difference| difference.key);
    expect![[r#"
        auth.default.secret-file
        auth.default.user
        auth.discovery.secret-file
        auth.discovery.user
        auth.initiators.iqn.2026-11.x:db1.secret-file
        auth.initiators.iqn.2026-11.x:db1.target-secret-file
        auth.initiators.iqn.2026-11.x:db1.target-user
        auth.initiators.iqn.2026-11.x:db1.user
        target.initiators
        target.networks"#]]
    .assert_eq(&keys.collect::<Vec<_>>().join("\n"));
}

#[test]
fn every_mistake_is_reported() {
    let target =
        "initiators = [\"iqn.2026-11.x:db1\", \"db2\"]\nnetworks = [\"192.0.2.7/24\", \"10.0.0.0/8\", \"10.0.0.0/8\"]";
    let auth = r#"
[auth]
discovery = { user = "", secret-file = "finder", password = "123456789012" }
default = { name = "iqn.2026-11.x:all", user = "all", secret-file = "/s/all", target-user = "pair" }
[[auth.initiators]]
user = "two words"
[[auth.initiators]]
name = "iqn.2026-11.x:db1"
user = "db1"
secret-file = "/s/db1"
target-user = "pair"
target-secret-file = "/s//db1"
"#;
    refused(
        &with(target, auth),
        &expect![[r#"
            12 problems
            line 3, column 36: target.initiators: not an iSCSI name: it begins with none of iqn., eui. and naa.
              found: "db2"
              right: a list of names of initiators, such as ["iqn.1993-08.org.debian:01:abc"]; /etc/iscsi/initiatorname.iscsi has a client's
            line 4, column 13: target.networks: 192.0.2.7/24 has bits that do not count; write "192.0.2.0/24"
              found: "192.0.2.7/24"
              right: a list of networks or addresses of initiators, such as ["192.0.2.0/24", "2001:db8::/64", "198.51.100.7"]
            line 4, column 43: target.networks: is there already
              found: "10.0.0.0/8"
              right: each network once
            line 9, column 22: auth.discovery.user: not a name for CHAP
              found: ""
              right: a name such as "db1", 1 to 255 visible characters: the other side has to be given the same one
            line 9, column 40: auth.discovery.secret-file: not an absolute path
              right: an absolute path such as "/etc/twinhead/chap/db1"
            line 9, column 50: auth.discovery.password: there is no such setting
              found: password
              right: one of name, user, secret-file, target-user, target-secret-file
            line 10, column 11: auth.default.target-secret-file: missing
              right: an absolute path such as "/etc/twinhead/chap/db1"
            line 10, column 20: auth.default.name: it belongs to no initiator in particular
              found: "iqn.2026-11.x:all"
              right: [[auth.initiators]] for what belongs to one initiator
            line 11, column 1: auth.initiators[0].name: missing
              right: the name of an initiator, such as "iqn.1993-08.org.debian:01:abc", once; if there is target.initiators, one that is in it
            line 11, column 1: auth.initiators[0].secret-file: missing
              right: an absolute path such as "/etc/twinhead/chap/db1"
            line 12, column 8: auth.initiators[0].user: not a name for CHAP
              found: "two words"
              right: a name such as "db1", 1 to 255 visible characters: the other side has to be given the same one
            line 18, column 22: auth.initiators[1].target-secret-file: the secret of the initiator, too: whoever has heard the target could log in
              found: "/s//db1"
              right: a secret of its own for each direction"#]],
    );
    refused(
        &with("initiators = []\nnetworks = []", "[auth]"),
        &expect![[r#"
        3 problems
        line 3, column 14: target.initiators: nobody could log in
          found: []
          right: the names of those who may
        line 4, column 12: target.networks: nobody could log in
          found: []
          right: a list of networks or addresses of initiators, such as ["192.0.2.0/24", "2001:db8::/64", "198.51.100.7"]
        line 7, column 1: auth: missing
          found: [auth]
          right: a table [auth] with any of default, discovery, and tables [[auth.initiators]]"#]],
    );
}

#[test]
fn who_is_named_must_be_let_in() {
    let auth = "[[auth.initiators]]\nname = \"iqn.2026-11.x:wbe\"\nuser = \"web\"\nsecret-file = \"/s/web\"";
    refused(
        &with(TARGET, auth),
        &expect![[r#"
        1 problem
        line 8, column 8: auth.initiators[0].name: may not log in: it is not in target.initiators
          found: "iqn.2026-11.x:wbe"
          right: the name of an initiator, such as "iqn.1993-08.org.debian:01:abc", once; if there is target.initiators, one that is in it"#]],
    );
    let luns = |names: &str| with(TARGET, "") + names;
    refused(
        &luns("initiators = [\"iqn.2026-11.x:wbe\"]\n"),
        &expect![[r#"
        1 problem
        line 8, column 1: luns.0.initiators: iqn.2026-11.x:wbe may not log in
          found: [[luns]]
          right: names that are also in target.initiators"#]],
    );
    refused(
        &luns("writers = [\"iqn.2026-11.x:wbe\"]\n"),
        &expect![[r#"
        1 problem
        line 8, column 1: luns.0.writers: iqn.2026-11.x:wbe may not log in
          found: [[luns]]
          right: names that are also in target.initiators"#]],
    );
    let blind = "initiators = [\"iqn.2026-11.x:web\"]\nwriters = [\"iqn.2026-11.x:db1\"]\n";
    refused(
        &luns(blind),
        &expect![[r#"
        1 problem
        line 13, column 11: luns[0].writers: iqn.2026-11.x:db1 does not see this LUN
          found: ["iqn.2026-11.x:db1"]
          right: names that are also in the initiators of this LUN"#]],
    );
    let seen = Config::parse(&luns("initiators = [\"iqn.2026-11.x:WEB\"]\n")).unwrap();
    assert_eq!(seen.luns[&0].initiators, Some(BTreeSet::from(["iqn.2026-11.x:web".to_owned()])));
    refused(
        &luns("initiators = []\n"),
        &expect![[r#"
        1 problem
        line 12, column 14: luns[0].initiators: nobody could see it
          found: []
          right: the names of those who may"#]],
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_not_quoted() {
    for wrong in [
        "default = \"123456789012\"",
        "default = { user = \"them\", password = \"123456789012\" }",
        "default = { user = \"them\", secret-file = \"123456789012\" }",
        "initiators = [{ user = \"them\", secret-file = [\"123456789012\"] }]",
    ] {
        let problems = Config::parse(&with("", &format!("[auth]\n{wrong}"))).unwrap_err().to_string();
        assert!(problems.contains("auth") && !problems.contains("1234"), "{problems}");
    }
}
