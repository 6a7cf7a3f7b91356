//! How a copy that has begun to be looked at ends when it cannot go on: COPY ABORTED (SPC-4, errors detected during
//! processing of segment descriptors), with the number of the segment in INFORMATION, and what the unit said to which it
//! happened behind the sense data.

use super::plan::Side;
use crate::scsi::sense::{Sense, SenseCode};
use crate::scsi::{Response, Status};

/// Why a segment could not be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// It names a CSCD descriptor that the list does not have.
    NoSuchCscd {
        /// Where in the list.
        byte: u16,
    },
    /// A CSCD descriptor names a unit that is not there for the initiator, or that nobody can serve now.
    NotReachable,
    /// A CSCD descriptor says that it is something else than a disk.
    WrongDeviceType,
    /// A field does not fit the units.
    InvalidField {
        /// Where in the list.
        byte: u16,
    },
    /// It is not a whole number of blocks at the other end.
    Inexact,
    /// A unit refused it, or failed.
    Unit {
        /// Which.
        side: Side,
        /// What it said.
        response: Response,
        /// It is not here any more.
        moved: bool,
    },
}

/// ADDITIONAL SENSE LENGTH of fixed format sense data.
const ADDITIONAL_LENGTH: usize = 7;
/// Bytes that it does not count.
const UNCOUNTED_BYTES: usize = 8;
/// COMMAND-SPECIFIC INFORMATION: where what the source said begins, and next to it, what the destination said.
const SOURCE_AREA: usize = 8;
const DESTINATION_AREA: usize = 9;

impl Failed {
    /// The answer to a command whose segment `segment` failed like this; what precedes it is done.
    ///
    /// When a unit is just not here any more, and the whole of it may be done again, the initiator is asked to send it
    /// again, to whichever head has the unit now.
    #[must_use]
    pub fn answer(&self, segment: u16, repeatable: bool) -> Response {
        let sense = match self {
            Self::Unit { response, moved: true, .. } if repeatable => return response.clone(),
            Self::Unit { .. } => SenseCode::COPY_ABORTED.into(),
            Self::NoSuchCscd { byte } => Sense::from(SenseCode::UNREACHABLE_COPY_TARGET).at_parameter(*byte),
            Self::NotReachable => SenseCode::COPY_TARGET_NOT_REACHABLE.into(),
            Self::WrongDeviceType => SenseCode::INCORRECT_COPY_TARGET_TYPE.into(),
            Self::InvalidField { byte } => Sense::from(SenseCode::COPY_INVALID_FIELD).at_parameter(*byte),
            Self::Inexact => SenseCode::UNEXPECTED_INEXACT_SEGMENT.into(),
        };
        let mut answer = Response::check(sense.with_information(segment.into()));
        if let Self::Unit { side, response, .. } = self {
            append(&mut answer.sense, *side, response);
        }
        answer
    }
}

/// Status byte and sense data of a unit, behind those of the command.
fn append(sense: &mut Vec<u8>, side: Side, response: &Response) {
    let length = |length: usize| u8::try_from(length).expect("sense data of fixed format, twice");
    let area = match side {
        Side::Source => SOURCE_AREA,
        Side::Destination => DESTINATION_AREA,
    };
    sense[area] = length(sense.len());
    sense.push(response.status as u8);
    if response.status == Status::CheckCondition {
        sense.extend(&response.sense);
    }
    sense[ADDITIONAL_LENGTH] = length(sense.len() - UNCOUNTED_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::attention::Attention;

    fn sense(failed: &Failed) -> Vec<u8> {
        let answer = failed.answer(0x0102, false);
        assert_eq!(answer.status, Status::CheckCondition);
        answer.sense
    }

    #[test]
    fn golden_bytes() {
        #[rustfmt::skip]
        let cases = [
            (Failed::NoSuchCscd { byte: 54 }, [0xF0, 0, 0xA, 0, 0, 1, 2, 10, 0, 0, 0, 0, 0x08, 0x04, 0, 0x80, 0, 54]),
            (Failed::NotReachable, [0xF0, 0, 0xA, 0, 0, 1, 2, 10, 0, 0, 0, 0, 0x0D, 0x02, 0, 0, 0, 0]),
            (Failed::WrongDeviceType, [0xF0, 0, 0xA, 0, 0, 1, 2, 10, 0, 0, 0, 0, 0x0D, 0x03, 0, 0, 0, 0]),
            (Failed::InvalidField { byte: 45 }, [0xF0, 0, 0xA, 0, 0, 1, 2, 10, 0, 0, 0, 0, 0x26, 0x00, 0, 0x80, 0, 45]),
            (Failed::Inexact, [0xF0, 0, 0xA, 0, 0, 1, 2, 10, 0, 0, 0, 0, 0x26, 0x0A, 0, 0, 0, 0]),
        ];
        for (failed, expected) in cases {
            assert_eq!(sense(&failed), expected, "{failed:?}");
        }
    }

    #[test]
    fn what_a_unit_said_comes_behind_and_is_pointed_at() {
        let response = Response::check(SenseCode::WRITE_PROTECTED);
        let said = sense(&Failed::Unit { side: Side::Destination, response: response.clone(), moved: false });
        assert_eq!(said[..18], [0xF0, 0, 0xA, 0, 0, 1, 2, 29, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((said[18], &said[19..]), (0x02, &response.sense[..]));
        let response = Response::status(Status::ReservationConflict);
        let said = sense(&Failed::Unit { side: Side::Source, response, moved: false });
        assert_eq!(said, [0xF0, 0, 0xA, 0, 0, 1, 2, 11, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x18]);
    }

    #[test]
    fn what_may_be_done_again_is_asked_for_again() {
        let response = Response::unit_attention(Attention::AccessStateChanged);
        let moved = Failed::Unit { side: Side::Source, response: response.clone(), moved: true };
        assert_eq!(moved.answer(3, true), response);
        assert_eq!(moved.answer(3, false).sense[2], 0x0A);
        let refused = Failed::Unit { side: Side::Source, response, moved: false };
        assert_eq!(refused.answer(3, true).sense[2], 0x0A);
    }
}
