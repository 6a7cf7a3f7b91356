//! What an exercise does to the heads, in which order, and what has to come of it.

use std::fmt;
use std::time::Duration;

use iscsi_target::daemon::config::HeadName;
use nix::sys::signal::Signal;
use serde::Serialize;

use super::seen::Goal;

/// How long a part of an event is watched after it has ended well, before something else is done: so long the survivor serves
/// alone before the other head is started again.
pub(super) const AFTERWARDS: Duration = Duration::from_millis(700);
/// Events that take place however short the exercise is: the owner dies, and gets the disk back.
pub(super) const AT_LEAST: usize = 2;

/// What happens to the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Action {
    /// SIGKILL: the other head takes over.
    KillOwner,
    /// By plan, through the control socket.
    HandOver,
    /// SIGTERM: it hands over, and ends.
    TerminateOwner,
    /// SIGKILL: the owner goes on alone.
    KillStandby,
    /// SIGSTOP: it lives and says nothing. The other head takes over, and the fence of a file ends the process.
    StopOwner,
    /// SIGTERM: the owner goes on alone.
    TerminateStandby,
}

/// What is done, and what has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) deed: Deed,
    /// What clients wait for.
    pub(super) goal: Goal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// The head gets a signal, ends, and is started again; whether it ends by itself, well.
    End { head: HeadName, signal: Signal, is_orderly: bool },
    /// The head gets the disk.
    HandOverTo(HeadName),
}

/// A round. It begins and ends with another owner, so that both heads get everything.
const ROUND: [Action; 7] = [
    Action::KillOwner,
    Action::HandOver,
    Action::TerminateOwner,
    Action::KillStandby,
    Action::StopOwner,
    Action::TerminateStandby,
    Action::HandOver,
];

/// The event of that number, counted from 0.
pub(super) fn action(number: usize) -> Action {
    ROUND[number % ROUND.len()]
}

/// How long only the client is busy before that event, so that there is something to lose.
pub(super) fn load_before(number: usize) -> Duration {
    // Not always the same, so that events meet the heads in different moments.
    Duration::from_millis([1300, 1670, 2040][number % 3])
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::KillOwner => "kill-owner",
            Self::HandOver => "hand-over",
            Self::TerminateOwner => "terminate-owner",
            Self::KillStandby => "kill-standby",
            Self::StopOwner => "stop-owner",
            Self::TerminateStandby => "terminate-standby",
        }
    }

    /// What it means while `owner` serves in `epoch`.
    pub(super) fn step(self, owner: HeadName, epoch: u64) -> Step {
        let other = owner.other();
        let end = |head, signal| Deed::End { head, signal, is_orderly: signal == Signal::SIGTERM };
        let (taken, alone) = (Goal::ServedBy(other, epoch), Goal::SoloBy(owner, epoch));
        let (deed, goal) = match self {
            Self::KillOwner => (end(owner, Signal::SIGKILL), taken),
            Self::HandOver => (Deed::HandOverTo(other), Goal::MirroredBy(other)),
            Self::TerminateOwner => (end(owner, Signal::SIGTERM), taken),
            Self::KillStandby => (end(other, Signal::SIGKILL), alone),
            Self::StopOwner => (end(owner, Signal::SIGSTOP), taken),
            Self::TerminateStandby => (end(other, Signal::SIGTERM), alone),
        };
        Step { deed, goal }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who owns the disk after a step, from what is expected of it.
    fn owner_after(step: Step) -> HeadName {
        match step.goal {
            Goal::MirroredBy(head) | Goal::ServedBy(head, _) | Goal::SoloBy(head, _) => head,
            Goal::Mirrored | Goal::Ready => unreachable!("no step expects only that"),
        }
    }

    #[test]
    fn both_heads_get_everything() {
        let mut owner = HeadName::A;
        let mut killed = Vec::new();
        for number in 0..2 * ROUND.len() {
            let step = action(number).step(owner, 1);
            if action(number) == Action::KillOwner {
                killed.push(owner);
            }
            owner = owner_after(step);
        }
        assert_eq!((killed, owner), (vec![HeadName::A, HeadName::B], HeadName::A));
    }

    #[test]
    fn the_shortest_exercise_is_a_full_cycle() {
        assert_eq!((0..AT_LEAST).map(action).collect::<Vec<_>>(), [Action::KillOwner, Action::HandOver]);
        let step = action(0).step(HeadName::A, 4);
        assert_eq!(step.deed, Deed::End { head: HeadName::A, signal: Signal::SIGKILL, is_orderly: false });
        assert_eq!(step.goal, Goal::ServedBy(HeadName::B, 4));
        assert_eq!(action(1).step(HeadName::B, 7).deed, Deed::HandOverTo(HeadName::A));
    }

    #[test]
    fn names_are_the_same_everywhere() {
        for action in ROUND {
            assert_eq!(serde_json::to_string(&action).unwrap(), format!("\"{action}\""));
        }
    }

    #[test]
    fn only_one_that_is_asked_to_end_ends_well() {
        for action in ROUND {
            if let Deed::End { signal, is_orderly, .. } = action.step(HeadName::A, 1).deed {
                assert_eq!(is_orderly, signal == Signal::SIGTERM);
            }
        }
    }
}
