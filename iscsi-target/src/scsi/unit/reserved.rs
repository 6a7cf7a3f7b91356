//! The unit and what both heads go by, its reservations and SANITIZE: commands about it, and what it means for the
//! nexuses of this head.
//!
//! The state is that of both heads. The one that owns the unit changes it, one wish after the other; until the change is
//! kept nobody goes by it. The one that forwards goes by its copy, and sends on whatever asks for the state or changes it.

use sas_backend::superblock::Record;

use super::{Access, LogicalUnit, Nexus, Verdict};
use crate::scsi::attention::Attention;
use crate::scsi::decode::Operation;
use crate::scsi::opcodes::{self, Order, Row};
use crate::scsi::reservation::relay::{About, Question};
use crate::scsi::reservation::state::{State, Wish};
use crate::scsi::reservation::table::{Everyone, Refusal, What};
use crate::scsi::reservation::{self, document, report, request};
use crate::scsi::sanitize::{self, Sanitize};
use crate::scsi::sense::{Sense, SenseCode};
use crate::scsi::{Command, NexusId, Response, Status};

/// What somebody wants of what both heads go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wished {
    /// Who.
    pub who: reservation::Nexus,
    /// What.
    pub wish: Wish,
}

/// What becomes of a wish, or of a question of the other head.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is answered.
    Answer(Response),
    /// Let both heads and the disk have this, then answer GOOD.
    Keep(Record),
    /// Decide on this in its turn.
    Change(Wished),
}

impl LogicalUnit {
    /// The state is this from now on. Returns the nexuses of this head whose commands are to end; `None` if the record is
    /// none that this version can read.
    pub fn set_record(&mut self, record: &Record) -> Option<Vec<NexusId>> {
        let next = document::parse(&record.bytes)?;
        let before = std::mem::replace(&mut self.reservations, next);
        let is_next = self.reservations.serial == before.serial.wrapping_add(1);
        let everyone = self.reservations.effects.everyone.take_if(|_| is_next);
        let mut ended = self.end_everyones(everyone);
        for (id, nexus) in &mut self.nexuses {
            if is_next {
                let news = self.reservations.effects.news.iter().filter(|(whom, _)| *whom == nexus.name);
                news.for_each(|(_, attention)| nexus.attentions.raise(*attention));
                if self.reservations.effects.aborted.contains(&nexus.name) {
                    ended.push(*id);
                }
            } else if let Some(attention) = lost(&before, &self.reservations, &nexus.name) {
                // What happened in between nobody said.
                nexus.attentions.raise(attention);
            }
        }
        self.bar();
        Some(ended)
    }

    /// What a task management function means for the nexuses of this head. The head that it came to has ended their
    /// commands, and told those whose commands were cleared.
    fn end_everyones(&mut self, everyone: Option<Everyone>) -> Vec<NexusId> {
        let Some(Everyone { what, by }) = everyone else { return Vec::new() };
        if what == What::Reset {
            self.reset();
        }
        if self.is_mine(by.relative_port) { Vec::new() } else { self.nexuses.keys().copied().collect() }
    }

    /// The name of a nexus.
    #[must_use]
    pub fn name_of(&self, nexus: NexusId) -> Option<&reservation::Nexus> {
        self.nexuses.get(&nexus).map(|nexus| &nexus.name)
    }

    /// Who has the unit by RESERVE.
    #[must_use]
    pub fn reserved_by(&self) -> Option<&reservation::Nexus> {
        self.reservations.reserved_by.as_ref()
    }

    /// Whether a target port is one of this head.
    #[must_use]
    pub fn is_mine(&self, relative_port: u16) -> bool {
        let port = self.groups.ports().iter().find(|port| port.relative_id == relative_port);
        port.is_some_and(|port| port.group == self.config.my_group)
    }

    /// Who has the unit by RESERVE though its session with this head is gone.
    #[must_use]
    pub fn orphan(&self) -> Option<&reservation::Nexus> {
        let is_gone = |holder: &reservation::Nexus| self.nexuses.values().all(|nexus| nexus.name != *holder);
        self.reserved_by().filter(|holder| self.is_mine(holder.relative_port) && is_gone(holder))
    }

    /// What keeps each nexus out.
    pub(super) fn bar(&mut self) {
        // Of a holder that is gone the state will say so in a moment.
        let state = if self.orphan().is_some() { &State::default() } else { &self.reservations };
        for nexus in self.nexuses.values_mut() {
            nexus.barred_by = state.bars(&nexus.name);
        }
    }

    /// Whether the unit is being sanitized, or that has failed.
    #[must_use]
    pub fn sanitize(&self) -> Option<&Sanitize> {
        self.reservations.sanitize.as_ref()
    }

