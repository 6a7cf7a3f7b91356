//! At most one head serves: when the owner of an epoch has answered a client, no owner of an earlier one does any more.

use sas_backend::{Epoch, HeadId};

/// The newest owner that has answered.
#[derive(Default)]
pub(in crate::world) struct OneServer {
    newest: Option<(Epoch, HeadId)>,
}

impl OneServer {
    /// `head` has answered a client as the owner of `epoch`.
    pub(in crate::world) fn answered(&mut self, head: HeadId, epoch: Epoch) -> Result<(), String> {
        match self.newest {
            Some((newest, other)) if other != head && newest > epoch => {
                Err(format!("{head} answers as the owner of epoch {epoch}, and {other} has as that of epoch {newest}"))
            }
            newest => {
                self.newest = newest.max(Some((epoch, head)));
                Ok(())
            }
        }
    }
}
