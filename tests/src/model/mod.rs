//! A model checker over the production heads: every order of events within a budget of faults, instead of one by chance.
//!
//! * [`step`]: what can happen, and how often.
//! * [`pair`]: the two heads and everything around them, as a value that can be copied and compared.
//! * `side`, `disk`, `register`: its parts; the last one says what clients may read.
//! * [`Exploration`]: where it begins, what may happen, and what must hold in every state.

mod disk;
pub mod pair;
mod register;
mod side;
pub mod step;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sas_backend::HeadId;
use stateright::{Model, Property};

use pair::Pair;
use step::{Budget, Step, Trouble};

/// One state in so many is tried for whether the pair recovers from it.
const RECOVERY_SAMPLE: u64 = 64;

/// Time goes on, and nothing is wrong.
const TICK: Step = Step::Tick(Trouble::None);

/// What must hold in every state: the rules of [`Pair::violation`], and that the pair serves again when nothing more goes
/// wrong.
pub const RULES: [&str; 2] = ["no rule is broken", "it serves again"];
/// What must be so in some state; otherwise little was explored.
pub const OTHER_SERVES: &str = "the other head serves";

/// One configuration to explore.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// What it is called.
    pub name: &'static str,
    /// The state that it begins with.
    begin: Pair,
    recoveries: Arc<AtomicU64>,
}

impl Exploration {
    fn new(name: &'static str, begin: &Pair, budget: Budget) -> Self {
        Self { name, begin: begin.clone().with(budget), recoveries: Arc::default() }
    }

    /// All of them, from small to large.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let solo = Pair::new().until(|pair| pair.server().is_some());
        let mirrored = Pair::new().until(Pair::is_mirrored);
        let may = Budget { writes: 1, breaks: 1, orders: 1, crashes: 1, ..Budget::default() };
        let dirty = mirrored.clone().with(may).after(Step::Write(HeadId::A)).at_rest();
        let late = Budget { writes: 1, ticks: 2, ..Budget::default() };
        let unheard = dirty.clone().with(late).after(Step::Write(HeadId::A)).after(TICK).after(TICK);
        let [lost, noticed, ordered] = [Step::Break, Step::NoticeDown(HeadId::B), Step::Order(HeadId::B)];
        let seized = dirty.after(lost).after(noticed).after(ordered);
        let overslept = seized.clone().while_asleep(HeadId::A);
        let inherited = dirty.after(Step::Crash(HeadId::A)).until(|pair| pair.server() == Some(HeadId::B));
        let idle = dirty.clone().until(Pair::is_complete);
        let small = Budget { writes: 1, at_once: 1, ticks: 3, ..Budget::default() };
        let full = Budget { writes: 2, at_once: 2, reads: 1, ticks: 8, ..Budget::default() };
        let short = Budget { ticks: 5, ..full };
        vec![
            Self::new("crash", &mirrored, Budget { crashes: 1, ..small }),
            Self::new("dirty-crash", &dirty, Budget { crashes: 1, ..small }),
            Self::new("read-crash", &mirrored, Budget { crashes: 1, reads: 1, ticks: 0, ..small }),
            Self::new("unheard-crash", &unheard, Budget { crashes: 1, writes: 0, ticks: 1, ..small }),
            Self::new("two-crashes", &dirty, Budget { crashes: 2, ..small }),
            Self::new("join", &solo, Budget { crashes: 1, ticks: 1, ..small }),
            Self::new("join-break", &solo, Budget { breaks: 1, writes: 2, at_once: 2, ticks: 1, ..small }),
            Self::new("break", &mirrored, Budget { breaks: 1, crashes: 1, ticks: 1, ..small }),
            Self::new("dirty-break", &dirty, Budget { breaks: 1, reads: 1, ticks: 2, ..small }),
            Self::new("two-breaks", &dirty, Budget { breaks: 2, ticks: 1, ..small }),
            Self::new("order", &mirrored, Budget { orders: 1, reads: 1, ticks: 1, ..small }),
            Self::new("order-alone", &dirty, Budget { breaks: 1, orders: 1, reads: 1, troubles: 1, ticks: 1, ..small }),
            Self::new("seized", &seized, Budget { reads: 1, troubles: 3, ..small }),
            Self::new("overslept", &overslept, Budget { reads: 1, ..small }),
            Self::new("drain", &inherited, Budget { crashes: 1, ticks: 1, ..small }),
            Self::new("stop", &dirty, Budget { stops: 2, ticks: 2, ..small }),
            Self::new("disk-errors", &dirty, Budget { breaks: 1, disk_errors: 2, ticks: 1, ..small }),
            Self::new("power", &dirty, Budget { power_losses: 1, ticks: 2, ..small }),
            Self::new("idle-power", &idle, Budget { power_losses: 1, ticks: 1, ..small }),
            Self::new("large-join", &solo, Budget { crashes: 1, ..short }),
            Self::new("large-start", &Pair::new(), Budget { crashes: 1, ..full }),
            Self::new("large-crash", &mirrored, Budget { crashes: 1, ..full }),
            Self::new("large-break", &mirrored, Budget { breaks: 1, troubles: 1, ..full }),
            Self::new("large-crash-and-break", &mirrored, Budget { crashes: 1, breaks: 1, ..full }),
            Self::new(
                "large-order",
                &mirrored,
                Budget { orders: 1, crashes: 1, breaks: 1, late_answers: true, ..full },
            ),
            Self::new("large-trouble", &mirrored, Budget { orders: 1, breaks: 1, troubles: 4, ..full }),
        ]
    }

    /// States from which it was tried whether the pair serves again when nothing more goes wrong.
    #[must_use]
    pub fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Relaxed)
    }

    fn serves_again(&self, pair: &Pair) -> bool {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(pair);
        if !hash.is_multiple_of(RECOVERY_SAMPLE) {
            return true;
        }
        self.recoveries.fetch_add(1, Ordering::Relaxed);
        pair.recover().is_ok()
    }
}

impl Model for Exploration {
    type State = Pair;
    type Action = Step;

    fn init_states(&self) -> Vec<Pair> {
        vec![self.begin.clone()]
    }

    fn actions(&self, pair: &Pair, steps: &mut Vec<Step>) {
        steps.extend(pair.steps());
    }

    fn next_state(&self, pair: &Pair, step: Step) -> Option<Pair> {
        Some(pair.after(step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let [unbroken, serves_again] = RULES;
        vec![
            Property::always(unbroken, |_, pair: &Pair| pair.violation().is_none()),
            Property::always(serves_again, |exploration: &Self, pair: &Pair| exploration.serves_again(pair)),
            Property::sometimes(OTHER_SERVES, |_, pair: &Pair| pair.server() == Some(HeadId::B)),
        ]
    }
}
