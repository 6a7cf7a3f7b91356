//! The unit and what both heads go by, its reservations, medium, protection and SANITIZE: commands about it, and what it
//! means for the nexuses of this head.
//!
//! The state is that of both heads. The one that owns the unit changes it, one wish after the other; until the change is
//! kept nobody goes by it. The one that forwards goes by its copy, and sends on whatever asks for the state or changes it.

use sas_backend::superblock::Record;

use super::{Access, LogicalUnit, Nexus, Verdict};
use crate::scsi::attention::Attention;
use crate::scsi::block::BlockIo;
use crate::scsi::decode::Operation;
use crate::scsi::opcodes::{self, Row};
use crate::scsi::reservation::table::{Everyone, Refusal, What};
use crate::scsi::reservation::{self, report, request};
use crate::scsi::sanitize::{self, Sanitize};
use crate::scsi::sense::{Sense, SenseCode};
use crate::scsi::shared::document;
use crate::scsi::shared::relay::{About, Question};
use crate::scsi::shared::state::{State, Wish};
use crate::scsi::{Command, NexusId, Response, Status, mode};

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
pub enum Decision<T> {
    /// It is answered.
    Answer(Response),
    /// This comes first.
    Do(T),
}

/// See [`LogicalUnit::then`].
#[derive(Debug, PartialEq, Eq)]
pub enum Then {
    /// It is answered.
    Answer,
    /// It is answered when the unit is sanitized.
    AwaitSanitize,
    /// It is answered when this is done.
    Do(BlockIo),
}

impl LogicalUnit {
    /// The state is this from now on. Returns the nexuses of this head whose commands are to end; `None` if the record is
    /// none that this version can read.
    pub fn set_record(&mut self, record: &Record) -> Option<Vec<NexusId>> {
        let next = document::parse(&record.bytes)?;
        let before = std::mem::replace(&mut self.shared, next);
        let is_next = self.shared.serial == before.serial.wrapping_add(1);
        let everyone = self.shared.effects.everyone.take_if(|_| is_next);
        let mut ended = self.end_everyones(everyone);
        for (id, nexus) in &mut self.nexuses {
            if is_next {
                let news = self.shared.effects.news.iter().filter(|(whom, _)| *whom == nexus.name);
                news.for_each(|(_, attention)| nexus.attentions.raise(*attention));
                if self.shared.effects.aborted.contains(&nexus.name) {
                    ended.push(*id);
                }
            } else {
                // What happened in between nobody said.
                lost(&before, &self.shared, &nexus.name).into_iter().for_each(|news| nexus.attentions.raise(news));
            }
        }
        self.bar();
        Some(ended)
    }

    /// What concerns everybody, for the nexuses of this head. The head that a task management function came to has ended
    /// their commands, and told those whose commands were cleared.
    fn end_everyones(&mut self, everyone: Option<Everyone>) -> Vec<NexusId> {
        let Some(Everyone { what, by }) = everyone else { return Vec::new() };
        match what {
            What::Reset => self.reset(),
            What::Cleared => {}
            What::Loaded => self.raise_for_others(&by, Attention::MediumMayHaveChanged),
            What::Protected => self.raise_for_others(&by, Attention::ModeParametersChanged),
        }
        let ends_commands = matches!(what, What::Reset | What::Cleared) && !self.is_mine(by.relative_port);
        if ends_commands { self.nexuses.keys().copied().collect() } else { Vec::new() }
    }

    /// The name of a nexus.
    #[must_use]
    pub fn name_of(&self, nexus: NexusId) -> Option<&reservation::Nexus> {
        self.nexuses.get(&nexus).map(|nexus| &nexus.name)
    }

    /// Whether a target port is one of this head.
    #[must_use]
    pub fn is_mine(&self, relative_port: u16) -> bool {
        let port = self.groups.ports().iter().find(|port| port.relative_id == relative_port);
        port.is_some_and(|port| port.group == self.config.my_group)
    }

    /// What those have left behind whose sessions with this head are gone, and how it ends.
    #[must_use]
    pub fn left_behind(&self) -> Vec<Wished> {
        self.held_by(|who| self.is_gone(who), &Wish::Release)
    }

    /// Whether it was a nexus of this head.
    fn is_gone(&self, who: &reservation::Nexus) -> bool {
        self.is_mine(who.relative_port) && self.nexuses.values().all(|nexus| nexus.name != *who)
    }

    /// What clients of the other head hold, and how it ends when that head is gone.
    #[must_use]
    pub fn held_there(&self) -> Vec<Wished> {
        self.held_by(|who| !self.is_mine(who.relative_port), &Wish::Lost)
    }

    /// What ends with a session, of those that are meant; RESERVE by this wish.
    fn held_by(&self, is_meant: impl Fn(&reservation::Nexus) -> bool, end_of_reserve: &Wish) -> Vec<Wished> {
        let State { reserved_by, medium, .. } = &self.shared;
        let reserved = reserved_by.iter().map(|who| (who, end_of_reserve.clone()));
        let prevented = medium.prevented_by.iter().map(|who| (who, Wish::Prevent(false)));
        let all = reserved.chain(prevented).filter(|(who, _)| is_meant(who));
        all.map(|(who, wish)| Wished { who: who.clone(), wish }).collect()
    }

