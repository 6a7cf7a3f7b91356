//! One command of a session: its data on the way out and on the way in.

use std::time::Duration;

use bytes::Bytes;

use super::login::Parameters;
use super::{SessionError, Tag};
use crate::initiator::command::{Command, Data};
use crate::pdu::command::{Attribute, ScsiCommand};
use crate::pdu::data::{DataIn, DataOut};
use crate::pdu::r2t::R2t;
use crate::pdu::{CmdSn, Itt, Request, Segment, StatSn, Ttt};

/// CDB bytes in a SCSI Command PDU without additional header segments.
const CDB_BYTES: usize = 16;

type Pdus = Vec<(Request, Segment)>;

#[derive(Debug)]
pub(super) struct Task {
    tag: Tag,
    itt: Itt,
    lun: u64,
    cmd_sn: CmdSn,
    sent_at: Duration,
    data: Data,
    data_in: Vec<u8>,
    data_in_pdus: u32,
    /// Bytes of Data-Out that went out, in order.
    data_out_sent: usize,
    r2ts: u32,
}

/// A burst of Data-Out: who asked for it, and which bytes.
struct Burst {
    lun: u64,
    ttt: Ttt,
    start: usize,
    end: usize,
}

impl Task {
    /// The task and what goes out at once: the command with immediate data, then unsolicited Data-Out.
    pub(super) fn start(
        tag: Tag,
        command: Command,
        itt: Itt,
        lun: u64,
        (cmd_sn, exp_stat_sn): (CmdSn, StatSn),
        parameters: &Parameters,
        now: Duration,
    ) -> (Self, Pdus) {
        let Command { mut cdb, data } = command;
        cdb.resize(CDB_BYTES, 0);
        let expected = data.expected_length();
        let out = if let Data::Out(bytes) = &data { bytes.clone() } else { Bytes::new() };
        let first_burst = out.len().min(size(parameters.first_burst_length));
        let immediate =
            if parameters.immediate_data { first_burst.min(size(parameters.max_send_data_segment_length)) } else { 0 };
        let unsolicited = if parameters.initial_r2t { immediate } else { first_burst };
        let pdu = ScsiCommand {
            immediate: false,
            is_final: unsolicited == immediate,
            read: matches!(data, Data::In(_)),
            write: matches!(data, Data::Out(_)),
            attribute: Attribute::Simple,
            lun,
            itt,
            expected_data_transfer_length: u32::try_from(expected).unwrap_or(u32::MAX),
            cmd_sn,
            exp_stat_sn,
            cdb,
            bidirectional_read_length: None,
        };
        let mut task = Self {
            tag,
            itt,
            lun,
            cmd_sn,
            sent_at: now,
            data,
            data_in: Vec::new(),
            data_in_pdus: 0,
            data_out_sent: immediate,
            r2ts: 0,
        };
        let mut pdus = vec![(Request::ScsiCommand(pdu), Segment::Bytes(out.slice(..immediate)))];
        let burst = Burst { lun, ttt: Ttt::RESERVED, start: immediate, end: unsolicited };
        pdus.extend(task.send_burst(&burst, parameters, exp_stat_sn));
        (task, pdus)
    }

    pub(super) fn cmd_sn(&self) -> CmdSn {
        self.cmd_sn
    }

    pub(super) fn sent_at(&self) -> Duration {
        self.sent_at
    }

    pub(super) fn into_data_in(self) -> (Tag, Vec<u8>) {
        (self.tag, self.data_in)
    }

    /// Data-In comes in order (DataPDUInOrder and DataSequenceInOrder were asked for).
    pub(super) fn take_data_in(&mut self, pdu: &DataIn, data: &[u8]) -> Result<(), SessionError> {
        let Data::In(expected) = self.data else {
            return Err(SessionError::Protocol("Data-In for a command that expects none"));
        };
        if pdu.data_sn != self.data_in_pdus || size(pdu.buffer_offset) != self.data_in.len() {
            return Err(SessionError::Protocol("Data-In out of order"));
        }
        if data.len() > size(expected) - self.data_in.len() {
            return Err(SessionError::Protocol("more Data-In than the command expects"));
        }
        self.data_in_pdus += 1;
        self.data_in.extend_from_slice(data);
        Ok(())
    }

    /// The Data-Out that an R2T asks for. R2Ts come in order, so no byte goes out twice.
    pub(super) fn answer_r2t(
        &mut self,
        pdu: &R2t,
        parameters: &Parameters,
        exp_stat_sn: StatSn,
    ) -> Result<Pdus, SessionError> {
        let Data::Out(data) = &self.data else {
            return Err(SessionError::Protocol("an R2T for a command without Data-Out"));
        };
        let length = pdu.desired_data_transfer_length;
        let start = size(pdu.buffer_offset);
        if pdu.r2t_sn != self.r2ts || start != self.data_out_sent {
            return Err(SessionError::Protocol("an R2T out of order"));
        }
        if length == 0 || length > parameters.max_burst_length || size(length) > data.len() - start {
            return Err(SessionError::Protocol("an R2T for data that there is not"));
        }
        self.r2ts += 1;
        let burst = Burst { lun: self.lun, ttt: pdu.ttt, start, end: start + size(length) };
        Ok(self.send_burst(&burst, parameters, exp_stat_sn))
    }

    fn send_burst(&mut self, burst: &Burst, parameters: &Parameters, exp_stat_sn: StatSn) -> Pdus {
        let Data::Out(data) = &self.data else { return Vec::new() };
        let step = size(parameters.max_send_data_segment_length);
        let starts = (burst.start..burst.end).step_by(step);
        let pdus = starts.zip(0..).map(|(start, data_sn)| {
            let end = burst.end.min(start + step);
            let pdu = DataOut {
                is_final: end == burst.end,
                lun: burst.lun,
                itt: self.itt,
                ttt: burst.ttt,
                exp_stat_sn,
                data_sn,
                buffer_offset: u32::try_from(start).unwrap_or(u32::MAX),
            };
            (Request::DataOut(pdu), Segment::Bytes(data.slice(start..end)))
        });
        let pdus = pdus.collect();
        self.data_out_sent = self.data_out_sent.max(burst.end);
        pdus
    }
}

fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
