//! What a machine can see in the tree: files that grew too long, leftovers, pages that name what is not there, and
//! arrows between the parts that ARCHITECTURE.md does not have.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 600;
/// Tests that stand in a file of their own may be longer than code.
const TEST_LINES_MAX: usize = 900;
const ARCHITECTURE_LINES_MAX: usize = 200;

/// Parts that must not know others: where, and what must not be used there.
const ARROWS: &[(&str, &[&str])] = &[
    ("alua/src", &["tokio", "std::net", "std::fs", "std::thread", "Instant"]),
    ("replication/src", &["tokio", "std::net", "std::fs", "std::thread", "Instant"]),
    (
        "iscsi-target/src/pdu",
        &["tokio", "std::net", "crate::session", "crate::scsi", "crate::daemon", "crate::initiator"],
    ),
    ("iscsi-target/src/session", &["tokio", "std::net", "Instant", "crate::daemon", "crate::initiator"]),
    ("iscsi-target/src/scsi", &["tokio", "std::net", "Instant", "crate::pdu", "crate::session", "crate::daemon"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a folder of the workspace").to_owned()
}

/// Every file of the project below `from`, relative to the root, but what is built or belongs to git.
fn files(from: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![from.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if path.is_file() && name != ".git" {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// The text of every file that is text, by its path.
fn texts() -> Vec<(PathBuf, String)> {
    let all = files(&root());
    assert!(all.len() > 100, "the tree was not found");
    all.into_iter().filter_map(|path| fs::read_to_string(root().join(&path)).ok().map(|text| (path, text))).collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for (path, text) in texts().iter().filter(|(path, _)| extension(path) == "rs") {
        let is_test = path.file_name().is_some_and(|name| name == "tests.rs");
        let most = if is_test { TEST_LINES_MAX } else { LINES_MAX };
        let lines = text.lines().count();
        if lines > most {
            long.push(format!("{}: {lines} lines, at most {most}", path.display()));
        }
    }
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap().lines().count();
    assert!(architecture < ARCHITECTURE_LINES_MAX, "ARCHITECTURE.md has {architecture} lines");
    assert_none("too long", &long);
}

#[test]
fn nothing_is_left_over() {
    // Put together here, so that this file does not find itself.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|halves| halves.concat());
    let marks = [["todo", "!("], ["unimplemented", "!("], ["dbg", "!("], ["/root", "/"], ["/home", "/"]];
    let marks = marks.map(|halves| halves.concat());
    let mut found = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let in_words = line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.iter().any(|w| w == word));
            if in_words || marks.iter().any(|mark| line.contains(mark)) || refers_to_an_issue(line) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert_none("left over", &found);
}

/// Numbers of a tracker say nothing to who reads the code.
fn refers_to_an_issue(line: &str) -> bool {
    let word = ["iss", "ue"].concat();
    line.to_ascii_lowercase()
        .split(&word)
        .skip(1)
        .any(|rest| rest.trim_start_matches([' ', '#']).starts_with(|c: char| c.is_ascii_digit()))
}

#[test]
fn text_is_clean() {
    let mut found = Vec::new();
    // An empty line of a patch begins with a blank.
    for (path, text) in texts().iter().filter(|(path, _)| !["txt", "patch"].contains(&extension(path))) {
        if !text.is_empty() && !text.ends_with('\n') {
            found.push(format!("{}: no newline at the end", path.display()));
        }
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                found.push(format!("{}:{}: blanks at the end", path.display(), number + 1));
            }
        }
    }
    assert_none("not clean", &found);
}

#[test]
fn documents_name_what_is_there() {
    let mut missing = Vec::new();
    for (path, text) in texts().iter().filter(|(path, _)| extension(path) == "md") {
        let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let linked =
            linked.filter(|target| !target.contains("://")).map(|target| target.split('#').next().unwrap_or(""));
        // In backticks: what looks like a path into one of the folders of this tree.
        let quoted = text.split('`').skip(1).step_by(2).filter(|quoted| is_path_of_the_tree(quoted));
        for target in linked.chain(quoted).filter(|target| !target.is_empty()) {
            if !root().join(target).exists() {
                missing.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert_none("named and not there", &missing);
}

/// What README.md shows of the settings for a Linux client is what the files set.
#[test]
fn the_readme_shows_what_clients_get() {
    let setting = |line: &str| line.split('#').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let folder = root().join("packaging/client");
    let files = ["twinhead-multipath.conf", "twinhead-iscsid.conf"];
    let set: Vec<String> = files
        .iter()
        .flat_map(|file| fs::read_to_string(folder.join(file)).unwrap().lines().map(setting).collect::<Vec<_>>())
        .collect();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let clients = readme.split("\n## Clients\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = clients.split("```").skip(1).step_by(2).flat_map(str::lines).map(setting);
    let shown: Vec<String> = blocks
        .filter(|line| !line.is_empty() && !["targetctl ", "ssh "].iter().any(|start| line.starts_with(start)))
        .collect();
    assert!(shown.len() >= 8, "README.md shows only {shown:?}");
    assert_none(
        "shown, but not set like that",
        &shown.into_iter().filter(|line| !set.contains(line)).collect::<Vec<_>>(),
    );
}

fn is_path_of_the_tree(quoted: &str) -> bool {
    let folders =
        ["alua/", "replication/", "sas-backend/", "iscsi-target/", "tests/", "examples/", "packaging/", ".ci/"];
    folders.iter().any(|folder| quoted.starts_with(folder)) && !quoted.contains(' ')
}

#[test]
fn who_may_know_whom() {
    let mut found = Vec::new();
    for (folder, others) in ARROWS {
        for path in files(&root().join(folder)) {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                let known = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
                for word in known.filter(|word| others.iter().any(|other| knows(word, other))) {
                    found.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert_none("knows more than it may", &found);
}

/// Whether the path `word` is `other` or leads into it.
fn knows(word: &str, other: &str) -> bool {
    word.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn crates_depend_downwards() {
    let members = ["alua", "sas-backend", "replication", "iscsi-target"];
    let allowed: [&[&str]; 4] = [&[], &[], &["sas-backend"], &["alua", "sas-backend", "replication"]];
    for (member, allowed) in members.iter().zip(allowed) {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        let named = |other: &&&str| manifest.lines().any(|line| line.starts_with(&format!("{other}.workspace")));
        let known: Vec<_> = members.iter().filter(named).filter(|other| !allowed.contains(other)).collect();
        assert!(known.is_empty(), "{member} depends on {known:?}");
    }
}

#[test]
fn scripts_can_be_run() {
    for script in [
        "tests/run",
        "tests/clients/run",
        "tests/clients/access",
        "tests/conformance/run",
        "tests/namespaces/run",
        "tests/namespaces/addresses",
        "tests/growth/run",
        ".ci/run",
    ] {
        let path = root().join(script);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert!(mode & 0o111 == 0o111, "{script} is not executable");
        assert!(fs::read_to_string(&path).unwrap().starts_with("#!/usr/bin/env bash\n"), "{script}");
    }
}
