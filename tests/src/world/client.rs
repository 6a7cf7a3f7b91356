//! Clients: each writes its own blocks and reads everybody's, tries the other head when one does not serve, and repeats
//! a write until it is acknowledged. A client that waits too long gives up on the head, as a client does whose path is
//! silent; when both heads say that they serve, or forward, it takes either.

use replication::Extent;
use replication::head::{Access, Event, Head, IoError, OpId, Operation, Outcome, Request};
use replication::message::Mode;
use sas_backend::HeadId;

use super::daemon::Numbers;
use super::invariants::judged_by_all_that_was_acknowledged;
use super::oracle::Floor;
use super::sessions::SESSION_OPS;
use super::{BLOCKS, CLIENTS, Entry, Marks, World, ZEROES, index, slot_of};

/// Names an operator's drain.
pub(super) const DRAIN: OpId = OpId(SESSION_OPS - 1);

pub(super) struct Client {
    number: u64,
    head: HeadId,
    /// What it wants until it has it.
    want: Option<Want>,
    /// The request on its way.
    asked: Option<(OpId, HeadId)>,
    ops: u64,
    marks: u64,
    /// What it wants was asked for before, and nobody knows what came of that.
    sent_before: bool,
    /// How often it has raised its number.
    number_raised: u64,
    /// What every daemon has to know that lets in what it asks.
    must_know: Numbers,
    /// What the one knew that has.
    judged_by: Option<Numbers>,
}

#[derive(Clone, Debug)]
pub(super) enum Want {
    Write {
        extent: Extent,
        mark: u64,
        fua: bool,
        by: By,
    },
    Read {
        extent: Extent,
        floors: Vec<Floor>,
    },
    /// What of it is a hole; zeroes that are read count as such.
    Map {
        extent: Extent,
        floors: Vec<Floor>,
    },
    Flush {
        /// What was acknowledged when it was sent.
        acknowledged: Vec<(u64, u64)>,
    },
    Raise(u64),
}

impl Want {
    /// Anything may be there, and nothing that was acknowledged is certain.
    pub(super) fn forget_floors(&mut self) {
        match self {
            Self::Read { floors, .. } | Self::Map { floors, .. } => floors.fill(Floor::default()),
            Self::Flush { acknowledged } => acknowledged.clear(),
            Self::Write { .. } | Self::Raise(_) => {}
        }
    }
}

/// The command that brings a mark to blocks.
#[derive(Clone, Debug)]
pub(super) enum By {
    Write,
    /// A hole, which has no mark.
    Hole,
    /// Only if these are there, which is certain as long as it was not sent before and nothing was lost.
    Compare(Vec<u64>),
    /// The bits that the mark has and what is there has not; it has all of what is there, unless something was lost.
    Or,
}

impl Client {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            head: HeadId::A,
            want: None,
            asked: None,
            ops: 0,
            marks: 0,
            sent_before: false,
            number_raised: 0,
            must_know: Numbers::default(),
            judged_by: None,
        }
    }
}

impl Client {
    /// It waits for nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_none() && self.want.is_none()
    }

    pub(super) fn set_want(&mut self, want: Want) {
        self.want = Some(want);
        self.sent_before = true;
    }

    /// What it knew of the blocks may not be true any more.
    pub(super) fn forget_floors(&mut self) {
        if let Some(want) = &mut self.want {
            want.forget_floors();
        }
    }

    fn check_judged(&self) -> Result<(), String> {
        let Some(knew) = self.judged_by else { return Ok(()) };
        judged_by_all_that_was_acknowledged(knew, self.must_know, || format!("{:?}", self.want))
    }
}

