//! The connection itself: phases, time, and the door between bytes and requests.
//!
//! ```text
//!  Login --complete--> Granting --granted--> FullFeature --logout--> LoggingOut --logged out--> Closing
//!    \___________________\______________________\____refused, violation, silence_____________^
//! ```

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::sync::Arc;

use sas_backend::buffer::Pool;

use super::access::Entrance;
use super::budget::Budget;
use super::discovery::TextExchange;
use super::event::{
    AsyncNotice, CloseReason, Event, LoginDetails, ProtocolViolation, SessionType, TaskId, TaskManagementId,
};
use super::full_feature::{Awaited, Ending, FullFeature, Io};
use super::limits::{
    LINGER_MS, LOGIN_DATA_SEGMENT_BYTES, LOGIN_TIMEOUT_MS, LOGOUT_TIMEOUT_MS, MAX_RECV_DATA_SEGMENT_BYTES,
    PING_INTERVAL_MS, PING_TIMEOUT_MS, QUEUE_DEPTH,
};
use super::login::{CompleteLogin, Login, LoginAnswer, Step, refusal};
use super::outbox::Outbox;
use super::portal::PortalConfig;
use super::window::Window;
use crate::pdu::async_msg::{AsyncEvent, AsyncMessage};
use crate::pdu::command::emit_sense;
use crate::pdu::framer::{Framer, Item, Place};
use crate::pdu::login::{LoginRequest, LoginStatus};
use crate::pdu::logout::LogoutResponse;
use crate::pdu::nop::NopIn;
use crate::pdu::task_mgmt::FunctionResponse;
use crate::pdu::{Header, Itt, Numbers, Request, Response, Transmit, Ttt};
use crate::scsi::{self, InitiatorPort};

/// One accepted connection. Time is milliseconds of any clock that never goes back.
#[derive(Debug)]
pub struct Connection {
    portal: Arc<PortalConfig>,
    entrance: Entrance,
    framer: Framer,
    io: Io,
    budget: Budget,
    phase: Phase,
    clock: Clock,
    /// Set when parsing stops for want of room; the mark then waits for what was received before it.
    is_blocked: bool,
    next_arrival: u64,
}

#[derive(Debug)]
enum Phase {
    Login { login: Login, request: Option<LoginRequest> },
    Granting(Box<CompleteLogin>),
    FullFeature { session: Box<FullFeature>, current: Option<(Header, Awaited)> },
    LoggingOut(LogoutResponse),
    Closing { reason: CloseReason, is_told: bool, until_ms: Option<u64> },
}

#[derive(Debug)]
struct Clock {
    accepted_ms: u64,
    last_received_ms: u64,
    pinged_ms: Option<u64>,
}

impl Connection {
    /// A connection that was just accepted by a portal. Data-Out buffers come from `pool`, within `budget`.
    #[must_use]
    pub fn new(portal: Arc<PortalConfig>, entrance: Entrance, pool: Pool, budget: Budget, now_ms: u64) -> Self {
        Self {
            portal,
            entrance,
            framer: Framer::new(bytes(LOGIN_DATA_SEGMENT_BYTES)),
            io: Io { outbox: Outbox::new(budget.clone()), events: VecDeque::new(), pool, arrival: 0 },
            budget,
            phase: Phase::Login { login: Login::Opening, request: None },
            clock: Clock { accepted_ms: now_ms, last_received_ms: now_ms, pinged_ms: None },
            is_blocked: false,
            next_arrival: 0,
        }
    }

    /// Where to read to, in this order. When both are empty do not read: first act on the events and send what waits.
    pub fn recv_slices(&mut self) -> [IoSliceMut<'_>; 2] {
        if matches!(self.phase, Phase::Closing { .. }) {
            return [IoSliceMut::new(&mut []), IoSliceMut::new(&mut [])];
        }
        self.framer.recv_slices()
    }

    /// `count` bytes were read into what [`Connection::recv_slices`] gave.
    pub fn received(&mut self, count: usize, now_ms: u64) {
        self.framer.received(count);
        self.clock.last_received_ms = now_ms;
        self.clock.pinged_ms = None;
        self.run();
    }

