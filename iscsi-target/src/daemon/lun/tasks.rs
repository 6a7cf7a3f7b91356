//! Commands of initiators on their way through one unit.
//!
//! A command passes the gate of the [`LogicalUnit`](crate::scsi::unit::LogicalUnit); then it is answered, held until the
//! access state changes, or becomes a request for the head. Whatever reached this head before it began to serve is not
//! executed any more: its initiator may have given up on it, gone on through the other head, and would find it executed
//! on top of what came later. It gets a unit attention, and is sent again if it is still wanted.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use replication::block::Blocks;
use replication::head::{Event, OpId, Operation, Order, Outcome, Request};
use replication::{Extent, Millis};
use slab::Slab;
use tokio::sync::oneshot;

use super::{Lun, OrderedBy, Pair, io_result};
use crate::daemon::connection::ConnectionHandle;
use crate::scsi::attention::Attention;
use crate::scsi::block::{self, BlockIo, BlockOp};
use crate::scsi::report_luns;
use crate::scsi::unit::Verdict;
use crate::scsi::{Command, NexusId, Response, Status};
use crate::session::TaskId;

/// How long a command is held before its initiator is asked to come again.
const HOLD_MS: u64 = 5_000;

/// Who waits for the answer to a command.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) connection: Rc<ConnectionHandle>,
    pub(crate) task: TaskId,
}

impl Caller {
    /// Answer it.
    pub(crate) fn respond(&self, response: Response) {
        self.connection.respond(self.task, response);
    }

    fn name(&self) -> (NexusId, TaskId) {
        (self.connection.nexus(), self.task)
    }

    fn is(&self, nexus: NexusId, task: Option<TaskId>) -> bool {
        self.connection.nexus() == nexus && task.is_none_or(|task| task == self.task)
    }
}

/// A command that can be presented again.
#[derive(Clone)]
struct Waiting {
    caller: Caller,
    command: Command,
    /// The mark when it arrived.
    arrival: u64,
    since: Millis,
}

/// A request that the head has.
enum Underway {
    /// The whole of a command.
    Whole { waiting: Waiting, io: BlockIo },
    /// One step of a command.
    Step { caller: Caller, done: oneshot::Sender<Outcome<Blocks>> },
}

/// All commands of a unit that are not answered.
#[derive(Default)]
pub(super) struct Tasks {
    underway: Slab<Underway>,
    held: VecDeque<Waiting>,
    serving_since: u64,
    /// Task management functions that wait until these requests have ended.
    endings: Vec<Ending>,
    /// Commands of several steps, and whether they may take another one.
    stepping: BTreeMap<(NexusId, TaskId), Stepping>,
}

struct Stepping {
    caller: Caller,
    ended: bool,
}

struct Ending {
    left: Vec<usize>,
    /// Dropped when nothing is left, which tells the receiver.
    _done: oneshot::Sender<()>,
}

/// Which tasks are to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Victims {
    /// One task.
    Task(NexusId, TaskId),
    /// All of a nexus.
    Nexus(NexusId),
    /// All, by the word of this nexus.
    All {
        /// Whose tasks its own connection ends.
        by: NexusId,
    },
}

impl Victims {
    /// Whether the command is one of them. Its connection, if it is another one than that which asked, does not wait
    /// for an answer any more.
    fn take(self, caller: &Caller) -> bool {
        if let Self::All { by } = self
            && caller.connection.nexus() != by
        {
            caller.connection.abandon(caller.task);
        }
        self.hit(caller)
    }

    fn hit(self, caller: &Caller) -> bool {
        match self {
            Self::Task(nexus, task) => caller.is(nexus, Some(task)),
            Self::Nexus(nexus) => caller.is(nexus, None),
            Self::All { .. } => true,
        }
    }
}

impl Tasks {
    pub(super) fn serving_since(&mut self, mark: u64) {
        self.serving_since = mark;
    }

    /// Whether somebody waits for the end of this request: it was told to end.
    fn is_ended(&self, key: usize) -> bool {
        self.endings.iter().any(|ending| ending.left.contains(&key))
    }

