//! The end of one command on the wire: Data-In PDUs, the status in the last of them or in a SCSI Response behind them
//! (RFC 7143 11.4, 11.7). PDUs are made one at a time, when there is room to send them.

use std::collections::VecDeque;

use super::keys::Parameters;
use crate::pdu::command::{Residual, ScsiResponse, ServiceResponse, emit_sense};
use crate::pdu::data;
use crate::pdu::{Itt, Numbers, Response, Segment, Ttt};
use crate::scsi::{self, DataIn, Status};

/// What the initiator announced to be transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) data_in: u32,
    pub(super) data_out: u32,
}

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct CommandAnswer {
    itt: Itt,
    pieces: VecDeque<Segment>,
    /// Bytes of `pieces` that go out; the rest is residual.
    left: u32,
    buffer_offset: u32,
    data_sn: u32,
    r2t_count: u32,
    burst_left: u32,
    max_burst_length: u32,
    max_data_segment_length: u32,
    status: Status,
    sense: Vec<u8>,
    residual: Residual,
    bidirectional_read_residual: Residual,
    is_finished: bool,
}

impl CommandAnswer {
    pub(super) fn new(
        itt: Itt,
        announced: Announced,
        r2t_count: u32,
        response: scsi::Response,
        parameters: &Parameters,
    ) -> Self {
        let pieces: VecDeque<Segment> = match response.data_in {
            DataIn::None => VecDeque::new(),
            DataIn::Parameters(bytes) => VecDeque::from([bytes.into()]),
            DataIn::Blocks(payloads) => payloads.into_iter().map(Segment::from).collect(),
        };
        let available: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let left = u32::try_from(available).unwrap_or(u32::MAX).min(announced.data_in);
        let wanted = response.data_in_wanted.unwrap_or(available);
        let (residual, bidirectional_read_residual) = announced.residuals(wanted, response.data_out_wanted);
        Self {
            itt,
            pieces,
            left,
            buffer_offset: 0,
            data_sn: 0,
            r2t_count,
            burst_left: parameters.max_burst_length,
            max_burst_length: parameters.max_burst_length,
            max_data_segment_length: parameters.max_recv_data_segment_length,
            status: response.status,
            sense: response.sense,
            residual,
            bidirectional_read_residual,
            is_finished: false,
        }
    }

    /// Whether the PDU with the status was given out.
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// The next PDU, its sequence numbers not yet filled in.
    pub(super) fn next_pdu(&mut self) -> (Response, Vec<Segment>) {
        if self.left > 0 { self.data_in() } else { self.response() }
    }

    fn data_in(&mut self) -> (Response, Vec<Segment>) {
        let length = self.left.min(self.burst_left).min(self.max_data_segment_length);
        let data = self.take(length);
        self.left -= length;
        self.burst_left -= length;
        // Sense data and the residual count of a second direction have no room in a Data-In.
        let is_collapsed =
            self.left == 0 && self.status == Status::Good && self.bidirectional_read_residual == Residual::None;
        let pdu = data::DataIn {
            is_final: self.left == 0 || self.burst_left == 0,
            acknowledge: false,
            status: is_collapsed.then_some((self.status as u8, self.residual)),
            lun: 0,
            itt: self.itt,
            ttt: Ttt::RESERVED,
            numbers: Numbers::default(),
            data_sn: self.data_sn,
            buffer_offset: self.buffer_offset,
        };
        self.is_finished = is_collapsed;
        self.data_sn += 1;
        self.buffer_offset += length;
        if self.burst_left == 0 {
            self.burst_left = self.max_burst_length;
        }
        (Response::DataIn(pdu), data)
    }

    fn response(&mut self) -> (Response, Vec<Segment>) {
        self.is_finished = true;
        let pdu = ScsiResponse {
            response: ServiceResponse::CommandCompleted,
            status: self.status as u8,
            itt: self.itt,
            snack_tag: 0,
            numbers: Numbers::default(),
            exp_data_sn: self.data_sn + self.r2t_count,
            bidirectional_read_residual: self.bidirectional_read_residual,
            residual: self.residual,
        };
        let sense = emit_sense(&self.sense);
        let data = if sense.is_empty() { Vec::new() } else { vec![sense.into()] };
        (Response::ScsiResponse(pdu), data)
    }

    /// The next `length` bytes.
    fn take(&mut self, length: u32) -> Vec<Segment> {
        let mut missing = usize::try_from(length).expect("a data segment fits into memory");
        let mut taken = Vec::new();
        while missing > 0 {
            let mut piece = self.pieces.pop_front().expect("no more bytes are promised than there are");
            let rest = piece.split_off(missing.min(piece.len()));
            missing -= piece.len();
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            if !piece.is_empty() {
                taken.push(piece);
            }
        }
        taken
    }
}

impl Announced {
    /// The residual count, and that of the Data-In of a bidirectional command (RFC 7143 11.4.5).
    fn residuals(self, data_in: u64, data_out_wanted: Option<u64>) -> (Residual, Residual) {
        let data_in = Residual::between(self.data_in, data_in);
        let data_out = data_out_wanted.map_or(Residual::None, |wanted| Residual::between(self.data_out, wanted));
        match (self.read, self.write) {
            (true, true) => (data_out, data_in),
            (false, true) => (data_out, Residual::None),
            (true, false) => (data_in, Residual::None),
            // No direction announced: whatever the command wanted was not transferred.
            (false, false) if data_in == Residual::None => (data_out, Residual::None),
            (false, false) => (data_in, Residual::None),
        }
    }
}

#[cfg(test)]
mod tests;
