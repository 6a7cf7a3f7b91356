//! The shell around one iSCSI connection: moves bytes between the socket and [`Connection`], and its events to the
//! units.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use sas_backend::buffer::Pool;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::access::Access;
use super::admission::Standing;
use super::batch::Flush;
use super::clock::Clock;
use super::lun::{Caller, Lun, Victims};
use super::registry::Registry;
use crate::pdu::login::LoginStatus;
use crate::pdu::task_mgmt::FunctionResponse;
use crate::pdu::transmit::Transmit;
use crate::scsi::lun::Lun as LunNumber;
use crate::scsi::{Command, InitiatorPort, NexusId, Response, missing_lun};
use crate::session::access::Entrance;
use crate::session::{
    AsyncNotice, CloseReason, CommandEvent, Connection, Event, LoginDenied, LoginDetails, PortalConfig, SessionType,
    TaskId, TaskManagementEvent, TaskManagementFunction,
};

/// How long the end of a connection may take: for what it leaves behind, and for the last bytes to be sent.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pieces handed to the kernel in one call.
const SLICES_MAX: usize = 256;
/// Bytes taken out of the core for an initiator that reads slowly; one PDU may go beyond it. What waits in the core is
/// charged to the initiator's window.
const OUTGOING_BYTES_MAX: usize = 2 << 20;

/// One connection, as the rest of the daemon knows it.
pub(crate) struct ConnectionHandle {
    nexus: NexusId,
    relative_port: u16,
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    clock: Clock,
    registry: Rc<Registry>,
    core: RefCell<Connection>,
    outgoing: RefCell<VecDeque<Transmit>>,
    session: RefCell<Option<Guest>>,
    /// It is to be told that there are other units than before.
    list_changed: Cell<bool>,
    flush_wanted: Cell<bool>,
    closed: Cell<bool>,
    /// The kernel takes no more for now; only the connection's own loop finds out when it does again.
    blocked: Cell<bool>,
    wake: Notify,
    standing: Cell<Standing>,
    this: Weak<Self>,
}

/// Who is logged in to use units.
struct Guest {
    port: InitiatorPort,
    /// As whom it has proven itself.
    user: Option<String>,
}

/// What came of looking for events.
enum Dispatched {
    None,
    Some,
    /// The connection is at its end.
    End,
}

/// What a new connection is told about where it came in.
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    /// The portal's address.
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) portal: Arc<PortalConfig>,
    pub(crate) entrance: Entrance,
    pub(crate) standing: Standing,
    pub(crate) relative_port: u16,
    pub(crate) nexus: NexusId,
}

impl ConnectionHandle {
    /// Take in a connection that was just accepted.
    pub(crate) fn new(arrival: Arrival, registry: &Rc<Registry>, clock: Clock, pool: Pool) -> Rc<Self> {
        let mut core =
            Connection::new(arrival.portal, arrival.entrance, pool, registry.budget().clone(), clock.now().0);
        core.set_arrival_mark(registry.mark());
        Rc::new_cyclic(|this| Self {
            nexus: arrival.nexus,
            relative_port: arrival.relative_port,
            stream: arrival.stream,
            local: arrival.local,
            peer: arrival.peer,
            clock,
            registry: Rc::clone(registry),
            core: RefCell::new(core),
            outgoing: RefCell::default(),
            session: RefCell::default(),
            list_changed: Cell::new(false),
            flush_wanted: Cell::new(false),
            closed: Cell::new(false),
            blocked: Cell::new(false),
            wake: Notify::new(),
            standing: Cell::new(arrival.standing),
            this: Weak::clone(this),
        })
    }

    pub(crate) fn nexus(&self) -> NexusId {
        self.nexus
    }

    /// This head's end and the initiator's.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.local, self.peer)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether it is a session of this initiator port.
    pub(crate) fn is_of(&self, initiator: &InitiatorPort) -> bool {
        self.session.borrow().as_ref().is_some_and(|guest| guest.port == *initiator)
    }

    /// Whether it is logged in to use units.
    pub(crate) fn has_session(&self) -> bool {
        self.session.borrow().is_some()
    }

    /// Whether it is a session for whose initiator the unit is there.
    pub(crate) fn sees(&self, lun: &Lun) -> bool {
        self.session.borrow().as_ref().is_some_and(|guest| !lun.is_hidden_from(&guest.port.name))
    }

    /// If this is a session that sees the unit, it is one of its nexuses.
    pub(crate) fn join(&self, lun: &Lun) {
        if let Some(guest) = self.session.borrow().as_ref().filter(|guest| !lun.is_hidden_from(&guest.port.name)) {
            lun.add_nexus(self.nexus, guest.port.clone(), self.relative_port);
        }
    }

