//! One connection, which is a session of its own: bytes in, events out. Knows no socket and no clock.
//!
//! ```text
//!  Login --answered--> FullFeature --logout()--> LoggingOut --answered--> Closed
//!    any state --error, no answer in time--> Closed
//! ```
//! The shell reads into [`Session::recv_slices`] and says [`Session::handle_received`]; after that, after each other
//! `handle_*` and after [`Session::submit`] it takes [`Event`]s and PDUs to send until there are none.

mod login;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSliceMut;
use std::time::Duration;

use crate::pdu::async_msg::{AsyncEvent, AsyncMessage};
use crate::pdu::command::{ScsiResponse, ServiceResponse, parse_sense};
use crate::pdu::data::DataIn;
use crate::pdu::digest::Digests;
use crate::pdu::framer::{FrameError, Item, Place};
use crate::pdu::login::{LoginRequest, LoginResponse, LoginStatus};
use crate::pdu::logout::{LogoutReason, LogoutRequest};
use crate::pdu::nop::{NopIn, NopOut};
use crate::pdu::r2t::R2t;
use crate::pdu::reject::RejectReason;
use crate::pdu::task_mgmt::{Function, FunctionResponse, TaskManagementRequest, TaskManagementResponse};
use crate::pdu::text::{TextRequest, TextResponse, parse_keys};
use crate::pdu::{CmdSn, Framer, Header, Itt, Numbers, PduError, Request, Response, Segment, StatSn, Transmit, Ttt};
use crate::session::access::Account;

use super::command::{Answer, Command, Sense};
use login::{Login, MAX_DATA_BYTES, Parameters, Progress, Step};
use task::Task;

/// Bytes of an answer to SendTargets that are taken at most.
const MAX_TARGETS_BYTES: usize = 1 << 20;

/// How a session is set up and watched.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// InitiatorName.
    pub initiator_name: String,
    /// What it proves itself with, if the target wants that.
    pub account: Option<Account>,
    /// The initiator's part of the session identifier; one per path.
    pub isid: [u8; 6],
    /// The target; `None` for a discovery session.
    pub target_name: Option<String>,
    /// The logical unit, as it stands in the PDUs.
    pub lun: u64,
    /// Digests to ask for.
    pub digests: Digests,
    /// FirstBurstLength to ask for.
    pub first_burst_length: u32,
    /// A login that takes longer has failed.
    pub login_timeout: Duration,
    /// After this long without a byte the target is pinged.
    pub nop_interval: Duration,
    /// After this long without an answer to the ping the connection is dead.
    pub nop_timeout: Duration,
    /// A command that takes longer means that the connection is dead, although it answers pings.
    pub command_timeout: Duration,
    /// A command that takes longer is aborted, and its end is [`Event::Aborted`]; `None`: none is.
    pub abort_after: Option<Duration>,
}