    /// Commands whose headers are read from now on carry this mark. Commands received earlier never do.
    pub fn set_arrival_mark(&mut self, mark: u64) {
        self.next_arrival = mark;
        if !self.is_blocked {
            self.io.arrival = mark;
        }
    }

    /// Let the initiator in, under this TSIH (not zero).
    pub fn handle_login_granted(&mut self, tsih: u16) {
        let closing = Phase::Closing { reason: CloseReason::Dropped, is_told: false, until_ms: None };
        match std::mem::replace(&mut self.phase, closing) {
            Phase::Granting(complete) => {
                let (answer, negotiation, identity) = complete.granted(tsih);
                self.push_login_answer(answer);
                let digests = negotiation.parameters.digests;
                self.framer.set_digests(digests);
                self.io.outbox.set_digests(digests);
                self.framer.set_max_data_segment_length(bytes(MAX_RECV_DATA_SEGMENT_BYTES));
                let is_let_in = |name: &String| self.entrance.leads_in(name);
                let text = TextExchange::new(negotiation.initiator_name.as_ref().is_some_and(is_let_in));
                let session = Box::new(FullFeature::new(Arc::clone(&self.portal), negotiation, identity.cid, text));
                self.phase = Phase::FullFeature { session, current: None };
                self.run();
            }
            other => self.phase = other,
        }
    }

    /// Keep the initiator out.
    pub fn handle_login_refused(&mut self, status: LoginStatus) {
        let closing = Phase::Closing { reason: CloseReason::LoginRefused(status), is_told: false, until_ms: None };
        match std::mem::replace(&mut self.phase, closing) {
            Phase::Granting(complete) => self.push_login_answer(complete.refused(status)),
            other => self.phase = other,
        }
    }

    /// Whatever the initiator had here has ended: tell it so, and close.
    pub fn handle_logged_out(&mut self) {
        if let Phase::LoggingOut(answer) = &self.phase {
            self.io.outbox.push(Response::Logout(answer.clone()), Vec::new());
            self.close(CloseReason::LoggedOut);
        }
    }

    /// A task was executed. Nothing happens if the initiator does not wait for it any more.
    pub fn handle_response(&mut self, task: TaskId, response: scsi::Response) {
        if let Phase::FullFeature { session, .. } = &mut self.phase {
            session.handle_response(task, response, &mut self.io);
        }
    }

    /// A task management function was executed.
    pub fn handle_task_management_done(&mut self, id: TaskManagementId, response: FunctionResponse) {
        if let Phase::FullFeature { session, .. } = &mut self.phase {
            session.handle_task_management_done(id, response, &mut self.io);
        }
    }

    /// A task was ended by somebody else and is not to be answered.
    pub fn handle_task_aborted(&mut self, task: TaskId) {
        if let Phase::FullFeature { session, .. } = &mut self.phase {
            session.handle_task_aborted(task, &mut self.io);
        }
    }

    /// All tasks on the logical unit (`None`: on all) were ended by somebody else, those included that are still
    /// collecting their data and were never given out. They are not to be answered.
    pub fn handle_tasks_aborted(&mut self, lun: Option<u64>) {
        if let Phase::FullFeature { session, .. } = &mut self.phase {
            session.handle_tasks_aborted(lun, &mut self.io);
        }
    }

    /// Time has come to what [`Connection::poll_timeout`] said.
    pub fn handle_timer(&mut self, now_ms: u64) {
        if self.poll_timeout().is_none_or(|due_ms| now_ms < due_ms) {
            return;
        }
        match (&mut self.phase, self.clock.pinged_ms) {
            (Phase::Login { .. } | Phase::Granting(_), _) => self.close_at_once(CloseReason::LoginTimeout),
            (Phase::FullFeature { .. }, Some(_)) => self.close_at_once(CloseReason::PingTimeout),
            (Phase::FullFeature { .. }, None) => self.ping(now_ms),
            (Phase::LoggingOut(_), _) => self.close_at_once(CloseReason::LoggedOut),
            (Phase::Closing { until_ms: Some(_), .. }, _) => self.io.outbox.clear(),
            (Phase::Closing { until_ms, .. }, _) => *until_ms = Some(now_ms + LINGER_MS),
        }
    }

