//! Cuts a byte stream into frames and receives large payloads without a copy.
//!
//! ```text
//!           header and body complete          payload complete
//!   Head ------------------------------> Payload --------------> Head
//! ```
//! The shell reads into [`Framer::recv_slices`] and says [`Framer::received`]; then the owner takes frames with
//! [`Framer::poll`] until there are none. While a payload is awaited, the first of the two slices is the rest of its
//! buffer, so that the kernel writes straight into it.

use std::io::IoSliceMut;

use sas_backend::buffer::receive::ReceiveBuffer;
use sas_backend::buffer::{BufferMut, Pool};

use super::header::{HEADER_BYTES, Header, MAX_BODY_BYTES, VERSION};
use super::message::LONGEST_WITH_PAYLOAD_BYTES;
use super::{Frame, MAX_PAYLOAD_BYTES};

/// Bytes of the receive buffer: room for many small frames per system call.
pub const RECEIVE_BUFFER_BYTES: usize = 256 << 10;
/// The longest frame without its payload.
const MAX_HEAD_BYTES: usize = HEADER_BYTES + MAX_BODY_BYTES;

const _: () = assert!(RECEIVE_BUFFER_BYTES >= 2 * MAX_HEAD_BYTES);

/// Why the stream cannot be cut any further: the connection is at its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not this protocol.
    #[error("this is not another head: it speaks another protocol")]
    Foreign,
    /// Another version of this protocol.
    #[error("the other head speaks version {0} of the link's protocol, this one speaks version {VERSION}")]
    Version(u16),
    /// Nothing in the header can be believed, its lengths included.
    #[error("the checksum of a frame's header is wrong")]
    HeaderChecksum,
    /// The body was damaged.
    #[error("the checksum of the body of a {0} frame is wrong")]
    BodyChecksum(&'static str),
    /// The payload was damaged.
    #[error("the checksum of a frame's payload is wrong")]
    PayloadChecksum,
    /// No such frame in this version.
    #[error("there is no frame of kind {0}")]
    Kind(u16),
    /// Lengths that this kind of frame cannot have (yet).
    #[error("a {kind} frame with {body} bytes of body and {payload} bytes of payload")]
    Length {
        /// What it says it is.
        kind: &'static str,
        /// As announced.
        body: u32,
        /// As announced.
        payload: u32,
    },
    /// The checksums are right and the contents are not.
    #[error("a {0} frame that makes no sense")]
    Contents(&'static str),
}

/// See the module's description.
#[derive(Debug)]
pub struct Framer {
    receive: ReceiveBuffer,
    state: State,
    pool: Pool,
    max_payload_bytes: usize,
}

#[derive(Debug)]
enum State {
    Head,
    Payload { header: Header, body: [u8; LONGEST_WITH_PAYLOAD_BYTES], buffer: BufferMut, filled: usize },
    Failed(FrameError),
}

impl Framer {
    /// A framer at the start of a stream from somebody unknown: frames with a payload are an error.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self {
            receive: ReceiveBuffer::new(RECEIVE_BUFFER_BYTES, MAX_HEAD_BYTES),
            state: State::Head,
            pool,
            max_payload_bytes: 0,
        }
    }

    /// Take payloads from the next frame on: their sender is known.
    pub fn allow_payloads(&mut self) {
        self.max_payload_bytes = MAX_PAYLOAD_BYTES;
    }

    /// Where to read to, in this order. When both are empty, take the frames first.
    pub fn recv_slices(&mut self) -> [IoSliceMut<'_>; 2] {
        let direct = match &mut self.state {
            State::Payload { buffer, filled, .. } if self.receive.is_empty() => &mut buffer[*filled..],
            State::Failed(_) => return [IoSliceMut::new(&mut []), IoSliceMut::new(&mut [])],
            _ => &mut [],
        };
        [IoSliceMut::new(direct), IoSliceMut::new(self.receive.spare())]
    }

    /// `count` bytes were read into the slices that [`Framer::recv_slices`] gave.
    ///
    /// # Panics
    /// If `count` is more than they hold.
    pub fn received(&mut self, count: usize) {
        let mut direct_count = 0;
        if let State::Payload { buffer, filled, .. } = &mut self.state
            && self.receive.is_empty()
        {
            direct_count = count.min(buffer.len() - *filled);
            *filled += direct_count;
        }
        self.receive.fill(count - direct_count);
    }

    /// Copy `bytes` in, as far as there is room; returns how many. For callers without a vectored read.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        for mut slice in self.recv_slices() {
            let count = rest.len().min(slice.len());
            let (now, later) = rest.split_at(count);
            slice[..count].copy_from_slice(now);
            rest = later;
        }
        let count = bytes.len() - rest.len();
        self.received(count);
        count
    }

    /// The next frame; `None` until more is received.
    ///
    /// # Errors
    /// When the stream is unusable from here on; every later call says so again.
    pub fn poll(&mut self) -> Result<Option<Frame>, FrameError> {
        let outcome = match &self.state {
            State::Head => self.poll_head(),
            State::Payload { .. } => self.poll_payload(),
            State::Failed(error) => Err(error.clone()),
        };
        if let Err(error) = &outcome {
            self.state = State::Failed(error.clone());
        }
        outcome
    }

    fn poll_head(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.receive.bytes().first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::parse(header, self.max_payload_bytes)?;
        let head_end = HEADER_BYTES + header.body_bytes;
        let Some(body) = self.receive.bytes().get(HEADER_BYTES..head_end) else {
            return Ok(None);
        };
        if crc32c::crc32c(body) != header.body_crc {
            return Err(FrameError::BodyChecksum(header.kind.name()));
        }
        if header.payload_bytes == 0 {
            let frame = Frame::parse(&header, body, None)?;
            self.receive.consume(head_end);
            return Ok(Some(frame));
        }
        let mut kept = [0; LONGEST_WITH_PAYLOAD_BYTES];
        let room = kept.get_mut(..body.len()).ok_or_else(|| FrameError::Contents(header.kind.name()))?;
        room.copy_from_slice(body);
        let buffer = self.pool.take(header.payload_bytes);
        self.receive.consume(head_end);
        self.state = State::Payload { header, body: kept, buffer, filled: 0 };
        self.poll_payload()
    }

    fn poll_payload(&mut self) -> Result<Option<Frame>, FrameError> {
        let State::Payload { buffer, filled, .. } = &mut self.state else {
            return Ok(None);
        };
        let waiting = self.receive.bytes();
        let count = (buffer.len() - *filled).min(waiting.len());
        buffer[*filled..*filled + count].copy_from_slice(&waiting[..count]);
        *filled += count;
        self.receive.consume(count);
        if *filled < buffer.len() {
            return Ok(None);
        }
        let State::Payload { header, body, buffer, .. } = std::mem::replace(&mut self.state, State::Head) else {
            return Ok(None);
        };
        if crc32c::crc32c(&buffer) != header.payload_crc {
            return Err(FrameError::PayloadChecksum);
        }
        Frame::parse(&header, &body[..header.body_bytes], Some(buffer.freeze())).map(Some)
    }
}

#[cfg(test)]
mod tests;
