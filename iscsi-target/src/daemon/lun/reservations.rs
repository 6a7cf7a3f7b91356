//! What both heads go by, such as what clients reserve: one wish after the other, each kept by both heads and the disk
//! before it is answered.
//!
//! A head that owns the unit decides; one that forwards asks it. Task management functions that concern the nexuses of
//! both heads go the same way, so that they are over when they are answered. Who asked through a head that is gone, or
//! whose session has ended, holds nothing by RESERVE any more, and prevents nothing; that is a wish like any other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use replication::Millis;
use replication::block::Blocks;
use replication::head::{Event, OpId, Operation, Outcome, Request};
use sas_backend::superblock::Record;
use tokio::sync::oneshot;

use super::Lun;
use super::tasks::{Caller, HOLD_MS, Home, Underway, Victims, Waiting, op_id};
use crate::scsi::attention::Attention;
use crate::scsi::reservation::Nexus;
use crate::scsi::reservation::table::What;
use crate::scsi::shared::relay::{self, About, Question};
use crate::scsi::shared::state::Wish;
use crate::scsi::unit::{Access, Decision, Then, Wished};
use crate::scsi::{NexusId, Response, Status};

/// RELEASE(6).
const RELEASE: u8 = 0x17;
/// PREVENT ALLOW MEDIUM REMOVAL; with nothing else set, it is allowed.
const ALLOW: u8 = 0x1E;
/// What both heads have to do is tried again after this long, or when the role of this one is clear.
const SETTLING: Duration = Duration::from_millis(100);

/// Changes that are not answered.
#[derive(Default)]
pub(super) struct Changes {
    waiting: VecDeque<(Wished, By)>,
    /// One of them is with the head.
    busy: bool,
    /// Commands that the change which is with the head has ended, and that must be over before it is answered.
    ending: Vec<oneshot::Receiver<()>>,
}

/// Who waits for a change.
pub(super) enum By {
    /// A client of this head.
    Client(Waiting),
    /// The other head.
    Peer(OpId),
    /// The unit itself: told when it is done, and dropped when it cannot be.
    Unit(oneshot::Sender<()>),
}

impl By {
    pub(super) fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Client(waiting) => Some(&waiting.caller),
            Self::Peer(_) | Self::Unit(_) => None,
        }
    }
}

impl Changes {
    /// Those that have not begun do not begin.
    pub(super) fn end(&mut self, victims: Victims) {
        self.waiting.retain(|(_, by)| !by.caller().is_some_and(|caller| victims.take(caller, Home::Here)));
    }

    pub(super) fn has(&self, victims: Victims) -> bool {
        self.waiting.iter().any(|(_, by)| by.caller().is_some_and(|caller| victims.hit(caller)))
    }
}

impl Lun {
    /// A client's wish at the head that owns the unit.
    pub(super) fn change(&self, wished: Wished, by: By) {
        self.changes_of_reservations.borrow_mut().waiting.push_back((wished, by));
        self.next_change();
    }

    fn next_change(&self) {
        loop {
            let (wished, by) = {
                let mut changes = self.changes_of_reservations.borrow_mut();
                if changes.busy {
                    return;
                }
                let Some(next) = changes.waiting.pop_front() else { return };
                next
            };
            let decision = self.unit.borrow().decide(&wished);
            match decision {
                Decision::Answer(response) => self.answer_change(by, response),
                Decision::Do(record) => {
                    self.changes_of_reservations.borrow_mut().busy = true;
                    let key = self.tasks.borrow_mut().insert(Underway::Record(by));
                    return self.post(Event::SetRecord { op: op_id(key), record });
                }
            }
        }
    }

