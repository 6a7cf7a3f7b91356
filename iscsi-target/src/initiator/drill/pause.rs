//! How long the client stood still: the longest time during which no command ended although some were outstanding.

use std::time::Duration;

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub struct PauseMeter {
    outstanding: usize,
    /// Since when nothing ended; meaningful while something is outstanding.
    since: Duration,
    longest_of_phase: Duration,
}

impl PauseMeter {
    /// A command goes out.
    pub fn on_issue(&mut self, now: Duration) {
        if self.outstanding == 0 {
            self.since = now;
        }
        self.outstanding += 1;
    }

    /// A command has ended.
    pub fn on_completion(&mut self, now: Duration) {
        self.longest_of_phase = self.longest(now);
        self.outstanding = self.outstanding.saturating_sub(1);
        self.since = now;
    }

    /// The longest pause of the phase so far, one that is not over included.
    #[must_use]
    pub fn longest(&self, now: Duration) -> Duration {
        let open = if self.outstanding > 0 { now.saturating_sub(self.since) } else { Duration::ZERO };
        self.longest_of_phase.max(open)
    }

    /// A new phase begins. A pause that is not over counts for the old phase as far as it got, and for the new one whole.
    pub fn next_phase(&mut self) {
        self.longest_of_phase = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn idle_time_is_no_pause() {
        let mut meter = PauseMeter::default();
        meter.on_issue(ms(0));
        meter.on_completion(ms(3));
        meter.on_issue(ms(1000));
        assert_eq!(meter.longest(ms(1001)), ms(3));
        meter.on_completion(ms(1001));
        assert_eq!(meter.longest(ms(5000)), ms(3));
    }

    #[test]
    fn any_completion_ends_a_pause() {
        let mut meter = PauseMeter::default();
        meter.on_issue(ms(0));
        meter.on_issue(ms(0));
        meter.on_completion(ms(10));
        meter.on_issue(ms(15));
        meter.on_completion(ms(30));
        assert_eq!(meter.longest(ms(35)), ms(20));
        assert_eq!(meter.longest(ms(90)), ms(60), "one is still outstanding");
    }

    #[test]
    fn a_pause_across_a_mark_counts_for_both_phases() {
        let mut meter = PauseMeter::default();
        meter.on_issue(ms(0));
        assert_eq!(meter.longest(ms(5)), ms(5));
        meter.next_phase();
        meter.on_completion(ms(500));
        assert_eq!(meter.longest(ms(500)), ms(500));
        meter.next_phase();
        assert_eq!(meter.longest(ms(501)), ms(0));
    }
}
