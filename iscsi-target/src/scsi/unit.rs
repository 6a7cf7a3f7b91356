//! A logical unit as one head presents it: who talks to it, what they must be told, and the gate that every command
//! passes.
//!
//! The gate, in order: opcode table and reserved bits, unit attention, access state, SANITIZE, medium, write protection,
//! reservation (`shared`); ranges are checked by the command itself. REPORT TARGET PORT GROUPS is not stopped by the news "access
//! state changed", which it reports itself: Linux would ask again two seconds later only.

mod copies;
mod shared;

use std::collections::BTreeMap;

use alua::access::{self, Gate};
use alua::{AccessState, GroupId, PortGroups, StatusCode};

use crate::scsi::attention::{Attention, Attentions};
use crate::scsi::block::{self, BlockIo};
use crate::scsi::config::UnitConfig;
use crate::scsi::copy;
use crate::scsi::copy::list::ParameterList;
use crate::scsi::copy::results::Results;
use crate::scsi::decode::{BlockCommand, Extent, Operation, StartStop};
use crate::scsi::opcodes::{self, Direction, Order, Reserved, Row};
use crate::scsi::protection::Protection;
use crate::scsi::sense::{Sense, SenseCode, SenseKey};
use crate::scsi::shared::state::State;
use crate::scsi::{
    Command, InitiatorPort, NexusId, Response, Status, capacity, defects, inquiry, log, missing_lun, mode, port_groups,
    provisioning, report_opcodes, reservation, vpd,
};

pub use shared::{Decision, Then, Wished};

/// What this head is to the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It owns the unit: active/optimized.
    Serving,
    /// The other head owns it, and this one sends on to it what is wanted: active/non-optimized.
    Forwarding,
    /// The other head owns it.
    Standby,
    /// Its role is in change: what can wait waits.
    Changing,
    /// Nobody can serve the unit.
    Unavailable,
}

impl Access {
    const fn state(self) -> AccessState {
        match self {
            Self::Serving => AccessState::ActiveOptimized,
            Self::Forwarding => AccessState::ActiveNonOptimized,
            Self::Standby => AccessState::Standby,
            Self::Changing => AccessState::Transitioning,
            Self::Unavailable => AccessState::Unavailable,
        }
    }
}

/// What becomes of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Done(Response),
    /// Do this, then answer with [`block::finish`].
    Io(BlockIo),
    /// Answer with [`crate::scsi::report_luns::report`]: the list is the target's.
    ReportLuns,
    /// Present it again when the access has changed.
    Hold,
    /// Ask the owner, then answer with [`crate::scsi::shared::relay::parse_answer`].
    Ask(Vec<u8>),
    /// [`LogicalUnit::decide`] on this in its turn.
    Change(Wished),
    /// SET TARGET PORT GROUPS: make this group active, then answer with [`port_groups::switched`].
    SwitchTo(GroupId),
    /// EXTENDED COPY: execute this from [`LogicalUnit::begin_copy`] to [`LogicalUnit::end_copy`].
    Copy(ParameterList),
}

impl From<Response> for Verdict {
    fn from(response: Response) -> Self {
        Self::Done(response)
    }
}

impl From<Sense> for Verdict {
    fn from(sense: Sense) -> Self {
        Self::Done(Response::check(sense))
    }
}

#[derive(Debug)]
struct Nexus {
    name: reservation::Nexus,
    /// It may only read.
    protected: bool,
    /// A reservation that it has no part in.
    barred_by: Option<Reserved>,
    attentions: Attentions,
    copies: Results,
}

/// One logical unit; see the module.
#[derive(Debug)]
pub struct LogicalUnit {
    config: UnitConfig,
    access: Access,
    active_group: Option<GroupId>,
    /// The ports of the other group are on this head, too.
    has_both: bool,
    /// The other head sends on to this one, while this one serves.
    other_forwards: bool,
    groups: PortGroups,
    nexuses: BTreeMap<NexusId, Nexus>,
    /// What both heads go by, as far as this one has heard.
    shared: State,
}

