//! Kubernetes, with the volume plugin for iSCSI that is part of kubelet.

use std::fmt::Write;
use std::net::SocketAddr;

use iscsi_target::daemon::config::{Config, Lun};

use super::template;

/// What the nodes need, and a volume for each LUN.
pub(super) fn text(config: &Config) -> String {
    let mut text = template::fill(include_str!("kubernetes.yaml"), config);
    for name in template::portals(config).filter(|portal| portal.parse::<SocketAddr>().is_err()) {
        // Writing to a String cannot fail.
        writeln!(text, "# {name}: put the address here; kubelet looks for the disk under its address, not its name.")
            .ok();
    }
    config.luns.values().for_each(|lun| text += &volume(config, lun));
    text
}

fn volume(config: &Config, lun: &Lun) -> String {
    let mut portals = template::portals(config);
    let first = portals.next().expect("a configuration has at least one portal");
    // kubelet counts a portal that is there twice as one that it cannot reach.
    let others: Vec<String> = portals.map(|portal| format!("\"{portal}\"")).collect();
    let (access, read_only) = if lun.read_only { ("ReadOnlyMany", "true") } else { ("ReadWriteOnce", "false") };
    let values = [
        ("@ID@", lun.id.to_string()),
        ("@LUN@", lun.name.clone()),
        ("@ACCESS@", access.to_owned()),
        ("@FIRST@", first.to_owned()),
        ("@OTHERS@", format!("[{}]", others.join(", "))),
        ("@READONLY@", read_only.to_owned()),
    ];
    let values: Vec<_> = values.iter().map(|(gap, value)| (*gap, value.as_str())).collect();
    template::fill(&template::replace(include_str!("kubernetes-volume.yaml"), &values), config)
}
