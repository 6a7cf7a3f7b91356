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

use super::reservations::By;
use super::{Lun, OrderedBy, Pair, io_result};
use crate::daemon::connection::ConnectionHandle;
use crate::scsi::attention::Attention;
use crate::scsi::block::{self, BlockIo, BlockOp};
use crate::scsi::decode::Extent as ExtentAsked;
use crate::scsi::report_luns;
use crate::scsi::unit::Verdict;
use crate::scsi::{Command, NexusId, Response, Status};
use crate::session::TaskId;

/// How long a command is held before its initiator is asked to come again.
pub(super) const HOLD_MS: u64 = 5_000;

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
pub(super) struct Waiting {
    pub(super) caller: Caller,
    command: Command,
    /// The mark when it arrived.
    arrival: u64,
    since: Millis,
}

impl Waiting {
    pub(super) fn command(&self) -> &Command {
        &self.command
    }
}

/// A request that the head has.
pub(super) enum Underway {
    /// The whole of a command.
    Whole { waiting: Waiting, io: BlockIo },
    /// One step of a command.
    Step { caller: Caller, home: Home, done: oneshot::Sender<Outcome<Blocks>> },
    /// A copy, which also has steps at these other units; the head knows nothing of it.
    Copy { caller: Caller, guests: Vec<Rc<Lun>> },
    /// One step of a sanitize operation, which nobody ends.
    Sanitize { done: oneshot::Sender<Outcome<Blocks>> },
    /// Something for the owner to decide.
    Question(By),
    /// A change of what is reserved.
    Record(By),
}

/// To which unit a command was sent of which a step is taken at this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// To this one.
    Here,
    /// To another one, which answers it whatever happens to its steps here.
    Elsewhere,
}

/// All commands of a unit that are not answered.
#[derive(Default)]
pub(super) struct Tasks {
    underway: Slab<Underway>,
    held: VecDeque<Waiting>,
    /// Those that wait until the unit is sanitized.
    pub(super) sanitizing: Vec<Waiting>,
    serving_since: u64,
    /// Task management functions that wait until these requests have ended.
    endings: Vec<Ending>,
    /// Commands of several steps, and whether they may take another one.
    stepping: BTreeMap<(NexusId, TaskId), Stepping>,
}

struct Stepping {
    caller: Caller,
    home: Home,
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
    /// All of a nexus, by its own word.
    Nexus(NexusId),
    /// All of a nexus, by another one's word.
    Preempted(NexusId),
    /// All, by the word of this nexus.
    All {
        /// Whose tasks its own connection ends.
        by: NexusId,
    },
}

impl Victims {
    /// Whether the command is one of them. Its connection, if it is another one than that which asked, does not wait
    /// for an answer any more.
    pub(super) fn take(self, caller: &Caller, home: Home) -> bool {
        let hit = self.hit(caller);
        let by_another = match self {
            Self::Task(..) | Self::Nexus(_) => false,
            Self::Preempted(_) => hit,
            Self::All { by } => caller.connection.nexus() != by,
        };
        if by_another && home == Home::Here {
            caller.connection.abandon(caller.task);
        }
        hit
    }

    pub(super) fn hit(self, caller: &Caller) -> bool {
        match self {
            Self::Task(nexus, task) => caller.is(nexus, Some(task)),
            Self::Nexus(nexus) | Self::Preempted(nexus) => caller.is(nexus, None),
            Self::All { .. } => true,
        }
    }
}

impl Tasks {
    pub(super) fn serving_since(&mut self, mark: u64) {
        self.serving_since = mark;
    }

    pub(super) fn insert(&mut self, underway: Underway) -> usize {
        self.underway.insert(underway)
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
    fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Whole { waiting, .. } => Some(&waiting.caller),
            Self::Step { caller, .. } | Self::Copy { caller, .. } => Some(caller),
            Self::Question(by) | Self::Record(by) => by.caller(),
            Self::Sanitize { .. } => None,
        }
    }

    fn home(&self) -> Home {
        match self {
            Self::Whole { .. } | Self::Copy { .. } | Self::Sanitize { .. } | Self::Question(_) | Self::Record(_) => {
                Home::Here
            }
            Self::Step { home, .. } => *home,
        }
    }

    fn is_one_of(&self, victims: Victims) -> bool {
        self.caller().is_some_and(|caller| victims.hit(caller))
    }
}