    /// The head has kept it, or has not.
    pub(super) fn on_change_kept(&self, by: By, outcome: &Outcome<Blocks>, is_wanted: bool) {
        let ending = {
            let mut changes = self.changes_of_reservations.borrow_mut();
            changes.busy = false;
            std::mem::take(&mut changes.ending)
        };
        if matches!(outcome, Outcome::Done) {
            self.sanitize();
        }
        match (outcome, by) {
            (Outcome::Done, by) if ending.is_empty() => self.answer_change(by, Response::good()),
            (Outcome::Done, by) => {
                let Some(lun) = self.this.upgrade() else { return };
                tokio::task::spawn_local(async move {
                    for end in ending {
                        end.await.ok();
                    }
                    lun.answer_change(by, Response::good());
                });
            }
            (_, By::Client(waiting)) if is_wanted => self.present(waiting),
            _ => {}
        }
        self.next_change();
    }

    fn answer_change(&self, by: By, response: Response) {
        match by {
            By::Client(waiting) if response.status == Status::Good => self.finish_change(waiting, response),
            By::Client(waiting) => waiting.caller.respond(response),
            By::Peer(op) => self.post(Event::Answered { op, answer: relay::emit_answer(&response).into() }),
            By::Unit(done) if response.status == Status::Good => drop(done.send(())),
            By::Unit(_) => {}
        }
    }

    /// A client's wish has been fulfilled.
    fn finish_change(&self, waiting: Waiting, response: Response) {
        let then = self.unit.borrow().then(waiting.command());
        match then {
            Then::Answer => waiting.caller.respond(response),
            Then::AwaitSanitize => self.await_sanitize(waiting),
            Then::Do(io) => self.begin(waiting, io),
        }
    }

    /// Both heads go by this from now on.
    pub(super) fn on_record(&self, record: &Record) {
        let Some(ended) = self.unit.borrow_mut().set_record(record) else {
            tracing::error!(lun = %self.name(), "what clients have reserved cannot be read; going by what was known before");
            return;
        };
        for nexus in ended {
            self.tell_if_cleared(nexus);
            let end = self.end_tasks(Victims::Preempted(nexus));
            let mut changes = self.changes_of_reservations.borrow_mut();
            if changes.busy {
                changes.ending.push(end);
            }
        }
        self.answer_sanitized();
    }

    /// The other head's client wants something.
    pub(super) fn on_ask(&self, op: OpId, question: &[u8]) {
        let decision = self.unit.borrow().answer_question(question);
        match decision {
            Decision::Answer(response) => self.answer_change(By::Peer(op), response),
            Decision::Do(wished) => self.change(wished, By::Peer(op)),
        }
    }

    /// What the owner has said to a question.
    pub(super) fn on_question_answered(&self, by: By, outcome: Outcome<Blocks>, is_wanted: bool) {
        match (outcome, by) {
            (Outcome::Answer(answer), by) => {
                let busy = || Response::status(Status::Busy);
                self.answer_change(by, relay::parse_answer(&answer).unwrap_or_else(busy));
            }
            (Outcome::NotServing, By::Client(waiting)) if is_wanted => self.present(waiting),
            (Outcome::NotServing, _) => {}
            // No other end of a question is known.
            (_, by) => self.answer_change(by, Response::status(Status::Busy)),
        }
    }

    /// A client wants something that the owner has to decide.
    pub(super) fn ask(&self, waiting: Waiting, question: Vec<u8>) {
        self.send_question(By::Client(waiting), question);
    }

    fn send_question(&self, by: By, question: Vec<u8>) {
        let key = self.tasks.borrow_mut().insert(Underway::Question(by));
        let question: Arc<[u8]> = question.into();
        self.post(Event::Request(Request { op: op_id(key), operation: Operation::Ask(question) }));
    }

    /// What the other head has asked and nobody has begun is not wanted any more, and what its clients hold ends.
    pub(super) fn on_peer_gone(&self) {
        self.changes_of_reservations.borrow_mut().waiting.retain(|(_, by)| !matches!(by, By::Peer(_)));
        let theirs = self.unit.borrow().held_there();
        theirs.into_iter().for_each(|wished| drop(self.end_hold(wished)));
    }

