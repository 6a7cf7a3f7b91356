//! The table of one unit, and what each service action does to it (SPC-4 5.13).

use super::request::{Move, Register, Request};
use super::{Key, Nexus, Type};
use crate::scsi::attention::Attention;
use crate::scsi::opcodes::Reserved;
use crate::scsi::sense::{Sense, SenseCode};

/// Registrants of one unit at the most.
pub const REGISTRANTS_MAX: usize = 128;

/// One registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrant {
    /// Who.
    pub nexus: Nexus,
    /// By which key; never none.
    pub key: Key,
}

/// What is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// TYPE.
    pub kind: Type,
    /// By whom; `None`: by all registrants.
    pub holder: Option<Nexus>,
}

/// Registrations and the reservation of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub(in crate::scsi) generation: u32,
    pub(in crate::scsi) keep: bool,
    /// By nexus, each once.
    pub(in crate::scsi) registrants: Vec<Registrant>,
    pub(in crate::scsi) reservation: Option<Reservation>,
}

/// Whom a change concerns beside the one who made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What others are to be told.
    pub news: Vec<(Nexus, Attention)>,
    /// Whose commands are to be ended.
    pub aborted: Vec<Nexus>,
    /// What concerns everybody.
    pub everyone: Option<Everyone>,
}

/// What concerns every nexus of both heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Everyone {
    /// Which.
    pub what: What,
    /// Whose it was. Of a task management function, the head that it came to has ended the commands of its own nexuses.
    pub by: Nexus,
}

/// See [`Everyone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// LOGICAL UNIT RESET, or a reset of the target.
    Reset,
    /// CLEAR TASK SET.
    Cleared,
    /// The medium was not there, and is now.
    Loaded,
    /// SWP is another one now.
    Protected,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION.
    Check(Sense),
}

impl<S: Into<Sense>> From<S> for Refusal {
    fn from(sense: S) -> Self {
        Self::Check(sense.into())
    }
}

impl Table {
    /// PRGENERATION.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether it outlives a loss of power (PTPL_A).
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// By nexus.
    #[must_use]
    pub fn registrants(&self) -> &[Registrant] {
        &self.registrants
    }

    /// The reservation.
    #[must_use]
    pub fn reservation(&self) -> Option<&Reservation> {
        self.reservation.as_ref()
    }

    /// The key of a registrant.
    #[must_use]
    pub fn key_of(&self, nexus: &Nexus) -> Option<Key> {
        self.registrants.iter().find(|registrant| registrant.nexus == *nexus).map(|registrant| registrant.key)
    }

    /// Whether this nexus holds the reservation.
    #[must_use]
    pub fn is_holder(&self, nexus: &Nexus) -> bool {
        self.reservation.as_ref().is_some_and(|reservation| match &reservation.holder {
            Some(holder) => holder == nexus,
            None => self.key_of(nexus).is_some(),
        })
    }

    /// What the reservation looks like to a nexus; `None` if it has a part in it, or there is none.
    #[must_use]
    pub fn bars(&self, nexus: &Nexus) -> Option<Reserved> {
        let reservation = self.reservation.as_ref()?;
        let admitted = self.is_holder(nexus) || (reservation.kind.admits_registrants() && self.key_of(nexus).is_some());
        (!admitted).then(|| reservation.kind.to_others())
    }

