//! SANITIZE, as [`crate::scsi::sanitize`] says: the owner carries it out, whoever has asked for it and whatever becomes of
//! that session. How far it is goes into what both heads and the disk keep, and a new owner goes on from there.

use std::time::Duration;

use replication::Extent;
use replication::block::Blocks;
use replication::head::{Event, Operation, Outcome, Request};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Lun;
use super::execute::STEP_BYTES;
use super::reservations::By;
use super::tasks::{Underway, Waiting, op_id};
use crate::scsi::Response;
use crate::scsi::attention::Attention;
use crate::scsi::sanitize::{Place, Report, Sanitize};
use crate::scsi::shared::state::Wish;
use crate::scsi::unit::{Access, Wished};

/// How far it is is kept after so many bytes, or a hundredth of the unit.
const REPORT_BYTES: u64 = 64 << 20;
/// It is kept after this long in any case: a unit that changes its owner all the time has to get on as well.
const REPORT_AFTER: Duration = Duration::from_millis(250);

/// Why it does not go on here.
enum Stop {
    /// This head does not serve the unit any more.
    NotServing,
    /// The disk cannot do it.
    Failed,
}

/// So much at the most is done in a second.
struct Pace {
    bytes_per_second: Option<u64>,
    begun: Instant,
    done: u64,
}

impl Pace {
    async fn after(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(rate) = self.bytes_per_second {
            let micros = u128::from(self.done) * 1_000_000 / u128::from(rate.max(1));
            let due = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
            tokio::time::sleep_until(self.begun + due).await;
        }
    }
}

impl Lun {
    /// What both heads go by has changed, or the role of this one: whoever waits may be answered.
    pub(super) fn answer_sanitized(&self) {
        // While the unit changes its owner, the next one goes on, and this head will hear of it.
        let follows = matches!(self.unit.borrow().access(), Access::Serving | Access::Forwarding | Access::Changing);
        let over = self.sanitized();
        if over.is_some() || !follows {
            // A head that does not follow any more cannot tell when it is over.
            let answer = over.unwrap_or_else(|| Response::unit_attention(Attention::AccessStateChanged));
            let waiting = std::mem::take(&mut self.tasks.borrow_mut().sanitizing);
            waiting.into_iter().for_each(|waiting| waiting.caller.respond(answer.clone()));
        }
    }

    /// Whoever sent it hears of its end.
    pub(super) fn await_sanitize(&self, waiting: Waiting) {
        match self.sanitized() {
            Some(over) => waiting.caller.respond(over),
            None => self.tasks.borrow_mut().sanitizing.push(waiting),
        }
    }

    /// What the status display says of it.
    pub(crate) fn sanitize_in_words(&self) -> Option<String> {
        let unit = self.unit.borrow();
        let operation = unit.sanitize()?;
        Some(match operation.progress(unit.config().blocks) {
            Some(progress) => format!("being sanitized, {} % done", (u32::from(progress) * 100) >> 16),
            None => "could not be sanitized".to_owned(),
        })
    }

    /// The answer if it is over.
    fn sanitized(&self) -> Option<Response> {
        match self.unit.borrow().sanitize() {
            None => Some(Response::good()),
            Some(failed @ Sanitize { place: None, .. }) => Some(Response::check(failed.sense(0))),
            Some(Sanitize { place: Some(_), .. }) => None,
        }
    }

    /// What is to be done here and now.
    fn to_sanitize(&self) -> Option<(Sanitize, Place)> {
        let unit = self.unit.borrow();
        let operation = unit.sanitize().filter(|_| unit.access() == Access::Serving)?;
        Some((operation.clone(), operation.place?))
    }

