//! What waits to be sent. Sequence numbers are filled in when a PDU is given out, so they are always the latest, and
//! StatSN follows the order on the wire (RFC 7143 4.2.2.2).

use std::collections::VecDeque;

use super::answer::CommandAnswer;
use super::budget::Budget;
use super::limits::{MAX_OUTBOX_BYTES, MAX_OUTBOX_PDUS, QUEUE_DEPTH};
use super::window::{Charge, Window};
use crate::pdu::digest::Digests;
use crate::pdu::{CmdSn, Itt, Numbers, Response, Segment, StatSn, Transmit};

/// The first StatSN of a connection.
const FIRST_STAT_SN: StatSn = StatSn(1);

/// The queue of answers, and the numbers that they carry.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) window: Window,
    stat_sn: StatSn,
    digests: Digests,
    /// R2Ts: they use no StatSN, and data that is asked for early keeps the line busy.
    solicitations: VecDeque<Response>,
    queue: VecDeque<Outgoing>,
    queued_bytes: usize,
}

#[derive(Debug)]
enum Outgoing {
    Pdu(Response, Vec<Segment>),
    Command(Box<CommandAnswer>, Charge),
}

impl Outbox {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            window: Window::new(CmdSn(0), QUEUE_DEPTH, budget),
            stat_sn: FIRST_STAT_SN,
            digests: Digests::default(),
            solicitations: VecDeque::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
        }
    }

    /// Use these digests in everything but login responses.
    pub(super) fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// Whether there is room for the answers to one more request.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_OUTBOX_PDUS && self.queued_bytes < MAX_OUTBOX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.solicitations.is_empty()
    }

    /// Send a PDU; its sequence numbers are filled in later.
    pub(super) fn push(&mut self, pdu: Response, data: Vec<u8>) {
        self.queued_bytes += data.len();
        let data = if data.is_empty() { Vec::new() } else { vec![data.into()] };
        self.queue.push_back(Outgoing::Pdu(pdu, data));
    }

    /// Ask for data, before anything else that waits.
    pub(super) fn push_solicitation(&mut self, pdu: Response) {
        self.solicitations.push_back(pdu);
    }

    /// Send the end of a command; its charge is given back with the last PDU.
    pub(super) fn push_answer(&mut self, answer: CommandAnswer, charge: Charge) {
        self.queue.push_back(Outgoing::Command(Box::new(answer), charge));
    }

    /// A task has ended: R2Ts of it that have not gone out are not sent.
    pub(super) fn forget_solicitations(&mut self, itt: Itt) {
        self.solicitations.retain(|pdu| !matches!(pdu, Response::R2t(r2t) if r2t.itt == itt));
    }

    /// Send nothing of what waits: the connection is at its end.
    pub(super) fn clear(&mut self) {
        self.solicitations.clear();
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// The next PDU to send.
    pub(super) fn poll(&mut self) -> Option<Transmit> {
        let (pdu, data) = match self.solicitations.pop_front() {
            Some(pdu) => (pdu, Vec::new()),
            None => self.next_queued()?,
        };
        let digests = if matches!(pdu, Response::Login(_)) { Digests::default() } else { self.digests };
        let pdu = self.number(pdu);
        Some(Transmit::new(&pdu.emit(), data, digests))
    }

    fn next_queued(&mut self) -> Option<(Response, Vec<Segment>)> {
        match self.queue.pop_front()? {
            Outgoing::Pdu(pdu, data) => {
                self.queued_bytes -= data.iter().map(|segment| segment.len()).sum::<usize>();
                Some((pdu, data))
            }
            Outgoing::Command(mut answer, charge) => {
                let next = answer.next_pdu();
                if answer.is_finished() {
                    self.window.ended(charge);
                } else {
                    self.queue.push_front(Outgoing::Command(answer, charge));
                }
                Some(next)
            }
        }
    }

    fn number(&mut self, mut pdu: Response) -> Response {
        let (numbers, uses_stat_sn) = match &mut pdu {
            Response::NopIn(pdu) => (&mut pdu.numbers, pdu.itt != Itt::RESERVED),
            Response::ScsiResponse(pdu) => (&mut pdu.numbers, true),
            Response::TaskManagement(pdu) => (&mut pdu.numbers, true),
            Response::Login(pdu) => (&mut pdu.numbers, true),
            Response::Text(pdu) => (&mut pdu.numbers, true),
            Response::DataIn(pdu) => (&mut pdu.numbers, pdu.status.is_some()),
            Response::Logout(pdu) => (&mut pdu.numbers, true),
            Response::R2t(pdu) => (&mut pdu.numbers, false),
            Response::AsyncMessage(pdu) => (&mut pdu.numbers, true),
            Response::Reject(pdu) => (&mut pdu.numbers, true),
        };
        *numbers = Numbers {
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.window.exp_cmd_sn(),
            max_cmd_sn: self.window.max_cmd_sn(),
        };
        if uses_stat_sn {
            self.stat_sn = self.stat_sn.next();
        }
        pdu
    }
}
