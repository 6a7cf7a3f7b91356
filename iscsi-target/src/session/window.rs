//! The CmdSN window of a session (RFC 7143 4.2.2.1): which commands are taken, and how many more may come.

use std::collections::VecDeque;

use super::budget::Budget;
use super::limits::{MAX_IMMEDIATE_COMMANDS, MAX_IN_FLIGHT_BYTES};
use crate::pdu::CmdSn;

/// What one SCSI command weighs until its last answer PDU is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charge {
    /// Delivered immediately: it has no place in the window.
    pub(super) immediate: bool,
    /// Data that it may hold in memory.
    pub(super) bytes: u64,
}

/// What a command number says about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The next one: take it.
    Next,
    /// Outside the window, or a number that was used: ignore the PDU, as the RFC demands.
    OutsideWindow,
    /// Inside the window, but numbers before it are missing. On the only connection of a session nothing that is missing
    /// can still come.
    Gap,
}

/// The window. `MaxCmdSN - ExpCmdSN + 1` is what is left of `depth` after the commands in progress; MaxCmdSN thus
/// stands still when a command comes in and moves on when one ends, and never goes back.
#[derive(Debug)]
pub(super) struct Window {
    exp_cmd_sn: CmdSn,
    depth: u32,
    in_progress: u32,
    immediate_in_progress: usize,
    bytes_in_progress: u64,
    /// Of all connections; what is in progress here is part of it.
    budget: Budget,
    /// Numbers ahead whose commands were aborted before they came (RFC 7143 11.6.1); in order, inside the window.
    counted_as_received: VecDeque<CmdSn>,
}

impl Window {
    pub(super) fn new(first: CmdSn, depth: u32, budget: Budget) -> Self {
        Self {
            exp_cmd_sn: first,
            depth,
            in_progress: 0,
            immediate_in_progress: 0,
            bytes_in_progress: 0,
            budget,
            counted_as_received: VecDeque::new(),
        }
    }

    pub(super) fn exp_cmd_sn(&self) -> CmdSn {
        self.exp_cmd_sn
    }

    pub(super) fn max_cmd_sn(&self) -> CmdSn {
        self.exp_cmd_sn.plus(self.depth.saturating_sub(self.in_progress)).minus(1)
    }

    /// Look at the number of a command that is not immediate; [`Admission::Next`] uses the number up.
    pub(super) fn admit(&mut self, cmd_sn: CmdSn) -> Admission {
        if !cmd_sn.is_within(self.exp_cmd_sn, self.max_cmd_sn()) || self.counted_as_received.contains(&cmd_sn) {
            return Admission::OutsideWindow;
        }
        if cmd_sn != self.exp_cmd_sn {
            return Admission::Gap;
        }
        self.step();
        Admission::Next
    }

    /// Whether one more immediate SCSI command may begin.
    pub(super) fn takes_immediate(&self) -> bool {
        self.immediate_in_progress < MAX_IMMEDIATE_COMMANDS
    }

    /// Whether a SCSI command with so many bytes may begin.
    pub(super) fn takes_bytes(&self, bytes: u64) -> bool {
        let own = self.bytes_in_progress;
        own + bytes <= MAX_IN_FLIGHT_BYTES && self.budget.allows(own, bytes)
    }

    /// A SCSI command that was admitted is in progress until [`Window::ended`].
    pub(super) fn begun(&mut self, charge: Charge) {
        if charge.immediate {
            self.immediate_in_progress += 1;
        } else {
            self.in_progress += 1;
        }
        self.bytes_in_progress += charge.bytes;
        self.budget.take(charge.bytes);
    }

    /// A SCSI command has ended.
    ///
    /// # Panics
    /// If more commands end than begin.
    pub(super) fn ended(&mut self, charge: Charge) {
        if charge.immediate {
            self.immediate_in_progress -= 1;
        } else {
            self.in_progress -= 1;
        }
        self.bytes_in_progress -= charge.bytes;
        self.budget.give_back(charge.bytes);
    }