    fn end(&mut self, key: usize) {
        self.endings.retain_mut(|ending| {
            ending.left.retain(|left| *left != key);
            !ending.left.is_empty()
        });
    }
}

impl Underway {
    fn caller(&self) -> &Caller {
        match self {
            Self::Whole { waiting, .. } => &waiting.caller,
            Self::Step { caller, .. } => caller,
        }
    }
}

impl Lun {
    /// A command of an initiator.
    pub(crate) fn command(&self, caller: Caller, command: Command, arrival: u64) {
        self.present(Waiting { caller, command, arrival, since: self.clock.now() });
    }

    fn present(&self, waiting: Waiting) {
        let verdict = self.unit.borrow_mut().handle(&waiting.command);
        match verdict {
            Verdict::Done(response) => waiting.caller.respond(response),
            Verdict::ReportLuns => {
                for lun in self.registry.luns() {
                    lun.forget_luns_changed(waiting.command.nexus);
                }
                let response =
                    report_luns::report(&self.registry.lun_numbers(waiting.command.nexus), &waiting.command.cdb);
                waiting.caller.respond(response);
            }
            Verdict::Hold => self.tasks.borrow_mut().held.push_back(waiting),
            Verdict::SwitchTo(group) => {
                self.give_order(Order::Prefer(Pair::head_of(group)), OrderedBy::Initiator(waiting.caller));
            }
            Verdict::Io(_) if waiting.arrival < self.tasks.borrow().serving_since => {
                waiting.caller.respond(Response::unit_attention(Attention::AccessStateChanged));
            }
            Verdict::Io(io) => self.begin(waiting, io),
        }
    }

    /// Present everything that was held, in its order.
    pub(super) fn present_held(&self) {
        let held = std::mem::take(&mut self.tasks.borrow_mut().held);
        for waiting in held {
            self.present(waiting);
        }
    }

    /// Nobody waits for ever: an initiator that is told *busy* comes again, and its own timers do not run out.
    pub(super) fn give_up_holding(&self) {
        let now = self.clock.now();
        let overdue = |waiting: &mut Waiting| now.since(waiting.since) >= HOLD_MS;
        loop {
            let Some(waiting) = self.tasks.borrow_mut().held.pop_front_if(overdue) else { return };
            waiting.caller.respond(Response::status(Status::Busy));
        }
    }

    fn begin(&self, waiting: Waiting, io: BlockIo) {
        let Some(operation) = self.single_step(&io.op) else {
            self.execute(waiting.caller, io);
            return;
        };
        let key = self.tasks.borrow_mut().underway.insert(Underway::Whole { waiting, io });
        self.post(Event::Request(Request { op: op_id(key), operation }));
    }

    /// The operation that does all of `op`, if there is one.
    fn single_step(&self, op: &BlockOp) -> Option<Operation<Blocks>> {
        Some(match op {
            BlockOp::Read { lba, blocks } => Operation::Read(Extent::new(*lba, *blocks)),
            BlockOp::Write { lba, data, fua } => {
                let data = Blocks::new(data.clone(), self.block_bytes)?;
                Operation::Write { extent: Extent::new(*lba, replication::Data::blocks(&data)), data, fua: *fua }
            }
            BlockOp::CompareAndWrite { lba, data, fua } => {
                let data = Blocks::new(data.clone(), self.block_bytes)?;
                let extent = Extent::new(*lba, replication::Data::blocks(&data) / 2);
                Operation::CompareAndWrite { extent, data, fua: *fua }
            }
            BlockOp::Or { lba, data, fua } => {
                let data = Blocks::new(data.clone(), self.block_bytes)?;
                Operation::Or { extent: Extent::new(*lba, replication::Data::blocks(&data)), data, fua: *fua }
            }
            BlockOp::Flush { .. } => Operation::Flush,
            BlockOp::WriteAndVerify { .. }
            | BlockOp::Verify { .. }
            | BlockOp::Compare { .. }
            | BlockOp::WriteSame { .. } => return None,
        })
    }

