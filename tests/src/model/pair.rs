//! A pair with all that can happen to it, as a value: one block, two heads, the disk, the link, clients.
//!
//! The shells around the heads are modelled with the promises that the real ones give:
//!
//! * superblock and reservation commands of a head are executed one after the other;
//! * a disk command takes effect at some moment before it is answered, unless its head is fenced first;
//! * messages arrive in order or not at all, and never from an earlier connection.

use std::collections::VecDeque;

use replication::head::{Access, Action, Event, IoError, OpId, Operation, Order, OrderId, Outcome, Request};
use replication::message::Message;
use replication::{Data, Extent, Millis};
use sas_backend::HeadId;

use super::disk::Disk;
use super::register::Register;
use super::side::{Asked, Side};
use super::step::{Budget, Step, Trouble};

/// Time goes in steps of this.
const STEP_MS: u64 = 100;
const BLOCK: Extent = Extent { lba: 0, blocks: 1 };

/// The block's contents: which write they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark(u8);

impl Data for Mark {
    fn blocks(&self) -> u64 {
        1
    }
    fn slice(&self, _: u64, _: u64) -> Self {
        *self
    }
    fn first_difference(&self, other: &Self) -> Option<u64> {
        (self != other).then_some(0)
    }
    fn or(&self, parts: &[Self]) -> Self {
        Self(parts.iter().fold(self.0, |bits, part| bits | part.0))
    }
}

/// The pair at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    now: Millis,
    sides: [Side; 2],
    disk: Disk,
    is_connected: bool,
    /// Messages to each head.
    queues: [VecDeque<Message<Mark>>; 2],
    register: Register,
    left: Budget,
    /// Processes that have ended without a word since both heads had everything in RAM.
    crashed: u8,
    lives: u64,
    ops: u64,
    violation: Option<String>,
}

impl Pair {
    /// Both heads are there, and nothing has begun.
    #[must_use]
    pub fn new() -> Self {
        let mut pair = Self {
            now: Millis(0),
            sides: [Side::new(), Side::new()],
            disk: Disk::new(Mark(0)),
            is_connected: false,
            queues: [VecDeque::new(), VecDeque::new()],
            register: Register::new(),
            left: Budget::default(),
            crashed: 0,
            lives: 1,
            ops: 0,
            violation: None,
        };
        for of in HeadId::BOTH {
            pair.start(of);
        }
        pair
    }

    /// What may happen from here on, beside what has to.
    #[must_use]
    pub fn with(mut self, budget: Budget) -> Self {
        self.left = budget;
        self
    }

    /// The rule that is broken.
    #[must_use]
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// The head that serves.
    #[must_use]
    pub fn server(&self) -> Option<HeadId> {
        HeadId::BOTH.into_iter().find(|head| self.sides[head.index()].access == Access::Serving)
    }

    /// Whether all that is acknowledged is in both heads' RAM.
    #[must_use]
    pub fn is_mirrored(&self) -> bool {
        let forwards = |head: HeadId| self.sides[head.index()].access == Access::Forwarding;
        self.server().is_some_and(|server| forwards(server.other()))
    }