    /// Carry it out, if there is one to be carried out here: not before the other head goes by it, or what that head still
    /// lets in could come on top.
    pub(super) fn sanitize(&self) {
        let Some(lun) = self.this.upgrade() else { return };
        if self.to_sanitize().is_none() || self.sanitizes.replace(true) {
            return;
        }
        tokio::task::spawn_local(async move {
            // After a change of owner and back it goes on from where it was kept.
            while let Some((operation, place)) = lun.to_sanitize() {
                tracing::info!(lun = %lun.name(), by = %operation.by.initiator.name, "sanitizing");
                let report = match lun.sanitize_from(&operation, place).await {
                    Ok(()) => Report::Done,
                    Err(Stop::Failed) => Report::Failed,
                    Err(Stop::NotServing) => continue,
                };
                let kept = lun.report(&operation, report).await;
                tracing::info!(lun = %lun.name(), ?report, kept = kept.is_ok(), "sanitized");
            }
            lun.sanitizes.set(false);
        });
    }

    async fn sanitize_from(&self, operation: &Sanitize, place: Place) -> Result<(), Stop> {
        let bytes_per_second = self.config().sanitize_bytes_per_second;
        let mut pace = Pace { bytes_per_second, begun: Instant::now(), done: 0 };
        // What was let in before is over, or it could come on top.
        self.drain().await?;
        let Place { mut pass, mut lba } = place;
        while pass < operation.method.passes() {
            self.pass(operation, Place { pass, lba }, &mut pace).await?;
            (pass, lba) = (pass + 1, 0);
            self.report_place(operation, Place { pass, lba }).await?;
        }
        Ok(())
    }

    /// One pass, from a place of it to the end of the unit, which may grow meanwhile.
    async fn pass(&self, operation: &Sanitize, from: Place, pace: &mut Pace) -> Result<(), Stop> {
        let step = STEP_BYTES / u64::from(self.block_bytes);
        let filled = operation.method.filling(from.pass).and_then(|pattern| self.filled(&pattern, step));
        let blocks = || self.unit.borrow().config().blocks;
        let report_after = (REPORT_BYTES / u64::from(self.block_bytes)).max(blocks() / 100);
        let (mut lba, mut reported, mut reported_at) = (from.lba, from.lba, Instant::now());
        while lba < blocks() {
            let extent = Extent::new(lba, step.min(blocks() - lba));
            let operation_of_step = match &filled {
                Some(filled) => {
                    Operation::Write { extent, data: replication::Data::slice(filled, 0, extent.blocks), fua: false }
                }
                None => self.hole(extent).ok_or(Stop::Failed)?,
            };
            self.sanitize_step(|op| Event::Request(Request { op, operation: operation_of_step })).await?;
            lba = extent.end();
            pace.after(extent.blocks * u64::from(self.block_bytes)).await;
            let due = lba - reported >= report_after || reported_at.elapsed() >= REPORT_AFTER;
            if due && lba < blocks() {
                self.report_place(operation, Place { pass: from.pass, lba }).await?;
                (reported, reported_at) = (lba, Instant::now());
            }
        }
        Ok(())
    }

    async fn drain(&self) -> Result<(), Stop> {
        self.sanitize_step(|op| Event::Drain { op }).await
    }

    async fn sanitize_step(&self, event: impl FnOnce(replication::head::OpId) -> Event<Blocks>) -> Result<(), Stop> {
        let (done, outcome) = oneshot::channel();
        let key = self.tasks.borrow_mut().insert(Underway::Sanitize { done });
        self.post(event(op_id(key)));
        match outcome.await {
            Ok(Outcome::Done) => Ok(()),
            Ok(Outcome::Failed(_)) => Err(Stop::Failed),
            _ => Err(Stop::NotServing),
        }
    }

    /// Nothing before this place is written again, whatever becomes of both heads: so each pass reaches the disk.
    async fn report_place(&self, operation: &Sanitize, place: Place) -> Result<(), Stop> {
        self.drain().await?;
        self.report(operation, Report::At(place)).await
    }

    /// Both heads and the disk know it from now on.
    async fn report(&self, operation: &Sanitize, report: Report) -> Result<(), Stop> {
        let (done, kept) = oneshot::channel();
        self.change(Wished { who: operation.by.clone(), wish: Wish::Sanitized(report) }, By::Unit(done));
        kept.await.map_err(|_| Stop::NotServing)
    }
}
