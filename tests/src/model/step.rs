//! What can happen to a pair, and how often.

use sas_backend::HeadId;

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A client begins to write through this head.
    Write(HeadId),
    /// A client begins to read through this head.
    Read(HeadId),
    /// The next message to this head arrives.
    Deliver(HeadId),
    /// This head hears that the link is down.
    NoticeDown(HeadId),
    /// The link comes up.
    Connect,
    /// The next superblock or reservation command of this head takes effect.
    Arbitrate(HeadId),
    /// It is answered.
    Answer(HeadId),
    /// This disk command takes effect and is answered.
    Disk(usize),
    /// This disk command fails.
    DiskError {
        /// Which one.
        at: usize,
        /// It has taken effect nevertheless.
        happened: bool,
    },
    /// Time goes on: heads notice, heartbeats reach the disk and are read there.
    Tick(Trouble),
    /// A superblock of a process that is gone reaches the disk.
    Land,
    /// The process is gone.
    Crash(HeadId),
    /// It starts again.
    Start(HeadId),
    /// The connection is gone, with all that is under way on it.
    Break,
    /// An operator wants this head to be the owner.
    Order(HeadId),
    /// An operator ends this head's process.
    Stop(HeadId),
    /// Both heads and the disk lose power, and the disk what is in its cache, if it is so.
    PowerLoss {
        /// Whether the disk's cache is lost.
        cache: bool,
    },
}

/// What may be wrong with a step of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Nothing.
    None,
    /// This head sleeps through it.
    Asleep(HeadId),
    /// This head's heartbeat does not arrive in it, nor does what it reads of the other one's.
    SlowDisk(HeadId),
}

/// How often things may happen that need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Writes that clients begin.
    pub writes: u8,
    /// Writes that are under way at the same time.
    pub at_once: u8,
    /// Reads.
    pub reads: u8,
    /// Steps of time.
    pub ticks: u8,
    /// Steps of time in which something is wrong.
    pub troubles: u8,
    /// Processes that end without a word.
    pub crashes: u8,
    /// Connections that break.
    pub breaks: u8,
    /// Orders of an operator to own the unit.
    pub orders: u8,
    /// Orders of an operator to end.
    pub stops: u8,
    /// Disk commands that fail.
    pub disk_errors: u8,
    /// Losses of all power.
    pub power_losses: u8,
    /// Whether what a superblock command has done may be answered later.
    pub late_answers: bool,
}

impl Budget {
    /// This happens now.
    pub(super) fn spend(&mut self, step: Step) {
        let times = match step {
            Step::Write(_) => &mut self.writes,
            Step::Read(_) => &mut self.reads,
            Step::DiskError { .. } => &mut self.disk_errors,
            Step::Crash(_) => &mut self.crashes,
            Step::Break => &mut self.breaks,
            Step::Order(_) => &mut self.orders,
            Step::Stop(_) => &mut self.stops,
            Step::PowerLoss { .. } => &mut self.power_losses,
            Step::Tick(trouble) => {
                self.troubles -= u8::from(trouble != Trouble::None);
                &mut self.ticks
            }
            Step::Deliver(_)
            | Step::NoticeDown(_)
            | Step::Connect
            | Step::Arbitrate(_)
            | Step::Answer(_)
            | Step::Disk(_)
            | Step::Land
            | Step::Start(_) => return,
        };
        *times -= 1;
    }
}
