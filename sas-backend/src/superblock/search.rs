//! Where a superblock may be on a disk that has grown by nobody knows how much.
//!
//! The places nearest to the end come first: what clients have written lies before the superblock, never behind it, so
//! the first one that is found is not something that a client has put there.

use super::region::{REGION_BYTES, ROUNDING_BYTES, Region};

/// So far from the end, every place is looked at.
const REACH: u64 = 1024 * ROUNDING_BYTES;
/// Before that, only those of disks whose size was a multiple of this.
const COARSE_BYTES: u64 = 1 << 30;

/// All places worth looking at on a device of that size but its end, nearest to the end first.
pub fn places(device_bytes: u64) -> impl Iterator<Item = Region> {
    let end = device_bytes - device_bytes % ROUNDING_BYTES;
    let reach = end.saturating_sub(REACH);
    let fine = descending(end.saturating_sub(ROUNDING_BYTES), reach, ROUNDING_BYTES);
    let coarse = descending(reach - reach % COARSE_BYTES, REGION_BYTES, COARSE_BYTES);
    fine.chain(coarse).filter_map(|size| Region::of(size).ok())
}

fn descending(from: u64, least: u64, step: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(from), move |at| at.checked_sub(step)).take_while(move |at| *at >= least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(device_bytes: u64) -> Vec<u64> {
        places(device_bytes).map(Region::end).collect()
    }

    #[test]
    fn near_the_end_every_place_is_looked_at() {
        assert_eq!(ends((8 << 20) + 512), [7 << 20, 6 << 20, 5 << 20]);
        assert!(ends(0).is_empty());
    }

    #[test]
    fn farther_away_those_of_round_sizes() {
        let ends = ends((10 << 30) + (1 << 20));
        assert!(ends.is_sorted_by(|before, after| before > after), "no place twice");
        assert_eq!(ends.len(), 1024 + 9);
        for size in [10 << 30, (9 << 30) + (1 << 20), 9 << 30, 1 << 30] {
            assert!(ends.contains(&size), "{size}");
        }
    }
}
