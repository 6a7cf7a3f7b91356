//! A head's connections: what the daemon's shell around the session core does, with the promises that it gives.
//!
//! * A session that the same initiator port had before ends with all its tasks before the new one is let in.
//! * An abort is answered when nothing of the task can appear any more.
//! * What reached the head before it began to serve is marked, and not executed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iscsi_target::pdu::task_mgmt::FunctionResponse;
use iscsi_target::scsi::{Command, InitiatorPort, NexusId};
use iscsi_target::session::access::{AccessPolicy, Challenge, Entrance};
use iscsi_target::session::{
    Budget, Connection, Event, LoginDetails, PortalAddress, PortalConfig, TaskManagementEvent, TaskManagementFunction,
    TaskManagementId,
};
use sas_backend::HeadId;

use super::TARGET;
use super::unit::Unit;
use super::wire::{End, Packet};
use crate::world::{World, slot_of};

const BUDGET_BYTES: u64 = 64 << 20;

/// The connections of one life of a head.
pub(in crate::world) struct Portal {
    pub(super) unit: Unit,
    pub(super) connections: BTreeMap<NexusId, Guest>,
    last_nexus: u64,
    last_tsih: u16,
    /// Counts the moments at which the unit began to be served here.
    pub(super) mark: u64,
    endings: Vec<Ending>,
}

/// One connection.
pub(super) struct Guest {
    pub(super) core: Connection,
    wire: u64,
    port: Option<InitiatorPort>,
}

/// Something that waits until requests have ended.
struct Ending {
    left: BTreeSet<u64>,
    then: Then,
}

enum Then {
    Nothing,
    Answer(NexusId, TaskManagementId),
    LetIn { nexus: NexusId, details: LoginDetails, old: Vec<NexusId> },
    LetOut(NexusId),
}

impl Portal {
    pub(in crate::world) fn new(of: HeadId, blocks: u64) -> Self {
        Self {
            unit: Unit::new(of, blocks),
            connections: BTreeMap::new(),
            last_nexus: 0,
            last_tsih: 0,
            mark: 0,
            endings: Vec::new(),
        }
    }

    fn nexus_of(&self, wire: u64) -> Option<NexusId> {
        self.connections.iter().find(|(_, guest)| guest.wire == wire).map(|(nexus, _)| *nexus)
    }
}

fn portal_config(of: HeadId) -> PortalConfig {
    let tag = |head: HeadId| u16::try_from(head.index() + 1).expect("two heads");
    let at = |head: HeadId| PortalAddress {
        target_portal_group_tag: tag(head),
        address: format!("192.0.2.{}:3260", head.index() + 1),
    };
    PortalConfig {
        target_name: TARGET.to_owned(),
        target_alias: "simulated".to_owned(),
        target_portal_group_tag: tag(of),
        portals: HeadId::BOTH.map(at).to_vec(),
    }
}

impl World {
    pub(super) fn portal(&mut self, of: HeadId) -> Option<&mut Portal> {
        self.slots[slot_of(of)].portal.as_mut()
    }

    /// A host has connected.
    pub(super) fn accept(&mut self, wire: u64) {
        let Some(of) = self.wires.all.get(&wire).map(|wire| wire.path) else { return };
        let now = self.now;
        let Some(portal) = self.portal(of) else { return };
        let challenge = Challenge { identifier: 1, value: *b"0123456789abcdef" };
        let policy = Arc::new(AccessPolicy::default());
        let entrance = Entrance { policy, admits_address: true, is_full: false, challenge };
        let pool = portal.unit.pool.clone();
        let mut core = Connection::new(Arc::new(portal_config(of)), entrance, pool, Budget::new(BUDGET_BYTES), now);
        core.set_arrival_mark(portal.mark);
        portal.last_nexus += 1;
        portal.connections.insert(NexusId(portal.last_nexus), Guest { core, wire, port: None });
    }

    /// Something has arrived for a head, which reads it if it is not stopped.
    pub(super) fn read_at_target(&mut self, wire: u64) -> Result<(), String> {
        let Some((of, life)) = self.wires.all.get(&wire).map(|wire| (wire.path, wire.life)) else { return Ok(()) };
        let slot = &self.slots[slot_of(of)];
        if slot.paused_until > self.now || life != Some(slot.life) {
            return Ok(());
        }
        loop {
            if !self.feed(of, wire) {
                break;
            }
            self.dispatch(of, wire)?;
        }
        self.dispatch(of, wire)?;
        if self.wires.all.get(&wire).is_some_and(|wire| wire.reset[0]) {
            self.remove_connection(of, wire)?;
        }
        Ok(())
    }