    /// What keeps each nexus out.
    pub(super) fn bar(&mut self) {
        // Of a holder that is gone the state will say so in a moment.
        let is_left = self.shared.reserved_by.as_ref().is_some_and(|holder| self.is_gone(holder));
        let state = if is_left { &State::default() } else { &self.shared };
        for nexus in self.nexuses.values_mut() {
            nexus.barred_by = state.bars(&nexus.name);
        }
    }

    /// Whether the unit is being sanitized, or that has failed.
    #[must_use]
    pub fn sanitize(&self) -> Option<&Sanitize> {
        self.shared.sanitize.as_ref()
    }

    /// What is left to do for a command whose change is kept.
    #[must_use]
    pub fn then(&self, command: &Command) -> Then {
        match opcodes::parse(&command.cdb) {
            Ok((_, Operation::Sanitize { action, immediate: false, .. })) if action != sanitize::EXIT_FAILURE_MODE => {
                Then::AwaitSanitize
            }
            Ok((_, Operation::StartStopUnit(asked))) if asked.flushes() => match self.flush_all(command) {
                Verdict::Io(io) => Then::Do(io),
                _ => Then::Answer,
            },
            _ => Then::Answer,
        }
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
            Decision::Do(wished) => Verdict::Change(wished),
            Decision::Answer(response) => response.into(),
        }
    }

    /// What becomes of a question of the other head: a wish to be decided in its turn.
    #[must_use]
    pub fn answer_question(&self, question: &[u8]) -> Decision<Wished> {
        let Some(Question { who, about }) = Question::parse(question) else {
            return Decision::Answer(Response::check(SenseCode::INVALID_FIELD_IN_CDB));
        };
        let (cdb, data) = match about {
            About::Command { cdb, data } => (cdb, data),
            About::Everyone(what) => return Decision::Do(Wished { who, wish: Wish::Everyone(what) }),
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
        if let Some(sense) = self.shared.refuses(row, self.config.blocks) {
            return Some(Response::check(sense));
        }
        let is_barred = self.shared.bars(who).is_some_and(|held| row.reservation.conflicts_with(held));
        is_barred.then(|| Response::status(Status::ReservationConflict))
    }

    fn answer(&self, who: &reservation::Nexus, operation: Operation, data: Option<&[u8]>) -> Decision<Wished> {
        let table = &self.shared.table;
        let change = |wish| Decision::Do(Wished { who: who.clone(), wish });
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
            Operation::StartStopUnit(asked) if asked.moves_medium() && self.config.removable => {
                change(Wish::Load(asked.start))
            }
            Operation::StartStopUnit(_) => Decision::Answer(Response::check(Sense::invalid_cdb(4, Some(1)))),
            Operation::PreventAllowMediumRemoval { prevent } => change(Wish::Prevent(prevent)),
            Operation::ModeSelect { ten, length } => {
                match mode::select(&self.config, self.shared.protected, ten, length, data) {
                    Ok(swp) => change(Wish::Protect(swp)),
                    Err(sense) => Decision::Answer(Response::check(sense)),
                }
            }
            Operation::Sanitize { action, unrestricted, length, .. } => {
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

    /// What becomes of a wish whose turn it is: a record for both heads and the disk, and then GOOD.
    #[must_use]
    pub fn decide(&self, Wished { who, wish }: &Wished) -> Decision<Record> {
        let ports: Vec<u16> = self.groups.ports().iter().map(|port| port.relative_id).collect();
        match self.shared.after(who, wish, &ports) {
            Ok(next) if next == self.shared => Decision::Answer(Response::good()),
            Ok(next) => Decision::Do(document::record(&next)),
            Err(Refusal::Conflict) => Decision::Answer(Response::status(Status::ReservationConflict)),
            Err(Refusal::Check(sense)) => Decision::Answer(Response::check(sense)),
        }
    }
}

/// What `nexus` has to be told of what has changed in between.
fn lost(before: &State, after: &State, nexus: &reservation::Nexus) -> Vec<Attention> {
    let is_registered = |state: &State| state.table.key_of(nexus).is_some();
    let has = |state: &State| state.reserved_by.as_ref() == Some(nexus);
    let mut news = Vec::new();
    if is_registered(before) && !is_registered(after) {
        news.push(Attention::RegistrationsPreempted);
    } else if has(before) && !has(after) {
        news.push(Attention::PowerOn);
    }
    if before.medium.ejected && !after.medium.ejected {
        news.push(Attention::MediumMayHaveChanged);
    }
    if before.protected != after.protected {
        news.push(Attention::ModeParametersChanged);
    }
    news
}

#[cfg(test)]
mod tests;
