//! One logical unit: the shell around its [`Head`] and its [`LogicalUnit`].
//!
//! Everything that happens to the unit becomes an event for the head; what the head decides is executed here at once.
//! All of it runs on the data path's one thread, so nothing here is locked; [`Lun::post`] may be called from within
//! itself and then only queues.
//!
//! * `storage`: opens the disk, and what belongs to it.
//! * `arbiter`, `heartbeat`: threads for what blocks, and for what must not be delayed; `place`: what they share.
//! * `tasks`: commands of initiators: the gate, what is held, what is under way, and its end.
//! * `online`: other settings, and the end, while the head runs.
//! * `reservations`: what initiators reserve.
//! * `sanitize`: SANITIZE.
//! * `execute`: block operations that take more than one step.
//! * `copy`: copies between units.

mod arbiter;
mod copy;
mod execute;
mod heartbeat;
mod online;
mod place;
mod reservations;
mod sanitize;
mod storage;
mod tasks;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::mpsc;
use std::thread::JoinHandle;

use replication::block::Blocks;
use replication::head::{Access, Action, DiskCommand, Event, Head, IoError, IoId, Order, OrderId, Outcome, Status};
use replication::message::Message;
use replication::{Millis, Stretch};
use sas_backend::buffer::Pool;
use sas_backend::disk::{self, Answer, Completion, Disk, DiskError, DiskOp, Token};
use sas_backend::{HeadId, Incarnation};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::batch::Flush;
use super::clock::Clock;
use super::config::Lun as LunConfig;
use super::link::LinkHandle;
use super::portal::Portals;
use super::registry::Registry;
use crate::scsi::lun::Lun as LunNumber;
use crate::scsi::unit::{Access as UnitAccess, LogicalUnit};
use reservations::Changes;
use tasks::Tasks;

pub(crate) use storage::{Pair, open};
pub(crate) use tasks::{Caller, Victims};

/// One logical unit of this head.
pub(crate) struct Lun {
    id: u8,
    config: RefCell<Rc<LunConfig>>,
    pub(super) block_bytes: u32,
    serial: String,
    me: HeadId,
    clock: Clock,
    pool: Pool,
    /// `None` only while the unit is dropped.
    disk: Option<Box<dyn Disk + Send>>,
    arbiter: mpsc::Sender<arbiter::Order>,
    heartbeat: mpsc::Sender<Action<Blocks>>,
    link: LinkHandle,
    portals: Portals,
    /// When what initiators are told of its role changed last.
    access_since: Cell<Millis>,
    /// Told when its role is clear again.
    settled: Notify,
    /// The other head was fenced, and this one does not serve yet.
    fenced_other: Cell<bool>,
    registry: Rc<Registry>,
    head: RefCell<Head<Blocks>>,
    unit: RefCell<LogicalUnit>,
    tasks: RefCell<Tasks>,
    changes_of_reservations: RefCell<Changes>,
    /// A sanitize operation is being carried out here.
    sanitizes: Cell<bool>,
    orders: RefCell<Orders>,
    inbox: RefCell<VecDeque<Event<Blocks>>>,
    running: Cell<bool>,
    /// Operations wait to be handed to the disk at the end of the batch.
    kick_wanted: Cell<bool>,
    this: Weak<Self>,
    stopped: Cell<bool>,
    leaving: Cell<bool>,
    ended: Notify,
    /// What listens to the threads and the disk.
    listeners: RefCell<Vec<AbortHandle>>,
    threads: RefCell<Vec<JoinHandle<()>>>,
    disk_closed: RefCell<Option<oneshot::Sender<()>>>,
    /// Told at each change of role or mode.
    changes: Rc<dyn Fn()>,
}

/// Who waits for a change of owner.
#[derive(Default)]
struct Orders {
    last: u64,
    waiting: BTreeMap<OrderId, OrderedBy>,
}

enum OrderedBy {
    Operator(oneshot::Sender<Result<(), String>>),
    Initiator(Caller),
}

impl Lun {
    /// Something has happened: let the head decide, do what it says.
    pub(crate) fn post(&self, event: Event<Blocks>) {
        self.inbox.borrow_mut().push_back(event);
        if self.running.replace(true) {
            return;
        }
        let _batch = self.registry.batch().begin();
        loop {
            let Some(event) = self.inbox.borrow_mut().pop_front() else { break };
            match event {
                Event::FenceDone(Ok(_)) => self.fenced_other.set(true),
                Event::Conflict => self.portals.on_fenced(),
                _ => {}
            }
            self.head.borrow_mut().handle(self.clock.now(), event);
            loop {
                let Some(action) = self.head.borrow_mut().poll_action() else { break };
                self.perform(action);
            }
        }
        self.running.set(false);
    }

    /// What the status display shows.
    pub(crate) fn status(&self) -> Status {
        self.head.borrow().status()
    }