    /// A stopped head goes on: everything that has arrived meanwhile is read.
    pub(in crate::world) fn read_all_at(&mut self, of: HeadId) -> Result<(), String> {
        let wires = self.wires.all.iter().filter(|(_, wire)| wire.path == of && wire.open[0]);
        let wires: Vec<u64> = wires.map(|(number, _)| *number).collect();
        wires.into_iter().try_for_each(|wire| self.read_at_target(wire))
    }

    /// Whether the core has taken anything.
    fn feed(&mut self, of: HeadId, wire: u64) -> bool {
        let now = self.now;
        let Self { slots, wires, .. } = self;
        let Some(portal) = &mut slots[slot_of(of)].portal else { return false };
        let mark = portal.mark;
        let Some(guest) = portal.connections.values_mut().find(|guest| guest.wire == wire) else { return false };
        let Some(inbox) = wires.inbox(wire, End::Target) else { return false };
        let mut count = 0;
        for mut slice in guest.core.recv_slices() {
            for byte in slice.iter_mut() {
                let Some(next) = inbox.pop_front() else { break };
                *byte = next;
                count += 1;
            }
        }
        if count > 0 {
            guest.core.received(count, now);
        }
        if inbox.is_empty() {
            // Everything that had reached the head is read.
            guest.core.set_arrival_mark(mark);
        }
        count > 0
    }

    /// Act on what was received, and send what there is to be said.
    fn dispatch(&mut self, of: HeadId, wire: u64) -> Result<(), String> {
        loop {
            let Some(portal) = self.portal(of) else { return Ok(()) };
            let Some(nexus) = portal.nexus_of(wire) else { return Ok(()) };
            let Some(guest) = portal.connections.get_mut(&nexus) else { return Ok(()) };
            let mut bytes = Vec::new();
            while let Some(transmit) = guest.core.poll_transmit() {
                bytes.extend(transmit.to_vec());
            }
            let event = guest.core.poll_event();
            if !bytes.is_empty() {
                self.transmit(wire, End::Host, Packet::Bytes(bytes));
            }
            match event {
                None => return Ok(()),
                Some(Event::Command(command)) => {
                    let arrival = command.arrival;
                    let task = command.task;
                    let command = Command {
                        nexus,
                        cdb: command.cdb,
                        attribute: command.attribute,
                        data_out: command.data_out,
                        data_in_max: command.data_in_max,
                    };
                    self.on_command(of, nexus, task, command, arrival)?;
                }
                Some(Event::TaskManagement(request)) => self.on_task_management(of, nexus, request)?,
                Some(Event::LoginComplete(details)) => self.on_login(of, nexus, details)?,
                Some(Event::LoggedOut) => {
                    let left = self.end_tasks(of, nexus, None);
                    self.when_ended(of, left, Then::LetOut(nexus))?;
                }
                Some(Event::LoginDenied(denied)) => return Err(format!("a host was not let in: {denied:?}")),
                Some(Event::Close(reason)) => {
                    self.note(|| format!("{of}: connection closed: {reason}"));
                    return self.remove_connection(of, wire);
                }
            }
        }
    }

    fn on_task_management(&mut self, of: HeadId, nexus: NexusId, request: TaskManagementEvent) -> Result<(), String> {
        let task = match request.function {
            TaskManagementFunction::AbortTask { task, .. } => Some(task),
            TaskManagementFunction::AbortTaskSet { .. } => None,
            other => return Err(format!("no host asks for {other:?}")),
        };
        self.note(|| format!("{of}: {:?}", request.function));
        let left = self.end_tasks(of, nexus, task);
        self.when_ended(of, left, Then::Answer(nexus, request.id))
    }

    fn on_login(&mut self, of: HeadId, nexus: NexusId, details: LoginDetails) -> Result<(), String> {
        let Some(portal) = self.portal(of) else { return Ok(()) };
        let is_old = |guest: &Guest| guest.port.as_ref() == Some(&details.initiator);
        let old: Vec<NexusId> =
            portal.connections.iter().filter(|(_, guest)| is_old(guest)).map(|(nexus, _)| *nexus).collect();
        let mut left = BTreeSet::new();
        for nexus in &old {
            self.note(|| format!("{of}: session reinstated"));
            self.count("sessions reinstated");
            let wire = self.portal(of).and_then(|portal| portal.connections.get(nexus)).map(|guest| guest.wire);
            left.extend(self.end_tasks(of, *nexus, None));
            if let Some(wire) = wire {
                self.close_wire(wire, End::Target);
            }
        }
        self.when_ended(of, left, Then::LetIn { nexus, details, old })
    }