impl LogicalUnit {
    /// A unit that no head serves yet.
    ///
    /// # Panics
    /// If `config` breaks a bound that its fields name.
    #[must_use]
    pub fn new(config: UnitConfig) -> Self {
        config.assert_bounds();
        let groups = PortGroups::new(config.ports.clone(), AccessState::Unavailable);
        Self {
            config,
            access: Access::Unavailable,
            active_group: None,
            has_both: false,
            other_forwards: false,
            groups,
            nexuses: BTreeMap::new(),
            shared: State::default(),
        }
    }

    /// What the unit is.
    #[must_use]
    pub const fn config(&self) -> &UnitConfig {
        &self.config
    }

    /// What this head is to the unit.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }

    /// The port groups as they are reported.
    #[must_use]
    pub const fn port_groups(&self) -> &PortGroups {
        &self.groups
    }

    /// Who is logged in.
    pub fn nexuses(&self) -> impl Iterator<Item = (NexusId, &InitiatorPort)> {
        self.nexuses.iter().map(|(id, nexus)| (*id, &nexus.name.initiator))
    }

    /// A nexus has come up through the target port `relative_port`; it is told of the power on first.
    pub fn add_nexus(&mut self, nexus: NexusId, initiator: InitiatorPort, relative_port: u16) {
        let mut attentions = Attentions::default();
        attentions.raise(Attention::PowerOn);
        let protected = self.config.protection.covers(&initiator.name);
        let name = reservation::Nexus { initiator, relative_port };
        let copies = Results::default();
        self.nexuses.insert(nexus, Nexus { name, protected, barred_by: None, attentions, copies });
        self.bar();
    }

    /// A nexus is gone; see [`LogicalUnit::left_behind`].
    pub fn remove_nexus(&mut self, nexus: NexusId) {
        self.nexuses.remove(&nexus);
        self.bar();
    }

    /// Whether the nexus is one of this unit's. For one that is not, the unit is not there.
    #[must_use]
    pub fn has_nexus(&self, nexus: NexusId) -> bool {
        self.nexuses.contains_key(&nexus)
    }

    /// Tell one nexus of `attention`.
    pub fn raise_for(&mut self, nexus: NexusId, attention: Attention) {
        if let Some(nexus) = self.nexuses.get_mut(&nexus) {
            nexus.attentions.raise(attention);
        }
    }

    /// Tell every nexus of `attention`.
    pub fn raise(&mut self, attention: Attention) {
        for nexus in self.nexuses.values_mut() {
            nexus.attentions.raise(attention);
        }
    }

    /// Tell every nexus but `known_to`, who did it.
    fn raise_for_others(&mut self, known_to: &reservation::Nexus, attention: Attention) {
        for nexus in self.nexuses.values_mut().filter(|nexus| nexus.name != *known_to) {
            nexus.attentions.raise(attention);
        }
    }

    /// A nexus has learnt of `attention` in another way.
    pub fn forget(&mut self, nexus: NexusId, attention: Attention) {
        if let Some(nexus) = self.nexuses.get_mut(&nexus) {
            nexus.attentions.forget(attention);
        }
    }

    /// From now on `protection` says who may not change blocks; each nexus for which that makes a difference is told.
    pub fn set_protection(&mut self, protection: Protection) {
        for nexus in self.nexuses.values_mut() {
            let before = std::mem::replace(&mut nexus.protected, protection.covers(&nexus.name.initiator.name));
            if before != nexus.protected {
                nexus.attentions.raise(Attention::ModeParametersChanged);
            }
        }
        self.config.protection = protection;
    }

