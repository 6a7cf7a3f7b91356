//! What a run may do to the pair, and what came of it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What a run may do to the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long faults happen.
    pub chaos_ms: u64,
    /// Whether a second head may die before the first is whole again; the loss must then be reported, not served.
    pub double_faults: bool,
    /// Whether the disk grows now and then, and the unit shall follow.
    pub growth: bool,
    /// Whether clients unmap blocks, and ask which ones are.
    pub holes: bool,
    /// Whether the heads' clocks run at different rates.
    pub drift: bool,
    /// Whether the disk fails now and then.
    pub disk_errors: bool,
    /// Whether the power of everything is lost now and then; only with double faults.
    pub power: bool,
    /// How many of the clients are hosts that speak iSCSI; the others ask the heads, which is quicker.
    pub hosts: u64,
}

impl Plan {
    /// The plan of a seed. It draws from a stream of its own: the same faults come at the same moments in any plan.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(!seed);
        let mut chance = |percent: u64| rng.random_range(0..100) < percent;
        let (double_faults, growth) = (chance(40), chance(30));
        Self {
            chaos_ms: 20_000,
            double_faults,
            growth,
            holes: chance(75),
            drift: chance(50),
            disk_errors: chance(35),
            power: chance(40) && double_faults,
            hosts: if chance(48) && !growth { 2 } else { 0 },
        }
    }
}

/// How a run ended; of many runs, the sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Milliseconds of virtual time.
    pub simulated_ms: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Reads that were checked.
    pub reads: u64,
    /// Blocks of which clients were told that they are a hole, which was checked.
    pub holes: u64,
    /// Takeovers and handovers.
    pub owners: u64,
    /// Sessions of hosts.
    pub logins: u64,
    /// Losses that were reported and accepted.
    pub losses: u64,
    /// Blocks that clients see at the end.
    pub blocks: u64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<&'static str, u64>,
}

impl AddAssign<&Self> for Report {
    fn add_assign(&mut self, other: &Self) {
        self.simulated_ms += other.simulated_ms;
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        self.holes += other.holes;
        self.owners += other.owners;
        self.logins += other.logins;
        self.losses += other.losses;
        self.blocks += other.blocks;
        for (fault, times) in &other.faults {
            *self.faults.entry(fault).or_default() += times;
        }
    }
}
