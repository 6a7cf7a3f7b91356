//! What an answer means: one table (SPC-4 4.5.6, 5.15.2.4; the choices are those of Linux' SCSI and ALUA layers).

use std::time::Duration;

use crate::initiator::command::{Answer, Sense};
use crate::initiator::port_groups::GroupState;
use crate::scsi::Status;

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The caller gets it, good or bad.
    Final,
    /// Ask the path for its state, then try again.
    Refresh,
    /// The path is in this state; try again where it works.
    State(GroupState),
    /// Try again on this path after a while.
    Pause(Duration),
}

const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_millis(100);

const NOT_READY: u8 = 0x02;
const ILLEGAL_REQUEST: u8 = 0x05;
const UNIT_ATTENTION: u8 = 0x06;
const ABORTED_COMMAND: u8 = 0x0b;

/// Sense key, additional sense code with qualifier (or any), what to do.
type Row = (u8, Option<(u8, u8)>, Judgement);

/// The first row that fits counts; what no row fits is final.
const SENSE: [Row; 7] = [
    (NOT_READY, Some((0x04, 0x0a)), Judgement::State(GroupState::Transitioning)),
    (NOT_READY, Some((0x04, 0x0b)), Judgement::State(GroupState::Standby)),
    (NOT_READY, Some((0x04, 0x0c)), Judgement::State(GroupState::Unavailable)),
    (NOT_READY, None, Judgement::Pause(LONG)),
    (UNIT_ATTENTION, None, Judgement::Refresh),
    (ABORTED_COMMAND, None, Judgement::Pause(SHORT)),
    // The unit is not mapped here, or not yet: another path may have it.
    (ILLEGAL_REQUEST, Some((0x25, 0x00)), Judgement::State(GroupState::Unavailable)),
];

const STATUS: [(Status, Judgement); 3] = [
    (Status::Busy, Judgement::Pause(LONG)),
    (Status::TaskSetFull, Judgement::Pause(SHORT)),
    (Status::TaskAborted, Judgement::Pause(SHORT)),
];

impl Judgement {
    pub(super) fn of(answer: &Answer) -> Self {
        if let Some((_, judgement)) = STATUS.iter().find(|(status, _)| *status as u8 == answer.status) {
            return *judgement;
        }
        match answer.sense {
            Some(sense) if answer.status == Status::CheckCondition as u8 => Self::of_sense(sense),
            _ => Self::Final,
        }
    }

    fn of_sense(sense: Sense) -> Self {
        let fits = |row: &&Row| row.0 == sense.key && row.1.is_none_or(|code| code == (sense.asc, sense.ascq));
        SENSE.iter().find(fits).map_or(Self::Final, |row| row.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(key: u8, asc: u8, ascq: u8) -> Judgement {
        Judgement::of(&Answer::check_condition(Sense { key, asc, ascq }))
    }

    #[test]
    fn sense_decides() {
        assert_eq!(judge(2, 0x04, 0x0a), Judgement::State(GroupState::Transitioning));
        assert_eq!(judge(2, 0x04, 0x0b), Judgement::State(GroupState::Standby));
        assert_eq!(judge(2, 0x04, 0x0c), Judgement::State(GroupState::Unavailable));
        assert_eq!(judge(2, 0x04, 0x01), Judgement::Pause(LONG));
        assert_eq!(judge(6, 0x2a, 0x06), Judgement::Refresh);
        assert_eq!(judge(6, 0x29, 0x00), Judgement::Refresh);
        assert_eq!(judge(0x0b, 0x47, 0x03), Judgement::Pause(SHORT));
        for key in [1, 3, 4, 5, 7, 8, 0x0d, 0x0e] {
            assert_eq!(judge(key, 0x11, 0), Judgement::Final, "sense key {key}");
        }
    }

    #[test]
    fn status_decides() {
        let of = |status: Status| Judgement::of(&Answer { status: status as u8, sense: None, data: vec![] });
        assert_eq!(of(Status::Good), Judgement::Final);
        assert_eq!(of(Status::ReservationConflict), Judgement::Final);
        assert_eq!(of(Status::Busy), Judgement::Pause(LONG));
        assert_eq!(of(Status::TaskSetFull), Judgement::Pause(SHORT));
        assert_eq!(of(Status::CheckCondition), Judgement::Final, "without sense");
    }
}
