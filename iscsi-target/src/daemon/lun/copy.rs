//! EXTENDED COPY: executes what [`crate::scsi::copy`] says, between units of this head.
//!
//! The copy is a task of the unit that it was sent to: who ends that waits until no step of it is under way at any unit.
//! At the others it takes steps as a guest: they may end these, and the copy fails, but it is answered. Each step passes
//! the gate of its unit again, as a READ or WRITE of the same initiator would.

use std::rc::Rc;

use replication::block::Blocks;
use replication::head::Operation;
use replication::{Data, Extent};
use sas_backend::buffer::Payload;

use super::Lun;
use super::tasks::{Caller, HOLD_MS};
use crate::scsi::attention::Attention;
use crate::scsi::block::IoError;
use crate::scsi::copy::failure::Failed;
use crate::scsi::copy::list::{Cscd, ParameterList};
use crate::scsi::copy::plan::{self, Piece, Side};
use crate::scsi::copy::results::CopyId;
use crate::scsi::decode;
use crate::scsi::unit::Access;
use crate::scsi::{NexusId, Response, Status};

/// A copy under way.
struct Copy {
    home: Rc<Lun>,
    caller: Caller,
    nexus: NexusId,
    id: CopyId,
    list: ParameterList,
    /// The units that the list names, as far as they are there for the initiator.
    units: Vec<Rc<Lun>>,
}

impl Lun {
    /// An initiator has sent EXTENDED COPY to this unit.
    pub(super) fn copy(&self, caller: Caller, arrival: u64, list: ParameterList) {
        let Some(home) = self.this.upgrade() else { return };
        let nexus = caller.connection.nexus();
        let units: Vec<Rc<Self>> = {
            let is_named = |lun: &Rc<Self>| list.cscds.iter().any(|cscd| lun.unit.borrow().is_named(nexus, cscd));
            self.registry.luns_of(nexus).into_iter().filter(is_named).collect()
        };
        if units.iter().any(|lun| lun.is_too_old(arrival)) {
            return caller.respond(Response::unit_attention(Attention::AccessStateChanged));
        }
        if units.iter().any(|lun| lun.is_moving()) {
            return caller.respond(Response::status(Status::Busy));
        }
        let begun = self.unit.borrow_mut().begin_copy(nexus, list.identifier);
        let id = match begun {
            Ok(id) => id,
            Err(refused) => return caller.respond(refused),
        };
        let guests: Vec<_> = units.iter().filter(|lun| lun.id != self.id).cloned().collect();
        let key = self.begin_copy(&caller, &guests);
        let copy = Copy { home, caller, nexus, id, list, units };
        tokio::task::spawn_local(async move {
            let response = copy.run().await;
            copy.home.unit.borrow_mut().end_copy(nexus, id, &response);
            copy.caller.respond(response);
            copy.home.end_copy(key);
        });
    }

    /// Whether it is on its way from one role to another, or has just lost one: soon it can be had again, if only through
    /// the other head.
    fn is_moving(&self) -> bool {
        match self.unit.borrow().access() {
            Access::Changing => true,
            Access::Standby => self.clock.now().since(self.access_since.get()) < HOLD_MS,
            Access::Serving | Access::Forwarding | Access::Unavailable => false,
        }
    }

    fn as_copied(&self) -> plan::Unit {
        let unit = self.unit.borrow();
        plan::Unit { number: self.id, block_bytes: self.block_bytes, blocks: unit.config().blocks }
    }
}

impl Copy {
    /// All segments, one after the other.
    async fn run(&self) -> Response {
        let mut begun = Vec::new();
        for (number, segment) in (0..).zip(&self.list.segments) {
            let unit = |cscd: &Cscd| Some(self.unit_of(cscd)?.as_copied());
            let done = match plan::piece(&self.list, segment, unit) {
                Ok(None) => Ok(()),
                Ok(Some(piece)) => {
                    begun.push(piece);
                    self.piece(&piece).await
                }
                Err(failed) => Err(failed),
            };
            if let Err(failed) = done {
                return failed.answer(number, plan::is_repeatable(&begun));
            }
            self.home.unit.borrow_mut().copied_segment(self.nexus, self.id);
        }
        Response::good()
    }

    fn unit_of(&self, cscd: &Cscd) -> Option<&Rc<Lun>> {
        self.units.iter().find(|lun| lun.unit.borrow().is_named(self.nexus, cscd))
    }

    fn unit(&self, number: u8) -> Result<&Lun, Failed> {
        self.units.iter().find(|lun| lun.id == number).map(|lun| &**lun).ok_or(Failed::NotReachable)
    }

    async fn piece(&self, piece: &Piece) -> Result<(), Failed> {
        let source = self.unit(piece.source.unit)?;
        let destination = self.unit(piece.destination.unit)?;
        for (from, to) in piece.steps() {
            let parts = self.step(Side::Source, source, Operation::Read(extent(from))).await?;
            let blocks = Blocks::new(source.in_one(parts), destination.block_bytes);
            let data = blocks.filter(|data| data.blocks() == to.blocks);
            let data = data.ok_or_else(|| plan::failed(Side::Source, IoError::Aborted))?;
            self.step(Side::Destination, destination, Operation::Write { extent: extent(to), data, fua: false })
                .await?;
            self.home.unit.borrow_mut().copied(self.nexus, self.id, to.blocks * u64::from(destination.block_bytes));
        }
        Ok(())
    }

    async fn step(&self, side: Side, lun: &Lun, operation: Operation<Blocks>) -> Result<Vec<Payload>, Failed> {
        if lun.is_moving() {
            return Err(plan::failed(side, IoError::Moved));
        }
        lun.unit.borrow().admit_copy(self.nexus, side)?;
        let done = match self.home.may_step(&self.caller) {
            Some(_) => lun.one(&self.caller, operation).await,
            None => Err(IoError::Aborted),
        };
        done.map_err(|error| plan::failed(side, error))
    }
}

impl Lun {
    /// The parts of a read as one.
    pub(super) fn in_one(&self, mut parts: Vec<Payload>) -> Payload {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let mut whole = self.pool.take(parts.iter().map(|part| part.len()).sum());
        let mut at = 0;
        for part in parts {
            whole[at..at + part.len()].copy_from_slice(&part);
            at += part.len();
        }
        whole.freeze()
    }
}

fn extent(of: decode::Extent) -> Extent {
    Extent::new(of.lba, of.blocks)
}
