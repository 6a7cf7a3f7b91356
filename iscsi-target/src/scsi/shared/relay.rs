//! What reaches a head which forwards and only the owner can decide: commands about reservations, and what ends the
//! commands of all. What the heads say to each other, as bytes; integers are little-endian.
//!
//! | question | | answer | |
//! | --- | --- | --- | --- |
//! | 1 | 0: a command; 1: a reset; 2: CLEAR TASK SET | 1 | status |
//! | | the nexus, as in the document | 1 | length of the sense data |
//! | 16 | of a command, the CDB | | sense data |
//! | | of a command, Data-Out | | Data-In |

use nom::bytes::complete::take;
use nom::number::complete::le_u8;
use nom::{IResult, Parser};
use replication::message::WORDS_MAX_BYTES;

use super::document;
use crate::scsi::reservation::Nexus;
use crate::scsi::reservation::table::What;
use crate::scsi::{DataIn, Response, Status};

const CDB_BYTES: usize = 16;
/// Everything that a decision about reservations can be answered with.
const STATUSES: [Status; 4] = [Status::Good, Status::CheckCondition, Status::Busy, Status::ReservationConflict];

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who.
    pub who: Nexus,
    /// What.
    pub about: About,
}

/// See [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A command.
    Command {
        /// As it was sent.
        cdb: [u8; CDB_BYTES],
        /// What came with it.
        data: Vec<u8>,
    },
    /// A task management function that concerns everybody.
    Everyone(What),
}

impl Question {
    /// The bytes; `None` if the heads cannot say so much.
    #[must_use]
    pub fn emit(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![match &self.about {
            About::Command { .. } => 0,
            About::Everyone(What::Reset) => 1,
            About::Everyone(What::Cleared) => 2,
            // Of these the owner is told by the command.
            About::Everyone(What::Loaded | What::Protected) => return None,
        }];
        document::emit_nexus(&self.who, &mut bytes);
        if let About::Command { cdb, data } = &self.about {
            bytes.extend(cdb);
            bytes.extend(data);
        }
        (bytes.len() <= WORDS_MAX_BYTES).then_some(bytes)
    }

    /// What the other head asks.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (rest, who) = document::nexus(rest).ok()?;
        let about = match (kind, rest) {
            (0, rest) => {
                let (cdb, data) = rest.split_first_chunk()?;
                About::Command { cdb: *cdb, data: data.to_vec() }
            }
            (1, []) => About::Everyone(What::Reset),
            (2, []) => About::Everyone(What::Cleared),
            _ => return None,
        };
        Some(Self { who, about })
    }
}

/// The bytes of an answer.
#[must_use]
pub fn emit_answer(response: &Response) -> Vec<u8> {
    let mut bytes = vec![response.status as u8, u8::try_from(response.sense.len()).unwrap_or(0)];
    bytes.extend(&response.sense);
    if let DataIn::Parameters(data) = &response.data_in {
        bytes.extend(data);
    }
    bytes
}

/// What the owner answers.
#[must_use]
pub fn parse_answer(bytes: &[u8]) -> Option<Response> {
    let parts = |input| -> IResult<&[u8], (u8, &[u8])> {
        let (rest, (status, length)) = (le_u8, le_u8).parse_complete(input)?;
        let (data, sense) = take(length)(rest)?;
        Ok((data, (status, sense)))
    };
    let (data, (status, sense)) = parts(bytes).ok()?;
    let status = STATUSES.into_iter().find(|known| *known as u8 == status)?;
    if (status == Status::CheckCondition) == sense.is_empty() || (status != Status::Good && !data.is_empty()) {
        return None;
    }
    let data_in = if data.is_empty() { DataIn::None } else { DataIn::Parameters(data.to_vec()) };
    Some(Response { sense: sense.to_vec(), data_in, ..Response::status(status) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::InitiatorPort;
    use crate::scsi::sense::SenseCode;

    #[test]
    fn questions_both_ways() {
        let who =
            Nexus { initiator: InitiatorPort { name: "iqn.a".to_owned(), isid: [1, 2, 3, 4, 5, 6] }, relative_port: 2 };
        let about = |data| Question { who: who.clone(), about: About::Command { cdb: [0x5F; 16], data } };
        let bytes = about(vec![7; 24]).emit().unwrap();
        assert_eq!(bytes[..15], *b"\0\x02\0\x01\x02\x03\x04\x05\x06\x05iqn.a");
        assert_eq!((&bytes[15..31], &bytes[31..]), (&[0x5F; 16][..], &[7; 24][..]));
        assert_eq!(Question::parse(&bytes), Some(about(vec![7; 24])));
        for length in 0..31 {
            assert_eq!(Question::parse(&bytes[..length]), None);
        }
        assert_eq!(about(vec![0; WORDS_MAX_BYTES]).emit(), None);
        for (what, kind) in [(What::Reset, 1), (What::Cleared, 2)] {
            let question = Question { who: who.clone(), about: About::Everyone(what) };
            let mut bytes = question.emit().unwrap();
            assert_eq!((bytes[0], Question::parse(&bytes)), (kind, Some(question)));
            bytes.push(0);
            assert_eq!(Question::parse(&bytes), None);
        }
    }

    #[test]
    fn answers_both_ways() {
        let answers = [
            Response::good(),
            Response::parameters(vec![1, 2, 3], 3),
            Response::check(SenseCode::INVALID_FIELD_IN_CDB),
            Response::status(Status::ReservationConflict),
        ];
        for answer in answers {
            assert_eq!(parse_answer(&emit_answer(&answer)), Some(answer));
        }
        assert_eq!(emit_answer(&Response::parameters(vec![1, 2], 9)), [0, 0, 1, 2]);
        for nonsense in [&[][..], &[2, 3, 0], &[0x28, 0], &[0, 1, 0x70], &[2, 0], &[2, 1, 0x70, 1], &[8, 0, 1]] {
            assert_eq!(parse_answer(nonsense), None, "{nonsense:?}");
        }
    }
}