    /// Whether the superblock says that the disk has all that is acknowledged.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.disk.is_incomplete()
    }

    /// Whether no head serves, because what both of them have lost was acknowledged.
    fn is_reported_lost(&self) -> bool {
        let unavailable = |side: &Side| side.access == Access::Unavailable;
        self.crashed > 1 && self.disk.is_incomplete() && self.sides.iter().all(unavailable)
    }

    /// Everything that can happen now.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = self.inevitable();
        self.steps_of_clients(&mut steps);
        let left = &self.left;
        let mut add = |times: u8, step: Step| steps.extend((times > 0).then_some(step));
        let troubled_ticks = left.ticks.min(left.troubles);
        add(left.ticks, Step::Tick(Trouble::None));
        add(if self.is_connected { left.breaks } else { 0 }, Step::Break);
        for of in HeadId::BOTH.into_iter().filter(|of| self.sides[of.index()].head.is_some()) {
            add(left.crashes, Step::Crash(of));
            add(left.orders, Step::Order(of));
            add(if self.sides[of.index()].is_stopping { 0 } else { left.stops }, Step::Stop(of));
            add(troubled_ticks, Step::Tick(Trouble::Asleep(of)));
            add(troubled_ticks, Step::Tick(Trouble::SlowDisk(of)));
        }
        for at in 0..self.disk.commands.len() {
            add(left.disk_errors, Step::DiskError { at, happened: false });
            add(left.disk_errors, Step::DiskError { at, happened: true });
        }
        add(left.power_losses, Step::PowerLoss { cache: false });
        add(left.power_losses, Step::PowerLoss { cache: true });
        steps
    }

    fn steps_of_clients(&self, steps: &mut Vec<Step>) {
        let writes: usize = self.sides.iter().map(Side::has_writes).sum();
        for of in HeadId::BOTH.into_iter().filter(|of| self.sides[of.index()].lets_in()) {
            if self.left.writes > 0 && writes < usize::from(self.left.at_once) {
                steps.push(Step::Write(of));
            }
            if self.left.reads > 0 && !self.register.is_read() {
                steps.push(Step::Read(of));
            }
        }
    }

    /// What happens sooner or later, if nothing comes in between.
    fn inevitable(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for of in HeadId::BOTH {
            let side = &self.sides[of.index()];
            if side.head.is_none() {
                steps.push(Step::Start(of));
                continue;
            }
            let possible = [
                (side.is_linked && !self.is_connected, Step::NoticeDown(of)),
                (!side.answers.is_empty(), Step::Answer(of)),
                (!side.arbiter.is_empty() && side.answers.is_empty(), Step::Arbitrate(of)),
                (side.is_linked && !self.queues[of.index()].is_empty(), Step::Deliver(of)),
            ];
            steps.extend(possible.into_iter().filter(|(may, _)| *may).map(|(_, step)| step));
        }
        if !self.is_connected && self.sides.iter().all(|side| side.head.is_some() && side.link_open && !side.is_linked)
        {
            steps.push(Step::Connect);
        }
        steps.extend((0..self.disk.commands.len()).map(Step::Disk));
        steps.extend(self.disk.orphan.iter().map(|_| Step::Land));
        steps
    }

    /// The same when this has happened.
    #[must_use]
    pub fn after(&self, step: Step) -> Self {
        let mut pair = self.clone();
        pair.take(step);
        pair
    }

    /// Let nothing more go wrong: the pair serves again in the end, and has what it should have.
    ///
    /// # Errors
    /// It does not, or has not.
    pub fn recover(&self) -> Result<(), String> {
        const PATIENCE_TICKS: u8 = 100;
        let mut pair = self.clone().with(Budget { ticks: PATIENCE_TICKS, ..Budget::default() });
        for _ in 0..PATIENCE_TICKS {
            pair.settle();
            let idle = pair.sides.iter().all(|side| side.asked.is_empty());
            if let (true, Some(server)) = (idle && pair.is_mirrored(), pair.server()) {
                return pair.try_out(server);
            }
            pair.take(Step::Tick(Trouble::None));
        }
        if pair.is_reported_lost() { Ok(()) } else { Err("it does not serve again".to_owned()) }
    }

    /// What was acknowledged is read, and what is written now as well.
    fn try_out(mut self, server: HeadId) -> Result<(), String> {
        self.left.writes = 1;
        self.left.reads = 2;
        for step in [Step::Read(server), Step::Write(server), Step::Read(server)] {
            self.take(step);
            self.settle();
        }
        let answered = self.sides.iter().all(|side| side.asked.is_empty());
        match self.violation {
            Some(why) => Err(why),
            None if answered => Ok(()),
            None => Err("it does not answer".to_owned()),
        }
    }

    /// Everything that has to happen before time goes on.
    fn settle(&mut self) {
        while let Some(step) = self.inevitable().first() {
            self.take(*step);
        }
    }

    /// The same when everything has happened that has to before time goes on.
    #[must_use]
    pub fn at_rest(mut self) -> Self {
        self.settle();
        self
    }

    /// Let nothing go wrong until it is so.
    #[must_use]
    pub fn until(mut self, is_so: impl Fn(&Self) -> bool) -> Self {
        while !is_so(&self) {
            self.left = Budget { ticks: 1, ..Budget::default() };
            let step = self.inevitable().first().copied().unwrap_or(Step::Tick(Trouble::None));
            self.take(step);
        }
        self
    }

    /// Let the other head go on until it serves, while this one sleeps through it.
    #[must_use]
    pub fn while_asleep(mut self, sleeper: HeadId) -> Self {
        let other = sleeper.other();
        while self.sides[other.index()].access != Access::Serving {
            self.left = Budget { ticks: 1, troubles: 1, ..Budget::default() };
            let awake = |step: &&Step| matches!(step, Step::Arbitrate(of) | Step::Answer(of) if *of == other);
            let step = self.inevitable().iter().find(awake).copied().unwrap_or(Step::Tick(Trouble::Asleep(sleeper)));
            self.take(step);
        }
        self
    }

    fn take(&mut self, step: Step) {
        self.left.spend(step);
        match step {
            Step::Write(at) => {
                let mark = self.register.write();
                let data = Mark(mark);
                // What is acknowledged is to outlive a loss of power.
                self.ask(at, Asked::Write(mark), Operation::Write { extent: BLOCK, data, fua: true });
            }
            Step::Read(at) => {
                self.register.read();
                self.ask(at, Asked::Read, Operation::Read(BLOCK));
            }
            Step::Deliver(to) => {
                if let Some(message) = self.queues[to.index()].pop_front() {
                    self.tell(to, Event::Message(message));
                }
            }
            Step::NoticeDown(at) => {
                self.sides[at.index()].is_linked = false;
                self.tell(at, Event::LinkDown);
            }
            Step::Connect => self.connect(),
            Step::Arbitrate(of) => self.arbitrate(of),
            Step::Answer(to) => {
                if let Some(event) = self.sides[to.index()].answers.pop_front() {
                    self.tell(to, event);
                }
            }
            Step::Disk(at) => self.execute(at, None),
            Step::DiskError { at, happened } => self.execute(at, Some(happened)),
            Step::Tick(trouble) => self.tick(trouble),
            Step::Land => {
                let landed = self.disk.land();
                self.check(landed);
            }
            Step::Crash(of) => self.crash(of),
            Step::Start(of) => self.start(of),
            Step::Break => self.disconnect(),
            Step::Order(to) => {
                self.ops += 1;
                let id = OrderId(self.ops);
                self.tell(to, Event::Order { id, order: Order::Own(to) });
            }
            Step::Stop(of) => {
                self.sides[of.index()].is_stopping = true;
                self.tell(of, Event::Shutdown);
            }
            Step::PowerLoss { cache } => {
                HeadId::BOTH.into_iter().for_each(|of| self.crash(of));
                self.disk.lose_power(cache);
            }
        }
    }

    fn ask(&mut self, at: HeadId, asked: Asked, operation: Operation<Mark>) {
        self.ops += 1;
        let op = OpId(self.ops);
        self.sides[at.index()].asked.push((op, asked));
        self.tell(at, Event::Request(Request { op, operation }));
    }

    fn tick(&mut self, trouble: Trouble) {
        self.now = self.now.after(STEP_MS);
        for of in HeadId::BOTH.into_iter().filter(|of| trouble != Trouble::Asleep(*of)) {
            self.tell(of, Event::Tick);
            if trouble != Trouble::SlowDisk(of) {
                self.beat(of);
                self.watch(of);
            }
        }
    }

    fn start(&mut self, of: HeadId) {
        self.lives += 1;
        self.sides[of.index()].start(of, self.lives);
        self.tell(of, Event::Start);
    }

    fn crash(&mut self, of: HeadId) {
        self.crashed = if self.is_mirrored() { 1 } else { self.crashed.saturating_add(1) };
        self.end_sessions(of);
        self.disconnect();
        let side = &mut self.sides[of.index()];
        self.disk.forsake(of, side.life, &mut side.arbiter);
        side.end();
    }

    fn connect(&mut self) {
        self.is_connected = true;
        for to in HeadId::BOTH {
            self.sides[to.index()].is_linked = true;
        }
        for to in HeadId::BOTH {
            let peer = self.sides[to.other().index()].life;
            self.tell(to, Event::LinkUp { peer });
        }
    }

    fn disconnect(&mut self) {
        self.is_connected = false;
        self.queues.iter_mut().for_each(VecDeque::clear);
    }

    /// Nobody hears any more what becomes of what this head's clients have asked.
    fn end_sessions(&mut self, of: HeadId) {
        for (_, asked) in std::mem::take(&mut self.sides[of.index()].asked) {
            self.give_up(&asked);
        }
    }

    fn give_up(&mut self, asked: &Asked) {
        match asked {
            Asked::Write(mark) => self.register.given_up(*mark),
            Asked::Read => {
                let returned = self.register.returned(None);
                self.check(returned);
            }
        }
    }

    /// The first rule that is broken counts.
    fn check(&mut self, rule: Result<(), String>) {
        if let Err(why) = rule {
            self.violation.get_or_insert(why);
        }
    }

    fn tell(&mut self, to: HeadId, event: Event<Mark>) {
        let now = self.now;
        let Some(head) = &mut self.sides[to.index()].head else { return };
        head.handle(now, event);
        let actions: Vec<_> = std::iter::from_fn(|| head.poll_action()).collect();
        for action in actions {
            self.perform(to, action);
        }
    }

    fn perform(&mut self, of: HeadId, action: Action<Mark>) {
        let side = &mut self.sides[of.index()];
        match action {
            Action::Complete { op, outcome } => self.on_complete(of, op, outcome),
            Action::Disk { id, command } => self.disk.submit(of, side.life, id, command),
            Action::ReadSuperblock
            | Action::WriteSuperblock(_)
            | Action::Register { .. }
            | Action::ChangeKey { .. }
            | Action::Fence { .. } => side.arbiter.push_back(action),
            Action::StartHeartbeat { .. } => side.beats = true,
            Action::StopHeartbeat => side.beats = false,
            Action::WatchPeer(on) => side.watches = on,
            Action::Send(message) => {
                if self.is_connected && side.is_linked {
                    self.queues[of.other().index()].push_back(message);
                }
            }
            Action::OpenLink => side.link_open = true,
            Action::CloseLink => {
                (side.link_open, side.is_linked) = (false, false);
                self.disconnect();
            }
            Action::SetAccess(access) => {
                side.access = access;
                if access == Access::Serving {
                    self.check_alone(of);
                }
            }
            Action::CloseSessions => self.end_sessions(of),
            Action::Stopped => {
                self.end_sessions(of);
                self.sides[of.index()].end();
            }
            Action::SetOtherForwards(_) | Action::SetRecord(_) | Action::OrderDone { .. } | Action::Announce(_) => {}
            Action::Measure | Action::ClearOldPlace | Action::SetBlocks(_) | Action::Ask { .. } => {
                unreachable!("nobody has asked for {action:?}")
            }
        }
    }

    /// At most one head serves: the other one, if it has slept and believes that it is the owner, answers no client.
    fn check_alone(&mut self, of: HeadId) {
        let Some(mut other) = self.sides[of.other().index()].head.clone() else { return };
        let op = OpId(u64::MAX);
        other.handle(self.now, Event::Request(Request { op, operation: Operation::Read(BLOCK) }));
        let mut actions = std::iter::from_fn(|| other.poll_action());
        if actions.any(|action| matches!(action, Action::Complete { outcome: Outcome::Data(_), .. })) {
            self.check(Err(format!("both heads serve, {of} since now")));
        }
    }

    fn on_complete(&mut self, of: HeadId, op: OpId, outcome: Outcome<Mark>) {
        let asked = &mut self.sides[of.index()].asked;
        let Some(at) = asked.iter().position(|(name, _)| *name == op) else { return };
        let (_, asked) = asked.remove(at);
        match (asked, outcome) {
            (Asked::Write(mark), Outcome::Done) => self.register.acknowledged(mark),
            (Asked::Read, Outcome::Data(pieces)) => {
                let returned = self.register.returned(pieces.first().map(|mark| mark.0));
                self.check(returned);
            }
            (asked, _) => self.give_up(&asked),
        }
    }

    /// The next superblock or reservation command.
    fn arbitrate(&mut self, of: HeadId) {
        let other_is_gone = self.sides[of.other().index()].head.is_none();
        let side = &mut self.sides[of.index()];
        let Some(action) = side.arbiter.pop_front() else { return };
        match self.disk.arbitrate(of, side.life, action, other_is_gone) {
            Ok(event) if self.left.late_answers => side.answers.push_back(event),
            Ok(event) => self.tell(of, event),
            Err(why) => self.check(Err(why)),
        }
    }

    /// The command takes effect and is answered; or it fails, and has happened or not.
    fn execute(&mut self, at: usize, fails: Option<bool>) {
        let command = self.disk.commands.remove(at);
        let mut result = Ok(None);
        if fails != Some(false) {
            result = self.disk.execute(&command);
        }
        if fails.is_some() && result.is_ok() {
            result = Err(IoError::Path);
        }
        if self.sides[command.of.index()].life == command.life {
            self.tell(command.of, Event::Disk { id: command.id, result });
        }
    }

    fn beat(&mut self, of: HeadId) {
        let Side { life, beats: true, .. } = self.sides[of.index()] else { return };
        if self.disk.is_registered(of, life) {
            self.disk.beat(of, life, self.now.0);
            self.tell(of, Event::Heartbeat { started: self.now });
        } else {
            self.tell(of, Event::Conflict);
        }
    }

    fn watch(&mut self, of: HeadId) {
        if self.sides[of.index()].watches {
            let beat = self.disk.last_beat(of.other());
            self.tell(of, Event::PeerHeartbeat { started: self.now, beat });
        }
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}
