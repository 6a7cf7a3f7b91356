//! How much may be dirty: what the disk can take in the time that a drain may last.
//!
//! A hole counts as if all of its blocks were written, although it takes no RAM, and no time where the disk can deallocate:
//! where it cannot, zeroes are written, and the promise about the drain has to hold there, too.
//!
//! This is the only place that decides it. A log area on the disk would later replace "what a drain can take" by "what
//! the log has room for".

use std::ops::RangeInclusive;

use crate::block::Millis;

/// A measurement is taken over at least this long.
const SAMPLE_MS: u64 = 100;

/// The limit on dirty blocks, following the destage rate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DirtyLimit {
    max_drain_ms: u64,
    least_blocks: u64,
    most_blocks: u64,
    rate_blocks_per_s: u64,
    busy_since: Option<Millis>,
    sampled_blocks: u64,
    /// Holes were made meanwhile, perhaps at no cost.
    sampled_holes: bool,
}

impl DirtyLimit {
    /// `max_drain_ms`: how long destaging everything may take; `blocks`: what is always allowed, and the configured
    /// bound on memory.
    #[must_use]
    pub fn new(max_drain_ms: u64, blocks: RangeInclusive<u64>) -> Self {
        let (least_blocks, most_blocks) = blocks.into_inner();
        Self {
            max_drain_ms,
            least_blocks,
            most_blocks: most_blocks.max(least_blocks),
            // Until a rate has been measured: what even a slow disk does.
            rate_blocks_per_s: least_blocks.saturating_mul(16),
            busy_since: None,
            sampled_blocks: 0,
            sampled_holes: false,
        }
    }

    /// Blocks that may be dirty.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        (self.rate_blocks_per_s.saturating_mul(self.max_drain_ms) / 1000).clamp(self.least_blocks, self.most_blocks)
    }

    /// The disk was given work while it had none.
    pub fn on_busy(&mut self, now: Millis) {
        self.busy_since.get_or_insert(now);
    }

    /// The disk has written `blocks`, or made a `hole` of them; `idle`: it has nothing left to do.
    pub fn on_written(&mut self, now: Millis, blocks: u64, hole: bool, idle: bool) {
        self.sampled_blocks += blocks;
        self.sampled_holes |= hole;
        let Some(since) = self.busy_since else { return };
        let took_ms = now.since(since);
        if took_ms >= SAMPLE_MS {
            let measured = self.sampled_blocks.saturating_mul(1000) / took_ms;
            // Slower counts at once, faster only by and by: a limit that is too low costs speed, one that is too
            // high costs the promise about the drain.
            // With holes in it a sample says how slow the disk is at the least, and not how fast it writes.
            if measured < self.rate_blocks_per_s {
                self.rate_blocks_per_s = measured.max(1);
            } else if !self.sampled_holes {
                self.rate_blocks_per_s += (measured - self.rate_blocks_per_s) / 4;
            }
            self.begin_sample(Some(now));
        }
        if idle {
            self.begin_sample(None);
        }
    }

    fn begin_sample(&mut self, busy_since: Option<Millis>) {
        self.busy_since = busy_since;
        self.sampled_blocks = 0;
        self.sampled_holes = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_measured_rate_within_its_bounds() {
        let mut limit = DirtyLimit::new(1000, 8192..=1 << 22);
        limit.on_busy(Millis(0));
        for second in 1..40 {
            limit.on_written(Millis(second * 1000), 1 << 20, false, false);
        }
        let fast = limit.blocks();
        assert!(fast > 900_000, "{fast}");
        limit.on_written(Millis(50_000), 1000, false, true);
        assert_eq!(limit.blocks(), 8192, "a disk that became slow lowers the limit at once");
    }

    #[test]
    fn an_idle_disk_says_nothing_about_its_rate() {
        let mut limit = DirtyLimit::new(1000, 8192..=1 << 22);
        let before = limit.blocks();
        limit.on_busy(Millis(0));
        limit.on_written(Millis(10), 8, false, true);
        limit.on_busy(Millis(100_000));
        limit.on_written(Millis(100_010), 8, false, true);
        assert_eq!(limit.blocks(), before);
    }

    #[test]
    fn holes_can_lower_it_and_never_raise_it() {
        let mut limit = DirtyLimit::new(1000, 8192..=1 << 22);
        let before = limit.blocks();
        limit.on_busy(Millis(0));
        limit.on_written(Millis(100), 1 << 30, true, false);
        assert_eq!(limit.blocks(), before, "a hole that costs nothing says nothing about writing");
        limit.on_written(Millis(200), 8, true, false);
        limit.on_written(Millis(300), 8, false, false);
        assert_eq!(limit.blocks(), 8192, "a disk that has to write zeroes is as slow as it is");
        limit.on_written(Millis(400), 1 << 20, false, false);
        assert!(limit.blocks() > 8192, "the next sample is one of writing only");
    }
}
