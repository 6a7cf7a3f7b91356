//! Full feature phase: every request of an initiator that is logged in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sas_backend::buffer::Pool;

use super::abort::PendingFunction;
use super::answer::Announced;
use super::discovery::TextExchange;
use super::event::{CloseReason, Event, ProtocolViolation, SessionType, TaskId};
use super::keys::Negotiation;
use super::limits::MIN_DATA_SEGMENT_BYTES;
use super::outbox::Outbox;
use super::portal::PortalConfig;
use super::task::{Task, TaskStage};
use super::transfer::{Failure, Transfer};
use super::window::Admission;
use crate::pdu::command::ScsiCommand;
use crate::pdu::data::DataOut;
use crate::pdu::framer::Place;
use crate::pdu::logout::{LogoutOutcome, LogoutReason, LogoutRequest, LogoutResponse};
use crate::pdu::nop::{NopIn, NopOut};
use crate::pdu::r2t::R2t;
use crate::pdu::reject::{Reject, RejectReason};
use crate::pdu::text::TextRequest;
use crate::pdu::{CmdSn, Header, Itt, Numbers, PduError, Request, Response, Ttt};
use crate::scsi;

/// What every phase of a connection writes to and draws from.
#[derive(Debug)]
pub(super) struct Io {
    pub(super) outbox: Outbox,
    pub(super) events: VecDeque<Event>,
    pub(super) pool: Pool,
    pub(super) arrival: u64,
}

/// What the data segment that is on its way belongs to.
#[derive(Debug)]
pub(super) enum Awaited {
    /// A SCSI Command or Data-Out of this task.
    Task(TaskId),
    Nop(NopOut),
    Text(TextRequest),
    /// A PDU that is dealt with already.
    Nothing,
}

/// A session that is logged in.
#[derive(Debug)]
pub(super) struct FullFeature {
    portal: Arc<PortalConfig>,
    pub(super) negotiation: Negotiation,
    cid: u16,
    pub(super) tasks: BTreeMap<Itt, Task>,
    pub(super) functions: Vec<PendingFunction>,
    text: TextExchange,
    next_serial: u64,
    next_ttt: u32,
}

/// Why a session takes nothing more.
#[derive(Debug)]
pub(super) enum Ending {
    Close(CloseReason),
    /// The initiator leaves: this is its answer, once the session is over.
    LogOut(LogoutResponse),
}

/// What a header leads to: what its data segment belongs to, and where that goes.
type Outcome = Result<(Awaited, Place), Ending>;

const DONE: (Awaited, Place) = (Awaited::Nothing, Place::Discard);

impl<T: Into<CloseReason>> From<T> for Ending {
    fn from(reason: T) -> Self {
        Self::Close(reason.into())
    }
}

impl Io {
    /// Refuse a PDU, and send its header back (RFC 7143 11.17): of one that is made long by additional segments, no more
    /// than every initiator takes.
    pub(super) fn reject(&mut self, reason: RejectReason, header: &Header) {
        let reject = Reject { reason, numbers: Numbers::default(), data_sn: 0 };
        let mut refused = header.to_vec();
        refused.truncate(MIN_DATA_SEGMENT_BYTES as usize);
        self.outbox.push(Response::Reject(reject), refused);
    }

    /// Whether a request is to be taken. One outside the window is ignored.
    pub(super) fn admit(&mut self, immediate: bool, cmd_sn: CmdSn) -> Result<bool, CloseReason> {
        if immediate {
            return Ok(true);
        }
        match self.outbox.window.admit(cmd_sn) {
            Admission::Next => Ok(true),
            Admission::OutsideWindow => Ok(false),
            Admission::Gap => Err(ProtocolViolation::CommandGap.into()),
        }
    }
}

impl FullFeature {
    pub(super) fn new(portal: Arc<PortalConfig>, negotiation: Negotiation, cid: u16, text: TextExchange) -> Self {
        Self {
            portal,
            negotiation,
            cid,
            tasks: BTreeMap::new(),
            functions: Vec::new(),
            text,
            next_serial: 0,
            next_ttt: 0,
        }
    }

