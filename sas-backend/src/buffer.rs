//! Aligned, reference-counted buffers.
//!
//! A payload is received into a [`BufferMut`], frozen into a [`Payload`], and from then on only handed around: the
//! dirty-extent index, the link to the peer and the disk all hold slices of the same memory. Buffers are whole pages,
//! aligned for O_DIRECT, and return to their [`Pool`] when the last slice is dropped.

pub mod receive;
mod zeroes;

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use zeroes::zeroes;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Bytes per page; the strictest alignment that O_DIRECT asks for on the devices we serve.
pub const PAGE_BYTES: usize = 4096;
/// Buffers of up to 2^(CLASSES-1) pages (16 MiB) are kept for reuse.
const CLASSES: usize = 13;
/// Free bytes that one class of the pool may keep.
const KEPT_BYTES_PER_CLASS: usize = 32 << 20;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

type Pages = Box<[Page]>;

/// One page in memory of its own: for superblock and heartbeat.
pub struct Block(Box<Page>);

/// Where buffers come from and return to. Cheap to clone; clones share the memory.
#[derive(Clone, Default)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    free: [Mutex<Vec<Pages>>; CLASSES],
    in_use_bytes: AtomicUsize,
}

/// A buffer with one owner, still being filled. Its first contents are arbitrary (memory is reused): fill all of it.
pub struct BufferMut {
    buffer: Buffer,
}

/// A read-only slice of a shared buffer.
#[derive(Clone)]
pub struct Payload {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

struct Buffer {
    pages: Pages,
    len: usize,
    pool: Arc<Shared>,
}

impl Block {
    /// All zeroes.
    #[must_use]
    pub fn zeroed() -> Self {
        #[expect(clippy::expect_used, reason = "out of memory ends the process; the other head takes over")]
        Self(Page::new_box_zeroed().expect("memory for a page"))
    }
}

impl From<&[u8; PAGE_BYTES]> for Block {
    fn from(bytes: &[u8; PAGE_BYTES]) -> Self {
        let mut block = Self::zeroed();
        block.copy_from_slice(bytes);
        block
    }
}

impl Deref for Block {
    type Target = [u8; PAGE_BYTES];
    fn deref(&self) -> &[u8; PAGE_BYTES] {
        &self.0.0
    }
}

impl std::ops::DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8; PAGE_BYTES] {
        &mut self.0.0
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Block")
    }
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` bytes with arbitrary contents.
    #[must_use]
    pub fn take(&self, len: usize) -> BufferMut {
        let class = class_of(len);
        let reused = self.shared.free.get(class).and_then(|free| lock(free).pop());
        let pages = reused.unwrap_or_else(|| {
            let count = if class < CLASSES { 1 << class } else { len.div_ceil(PAGE_BYTES) };
            #[expect(clippy::expect_used, reason = "out of memory ends the process; the other head takes over")]
            <[Page]>::new_box_zeroed_with_elems(count).expect("memory for an I/O buffer")
        });
        self.shared.in_use_bytes.fetch_add(pages.len() * PAGE_BYTES, Ordering::Relaxed);
        BufferMut { buffer: Buffer { pages, len, pool: Arc::clone(&self.shared) } }
    }

    /// A frozen copy of `bytes`.
    #[must_use]
    pub fn copy_of(&self, bytes: &[u8]) -> Payload {
        let mut buffer = self.take(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer.freeze()
    }

    /// Bytes held by buffers that are not yet returned, whole size classes counted.
    #[must_use]
    pub fn in_use_bytes(&self) -> usize {
        self.shared.in_use_bytes.load(Ordering::Relaxed)
    }
}

impl BufferMut {
    /// End of filling: from here on the bytes are shared and never change.
    #[must_use]
    pub fn freeze(self) -> Payload {
        let range = 0..self.buffer.len;
        Payload { buffer: Arc::new(self.buffer), range }
    }

    /// Keep the first `len` bytes only.
    pub fn truncate(&mut self, len: usize) {
        self.buffer.len = self.buffer.len.min(len);
    }
}

impl Deref for BufferMut {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer.pages.as_bytes()[..self.buffer.len]
    }
}

impl std::ops::DerefMut for BufferMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.buffer.len;
        &mut self.buffer.pages.as_mut_bytes()[..len]
    }
}

impl Payload {
    /// The part `range` of this slice, sharing its memory.
    ///
    /// # Panics
    /// If `range` reaches beyond this slice.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "slice {range:?} of {} bytes", self.len());
        let start = self.range.start + range.start;
        Self { buffer: Arc::clone(&self.buffer), range: start..start + range.len() }
    }

    /// Where its memory came from.
    #[must_use]
    pub fn pool(&self) -> Pool {
        Pool { shared: Arc::clone(&self.buffer.pool) }
    }

    /// Whether the first byte lies on a multiple of `align` (a power of two up to [`PAGE_BYTES`]) in memory.
    #[must_use]
    pub fn is_aligned_to(&self, align: usize) -> bool {
        self.range.start.is_multiple_of(align)
    }
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer.pages.as_bytes()[self.range.clone()]
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl fmt::Debug for BufferMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferMut({} bytes)", self.len())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} bytes in use)", self.in_use_bytes())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let pages = std::mem::take(&mut self.pages);
        let bytes = pages.len() * PAGE_BYTES;
        self.pool.in_use_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if pages.len().is_power_of_two()
            && let Some(free) = self.pool.free.get(class_of(bytes))
        {
            let mut free = lock(free);
            if (free.len() + 1) * bytes <= KEPT_BYTES_PER_CLASS {
                free.push(pages);
            }
        }
    }
}

/// The size class: the exponent of the smallest power of two of pages that holds `len` bytes.
fn class_of(len: usize) -> usize {
    len.div_ceil(PAGE_BYTES).max(1).next_power_of_two().trailing_zeros() as usize
}

fn lock(free: &Mutex<Vec<Pages>>) -> std::sync::MutexGuard<'_, Vec<Pages>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_memory_and_return_it_once() {
        let pool = Pool::new();
        let whole = pool.copy_of(&[7; 10_000]);
        let part = whole.slice(512..1024);
        let address = whole.as_ptr();
        drop(whole);
        assert_eq!(&*part, &[7; 512]);
        assert_eq!(pool.in_use_bytes(), 4 * PAGE_BYTES);
        drop(part);
        assert_eq!(pool.in_use_bytes(), 0);
        assert_eq!(pool.take(16_384).as_ptr(), address, "the freed buffer is used again");
    }

    #[test]
    fn every_buffer_is_page_aligned() {
        let pool = Pool::new();
        for len in [0, 1, 512, 4096, 4097, 1 << 20, (16 << 20) + 1] {
            let buffer = pool.take(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % PAGE_BYTES, 0);
        }
    }
}