    /// An abort names a command that has not come: its number counts as received if it lies in the window before
    /// `before`, the number of the abort itself. Returns whether it does.
    pub(super) fn count_as_received(&mut self, cmd_sn: CmdSn, before: CmdSn) -> bool {
        let is_ahead = cmd_sn.is_within(self.exp_cmd_sn, self.max_cmd_sn()) && cmd_sn.is_before(before);
        if is_ahead && !self.counted_as_received.contains(&cmd_sn) {
            let at = self.counted_as_received.partition_point(|other| other.is_before(cmd_sn));
            self.counted_as_received.insert(at, cmd_sn);
            self.skip_received();
        }
        is_ahead
    }

    fn step(&mut self) {
        self.exp_cmd_sn = self.exp_cmd_sn.next();
        self.skip_received();
    }

    fn skip_received(&mut self) {
        while self.counted_as_received.front() == Some(&self.exp_cmd_sn) {
            self.counted_as_received.pop_front();
            self.exp_cmd_sn = self.exp_cmd_sn.next();
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes_in_progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(first: u32, depth: u32) -> Window {
        Window::new(CmdSn(first), depth, Budget::new(u64::MAX))
    }

    const CHARGE: Charge = Charge { immediate: false, bytes: MAX_IN_FLIGHT_BYTES / 4 };

    #[test]
    fn immediate_commands_and_bytes_are_bounded_apart_from_the_window() {
        let mut window = window(1, 4);
        let immediate = Charge { immediate: true, bytes: 0 };
        for _ in 0..MAX_IMMEDIATE_COMMANDS {
            assert!(window.takes_immediate());
            window.begun(immediate);
        }
        assert!(!window.takes_immediate());
        assert_eq!(window.max_cmd_sn(), CmdSn(4));
        for _ in 0..4 {
            assert!(window.takes_bytes(CHARGE.bytes));
            window.begun(CHARGE);
        }
        assert!(!window.takes_bytes(1));
        window.ended(CHARGE);
        assert!(window.takes_bytes(1));
    }

    #[test]
    fn a_full_window_takes_nothing_until_a_command_ends() {
        let mut window = window(u32::MAX, 2);
        for sn in [u32::MAX, 0] {
            assert_eq!(window.admit(CmdSn(sn)), Admission::Next);
            window.begun(CHARGE);
        }
        assert_eq!((window.exp_cmd_sn(), window.max_cmd_sn()), (CmdSn(1), CmdSn(0)));
        assert_eq!(window.admit(CmdSn(1)), Admission::OutsideWindow);
        window.ended(CHARGE);
        assert_eq!(window.max_cmd_sn(), CmdSn(1));
        assert_eq!(window.admit(CmdSn(1)), Admission::Next);
    }

    #[test]
    fn old_and_far_numbers_are_ignored_and_gaps_seen() {
        let mut window = window(10, 4);
        assert_eq!(window.admit(CmdSn(9)), Admission::OutsideWindow);
        assert_eq!(window.admit(CmdSn(14)), Admission::OutsideWindow);
        assert_eq!(window.admit(CmdSn(12)), Admission::Gap);
        assert_eq!(window.admit(CmdSn(10)), Admission::Next);
    }

    #[test]
    fn aborted_numbers_are_skipped() {
        let mut window = window(10, 8);
        assert!(window.count_as_received(CmdSn(12), CmdSn(13)));
        assert!(window.count_as_received(CmdSn(11), CmdSn(13)));
        assert!(!window.count_as_received(CmdSn(13), CmdSn(13)));
        assert!(!window.count_as_received(CmdSn(9), CmdSn(13)));
        assert_eq!(window.admit(CmdSn(12)), Admission::OutsideWindow);
        assert_eq!(window.admit(CmdSn(10)), Admission::Next);
        assert_eq!(window.exp_cmd_sn(), CmdSn(13));
        assert_eq!(window.max_cmd_sn(), CmdSn(20));
    }

    #[test]
    fn all_connections_share_a_budget_and_one_that_ends_gives_its_part_back() {
        let budget = Budget::new(2 * CHARGE.bytes);
        let new = || Window::new(CmdSn(1), 4, budget.clone());
        let (mut greedy, mut other) = (new(), new());
        greedy.begun(CHARGE);
        assert!(!greedy.takes_bytes(CHARGE.bytes) && other.takes_bytes(CHARGE.bytes));
        other.begun(CHARGE);
        assert!(!new().takes_bytes(CHARGE.bytes));
        drop(greedy);
        assert_eq!(budget.used(), CHARGE.bytes);
        other.ended(CHARGE);
        assert_eq!(budget.used(), 0);
    }
}