    /// Bytes that initiators see.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.unit.borrow().config().blocks * u64::from(self.block_bytes)
    }

    /// Whether all ports of the other head are on this one.
    pub(crate) fn set_has_both(&self, has_both: bool) {
        self.unit.borrow_mut().set_has_both(has_both);
    }

    /// Whether the head has come to its end after a shutdown.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }

    /// Its number as initiators use it.
    pub(crate) fn number(&self) -> Option<LunNumber> {
        LunNumber::new(u16::from(self.id))
    }

    /// Order something of the head; the answer comes when it is done or has failed.
    pub(crate) fn order(&self, order: Order) -> oneshot::Receiver<Result<(), String>> {
        let (sender, receiver) = oneshot::channel();
        self.give_order(order, OrderedBy::Operator(sender));
        receiver
    }

    fn give_order(&self, order: Order, by: OrderedBy) {
        let id = {
            let mut orders = self.orders.borrow_mut();
            orders.last += 1;
            let id = OrderId(orders.last);
            orders.waiting.insert(id, by);
            id
        };
        self.post(Event::Order { id, order });
    }

    /// The disk has finished something: take all of it in.
    pub(super) fn reap(&self) {
        let _batch = self.registry.batch().begin();
        let mut completions = Vec::new();
        self.disk().take_completions(&mut completions);
        for Completion { token, result } in completions {
            let id = IoId(token.0);
            self.post(match result {
                Ok(Answer::Read(buffer)) => {
                    let blocks = Blocks::new(buffer.freeze(), self.block_bytes);
                    Event::Disk { id, result: blocks.map(Some).ok_or(IoError::Path) }
                }
                Ok(Answer::Done) => Event::Disk { id, result: Ok(None) },
                Ok(Answer::Map(stretch)) => Event::Mapped { id, stretch: in_blocks(stretch, self.block_bytes) },
                Err(error) => Event::Disk { id, result: Err(self.io_error(&error)) },
            });
        }
    }

    fn io_error(&self, error: &DiskError) -> IoError {
        let kind = match error {
            DiskError::Fenced => return IoError::Fenced,
            DiskError::NoSpace => IoError::NoSpace,
            DiskError::Medium => IoError::Medium,
            DiskError::Path(_) => IoError::Path,
        };
        tracing::warn!(lun = %self.name(), %error, "the disk failed");
        kind
    }

    fn perform(&self, action: Action<Blocks>) {
        match action {
            Action::Complete { op, outcome } => self.on_complete(op, outcome),
            Action::Disk { id, command } => self.submit(id, command),
            Action::Send(message) => self.link.send(self.id, message),
            Action::OpenLink => self.link.open(self.id, self.block_bytes, self.settings()),
            Action::CloseLink => self.link.close(self.id),
            Action::ReadSuperblock
            | Action::WriteSuperblock(_)
            | Action::Register { .. }
            | Action::ChangeKey { .. }
            | Action::Fence { .. }
            | Action::Measure
            | Action::ClearOldPlace => self.order_arbiter(arbiter::Order::Perform(action)),
            Action::StartHeartbeat { .. } | Action::StopHeartbeat | Action::WatchPeer(_) => {
                self.order_heartbeat(action);
            }
            Action::SetAccess(access) => {
                self.on_access(access);
                (self.changes)();
            }
            Action::SetOtherForwards(other_forwards) => {
                self.unit.borrow_mut().set_other_forwards(other_forwards);
            }
            Action::SetBlocks(blocks) => {
                self.unit.borrow_mut().set_blocks(blocks);
                (self.changes)();
            }
            Action::SetRecord(record) => self.on_record(&record),
            Action::Ask { op, question } => self.on_ask(op, &question),
            Action::CloseSessions => {
                self.registry.reset_all_but(None, "this head was fenced");
                self.portals.on_fenced();
            }
            Action::OrderDone { id, result } => self.on_order_done(id, result),
            Action::Announce(why) => {
                let epoch = self.head.borrow().status().epoch.0;
                tracing::info!(lun = %self.name(), head = %self.me, epoch, "{why}");
                (self.changes)();
            }
            Action::Stopped => {
                self.stopped.set(true);
                self.ended.notify_waiters();
                (self.changes)();
            }
        }
    }

    fn disk(&self) -> &dyn Disk {
        self.disk.as_deref().expect("it is taken when the unit is dropped")
    }

    fn submit(&self, id: IoId, command: DiskCommand<Blocks>) {
        let block = u64::from(self.block_bytes);
        let op = match command {
            DiskCommand::Read(extent) => {
                let len = usize::try_from(extent.blocks * block).expect("a read fits into memory");
                DiskOp::Read { offset: extent.lba * block, into: self.pool.take(len) }
            }
            DiskCommand::Write(extent, pieces) => DiskOp::Write {
                offset: extent.lba * block,
                data: pieces.into_iter().flat_map(Blocks::into_payloads).collect(),
            },
            DiskCommand::Deallocate(extent) => {
                DiskOp::Deallocate { offset: extent.lba * block, len: extent.blocks * block }
            }
            DiskCommand::Map(extent) => DiskOp::Map { offset: extent.lba * block, len: extent.blocks * block },
            DiskCommand::Flush => DiskOp::Flush,
        };
        self.disk().submit(Token(id.0), op);
        if !self.kick_wanted.replace(true)
            && let Some(lun) = self.this.upgrade()
        {
            self.registry.batch().add(lun);
        }
    }

    /// What initiators are told changes. What was held is presented again; see [`Lun::present`] for what becomes of it.
    fn on_access(&self, access: Access) {
        let mine = Pair::group_of(self.me);
        let theirs = Pair::group_of(self.me.other());
        let (access, active) = match access {
            Access::Serving => (UnitAccess::Serving, Some(mine)),
            Access::Forwarding => (UnitAccess::Forwarding, Some(theirs)),
            Access::Standby => (UnitAccess::Standby, Some(theirs)),
            Access::Changing => (UnitAccess::Changing, None),
            Access::Unavailable => (UnitAccess::Unavailable, None),
        };
        self.unit.borrow_mut().set_access(access, active);
        self.access_since.set(self.clock.now());
        if matches!(access, UnitAccess::Serving | UnitAccess::Forwarding) {
            let since = self.registry.next_mark();
            self.tasks.borrow_mut().serving_since(since);
        }
        if access != UnitAccess::Changing {
            self.settled.notify_waiters();
            self.present_held();
            self.end_left_behind();
            self.answer_sanitized();
            self.sanitize();
            if self.fenced_other.replace(false) && access == UnitAccess::Serving {
                self.portals.on_took_over();
                self.on_peer_gone();
            }
        }
    }

    fn on_order_done(&self, id: OrderId, result: Result<(), String>) {
        let by = self.orders.borrow_mut().waiting.remove(&id);
        if let Err(why) = &result {
            tracing::warn!(lun = %self.name(), "an order failed: {why}");
        }
        match by {
            // Whoever asked may have gone.
            Some(OrderedBy::Operator(reply)) => drop(reply.send(result)),
            Some(OrderedBy::Initiator(caller)) => {
                caller.respond(crate::scsi::port_groups::switched(result.is_ok()));
            }
            None => {}
        }
    }

    /// The link for this unit, as the link's own shell sees it.
    pub(super) fn on_link_up(&self, peer: Incarnation) {
        self.prefer();
        self.post(Event::LinkUp { peer });
    }

    pub(super) fn on_link_down(&self) {
        self.post(Event::LinkDown);
        self.on_peer_gone();
    }

    pub(super) fn on_settings_of_peer(&self) {
        self.prefer();
        (self.changes)();
    }

    pub(super) fn on_message(&self, message: Message<Blocks>) {
        self.post(Event::Message(message));
    }
}

