//! What is known of the copies of one nexus (SPC-4, RECEIVE COPY STATUS(LID1) and RECEIVE COPY FAILURE DETAILS(LID1)):
//! of those under way, and of the last ones that have ended until somebody has asked.

use super::MAX_COPIES_OF_NEXUS;
use crate::scsi::sense::SenseCode;
use crate::scsi::{Response, Status};

/// Ended ones that are remembered; the oldest is forgotten for another.
const KEPT: usize = 32;
/// COPY MANAGER STATUS.
const IN_PROGRESS: u8 = 0x00;
const DONE: u8 = 0x01;
const FAILED: u8 = 0x02;
/// HDD: nothing is held that RECEIVE COPY DATA could return.
const HELD_DATA_DISCARDED: u8 = 0x80;
/// TRANSFER COUNT UNITS, of 2^10 each: bytes, KiB, MiB.
const UNITS: u8 = 3;
/// Bytes before the status in the failure details.
const DETAILS_RESERVED_BYTES: usize = 56;

/// Names a copy under way among those of its nexus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyId(u64);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    id: CopyId,
    /// LIST IDENTIFIER.
    identifier: Option<u8>,
    state: State,
    segments: u16,
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    UnderWay,
    /// What the initiator has asked for since then is not told again.
    Ended {
        status: Status,
        sense: Vec<u8>,
        status_told: bool,
        details_told: bool,
    },
}

impl Copy {
    fn is_under_way(&self) -> bool {
        self.state == State::UnderWay
    }

