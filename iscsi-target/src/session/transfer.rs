//! Collecting the Data-Out of one command (RFC 7143 4.2.5): immediate data in the command PDU, unsolicited Data-Out
//! behind it, and what R2Ts ask for. All of it lands in one buffer.
//!
//! A command that fails on the way is answered only after every sequence that the initiator may still be sending has
//! come to its F bit (RFC 7143 11.17): until then its data is thrown away.

use sas_backend::buffer::{BufferMut, Payload, Pool};

use super::keys::Parameters;
use super::limits::MAX_DATA_OUT_BYTES;
use super::sense;
use crate::pdu::Ttt;
use crate::pdu::data::DataOut;
use crate::pdu::framer::Place;
use crate::scsi::{DataIn, Response, Status};

/// Why a command ends before a logical unit has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Data that the session's parameters do not allow.
    UnexpectedUnsolicitedData,
    /// Data beyond its sequence, or a sequence that ends early.
    IncorrectAmountOfData,
    /// A PDU of a sequence is missing or broken.
    Transport,
    /// More Data-Out than one command may have.
    TooLong,
    /// The commands of this connection hold too much data already.
    NoRoom,
}

/// A run of Data-Out PDUs with consecutive DataSNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sequence {
    ttt: Ttt,
    next_offset: u32,
    end: u32,
    next_data_sn: u32,
}

/// A part of the Data-Out to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Solicitation {
    pub(super) ttt: Ttt,
    pub(super) r2t_sn: u32,
    pub(super) buffer_offset: u32,
    pub(super) length: u32,
}

/// The state of the collection.
#[derive(Debug)]
pub(super) struct Transfer {
    expected: u32,
    /// Taken when the first byte comes; lent to the framer while a data segment is on its way.
    buffer: Option<BufferMut>,
    /// Every byte before this has come unsolicited or was asked for.
    claimed: u32,
    unsolicited: Option<Sequence>,
    /// In the order of their R2Ts.
    solicited: Vec<Sequence>,
    r2t_sn: u32,
    failure: Option<Failure>,
}

impl Transfer {
    /// A command that announces `expected` bytes of Data-Out, carries `immediate` bytes, and unless `is_final` goes on
    /// with unsolicited Data-Out.
    pub(super) fn begin(expected: u32, immediate: u32, is_final: bool, parameters: &Parameters) -> Self {
        let unsolicited_end = expected.min(parameters.first_burst_length);
        let is_final = is_final || expected == 0;
        let failure = if expected > MAX_DATA_OUT_BYTES {
            Some(Failure::TooLong)
        } else if (immediate > 0 && !parameters.immediate_data) || (!is_final && parameters.initial_r2t) {
            Some(Failure::UnexpectedUnsolicitedData)
        } else if immediate > unsolicited_end {
            Some(Failure::IncorrectAmountOfData)
        } else {
            None
        };
        let follow_up = Sequence {
            ttt: Ttt::RESERVED,
            next_offset: immediate.min(unsolicited_end),
            end: unsolicited_end,
            next_data_sn: 0,
        };
        Self {
            expected,
            buffer: None,
            claimed: immediate,
            unsolicited: (!is_final).then_some(follow_up),
            solicited: Vec::new(),
            r2t_sn: 0,
            failure,
        }
    }

    /// The command will fail. The first reason counts.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// How many R2Ts were sent.
    pub(super) fn r2t_count(&self) -> u32 {
        self.r2t_sn
    }

    /// Where the immediate data goes.
    pub(super) fn place_immediate(&mut self, pool: &Pool, length: u32) -> Place {
        if length == 0 || self.failure.is_some() { Place::Discard } else { self.lend(pool, 0) }
    }

    /// A Data-Out PDU with `length` bytes is coming: where they go. `None` if it belongs to no open sequence.
    pub(super) fn on_data_out(&mut self, pool: &Pool, pdu: &DataOut, length: u32) -> Option<Place> {
        let is_solicited = pdu.ttt != Ttt::RESERVED;
        let open = if is_solicited {
            self.solicited.iter_mut().find(|sequence| sequence.ttt == pdu.ttt)
        } else {
            self.unsolicited.as_mut()
        };
        let sequence = open?;
        let verdict = sequence.take(pdu, length, is_solicited);
        if let Err(failure) = verdict {
            self.fail(failure);
        }
        if pdu.is_final {
            self.close(pdu.ttt);
        }
        let is_stored = self.failure.is_none() && length > 0;
        Some(if is_stored { self.lend(pool, pdu.buffer_offset) } else { Place::Discard })
    }