    /// Whether a nexus may only read; one that is not known (any more) may not change anything that is protected at all.
    fn is_protected_from(&self, nexus: NexusId) -> bool {
        self.is_software_protected()
            || self.nexuses.get(&nexus).map_or_else(|| self.config.protection.covers(""), |nexus| nexus.protected)
    }

    /// The unit has become larger.
    pub fn set_blocks(&mut self, blocks: u64) {
        self.config.blocks = blocks;
        self.config.assert_bounds();
        self.raise(Attention::CapacityChanged);
    }

    /// LOGICAL UNIT RESET, or a reset of the whole target: whoever caused it is told as well.
    pub fn reset(&mut self) {
        self.nexuses.values_mut().for_each(|nexus| nexus.copies.clear());
        self.raise(Attention::Reset);
    }

    /// This head's role is now `access`, and `active_group` is active/optimized (of no meaning while it changes: until
    /// it has changed, the last known states count). Commands on hold are to be presented again.
    pub fn set_access(&mut self, access: Access, active_group: Option<GroupId>) {
        self.access = access;
        if access == Access::Changing {
            return;
        }
        self.active_group = active_group;
        self.set_states();
    }

    /// Whether all ports of the other group are on this head, because the other head is gone: what this one can do is
    /// to be had through them.
    pub fn set_has_both(&mut self, has_both: bool) {
        self.has_both = has_both;
        if self.access != Access::Changing {
            self.set_states();
        }
    }

    /// Whether the other head sends on to this one what its clients want, when this one serves.
    pub fn set_other_forwards(&mut self, other_forwards: bool) {
        self.other_forwards = other_forwards;
        if self.access != Access::Changing {
            self.set_states();
        }
    }

    fn set_states(&mut self) {
        let (access, active_group) = (self.access, self.active_group);
        let passive = |mine: bool| match access {
            Access::Unavailable if mine || active_group.is_none() => AccessState::Unavailable,
            Access::Serving if self.other_forwards => AccessState::ActiveNonOptimized,
            Access::Forwarding if mine => AccessState::ActiveNonOptimized,
            _ => AccessState::Standby,
        };
        let states = PortGroups::IDS.map(|id| {
            let mine = id == self.config.my_group;
            let active = match access {
                Access::Serving => mine || self.has_both,
                _ => !mine && active_group == Some(id),
            };
            if active { AccessState::ActiveOptimized } else { passive(mine) }
        });
        let changed = self.groups.set(states, StatusCode::ByImplicitBehaviour);
        if changed.expect("neither group is ever offline") {
            self.raise(Attention::AccessStateChanged);
        }
    }

    /// What becomes of `command`.
    #[must_use]
    pub fn handle(&mut self, command: &Command) -> Verdict {
        let (row, operation) = match opcodes::parse(&command.cdb) {
            Ok(parsed) => parsed,
            Err(sense) => return sense.into(),
        };
        if !self.config.offers(row) {
            let is_known = opcodes::rows_of(row.opcode()).any(|row| self.config.offers(row));
            let sense =
                if is_known { Sense::invalid_cdb(1, Some(4)) } else { SenseCode::INVALID_OPERATION_CODE.into() };
            return sense.into();
        }
        if let Err(verdict) = self.admit(command.nexus, row, &operation) {
            return verdict;
        }
        let mut verdict = self.execute(command, operation);
        if let Verdict::Done(response) = &mut verdict
            && row.direction != Direction::Out
            && command.data_out.is_some()
        {
            response.data_out_wanted = Some(0);
        }
        verdict
    }

    /// The gate.
    fn admit(&mut self, nexus: NexusId, row: &Row, operation: &Operation) -> Result<(), Verdict> {
        if let Some(attention) = self.attention_before(nexus, operation) {
            return Err(Response::unit_attention(attention).into());
        }
        self.pass(nexus, row)
    }

