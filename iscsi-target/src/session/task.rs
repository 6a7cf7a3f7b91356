//! One SCSI command between its header and its answer.

use super::answer::{Announced, CommandAnswer};
use super::event::{CommandEvent, TaskId};
use super::keys::Parameters;
use super::limits::MAX_DATA_OUT_BYTES;
use super::transfer::Transfer;
use super::window::Charge;
use crate::pdu::command::{Attribute, ScsiCommand};
use crate::scsi::{self, TaskAttribute};

/// A task of this connection.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) lun: u64,
    cdb: Vec<u8>,
    attribute: TaskAttribute,
    announced: Announced,
    pub(super) charge: Charge,
    arrival: u64,
    pub(super) stage: TaskStage,
}

/// How far a task is.
#[derive(Debug)]
pub(super) enum TaskStage {
    /// Data-Out is on its way.
    Collecting(Transfer),
    /// The daemon has it.
    Issued {
        /// R2Ts that were sent for it.
        r2t_count: u32,
    },
}

impl Announced {
    pub(super) fn by(command: &ScsiCommand) -> Self {
        let length = command.expected_data_transfer_length;
        let data_in = match (command.read, command.write) {
            (true, true) => command.bidirectional_read_length.unwrap_or(0),
            (true, false) => length,
            (false, _) => 0,
        };
        let data_out = if command.write { length } else { 0 };
        Self { read: command.read, write: command.write, data_in, data_out }
    }

    /// Bytes that the command may hold in memory. What it announces beyond the longest transfer is never moved.
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.data_in.min(MAX_DATA_OUT_BYTES)) + u64::from(self.data_out.min(MAX_DATA_OUT_BYTES))
    }
}

impl Task {
    /// `None` if the command's attribute is none.
    pub(super) fn new(id: TaskId, command: ScsiCommand, transfer: Transfer, arrival: u64) -> Option<Self> {
        let announced = Announced::by(&command);
        Some(Self {
            id,
            lun: command.lun,
            cdb: command.cdb,
            attribute: attribute(command.attribute)?,
            announced,
            charge: Charge { immediate: command.immediate, bytes: announced.bytes() },
            arrival,
            stage: TaskStage::Collecting(transfer),
        })
    }

    /// Hand the task with its Data-Out to the daemon, if it was not handed out before.
    ///
    /// # Panics
    /// If its Data-Out is not complete.
    pub(super) fn issue(&mut self) -> Option<CommandEvent> {
        let TaskStage::Collecting(transfer) = &self.stage else {
            return None;
        };
        let issued = TaskStage::Issued { r2t_count: transfer.r2t_count() };
        let TaskStage::Collecting(transfer) = std::mem::replace(&mut self.stage, issued) else {
            return None;
        };
        Some(CommandEvent {
            task: self.id,
            lun: self.lun,
            cdb: std::mem::take(&mut self.cdb),
            attribute: self.attribute,
            data_out: transfer.into_payload(),
            data_in_max: self.announced.data_in,
            immediate: self.charge.immediate,
            arrival: self.arrival,
        })
    }

    /// The end of the task.
    pub(super) fn answer(self, response: scsi::Response, parameters: &Parameters) -> (CommandAnswer, Charge) {
        let r2t_count = match &self.stage {
            TaskStage::Collecting(transfer) => transfer.r2t_count(),
            TaskStage::Issued { r2t_count } => *r2t_count,
        };
        (CommandAnswer::new(self.id.itt, self.announced, r2t_count, response, parameters), self.charge)
    }
}

fn attribute(attribute: Attribute) -> Option<TaskAttribute> {
    match attribute {
        Attribute::Untagged | Attribute::Simple => Some(TaskAttribute::Simple),
        Attribute::Ordered => Some(TaskAttribute::Ordered),
        Attribute::HeadOfQueue => Some(TaskAttribute::HeadOfQueue),
        Attribute::Aca => Some(TaskAttribute::Aca),
        Attribute::Reserved(_) => None,
    }
}
