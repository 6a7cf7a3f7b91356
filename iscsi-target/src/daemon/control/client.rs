//! The other end of the control socket: blocking, for commands and tests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{RESPONSE_BYTES_MAX, Request, Response, line};

/// Longer than the daemon takes before it gives up by itself.
const ANSWER_MAX: Duration = Duration::from_secs(35);

/// A connection to the daemon of one head.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon answers at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon at {} went away: {source}", path.display())]
    Lost {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The answer is not one that this version knows.
    #[error("the daemon at {} answers something else than expected: {source}", path.display())]
    Strange {
        /// The socket.
        path: PathBuf,
        /// What is strange.
        source: serde_json::Error,
    },
}

impl Client {
    /// Connect to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connected = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            stream.set_write_timeout(Some(ANSWER_MAX))?;
            Ok(stream)
        });
        let path = path.to_path_buf();
        match connected {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream), path }),
            Err(source) => Err(ClientError::Unreachable { path, source }),
        }
    }

    /// Ask, and wait for the first answer.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        let sent = serde_json::to_vec(request).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.stream.get_mut().write_all(&line)
        });
        // A daemon that has no room for another client answers before it is asked, and closes.
        match sent {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.lost(error)),
            _ => self.next_answer(),
        }
    }

    /// Wait for the next answer; for [`Request::Watch`].
    pub fn next_answer(&mut self) -> Result<Response, ClientError> {
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(RESPONSE_BYTES_MAX as u64).read_until(b'\n', &mut line);
        if let Err(error) = read {
            return Err(self.lost(error));
        }
        match line.pop() {
            Some(b'\n') => {
                serde_json::from_slice(&line).map_err(|source| ClientError::Strange { path: self.path.clone(), source })
            }
            _ if line.len() + 1 >= RESPONSE_BYTES_MAX => Err(self.lost(line::too_long(RESPONSE_BYTES_MAX))),
            _ => Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn lost(&self, source: io::Error) -> ClientError {
        ClientError::Lost { path: self.path.clone(), source }
    }
}