    /// The rest of it, which a copy that involves the unit has to pass as well.
    fn pass(&self, nexus: NexusId, row: &Row) -> Result<(), Verdict> {
        match access::gate(self.access.state(), row.class) {
            Gate::Allow => {}
            Gate::Hold => return Err(Verdict::Hold),
            Gate::Refuse(why) => {
                return Err(Sense::from(SenseCode { key: SenseKey::NotReady, asc: why.asc, ascq: why.ascq }).into());
            }
        }
        if let Some(sense) = self.followed().and_then(|shared| shared.refuses(row, self.config.blocks)) {
            return Err(sense.into());
        }
        if row.order == Order::Write && self.is_protected_from(nexus) {
            return Err(Sense::from(SenseCode::WRITE_PROTECTED).into());
        }
        let barred_by = self.nexuses.get(&nexus).and_then(|nexus| nexus.barred_by);
        if barred_by.is_some_and(|held| row.reservation.conflicts_with(held)) {
            return Err(Response::status(Status::ReservationConflict).into());
        }
        Ok(())
    }

    /// What both heads go by, if this one does.
    fn followed(&self) -> Option<&State> {
        matches!(self.access, Access::Serving | Access::Forwarding).then_some(&self.shared)
    }

    /// SWP, as initiators have set it.
    fn is_software_protected(&self) -> bool {
        self.followed().is_some_and(|shared| shared.protected)
    }

    /// The attention that goes out instead of the command (SAM-5 5.14).
    fn attention_before(&mut self, nexus: NexusId, operation: &Operation) -> Option<Attention> {
        let attentions = &mut self.nexuses.get_mut(&nexus)?.attentions;
        match operation {
            Operation::Inquiry { .. } | Operation::RequestSense { .. } => None,
            Operation::ReportLuns { .. } => {
                attentions.forget(Attention::ReportedLunsChanged);
                None
            }
            Operation::ReportTargetPortGroups { .. } => {
                attentions.forget(Attention::AccessStateChanged);
                attentions.take()
            }
            _ => attentions.take(),
        }
    }

    fn execute(&mut self, command: &Command, operation: Operation) -> Verdict {
        let config = &self.config;
        match operation {
            Operation::TestUnitReady => Response::good().into(),
            Operation::RequestSense { descriptor, allocation } => {
                self.request_sense(command.nexus, descriptor, allocation).into()
            }
            Operation::Inquiry { evpd: false, page: 0, allocation } => {
                Response::parameters(inquiry::standard(config), allocation).into()
            }
            Operation::Inquiry { evpd: false, .. } => Sense::invalid_cdb(2, Some(7)).into(),
            Operation::Inquiry { evpd: true, page, allocation } => self.vpd(command.nexus, page, allocation).into(),
            Operation::ReportLuns { .. } => Verdict::ReportLuns,
            Operation::ReadCapacity10 => capacity::read_capacity_10(config).into(),
            Operation::ReadCapacity16 { allocation } => capacity::read_capacity_16(config, allocation).into(),
            Operation::ReadDefectData(request) => defects::read_defect_data(&request).into(),
            Operation::GetLbaStatus { lba, allocation } => {
                provisioning::get_lba_status(config, command, lba, allocation)
            }
            Operation::LogSense { page_control, page, subpage, pointer, allocation } => {
                log::sense(page_control, page, subpage, pointer, allocation).into()
            }
            Operation::ModeSense(request) => {
                let protected = self.is_protected_from(command.nexus);
                mode::sense(config, protected, self.is_software_protected(), &request).into()
            }
            Operation::ModeSelect { ten, length } => self.mode_select(command, ten, length),
            Operation::ReportTargetPortGroups { extended, allocation } => {
                port_groups::report(&self.groups, extended, allocation).into()
            }
            Operation::SetTargetPortGroups { length } => {
                port_groups::set(&self.groups, length, command.data_out.as_deref())
            }
            Operation::ReportSupportedOperationCodes(request) => {
                report_opcodes::operation_codes(config, &request).into()
            }
            Operation::ReportSupportedTaskManagementFunctions { extended, allocation } => {
                report_opcodes::task_management_functions(extended, allocation).into()
            }
            Operation::StartStopUnit(asked) if !asked.moves_medium() => self.start_stop(command, asked),
            Operation::StartStopUnit(_)
            | Operation::PreventAllowMediumRemoval { .. }
            | Operation::Sanitize { .. }
            | Operation::Reserve
            | Operation::Release
            | Operation::PersistentReserveIn { .. }
            | Operation::PersistentReserveOut { .. } => self.shared_command(command, operation),
            Operation::Block(block) => block::begin(config, command, block),
            Operation::ExtendedCopy { length } => match copy::list::parse(length, command.data_out.as_deref()) {
                Ok(Some(list)) => Verdict::Copy(list),
                Ok(None) => Response::good().into(),
                Err(sense) => sense.into(),
            },
            Operation::ReceiveCopyStatus { identifier, allocation } => {
                self.copy_result(command.nexus, allocation, |copies| copies.status(identifier)).into()
            }
            Operation::ReceiveCopyOperatingParameters { allocation } => {
                Response::parameters(copy::offer::operating_parameters(config), allocation).into()
            }
            Operation::ReceiveCopyFailureDetails { identifier, allocation } => {
                self.copy_result(command.nexus, allocation, |copies| copies.failure_details(identifier)).into()
            }
        }
    }