    fn is_told(&self) -> bool {
        match self.state {
            State::UnderWay => false,
            State::Ended { status, status_told, details_told, .. } => {
                status_told && (details_told || status == Status::Good)
            }
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    last: u64,
    copies: Vec<Copy>,
}

impl Results {
    /// A copy begins.
    ///
    /// # Errors
    /// OPERATION IN PROGRESS if one of that name is under way, BUSY if too many are.
    pub fn begin(&mut self, identifier: Option<u8>) -> Result<CopyId, Response> {
        let same = |copy: &Copy| copy.identifier.is_some() && copy.identifier == identifier;
        if self.copies.iter().any(|copy| same(copy) && copy.is_under_way()) {
            return Err(Response::check(SenseCode::OPERATION_IN_PROGRESS));
        }
        if self.under_way() >= MAX_COPIES_OF_NEXUS {
            return Err(Response::status(Status::Busy));
        }
        self.copies.retain(|copy| !same(copy));
        self.last += 1;
        let id = CopyId(self.last);
        self.copies.push(Copy { id, identifier, state: State::UnderWay, segments: 0, bytes: 0 });
        Ok(id)
    }

    /// Copies that have not ended.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.copies.iter().filter(|copy| copy.is_under_way()).count()
    }

    /// So many bytes more are copied.
    pub fn copied(&mut self, id: CopyId, bytes: u64) {
        if let Some(copy) = self.copies.iter_mut().find(|copy| copy.id == id) {
            copy.bytes += bytes;
        }
    }

    /// One segment more is copied.
    pub fn segment_done(&mut self, id: CopyId) {
        if let Some(copy) = self.copies.iter_mut().find(|copy| copy.id == id) {
            copy.segments += 1;
        }
    }

    /// It has ended with this answer.
    pub fn end(&mut self, id: CopyId, response: &Response) {
        let Some(place) = self.copies.iter().position(|copy| copy.id == id) else { return };
        let mut copy = self.copies.remove(place);
        if copy.identifier.is_none() {
            return;
        }
        let (status, sense) = (response.status, response.sense.clone());
        copy.state = State::Ended { status, sense, status_told: false, details_told: false };
        // To the end, so that the first of those that have ended is the one that ended first.
        self.copies.push(copy);
        if self.copies.len() - self.under_way() > KEPT
            && let Some(oldest) = self.copies.iter().position(|copy| !copy.is_under_way())
        {
            self.copies.remove(oldest);
        }
    }

    /// The parameter data of RECEIVE COPY STATUS(LID1); `None` if there is nothing to tell of that name. What has ended is
    /// told once.
    pub fn status(&mut self, identifier: u8) -> Option<Vec<u8>> {
        let copy = self.named(identifier)?;
        let status = match &mut copy.state {
            State::UnderWay => IN_PROGRESS,
            State::Ended { status_told: true, .. } => return None,
            State::Ended { status, status_told, .. } => {
                *status_told = true;
                if *status == Status::Good { DONE } else { FAILED }
            }
        };
        let fits = |unit: &u8| copy.bytes >> (10 * unit) <= u64::from(u32::MAX);
        let unit = (0..UNITS).find(fits).unwrap_or(UNITS);
        let count = u32::try_from(copy.bytes >> (10 * unit)).unwrap_or(u32::MAX);
        let mut bytes = vec![0, 0, 0, 8, HELD_DATA_DISCARDED | status]; // AVAILABLE DATA
        bytes.extend(copy.segments.to_be_bytes());
        bytes.push(unit);
        bytes.extend(count.to_be_bytes());
        self.copies.retain(|copy| !copy.is_told());
        Some(bytes)
    }

    /// The parameter data of RECEIVE COPY FAILURE DETAILS(LID1); `None` if no copy of that name has failed, or it was told
    /// already.
    pub fn failure_details(&mut self, identifier: u8) -> Option<Vec<u8>> {
        let State::Ended { status, sense, details_told, .. } = &mut self.named(identifier)?.state else { return None };
        if *status == Status::Good || std::mem::replace(details_told, true) {
            return None;
        }
        let length = u16::try_from(sense.len()).expect("sense data is short");
        let mut bytes = vec![0; DETAILS_RESERVED_BYTES];
        bytes.extend([*status as u8, 0]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(&*sense);
        self.copies.retain(|copy| !copy.is_told());
        let available = u32::try_from(bytes.len() - 4).expect("sense data is short");
        bytes[..4].copy_from_slice(&available.to_be_bytes());
        Some(bytes)
    }

    /// A reset: nothing is known any more.
    pub fn clear(&mut self) {
        self.copies.clear();
    }

    fn named(&mut self, identifier: u8) -> Option<&mut Copy> {
        self.copies.iter_mut().find(|copy| copy.identifier == Some(identifier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Response {
        Response::check(SenseCode::COPY_TARGET_NOT_REACHABLE)
    }

    #[test]
    fn the_status_while_it_runs_and_once_after_it() {
        let mut results = Results::default();
        assert_eq!(results.status(7), None);
        let id = results.begin(Some(7)).unwrap();
        assert_eq!(results.status(7).unwrap(), [0, 0, 0, 8, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        results.copied(id, 0x0102_0304);
        results.segment_done(id);
        assert_eq!(results.status(7).unwrap(), [0, 0, 0, 8, 0x80, 0, 1, 0, 1, 2, 3, 4]);
        assert_eq!(results.failure_details(7), None);
        results.end(id, &Response::good());
        assert_eq!(results.failure_details(7), None);
        assert_eq!(results.status(7).unwrap(), [0, 0, 0, 8, 0x81, 0, 1, 0, 1, 2, 3, 4]);
        assert_eq!(results.status(7), None, "told");
    }

    #[test]
    fn larger_counts_have_larger_units() {
        for (bytes, expected) in [
            (u64::from(u32::MAX), [0, 0xFF, 0xFF, 0xFF, 0xFF]),
            (1 << 32, [1, 0, 0x40, 0, 0]),
            (3 << 42, [2, 0, 0xC0, 0, 0]),
        ] {
            let mut results = Results::default();
            let id = results.begin(Some(1)).unwrap();
            results.copied(id, bytes);
            assert_eq!(results.status(1).unwrap()[7..], expected);
        }
    }

    #[test]
    fn details_of_what_has_failed_are_told_once_and_apart_from_the_status() {
        let mut results = Results::default();
        let id = results.begin(Some(7)).unwrap();
        results.end(id, &failed());
        assert_eq!(results.status(7).unwrap()[4], 0x82);
        assert_eq!(results.status(7), None);
        let details = results.failure_details(7).unwrap();
        assert_eq!((details.len(), &details[..4]), (78, &[0, 0, 0, 74][..]));
        assert_eq!(details[56..60], [0x02, 0, 0, 18]);
        assert_eq!(details[60..], failed().sense);
        assert_eq!(results.failure_details(7), None);
        assert_eq!(results, Results { last: results.last, copies: vec![] });
    }

    #[test]
    fn a_name_is_used_by_one_copy_at_a_time() {
        let mut results = Results::default();
        let id = results.begin(Some(7)).unwrap();
        assert_eq!(results.begin(Some(7)), Err(Response::check(SenseCode::OPERATION_IN_PROGRESS)));
        results.end(id, &failed());
        results.begin(Some(7)).unwrap();
        assert_eq!(results.status(7).unwrap()[4], 0x80, "the earlier one is forgotten");
        for _ in 1..MAX_COPIES_OF_NEXUS {
            results.begin(None).unwrap();
        }
        assert_eq!(results.begin(None), Err(Response::status(Status::Busy)));
        assert_eq!(results.begin(Some(8)), Err(Response::status(Status::Busy)));
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_at_last() {
        let mut results = Results::default();
        let running = results.begin(Some(0)).unwrap();
        for identifier in 1..=u8::MAX {
            let id = results.begin(Some(identifier)).unwrap();
            results.end(id, &failed());
            let id = results.begin(None).unwrap();
            results.end(id, &Response::good());
        }
        assert_eq!(results.copies.len(), KEPT + 1);
        assert_eq!((results.status(1), results.status(u8::MAX).is_some()), (None, true));
        results.end(running, &Response::good());
        assert!(results.status(0).is_some());
        results.clear();
        results.end(running, &Response::good());
        assert_eq!(results, Results { last: results.last, copies: vec![] });
    }
}
