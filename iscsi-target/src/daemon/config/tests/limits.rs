//! What clients may take of a head.

use super::*;

fn with(limits: &str) -> String {
    format!("{SINGLE}\n[limits]\n{limits}")
}

#[test]
fn bounds_for_clients() {
    let limits =
        "connections = 20\nconnections-per-address = 4\nlogins = 10\nlogins-per-address = 2\nclient-bytes = \"64MiB\"";
    let config = Config::parse(&with(limits)).unwrap();
    let expected = ClientLimits {
        connections: 20,
        connections_per_address: 4,
        logins: 10,
        logins_per_address: 2,
        bytes: 64 << 20,
    };
    assert_eq!(config.limits.clients, expected);
    let agreed = config.pair_agreement();
    assert_eq!(agreed["limits.client-bytes"], "67108864");
    assert_eq!(agreed["limits.logins-per-address"], "2");
    let usual = Config::parse(SINGLE).unwrap();
    assert_eq!(usual.limits.clients, ClientLimits::default());
    assert!(usual.change_to(&config, &[0].into()).is_err(), "they are looked at when a head starts");
}

#[test]
fn bounds_that_let_nobody_in_are_refused() {
    refused(
        &with("connections = 0\nlogins-per-address = 100000\nclient-bytes = \"1MiB\""),
        &expect![[r#"
            3 problems
            line 7, column 15: limits.connections: out of range
              found: 0
              right: 1 to 65536 connections, such as 1024
            line 8, column 22: limits.logins-per-address: out of range
              found: 100000
              right: 1 to 65536 connections, such as 32
            line 9, column 16: limits.client-bytes: out of range
              found: "1MiB"
              right: 64 MiB to 16 TiB, such as "1GiB""#]],
    );
}