    /// Do what `who` asks for. `ports` are all relative target ports.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub fn execute(&mut self, who: &Nexus, request: &Request, ports: &[u16]) -> Result<Effects, Refusal> {
        let mut next = self.clone();
        let effects = match request {
            Request::Register(register) => next.register(who, register, ports)?,
            Request::Move(to) => next.move_to(who, to, ports)?,
            Request::Reserve { key, kind } => next.reserve(who, *key, *kind)?,
            Request::Release { key, kind } => next.release(who, *key, *kind)?,
            Request::Clear { key } => next.clear(who, *key)?,
            Request::Preempt { key, victim, kind, abort } => next.preempt(who, *key, *victim, *kind, *abort)?,
        };
        *self = next;
        Ok(effects)
    }

    fn check_key(&self, who: &Nexus, key: Key) -> Result<(), Refusal> {
        if self.key_of(who) == Some(key) { Ok(()) } else { Err(Refusal::Conflict) }
    }

    fn count(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// SPC-4 5.13.7, 6.16.2.
    fn register(&mut self, who: &Nexus, register: &Register, ports: &[u16]) -> Result<Effects, Refusal> {
        let registered = self.key_of(who);
        if register.key.is_some_and(|key| key != registered.unwrap_or(Key::NONE)) {
            return Err(Refusal::Conflict);
        }
        if registered.is_some() && !register.others.is_empty() {
            return Err(Sense::invalid_parameter(20).into());
        }
        self.keep = register.keep;
        self.count();
        let through = |nexus: &Nexus| {
            let own = [nexus.relative_port];
            let through = if register.all_ports { ports } else { &own };
            through.iter().map(|port| Nexus { relative_port: *port, ..nexus.clone() }).collect::<Vec<_>>()
        };
        if register.new == Key::NONE {
            let mut effects = Effects::default();
            for nexus in through(who) {
                self.unregister(&nexus, who, &mut effects);
            }
            return Ok(effects);
        }
        for other in &register.others {
            for nexus in through(&Nexus { initiator: other.clone(), relative_port: who.relative_port }) {
                if self.key_of(&nexus).is_some() {
                    return Err(Sense::invalid_parameter(28).into());
                }
                self.enter(nexus, register.new)?;
            }
        }
        for nexus in through(who) {
            self.enter(nexus, register.new)?;
        }
        Ok(Effects::default())
    }

    fn enter(&mut self, nexus: Nexus, key: Key) -> Result<(), Refusal> {
        match self.registrants.binary_search_by(|registrant| registrant.nexus.cmp(&nexus)) {
            Ok(at) => self.registrants[at].key = key,
            Err(_) if self.registrants.len() >= REGISTRANTS_MAX => {
                return Err(SenseCode::INSUFFICIENT_REGISTRATION_RESOURCES.into());
            }
            Err(at) => self.registrants.insert(at, Registrant { nexus, key }),
        }
        Ok(())
    }

    /// A registration ends, and with that of its holder the reservation (SPC-4 5.13.11.2.3).
    fn unregister(&mut self, nexus: &Nexus, by: &Nexus, effects: &mut Effects) {
        let held = self.is_holder(nexus);
        self.registrants.retain(|registrant| registrant.nexus != *nexus);
        let Some(Reservation { kind, holder }) = &self.reservation else { return };
        let ends = if holder.is_some() { held } else { self.registrants.is_empty() };
        if ends {
            if kind.admits_registrants() {
                effects.news.extend(self.others(by, Attention::ReservationsReleased));
            }
            self.reservation = None;
        }
    }

    /// What all registrants but one are told.
    fn others(&self, but: &Nexus, attention: Attention) -> Vec<(Nexus, Attention)> {
        let others = self.registrants.iter().filter(|registrant| registrant.nexus != *but);
        others.map(|registrant| (registrant.nexus.clone(), attention)).collect()
    }

    /// SPC-4 5.13.9.
    fn reserve(&mut self, who: &Nexus, key: Key, kind: Type) -> Result<Effects, Refusal> {
        self.check_key(who, key)?;
        match &self.reservation {
            Some(held) if held.kind == kind && self.is_holder(who) => {}
            Some(_) => return Err(Refusal::Conflict),
            None => self.reservation = Some(held_by(kind, who)),
        }
        Ok(Effects::default())
    }

    /// SPC-4 5.13.11.2.2.
    fn release(&mut self, who: &Nexus, key: Key, kind: Option<Type>) -> Result<Effects, Refusal> {
        self.check_key(who, key)?;
        let Some(held) = self.reservation.as_ref().filter(|_| self.is_holder(who)) else {
            return Ok(Effects::default());
        };
        if kind != Some(held.kind) {
            return Err(SenseCode::INVALID_RELEASE_OF_PERSISTENT_RESERVATION.into());
        }
        let told = held.kind.admits_registrants();
        self.reservation = None;
        let news = if told { self.others(who, Attention::ReservationsReleased) } else { Vec::new() };
        Ok(Effects { news, ..Effects::default() })
    }

    /// SPC-4 5.13.11.2.7.
    fn clear(&mut self, who: &Nexus, key: Key) -> Result<Effects, Refusal> {
        self.check_key(who, key)?;
        let news = self.others(who, Attention::ReservationsPreempted);
        self.registrants.clear();
        self.reservation = None;
        self.count();
        Ok(Effects { news, ..Effects::default() })
    }

    /// SPC-4 5.13.11.2.4 to 5.13.11.2.6.
    fn preempt(
        &mut self,
        who: &Nexus,
        key: Key,
        victim: Key,
        kind: Option<Type>,
        abort: bool,
    ) -> Result<Effects, Refusal> {
        self.check_key(who, key)?;
        let held_by_all = self.reservation.as_ref().is_some_and(|held| held.holder.is_none());
        let holders_key =
            self.reservation.as_ref().and_then(|held| held.holder.as_ref()).and_then(|nexus| self.key_of(nexus));
        let takes_it = (held_by_all && victim == Key::NONE) || (holders_key == Some(victim));
        let all = held_by_all && victim == Key::NONE;
        if victim == Key::NONE && !all {
            return Err(Sense::invalid_parameter(8).into());
        }
        let is_victim =
            |registrant: &Registrant| (all || registrant.key == victim) && !(takes_it && registrant.nexus == *who);
        let victims: Vec<Nexus> =
            self.registrants.iter().filter(|one| is_victim(one)).map(|one| one.nexus.clone()).collect();
        if victims.is_empty() && !takes_it {
            return Err(Refusal::Conflict);
        }
        let mut effects = Effects::default();
        if takes_it {
            let kind = kind.ok_or(Sense::invalid_cdb(2, None))?;
            let before = self.reservation.replace(held_by(kind, who));
            self.registrants.retain(|one| !victims.contains(&one.nexus));
            if before.is_some_and(|before| before.kind != kind) {
                effects.news = self.others(who, Attention::ReservationsReleased);
            }
        } else {
            for nexus in &victims {
                self.unregister(nexus, who, &mut effects);
            }
        }
        let told = victims.iter().filter(|nexus| *nexus != who);
        effects.news.extend(told.map(|nexus| (nexus.clone(), Attention::RegistrationsPreempted)));
        if abort {
            effects.aborted = victims.into_iter().filter(|nexus| nexus != who).collect();
        }
        self.count();
        Ok(effects)
    }

    /// SPC-4 5.13.8.
    fn move_to(&mut self, who: &Nexus, order: &Move, ports: &[u16]) -> Result<Effects, Refusal> {
        self.check_key(who, order.key)?;
        let Some(Reservation { kind, holder: Some(holder) }) = self.reservation.clone() else {
            return Err(Refusal::Conflict);
        };
        if holder != *who {
            return Err(Refusal::Conflict);
        }
        if !ports.contains(&order.to.relative_port) {
            return Err(Sense::invalid_parameter(18).into());
        }
        if order.to == *who {
            return Err(Sense::invalid_parameter(24).into());
        }
        self.enter(order.to.clone(), order.new)?;
        self.reservation = Some(Reservation { kind, holder: Some(order.to.clone()) });
        if order.unregister {
            self.registrants.retain(|registrant| registrant.nexus != *who);
        }
        self.keep = order.keep;
        self.count();
        Ok(Effects::default())
    }
}

fn held_by(kind: Type, nexus: &Nexus) -> Reservation {
    Reservation { kind, holder: (!kind.is_held_by_all()).then(|| nexus.clone()) }
}

#[cfg(test)]
mod tests;
