//! The unit's part in copies: of those that were sent to it, and of those that read or write it.

use super::{Access, LogicalUnit, Verdict};
use crate::scsi::block::IoError;
use crate::scsi::copy::MAX_COPIES_OF_UNIT;
use crate::scsi::copy::failure::Failed;
use crate::scsi::copy::list::Cscd;
use crate::scsi::copy::plan::{self, Side};
use crate::scsi::copy::results::{CopyId, Results};
use crate::scsi::sense::Sense;
use crate::scsi::{NexusId, Response, Status, opcodes, vpd};

impl LogicalUnit {
    /// Whether a CSCD descriptor in a list of `nexus` names this unit. To whom the unit is not there, it has no name.
    #[must_use]
    pub fn is_named(&self, nexus: NexusId, cscd: &Cscd) -> bool {
        self.has_nexus(nexus) && vpd::names_unit(&self.config, cscd)
    }

    /// Whether a copy that `nexus` has sent may read or write blocks of this unit now: as if it were a READ or a WRITE.
    ///
    /// # Errors
    /// Why not.
    pub fn admit_copy(&self, nexus: NexusId, side: Side) -> Result<(), Failed> {
        if matches!(self.access, Access::Standby | Access::Unavailable) {
            return Err(Failed::NotReachable);
        }
        self.pass(nexus, opcodes::row_of_copy(side == Side::Destination)).map_err(|verdict| match verdict {
            Verdict::Done(response) => Failed::Unit { side, response, moved: false },
            _ => plan::failed(side, IoError::Moved),
        })
    }

    /// A copy begins that `nexus` has sent to this unit.
    ///
    /// # Errors
    /// The answer, if it may not.
    pub fn begin_copy(&mut self, nexus: NexusId, identifier: Option<u8>) -> Result<CopyId, Response> {
        let under_way: usize = self.nexuses.values().map(|nexus| nexus.copies.under_way()).sum();
        let nexus = self.nexuses.get_mut(&nexus).filter(|_| under_way < MAX_COPIES_OF_UNIT);
        nexus.ok_or_else(|| Response::status(Status::Busy))?.copies.begin(identifier)
    }

    /// It has copied so many bytes more.
    pub fn copied(&mut self, nexus: NexusId, id: CopyId, bytes: u64) {
        if let Some(nexus) = self.nexuses.get_mut(&nexus) {
            nexus.copies.copied(id, bytes);
        }
    }

    /// It has copied another segment.
    pub fn copied_segment(&mut self, nexus: NexusId, id: CopyId) {
        if let Some(nexus) = self.nexuses.get_mut(&nexus) {
            nexus.copies.segment_done(id);
        }
    }

    /// It is answered with `response`.
    pub fn end_copy(&mut self, nexus: NexusId, id: CopyId, response: &Response) {
        if let Some(nexus) = self.nexuses.get_mut(&nexus) {
            nexus.copies.end(id, response);
        }
    }

    /// RECEIVE COPY STATUS and the like: what is known of a copy of this nexus, or INVALID FIELD IN CDB.
    pub(super) fn copy_result(
        &mut self,
        nexus: NexusId,
        allocation: u32,
        of: impl FnOnce(&mut Results) -> Option<Vec<u8>>,
    ) -> Response {
        match self.nexuses.get_mut(&nexus).and_then(|nexus| of(&mut nexus.copies)) {
            Some(bytes) => Response::parameters(bytes, allocation),
            None => Response::check(Sense::invalid_cdb(2, Some(7))),
        }
    }
}
