//! The medium of a unit that can be removed: whether it is there, and who wants it to stay (SBC-3 5.9, 5.20).
//!
//! What is kept here is known to the head that serves the unit, and to no other: it is forgotten when that head loses
//! its role, as a RESERVE is.

use std::collections::BTreeSet;

use crate::scsi::NexusId;
use crate::scsi::decode::StartStop;
use crate::scsi::sense::{Sense, SenseCode};

/// What START STOP UNIT comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartStopped {
    /// Make everything stable before the answer.
    pub flush: bool,
    /// The medium was not there, and is now: the other nexuses have to know.
    pub loaded: bool,
}

/// The medium; see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Medium {
    removable: bool,
    ejected: bool,
    prevented_by: BTreeSet<NexusId>,
}

impl Medium {
    /// The medium is there, and nobody prevents its removal.
    #[must_use]
    pub fn new(removable: bool) -> Self {
        Self { removable, ..Self::default() }
    }

    /// Whether there is no medium.
    #[must_use]
    pub const fn is_ejected(&self) -> bool {
        self.ejected
    }

    /// PREVENT ALLOW MEDIUM REMOVAL. Where nothing can be removed it is accepted, and makes no difference.
    pub fn prevent(&mut self, nexus: NexusId, prevent: bool) {
        if prevent {
            self.prevented_by.insert(nexus);
        } else {
            self.prevented_by.remove(&nexus);
        }
    }

    /// START STOP UNIT. Power conditions and stopping only make everything stable: nothing here saves power.
    ///
    /// # Errors
    /// MEDIUM REMOVAL PREVENTED, also for loading; MEDIUM NOT PRESENT; INVALID FIELD IN CDB for LOEJ where nothing can
    /// be removed.
    pub fn start_stop(&mut self, asked: StartStop) -> Result<StartStopped, Sense> {
        let StartStop { start, load_eject, no_flush, power_condition } = asked;
        let nothing_moves = power_condition != 0 || !load_eject;
        if nothing_moves && self.ejected {
            return Err(SenseCode::MEDIUM_NOT_PRESENT.into());
        }
        if nothing_moves {
            return Ok(StartStopped { flush: !no_flush && (power_condition != 0 || !start), loaded: false });
        }
        if !self.removable {
            return Err(Sense::invalid_cdb(4, Some(1)));
        }
        if !self.prevented_by.is_empty() {
            return Err(SenseCode::MEDIUM_REMOVAL_PREVENTED.into());
        }
        let was_ejected = std::mem::replace(&mut self.ejected, !start);
        Ok(StartStopped { flush: !start && !no_flush, loaded: start && was_ejected })
    }

    /// A nexus is gone.
    pub fn remove_nexus(&mut self, nexus: NexusId) {
        self.prevented_by.remove(&nexus);
    }

    /// A reset: whoever prevented the removal does not any more. It brings no medium back.
    pub fn reset(&mut self) {
        self.prevented_by.clear();
    }

    /// The role is lost, and with it what was known here; whether the medium was away.
    pub fn forget(&mut self) -> bool {
        self.prevented_by.clear();
        std::mem::take(&mut self.ejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EJECT: StartStop = StartStop { start: false, load_eject: true, no_flush: false, power_condition: 0 };
    const LOAD: StartStop = StartStop { start: true, ..EJECT };
    const STOP: StartStop = StartStop { load_eject: false, ..EJECT };
    const START: StartStop = StartStop { start: true, ..STOP };
    const A: NexusId = NexusId(1);
    const B: NexusId = NexusId(2);

    fn flushes(flush: bool) -> Result<StartStopped, Sense> {
        Ok(StartStopped { flush, loaded: false })
    }

    #[test]
    fn eject_and_load() {
        let mut medium = Medium::new(true);
        assert_eq!(medium.start_stop(LOAD), flushes(false), "it is there already");
        assert_eq!(medium.start_stop(EJECT), flushes(true));
        assert!(medium.is_ejected());
        assert_eq!(medium.start_stop(EJECT), flushes(true), "in case that the first time it failed");
        for asked in [START, STOP, StartStop { power_condition: 1, ..LOAD }] {
            assert_eq!(medium.start_stop(asked), Err(SenseCode::MEDIUM_NOT_PRESENT.into()));
        }
        assert_eq!(medium.start_stop(LOAD), Ok(StartStopped { flush: false, loaded: true }));
        assert!(!medium.is_ejected());
        assert_eq!(medium.start_stop(StartStop { no_flush: true, ..EJECT }), flushes(false));
        assert!(medium.forget() && !medium.is_ejected());
        assert!(!medium.forget());
    }

    #[test]
    fn stopping_and_power_conditions_leave_the_medium_where_it_is() {
        let mut medium = Medium::new(true);
        assert_eq!(medium.start_stop(STOP), flushes(true));
        assert_eq!(medium.start_stop(START), flushes(false));
        for power_condition in 1..16 {
            assert_eq!(medium.start_stop(StartStop { power_condition, ..EJECT }), flushes(true));
            assert_eq!(medium.start_stop(StartStop { power_condition, no_flush: true, ..LOAD }), flushes(false));
        }
        assert!(!medium.is_ejected());
    }

    #[test]
    fn what_is_prevented_stays_until_the_last_one_allows_it() {
        let prevented = Err(SenseCode::MEDIUM_REMOVAL_PREVENTED.into());
        let mut medium = Medium::new(true);
        medium.prevent(A, true);
        medium.prevent(A, true);
        medium.prevent(B, true);
        medium.prevent(A, false);
        assert_eq!(medium.start_stop(EJECT), prevented);
        assert_eq!(medium.start_stop(STOP), flushes(true));
        medium.remove_nexus(B);
        assert_eq!(medium.start_stop(EJECT), flushes(true));
        medium.prevent(A, true);
        assert_eq!(medium.start_stop(LOAD), prevented, "loading, too");
        medium.reset();
        assert!(medium.is_ejected(), "a reset does not bring it back");
        assert!(medium.start_stop(LOAD).is_ok_and(|done| done.loaded));
    }

    #[test]
    fn a_medium_that_is_fixed_cannot_be_ejected() {
        let mut medium = Medium::new(false);
        for asked in [EJECT, LOAD] {
            assert_eq!(medium.start_stop(asked), Err(Sense::invalid_cdb(4, Some(1))));
        }
        medium.prevent(A, true);
        assert_eq!((medium.start_stop(STOP), medium.is_ejected()), (flushes(true), false));
    }
}