impl World {
    /// A client's turn: ask for something, unless it waits for an answer.
    pub(super) fn on_client(&mut self, of: u64) -> Result<(), String> {
        let number = index(of);
        let is_host = number < self.hosts.len();
        if self.clients[number].asked.is_some() || (is_host && self.hosts[number].is_busy()) {
            return Ok(());
        }
        if self.clients[number].want.is_none() {
            if self.quiet_until > self.now {
                let wait = self.quiet_until - self.now;
                self.at(wait, Entry::Client { of });
                return Ok(());
            }
            let want = self.next_want(of);
            self.clients[number].want = Some(want);
            self.clients[number].sent_before = false;
        }
        let want = self.refreshed_want(number);
        if is_host {
            return self.submit_to_host(number, &want);
        }
        if self.chance(20) {
            self.clients[number].head = self.clients[number].head.other();
        }
        let head = self.clients[number].head;
        let slot = &self.slots[slot_of(head)];
        let fits = match &want {
            Want::Write { extent, .. } | Want::Read { extent, .. } | Want::Map { extent, .. } => {
                extent.end() <= slot.blocks
            }
            Want::Flush { .. } | Want::Raise(_) => true,
        };
        let takes_io = matches!(slot.access, Access::Serving | Access::Forwarding);
        if slot.head.is_none() || !takes_io || !fits {
            self.clients[number].head = head.other();
            self.at(20, Entry::Client { of });
            return Ok(());
        }
        let must_know = self.oracle.numbers();
        let client = &mut self.clients[number];
        client.must_know = must_know;
        client.judged_by = None;
        client.ops += 1;
        let op = OpId(client.ops * CLIENTS + of);
        client.asked = Some((op, head));
        let life = self.slots[slot_of(head)].life;
        let patience = self.between(300, 1_500);
        self.at(patience, Entry::Patience { of, op });
        let delay = self.between(0, 2);
        let operation = match want {
            Want::Write { extent, mark, fua, by } => {
                let marks = vec![mark; index(extent.blocks)];
                match by {
                    By::Hole => Operation::Write { extent, data: Marks::Hole(extent.blocks), fua },
                    By::Compare(over) => {
                        let data = Marks::Written([over, marks].concat());
                        Operation::CompareAndWrite { extent, data, fua }
                    }
                    By::Or if self.certain => {
                        let bits = self.there(extent).into_iter().map(|there| mark & !there);
                        Operation::Or { extent, data: Marks::Written(bits.collect()), fua }
                    }
                    By::Or | By::Write => Operation::Write { extent, data: Marks::Written(marks), fua },
                }
            }
            Want::Read { extent, .. } => Operation::Read(extent),
            Want::Map { extent, .. } => Operation::Map(extent),
            Want::Flush { .. } => Operation::Flush,
            Want::Raise(number) => {
                self.at(delay, Entry::Raise { at: head, life, of, op, number });
                return Ok(());
            }
        };
        let event = Box::new(Event::Request(Request { op, operation }));
        self.at(delay, Entry::Deliver { to: head, life, event });
        Ok(())
    }

    /// What a read may return is known when it is sent, not when somebody first thought of it.
    fn refreshed_want(&mut self, number: usize) -> Want {
        let mut want = self.clients[number].want.clone().expect("it wants something");
        match &mut want {
            Want::Read { extent, floors } | Want::Map { extent, floors } => {
                *floors = (extent.lba..extent.end()).map(|lba| self.oracle.floor(lba)).collect();
            }
            Want::Flush { acknowledged } if self.plan.power => *acknowledged = self.oracle.all_acknowledged(),
            Want::Write { .. } | Want::Flush { .. } | Want::Raise(_) => {}
        }
        self.clients[number].want = Some(want.clone());
        want
    }

    /// A daemon lets in a client's request by what it knows.
    pub(super) fn judge(&mut self, at: HeadId, op: OpId) {
        let numbers = self.slots[slot_of(at)].daemon.numbers();
        let client = &mut self.clients[index(op.0 % CLIENTS)];
        if client.asked == Some((op, at)) {
            client.judged_by = Some(numbers);
        }
    }

    /// A client has waited long enough: it gives up on the request and goes elsewhere.
    pub(super) fn on_patience(&mut self, of: u64, op: OpId) -> Result<(), String> {
        let client = &mut self.clients[index(of)];
        let Some((asked, head)) = client.asked.filter(|(asked, _)| *asked == op) else { return Ok(()) };
        client.asked = None;
        client.sent_before = true;
        client.head = head.other();
        self.at(5, Entry::Client { of });
        let life = self.slots[slot_of(head)].life;
        self.deliver(head, life, Event::Cancel(asked))
    }

