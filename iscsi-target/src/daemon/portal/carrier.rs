//! Whether clients can reach this head, not fooled by a cable that rattles.

use replication::Millis;

/// A loss that is shorter is none: a switch port that negotiates anew takes longer, and then the other head is better.
const LOST_MS: u64 = 200;
/// Carrier counts again when it has lasted so long.
const BACK_MS: u64 = 1_000;

/// See the module's description. Good until told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carrier {
    present: bool,
    /// Since when it is so; `None`: from the beginning.
    since: Option<Millis>,
}

impl Default for Carrier {
    fn default() -> Self {
        Self { present: true, since: None }
    }
}

impl Carrier {
    pub(super) fn set(&mut self, now: Millis, present: bool) {
        if self.present != present {
            *self = Self { present, since: Some(now) };
        }
    }

    /// It is there, and not only since a moment ago.
    pub(super) fn is_good(self, now: Millis) -> bool {
        self.present && self.lasted(now, BACK_MS)
    }

    /// It is not there, and was not for more than a moment.
    pub(super) fn is_lost(self, now: Millis) -> bool {
        !self.present && self.lasted(now, LOST_MS)
    }

    fn lasted(self, now: Millis, ms: u64) -> bool {
        self.since.is_none_or(|since| now.since(since) >= ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_counts() {
        let mut carrier = Carrier::default();
        assert!(carrier.is_good(Millis(0)));
        carrier.set(Millis(1_000), false);
        assert!(!carrier.is_good(Millis(1_000)) && !carrier.is_lost(Millis(1_000 + LOST_MS - 1)));
        carrier.set(Millis(1_100), false);
        assert!(carrier.is_lost(Millis(1_000 + LOST_MS)), "told again, it does not begin anew");
        carrier.set(Millis(2_000), true);
        assert!(!carrier.is_lost(Millis(2_000)) && !carrier.is_good(Millis(2_000 + BACK_MS - 1)));
        assert!(carrier.is_good(Millis(2_000 + BACK_MS)));
    }
}