    /// The data segment is in.
    pub(super) fn on_data(&mut self, place: Place, digest_matches: bool) {
        if let Place::Buffer { buffer, .. } = place {
            self.buffer = Some(buffer);
        }
        if !digest_matches {
            self.fail(Failure::Transport);
        }
    }

    /// The next part to ask for, if one may be asked for now; `ttt` names it.
    pub(super) fn poll_solicitation(&mut self, parameters: &Parameters, ttt: Ttt) -> Option<Solicitation> {
        let outstanding = u32::try_from(self.solicited.len()).unwrap_or(u32::MAX);
        let may_ask = self.failure.is_none()
            && self.unsolicited.is_none()
            && self.claimed < self.expected
            && outstanding < parameters.max_outstanding_r2t;
        if !may_ask {
            return None;
        }
        let length = (self.expected - self.claimed).min(parameters.max_burst_length);
        let asked = Solicitation { ttt, r2t_sn: self.r2t_sn, buffer_offset: self.claimed, length };
        self.claimed += length;
        self.r2t_sn += 1;
        self.solicited.push(Sequence { ttt, next_offset: asked.buffer_offset, end: self.claimed, next_data_sn: 0 });
        Some(asked)
    }

    /// Whether no data is on its way and none is missing (or wanted any more).
    pub(super) fn is_over(&self) -> bool {
        let is_quiet = self.unsolicited.is_none() && self.solicited.is_empty();
        is_quiet && (self.failure.is_some() || self.claimed == self.expected)
    }

    /// The collected bytes; `None` when there were none to collect.
    pub(super) fn into_payload(self) -> Option<Payload> {
        assert!(self.is_over() && self.failure.is_none(), "the Data-Out is not complete");
        self.buffer.map(BufferMut::freeze)
    }

    fn close(&mut self, ttt: Ttt) {
        if ttt == Ttt::RESERVED {
            if let Some(sequence) = self.unsolicited.take() {
                self.claimed = sequence.next_offset;
            }
        } else {
            self.solicited.retain(|sequence| sequence.ttt != ttt);
        }
    }

    fn lend(&mut self, pool: &Pool, offset: u32) -> Place {
        let expected = bytes(self.expected);
        let buffer = self.buffer.take().unwrap_or_else(|| pool.take(expected));
        Place::Buffer { buffer, offset: bytes(offset) }
    }
}

impl Sequence {
    /// Check one PDU against the sequence and step forward. A solicited sequence must be sent whole.
    fn take(&mut self, pdu: &DataOut, length: u32, is_solicited: bool) -> Result<(), Failure> {
        let data_sn = self.next_data_sn;
        self.next_data_sn = pdu.data_sn.wrapping_add(1);
        if pdu.data_sn != data_sn {
            return Err(Failure::Transport);
        }
        if pdu.buffer_offset != self.next_offset || length > self.end - self.next_offset {
            return Err(Failure::IncorrectAmountOfData);
        }
        self.next_offset += length;
        let is_whole = self.next_offset == self.end;
        if is_solicited && pdu.is_final != is_whole { Err(Failure::IncorrectAmountOfData) } else { Ok(()) }
    }
}

impl Failure {
    /// What the initiator is told (RFC 7143 11.4.7.2).
    pub(super) fn response(self) -> Response {
        let (status, sense) = match self {
            Self::UnexpectedUnsolicitedData => (Status::CheckCondition, sense::UNEXPECTED_UNSOLICITED_DATA.fixed()),
            Self::IncorrectAmountOfData => (Status::CheckCondition, sense::INCORRECT_AMOUNT_OF_DATA.fixed()),
            Self::Transport => (Status::CheckCondition, sense::PROTOCOL_SERVICE_CRC_ERROR.fixed()),
            Self::TooLong => (Status::CheckCondition, sense::INVALID_FIELD_IN_CDB.fixed()),
            Self::NoRoom => (Status::TaskSetFull, Vec::new()),
        };
        Response { status, sense, data_in: DataIn::None, data_out_wanted: None, data_in_wanted: None }
    }
}

fn bytes(count: u32) -> usize {
    usize::try_from(count).expect("a target runs on machines with at least 32-bit addresses")
}

#[cfg(test)]
mod tests;