    fn next_want(&mut self, of: u64) -> Want {
        if self.blocks_seen > BLOCKS && self.chance(30) {
            return self.want_of_new_blocks(of);
        }
        if self.plan.holes && self.chance(25) {
            return self.want_of_holes(of);
        }
        let mine = BLOCKS / CLIENTS;
        if self.chance(3) && index(of) >= self.hosts.len() {
            let client = &mut self.clients[index(of)];
            client.number_raised += 1;
            return Want::Raise(client.number_raised);
        }
        match self.between(0, 9) {
            0..=5 => {
                let lba = of * mine + self.between(0, mine - 1);
                let blocks = self.between(1, 4).min((of + 1) * mine - lba);
                let extent = Extent::new(lba, blocks);
                let there = self.there(extent);
                let by = match self.between(0, 19) {
                    0..=2 => By::Compare(there.clone()),
                    // Each may double the marks.
                    3..=5 if self.clients[index(of)].marks < 1 << 32 => By::Or,
                    _ => By::Write,
                };
                let client = &mut self.clients[index(of)];
                client.marks += 1;
                if matches!(by, By::Or) {
                    client.marks |= there.iter().fold(0, |all, there| all | there);
                }
                let mark = client.marks;
                for lba in extent.lba..extent.end() {
                    self.oracle.issued(lba, mark);
                }
                Want::Write { extent, mark, fua: self.chance(20), by }
            }
            6..=8 => {
                let lba = self.between(0, BLOCKS - 1);
                let blocks = self.between(1, 8).min(BLOCKS - lba);
                Want::Read { extent: Extent::new(lba, blocks), floors: Vec::new() }
            }
            _ => Want::Flush { acknowledged: Vec::new() },
        }
    }

    /// What must be in one's own blocks.
    pub(super) fn there(&self, extent: Extent) -> Vec<u64> {
        (extent.lba..extent.end()).map(|lba| self.oracle.contents(lba, self.oracle.floor(lba).newest())).collect()
    }

    /// Make one of one's own blocks, or look where they are.
    fn want_of_holes(&mut self, of: u64) -> Want {
        if self.chance(40) {
            let lba = self.between(0, BLOCKS - 1);
            return Want::Map { extent: Extent::new(lba, BLOCKS - lba), floors: Vec::new() };
        }
        let mine = BLOCKS / CLIENTS;
        let lba = of * mine + self.between(0, mine - 1);
        let extent = Extent::new(lba, self.between(1, (of + 1) * mine - lba));
        self.clients[index(of)].marks += 1;
        let mark = self.clients[index(of)].marks;
        for lba in extent.lba..extent.end() {
            self.oracle.issued_hole(lba, mark);
        }
        // A host has no way to say so.
        let fua = self.chance(20) && index(of) >= self.hosts.len();
        Want::Write { extent, mark, fua, by: By::Hole }
    }

    /// Something with the blocks that were not there at first; each belongs to one client.
    fn want_of_new_blocks(&mut self, of: u64) -> Want {
        let lba = self.between(BLOCKS, self.blocks_seen - 1);
        if lba % CLIENTS == of {
            let extent = Extent::new(lba, 1);
            self.clients[index(of)].marks += 1;
            let mark = self.clients[index(of)].marks;
            self.oracle.issued(lba, mark);
            return Want::Write { extent, mark, fua: false, by: By::Write };
        }
        let blocks = self.between(1, 8).min(self.blocks_seen - lba);
        Want::Read { extent: Extent::new(lba, blocks), floors: Vec::new() }
    }

    pub(super) fn on_complete(&mut self, of: HeadId, op: OpId, outcome: Outcome<Marks>) -> Result<(), String> {
        if self.on_change_complete(of, op, &outcome)? {
            return Ok(());
        }
        let slot = &self.slots[slot_of(of)];
        let serves = slot.access == Access::Serving;
        if serves && !matches!(outcome, Outcome::NotServing | Outcome::Failed(_)) {
            self.invariants.one_server.answered(of, slot.owned)?;
        }
        if op == DRAIN {
            return self.on_drained(&outcome);
        }
        if op.0 >= SESSION_OPS {
            return self.on_session_complete(of, op, outcome);
        }
        let number = index(op.0 % CLIENTS);
        let client = &mut self.clients[number];
        if client.asked != Some((op, of)) {
            return Ok(());
        }
        client.asked = None;
        // A standby learns of growth a moment after the owner's clients.
        if serves && matches!(outcome, Outcome::Done | Outcome::Data(_) | Outcome::Map(_)) {
            self.check_size(of)?;
        }
        if matches!(outcome, Outcome::Done | Outcome::Data(_)) {
            self.clients[number].check_judged()?;
        }
        let durable = self.plan.power && self.is_mirrored(of);
        if matches!(outcome, Outcome::NotServing | Outcome::Failed(_)) {
            self.clients[number].head = of.other();
        }
        self.on_outcome(number, outcome, durable)
    }

