//! A thread that shows on the disk that this head lives, and looks whether the other one does.
//!
//! It shares nothing with the data path but a channel, so that no load there can delay it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use replication::block::Blocks;
use replication::head::{Action, Event};
use sas_backend::buffer::Block;
use sas_backend::disk::DiskError;
use sas_backend::superblock::heartbeat::Heartbeat as Record;
use sas_backend::superblock::region::Region;
use sas_backend::{Epoch, HeadId, Incarnation, SyncIo};

use super::place::Place;
use crate::daemon::clock::Clock;

/// What the thread works with.
pub(super) struct Heartbeat {
    pub(super) me: HeadId,
    pub(super) incarnation: Incarnation,
    pub(super) io: SyncIo,
    pub(super) place: Place,
    pub(super) clock: Clock,
    pub(super) every: Duration,
}

/// What it does at present.
#[derive(Default)]
struct Duty {
    beating: Option<Epoch>,
    watching: bool,
    counter: u64,
}

impl Duty {
    fn follow(&mut self, order: Action<Blocks>) {
        match order {
            Action::StartHeartbeat { epoch } => self.beating = Some(epoch),
            Action::StopHeartbeat => self.beating = None,
            Action::WatchPeer(watching) => self.watching = watching,
            other => tracing::error!(?other, "not an order for the heartbeat"),
        }
    }
}

impl Heartbeat {
    /// Follow the orders until nobody can give any more. `tell` hands over what was seen.
    pub(super) fn run(self, orders: &Receiver<Action<Blocks>>, mut tell: impl FnMut(Event<Blocks>) -> bool) {
        let mut duty = Duty::default();
        loop {
            let idle = duty.beating.is_none() && !duty.watching;
            let order = if idle {
                orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                orders.recv_timeout(self.every)
            };
            match order {
                Ok(order) => duty.follow(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let region = self.place.hold();
            // Whoever waits for the place has told before what it wants.
            orders.try_iter().for_each(|order| duty.follow(order));
            let events = [self.beat(*region, &mut duty), self.watch(*region, &duty)];
            drop(region);
            if !events.into_iter().flatten().all(&mut tell) {
                return;
            }
        }
    }

    fn beat(&self, region: Region, duty: &mut Duty) -> Option<Event<Blocks>> {
        let epoch = duty.beating?;
        duty.counter += 1;
        let record = Record { head: self.me, incarnation: self.incarnation, epoch, counter: duty.counter };
        let started = self.clock.now();
        let block = Block::from(&record.emit());
        match self.io.write_block(region.heartbeat(self.me), &block, false) {
            Ok(()) => Some(Event::Heartbeat { started }),
            Err(error) => conflict(&error),
        }
    }

    fn watch(&self, region: Region, duty: &Duty) -> Option<Event<Blocks>> {
        if !duty.watching {
            return None;
        }
        let started = self.clock.now();
        let mut block = Block::zeroed();
        match self.io.read_block(region.heartbeat(self.me.other()), &mut block) {
            Ok(()) => {
                let beat = Record::parse(&block).map(|record| (record.incarnation, record.counter));
                Some(Event::PeerHeartbeat { started, beat })
            }
            Err(error) => conflict(&error),
        }
    }
}

/// Only a fence is news: a heartbeat that fails for another reason shows by the lease that runs out.
fn conflict(error: &DiskError) -> Option<Event<Blocks>> {
    match error {
        DiskError::Fenced => Some(Event::Conflict),
        other => {
            tracing::warn!(error = %other, "the heartbeat cannot use the disk");
            None
        }
    }
}
