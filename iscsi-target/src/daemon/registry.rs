//! Who is here: the units of this head, and the connections to it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use replication::head::Event;

use super::access::Access;
use super::admission::{Admission, Standing, Verdict};
use super::batch::Batch;
use super::config::{ClientLimits, Lun as LunConfig};
use super::connection::ConnectionHandle;
use super::lun::{Lun, Victims};
use crate::scsi::attention::Attention;
use crate::scsi::lun::Lun as LunNumber;
use crate::scsi::sense::Sense;
use crate::scsi::{InitiatorPort, NexusId};
use crate::session::{AsyncNotice, Budget};

/// All units and connections of this process.
pub(crate) struct Registry {
    slots: RefCell<BTreeMap<u8, Slot>>,
    access: RefCell<Rc<Access>>,
    stopping: Cell<bool>,
    connections: RefCell<BTreeMap<NexusId, Rc<ConnectionHandle>>>,
    admission: RefCell<Admission>,
    budget: Budget,
    batch: Batch,
    /// Another one whenever a connection has come or gone.
    connections_state: Cell<u64>,
    last_nexus: Cell<u64>,
    last_tsih: Cell<u16>,
    /// Counts the moments at which a unit began to be served here; see [`Registry::mark`].
    mark: Cell<u64>,
}

/// A configured unit.
enum Slot {
    Open(Rc<Lun>),
    Failed { config: LunConfig, why: String },
}

impl Registry {
    /// Nobody is here yet; later there may be so many.
    pub(crate) fn new(limits: ClientLimits) -> Self {
        Self {
            slots: RefCell::default(),
            access: RefCell::default(),
            stopping: Cell::default(),
            connections: RefCell::default(),
            admission: RefCell::new(Admission::new(limits)),
            budget: Budget::new(limits.bytes),
            batch: Batch::default(),
            connections_state: Cell::default(),
            last_nexus: Cell::default(),
            last_tsih: Cell::default(),
            mark: Cell::default(),
        }
    }

    /// Memory for the data of all connections.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Somebody has connected: what becomes of it. Whoever is not closed is counted until
    /// [`Registry::remove_connection`].
    pub(crate) fn arrived(&self, from: SocketAddr, now_ms: u64) -> Verdict {
        let mut admission = self.admission.borrow_mut();
        let verdict = admission.arrived(from.ip());
        if let Verdict::TurnAway(excess) | Verdict::Close(excess) = verdict
            && admission.is_news(from.ip(), now_ms)
        {
            tracing::warn!(from = %from.ip(), "connections are turned away: {excess}");
        }
        verdict
    }

    /// Somebody who was logging in has logged in.
    pub(crate) fn logged_in(&self, from: SocketAddr) {
        self.admission.borrow_mut().logged_in(from.ip());
    }

    /// Somebody who was counted has gone before there was a connection.
    pub(crate) fn gone(&self, from: SocketAddr, standing: Standing) {
        self.admission.borrow_mut().gone(from.ip(), standing);
    }

    /// The batch that collects all output.
    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Present a unit to initiators.
    pub(crate) fn add_lun(&self, lun: &Rc<Lun>) {
        let seers: Vec<_> =
            self.connections.borrow().values().filter(|connection| connection.sees(lun)).cloned().collect();
        seers.iter().for_each(|connection| self.list_changes_for(connection));
        self.slots.borrow_mut().insert(lun.id(), Slot::Open(Rc::clone(lun)));
        seers.iter().for_each(|connection| connection.join(lun));
    }

    /// A unit has other settings: it may be there for others than before. What somebody has sent who does not see it
    /// any more is still done, and answered.
    pub(crate) fn mask_changed(&self, lun: &Rc<Lun>) {
        let connections: Vec<_> = self.connections.borrow().values().cloned().collect();
        for connection in connections {
            let (nexus, sees) = (connection.nexus(), connection.sees(lun));
            if sees == lun.has_nexus(nexus) {
                continue;
            }
            if sees {
                self.list_changes_for(&connection);
                connection.join(lun);
            } else {
                lun.remove_nexus(nexus);
                self.list_changes_for(&connection);
            }
        }
    }