    fn when_ended(&mut self, of: HeadId, left: BTreeSet<u64>, then: Then) -> Result<(), String> {
        if left.is_empty() {
            return self.after_the_end(of, then);
        }
        if let Some(portal) = self.portal(of) {
            portal.endings.push(Ending { left, then });
        }
        Ok(())
    }

    /// A request of the unit has ended.
    pub(super) fn on_ended(&mut self, of: HeadId, key: u64) -> Result<(), String> {
        let Some(portal) = self.portal(of) else { return Ok(()) };
        let mut ended = Vec::new();
        for ending in &mut portal.endings {
            ending.left.remove(&key);
        }
        while let Some(at) = portal.endings.iter().position(|ending| ending.left.is_empty()) {
            ended.push(portal.endings.remove(at).then);
        }
        ended.into_iter().try_for_each(|then| self.after_the_end(of, then))
    }

    /// Whether somebody waits for the end of a request.
    pub(super) fn is_ended(&mut self, of: HeadId, key: u64) -> bool {
        self.portal(of).is_some_and(|portal| portal.endings.iter().any(|ending| ending.left.contains(&key)))
    }

    fn after_the_end(&mut self, of: HeadId, then: Then) -> Result<(), String> {
        let Some(portal) = self.portal(of) else { return Ok(()) };
        let nexus = match then {
            Then::Nothing => return Ok(()),
            Then::Answer(nexus, id) => {
                if let Some(guest) = portal.connections.get_mut(&nexus) {
                    guest.core.handle_task_management_done(id, FunctionResponse::Complete);
                }
                nexus
            }
            Then::LetOut(nexus) => {
                if let Some(guest) = portal.connections.get_mut(&nexus) {
                    guest.core.handle_logged_out();
                }
                nexus
            }
            Then::LetIn { nexus, details, old } => {
                for old in old {
                    portal.unit.core.remove_nexus(old);
                    portal.connections.remove(&old);
                }
                let Some(guest) = portal.connections.get_mut(&nexus) else { return Ok(()) };
                portal.last_tsih += 1;
                guest.port = Some(details.initiator.clone());
                portal.unit.core.add_nexus(nexus, details.initiator, super::unit::relative_port(of));
                guest.core.handle_login_granted(portal.last_tsih);
                nexus
            }
        };
        self.flush_to(of, nexus)
    }

    /// A connection has something to say.
    pub(in crate::world) fn flush_to(&mut self, of: HeadId, nexus: NexusId) -> Result<(), String> {
        let wire = self.portal(of).and_then(|portal| portal.connections.get(&nexus)).map(|guest| guest.wire);
        // What it was sent may wait for room.
        wire.map_or(Ok(()), |wire| self.dispatch_later(of, wire))
    }

    fn dispatch_later(&mut self, of: HeadId, wire: u64) -> Result<(), String> {
        self.dispatch(of, wire)?;
        while self.feed(of, wire) {
            self.dispatch(of, wire)?;
        }
        Ok(())
    }

    /// A connection is gone: what it wanted and has not begun must not happen any more.
    fn remove_connection(&mut self, of: HeadId, wire: u64) -> Result<(), String> {
        self.close_wire(wire, End::Target);
        let Some(nexus) = self.portal(of).and_then(|portal| portal.nexus_of(wire)) else { return Ok(()) };
        let left = self.end_tasks(of, nexus, None);
        self.when_ended(of, left, Then::Nothing)?;
        if let Some(portal) = self.portal(of) {
            portal.unit.core.remove_nexus(nexus);
            portal.connections.remove(&nexus);
        }
        Ok(())
    }

    /// The head was fenced: every session ends without another answer.
    pub(in crate::world) fn close_sessions(&mut self, of: HeadId) -> Result<(), String> {
        let wires: Vec<u64> = self
            .portal(of)
            .into_iter()
            .flat_map(|portal| portal.connections.values().map(|guest| guest.wire))
            .collect();
        wires.into_iter().try_for_each(|wire| self.remove_connection(of, wire))
    }

    /// Some time has passed for a head.
    pub(in crate::world) fn tick_portal(&mut self, of: HeadId) -> Result<(), String> {
        let now = self.now;
        let Some(portal) = self.portal(of) else { return Ok(()) };
        let mut due = Vec::new();
        for (nexus, guest) in &mut portal.connections {
            if guest.core.poll_timeout().is_some_and(|at| at <= now) {
                guest.core.handle_timer(now);
                due.push(*nexus);
            }
        }
        due.into_iter().try_for_each(|nexus| self.flush_to(of, nexus))?;
        self.give_up_holding(of)
    }
}
