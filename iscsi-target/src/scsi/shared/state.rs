//! What both heads know of one unit and the disk keeps, beside its blocks: all that is reserved of it and whether it is
//! being sanitized, and how that changes. What ends the commands of all goes the same way.
//!
//! RESERVE and persistent reservations keep each other out (SPC-2 5.5.1, SPC-4 5.13.3 with CRH = 0): who holds one of the
//! unit makes PERSISTENT RESERVE conflict, and where somebody is registered RESERVE and RELEASE do.

use super::document;
use crate::scsi::attention::Attention;
use crate::scsi::medium::Medium;
use crate::scsi::opcodes::{Order, Reserved, Row};
use crate::scsi::reservation::Nexus;
use crate::scsi::reservation::request::Request;
use crate::scsi::reservation::table::{Effects, Everyone, Refusal, Table, What};
use crate::scsi::sanitize::{self, Sanitize};
use crate::scsi::sense::{Sense, SenseCode};

/// What an initiator, or the unit itself, wants of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// PERSISTENT RESERVE OUT.
    Persistent(Request),
    /// RESERVE.
    Reserve,
    /// RELEASE; also when a nexus is gone.
    Release,
    /// Who has the unit by RESERVE is out of reach, and may come back.
    Lost,
    /// START STOP UNIT: the medium is loaded, or ejected.
    Load(bool),
    /// PREVENT ALLOW MEDIUM REMOVAL; also when a nexus is gone.
    Prevent(bool),
    /// MODE SELECT: SWP.
    Protect(bool),
    /// SANITIZE.
    Sanitize(sanitize::Request),
    /// Whoever carries that out has got so far.
    Sanitized(sanitize::Report),
    /// A task management function; after a reset nobody has the unit by RESERVE, prevents anything or protects it.
    Everyone(What),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Persistent reservations.
    pub table: Table,
    /// Who has the unit by RESERVE.
    pub reserved_by: Option<Nexus>,
    /// The medium.
    pub medium: Medium,
    /// SWP, as initiators have set it.
    pub protected: bool,
    /// It is being sanitized, or that has failed.
    pub sanitize: Option<Sanitize>,
    /// Counts the changes.
    pub serial: u32,
    /// Whom the last one concerns.
    pub effects: Effects,
}

impl State {
    /// What the present reservation looks like to `nexus`; `None` if it has a part in it, or there is none.
    #[must_use]
    pub fn bars(&self, nexus: &Nexus) -> Option<Reserved> {
        match &self.reserved_by {
            Some(holder) if holder != nexus => Some(Reserved::Unit),
            Some(_) => None,
            None => self.table.bars(nexus),
        }
    }

    /// What a command of this row is refused with, whoever sent it, on a unit of so many blocks.
    #[must_use]
    pub fn refuses(&self, row: &Row, blocks: u64) -> Option<Sense> {
        if let Some(sense) = self.sanitize.as_ref().and_then(|now| now.refuses(row, blocks)) {
            return Some(sense);
        }
        if row.order.needs_medium() && self.medium.ejected {
            return Some(SenseCode::MEDIUM_NOT_PRESENT.into());
        }
        (row.order == Order::Write && self.protected).then(|| SenseCode::WRITE_PROTECTED.into())
    }

