//! Secrets: that by which two heads know each other, and those by which initiators and target do.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::session::access::Secret;

/// Everything that the mode grants to others.
const MODE_OTHERS: u32 = 0o007;

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// The link between the heads.
    Link,
    /// An initiator, or the target towards initiators.
    Chap,
}

/// The link's secret; wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct LinkSecret(Zeroizing<Vec<u8>>);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("cannot read the {kind} secret {}: {source}", path.display())]
    Unreadable {
        /// What it is for.
        kind: SecretKind,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not a file.
    #[error("the {kind} secret {} is not a regular file", path.display())]
    NotAFile {
        /// What it is for.
        kind: SecretKind,
        /// What is no file.
        path: PathBuf,
    },
    /// Everybody on the machine knows it.
    #[error("the {kind} secret {} is open to every user of this machine (mode {mode:04o}); chmod 600 it, and better \
             choose a new secret", path.display())]
    Exposed {
        /// What it is for.
        kind: SecretKind,
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Too little or too much.
    #[error("the {kind} secret {} has {found} bytes; it must have {} to {}: {} > FILE makes one",
            path.display(), kind.bytes().start(), kind.bytes().end(), kind.recipe())]
    Length {
        /// What it is for.
        kind: SecretKind,
        /// The file.
        path: PathBuf,
        /// Bytes in it, at most one more than is allowed.
        found: usize,
    },
}

impl SecretKind {
    /// Shorter secrets can be guessed (for CHAP: RFC 7143 9.2.1), longer files are not secrets.
    fn bytes(self) -> RangeInclusive<usize> {
        match self {
            Self::Link => 16..=1024,
            Self::Chap => 12..=255,
        }
    }

    /// Of a length that every other side takes: some initiators want 12 to 16 characters.
    fn recipe(self) -> &'static str {
        match self {
            Self::Link => "head -c 32 /dev/urandom | base64",
            Self::Chap => "head -c 12 /dev/urandom | base64",
        }
    }

    /// Read a secret from `path`, without the newline that editors put at its end.
    fn load(self, path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let kind = self;
        let unreadable = |source| SecretError::Unreadable { kind, path: path.to_path_buf(), source };
        let about = std::fs::metadata(path).map_err(unreadable)?;
        // Before it is opened: opening a FIFO would wait for a writer.
        if !about.is_file() {
            return Err(SecretError::NotAFile { kind, path: path.to_path_buf() });
        }
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
        if mode & MODE_OTHERS != 0 {
            return Err(SecretError::Exposed { kind, path: path.to_path_buf(), mode });
        }
        // One allocation, large enough from the start: growing would leave a copy behind.
        let room = self.bytes().end() + 2;
        let mut secret = Zeroizing::new(Vec::with_capacity(room + 64));
        file.take(room as u64).read_to_end(&mut secret).map_err(unreadable)?;
        if secret.ends_with(b"\n") {
            secret.pop();
            if secret.ends_with(b"\r") {
                secret.pop();
            }
        }
        if !self.bytes().contains(&secret.len()) {
            return Err(SecretError::Length { kind, path: path.to_path_buf(), found: secret.len() });
        }
        Ok(secret)
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Chap => "CHAP",
        })
    }
}

impl LinkSecret {
    /// Read the secret from `path`, without the newline that editors put at its end.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        SecretKind::Link.load(path).map(Self)
    }

    /// The bytes; for deriving keys only.
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

/// Read a CHAP secret from `path`, likewise.
pub fn load_chap_secret(path: &Path) -> Result<Secret, SecretError> {
    SecretKind::Chap.load(path).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn load(name: &str, content: &[u8], mode: u32) -> Result<LinkSecret, SecretError> {
        with_file(name, content, mode, LinkSecret::load)
    }

    fn with_file<T>(name: &str, content: &[u8], mode: u32, load: impl Fn(&Path) -> T) -> T {
        let path = std::env::temp_dir().join(format!("twinhead-secret-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = load(&path);
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
        assert!(matches!(LinkSecret::load(Path::new("/dev/null")), Err(SecretError::NotAFile { .. })));
        assert!(matches!(LinkSecret::load(Path::new("/nowhere/at/all")), Err(SecretError::Unreadable { .. })));
    }

    #[test]
    fn it_is_never_printed() {
        assert_eq!(format!("{:?}", load("debug", b"0123456789abcdef", 0o600).unwrap()), "LinkSecret(..)");
    }

    #[test]
    fn chap_secrets_may_be_as_short_as_the_standard_has_them() {
        let load = |content: &[u8], mode| with_file("chap", content, mode, load_chap_secret);
        assert_eq!(load(b"123456789012\n", 0o600).unwrap().expose(), b"123456789012");
        let short = load(b"12345678901\n", 0o600).unwrap_err().to_string();
        assert!(
            short.ends_with("has 11 bytes; it must have 12 to 255: head -c 12 /dev/urandom | base64 > FILE makes one")
        );
        assert!(matches!(load(&[7; 256], 0o600), Err(SecretError::Length { found: 256, .. })));
        assert!(matches!(load(b"123456789012", 0o644), Err(SecretError::Exposed { .. })));
    }
}