    /// A header has come in.
    pub(super) fn on_header(&mut self, header: &Header, io: &mut Io) -> Outcome {
        let request = match Request::parse(header) {
            Ok(request) => request,
            Err(PduError::UnsupportedOpcode(_)) => {
                io.reject(RejectReason::CommandNotSupported, header);
                return Ok(DONE);
            }
            Err(error @ PduError::Malformed(_)) => {
                io.reject(RejectReason::InvalidPduField, header);
                return Err(ProtocolViolation::Pdu(error).into());
            }
        };
        let is_discovery = self.negotiation.session_type == Some(SessionType::Discovery);
        match request {
            Request::ScsiCommand(_) | Request::TaskManagement(_) | Request::DataOut(_) if is_discovery => {
                io.reject(RejectReason::CommandNotSupported, header);
                Ok(DONE)
            }
            Request::ScsiCommand(command) => self.on_command(command, header, io),
            Request::DataOut(pdu) => Ok(self.on_data_out(&pdu, header, io)),
            Request::TaskManagement(request) => {
                self.on_task_management(&request, io)?;
                Ok(DONE)
            }
            Request::NopOut(nop) => {
                let awaited = if io.admit(nop.immediate, nop.cmd_sn)? { Awaited::Nop(nop) } else { Awaited::Nothing };
                Ok((awaited, Place::Memory(Vec::new())))
            }
            Request::Text(text) => {
                let awaited =
                    if io.admit(text.immediate, text.cmd_sn)? { Awaited::Text(text) } else { Awaited::Nothing };
                Ok((awaited, Place::Memory(Vec::new())))
            }
            Request::Logout(logout) => self.on_logout(&logout, io),
            Request::Login(_) => {
                io.reject(RejectReason::ProtocolError, header);
                Err(ProtocolViolation::LoginInFullFeature.into())
            }
        }
    }

    /// The data segment behind a header has come in.
    pub(super) fn on_data(
        &mut self,
        header: &Header,
        awaited: &Awaited,
        place: Place,
        digest_matches: bool,
        io: &mut Io,
    ) {
        if !digest_matches {
            io.reject(RejectReason::DataDigestError, header);
        }
        match (awaited, place) {
            (Awaited::Task(id), place) => {
                if let Some(Task { stage: TaskStage::Collecting(transfer), .. }) = self.task_mut(*id) {
                    transfer.on_data(place, digest_matches);
                    self.proceed(id.itt, io);
                }
            }
            (Awaited::Nop(nop), Place::Memory(ping)) if digest_matches => self.on_nop_out(nop, ping, io),
            (Awaited::Text(request), Place::Memory(text)) if digest_matches => {
                self.on_text(request, &text, header, io);
            }
            _ => {}
        }
    }

    /// The daemon has executed a task. Answers to tasks that were aborted meanwhile are dropped.
    pub(super) fn handle_response(&mut self, id: TaskId, response: scsi::Response, io: &mut Io) {
        if self.task_mut(id).is_some()
            && let Some(task) = self.tasks.remove(&id.itt)
        {
            let (answer, charge) = task.answer(response, &self.negotiation.parameters);
            io.outbox.push_answer(answer, charge);
        }
    }