    /// What it is after `who` got what it wants; the same if that changes nothing. `ports` are all relative target ports.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub fn after(&self, who: &Nexus, wish: &Wish, ports: &[u16]) -> Result<Self, Refusal> {
        let mut next = Self { effects: Effects::default(), ..self.clone() };
        let everyone = |what| Effects { everyone: Some(Everyone { what, by: who.clone() }), ..Effects::default() };
        match wish {
            Wish::Persistent(_) if self.reserved_by.is_some() => return Err(Refusal::Conflict),
            Wish::Persistent(request) => next.effects = next.table.execute(who, request, ports)?,
            Wish::Reserve | Wish::Release if !self.table.registrants().is_empty() => return Err(Refusal::Conflict),
            Wish::Reserve if self.reserved_by.as_ref().is_some_and(|holder| holder != who) => {
                return Err(Refusal::Conflict);
            }
            Wish::Reserve => next.reserved_by = Some(who.clone()),
            Wish::Release => drop(next.reserved_by.take_if(|holder| holder == who)),
            Wish::Lost => {
                let lost = next.reserved_by.take();
                next.effects.news = lost.into_iter().map(|holder| (holder, Attention::PowerOn)).collect();
            }
            Wish::Load(load) if next.medium.move_to(*load)? => next.effects = everyone(What::Loaded),
            Wish::Load(_) => {}
            Wish::Prevent(prevent) => next.medium.prevent(who, *prevent),
            Wish::Protect(protect) if *protect == self.protected => {}
            Wish::Protect(protect) => {
                next.protected = *protect;
                next.effects = everyone(What::Protected);
            }
            Wish::Sanitize(request) => next.sanitize = sanitize::requested(self.sanitize.as_ref(), who, request)?,
            Wish::Sanitized(report) => next.sanitize = next.sanitize.and_then(|now| now.after(*report)),
            Wish::Everyone(what) => {
                if *what == What::Reset {
                    next.reserved_by = None;
                    next.medium.prevented_by.clear();
                    next.protected = false;
                }
                next.effects = everyone(*what);
            }
        }
        if next == (Self { effects: Effects::default(), ..self.clone() }) {
            return Ok(self.clone());
        }
        next.serial = self.serial.wrapping_add(1);
        if document::emit(&next).len() > document::MAX_BYTES {
            return Err(SenseCode::INSUFFICIENT_REGISTRATION_RESOURCES.into());
        }
        Ok(next)
    }

    /// Whether it outlives a loss of power.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.table.is_kept() && !self.table.registrants().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::InitiatorPort;
    use crate::scsi::reservation::request::Register;
    use crate::scsi::reservation::{Key, Type};

    fn nexus(name: &str) -> Nexus {
        Nexus { initiator: InitiatorPort { name: name.to_owned(), isid: [0; 6] }, relative_port: 1 }
    }

    fn register(new: u64) -> Wish {
        let register = Register { key: None, new: Key(new), others: vec![], all_ports: false, keep: true };
        Wish::Persistent(Request::Register(register))
    }

    fn after(state: &State, who: &str, wish: &Wish) -> Result<State, Refusal> {
        state.after(&nexus(who), wish, &[1])
    }

    #[test]
    fn reserve_keeps_others_out_until_it_is_released() {
        let free = State::default();
        let held = after(&free, "a", &Wish::Reserve).unwrap();
        assert_eq!((held.bars(&nexus("a")), held.bars(&nexus("b"))), (None, Some(Reserved::Unit)));
        assert_eq!(after(&held, "a", &Wish::Reserve), Ok(held.clone()), "again");
        assert_eq!(after(&held, "b", &Wish::Reserve), Err(Refusal::Conflict));
        assert_eq!(after(&held, "b", &Wish::Release), Ok(held.clone()), "it is not theirs");
        for (who, wish) in [("a", Wish::Release), ("b", Wish::Everyone(What::Reset))] {
            let released = after(&held, who, &wish).unwrap();
            assert_eq!((released.bars(&nexus("b")), released.serial), (None, 2));
        }
    }

    #[test]
    fn reserve_and_registrations_keep_each_other_out() {
        let held = after(&State::default(), "a", &Wish::Reserve).unwrap();
        assert_eq!(after(&held, "a", &register(1)), Err(Refusal::Conflict));
        let registered = after(&State::default(), "a", &register(1)).unwrap();
        for wish in [Wish::Reserve, Wish::Release] {
            assert_eq!(after(&registered, "a", &wish), Err(Refusal::Conflict));
        }
        assert!(registered.is_kept() && !held.is_kept());
    }

    #[test]
    fn a_persistent_reservation_bars_by_its_type() {
        let mut state = after(&State::default(), "a", &register(1)).unwrap();
        state = after(&state, "b", &register(2)).unwrap();
        let kind = Type::WriteExclusiveRegistrantsOnly;
        state = after(&state, "a", &Wish::Persistent(Request::Reserve { key: Key(1), kind })).unwrap();
        assert_eq!((state.bars(&nexus("b")), state.bars(&nexus("c"))), (None, Some(Reserved::WriteExclusive)));
        assert_eq!(state.serial, 3);
    }
}