impl Flush for Lun {
    fn flush(&self) {
        self.kick_wanted.set(false);
        self.disk().kick();
    }
}

/// What the disk says of bytes, in blocks, which may be larger than its own. One of which it has a part is mapped.
fn in_blocks(found: disk::Stretch, block_bytes: u32) -> Stretch {
    let block = u64::from(block_bytes);
    match found.len / block {
        holes @ 1.. if !found.allocated => Stretch { blocks: holes, mapped: false },
        _ => Stretch { blocks: found.len.div_ceil(block), mapped: true },
    }
}

/// What came of a request, for the SCSI side; `None`: this head does not serve, present the command again.
fn io_result(outcome: Outcome<Blocks>) -> Option<crate::scsi::block::IoResult> {
    use crate::scsi::block::IoError as ScsiError;
    Some(match outcome {
        Outcome::Done => Ok(Vec::new()),
        Outcome::Data(parts) => Ok(parts.into_iter().flat_map(Blocks::into_payloads).collect()),
        Outcome::NotServing | Outcome::Answer(_) => return None,
        Outcome::Miscompare(offset) => Err(ScsiError::Miscompare { offset }),
        Outcome::Failed(IoError::Medium) => Err(ScsiError::Medium { lba: None }),
        Outcome::Failed(IoError::NoSpace) => Err(ScsiError::NoSpace),
        // Only one command asks that, and takes its answer before.
        Outcome::Map(_) | Outcome::Failed(IoError::Fenced | IoError::Path) => Err(ScsiError::Aborted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_which_the_disk_has_a_part_is_mapped() {
        for (len, allocated, blocks, mapped) in [
            (4096, false, 1, false),
            (3 * 4096 + 512, false, 3, false),
            (512, false, 1, true),
            (512, true, 1, true),
            (4096 + 512, true, 2, true),
            (8192, true, 2, true),
        ] {
            let found = disk::Stretch { len, allocated };
            assert_eq!(in_blocks(found, 4096), Stretch { blocks, mapped }, "{found:?}");
        }
        assert_eq!(in_blocks(disk::Stretch { len: 512, allocated: false }, 512), Stretch { blocks: 1, mapped: false });
    }
}
