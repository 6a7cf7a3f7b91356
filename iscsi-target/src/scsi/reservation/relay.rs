//! Commands about reservations that reach a head which forwards: the owner decides. What the heads say to each other, as
//! bytes; integers are little-endian.
//!
//! | question | | answer | |
//! | --- | --- | --- | --- |
//! | 16 | the CDB | 1 | status |
//! | | the nexus, as in the document | 1 | length of the sense data |
//! | | Data-Out | | sense data |
//! | | | | Data-In |

use nom::bytes::complete::take;
use nom::number::complete::le_u8;
use nom::{IResult, Parser};
use replication::message::WORDS_MAX_BYTES;

use super::Nexus;
use super::document;
use crate::scsi::{DataIn, Response, Status};

const CDB_BYTES: usize = 16;
/// Everything that a decision about reservations can be answered with.
const STATUSES: [Status; 4] = [Status::Good, Status::CheckCondition, Status::Busy, Status::ReservationConflict];

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose.
    pub who: Nexus,
    /// As it was sent.
    pub cdb: [u8; CDB_BYTES],
    /// What came with it.
    pub data: Vec<u8>,
}

impl Question {
    /// The bytes; `None` if the heads cannot say so much.
    #[must_use]
    pub fn emit(&self) -> Option<Vec<u8>> {
        let mut bytes = self.cdb.to_vec();
        document::emit_nexus(&self.who, &mut bytes);
        bytes.extend(&self.data);
        (bytes.len() <= WORDS_MAX_BYTES).then_some(bytes)
    }

    /// What the other head asks.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (cdb, rest) = bytes.split_first_chunk()?;
        let (data, who) = document::nexus(rest).ok()?;
        Some(Self { who, cdb: *cdb, data: data.to_vec() })
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
        let question = Question { who, cdb: [0x5F; 16], data: vec![7; 24] };
        let bytes = question.emit().unwrap();
        assert_eq!(bytes[..16], [0x5F; 16]);
        assert_eq!(bytes[16..30], *b"\x02\0\x01\x02\x03\x04\x05\x06\x05iqn.a");
        assert_eq!(Question::parse(&bytes), Some(question.clone()));
        for length in 0..30 {
            assert_eq!(Question::parse(&bytes[..length]), None);
        }
        assert_eq!(Question { data: vec![0; WORDS_MAX_BYTES], ..question }.emit(), None);
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
        assert_eq!((parse_answer(&[]), parse_answer(&[2, 3, 0]), parse_answer(&[0x28, 0])), (None, None, None));
    }
}
