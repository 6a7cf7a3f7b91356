//! The gate that all I/O of one head on one disk passes.
//!
//! Where the disk itself refuses a fenced head, the gate is always open. For plain files it is what refuses: closing it
//! and waiting until nobody is inside proves that none of this head's I/O can reach the file any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::disk::DiskError;

/// Open or closed, and how many operations are inside.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    inside: AtomicU64,
    waiting: Mutex<()>,
    emptied: Condvar,
}

/// One operation is inside as long as this lives.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
}

impl Gate {
    /// Let one operation in.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Pass, DiskError> {
        // Counted first, then checked: whoever closes the gate and sees nobody inside has seen all that saw it open.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let pass = Pass { gate: Arc::clone(self) };
        if pass.is_void() { Err(DiskError::Fenced) } else { Ok(pass) }
    }

    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Wait until nobody is inside; the gate must be closed, or this may never end.
    pub(crate) fn wait_until_empty(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while self.inside.load(Ordering::SeqCst) != 0 {
            waiting = self.emptied.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Pass {
    /// The gate was closed meanwhile: nothing more may be started with this pass.
    pub(crate) fn is_void(&self) -> bool {
        self.gate.is_closed()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let was_inside = self.gate.inside.fetch_sub(1, Ordering::SeqCst);
        if was_inside == 1 && self.gate.is_closed() {
            // Under the mutex, so that it cannot fall between the waiter's look and its wait.
            let _waiting = self.gate.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.gate.emptied.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_lets_nobody_in_and_waits_for_those_inside() {
        let gate = Arc::new(Gate::default());
        let pass = gate.enter().unwrap();
        gate.close();
        assert_eq!(gate.enter().unwrap_err(), DiskError::Fenced);
        assert!(pass.is_void());
        let waiter = std::thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.wait_until_empty()
        });
        drop(pass);
        waiter.join().unwrap();
        gate.open();
        assert!(gate.enter().is_ok());
    }
}
