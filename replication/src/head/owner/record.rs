//! The record: what the daemons of both heads keep for clients beside the blocks, their reservations.
//!
//! A new one goes to the disk first, with the superblock. Whoever takes over reads that, so it cannot be lost or go back.
//! Then this head goes by it, then the other one if it forwards, and it is acknowledged when nothing runs any more that the
//! other head had sent on before: what it lets in by an older record has begun before the answer, or never does.

use std::collections::BTreeSet;
use std::sync::Arc;

use sas_backend::superblock::Record;

use super::Owner;
use crate::block::Data;
use crate::head::Core;
use crate::head::event::{Action, OpId, Operation, Outcome, Request};
use crate::message::Message;

/// What is being kept, and what the other head's clients have asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Keeping {
    change: Option<Change>,
    /// Records that were sent to the other head.
    told: u64,
    /// Questions that the daemon has not answered.
    asked: BTreeSet<OpId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Change {
    op: OpId,
    step: Step,
}

/// How far a new record is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Until the superblock may be written.
    Waiting(Record),
    Writing,
    /// The other head has this message.
    Telling(u64),
    /// Until everything up to this one has ended.
    Settling(OpId),
}

impl Keeping {
    pub(super) fn is_idle(&self) -> bool {
        self.change.is_none()
    }

    /// Whether a superblock is to be written for it.
    pub(super) fn waits(&self) -> bool {
        matches!(&self.change, Some(Change { step: Step::Waiting(_), .. }))
    }

    /// Without the link nothing more comes from a head that goes by an older one.
    pub(super) fn on_link_down<D>(&mut self, core: &Core<D>) {
        if let Some(Change { step: step @ Step::Telling(_), .. }) = &mut self.change {
            *step = Step::Settling(core.received.newest());
        }
    }

    pub(super) fn drain_ops(&mut self) -> impl Iterator<Item = OpId> + use<> {
        std::mem::take(&mut self.asked).into_iter().chain(self.change.take().map(|change| change.op))
    }
}

impl<D: Data> Owner<D> {
    pub(super) fn on_set_record(&mut self, core: &mut Core<D>, op: OpId, record: Record) {
        if self.serves() && self.keeping.is_idle() {
            self.keeping.change = Some(Change { op, step: Step::Waiting(record) });
        } else {
            core.answer(op, Outcome::NotServing);
        }
    }

    /// What has not begun is not begun by an owner that gives the unit away.
    pub(super) fn send_back_record(&mut self, core: &mut Core<D>) {
        if self.keeping.waits()
            && let Some(Change { op, .. }) = self.keeping.change.take()
        {
            core.answer(op, Outcome::NotServing);
        }
    }

    /// The superblock may be written now.
    pub(super) fn record_record(&mut self, core: &mut Core<D>) {
        let Some(Change { step, .. }) = &mut self.keeping.change else { return };
        if let Step::Waiting(record) = std::mem::replace(step, Step::Writing) {
            self.record(core, |next| next.record = record);
        }
    }

    /// A superblock is on the disk; perhaps with a new record.
    pub(super) fn on_record_recorded(&mut self, core: &mut Core<D>) {
        if !matches!(&self.keeping.change, Some(Change { step: Step::Writing, .. })) {
            return;
        }
        let Some(recorded) = &core.recorded else { return };
        core.actions.push_back(Action::SetRecord(recorded.record.clone()));
        let follows = self.stream_mut().is_some() && core.peer.is_some();
        let step = if follows {
            self.tell_record(core);
            Step::Telling(self.keeping.told)
        } else {
            Step::Settling(core.received.newest())
        };
        if let Some(change) = &mut self.keeping.change {
            change.step = step;
        }
    }

    /// Let the other head go by what the disk says.
    pub(super) fn tell_record(&mut self, core: &mut Core<D>) {
        let Some(recorded) = &core.recorded else { return };
        self.keeping.told += 1;
        core.send(Message::Record { number: self.keeping.told, record: recorded.record.clone() });
    }

    pub(super) fn on_record_known(&mut self, core: &Core<D>, number: u64) {
        if let Some(change) = &mut self.keeping.change
            && change.step == Step::Telling(number)
        {
            change.step = Step::Settling(core.received.newest());
        }
    }

    pub(super) fn settle_record(&mut self, core: &mut Core<D>) {
        if let Some(Change { op, step: Step::Settling(newest) }) = self.keeping.change
            && !core.received.runs_up_to(newest)
        {
            self.keeping.change = None;
            self.complete(core, op, Outcome::Done);
        }
    }

    /// The other head's client wants something that the daemon decides.
    pub(super) fn ask(&mut self, core: &mut Core<D>, request: Request<D>) {
        match request.operation {
            Operation::Ask(question) if request.op.is_of_peer() => {
                self.keeping.asked.insert(request.op);
                core.actions.push_back(Action::Ask { op: request.op, question });
            }
            // Its own daemon needs nobody to ask.
            _ => core.answer(request.op, Outcome::NotServing),
        }
    }

    pub(super) fn on_answered(&mut self, core: &mut Core<D>, op: OpId, answer: Arc<[u8]>) {
        if self.keeping.asked.remove(&op) {
            self.complete(core, op, Outcome::Answer(answer));
        }
    }
}
