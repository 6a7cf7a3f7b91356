//! Cuts a byte stream into PDUs and puts large data segments where they belong without a copy.
//!
//! ```text
//!            header complete            place()              data complete        padding, digest
//!  Header ------------------> Placing ----------> Data ---------------------> Tail ----------------> Header
//! ```
//! The shell reads into [`Framer::recv_slices`] and says [`Framer::received`]; then the owner takes [`Item`]s until
//! there are none. After each [`Item::Header`] it says with [`Framer::place`] where the data segment goes, and gets that
//! place back, filled, as [`Item::Data`] - for an empty data segment too. While a large data segment is awaited, the
//! first of the two slices is the rest of its place, so that the kernel writes straight into it.

use std::io::IoSliceMut;

use sas_backend::buffer::BufferMut;
use sas_backend::buffer::receive::ReceiveBuffer;

use super::digest::{DIGEST_BYTES, Digests, digest, padding};
use super::{BHS_BYTES, Header, MAX_AHS_BYTES, data_segment_length};

/// Bytes of the receive buffer: room for many small PDUs per system call.
pub const RECEIVE_BUFFER_BYTES: usize = 64 << 10;
/// The longest header with its digest.
const MAX_HEADER_BYTES: usize = BHS_BYTES + MAX_AHS_BYTES + DIGEST_BYTES;

const _: () = assert!(RECEIVE_BUFFER_BYTES >= 4 * MAX_HEADER_BYTES);

/// Where a data segment goes.
#[derive(Debug)]
pub enum Place {
    /// Into a task's buffer; `offset` plus the data segment must lie inside it.
    Buffer {
        /// The buffer, on loan to the framer.
        buffer: BufferMut,
        /// Where the first byte goes.
        offset: usize,
    },
    /// Into memory of its own. Given empty, comes back filled.
    Memory(Vec<u8>),
    /// Nowhere.
    Discard,
}

/// What the stream consists of, in turn.
#[derive(Debug)]
pub enum Item {
    /// Header segments whose digest, if there is one, matches.
    Header(Header),
    /// The data segment that belongs to it.
    Data {
        /// Where it was put.
        place: Place,
        /// Whether its digest matches; true without one, and for data that went nowhere.
        digest_matches: bool,
    },
}

/// Why the stream cannot be cut any further: the connection is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nothing in the header can be believed, its lengths included.
    #[error("header digest does not match")]
    HeaderDigest,
    /// More than this side said it takes.
    #[error("data segment of {length} bytes, {limit} are allowed")]
    DataSegmentTooLong {
        /// As announced in the header.
        length: usize,
        /// MaxRecvDataSegmentLength.
        limit: usize,
    },
}

/// See the module's description.
#[derive(Debug)]
pub struct Framer {
    receive: ReceiveBuffer,
    state: State,
    digests: Digests,
    max_data_segment_length: usize,
}

#[derive(Debug)]
enum State {
    Header,
    Placing { len: usize },
    Data { place: Place, len: usize, filled: usize },
    Tail { place: Place, len: usize },
    Failed(FrameError),
}

impl Framer {
    /// A framer at the start of a stream: no digests yet.
    #[must_use]
    pub fn new(max_data_segment_length: usize) -> Self {
        Self {
            receive: ReceiveBuffer::new(RECEIVE_BUFFER_BYTES, MAX_HEADER_BYTES),
            state: State::Header,
            digests: Digests::default(),
            max_data_segment_length,
        }
    }

    /// Use these digests from the next header on.
    pub fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// Take data segments of up to this many bytes from the next header on.
    pub fn set_max_data_segment_length(&mut self, max_data_segment_length: usize) {
        self.max_data_segment_length = max_data_segment_length;
    }

