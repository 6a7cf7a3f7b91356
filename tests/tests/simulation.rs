//! Seeds through the simulated pair.

use tests::world::{Plan, World};

fn run(seed: u64, plan: Plan) {
    let mut world = World::new(seed, plan, false);
    if let Err(violation) = world.run() {
        let mut again = World::new(seed, plan, true);
        let repeated = again.run();
        let tail: Vec<_> = again.log().iter().rev().take(120).rev().cloned().collect();
        panic!("seed {seed}: {violation}\nagain: {repeated:?}\n{}", tail.join("\n"));
    }
}

#[test]
fn one_failure_at_a_time_loses_nothing() {
    for seed in 0..400 {
        run(seed, Plan { chaos_ms: 20_000, double_faults: false, growth: false, holes: true });
    }
}

#[test]
fn two_failures_at_once_are_reported_and_never_served() {
    for seed in 10_000..10_400 {
        run(seed, Plan { chaos_ms: 20_000, double_faults: true, growth: false, holes: true });
    }
}

#[test]
fn a_disk_that_grows_under_faults_loses_nothing() {
    for seed in 20_000..20_300 {
        run(seed, Plan { chaos_ms: 20_000, double_faults: seed % 3 == 0, growth: true, holes: true });
    }
}

/// Each has failed once.
#[test]
fn seeds_to_remember() {
    let single = Plan { chaos_ms: 20_000, double_faults: false, growth: false, holes: false };
    // The superblock that names a mirror is on its way when that dies, and lands after its owner has died as well.
    run(500_181, Plan { growth: true, ..single });
}

/// `FROM=n COUNT=n cargo test many -- --ignored`
#[test]
#[ignore = "as long as one likes"]
fn many() {
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    for seed in number("FROM")..number("FROM") + number("COUNT") {
        run(seed, Plan { chaos_ms: 20_000, double_faults: false, growth: false, holes: true });
        run(seed, Plan { chaos_ms: 20_000, double_faults: true, growth: false, holes: true });
        run(seed, Plan { chaos_ms: 20_000, double_faults: false, growth: true, holes: true });
        run(seed, Plan { chaos_ms: 20_000, double_faults: true, growth: true, holes: true });
    }
}

/// `SEED=n DOUBLE=1 GROWTH=1 cargo test replay -- --nocapture --ignored`
#[test]
#[ignore = "prints one seed for a person to read"]
fn replay() {
    let seed = std::env::var("SEED").unwrap().parse().unwrap();
    let flag = |name: &str| std::env::var(name).is_ok();
    let mut world = World::new(
        seed,
        Plan { chaos_ms: 20_000, double_faults: flag("DOUBLE"), growth: flag("GROWTH"), holes: true },
        true,
    );
    let result = world.run();
    println!("{}\n{result:?}", world.log().join("\n"));
}