    /// What came of what a client wants. `mirrored`: if it was acknowledged, it was in two memories.
    pub(super) fn on_outcome(&mut self, number: usize, outcome: Outcome<Marks>, mirrored: bool) -> Result<(), String> {
        let client = &mut self.clients[number];
        let of_client = client.number;
        let mut pause = 1;
        match (outcome, client.want.clone()) {
            (Outcome::Done, Some(Want::Write { extent, mark, fua, .. })) => {
                client.want = None;
                self.report.acknowledged += 1;
                let durable = fua || mirrored;
                for lba in extent.lba..extent.end() {
                    self.oracle.acknowledged(lba, mark);
                    if durable {
                        self.oracle.is_durable(lba, mark);
                    }
                }
            }
            (Outcome::Miscompare(_), Some(Want::Write { extent, by: By::Compare(over), .. }))
                if !client.sent_before && self.certain =>
            {
                return Err(format!("{extent:?} is not what only this client can have written: {over:?}"));
            }
            (Outcome::Miscompare(_), Some(Want::Write { .. })) => {
                // An earlier attempt of its own may have succeeded.
                if let Some(Want::Write { by, .. }) = &mut client.want {
                    *by = By::Write;
                }
            }
            (Outcome::Done, Some(Want::Flush { acknowledged })) => {
                client.want = None;
                for (lba, mark) in acknowledged {
                    self.oracle.is_durable(lba, mark);
                }
            }
            (Outcome::Failed(IoError::Medium), Some(Want::Read { .. } | Want::Map { .. })) => client.want = None,
            (Outcome::Failed(IoError::Medium), Some(Want::Write { by: By::Compare(_) | By::Or, .. })) => {
                // What is there cannot be read: it is written anew.
                if let Some(Want::Write { by, .. }) = &mut client.want {
                    *by = By::Write;
                }
                client.sent_before = true;
            }
            (Outcome::Done | Outcome::Answer(_), Some(Want::Raise(raised))) => {
                client.want = None;
                self.oracle.raised(number, raised);
            }
            (Outcome::Data(parts), Some(Want::Read { extent, floors })) => {
                client.want = None;
                self.report.reads += 1;
                let marks: Vec<u64> = parts.iter().flat_map(Marks::to_vec).collect();
                if marks.len() != floors.len() {
                    return Err(format!("a read of {extent:?} returned {} blocks", marks.len()));
                }
                for ((lba, floor), mark) in (extent.lba..extent.end()).zip(floors).zip(marks) {
                    self.oracle.read(lba, floor, mark)?;
                }
            }
            (Outcome::Map(stretch), Some(Want::Map { extent, floors })) => {
                client.want = None;
                if !(1..=extent.blocks).contains(&stretch.blocks) {
                    return Err(format!("{stretch:?} does not say anything about {extent:?}"));
                }
                let told = if stretch.mapped { 0 } else { stretch.blocks };
                self.report.holes += told;
                for (lba, floor) in (extent.lba..extent.lba + told).zip(floors) {
                    self.oracle.read(lba, floor, ZEROES).map_err(|why| format!("told of a hole: {why}"))?;
                }
            }
            (Outcome::NotServing | Outcome::Failed(_), _) => {
                client.sent_before = true;
                pause = 10;
            }
            (outcome, want) => return Err(format!("{outcome:?} does not answer {want:?}")),
        }
        let delay = self.between(0, pause);
        self.at(delay, Entry::Client { of: of_client });
        Ok(())
    }

    /// Whether what a head has just acknowledged is in two memories; only a mirror sends on what its clients want.
    fn is_mirrored(&self, of: HeadId) -> bool {
        let slot = &self.slots[slot_of(of)];
        let mirrored = |head: &Head<Marks>| head.status().mode == Some(Mode::Mirrored);
        slot.access == Access::Forwarding || slot.head.as_ref().is_some_and(mirrored)
    }

    /// The head has closed its sessions, or is no more: whatever was asked there is asked again, elsewhere.
    pub(super) fn fail_requests_of(&mut self, head: HeadId) {
        for number in 0..self.clients.len() {
            if self.clients[number].asked.is_some_and(|(_, asked)| asked == head) {
                self.clients[number].asked = None;
                self.clients[number].sent_before = true;
                self.clients[number].head = head.other();
                let of = self.clients[number].number;
                self.at(5, Entry::Client { of });
            }
        }
    }
}
