//! Zeroes, as many as one likes, in the memory of a few.

use std::sync::LazyLock;

use super::{Payload, Pool};

/// Bytes of the longest piece.
const SHARED_BYTES: usize = 1 << 20;

static SHARED: LazyLock<Payload> = LazyLock::new(|| {
    let mut buffer = Pool::new().take(SHARED_BYTES);
    buffer.fill(0);
    buffer.freeze()
});

/// `len` zeroes, in pieces that all share one buffer; each but the last begins and ends on a whole page.
pub fn zeroes(len: u64) -> impl Iterator<Item = Payload> {
    let mut left = len;
    std::iter::from_fn(move || {
        let piece = usize::try_from(left).map_or(SHARED_BYTES, |left| left.min(SHARED_BYTES));
        left -= u64::try_from(piece).unwrap_or(left);
        (piece > 0).then(|| SHARED.slice(0..piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_that_long_and_shares_its_memory() {
        for len in [0, 512, 1 << 20, (5 << 20) + 4096] {
            let pieces: Vec<Payload> = zeroes(len).collect();
            assert_eq!(pieces.iter().map(|piece| piece.len() as u64).sum::<u64>(), len);
            assert!(
                pieces.iter().all(|piece| piece.as_ptr() == SHARED.as_ptr() && piece.iter().all(|&byte| byte == 0))
            );
        }
    }
}
