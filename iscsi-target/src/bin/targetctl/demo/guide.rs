//! How a client reaches the heads of a demo.

use std::fmt::Write;
use std::path::Path;

use iscsi_target::daemon::config::{Config, HeadName};

/// The lines to print; `config` is at `path`.
pub(super) fn guide(config: &Config, path: &Path) -> String {
    let portal = |head: HeadName| config.heads[&head].portals[0].advertise.as_str();
    let (a, b, iqn, path) = (portal(HeadName::A), portal(HeadName::B), &config.iqn, path.display());
    let lun = &config.luns[&0].name;
    let mut text = String::new();
    let lines = [
        format!("Two heads serve {iqn}, LUN 0: head a at {a}, head b at {b}"),
        String::new(),
        format!(
            "Linux with open-iscsi and multipath-tools (all of it: targetctl client-config linux --config {path}):"
        ),
        format!("  iscsiadm -m discovery -t sendtargets -p {a}"),
        format!("  iscsiadm -m node -T {iqn} -o update -n node.session.timeo.replacement_timeout -v 0"),
        format!("  iscsiadm -m node -T {iqn} --login"),
        "  multipath -ll                 # one disk TWINHEAD with two paths; the owner's has the higher prio"
            .to_owned(),
        format!("  iscsiadm -m node -T {iqn} --logout && iscsiadm -m node -T {iqn} -o delete"),
        "libiscsi:".to_owned(),
        format!("  iscsi-ls --show-luns iscsi://{a}"),
        format!("  iscsi-inq iscsi://{b}/{iqn}/0"),
        "And, with targetctl:".to_owned(),
        format!("  targetctl status --config {path} --head a"),
        format!("  targetctl handover {lun} --config {path} --head a"),
        format!("  targetctl drill --lun 0 --config {path}"),
    ];
    for line in lines {
        // Writing to a String cannot fail.
        writeln!(text, "{line}").ok();
    }
    text
}