/// The caller's name for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Commands are taken from here on.
    LoggedIn,
    /// The answer to [`Session::send_targets`]: names, in order, each once.
    Targets(Vec<String>),
    /// A command has ended.
    Completed(Tag, Answer),
    /// A command was aborted: whatever of it was executed, nothing more is.
    Aborted(Tag),
    /// The state of the ports or the unit may have changed.
    Changed,
    /// The target asks for a logout, or announces that it drops the connection.
    LogoutWanted,
    /// The end. Commands that are not completed by now never will be; whether the target executes them is unknown.
    Closed(SessionError),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// As it was asked to.
    #[error("logged out")]
    LoggedOut,
    /// The target does not let us in.
    #[error("login refused with status {:02x}{:02x}", .0.class, .0.detail)]
    LoginRefused(LoginStatus),
    /// The login made no sense.
    #[error("login failed: {0}")]
    Login(&'static str),
    /// No answer in time.
    #[error("no answer to {0} in time")]
    Timeout(&'static str),
    /// The stream of PDUs is broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A PDU makes no sense.
    #[error(transparent)]
    Pdu(#[from] PduError),
    /// The target refused a PDU.
    #[error("the target rejected a PDU: {0:?}")]
    Rejected(RejectReason),
    /// A PDU does not fit the state of the session.
    #[error("protocol error of the target: {0}")]
    Protocol(&'static str),
}

#[derive(Debug)]
enum Phase {
    Login(Login),
    FullFeature,
    LoggingOut,
    Closed,
}

/// See the module's description.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    phase: Phase,
    parameters: Parameters,
    framer: Framer,
    /// The header whose data segment is awaited.
    header: Option<Header>,
    tasks: BTreeMap<u32, Task>,
    /// Requests to abort a task that are not answered, by their own tags.
    aborts: BTreeMap<u32, Itt>,
    /// Commands that the window had no room for.
    waiting: VecDeque<(Tag, Command)>,
    targets_text: Vec<u8>,
    cmd_sn: CmdSn,
    max_cmd_sn: CmdSn,
    exp_stat_sn: Option<StatSn>,
    next_itt: u32,
    started: Duration,
    last_received: Duration,
    ping_sent: Option<Duration>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Session {
    /// Start to log in over a connection that stands since `now`.
    #[must_use]
    pub fn new(options: SessionOptions, now: Duration) -> Self {
        let login = Login::new();
        let step = login.start(&options);
        let mut session = Self {
            options,
            phase: Phase::Login(login),
            parameters: Parameters::default(),
            framer: Framer::new(usize::try_from(MAX_DATA_BYTES).unwrap_or(usize::MAX)),
            header: None,
            tasks: BTreeMap::new(),
            aborts: BTreeMap::new(),
            waiting: VecDeque::new(),
            targets_text: Vec::new(),
            cmd_sn: CmdSn(1),
            max_cmd_sn: CmdSn(0),
            exp_stat_sn: None,
            next_itt: 0,
            started: now,
            last_received: now,
            ping_sent: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        session.send_login(step);
        session
    }

    /// Where to read to.
    pub fn recv_slices(&mut self) -> [IoSliceMut<'_>; 2] {
        self.framer.recv_slices()
    }

    /// `count` bytes were read into [`Session::recv_slices`].
    pub fn handle_received(&mut self, count: usize, now: Duration) {
        self.framer.received(count);
        self.last_received = now;
        self.ping_sent = None;
        while !matches!(self.phase, Phase::Closed) {
            match self.framer.poll() {
                Ok(None) => break,
                Ok(Some(Item::Header(header))) => {
                    self.framer.place(Place::Memory(Vec::new()));
                    self.header = Some(header);
                }
                Ok(Some(Item::Data { place, digest_matches })) => {
                    let outcome = self.on_data(place, digest_matches);
                    self.close_on_error(outcome);
                }
                Err(error) => self.close(error.into()),
            }
        }
        self.send_waiting(now);
    }

    /// The time has come that [`Session::next_timeout`] gave.
    pub fn handle_timeout(&mut self, now: Duration) {
        match self.phase {
            Phase::Closed => {}
            Phase::Login(_) | Phase::LoggingOut => {
                if now >= self.started + self.options.login_timeout {
                    self.close(SessionError::Timeout("a login or logout"));
                }
            }
            Phase::FullFeature => self.watch(now),
        }
    }

    /// When to call [`Session::handle_timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Closed => None,
            Phase::Login(_) | Phase::LoggingOut => Some(self.started + self.options.login_timeout),
            Phase::FullFeature => {
                let silence = match self.ping_sent {
                    Some(sent) => sent + self.options.nop_timeout,
                    None => self.last_received + self.options.nop_interval,
                };
                let oldest = self.options.abort_after.zip(self.oldest_unaborted());
                let abort = oldest.map(|(after, sent_at)| sent_at + after);
                [self.command_deadline(), abort]
                    .into_iter()
                    .flatten()
                    .min()
                    .map_or(Some(silence), |deadline| Some(deadline.min(silence)))
            }
        }
    }

    /// Send a command, at once or when the target's window has room. Its end is an [`Event::Completed`].
    pub fn submit(&mut self, tag: Tag, command: Command, now: Duration) {
        self.waiting.push_back((tag, command));
        self.send_waiting(now);
    }

    /// Ask for the names of all targets; for discovery sessions that are logged in.
    pub fn send_targets(&mut self) {
        let mut text = Vec::new();
        crate::pdu::text::emit_key(&mut text, "SendTargets", "All");
        self.send_text(Ttt::RESERVED, 0, text);
    }

    /// Leave.
    pub fn logout(&mut self, now: Duration) {
        if !matches!(self.phase, Phase::FullFeature) {
            return self.close(SessionError::LoggedOut);
        }
        self.phase = Phase::LoggingOut;
        self.started = now;
        let request = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CloseSession,
            itt: self.take_itt(),
            cid: 0,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.expected_stat_sn(),
        };
        self.send(&Request::Logout(request), Vec::new());
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next PDU to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn on_data(&mut self, place: Place, digest_matches: bool) -> Result<(), SessionError> {
        let (Some(header), Place::Memory(data)) = (self.header.take(), place) else {
            return Ok(());
        };
        if !digest_matches {
            return Err(SessionError::Protocol("the data digest does not match"));
        }
        match (Response::parse(&header)?, &self.phase) {
            (Response::Login(response), Phase::Login(_)) => self.on_login(&response, &data),
            (_, Phase::Login(_)) => Err(SessionError::Protocol("an answer of the full feature phase during the login")),
            (Response::NopIn(pdu), _) => self.on_nop_in(&pdu),
            (Response::ScsiResponse(pdu), _) => self.on_scsi_response(&pdu, &data),
            (Response::DataIn(pdu), _) => self.on_data_in(&pdu, &data),
            (Response::R2t(pdu), _) => self.on_r2t(&pdu),
            (Response::Text(pdu), _) => self.on_text(&pdu, &data),
            (Response::AsyncMessage(pdu), _) => self.on_async(&pdu),
            (Response::Logout(pdu), Phase::LoggingOut) => {
                self.take_numbers(pdu.numbers, true)?;
                Err(SessionError::LoggedOut)
            }
            (Response::Reject(pdu), _) => Err(SessionError::Rejected(pdu.reason)),
            (Response::TaskManagement(pdu), _) => self.on_aborted(&pdu),
            (Response::Login(_) | Response::Logout(_), _) => {
                Err(SessionError::Protocol("an answer that nothing asked for"))
            }
        }
    }

    fn on_login(&mut self, response: &LoginResponse, data: &[u8]) -> Result<(), SessionError> {
        if response.status == LoginStatus::SUCCESS {
            self.exp_stat_sn.get_or_insert(response.numbers.stat_sn);
            self.take_numbers(response.numbers, true)?;
        }
        let Phase::Login(login) = &mut self.phase else { return Ok(()) };
        match login.handle_response(response, data, &self.options)? {
            Progress::Ask(step) => self.send_login(step),
            Progress::Done(parameters) => {
                self.parameters = parameters;
                self.framer.set_digests(parameters.digests);
                self.phase = Phase::FullFeature;
                self.events.push_back(Event::LoggedIn);
            }
        }
        Ok(())
    }

    fn on_nop_in(&mut self, pdu: &NopIn) -> Result<(), SessionError> {
        // Only the answer to a ping of ours has a number of its own (RFC 7143 11.19).
        self.take_numbers(pdu.numbers, pdu.itt != Itt::RESERVED)?;
        if pdu.ttt != Ttt::RESERVED {
            self.send_nop(pdu.lun, Itt::RESERVED, pdu.ttt);
        }
        Ok(())
    }

    fn on_scsi_response(&mut self, pdu: &ScsiResponse, data: &[u8]) -> Result<(), SessionError> {
        self.take_numbers(pdu.numbers, true)?;
        if pdu.response != ServiceResponse::CommandCompleted {
            return Err(SessionError::Protocol("the target failed to execute a command"));
        }
        let sense = Sense::parse(parse_sense(data));
        self.complete(pdu.itt, pdu.status, sense)
    }

    /// Answers are in order: what the target had to say of the task came before.
    fn on_aborted(&mut self, pdu: &TaskManagementResponse) -> Result<(), SessionError> {
        self.take_numbers(pdu.numbers, true)?;
        let victim =
            self.aborts.remove(&pdu.itt.0).ok_or(SessionError::Protocol("an answer that nothing asked for"))?;
        if !matches!(pdu.response, FunctionResponse::Complete | FunctionResponse::TaskDoesNotExist) {
            return Err(SessionError::Protocol("the target does not abort a command"));
        }
        if let Some(task) = self.tasks.remove(&victim.0) {
            self.events.push_back(Event::Aborted(task.into_data_in().0));
        }
        Ok(())
    }

    fn on_data_in(&mut self, pdu: &DataIn, data: &[u8]) -> Result<(), SessionError> {
        self.take_numbers(pdu.numbers, pdu.status.is_some())?;
        self.task(pdu.itt)?.take_data_in(pdu, data)?;
        match pdu.status {
            Some((status, _)) => self.complete(pdu.itt, status, None),
            None => Ok(()),
        }
    }

    fn on_r2t(&mut self, pdu: &R2t) -> Result<(), SessionError> {
        self.take_numbers(pdu.numbers, false)?;
        let parameters = self.parameters;
        let exp_stat_sn = self.expected_stat_sn();
        let pdus = self.task(pdu.itt)?.answer_r2t(pdu, &parameters, exp_stat_sn)?;
        for (request, data) in pdus {
            self.send(&request, vec![data]);
        }
        Ok(())
    }

    fn on_text(&mut self, pdu: &TextResponse, data: &[u8]) -> Result<(), SessionError> {
        self.take_numbers(pdu.numbers, true)?;
        self.targets_text.extend_from_slice(data);
        if self.targets_text.len() > MAX_TARGETS_BYTES {
            return Err(SessionError::Protocol("an endless list of targets"));
        }
        if !pdu.is_final || pdu.text_continues {
            self.send_text(pdu.ttt, pdu.lun, Vec::new());
            return Ok(());
        }
        let text = std::mem::take(&mut self.targets_text);
        let keys = parse_keys(&text).ok_or(SessionError::Protocol("a list of targets that makes no sense"))?;
        let mut names: Vec<String> =
            keys.into_iter().filter(|(name, _)| name == "TargetName").map(|(_, value)| value).collect();
        names.dedup();
        self.events.push_back(Event::Targets(names));
        Ok(())
    }

    fn on_async(&mut self, pdu: &AsyncMessage) -> Result<(), SessionError> {
        self.take_numbers(pdu.numbers, true)?;
        self.events.push_back(match pdu.async_event {
            AsyncEvent::ScsiEvent | AsyncEvent::TaskTermination | AsyncEvent::Other(_) => Event::Changed,
            AsyncEvent::LogoutRequest
            | AsyncEvent::DropConnection
            | AsyncEvent::DropSession
            | AsyncEvent::NegotiationRequest => Event::LogoutWanted,
        });
        Ok(())
    }

    /// Follow the window, and check that no answer is missing: at error recovery level 0 that ends the connection.
    fn take_numbers(&mut self, numbers: Numbers, has_stat_sn: bool) -> Result<(), SessionError> {
        let expected = self.expected_stat_sn();
        if has_stat_sn && numbers.stat_sn != expected {
            return Err(SessionError::Protocol("an answer is missing or was sent twice"));
        }
        if has_stat_sn {
            self.exp_stat_sn = Some(expected.next());
        }
        // RFC 7143 4.2.2.1: a window that ends before it begins is ignored, and it never moves back.
        let is_sane = !numbers.max_cmd_sn.is_before(numbers.exp_cmd_sn.minus(1));
        if is_sane && self.max_cmd_sn.is_before(numbers.max_cmd_sn) {
            self.max_cmd_sn = numbers.max_cmd_sn;
        }
        Ok(())
    }

    fn expected_stat_sn(&self) -> StatSn {
        self.exp_stat_sn.unwrap_or_default()
    }

    fn task(&mut self, itt: Itt) -> Result<&mut Task, SessionError> {
        self.tasks.get_mut(&itt.0).ok_or(SessionError::Protocol("an answer to a command that is not there"))
    }

    fn complete(&mut self, itt: Itt, status: u8, sense: Option<Sense>) -> Result<(), SessionError> {
        self.task(itt)?;
        if let Some(task) = self.tasks.remove(&itt.0) {
            let (tag, data) = task.into_data_in();
            self.events.push_back(Event::Completed(tag, Answer { status, sense, data }));
        }
        Ok(())
    }

    fn watch(&mut self, now: Duration) {
        self.abort_overdue(now);
        if self.command_deadline().is_some_and(|deadline| now >= deadline) {
            self.close(SessionError::Timeout("a command"));
        } else if self.ping_sent.is_some_and(|sent| now >= sent + self.options.nop_timeout) {
            self.close(SessionError::Timeout("a ping"));
        } else if self.ping_sent.is_none() && now >= self.last_received + self.options.nop_interval {
            self.ping_sent = Some(now);
            let itt = self.take_itt();
            self.send_nop(0, itt, Ttt::RESERVED);
        }
    }

    fn abort_overdue(&mut self, now: Duration) {
        let Some(after) = self.options.abort_after else { return };
        let aborted: Vec<Itt> = self.aborts.values().copied().collect();
        let is_overdue = |task: &Task| now >= task.sent_at() + after;
        let overdue: Vec<(Itt, CmdSn)> = self
            .tasks
            .iter()
            .map(|(itt, task)| (Itt(*itt), task))
            .filter(|(itt, task)| is_overdue(task) && !aborted.contains(itt))
            .map(|(itt, task)| (itt, task.cmd_sn()))
            .collect();
        for (victim, ref_cmd_sn) in overdue {
            let itt = self.take_itt();
            self.aborts.insert(itt.0, victim);
            let request = TaskManagementRequest {
                immediate: true,
                function: Function::AbortTask,
                lun: self.options.lun,
                itt,
                referenced_task_tag: victim,
                cmd_sn: self.cmd_sn,
                exp_stat_sn: self.expected_stat_sn(),
                ref_cmd_sn,
                exp_data_sn: 0,
            };
            self.send(&Request::TaskManagement(request), Vec::new());
        }
    }

    /// Tags grow, so the first task is the oldest one.
    fn oldest_unaborted(&self) -> Option<Duration> {
        let aborted = |itt: &u32| self.aborts.values().any(|victim| victim.0 == *itt);
        self.tasks.iter().find(|(itt, _)| !aborted(itt)).map(|(_, task)| task.sent_at())
    }

    fn command_deadline(&self) -> Option<Duration> {
        self.tasks.values().next().map(|task| task.sent_at() + self.options.command_timeout)
    }

    fn send_waiting(&mut self, now: Duration) {
        while matches!(self.phase, Phase::FullFeature) && !self.max_cmd_sn.is_before(self.cmd_sn) {
            let Some((tag, command)) = self.waiting.pop_front() else { return };
            let itt = self.take_itt();
            let cmd_sn = self.take_cmd_sn();
            let (task, pdus) = Task::start(
                tag,
                command,
                itt,
                self.options.lun,
                (cmd_sn, self.expected_stat_sn()),
                &self.parameters,
                now,
            );
            self.tasks.insert(itt.0, task);
            for (request, data) in pdus {
                self.send(&request, vec![data]);
            }
        }
    }

    fn send_login(&mut self, step: Step) {
        let request = LoginRequest {
            transit: step.transit,
            current_stage: step.current_stage,
            next_stage: step.next_stage,
            exp_stat_sn: self.expected_stat_sn(),
            ..LoginRequest::new(self.options.isid, self.cmd_sn)
        };
        self.send(&Request::Login(request), vec![step.text.into()]);
    }

    fn send_text(&mut self, ttt: Ttt, lun: u64, text: Vec<u8>) {
        let request = TextRequest {
            immediate: false,
            is_final: true,
            text_continues: false,
            lun,
            itt: Itt(0),
            ttt,
            cmd_sn: self.take_cmd_sn(),
            exp_stat_sn: self.expected_stat_sn(),
        };
        self.send(&Request::Text(request), vec![text.into()]);
    }

    fn send_nop(&mut self, lun: u64, itt: Itt, ttt: Ttt) {
        let exp_stat_sn = self.expected_stat_sn();
        let nop = NopOut { immediate: true, lun, itt, ttt, cmd_sn: self.cmd_sn, exp_stat_sn };
        self.send(&Request::NopOut(nop), Vec::new());
    }

    fn send(&mut self, request: &Request, data: Vec<Segment>) {
        self.transmits.push_back(Transmit::new(&request.emit(), data, self.parameters.digests));
    }

    fn take_cmd_sn(&mut self) -> CmdSn {
        let cmd_sn = self.cmd_sn;
        self.cmd_sn = cmd_sn.next();
        cmd_sn
    }

    /// A tag that no task has: 2^32 commands do not fit into one connection's window.
    fn take_itt(&mut self) -> Itt {
        self.next_itt = self.next_itt.wrapping_add(1);
        if Itt(self.next_itt) == Itt::RESERVED {
            self.next_itt = 1;
        }
        Itt(self.next_itt)
    }

    fn close_on_error(&mut self, outcome: Result<(), SessionError>) {
        if let Err(error) = outcome {
            self.close(error);
        }
    }

    fn close(&mut self, error: SessionError) {
        if !matches!(self.phase, Phase::Closed) {
            self.phase = Phase::Closed;
            self.events.push_back(Event::Closed(error));
        }
    }
}