    /// Whether it would be let in today. Nobody is who is not a session yet.
    pub(crate) fn may_stay(&self, access: &Access) -> bool {
        let keeps = |guest: &Guest| access.keeps(&guest.port.name, self.peer.ip(), guest.user.as_deref());
        self.session.borrow().as_ref().is_some_and(keeps)
    }

    /// What it counts as.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.get()
    }

    pub(crate) fn set_list_changed(&self) {
        self.list_changed.set(true);
    }

    pub(crate) fn take_list_changed(&self) -> bool {
        self.list_changed.take()
    }

    /// Tell a session something that it has not asked for.
    pub(crate) fn notify(&self, notice: &AsyncNotice) {
        if self.has_session() && !self.is_closed() {
            self.core.borrow_mut().send_async(notice);
            self.want_flush();
        }
    }

    /// Answer a command.
    pub(crate) fn respond(&self, task: TaskId, response: Response) {
        self.core.borrow_mut().handle_response(task, response);
        self.want_flush();
    }

    /// Somebody else has ended a command: it is not answered.
    pub(crate) fn abandon(&self, task: TaskId) {
        self.core.borrow_mut().handle_task_aborted(task);
    }

    /// Close it now. With data unread or unsent the kernel resets it, and the initiator notices at once.
    pub(crate) fn reset(&self) {
        if let Err(error) = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "the connection to {} closes without a reset", self.peer);
        }
        self.closed.set(true);
        self.wake.notify_one();
    }

    pub(crate) fn tick(&self) {
        let now_ms = self.clock.now().0;
        let due = self.core.borrow().poll_timeout().is_some_and(|at| at <= now_ms);
        if due {
            self.core.borrow_mut().handle_timer(now_ms);
            self.wake.notify_one();
        }
    }

    fn want_flush(&self) {
        if !self.flush_wanted.replace(true)
            && let Some(this) = self.this.upgrade()
        {
            self.registry.batch().add(this);
        }
    }

    /// Serve it to its end.
    pub(crate) async fn run(self: Rc<Self>) {
        self.registry.add_connection(&self);
        if let Err(error) = self.serve().await {
            tracing::debug!(%error, "the connection of {} has failed", self.peer);
        }
        self.closed.set(true);
        self.registry.remove_connection(self.nexus);
    }

    async fn serve(&self) -> io::Result<()> {
        loop {
            // What was sent may have made room for what was held back: act until nothing is left.
            match self.dispatch() {
                _ if self.closed.get() => return self.finish().await,
                Dispatched::End => return self.finish().await,
                Dispatched::Some => continue,
                Dispatched::None => {}
            }
            let reading = self.core.borrow_mut().recv_slices().iter().any(|slice| !slice.is_empty());
            let writing = !self.outgoing.borrow().is_empty();
            let interest = match (reading, writing) {
                (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
                (true, false) => Some(Interest::READABLE),
                (false, true) => Some(Interest::WRITABLE),
                (false, false) => None,
            };
            let ready = tokio::select! {
                () = self.wake.notified() => continue,
                ready = self.stream.ready(interest.unwrap_or(Interest::ERROR)) => ready?,
            };
            if ready.is_writable() {
                self.blocked.set(false);
                self.flush();
            }
            if reading && ready.is_readable() && !self.read()? {
                return Ok(());
            }
        }
    }

    /// Read once; false at the end of the stream.
    fn read(&self) -> io::Result<bool> {
        let mut core = self.core.borrow_mut();
        let mut slices = core.recv_slices();
        let room: usize = slices.iter().map(|slice| slice.len()).sum();
        match self.stream.try_read_vectored(&mut slices) {
            Ok(0) => Ok(false),
            Ok(count) => {
                core.received(count, self.clock.now().0);
                if count < room {
                    // Everything that had reached us is read.
                    core.set_arrival_mark(self.registry.mark());
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                core.set_arrival_mark(self.registry.mark());
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Act on everything that was received.
    fn dispatch(&self) -> Dispatched {
        let _batch = self.registry.batch().begin();
        let mut dispatched = Dispatched::None;
        loop {
            let Some(event) = self.core.borrow_mut().poll_event() else { break };
            dispatched = Dispatched::Some;
            match event {
                Event::Command(command) => self.on_command(command),
                Event::TaskManagement(request) => self.on_task_management(request),
                Event::LoginComplete(details) => self.on_login(details),
                Event::LoginDenied(LoginDenied { initiator, session_type, why }) => {
                    tracing::warn!(%initiator, from = %self.peer, session = ?session_type, "login refused: {why}");
                }
                Event::LoggedOut => self.on_logged_out(),
                // Said already, by name and with the reason.
                Event::Close(CloseReason::LoginRefused(status)) if status.is_denial() => return Dispatched::End,
                // Said for all of them.
                Event::Close(_) if self.standing() == Standing::TurnedAway => return Dispatched::End,
                Event::Close(reason) => {
                    tracing::info!(initiator = %self.name(), "connection closed: {reason}");
                    return Dispatched::End;
                }
            }
        }
        self.want_flush();
        dispatched
    }

    /// Send what is left, but not for ever.
    async fn finish(&self) -> io::Result<()> {
        self.flush();
        let rest = async {
            while !self.closed.get() && !self.outgoing.borrow().is_empty() {
                self.stream.writable().await?;
                self.blocked.set(false);
                self.flush();
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, rest).await.unwrap_or(Ok(()))
    }

    fn name(&self) -> String {
        self.session.borrow().as_ref().map_or_else(|| self.peer.to_string(), |guest| guest.port.name.clone())
    }

    /// The unit with this number, whether or not it is there for this initiator.
    fn any_lun(&self, field: u64) -> Option<Rc<Lun>> {
        let number = LunNumber::decode(field.to_be_bytes())?;
        self.registry.lun(u8::try_from(number.number()).ok()?)
    }

    /// The unit that a command is for, if it is there for this initiator.
    fn lun_of(&self, field: u64) -> Option<Rc<Lun>> {
        self.any_lun(field).filter(|lun| lun.has_nexus(self.nexus))
    }

    /// Likewise, for ending what was sent to it: that can be when the unit is not there any more.
    fn lun_with_tasks(&self, field: u64) -> Option<Rc<Lun>> {
        self.any_lun(field).filter(|lun| lun.has_nexus(self.nexus) || lun.has_tasks_of(self.nexus))
    }

    fn on_command(&self, event: CommandEvent) {
        let Some(connection) = self.this.upgrade() else { return };
        let CommandEvent { task, lun, cdb, attribute, data_out, data_in_max, arrival, .. } = event;
        let command = Command { nexus: self.nexus, cdb, attribute, data_out, data_in_max };
        match self.lun_of(lun) {
            Some(lun) => lun.command(Caller { connection, task }, command, arrival),
            None => self.respond(task, missing_lun::handle(&command, &self.registry.lun_numbers(self.nexus))),
        }
    }

    fn on_task_management(&self, event: TaskManagementEvent) {
        let (luns, victims) = match event.function {
            TaskManagementFunction::AbortTask { lun, task } => {
                (self.lun_with_tasks(lun), Victims::Task(self.nexus, task))
            }
            TaskManagementFunction::AbortTaskSet { lun } => (self.lun_with_tasks(lun), Victims::Nexus(self.nexus)),
            TaskManagementFunction::ClearTaskSet { lun } | TaskManagementFunction::LogicalUnitReset { lun } => {
                (self.lun_of(lun), Victims::All { by: self.nexus })
            }
            TaskManagementFunction::TargetWarmReset | TaskManagementFunction::TargetColdReset => {
                (None, Victims::All { by: self.nexus })
            }
        };
        let whole_target =
            matches!(event.function, TaskManagementFunction::TargetWarmReset | TaskManagementFunction::TargetColdReset);
        let luns = if whole_target { self.registry.luns_of(self.nexus) } else { luns.into_iter().collect() };
        if luns.is_empty() {
            let answer = FunctionResponse::LunDoesNotExist;
            self.core.borrow_mut().handle_task_management_done(event.id, answer);
            return;
        }
        let Some(this) = self.this.upgrade() else { return };
        tracing::info!(initiator = %self.name(), function = ?event.function, "task management");
        tokio::task::spawn_local(async move { this.manage_tasks(event, luns, victims).await });
    }

    async fn manage_tasks(&self, event: TaskManagementEvent, luns: Vec<Rc<Lun>>, victims: Victims) {
        for lun in &luns {
            match event.function {
                TaskManagementFunction::AbortTask { .. } | TaskManagementFunction::AbortTaskSet { .. } => {
                    // An error only says that nothing was left to wait for.
                    lun.end_tasks(victims).await.ok();
                }
                TaskManagementFunction::ClearTaskSet { .. } => lun.clear_task_set(self.nexus).await,
                TaskManagementFunction::LogicalUnitReset { .. }
                | TaskManagementFunction::TargetWarmReset
                | TaskManagementFunction::TargetColdReset => lun.reset(self.nexus).await,
            }
        }
        self.core.borrow_mut().handle_task_management_done(event.id, FunctionResponse::Complete);
        self.want_flush();
        if event.function == TaskManagementFunction::TargetColdReset {
            // Whoever asked for it has been told, and its connection ends without a reset that could overtake the answer.
            self.registry.reset_all_but(Some(self.nexus), "target cold reset");
            self.closed.set(true);
            self.wake.notify_one();
        }
    }

    fn on_login(&self, details: LoginDetails) {
        let Some(this) = self.this.upgrade() else { return };
        tokio::task::spawn_local(async move { this.let_in(details).await });
    }

    /// Let an initiator in. A session that it had before ends first, with all its tasks: what it sent there must not be
    /// executed after what it is about to send here (RFC 7143 6.3.5).
    async fn let_in(&self, details: LoginDetails) {
        if details.tsih != 0 {
            // One connection a session: there is nothing to join.
            self.core.borrow_mut().handle_login_refused(LoginStatus::NO_SUCH_SESSION);
            self.wake.notify_one();
            return;
        }
        if details.session_type == SessionType::Normal {
            let access = self.registry.access();
            if !access.keeps(&details.initiator.name, self.peer.ip(), details.user.as_deref()) {
                let LoginDetails { initiator, .. } = &details;
                let why = "the rules have changed meanwhile";
                tracing::warn!(initiator = %initiator.name, from = %self.peer, "login refused: {why}");
                self.core.borrow_mut().handle_login_refused(LoginStatus::AUTHORIZATION_FAILURE);
                self.wake.notify_one();
                return;
            }
            for old in self.registry.connections_of(&details.initiator) {
                tracing::info!(initiator = %details.initiator.name, "session reinstated");
                old.reset();
                old.session.borrow_mut().take();
                for lun in self.registry.luns() {
                    lun.end_tasks(Victims::Nexus(old.nexus)).await.ok();
                    lun.remove_nexus(old.nexus);
                }
            }
            if self.closed.get() {
                return;
            }
            tracing::info!(initiator = %details.initiator.name, from = %self.peer, user = details.user, "logged in");
            *self.session.borrow_mut() = Some(Guest { port: details.initiator, user: details.user });
            for lun in self.registry.luns() {
                self.join(&lun);
            }
            self.registry.count_sessions();
        }
        if self.closed.get() {
            // It has gone meanwhile, and is not counted any more.
            return;
        }
        self.standing.set(Standing::LoggedIn);
        self.registry.logged_in(self.peer);
        self.core.borrow_mut().handle_login_granted(self.registry.next_tsih());
        self.wake.notify_one();
    }

    fn on_logged_out(&self) {
        let Some(this) = self.this.upgrade() else { return };
        tokio::task::spawn_local(async move { this.let_out().await });
    }

    /// Let an initiator out. When it is told so, nothing that it has sent happens any more, and nothing that it held with
    /// its session is held; but it does not wait for that for ever.
    async fn let_out(&self) {
        let luns = self.registry.luns();
        let ends: Vec<_> = luns.iter().map(|lun| lun.end_tasks(Victims::Nexus(self.nexus))).collect();
        let end = async {
            for end in ends {
                end.await.ok();
            }
            for lun in luns {
                lun.part_with(self.nexus).await;
            }
        };
        tokio::time::timeout(PATIENCE, end).await.ok();
        self.core.borrow_mut().handle_logged_out();
        // With the answer sent, the connection is found to be at its end.
        self.flush();
        self.wake.notify_one();
    }
}

impl Flush for ConnectionHandle {
    /// Hand to the kernel what it takes; the rest goes when the socket is writable again.
    fn flush(&self) {
        self.flush_wanted.set(false);
        if self.closed.get() || self.blocked.get() {
            return;
        }
        let mut outgoing = self.outgoing.borrow_mut();
        loop {
            {
                let mut core = self.core.borrow_mut();
                let mut bytes: usize = outgoing.iter().map(Transmit::remaining_bytes).sum();
                while outgoing.len() < SLICES_MAX
                    && bytes < OUTGOING_BYTES_MAX
                    && let Some(transmit) = core.poll_transmit()
                {
                    bytes += transmit.remaining_bytes();
                    outgoing.push_back(transmit);
                }
            }
            if outgoing.is_empty() {
                return;
            }
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(2 * outgoing.len());
            for transmit in outgoing.iter() {
                transmit.io_slices(&mut slices);
                if slices.len() >= SLICES_MAX {
                    break;
                }
            }
            slices.truncate(SLICES_MAX);
            match self.stream.try_write_vectored(&slices) {
                Ok(mut count) => {
                    while count > 0
                        && let Some(first) = outgoing.front_mut()
                    {
                        count = first.advance(count);
                        if first.remaining_bytes() == 0 {
                            outgoing.pop_front();
                        }
                    }
                }
                Err(error) => {
                    let busy = error.kind() == io::ErrorKind::WouldBlock;
                    self.blocked.set(busy);
                    self.closed.set(!busy);
                    self.wake.notify_one();
                    return;
                }
            }
        }
    }
}
