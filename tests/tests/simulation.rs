//! A few seeds through the simulated pair, among the other tests; `tests/run sim` is for more.

use tests::world::{Log, Plan, World};

const SEEDS: u64 = 60;

#[test]
fn nothing_is_lost() {
    for seed in 0..SEEDS {
        if let Err(violation) = World::new(seed, Plan::of(seed), Log::Off).run() {
            panic!("seed {seed}: {violation}\ntests/run sim --seed {seed}");
        }
    }
}

/// Otherwise a seed that has found something would be of no use.
#[test]
fn a_seed_decides_everything() {
    for seed in 0..8 {
        let run = || {
            let mut world = World::new(seed, Plan::of(seed), Log::Kept(Vec::new()));
            let result = world.run();
            (world.log().lines().to_vec(), result)
        };
        let (first, second) = (run(), run());
        assert!(first.0.len() > 1_000, "seed {seed} has hardly done anything");
        assert!(first == second, "seed {seed} is two runs");
    }
}
