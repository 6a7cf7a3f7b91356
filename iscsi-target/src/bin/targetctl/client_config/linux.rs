//! Linux, with open-iscsi and multipath-tools.
//!
//! A pair has two paths at least, and multipath chooses between them. A single head with one portal has one path: there
//! is nothing to choose, and commands have to wait in the session instead.

use iscsi_target::daemon::config::Config;

use super::template;

const MULTIPATH: &str = include_str!("../../../../../packaging/client/twinhead-multipath.conf");
const ISCSID: &str = include_str!("../../../../../packaging/client/twinhead-iscsid.conf");
const SCRIPT: &str = include_str!("linux.sh");
const ONE_PATH_MULTIPATH: &str = "# One portal, one path: nothing for multipath to choose from.\n";
const ONE_PATH_ISCSID: &str = include_str!("linux-one-path-iscsid.conf");
const ONE_PATH_SCRIPT: &str = include_str!("linux-one-path.sh");

/// One of the texts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum File {
    /// For /etc/multipath/conf.d/twinhead.conf
    Multipath,
    /// Values for /etc/iscsi/iscsid.conf
    Iscsid,
    /// A shell script: discovery, the same values for this target alone, login through all portals
    Script,
}

/// The text of `file`.
pub(super) fn file(config: &Config, file: File) -> String {
    let one_path = template::portals(config).nth(1).is_none();
    let (multipath, iscsid, script) =
        if one_path { (ONE_PATH_MULTIPATH, ONE_PATH_ISCSID, ONE_PATH_SCRIPT) } else { (MULTIPATH, ISCSID, SCRIPT) };
    match file {
        File::Multipath => multipath.to_owned(),
        File::Iscsid => iscsid.to_owned(),
        File::Script => {
            let values: Vec<_> =
                values(iscsid).map(|(name, value)| vec![("@NAME@", name), ("@VALUE@", value)]).collect();
            template::repeat(&template::fill(script, config), &values)
        }
    }
}

/// All of them, and what to do with each.
pub(super) fn everything(config: &Config) -> String {
    let parts = [
        (File::Multipath, "1. For /etc/multipath/conf.d/twinhead.conf: --file multipath"),
        (
            File::Iscsid,
            "2. To append to /etc/iscsi/iscsid.conf: --file iscsid. Needed only where something else than the script below\n\
             #    makes the records of sessions, as kubelet does.",
        ),
        (File::Script, "3. For the shell: --file script"),
    ];
    let mut text = template::fill(
        "# Linux, with open-iscsi and multipath-tools, as a client of @IQN@.\n\
         # Three parts, each by itself with --file.\n",
        config,
    );
    for (part, heading) in parts {
        text += &format!("\n# {heading}\n\n{}", file(config, part));
    }
    text
}

/// The settings in the text of an iscsid.conf.
fn values(iscsid: &str) -> impl Iterator<Item = (&str, &str)> {
    iscsid.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// open-iscsi takes a value up to the end of the line, a comment behind it included.
    #[test]
    fn iscsid_has_nothing_but_comments_and_values() {
        for text in [ISCSID, ONE_PATH_ISCSID] {
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (name, value) = line.split_once(" = ").unwrap();
                let is_word = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '\'');
                assert!(name.starts_with("node.") && is_word(name) && is_word(value), "{line}");
            }
        }
        assert_eq!(values(ISCSID).count(), 4);
    }
}
