//! Images in a directory of their own, for the tests of this crate.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A directory that is removed at the end.
pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// On the file system of the temporary directory, which as a rule takes O_DIRECT.
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// On a tmpfs.
    pub(crate) fn in_memory() -> Self {
        Self::below(Path::new("/dev/shm"))
    }

    fn below(parent: &Path) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("twinhead-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A sparse file.
    pub(crate) fn image(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}
