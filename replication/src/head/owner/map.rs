//! Whether blocks are mapped or a hole: RAM knows of what is in it, the disk of the rest.
//!
//! The answer ends where what knows it does. RAM is looked at before the disk is asked, and what RAM has then is not asked
//! of the disk: whatever was acknowledged before and is not in RAM any more, the disk has. A write that comes meanwhile may
//! count or not, as for any two commands at a time.

use super::Owner;
use crate::block::{Data, Extent, Stretch};
use crate::head::Core;
use crate::head::event::{Action, DiskCommand, IoError, IoId, Operation, Outcome, Request};

impl<D: Data> Owner<D> {
    pub(super) fn map(&mut self, core: &mut Core<D>, request: Request<D>) {
        let Operation::Map(mut extent) = request.operation else { return };
        // As for a read: what may still vanish is not told. Only of the first block there has to be an answer.
        let first = Extent::new(extent.lba, 1);
        if let Some(write) = self.blocking(first) {
            write.waiting.push_back(request);
            return;
        }
        if let Some(pending) = self.pending.next_from(extent.lba) {
            extent.blocks = extent.blocks.min(pending - extent.lba);
        }
        let known = core.memory.map.overlapping(extent).next().map(|(at, piece)| (at, piece.data.is_hole()));
        match known {
            Some((at, is_hole)) if at.lba <= extent.lba => {
                let blocks = at.end().min(extent.end()) - extent.lba;
                self.complete(core, request.op, Outcome::Map(Stretch { blocks, mapped: !is_hole }));
                return;
            }
            Some((at, _)) => extent.blocks = at.lba - extent.lba,
            None => {}
        }
        let id = core.next_io();
        self.maps.insert(id, (request.op, extent));
        core.actions.push_back(Action::Disk { id, command: DiskCommand::Map(extent) });
    }

    pub(super) fn on_mapped(&mut self, core: &mut Core<D>, id: IoId, result: Result<Stretch, IoError>) {
        let Some((op, extent)) = self.maps.remove(&id) else { return };
        let outcome = match result {
            Ok(stretch) if (1..=extent.blocks).contains(&stretch.blocks) => Outcome::Map(stretch),
            Ok(_) => Outcome::Failed(IoError::Path),
            Err(error) => Outcome::Failed(error),
        };
        self.complete(core, op, outcome);
    }
}