    /// A unit is configured that cannot be opened, and `why`.
    pub(crate) fn add_failed(&self, config: LunConfig, why: String) {
        self.slots.borrow_mut().insert(config.id, Slot::Failed { config, why });
    }

    /// A unit is not configured any more.
    pub(crate) fn remove_lun(&self, id: u8) {
        let removed = self.slots.borrow_mut().remove(&id);
        if let Some(Slot::Open(lun)) = removed {
            for connection in self.connections.borrow().values().filter(|of| lun.has_nexus(of.nexus())) {
                self.list_changes_for(connection);
            }
        }
    }

    /// All units that are open, by number.
    pub(crate) fn luns(&self) -> Vec<Rc<Lun>> {
        self.slots.borrow().values().filter_map(Slot::open).cloned().collect()
    }

    /// The unit with this number, if it is open.
    pub(crate) fn lun(&self, id: u8) -> Option<Rc<Lun>> {
        self.slots.borrow().get(&id).and_then(Slot::open).cloned()
    }

    /// The units that could not be opened, and why.
    pub(crate) fn failed(&self) -> Vec<(LunConfig, String)> {
        let failed = |slot: &Slot| match slot {
            Slot::Failed { config, why } => Some((config.clone(), why.clone())),
            Slot::Open(_) => None,
        };
        self.slots.borrow().values().filter_map(failed).collect()
    }

    /// All units, as they are configured now.
    pub(crate) fn configured(&self) -> BTreeMap<u8, LunConfig> {
        let config = |slot: &Slot| match slot {
            Slot::Open(lun) => LunConfig::clone(&lun.config()),
            Slot::Failed { config, .. } => config.clone(),
        };
        self.slots.borrow().iter().map(|(id, slot)| (*id, config(slot))).collect()
    }

    /// The units that are there for a nexus, by number.
    pub(crate) fn luns_of(&self, nexus: NexusId) -> Vec<Rc<Lun>> {
        self.luns().into_iter().filter(|lun| lun.has_nexus(nexus)).collect()
    }

    /// The numbers of the units that are there for a nexus, as initiators use them.
    pub(crate) fn lun_numbers(&self, nexus: NexusId) -> Vec<LunNumber> {
        self.luns_of(nexus).iter().filter_map(|lun| lun.number()).collect()
    }

    /// Who may log in.
    pub(crate) fn access(&self) -> Rc<Access> {
        Rc::clone(&self.access.borrow())
    }

    /// From now on `access` says who may log in. Who may no longer, and who is not logged in yet, has to try again; how
    /// many sessions were ended by that.
    pub(crate) fn set_access(&self, access: Access) -> usize {
        self.access.replace(Rc::new(access));
        let access = self.access();
        let is_over = |connection: &ConnectionHandle| connection.has_session() && !connection.may_stay(&access);
        let ended = self.connections.borrow().values().filter(|connection| is_over(connection)).count();
        self.reset_where(|connection| !connection.may_stay(&access), "who may log in has changed");
        ended
    }