    /// Somebody holds something whose session is gone.
    pub(super) fn end_left_behind(&self) {
        let left = self.unit.borrow().left_behind();
        left.into_iter().for_each(|wished| drop(self.end_hold(wished)));
    }

    /// A nexus is gone, and what it held has ended for both heads: for as long as that is worth waiting for.
    pub(crate) async fn part_with(&self, nexus: NexusId) {
        self.unit.borrow_mut().remove_nexus(nexus);
        let since = self.clock.now();
        loop {
            let settled = self.settled.notified();
            let left = self.unit.borrow().left_behind();
            for wished in left {
                self.end_hold(wished).await.ok();
            }
            if self.unit.borrow().left_behind().is_empty() || self.is_in_vain(since) {
                return;
            }
            tokio::time::timeout(SETTLING, settled).await.ok();
        }
    }

    /// Whether there is no owner that could do something, or waiting for it has taken long.
    fn is_in_vain(&self, since: Millis) -> bool {
        let overdue = self.clock.now().since(since) >= HOLD_MS;
        overdue || matches!(self.unit.borrow().access(), Access::Standby | Access::Unavailable)
    }

    /// Somebody whose commands end by another one's word has to know.
    fn tell_if_cleared(&self, nexus: NexusId) {
        if self.has_tasks_of(nexus) {
            self.unit.borrow_mut().raise_for(nexus, Attention::CommandsCleared);
        }
    }

    /// CLEAR TASK SET: all commands of both heads' nexuses end.
    pub(crate) async fn clear_task_set(&self, by: NexusId) {
        let others: Vec<NexusId> = self.unit.borrow().nexuses().map(|(id, _)| id).filter(|id| *id != by).collect();
        others.into_iter().for_each(|nexus| self.tell_if_cleared(nexus));
        self.end_tasks(Victims::All { by }).await.ok();
        self.everywhere(by, What::Cleared).await;
    }

    /// LOGICAL UNIT RESET, for the nexuses of both heads.
    pub(crate) async fn reset(&self, by: NexusId) {
        self.end_tasks(Victims::All { by }).await.ok();
        if !self.everywhere(by, What::Reset).await {
            // Without the owner nobody else can be told.
            self.unit.borrow_mut().reset();
        }
    }

    /// Whether both heads have done it. While the unit changes its owner nobody can do it: the next one does.
    async fn everywhere(&self, by: NexusId, what: What) -> bool {
        let since = self.clock.now();
        loop {
            let settled = self.settled.notified();
            let who = self.unit.borrow().name_of(by).cloned();
            let Some(who) = who else { return false };
            if self.let_owner(who, Wish::Everyone(what), About::Everyone(what)).await.is_ok() {
                return true;
            }
            if self.is_in_vain(since) {
                return false;
            }
            // An owner that refuses gives the unit away, and the news of that may still be on its way.
            tokio::time::timeout(SETTLING, settled).await.ok();
        }
    }

    /// While the role is not clear nothing happens; it is tried again when it is.
    fn end_hold(&self, Wished { who, wish }: Wished) -> oneshot::Receiver<()> {
        let mut cdb = [0; 16];
        cdb[0] = if matches!(wish, Wish::Prevent(_)) { ALLOW } else { RELEASE };
        self.let_owner(who, wish, About::Command { cdb, data: Vec::new() })
    }

    /// The owner does this, whichever head it is; what is received says that it has.
    fn let_owner(&self, who: Nexus, wish: Wish, about: About) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let access = self.unit.borrow().access();
        match access {
            Access::Serving => self.change(Wished { who, wish }, By::Unit(done)),
            Access::Forwarding => {
                if let Some(question) = (Question { who, about }).emit() {
                    self.send_question(By::Unit(done), question);
                }
            }
            Access::Standby | Access::Changing | Access::Unavailable => {}
        }
        receiver
    }
}
