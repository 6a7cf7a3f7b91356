//! Where a stream is received into before anybody knows what it says.

use std::fmt;

/// Bytes received and not yet taken.
pub struct ReceiveBuffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    least_spare: usize,
}

impl ReceiveBuffer {
    /// A buffer of `size` bytes that always has room for `least_spare` more (the rest of a header, say) when it holds less
    /// than the difference.
    #[must_use]
    pub fn new(size: usize, least_spare: usize) -> Self {
        Self { bytes: vec![0; size].into_boxed_slice(), start: 0, end: 0, least_spare }
    }

    /// Whether everything was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What was received and not yet taken.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Room for more. What is left over moves to the front when too little room is behind it.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < self.least_spare {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were received into the room.
    ///
    /// # Panics
    /// If it was smaller.
    pub fn fill(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.end, "more bytes received than there was room for");
        self.end += count;
    }

    /// The first `count` bytes were taken.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }
}

impl fmt::Debug for ReceiveBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiveBuffer({} bytes)", self.end - self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_moves_to_the_front_when_room_is_short() {
        let mut buffer = ReceiveBuffer::new(8, 4);
        buffer.spare()[..6].copy_from_slice(b"abcdef");
        buffer.fill(6);
        buffer.consume(4);
        assert_eq!(buffer.spare().len(), 6, "moved");
        assert_eq!(buffer.bytes(), b"ef");
        buffer.consume(2);
        assert!(buffer.is_empty());
    }
}
