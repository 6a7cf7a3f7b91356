//! The medium of a unit that can be removed: whether it is there, and who wants it to stay (SBC-3 5.9, 5.20). It is part of
//! the state that both heads go by.

use std::collections::BTreeSet;

use crate::scsi::decode::StartStop;
use crate::scsi::reservation::Nexus;
use crate::scsi::sense::{Sense, SenseCode};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Medium {
    /// There is none.
    pub ejected: bool,
    /// Who prevents its removal.
    pub prevented_by: BTreeSet<Nexus>,
}

impl StartStop {
    /// Whether it asks for the medium to be ejected or loaded. Power conditions and stopping only make everything stable:
    /// nothing here saves power.
    #[must_use]
    pub const fn moves_medium(self) -> bool {
        self.power_condition == 0 && self.load_eject
    }

    /// Whether everything is made stable before the answer.
    #[must_use]
    pub const fn flushes(self) -> bool {
        !self.no_flush && (self.power_condition != 0 || !self.start)
    }
}

impl Medium {
    /// PREVENT ALLOW MEDIUM REMOVAL.
    pub fn prevent(&mut self, nexus: &Nexus, prevent: bool) {
        if prevent {
            self.prevented_by.insert(nexus.clone());
        } else {
            self.prevented_by.remove(nexus);
        }
    }

    /// Load it, or eject it. Says whether it was not there, and is now.
    ///
    /// # Errors
    /// MEDIUM REMOVAL PREVENTED, also for loading.
    pub fn move_to(&mut self, loaded: bool) -> Result<bool, Sense> {
        if !self.prevented_by.is_empty() {
            return Err(SenseCode::MEDIUM_REMOVAL_PREVENTED.into());
        }
        let was_ejected = std::mem::replace(&mut self.ejected, !loaded);
        Ok(loaded && was_ejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::InitiatorPort;

    const EJECT: StartStop = StartStop { start: false, load_eject: true, no_flush: false, power_condition: 0 };
    const LOAD: StartStop = StartStop { start: true, ..EJECT };
    const STOP: StartStop = StartStop { load_eject: false, ..EJECT };
    const START: StartStop = StartStop { start: true, ..STOP };

    fn nexus(name: &str) -> Nexus {
        Nexus { initiator: InitiatorPort { name: name.to_owned(), isid: [0; 6] }, relative_port: 1 }
    }

    #[test]
    fn what_moves_the_medium_and_what_makes_everything_stable() {
        for (asked, moves, flushes) in
            [(EJECT, true, true), (LOAD, true, false), (STOP, false, true), (START, false, false)]
        {
            assert_eq!((asked.moves_medium(), asked.flushes()), (moves, flushes), "{asked:?}");
            assert!(!StartStop { no_flush: true, ..asked }.flushes());
            for power_condition in 1..16 {
                let asked = StartStop { power_condition, ..asked };
                assert_eq!((asked.moves_medium(), asked.flushes()), (false, true), "{asked:?}");
            }
        }
    }

    #[test]
    fn what_is_prevented_stays_until_the_last_one_allows_it() {
        let prevented = Err(SenseCode::MEDIUM_REMOVAL_PREVENTED.into());
        let (a, b) = (nexus("a"), nexus("b"));
        let mut medium = Medium::default();
        for (who, prevent) in [(&a, true), (&a, true), (&b, true), (&a, false)] {
            medium.prevent(who, prevent);
        }
        assert_eq!(medium.move_to(false), prevented);
        medium.prevent(&b, false);
        assert_eq!((medium.move_to(false), medium.ejected), (Ok(false), true));
        assert_eq!(medium.move_to(false), Ok(false), "again");
        medium.prevent(&a, true);
        assert_eq!(medium.move_to(true), prevented, "loading, too");
        medium.prevent(&a, false);
        assert_eq!((medium.move_to(true), medium.ejected), (Ok(true), false));
        assert_eq!(medium.move_to(true), Ok(false), "it is there already");
    }
}
