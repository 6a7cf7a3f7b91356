//! The secret by which two heads know each other.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Shorter secrets can be guessed.
const BYTES_MIN: usize = 16;
/// Longer files are not secrets.
const BYTES_MAX: usize = 1024;
/// Everything that the mode grants to others.
const MODE_OTHERS: u32 = 0o007;

/// The link's secret; wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct LinkSecret(Zeroizing<Vec<u8>>);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read the link secret {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not a file.
    #[error("the link secret {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Everybody on the machine knows it.
    #[error("the link secret {} is open to every user of this machine (mode {mode:04o}); chmod 600 it, and better \
             choose a new secret", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Too little or too much.
    #[error("the link secret {} has {found} bytes; it must have {BYTES_MIN} to {BYTES_MAX}: \
             head -c 32 /dev/urandom | base64 > FILE makes one", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes in it, at most one more than is allowed.
        found: usize,
    },
}

impl LinkSecret {
    /// Read the secret from `path`, without the newline that editors put at its end.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Unreadable { path: path.to_path_buf(), source };
        let about = std::fs::metadata(path).map_err(unreadable)?;
        // Before it is opened: opening a FIFO would wait for a writer.
        if !about.is_file() {
            return Err(SecretError::NotAFile(path.to_path_buf()));
        }
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
        if mode & MODE_OTHERS != 0 {
            return Err(SecretError::Exposed { path: path.to_path_buf(), mode });
        }
        // One allocation, large enough from the start: growing would leave a copy behind.
        let room = BYTES_MAX + 2;
        let mut secret = Zeroizing::new(Vec::with_capacity(room + 64));
        file.take(room as u64).read_to_end(&mut secret).map_err(unreadable)?;
        if secret.ends_with(b"\n") {
            secret.pop();
            if secret.ends_with(b"\r") {
                secret.pop();
            }
        }
        if !(BYTES_MIN..=BYTES_MAX).contains(&secret.len()) {
            return Err(SecretError::Length { path: path.to_path_buf(), found: secret.len() });
        }
        Ok(Self(secret))
    }

    /// The bytes; for the key derivation of the link only.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn load(name: &str, content: &[u8], mode: u32) -> Result<LinkSecret, SecretError> {
        let path = std::env::temp_dir().join(format!("twinhead-secret-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = LinkSecret::load(&path);
        std::fs::remove_file(&path).unwrap();
        loaded
    }

    #[test]
    fn a_newline_is_not_part_of_it() {
        assert_eq!(load("plain", b"0123456789abcdef", 0o600).unwrap().expose(), b"0123456789abcdef");
        assert_eq!(load("line", b"0123456789abcdef\n", 0o640).unwrap().expose(), b"0123456789abcdef");
        assert_eq!(load("dos", b"0123456789abcde\n\r\n", 0o600).unwrap().expose(), b"0123456789abcde\n");
        assert_eq!(load("long", &[7; 1024], 0o600).unwrap().expose().len(), 1024);
    }

    #[test]
    fn short_long_or_open_ones_are_refused() {
        assert!(matches!(load("short", b"0123456789abcde\n", 0o600), Err(SecretError::Length { found: 15, .. })));
        assert!(matches!(load("large", &[7; 5000], 0o600), Err(SecretError::Length { .. })));
        assert!(matches!(load("open", b"0123456789abcdef", 0o604), Err(SecretError::Exposed { mode: 0o604, .. })));
        assert!(matches!(LinkSecret::load(Path::new("/dev/null")), Err(SecretError::NotAFile(_))));
        assert!(matches!(LinkSecret::load(Path::new("/nowhere/at/all")), Err(SecretError::Unreadable { .. })));
    }

    #[test]
    fn it_is_never_printed() {
        assert_eq!(format!("{:?}", load("debug", b"0123456789abcdef", 0o600).unwrap()), "LinkSecret(..)");
    }
}