    /// Where to read to, in this order. When both are empty, take the items first.
    pub fn recv_slices(&mut self) -> [IoSliceMut<'_>; 2] {
        let direct = match &mut self.state {
            State::Data { place, len, filled } if self.receive.is_empty() => place.rest(*filled, *len),
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
        if let State::Data { place, len, filled } = &mut self.state
            && self.receive.is_empty()
        {
            direct_count = count.min(place.rest(*filled, *len).len());
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

    /// The next item; `None` until more is received or, after a header, placed.
    ///
    /// # Errors
    /// When the stream is unusable from here on; every later call says so again.
    pub fn poll(&mut self) -> Result<Option<Item>, FrameError> {
        let outcome = match &self.state {
            State::Header => self.poll_header(),
            State::Placing { .. } => Ok(None),
            State::Data { .. } | State::Tail { .. } => Ok(self.poll_data()),
            State::Failed(error) => Err(*error),
        };
        if let Err(error) = outcome {
            self.state = State::Failed(error);
        }
        outcome
    }

    /// Where the data segment of the header just given out goes.
    ///
    /// # Panics
    /// If no header was just given out, or the data segment does not fit.
    pub fn place(&mut self, mut place: Place) {
        let State::Placing { len } = self.state else {
            panic!("a place was given for the data segment of no header");
        };
        match &mut place {
            Place::Buffer { buffer, offset } => {
                assert!(*offset + len <= buffer.len(), "{len} bytes at {offset} of a buffer of {} bytes", buffer.len());
            }
            Place::Memory(memory) => memory.resize(len, 0),
            Place::Discard => {}
        }
        self.state = State::Data { place, len, filled: 0 };
    }

    fn poll_header(&mut self) -> Result<Option<Item>, FrameError> {
        let Some(bhs) = self.receive.bytes().first_chunk::<BHS_BYTES>() else {
            return Ok(None);
        };
        let bhs = *bhs;
        let length = data_segment_length(&bhs);
        // Without a digest the length is checked at once; with one a wrong bit in it is found first.
        if !self.digests.header {
            self.check_length(length)?;
        }
        let segments_end = BHS_BYTES + usize::from(bhs[4]) * 4;
        let header_end = segments_end + if self.digests.header { DIGEST_BYTES } else { 0 };
        let Some(bytes) = self.receive.bytes().get(..header_end) else {
            return Ok(None);
        };
        let (segments, received_digest) = bytes.split_at(segments_end);
        if self.digests.header && received_digest != digest([segments]) {
            return Err(FrameError::HeaderDigest);
        }
        self.check_length(length)?;
        let header = Header { bhs, ahs: segments[BHS_BYTES..].to_vec() };
        self.receive.consume(header_end);
        self.state = State::Placing { len: length };
        Ok(Some(Item::Header(header)))
    }

    fn check_length(&self, length: usize) -> Result<(), FrameError> {
        let limit = self.max_data_segment_length;
        if length > limit { Err(FrameError::DataSegmentTooLong { length, limit }) } else { Ok(()) }
    }

    fn poll_data(&mut self) -> Option<Item> {
        if let State::Data { place, len, filled } = &mut self.state {
            let count = (*len - *filled).min(self.receive.bytes().len());
            if !matches!(place, Place::Discard) {
                place.rest(*filled, *len)[..count].copy_from_slice(&self.receive.bytes()[..count]);
            }
            *filled += count;
            self.receive.consume(count);
            if *filled < *len {
                return None;
            }
            let place = std::mem::replace(place, Place::Discard);
            self.state = State::Tail { place, len: *len };
        }
        let State::Tail { place, len } = &mut self.state else {
            return None;
        };
        let has_digest = self.digests.data && *len > 0;
        let padding = padding(*len);
        let tail = self.receive.bytes().get(..padding + if has_digest { DIGEST_BYTES } else { 0 })?;
        let (pad, received_digest) = tail.split_at(padding);
        let digest_matches = match place.contents(*len) {
            Some(data) if has_digest => digest([data, pad]) == received_digest,
            _ => true,
        };
        let tail_len = tail.len();
        let place = std::mem::replace(place, Place::Discard);
        self.receive.consume(tail_len);
        self.state = State::Header;
        Some(Item::Data { place, digest_matches })
    }
}

impl Place {
    /// The part of a data segment of `len` bytes that is still missing behind the first `filled`.
    fn rest(&mut self, filled: usize, len: usize) -> &mut [u8] {
        match self {
            Self::Buffer { buffer, offset } => &mut buffer[*offset + filled..*offset + len],
            Self::Memory(memory) => &mut memory[filled..len],
            Self::Discard => &mut [],
        }
    }

    fn contents(&self, len: usize) -> Option<&[u8]> {
        match self {
            Self::Buffer { buffer, offset } => Some(&buffer[*offset..*offset + len]),
            Self::Memory(memory) => Some(memory),
            Self::Discard => None,
        }
    }
}

#[cfg(test)]
mod tests;