    /// START STOP UNIT that leaves the medium where it is.
    fn start_stop(&self, command: &Command, asked: StartStop) -> Verdict {
        if self.shared.medium.ejected {
            return Sense::from(SenseCode::MEDIUM_NOT_PRESENT).into();
        }
        if asked.flushes() { self.flush_all(command) } else { Response::good().into() }
    }

    /// Everything becomes stable before the answer.
    fn flush_all(&self, command: &Command) -> Verdict {
        let to_the_end = Extent { lba: 0, blocks: 0 };
        block::begin(&self.config, command, BlockCommand::SynchronizeCache { extent: to_the_end })
    }

    /// MODE SELECT. A head that nobody follows cannot write-protect the unit.
    fn mode_select(&self, command: &Command, ten: bool, length: u32) -> Verdict {
        let protected = self.is_software_protected();
        match mode::select(&self.config, protected, ten, length, command.data_out.as_deref()) {
            Ok(swp) if swp == protected => Response::good().into(),
            Ok(_) if self.followed().is_none() => Sense::from(SenseCode::STANDBY).into(),
            Ok(_) => self.shared_command(command, Operation::ModeSelect { ten, length }),
            Err(sense) => sense.into(),
        }
    }

    /// REQUEST SENSE (SPC-4 6.39): a waiting unit attention is reported as data, and so is done with. Then what a command
    /// for the medium would be told of SANITIZE.
    fn request_sense(&mut self, nexus: NexusId, descriptor: bool, allocation: u32) -> Response {
        let waiting = self.nexuses.get_mut(&nexus).and_then(|nexus| nexus.attentions.take());
        let now = self.followed().and_then(|shared| shared.sanitize.as_ref());
        let sanitize = || now.map(|now| now.sense(self.config.blocks));
        let sense = waiting.map(|attention| attention.code().into()).or_else(sanitize);
        missing_lun::sense_as_data(sense.unwrap_or(SenseCode::NO_SENSE.into()), descriptor, allocation)
    }

    fn vpd(&self, nexus: NexusId, page: u8, allocation: u32) -> Response {
        let relative_id = self.nexuses.get(&nexus).map(|nexus| nexus.name.relative_port);
        let port = self.groups.ports().iter().find(|port| Some(port.relative_id) == relative_id);
        match vpd::page(&self.config, self.groups.ports(), port, page) {
            Some(bytes) => Response::parameters(bytes, allocation),
            None => Response::check(Sense::invalid_cdb(2, Some(7))),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