    /// No unit is opened any more.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
    }

    /// Whether the process is ending.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The list of units of a session changes: it is told with its next command (SPC-4 6.33), and at the next tick
    /// without being asked, once for all changes until then.
    fn list_changes_for(&self, connection: &ConnectionHandle) {
        for lun in self.luns() {
            lun.raise_luns_changed(connection.nexus());
        }
        connection.set_list_changed();
    }

    /// RFC 7143 11.9.1: a SCSI event of a unit that the initiator has.
    fn tell_list_changed(&self, connection: &ConnectionHandle) {
        let Some(lun) = self.lun_numbers(connection.nexus()).first().copied() else { return };
        let sense = Sense::from(Attention::ReportedLunsChanged.code()).fixed();
        connection.notify(&AsyncNotice::ScsiEvent { lun: u64::from_be_bytes(lun.encode()), sense });
    }

    /// Commands that arrive while this is the mark are later than everything that bears a smaller one. A connection
    /// takes over the present mark when it has read all that had reached it.
    pub(crate) fn mark(&self) -> u64 {
        self.mark.get()
    }

    /// A unit begins to be served now: what bears a smaller mark is too old for it.
    pub(crate) fn next_mark(&self) -> u64 {
        self.mark.set(self.mark.get() + 1);
        self.mark.get()
    }

    /// A number for a new connection.
    pub(crate) fn next_nexus(&self) -> NexusId {
        self.last_nexus.set(self.last_nexus.get() + 1);
        NexusId(self.last_nexus.get())
    }

    /// A target session identifying handle: never zero, and not soon again.
    pub(crate) fn next_tsih(&self) -> u16 {
        let next = self.last_tsih.get().checked_add(1).unwrap_or(1);
        self.last_tsih.set(next);
        next
    }

    pub(crate) fn add_connection(&self, connection: &Rc<ConnectionHandle>) {
        self.connections.borrow_mut().insert(connection.nexus(), Rc::clone(connection));
        self.connections_state.set(self.connections_state.get() + 1);
    }

    /// A connection is gone: what it wanted and has not begun must not happen any more.
    pub(crate) fn remove_connection(&self, nexus: NexusId) {
        let removed = self.connections.borrow_mut().remove(&nexus);
        if let Some(connection) = removed {
            self.gone(connection.ends().1, connection.standing());
        }
        self.connections_state.set(self.connections_state.get() + 1);
        for lun in self.luns() {
            drop(lun.end_tasks(Victims::Nexus(nexus)));
            lun.remove_nexus(nexus);
        }
        self.count_sessions();
    }

    /// The connections that the same initiator port has left behind.
    pub(crate) fn connections_of(&self, initiator: &InitiatorPort) -> Vec<Rc<ConnectionHandle>> {
        let connections = self.connections.borrow();
        connections.values().filter(|connection| connection.is_of(initiator)).cloned().collect()
    }

    /// Sessions that are logged in to use units.
    pub(crate) fn sessions(&self) -> u32 {
        let connections = self.connections.borrow();
        let sessions = connections.values().filter(|connection| connection.has_session()).count();
        u32::try_from(sessions).unwrap_or(u32::MAX)
    }

    /// A session has come or gone.
    pub(crate) fn count_sessions(&self) {
        let sessions = self.sessions();
        for lun in self.luns() {
            lun.post(Event::Sessions(sessions));
        }
    }

    /// A number that differs whenever a connection has come or gone since.
    pub(crate) fn connections_state(&self) -> u64 {
        self.connections_state.get()
    }

    /// Both ends of each connection, this head's first.
    pub(crate) fn connection_ends(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.connections.borrow().values().map(|connection| connection.ends()).collect()
    }

    /// Close every connection but the one that is spared, so that its initiator notices at once.
    pub(crate) fn reset_all_but(&self, spared: Option<NexusId>, why: &str) {
        self.reset_where(|connection| Some(connection.nexus()) != spared, why);
    }

    /// Close the connections whose end on this head is such an address.
    pub(crate) fn reset_at(&self, is_meant: impl Fn(SocketAddr) -> bool, why: &str) {
        self.reset_where(|connection| is_meant(connection.ends().0), why);
    }

    fn reset_where(&self, is_meant: impl Fn(&ConnectionHandle) -> bool, why: &str) {
        let connections: Vec<_> =
            self.connections.borrow().values().filter(|connection| is_meant(connection)).cloned().collect();
        if !connections.is_empty() {
            tracing::warn!(connections = connections.len(), "closing connections: {why}");
        }
        for connection in connections {
            connection.reset();
        }
    }

    /// Some time has passed.
    pub(crate) fn tick(&self) {
        let connections: Vec<_> = self.connections.borrow().values().cloned().collect();
        for connection in connections {
            if connection.take_list_changed() {
                self.tell_list_changed(&connection);
            }
            connection.tick();
        }
    }
}

impl Slot {
    fn open(&self) -> Option<&Rc<Lun>> {
        match self {
            Self::Open(lun) => Some(lun),
            Self::Failed { .. } => None,
        }
    }
}