    /// The serial number for the next task or task management function.
    pub(super) fn take_serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(&id.itt).filter(|task| task.id == id)
    }

    fn on_command(&mut self, command: ScsiCommand, header: &Header, io: &mut Io) -> Outcome {
        if !io.admit(command.immediate, command.cmd_sn)? {
            return Ok(DONE);
        }
        let itt = command.itt;
        if command.immediate && !io.outbox.window.takes_immediate() {
            io.reject(RejectReason::ImmediateCommandReject, header);
            return Ok(DONE);
        }
        let length = data_length(header);
        let announced = Announced::by(&command);
        let mut transfer = Transfer::begin(announced.data_out, length, command.is_final, &self.negotiation.parameters);
        if !io.outbox.window.takes_bytes(announced.bytes()) {
            transfer.fail(Failure::NoRoom);
        }
        let place = transfer.place_immediate(&io.pool, length);
        let id = TaskId { itt, serial: self.take_serial() };
        let is_new = itt != Itt::RESERVED && !self.tasks.contains_key(&itt);
        match Task::new(id, command, transfer, io.arrival).filter(|_| is_new) {
            Some(task) => {
                io.outbox.window.begun(task.charge);
                self.tasks.insert(itt, task);
                Ok((Awaited::Task(id), place))
            }
            None => {
                io.reject(RejectReason::InvalidPduField, header);
                Ok(DONE)
            }
        }
    }

    /// Data for tasks that are gone is thrown away: they were aborted while it was on its way.
    fn on_data_out(&mut self, pdu: &DataOut, header: &Header, io: &mut Io) -> (Awaited, Place) {
        let Some(task) = self.tasks.get_mut(&pdu.itt) else {
            return DONE;
        };
        let place = match &mut task.stage {
            TaskStage::Collecting(transfer) => transfer.on_data_out(&io.pool, pdu, data_length(header)),
            TaskStage::Issued { .. } => None,
        };
        if let Some(place) = place {
            return (Awaited::Task(task.id), place);
        }
        io.reject(RejectReason::InvalidPduField, header);
        DONE
    }

    /// Ask for more of a task's data, or end the collection when it is over.
    fn proceed(&mut self, itt: Itt, io: &mut Io) {
        let Some(task) = self.tasks.get_mut(&itt) else {
            return;
        };
        let TaskStage::Collecting(transfer) = &mut task.stage else {
            return;
        };
        while let Some(asked) = transfer.poll_solicitation(&self.negotiation.parameters, Ttt(self.next_ttt)) {
            self.next_ttt = if self.next_ttt == Ttt::RESERVED.0 - 1 { 0 } else { self.next_ttt + 1 };
            io.outbox.push_solicitation(Response::R2t(R2t {
                lun: task.lun,
                itt,
                ttt: asked.ttt,
                numbers: Numbers::default(),
                r2t_sn: asked.r2t_sn,
                buffer_offset: asked.buffer_offset,
                desired_data_transfer_length: asked.length,
            }));
        }
        if !transfer.is_over() {
            return;
        }
        if let Some(failure) = transfer.failure() {
            let id = task.id;
            self.handle_response(id, failure.response(), io);
        } else if let Some(command) = task.issue() {
            io.events.push_back(Event::Command(command));
        }
    }

    /// A ping is answered with its data, as much as the initiator takes; an answer to our ping has done its work by
    /// arriving.
    fn on_nop_out(&self, nop: &NopOut, mut ping: Vec<u8>, io: &mut Io) {
        if nop.itt == Itt::RESERVED {
            return;
        }
        let limit = self.negotiation.parameters.max_recv_data_segment_length;
        ping.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let answer = NopIn { lun: nop.lun, itt: nop.itt, ttt: Ttt::RESERVED, numbers: Numbers::default() };
        io.outbox.push(Response::NopIn(answer), ping);
    }

    fn on_text(&mut self, request: &TextRequest, text: &[u8], header: &Header, io: &mut Io) {
        match self.text.handle(&self.portal, &mut self.negotiation, request, text) {
            Ok((response, text)) => io.outbox.push(Response::Text(response), text),
            Err(reason) => io.reject(reason, header),
        }
    }

    fn on_logout(&self, logout: &LogoutRequest, io: &mut Io) -> Outcome {
        if !io.admit(logout.immediate, logout.cmd_sn)? {
            return Ok(DONE);
        }
        let response = match logout.reason {
            LogoutReason::CloseSession => LogoutOutcome::Closed,
            LogoutReason::CloseConnection if logout.cid == self.cid => LogoutOutcome::Closed,
            LogoutReason::CloseConnection => LogoutOutcome::CidNotFound,
            LogoutReason::RemoveConnectionForRecovery => LogoutOutcome::RecoveryNotSupported,
            LogoutReason::Other(_) => LogoutOutcome::CleanupFailed,
        };
        let numbers = Numbers::default();
        let answer = LogoutResponse { response, itt: logout.itt, numbers, time2wait: 0, time2retain: 0 };
        if response == LogoutOutcome::Closed {
            return Err(Ending::LogOut(answer));
        }
        io.outbox.push(Response::Logout(answer), Vec::new());
        Ok(DONE)
    }
}

fn data_length(header: &Header) -> u32 {
    u32::try_from(header.data_segment_length()).expect("a data segment length has 24 bits")
}
