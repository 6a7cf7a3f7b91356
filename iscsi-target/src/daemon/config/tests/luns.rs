//! What concerns single LUNs.

use super::*;

#[test]
fn writers() {
    let with = |luns: &str| {
        format!("target = {{ iqn = \"iqn.2026-11.com.example\" }}\nheads.a.portals = [\"127.0.0.1:3260\"]\n{luns}")
    };
    let config = Config::parse(&with(
        "luns = [{ id = 0, name = \"d\", disk = \"/d\", writers = [\"iqn.1993-08.org.Debian:01:ABC\", \"eui.02004567A425678D\"] }]",
    ));
    let names = ["eui.02004567a425678d", "iqn.1993-08.org.debian:01:abc"].map(str::to_owned);
    assert_eq!(config.unwrap().luns[&0].writers, Some(BTreeSet::from(names)));
    refused(
        &with(
            r#"
[[luns]]
id = 0
name = "a"
disk = "/a"
read-only = true
writers = ["iqn.1993-08.org.debian:01:abc"]
[[luns]]
id = 1
name = "b"
disk = "/b"
writers = []
[[luns]]
id = 2
name = "c"
disk = "/c"
writers = ["host1", "iqn.1993-08.org.debian:01:abc", "IQN.1993-08.org.debian:01:abc", "iqn.93.org"]
[[luns]]
id = 3
name = "d"
disk = "/d"
writers = "all"
"#,
        ),
        &expect![[r#"
            6 problems
            line 9, column 11: luns[0].writers: with read-only = true nobody may write
              found: ["iqn.1993-08.org.debian:01:abc"]
              right: either read-only = true, or writers
            line 14, column 11: luns[1].writers: nobody could write
              found: []
              right: the names of those who may
            line 19, column 12: luns[2].writers: not an iSCSI name: it begins with none of iqn., eui. and naa.
              found: "host1"
              right: a list of names of initiators, such as ["iqn.1993-08.org.debian:01:abc"]; /etc/iscsi/initiatorname.iscsi has a client's
            line 19, column 54: luns[2].writers: is there already
              found: "IQN.1993-08.org.debian:01:abc"
              right: each name once; case makes no difference
            line 19, column 87: luns[2].writers: "93" is not a year and month, such as 1993-08
              found: "iqn.93.org"
              right: a list of names of initiators, such as ["iqn.1993-08.org.debian:01:abc"]; /etc/iscsi/initiatorname.iscsi has a client's
            line 24, column 11: luns[3].writers: not a value that can stand here
              found: "all"
              right: a list of names of initiators, such as ["iqn.1993-08.org.debian:01:abc"]; /etc/iscsi/initiatorname.iscsi has a client's"#]],
    );
}

#[test]
fn units_of_writing() {
    let with = |luns: &str| {
        format!("target = {{ iqn = \"iqn.2026-11.com.example\" }}\nheads.a.portals = [\"127.0.0.1:3260\"]\n{luns}")
    };
    let config = Config::parse(&with(
        "luns = [{ id = 0, name = \"d\", disk = \"/d\", physical-block-bytes = 4096, atomic-write-bytes = \"64KiB\", removable = true, thin = true, sanitize-bytes-per-second = \"2MiB\" }]",
    ));
    let lun = config.unwrap().luns[&0].clone();
    assert_eq!((lun.physical_block_bytes, lun.atomic_write_bytes, lun.removable), (Some(4096), Some(65536), true));
    let fixed = lun.fixed_settings();
    assert!(lun.thin);
    assert_eq!(lun.online_settings()["luns.0.sanitize-bytes-per-second"], "2097152");
    let settings = ["luns.0.physical-block-bytes", "luns.0.atomic-write-bytes", "luns.0.removable", "luns.0.thin"];
    assert_eq!(settings.map(|key| fixed[key].as_str()), ["4096", "65536", "true", "true"]);
    refused(
        &with(
            r#"
[[luns]]
id = 0
name = "a"
disk = "/a"
block-bytes = 4096
physical-block-bytes = 512
[[luns]]
id = 1
name = "b"
disk = "/b"
physical-block-bytes = 3000
atomic-write-bytes = "2MiB"
[[luns]]
id = 2
name = "c"
disk = "/c"
physical-block-bytes = 4096
atomic-write-bytes = 2048
removable = "yes"
sanitize-bytes-per-second = 1000
"#,
        ),
        &expect![[r#"
            6 problems
            line 9, column 24: luns[0].physical-block-bytes: below the 4096 bytes of a block
              found: 512
              right: a power of two from 512 to "1MiB", such as 4096; not below block-bytes
            line 14, column 24: luns[1].physical-block-bytes: not such a size
              found: 3000
              right: a power of two from 512 to "1MiB", such as 4096; not below block-bytes
            line 15, column 22: luns[1].atomic-write-bytes: not such a size
              found: "2MiB"
              right: a power of two from 512 to "1MiB" that the disk's vendor vouches for; not below physical-block-bytes
            line 21, column 22: luns[2].atomic-write-bytes: below the 4096 bytes of a block
              found: 2048
              right: a power of two from 512 to "1MiB" that the disk's vendor vouches for; not below physical-block-bytes
            line 22, column 13: luns[2].removable: not a value that can stand here
              found: "yes"
              right: true or false
            line 23, column 29: luns[2].sanitize-bytes-per-second: out of range
              found: 1000
              right: 1 MiB to 16 TiB, such as "1GiB""#]],
    );
}

#[test]
fn what_concerns_one_lun_does_not_part_the_heads() {
    let here = Config::parse(PAIR).unwrap();
    let other = |from: &str, to: &str| Config::parse(&PAIR.replace(from, to)).unwrap();
    let no_scratch = other("[[luns]]\nid = 0\nname = \"scratch\"\ndisk = \"/srv/scratch.img\"\n", "");
    for there in [&no_scratch, &other("/srv/scratch.img", "/srv/other.img"), &other("\"db\"", "\"mail\"")] {
        assert_ne!(here.digest(), there.digest());
        assert_eq!(here.pair_digest(), there.pair_digest());
    }
    assert_ne!(here.pair_digest(), other("lease-ms = 100", "lease-ms = 120").pair_digest());
    assert!(here.pair_agreement().keys().all(|key| !key.starts_with("luns.")));
}

#[test]
fn both_heads_prefer_the_same_one() {
    let all = [HeadName::A, HeadName::B];
    for (here, there) in all.into_iter().flat_map(|here| all.map(|there| (here, there))) {
        assert_eq!(preferred_by_both(here, Some(there)), preferred_by_both(there, Some(here)));
        assert_eq!(preferred_by_both(here, Some(here)), here);
        assert_eq!(preferred_by_both(here, None), here);
    }
}