impl Lun {
    /// A command of an initiator.
    pub(crate) fn command(&self, caller: Caller, command: Command, arrival: u64) {
        self.present(Waiting { caller, command, arrival, since: self.clock.now() });
    }

    pub(super) fn present(&self, waiting: Waiting) {
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
            Verdict::Io(_) | Verdict::Ask(_) | Verdict::Change(_) | Verdict::Copy(_)
                if self.is_too_old(waiting.arrival) =>
            {
                waiting.caller.respond(Response::unit_attention(Attention::AccessStateChanged));
            }
            Verdict::Io(io) => self.begin(waiting, io),
            Verdict::Ask(question) => self.ask(waiting, question),
            Verdict::Change(wished) => self.change(wished, By::Client(waiting)),
            Verdict::Copy(list) => self.copy(waiting.caller, waiting.arrival, list),
        }
    }

    /// Whether a command with this mark was here before this head began to serve the unit.
    pub(super) fn is_too_old(&self, arrival: u64) -> bool {
        arrival < self.tasks.borrow().serving_since
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

    pub(super) fn begin(&self, waiting: Waiting, io: BlockIo) {
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
            BlockOp::Unmap { extents } => match extents[..] {
                [ExtentAsked { lba, blocks }] if blocks <= self.hole_blocks() => self.hole(Extent::new(lba, blocks))?,
                _ => return None,
            },
            BlockOp::Map { lba, blocks, .. } => Operation::Map(Extent::new(*lba, *blocks)),
            BlockOp::Or { lba, data, fua } => {
                let data = Blocks::new(data.clone(), self.block_bytes)?;
                Operation::Or { extent: Extent::new(*lba, replication::Data::blocks(&data)), data, fua: *fua }
            }
            BlockOp::Flush { .. } => Operation::Flush,
            BlockOp::WritePart { .. }
            | BlockOp::WriteAndVerify { .. }
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
        let home = self.may_step(caller)?;
        let (done, receiver) = oneshot::channel();
        let key = self.tasks.borrow_mut().underway.insert(Underway::Step { caller: caller.clone(), home, done });
        self.post(Event::Request(Request { op: op_id(key), operation }));
        Some(receiver)
    }

    /// Whether a command may take another step here, unless it was ended meanwhile.
    pub(super) fn may_step(&self, caller: &Caller) -> Option<Home> {
        if self.unit.borrow().sanitize().is_some() {
            return None;
        }
        let tasks = self.tasks.borrow();
        let stepping = tasks.stepping.get(&caller.name()).filter(|stepping| !stepping.ended)?;
        (!caller.connection.is_closed()).then_some(stepping.home)
    }

    /// A command of several steps begins.
    pub(super) fn begin_steps(&self, caller: &Caller, home: Home) {
        let stepping = Stepping { caller: caller.clone(), home, ended: false };
        self.tasks.borrow_mut().stepping.insert(caller.name(), stepping);
    }

    /// It is over.
    pub(super) fn end_steps(&self, caller: &Caller) {
        self.tasks.borrow_mut().stepping.remove(&caller.name());
    }

    /// A copy begins: whoever ends it waits until it has ended, here and there. The key is for
    /// [`Lun::end_copy`].
    pub(super) fn begin_copy(&self, caller: &Caller, guests: &[Rc<Self>]) -> usize {
        self.begin_steps(caller, Home::Here);
        guests.iter().for_each(|guest| guest.begin_steps(caller, Home::Elsewhere));
        let copy = Underway::Copy { caller: caller.clone(), guests: guests.to_vec() };
        self.tasks.borrow_mut().underway.insert(copy)
    }

    /// It has ended.
    pub(super) fn end_copy(&self, key: usize) {
        let Some(Underway::Copy { caller, guests }) = self.tasks.borrow_mut().underway.try_remove(key) else { return };
        self.end_steps(&caller);
        guests.iter().for_each(|guest| guest.end_steps(&caller));
        self.tasks.borrow_mut().end(key);
    }

    /// A command that was sent to another unit is to end: so is its step here.
    fn cancel_steps(&self, caller: &Caller) {
        let of_caller = |task: &Underway| task.caller().is_some_and(|of| of.name() == caller.name());
        let keys: Vec<usize> =
            self.tasks.borrow().underway.iter().filter(|(_, task)| of_caller(task)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.post(Event::Cancel(op_id(key))));
    }

    pub(super) fn on_complete(&self, op: OpId, outcome: Outcome<Blocks>) {
        let key = usize::try_from(op.0).expect("it was made from a key");
        let Some(underway) = self.tasks.borrow_mut().underway.try_remove(key) else { return };
        match underway {
            Underway::Whole { waiting, io } => match response(&io, outcome) {
                Some(response) => waiting.caller.respond(response),
                None if self.is_unwanted(key, &waiting.caller) => {}
                None => self.present(waiting),
            },
            // The command may have been dropped.
            Underway::Step { done, .. } | Underway::Sanitize { done } => drop(done.send(outcome)),
            Underway::Question(by) => {
                let is_wanted = !by.caller().is_some_and(|caller| self.is_unwanted(key, caller));
                self.on_question_answered(by, outcome, is_wanted);
            }
            Underway::Record(by) => {
                let is_wanted = !by.caller().is_some_and(|caller| self.is_unwanted(key, caller));
                self.on_change_kept(by, &outcome, is_wanted);
            }
            // The head was not asked for it.
            Underway::Copy { .. } => {}
        }
        self.tasks.borrow_mut().end(key);
    }

    /// Whether it was ended before it began: presenting it again would execute it after its abort was answered.
    fn is_unwanted(&self, key: usize, caller: &Caller) -> bool {
        self.tasks.borrow().is_ended(key) || caller.connection.is_closed()
    }

    /// End tasks without an answer. What has not begun never will; resolves when what has begun is over, so that no
    /// trace of it can appear later.
    pub(crate) fn end_tasks(&self, victims: Victims) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let left: Vec<usize> = {
            self.changes_of_reservations.borrow_mut().end(victims);
            let mut tasks = self.tasks.borrow_mut();
            tasks.held.retain(|waiting| !victims.take(&waiting.caller, Home::Here));
            tasks.sanitizing.retain(|waiting| !victims.take(&waiting.caller, Home::Here));
            for stepping in tasks.stepping.values_mut().filter(|of| victims.take(&of.caller, of.home)) {
                stepping.ended = true;
            }
            let is_victim = |task: &Underway| task.caller().is_some_and(|caller| victims.take(caller, task.home()));
            tasks.underway.iter().filter(|(_, task)| is_victim(task)).map(|(key, _)| key).collect()
        };
        if left.is_empty() {
            // Dropping the sender tells the receiver just as well.
            return receiver;
        }
        self.tasks.borrow_mut().endings.push(Ending { left: left.clone(), _done: done });
        for key in left {
            let copy = match self.tasks.borrow().underway.get(key) {
                Some(Underway::Copy { caller, guests }) => Some((caller.clone(), guests.clone())),
                _ => None,
            };
            match copy {
                Some((caller, guests)) => guests.iter().for_each(|guest| guest.cancel_steps(&caller)),
                None => self.post(Event::Cancel(op_id(key))),
            }
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
        tasks.held.iter().chain(&tasks.sanitizing).any(|waiting| victims.hit(&waiting.caller))
            || tasks.stepping.values().any(|stepping| victims.hit(&stepping.caller))
            || tasks.underway.iter().any(|(_, task)| task.is_one_of(victims))
            || self.changes_of_reservations.borrow().has(victims)
    }

    /// A nexus has come up.
    pub(crate) fn add_nexus(&self, nexus: NexusId, initiator: crate::scsi::InitiatorPort, relative_port: u16) {
        self.unit.borrow_mut().add_nexus(nexus, initiator, relative_port);
    }

    /// A nexus is gone. What it held ends soon.
    pub(crate) fn remove_nexus(&self, nexus: NexusId) {
        self.unit.borrow_mut().remove_nexus(nexus);
        self.end_left_behind();
    }

    /// Some time has passed.
    pub(crate) fn tick(&self) {
        self.post(Event::Tick);
        self.give_up_holding();
    }
}

/// The answer to a command of one step; `None`: present it again.
fn response(io: &BlockIo, outcome: Outcome<Blocks>) -> Option<Response> {
    if let Outcome::Map(found) = outcome {
        return Some(block::finish_map(io, found.blocks, found.mapped));
    }
    Some(block::finish(io, io_result(outcome)?))
}

pub(super) fn op_id(key: usize) -> OpId {
    OpId(u64::try_from(key).expect("a key fits"))
}