    /// A command about what both heads go by, behind the gate.
    pub(super) fn shared_command(&self, command: &Command, operation: Operation) -> Verdict {
        let Some(Nexus { name, .. }) = self.nexuses.get(&command.nexus) else {
            return Response::status(Status::Busy).into();
        };
        let data = command.data_out.as_deref();
        if self.access == Access::Forwarding {
            let mut cdb = [0; 16];
            cdb.iter_mut().zip(&command.cdb).for_each(|(to, from)| *to = *from);
            let about = About::Command { cdb, data: data.unwrap_or_default().to_vec() };
            return Question { who: name.clone(), about }
                .emit()
                .map_or_else(|| Sense::from(SenseCode::PARAMETER_LIST_LENGTH_ERROR).into(), Verdict::Ask);
        }
        match self.answer(name, operation, data) {
            Decision::Change(wished) => Verdict::Change(wished),
            Decision::Answer(response) => response.into(),
            Decision::Keep(_) => Response::status(Status::Busy).into(),
        }
    }

    /// What becomes of a question of the other head.
    #[must_use]
    pub fn answer_question(&self, question: &[u8]) -> Decision {
        let Some(Question { who, about }) = Question::parse(question) else {
            return Decision::Answer(Response::check(SenseCode::INVALID_FIELD_IN_CDB));
        };
        let (cdb, data) = match about {
            About::Command { cdb, data } => (cdb, data),
            About::Everyone(what) => return Decision::Change(Wished { who, wish: Wish::Everyone(what) }),
        };
        let (row, operation) = match opcodes::parse(&cdb) {
            Ok(parsed) => parsed,
            Err(sense) => return Decision::Answer(Response::check(sense)),
        };
        if let Some(refused) = self.refuses_asked(&who, row) {
            return Decision::Answer(refused);
        }
        self.answer(&who, operation, Some(&data))
    }

    /// The gate for a command that the other head has let in by what it knew.
    fn refuses_asked(&self, who: &reservation::Nexus, row: &Row) -> Option<Response> {
        if let Some(sense) = self.sanitize().and_then(|now| now.refuses(row, self.config.blocks)) {
            return Some(Response::check(sense));
        }
        if row.order.needs_medium() && self.medium.is_ejected() {
            return Some(Response::check(SenseCode::MEDIUM_NOT_PRESENT));
        }
        if row.order == Order::Write && self.software_protected {
            return Some(Response::check(SenseCode::WRITE_PROTECTED));
        }
        let is_barred = self.reservations.bars(who).is_some_and(|held| row.reservation.conflicts_with(held));
        is_barred.then(|| Response::status(Status::ReservationConflict))
    }

    fn answer(&self, who: &reservation::Nexus, operation: Operation, data: Option<&[u8]>) -> Decision {
        let table = &self.reservations.table;
        let change = |wish| Decision::Change(Wished { who: who.clone(), wish });
        match operation {
            Operation::PersistentReserveIn { action, allocation } => {
                let bytes = match action {
                    0 => report::keys(table),
                    1 => report::reservation(table),
                    2 => report::capabilities(table),
                    _ => report::full_status(table),
                };
                Decision::Answer(Response::parameters(bytes, allocation))
            }
            Operation::PersistentReserveOut { action, scope_type, length } => {
                match request::parse(action, scope_type, length, data) {
                    Ok(request) => change(Wish::Persistent(request)),
                    Err(sense) => Decision::Answer(Response::check(sense)),
                }
            }
            Operation::Sanitize { action, unrestricted, length } => {
                match sanitize::parse(action, unrestricted, length, data, self.config.block_bytes) {
                    Ok(request) => change(Wish::Sanitize(request)),
                    Err(sense) => Decision::Answer(Response::check(sense)),
                }
            }
            Operation::Reserve => change(Wish::Reserve),
            Operation::Release => change(Wish::Release),
            _ => Decision::Answer(Response::check(SenseCode::INVALID_OPERATION_CODE)),
        }
    }

    /// What becomes of a wish whose turn it is.
    #[must_use]
    pub fn decide(&self, Wished { who, wish }: &Wished) -> Decision {
        let ports: Vec<u16> = self.groups.ports().iter().map(|port| port.relative_id).collect();
        match self.reservations.after(who, wish, &ports) {
            Ok(next) if next == self.reservations => Decision::Answer(Response::good()),
            Ok(next) => Decision::Keep(document::record(&next)),
            Err(Refusal::Conflict) => Decision::Answer(Response::status(Status::ReservationConflict)),
            Err(Refusal::Check(sense)) => Decision::Answer(Response::check(sense)),
        }
    }
}

/// What `nexus` has to be told if it was registered, or had the unit, and is or has not any more.
fn lost(before: &State, after: &State, nexus: &reservation::Nexus) -> Option<Attention> {
    let is_registered = |state: &State| state.table.key_of(nexus).is_some();
    let has = |state: &State| state.reserved_by.as_ref() == Some(nexus);
    if is_registered(before) && !is_registered(after) {
        return Some(Attention::RegistrationsPreempted);
    }
    (has(before) && !has(after)).then_some(Attention::PowerOn)
}

#[cfg(test)]
mod tests;
