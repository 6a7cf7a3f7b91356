//! `targetctl disk`: works on the disk itself, without a daemon.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use iscsi_target::daemon::config::{ByteSize, Config, Lun};
use sas_backend::Superblock;
use sas_backend::init::{Contents, Existing, InitError, NewDisk, initialise, inspect};

use crate::Global;
use crate::failure::Failure;

/// Prepare a disk, or look at one
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a disk the disk of a LUN
    ///
    /// Once per disk, from either head, before its first use: writes the record that tells both heads whose disk it is to
    /// the last 4 MiB, which initiators do not see. A disk that holds something is left as it is unless you say what
    /// is to become of that.
    Init(Init),
    /// Say what a disk holds, without changing it
    Inspect {
        /// The LUN by name or number, or the path of any disk (a path contains a /)
        disk: String,
    },
}

#[derive(Debug, clap::Args)]
struct Init {
    /// The LUN by name or number, or the path of its disk (a path contains a /)
    disk: String,
    /// Create a plain file of this size, such as 10GiB; it takes up space only as it is written
    #[arg(long)]
    size: Option<ByteSize>,
    /// What is on the disk becomes the contents of the LUN; its last 4 MiB must be zero
    #[arg(long, conflicts_with_all = ["wipe", "size"])]
    keep: bool,
    /// Whatever is on the disk may be overwritten
    #[arg(long, conflicts_with = "size")]
    wipe: bool,
}

pub(crate) fn run(arguments: &Arguments, global: &Global, out: &mut dyn Write) -> Result<(), Failure> {
    match &arguments.command {
        Command::Init(init) => run_init(init, &global.load()?, out),
        Command::Inspect { disk } if is_path(disk) => run_inspect(Path::new(disk), out),
        Command::Inspect { disk } => run_inspect(&find(disk, &global.load()?)?.disk, out),
    }
}

fn is_path(disk: &str) -> bool {
    disk.contains('/')
}

/// The LUN that is meant by its name, its number or the path of its disk.
fn find<'c>(disk: &str, config: &'c Config) -> Result<&'c Lun, Failure> {
    let meant = |lun: &&Lun| {
        if is_path(disk) { is_same(&lun.disk, Path::new(disk)) } else { lun.name == disk || lun.id.to_string() == disk }
    };
    config.luns.values().find(meant).ok_or_else(|| {
        let luns: Vec<String> =
            config.luns.values().map(|lun| format!("{} ({}) on {}", lun.name, lun.id, lun.disk.display())).collect();
        Failure::Usage(format!("the configuration has no LUN for {disk}; it has {}", luns.join(", ")))
    })
}

/// Whether two paths lead to the same disk, `/dev/disk/by-id/...` and `/dev/sda` for instance.
fn is_same(configured: &Path, given: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    configured == given || real(configured).is_some_and(|configured| real(given) == Some(configured))
}

fn run_inspect(path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let path_shown = path.display();
    match inspect(path)? {
        Contents::Blank => writeln!(out, "{path_shown}: blank")?,
        Contents::HasData { what } => writeln!(out, "{path_shown}: not a disk of Twinhead; it holds {what}")?,
        Contents::HasSuperblock(superblock) => write_superblock(path, &superblock, out)?,
    }
    Ok(())
}

fn write_superblock(path: &Path, superblock: &Superblock, out: &mut dyn Write) -> Result<(), Failure> {
    let identity = &superblock.identity;
    writeln!(out, "{}: LUN {} of {}", path.display(), identity.lun_name, identity.iqn)?;
    writeln!(out, "  size    {}, {}-byte blocks", ByteSize(superblock.visible_bytes()), identity.block_bytes)?;
    if superblock.growing_from.is_some() {
        writeln!(out, "  grows   to {}; its owner is about to finish that", ByteSize(identity.data_bytes))?;
    }
    writeln!(out, "  serial  {}", identity.serial())?;
    let owner = superblock.owner.map_or("nobody yet".to_owned(), |owner| format!("head {owner}"));
    writeln!(out, "  owner   {owner}, epoch {}", superblock.epoch)?;
    let incarnation = superblock.mirror.map(|incarnation| incarnation.to_string());
    let mirror = incarnation.map_or("none".to_owned(), |incarnation| format!("incarnation {incarnation}"));
    writeln!(out, "  mirror  {mirror}")?;
    let complete = match (superblock.dirty, superblock.draining) {
        (false, false) => "yes",
        (true, false) => "no: acknowledged writes may be in the RAM of the heads only",
        (_, true) => "no: a head took over and has not written everything yet",
    };
    writeln!(out, "  whole   {complete}")?;
    if superblock.losses_accepted > 0 {
        writeln!(out, "  losses  {} accepted", superblock.losses_accepted)?;
    }
    Ok(())
}

fn run_init(init: &Init, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    let lun = find(&init.disk, config)?;
    let created = init.size.map(|size| Created::new(&lun.disk, size)).transpose()?;
    let existing = match (init.keep, init.wipe) {
        (true, _) => Existing::Keep,
        (false, true) => Existing::Wipe,
        (false, false) => Existing::OnlyIfBlank,
    };
    let new = NewDisk { iqn: config.iqn.clone(), lun_name: lun.name.clone(), block_bytes: lun.block_bytes };
    let superblock = initialise(&lun.disk, &new, existing).map_err(|error| explain(&error, lun, init))?;
    if let Some(created) = created {
        created.stay();
    }
    write_superblock(&lun.disk, &superblock, out)
}

/// What failed, and what to do.
fn explain(error: &InitError, lun: &Lun, init: &Init) -> Failure {
    let advice = match error {
        InitError::NotBlank(_) => match inspect(&lun.disk) {
            Ok(Contents::HasData { .. }) => {
                "; --keep makes what it holds the contents of the LUN, --wipe overwrites it"
            }
            _ => "; nothing has to be done if it is in use already, --wipe makes it a new and empty disk",
        },
        InitError::Open(_) if init.size.is_none() && !lun.disk.exists() => "; --size creates a plain file",
        _ => "",
    };
    Failure::failed(format!("{} is not initialised: {error}{advice}", lun.disk.display()))
}

/// A file that goes away again unless it is initialised.
struct Created {
    path: Option<PathBuf>,
}

impl Created {
    fn new(path: &Path, size: ByteSize) -> Result<Self, Failure> {
        let shown = path.display();
        // A file by the name of a disk that is not plugged in would hide the disk, and fill RAM.
        if path.starts_with("/dev") && !path.starts_with("/dev/shm") {
            return Err(Failure::Usage(format!(
                "{shown} is a place for devices; --size creates plain files elsewhere"
            )));
        }
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
                match error.kind() {
                    ErrorKind::AlreadyExists => {
                        Failure::Usage(format!("{shown} exists already; leave --size out to use it"))
                    }
                    _ => Failure::failed(format!("cannot create {shown}: {error}")),
                }
            })?;
        let created = Self { path: Some(path.to_owned()) };
        let sized = File::set_len(&file, size.0).and_then(|()| file.sync_all());
        sized.map_err(|error| Failure::failed(format!("cannot give {shown} a size of {size}: {error}")))?;
        Ok(created)
    }

    fn stay(mut self) {
        self.path = None;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
        {
            eprintln!("targetctl: {} was created and cannot be removed again: {error}", path.display());
        }
    }
}