    /// One step of a command that takes several; `None` if it was ended meanwhile.
    pub(super) fn step(
        &self,
        caller: &Caller,
        operation: Operation<Blocks>,
    ) -> Option<oneshot::Receiver<Outcome<Blocks>>> {
        let ended = self.tasks.borrow().stepping.get(&caller.name()).is_none_or(|stepping| stepping.ended);
        if ended || caller.connection.is_closed() {
            return None;
        }
        let (done, receiver) = oneshot::channel();
        let key = self.tasks.borrow_mut().underway.insert(Underway::Step { caller: caller.clone(), done });
        self.post(Event::Request(Request { op: op_id(key), operation }));
        Some(receiver)
    }

    /// A command of several steps begins.
    pub(super) fn begin_steps(&self, caller: &Caller) {
        let stepping = Stepping { caller: caller.clone(), ended: false };
        self.tasks.borrow_mut().stepping.insert(caller.name(), stepping);
    }

    /// It is over.
    pub(super) fn end_steps(&self, caller: &Caller) {
        self.tasks.borrow_mut().stepping.remove(&caller.name());
    }

    pub(super) fn on_complete(&self, op: OpId, outcome: Outcome<Blocks>) {
        let key = usize::try_from(op.0).expect("it was made from a key");
        let Some(underway) = self.tasks.borrow_mut().underway.try_remove(key) else { return };
        match underway {
            Underway::Whole { waiting, io } => match io_result(outcome) {
                Some(result) => waiting.caller.respond(block::finish(&io, result)),
                // It was ended before it began: presenting it again would execute it after its abort was answered.
                None if self.tasks.borrow().is_ended(key) || waiting.caller.connection.is_closed() => {}
                None => self.present(waiting),
            },
            // The command may have been dropped.
            Underway::Step { done, .. } => drop(done.send(outcome)),
        }
        self.tasks.borrow_mut().end(key);
    }

    /// End tasks without an answer. What has not begun never will; resolves when what has begun is over, so that no
    /// trace of it can appear later.
    pub(crate) fn end_tasks(&self, victims: Victims) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let left: Vec<usize> = {
            let mut tasks = self.tasks.borrow_mut();
            tasks.held.retain(|waiting| !victims.take(&waiting.caller));
            for stepping in tasks.stepping.values_mut().filter(|stepping| victims.take(&stepping.caller)) {
                stepping.ended = true;
            }
            tasks.underway.iter().filter(|(_, task)| victims.take(task.caller())).map(|(key, _)| key).collect()
        };
        if left.is_empty() {
            // Dropping the sender tells the receiver just as well.
            return receiver;
        }
        self.tasks.borrow_mut().endings.push(Ending { left: left.clone(), _done: done });
        for key in left {
            self.post(Event::Cancel(op_id(key)));
        }
        receiver
    }

    /// Whether the nexus is one of this unit's: whether the unit is there for it.
    pub(crate) fn has_nexus(&self, nexus: NexusId) -> bool {
        self.unit.borrow().has_nexus(nexus)
    }

    /// Whether something is not answered yet that the nexus has sent.
    pub(crate) fn has_tasks_of(&self, nexus: NexusId) -> bool {
        let victims = Victims::Nexus(nexus);
        let tasks = self.tasks.borrow();
        tasks.held.iter().any(|waiting| victims.hit(&waiting.caller))
            || tasks.stepping.values().any(|stepping| victims.hit(&stepping.caller))
            || tasks.underway.iter().any(|(_, task)| victims.hit(task.caller()))
    }

    /// A nexus has come up.
    pub(crate) fn add_nexus(&self, nexus: NexusId, initiator: crate::scsi::InitiatorPort, relative_port: u16) {
        self.unit.borrow_mut().add_nexus(nexus, initiator, relative_port);
    }

    /// A nexus is gone.
    pub(crate) fn remove_nexus(&self, nexus: NexusId) {
        self.unit.borrow_mut().remove_nexus(nexus);
    }

    /// LOGICAL UNIT RESET: after its tasks have ended.
    pub(crate) fn reset(&self) {
        self.unit.borrow_mut().reset();
    }

    /// Some time has passed.
    pub(crate) fn tick(&self) {
        self.post(Event::Tick);
        self.give_up_holding();
    }
}

fn op_id(key: usize) -> OpId {
    OpId(u64::try_from(key).expect("a key fits"))
}
