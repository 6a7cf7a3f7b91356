//! A PDU on its way out: pieces for a vectored write, the payload untouched.

use std::io::IoSlice;
use std::ops::Deref;

use bytes::Bytes;
use sas_backend::buffer::Payload;

use super::digest::{DIGEST_BYTES, Digests, digest, padding};
use super::{BHS_BYTES, Header};

/// Padding and digest at most.
const TAIL_BYTES: usize = 3 + DIGEST_BYTES;

/// One piece of a data segment.
#[derive(Clone, Debug)]
pub enum Segment {
    /// A slice of a shared buffer.
    Shared(Payload),
    /// Text, sense, parameter data.
    Bytes(Bytes),
}

/// A PDU as it goes over the wire, and how much of it has gone.
#[derive(Clone, Debug)]
pub struct Transmit {
    head: Vec<u8>,
    data: Vec<Segment>,
    tail: [u8; TAIL_BYTES],
    tail_len: usize,
    sent: usize,
}

impl Transmit {
    /// Put a PDU together.
    ///
    /// # Panics
    /// If `data` has 2^24 bytes or more: the negotiated limits are far below.
    #[must_use]
    pub fn new(header: &Header, data: Vec<Segment>, digests: Digests) -> Self {
        let data_len: usize = data.iter().map(|segment| segment.len()).sum();
        let mut head = Vec::with_capacity(BHS_BYTES + header.ahs.len() + DIGEST_BYTES);
        head.extend_from_slice(&header.with_data_segment_length(data_len).bhs);
        head.extend_from_slice(&header.ahs);
        if digests.header {
            head.extend_from_slice(&digest([head.as_slice()]));
        }
        let mut tail = [0; TAIL_BYTES];
        let mut tail_len = padding(data_len);
        if digests.data && data_len > 0 {
            let parts = data.iter().map(Deref::deref).chain([&tail[..tail_len]]);
            let digest = digest(parts);
            tail[tail_len..tail_len + DIGEST_BYTES].copy_from_slice(&digest);
            tail_len += DIGEST_BYTES;
        }
        Self { head, data, tail, tail_len, sent: 0 }
    }

    /// Bytes still to be sent.
    #[must_use]
    pub fn remaining_bytes(&self) -> usize {
        self.parts().map(<[u8]>::len).sum::<usize>() - self.sent
    }

    /// Append what is still to be sent to `out`.
    pub fn io_slices<'a>(&'a self, out: &mut Vec<IoSlice<'a>>) {
        let mut skip = self.sent;
        for part in self.parts() {
            let rest = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            if !rest.is_empty() {
                out.push(IoSlice::new(rest));
            }
        }
    }

    /// Note that up to `count` bytes of this PDU were written; returns how many of them belong to later PDUs.
    pub fn advance(&mut self, count: usize) -> usize {
        let own = count.min(self.remaining_bytes());
        self.sent += own;
        count - own
    }

    /// All bytes of the PDU, copied together.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().collect::<Vec<_>>().concat()
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let data = self.data.iter().map(Deref::deref);
        [self.head.as_slice()].into_iter().chain(data).chain([&self.tail[..self.tail_len]])
    }
}

impl Segment {
    /// Cut off and return what lies behind the first `at` bytes; both parts share the memory.
    ///
    /// # Panics
    /// If `at` reaches beyond the end.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::Shared(payload) => {
                let rest = payload.slice(at..payload.len());
                *payload = payload.slice(0..at);
                Self::Shared(rest)
            }
            Self::Bytes(bytes) => Self::Bytes(bytes.split_off(at)),
        }
    }
}

impl Deref for Segment {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(payload) => payload,
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Segment {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Payload> for Segment {
    fn from(payload: Payload) -> Self {
        Self::Shared(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Transmit {
        let digests = Digests { header: true, data: true };
        Transmit::new(&Header::new([0; BHS_BYTES], vec![]), vec![vec![1, 2].into(), vec![3, 4, 5].into()], digests)
    }

    #[test]
    fn lengths_padding_and_digests_are_filled_in() {
        let bytes = pieces().to_vec();
        assert_eq!(bytes.len(), 48 + 4 + 5 + 3 + 4);
        assert_eq!(bytes[4..8], [0, 0, 0, 5]);
        assert_eq!(bytes[48..52], digest([&bytes[..48]]));
        assert_eq!(bytes[52..60], [1, 2, 3, 4, 5, 0, 0, 0]);
        assert_eq!(bytes[60..], digest([&bytes[52..60]]));
    }

    #[test]
    fn no_data_has_no_data_digest() {
        let digests = Digests { header: false, data: true };
        assert_eq!(Transmit::new(&Header::new([0; BHS_BYTES], vec![]), vec![], digests).to_vec().len(), 48);
    }

    #[test]
    fn partial_writes_lose_nothing() {
        let whole = pieces().to_vec();
        for step in [1, 3, 7, 50, 64, 100] {
            let mut transmit = pieces();
            let mut seen = Vec::new();
            while transmit.remaining_bytes() > 0 {
                let mut slices = Vec::new();
                transmit.io_slices(&mut slices);
                let flat: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(step).collect();
                assert_eq!(transmit.advance(step), step - flat.len());
                seen.extend(flat);
            }
            assert_eq!(seen, whole);
        }
    }
}
