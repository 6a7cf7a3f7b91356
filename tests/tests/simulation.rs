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
        run(seed, Plan { chaos_ms: 20_000, double_faults: false });
    }
}

#[test]
fn two_failures_at_once_are_reported_and_never_served() {
    for seed in 10_000..10_400 {
        run(seed, Plan { chaos_ms: 20_000, double_faults: true });
    }
}

/// `FROM=n COUNT=n cargo test many -- --ignored`
#[test]
#[ignore = "as long as one likes"]
fn many() {
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    for seed in number("FROM")..number("FROM") + number("COUNT") {
        run(seed, Plan { chaos_ms: 20_000, double_faults: false });
        run(seed, Plan { chaos_ms: 20_000, double_faults: true });
    }
}

/// `SEED=n DOUBLE=1 cargo test replay -- --nocapture --ignored`
#[test]
#[ignore = "prints one seed for a person to read"]
fn replay() {
    let seed = std::env::var("SEED").unwrap().parse().unwrap();
    let mut world = World::new(seed, Plan { chaos_ms: 20_000, double_faults: std::env::var("DOUBLE").is_ok() }, true);
    let result = world.run();
    println!("{}\n{result:?}", world.log().join("\n"));
}