    /// Tell the initiator something. Before the end of its login it hears nothing.
    pub fn send_async(&mut self, notice: &AsyncNotice) {
        let Phase::FullFeature { .. } = self.phase else {
            return;
        };
        let (async_event, lun, sense, parameter2, parameter3, ends) = match notice {
            AsyncNotice::RequestLogout { within } => (AsyncEvent::LogoutRequest, 0, &[][..], 0, *within, false),
            AsyncNotice::DropConnection { time2wait } => (AsyncEvent::DropConnection, 0, &[][..], *time2wait, 0, true),
            AsyncNotice::DropSession { time2wait } => (AsyncEvent::DropSession, 0, &[][..], *time2wait, 0, true),
            AsyncNotice::ScsiEvent { lun, sense } => (AsyncEvent::ScsiEvent, *lun, sense.as_slice(), 0, 0, false),
        };
        let message = AsyncMessage {
            lun,
            numbers: Numbers::default(),
            async_event,
            async_vcode: 0,
            parameter1: 0,
            parameter2,
            parameter3,
        };
        self.io.outbox.push(Response::AsyncMessage(message), emit_sense(sense));
        if ends {
            self.close(CloseReason::Dropped);
        }
    }

    /// The next thing for the daemon to act on.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.io.events.pop_front() {
            return Some(event);
        }
        match &mut self.phase {
            Phase::Closing { reason, is_told, .. } if !*is_told && self.io.outbox.is_empty() => {
                *is_told = true;
                Some(Event::Close(*reason))
            }
            _ => None,
        }
    }

    /// The next PDU to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.io.outbox.poll()?;
        if self.is_blocked && self.io.outbox.has_room() {
            self.run();
        }
        Some(transmit)
    }

    /// When to call [`Connection::handle_timer`], if nothing is received before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let Clock { accepted_ms, last_received_ms, pinged_ms } = self.clock;
        match &self.phase {
            Phase::Login { .. } | Phase::Granting(_) => Some(accepted_ms + LOGIN_TIMEOUT_MS),
            Phase::FullFeature { .. } => Some(match pinged_ms {
                Some(pinged_ms) => pinged_ms + PING_TIMEOUT_MS,
                None => last_received_ms + PING_INTERVAL_MS,
            }),
            Phase::LoggingOut(_) => Some(last_received_ms + LOGOUT_TIMEOUT_MS),
            Phase::Closing { .. } if self.io.outbox.is_empty() => None,
            // The time for what is left to be sent begins when the shell says what time it is.
            Phase::Closing { until_ms, .. } => Some(until_ms.unwrap_or(last_received_ms)),
        }
    }

    /// Take items off the framer as long as there is somebody to take them and room for the answers.
    fn run(&mut self) {
        loop {
            self.is_blocked = !self.io.outbox.has_room();
            if self.is_blocked
                || matches!(self.phase, Phase::Granting(_) | Phase::LoggingOut(_) | Phase::Closing { .. })
            {
                return;
            }
            match self.framer.poll() {
                Ok(Some(Item::Header(header))) => self.on_header(header),
                Ok(Some(Item::Data { place, digest_matches })) => self.on_data(place, digest_matches),
                Ok(None) => {
                    self.io.arrival = self.next_arrival;
                    return;
                }
                Err(error) => self.close(error.into()),
            }
        }
    }

    fn on_header(&mut self, header: Header) {
        let outcome = match &mut self.phase {
            Phase::Login { request, .. } => match Request::parse(&header) {
                Ok(Request::Login(login)) => {
                    *request = Some(login);
                    Ok(Place::Memory(Vec::new()))
                }
                _ => Err(ProtocolViolation::NotALogin(header.opcode()).into()),
            },
            Phase::FullFeature { session, current } => {
                session.on_header(&header, &mut self.io).map(|(awaited, place)| {
                    *current = Some((header, awaited));
                    place
                })
            }
            Phase::Granting(_) | Phase::LoggingOut(_) | Phase::Closing { .. } => Ok(Place::Discard),
        };
        match outcome {
            Ok(place) => self.framer.place(place),
            Err(Ending::Close(reason)) => self.close(reason),
            Err(Ending::LogOut(answer)) => {
                self.phase = Phase::LoggingOut(answer);
                self.io.events.push_back(Event::LoggedOut);
            }
        }
    }

    fn on_data(&mut self, place: Place, digest_matches: bool) {
        match &mut self.phase {
            Phase::Login { login, request } => {
                let login = std::mem::replace(login, Login::Opening);
                if let (Some(request), Place::Memory(text)) = (request.take(), place) {
                    self.on_login_request(login, &request, &text);
                }
            }
            Phase::FullFeature { session, current } => {
                if let Some((header, awaited)) = current.take() {
                    session.on_data(&header, &awaited, place, digest_matches, &mut self.io);
                }
            }
            Phase::Granting(_) | Phase::LoggingOut(_) | Phase::Closing { .. } => {}
        }
    }

    fn on_login_request(&mut self, login: Login, request: &LoginRequest, text: &[u8]) {
        if matches!(login, Login::Opening) {
            // A login is immediate: the first command afterwards has the same number.
            self.io.outbox.window = Window::new(request.cmd_sn, QUEUE_DEPTH, self.budget.clone());
        }
        match login.handle(&self.portal, &self.entrance, request, text) {
            Step::Answer(login, answer) => {
                self.push_login_answer(answer);
                self.phase = Phase::Login { login, request: None };
            }
            Step::Complete(complete) => match details(&complete) {
                Some(details) => {
                    self.phase = Phase::Granting(complete);
                    self.io.events.push_back(Event::LoginComplete(details));
                }
                None => self.refuse_login(refusal(request, LoginStatus::MISSING_PARAMETER)),
            },
            Step::Refuse(answer, denied) => {
                self.io.events.extend(denied.map(Event::LoginDenied));
                self.refuse_login(answer);
            }
        }
    }

    fn refuse_login(&mut self, answer: LoginAnswer) {
        let status = answer.response.status;
        self.push_login_answer(answer);
        self.close(CloseReason::LoginRefused(status));
    }

    fn push_login_answer(&mut self, answer: LoginAnswer) {
        self.io.outbox.push(Response::Login(answer.response), answer.text);
    }

    fn ping(&mut self, now_ms: u64) {
        self.clock.pinged_ms = Some(now_ms);
        // The tag of a ping need not tell it from others: there is one at a time, and any sign of life will do.
        let ping = NopIn { lun: 0, itt: Itt::RESERVED, ttt: Ttt(0), numbers: Numbers::default() };
        self.io.outbox.push(Response::NopIn(ping), Vec::new());
    }

    /// The initiator is not there to hear anything.
    fn close_at_once(&mut self, reason: CloseReason) {
        self.io.outbox.clear();
        self.close(reason);
    }

    /// What waits to be sent goes first, but not for long.
    fn close(&mut self, reason: CloseReason) {
        if !matches!(self.phase, Phase::Closing { .. }) {
            self.phase = Phase::Closing { reason, is_told: false, until_ms: None };
        }
    }
}

fn details(complete: &CompleteLogin) -> Option<LoginDetails> {
    let negotiation = &complete.negotiation;
    let isid = complete.identity.isid;
    Some(LoginDetails {
        initiator: InitiatorPort { name: negotiation.initiator_name.clone()?, isid },
        initiator_alias: negotiation.initiator_alias.clone(),
        user: complete.user.clone(),
        session_type: negotiation.session_type.unwrap_or(SessionType::Normal),
        tsih: complete.identity.tsih,
        cid: complete.identity.cid,
    })
}

fn bytes(count: u32) -> usize {
    usize::try_from(count).expect("a data segment fits into memory")
}

#[cfg(test)]
mod tests;
