//! Where the superblock of a disk and the heartbeats beside it are: the arbiter finds out, the heartbeat follows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sas_backend::superblock::region::Region;

/// The place that the threads of one unit share.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Mutex<Region>>);

impl Place {
    pub(super) fn new(region: Region) -> Self {
        Self(Arc::new(Mutex::new(region)))
    }

    /// Where it is; it stays there while this lives. The heartbeat holds it from before it looks whether it is still
    /// wanted until it is on the disk.
    pub(super) fn hold(&self) -> MutexGuard<'_, Region> {
        // A region is whole at every moment, whoever has panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is at this moment; only the arbiter changes it.
    pub(super) fn region(&self) -> Region {
        *self.hold()
    }

    /// From now on it is there, and nothing of this head is under way to where it was.
    pub(super) fn move_to(&self, region: Region) {
        *self.hold() = region;
    }

    /// When this returns, no heartbeat is under way that was begun before, and one that was told to stop has stopped.
    pub(super) fn wait_for_heartbeat(&self) {
        drop(self.hold());
    }
}
