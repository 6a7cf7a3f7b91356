//! Memory for the data of all commands of all connections together, and how much of it one connection may have.
//!
//! A connection may have as much as would still be free afterwards: one that is greedy gets half, two get a third each,
//! and who comes next finds as much again. Whatever the others do, each connection may have
//! [`GUARANTEED_BYTES`], so that everybody gets on.

use std::cell::Cell;
use std::rc::Rc;

use super::limits::GUARANTEED_BYTES;

/// Shared by all connections; cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u64,
    used: Rc<Cell<u64>>,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, used: Rc::default() }
    }

    /// Bytes that are in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Whether a connection that has `own` bytes may take `more`.
    pub(super) fn allows(&self, own: u64, more: u64) -> bool {
        let wanted = own.saturating_add(more);
        wanted <= GUARANTEED_BYTES || wanted <= self.limit.saturating_sub(self.used())
    }

    pub(super) fn take(&self, bytes: u64) {
        self.used.set(self.used.get() + bytes);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.set(self.used.get() - bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_greedy_leave_something_to_the_next() {
        let budget = Budget::new(96 * MIB);
        let greedy = || {
            let mut own = 0;
            while budget.allows(own, MIB) {
                budget.take(MIB);
                own += MIB;
            }
            own / MIB
        };
        assert_eq!(greedy(), 48);
        assert_eq!(greedy(), 24);
        assert_eq!(greedy(), 12);
        for _ in 0..100 {
            assert!(greedy() >= GUARANTEED_BYTES / MIB, "everybody gets on");
        }
        assert!(!budget.allows(GUARANTEED_BYTES, 1));
        budget.give_back(budget.used());
        assert!(budget.allows(0, 96 * MIB) && !budget.allows(0, 96 * MIB + 1));
    }
}
