//! Output is handed to the kernel at the end of a batch, not piece by piece: what one readiness of a socket or of the
//! disk has brought about leaves in as few system calls as possible, and nothing waits for anything else.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Something with output to hand over.
pub(crate) trait Flush {
    /// Hand it over.
    fn flush(&self);
}

/// The batch of the data path's thread.
#[derive(Default)]
pub(crate) struct Batch {
    depth: Cell<u32>,
    waiting: RefCell<Vec<Rc<dyn Flush>>>,
}

/// The batch lasts as long as this; batches within it are part of it.
pub(crate) struct Open<'a> {
    batch: &'a Batch,
}

impl Batch {
    /// Begin a batch.
    pub(crate) fn begin(&self) -> Open<'_> {
        self.depth.set(self.depth.get() + 1);
        Open { batch: self }
    }

    /// Flush `item` at the end of the batch; at once if there is none.
    pub(crate) fn add(&self, item: Rc<dyn Flush>) {
        if self.depth.get() == 0 {
            item.flush();
        } else {
            self.waiting.borrow_mut().push(item);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // The items flush while the batch is still open: what that brings about is flushed here, too.
        if self.batch.depth.get() == 1 {
            loop {
                let Some(item) = self.batch.waiting.borrow_mut().pop() else { break };
                item.flush();
            }
        }
        self.batch.depth.set(self.batch.depth.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(Cell<u32>);

    impl Flush for Counter {
        fn flush(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn output_leaves_at_the_end_of_the_outermost_batch() {
        let batch = Batch::default();
        let item = Rc::new(Counter(Cell::new(0)));
        {
            let _outer = batch.begin();
            {
                let _inner = batch.begin();
                batch.add(item.clone());
            }
            assert_eq!(item.0.get(), 0);
        }
        assert_eq!(item.0.get(), 1);
        batch.add(item.clone());
        assert_eq!(item.0.get(), 2, "outside of a batch nothing waits");
    }
}
