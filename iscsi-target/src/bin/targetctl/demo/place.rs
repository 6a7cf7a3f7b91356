//! The directory of a demo: `disk.img`, `pair.toml`, `link.secret`; while it runs, the control sockets; and the logs.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use iscsi_target::daemon::config::{ByteSize, Config, HeadName};
use sas_backend::init::{Contents, Existing, NewDisk, initialise, inspect};

use super::ports::Ports;
use crate::failure::Failure;

const IQN: &str = "iqn.2026-11.com.example:demo";
const LUN_NAME: &str = "demo";
const DEFAULT_SIZE: ByteSize = ByteSize(1 << 30);
const SECRET_BYTES: usize = 32;

/// Everything two heads need.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// Whether it goes away at a good end.
    is_ours: bool,
    config: Config,
}

impl Place {
    /// Make `directory` ready, or a new one. What it already holds of an earlier demo stays.
    pub(super) fn prepare(directory: Option<&Path>, size: Option<ByteSize>, ports: &Ports) -> Result<Self, Failure> {
        let (path, is_ours) = match directory {
            Some(path) => (path.to_owned(), false),
            None => (std::env::temp_dir().join(format!("twinhead-demo-{}-{}", std::process::id(), hex(4)?)), true),
        };
        let created =
            DirBuilder::new().recursive(!is_ours).mode(0o700).create(&path).and_then(|()| path.canonicalize());
        let directory = created.map_err(|error| Failure::failed(format!("cannot use {}: {error}", path.display())))?;
        let filled = fill(&directory, size, ports);
        if filled.is_err() && is_ours {
            remove(&directory);
        }
        filled.map(|config| Self { directory, is_ours, config })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn config_path(&self) -> PathBuf {
        config_path(&self.directory)
    }

    pub(super) fn log(&self, head: HeadName) -> PathBuf {
        self.directory.join(format!("{head}.log"))
    }

    /// The end: only what failed, or was asked for, is kept.
    pub(super) fn leave(self, is_good: bool) {
        if is_good && self.is_ours {
            remove(&self.directory);
        } else {
            eprintln!("targetctl: the disk and the logs of both heads are in {}", self.directory.display());
        }
    }
}

fn config_path(directory: &Path) -> PathBuf {
    directory.join("pair.toml")
}

fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory) {
        eprintln!("targetctl: {} cannot be removed: {error}", directory.display());
    }
}

fn fill(directory: &Path, size: Option<ByteSize>, ports: &Ports) -> Result<Config, Failure> {
    let secret = directory.join("link.secret");
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret) {
        Ok(mut file) => writeln!(file, "{}", hex(SECRET_BYTES)?)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Failure::failed(format!("cannot write {}: {error}", secret.display()))),
    }
    let disk = directory.join("disk.img");
    prepare_disk(&disk, size)?;
    let path = config_path(directory);
    fs::write(&path, document(directory, &disk, &secret, ports).to_string())?;
    Ok(Config::load(&path)?)
}

/// The disk of an earlier demo, or a new one.
fn prepare_disk(path: &Path, size: Option<ByteSize>) -> Result<(), Failure> {
    let shown = path.display();
    if path.exists() {
        let found = ByteSize(fs::metadata(path)?.len());
        if let Some(size) = size.filter(|size| *size != found) {
            return Err(Failure::Usage(format!("{shown} is there already, with {found} instead of {size}")));
        }
        return match inspect(path)? {
            Contents::HasSuperblock(superblock) if superblock.identity.iqn == IQN => Ok(()),
            _ => Err(Failure::failed(format!("{shown} is there already, and is not the disk of a demo"))),
        };
    }
    let size = size.unwrap_or(DEFAULT_SIZE);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let new = NewDisk { iqn: IQN.to_owned(), lun_name: LUN_NAME.to_owned(), block_bytes: None };
    let made = File::set_len(&file, size.0)
        .map_err(|error| error.to_string())
        .and_then(|()| initialise(path, &new, Existing::OnlyIfBlank).map_err(|error| error.to_string()));
    made.map(drop).map_err(|why| {
        // Or the next attempt would take it for somebody's.
        fs::remove_file(path).ok();
        Failure::failed(format!("cannot make {shown} a disk of {size}: {why}"))
    })
}

/// A whole number of random bytes.
fn hex(bytes: usize) -> Result<String, Failure> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| Failure::failed(format!("no random numbers: {error}")))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn document(directory: &Path, disk: &Path, secret: &Path, ports: &Ports) -> toml::Table {
    let path = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned());
    let mut heads = toml::Table::new();
    for (index, head) in [HeadName::A, HeadName::B].into_iter().enumerate() {
        let mut table = toml::Table::new();
        table.insert("portals".to_owned(), vec![ports.portals[index].to_string()].into());
        table.insert("link".to_owned(), ports.links[index].to_string().into());
        table.insert("control".to_owned(), path(&directory.join(format!("{head}.sock"))));
        heads.insert(head.to_string(), table.into());
    }
    let table = |entries: Vec<(&str, toml::Value)>| -> toml::Table {
        entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    };
    let lun = table(vec![("id", 0.into()), ("name", LUN_NAME.into()), ("disk", path(disk))]);
    table(vec![
        ("target", table(vec![("iqn", IQN.into())]).into()),
        ("heads", heads.into()),
        ("link", table(vec![("secret-file", path(secret))]).into()),
        ("luns", vec![toml::Value::from(lun)].into()),
    ])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ports() -> Ports {
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        Ports { portals: [at(3260), at(3261)], links: [at(3270), at(3271)] }
    }

    #[test]
    fn a_directory_is_made_and_removed() {
        let place = Place::prepare(None, Some(ByteSize(64 << 20)), &ports()).unwrap();
        let directory = place.directory().to_owned();
        let mode = |name: &str| fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("link.secret"), mode("disk.img")), (0o700, 0o600, 0o600));
        assert_eq!(place.config().heads[&HeadName::B].portals[0].advertise, "127.0.0.1:3261");
        assert_eq!(place.config().luns[&0].disk, directory.join("disk.img"));
        place.leave(true);
        assert!(!directory.exists());
    }

    #[test]
    fn what_an_earlier_demo_left_is_used_again() {
        let path = std::env::temp_dir().join(format!("twinhead-place-{}-\"again\"", std::process::id()));
        let prepare = |size| Place::prepare(Some(&path), size, &ports());
        let secret = || fs::read(path.join("link.secret")).unwrap();
        prepare(Some(ByteSize(64 << 20))).unwrap().leave(true);
        let before = secret();
        prepare(None).unwrap().leave(false);
        assert_eq!(secret(), before);
        assert!(matches!(prepare(Some(ByteSize(65 << 20))), Err(Failure::Usage(_))), "another size");
        fs::write(path.join("disk.img"), vec![7; 64 << 20]).unwrap();
        assert!(prepare(None).unwrap_err().to_string().contains("not the disk of a demo"));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_disk_that_is_too_small_leaves_nothing_behind() {
        let path = std::env::temp_dir().join(format!("twinhead-place-{}-small", std::process::id()));
        assert!(Place::prepare(Some(&path), Some(ByteSize(4096)), &ports()).is_err());
        assert!(!path.join("disk.img").exists());
        fs::remove_dir_all(&path).unwrap();
    }
}
