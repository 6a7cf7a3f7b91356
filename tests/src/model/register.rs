//! What a read of one block may return: every order of the reads and writes that agrees with what the clients have seen.
//!
//! A write has happened once, at some moment between its begin and its answer; one without an answer may happen later, or
//! never, but not after a write that was begun when its client had given it up already.

use std::collections::BTreeSet;

/// A write, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Write {
    fate: Fate,
    /// Those that were given up before it was begun.
    given_up: u8,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fate {
    Pending,
    GivenUp,
    Acknowledged,
}

/// One of the histories that there may have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct History {
    /// What the block has.
    value: u8,
    /// The writes that have happened, or never will.
    over: u8,
    /// What the read has found that is under way.
    found: Option<u8>,
}

/// One block, as its clients see it; the mark 0 is what it has in the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Register {
    writes: Vec<Write>,
    is_read: bool,
    histories: BTreeSet<History>,
}

fn bit(mark: u8) -> u8 {
    1 << (mark - 1)
}

impl Register {
    pub(super) fn new() -> Self {
        let history = History { value: 0, over: 0, found: None };
        Self { writes: Vec::new(), is_read: false, histories: BTreeSet::from([history]) }
    }

    fn fate(&mut self, mark: u8) -> &mut Fate {
        &mut self.writes[usize::from(mark) - 1].fate
    }

    /// A client begins the write of a mark that is new.
    pub(super) fn write(&mut self) -> u8 {
        let marks = (1u8..).zip(&self.writes);
        let given_up = marks.filter(|(_, write)| write.fate == Fate::GivenUp).map(|(mark, _)| bit(mark)).sum();
        self.writes.push(Write { fate: Fate::Pending, given_up });
        u8::try_from(self.writes.len()).expect("few writes")
    }

    /// It is done.
    pub(super) fn acknowledged(&mut self, mark: u8) {
        self.histories = self.reachable();
        self.histories.retain(|history| history.over & bit(mark) != 0);
        *self.fate(mark) = Fate::Acknowledged;
    }

    /// Nobody knows what became of it.
    pub(super) fn given_up(&mut self, mark: u8) {
        *self.fate(mark) = Fate::GivenUp;
    }

    /// A client begins to read.
    pub(super) fn read(&mut self) {
        self.is_read = true;
    }

    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// It has this value, or was given up.
    ///
    /// # Errors
    /// No order of what has happened explains the value.
    pub(super) fn returned(&mut self, value: Option<u8>) -> Result<(), String> {
        let mut after = if value.is_some() { self.reachable() } else { self.histories.clone() };
        after.retain(|history| value.is_none() || history.found == value);
        if after.is_empty() {
            return Err(format!("read {value:?}, which cannot be: {self:?}"));
        }
        self.is_read = false;
        self.histories = after.into_iter().map(|history| History { found: None, ..history }).collect();
        Ok(())
    }

    /// Every history that may have come of these by now.
    fn reachable(&self) -> BTreeSet<History> {
        let mut found = self.histories.clone();
        let mut new: Vec<History> = found.iter().copied().collect();
        while let Some(history) = new.pop() {
            let mut next = Vec::new();
            if self.is_read && history.found.is_none() {
                next.push(History { found: Some(history.value), ..history });
            }
            for (mark, write) in (1u8..).zip(&self.writes) {
                if write.fate != Fate::Acknowledged && history.over & bit(mark) == 0 {
                    let over = history.over | bit(mark) | write.given_up;
                    next.push(History { value: mark, over, ..history });
                }
            }
            for history in next {
                if found.insert(history) {
                    new.push(history);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_is_read() {
        let mut register = Register::new();
        let first = register.write();
        register.acknowledged(first);
        register.read();
        assert!(register.clone().returned(Some(0)).is_err());
        assert!(register.returned(Some(first)).is_ok());
    }

    #[test]
    fn writes_that_overlap_may_have_happened_in_either_order_but_in_one() {
        let mut register = Register::new();
        let (first, second) = (register.write(), register.write());
        register.acknowledged(second);
        register.acknowledged(first);
        for value in [first, second] {
            let mut register = register.clone();
            register.read();
            assert!(register.returned(Some(value)).is_ok());
            register.read();
            assert!(register.clone().returned(Some(first + second - value)).is_err(), "unread");
            assert!(register.returned(Some(value)).is_ok());
        }
    }

    #[test]
    fn what_was_given_up_may_happen_later_but_not_after_the_next() {
        let mut register = Register::new();
        let first = register.write();
        register.given_up(first);
        register.read();
        assert!(register.returned(Some(0)).is_ok());
        register.read();
        assert!(register.clone().returned(Some(first)).is_ok());
        assert!(register.returned(Some(0)).is_ok());
        let second = register.write();
        register.acknowledged(second);
        register.read();
        assert!(register.clone().returned(Some(first)).is_err(), "a zombie");
        assert!(register.returned(Some(second)).is_ok());
    }

    #[test]
    fn a_read_may_find_what_was_there_at_any_moment_of_it() {
        let mut register = Register::new();
        register.read();
        let first = register.write();
        register.acknowledged(first);
        for value in [0, first] {
            assert!(register.clone().returned(Some(value)).is_ok());
        }
    }
}
