//! Seeds through the simulated pair: `tests/run sim`.
//!
//! Without arguments: those that have found something once, and 2,000 that nobody has tried.

#![expect(clippy::print_stdout, reason = "what it finds is what it is for")]

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::world::{Log, Plan, Report, World};

/// One a line, and what it has found.
const REGRESSIONS: &str = include_str!("../../seeds.txt");
const FRESH: u64 = 2_000;
/// Fresh seeds begin below this: a number that can be said aloud.
const FRESH_BELOW: u64 = 1_000_000_000;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

enum Task {
    /// Nothing was said.
    Usual,
    /// So many, from there on.
    Seeds { from: u64, count: u64 },
    /// One, to be read.
    Replay(u64),
}

#[derive(Default)]
struct Outcome {
    sum: Report,
    failures: Vec<(u64, String)>,
}

fn main() -> ExitCode {
    // A core that panics ends the process: at least it is said in which seed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(seed) = SEED.get() {
            println!("FAIL  seed {seed}: panic\n      tests/run sim --seed {seed}");
        }
        hook(info);
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let task = match parse(&arguments) {
        Ok(task) => task,
        Err(why) => {
            println!("sim: {why}\nusage: sim [--seeds N [--from M] | --seed N]");
            return ExitCode::from(2);
        }
    };
    match task {
        Task::Replay(seed) => replay(seed),
        Task::Seeds { from, count } => all((from..from.saturating_add(count)).collect()),
        Task::Usual => {
            let from = RandomState::new().build_hasher().finish() % FRESH_BELOW;
            let known = regressions();
            println!("{} seeds that have found something, and {FRESH} from {from} on", known.len());
            println!("      tests/run sim --seeds {FRESH} --from {from}");
            all(known.into_iter().chain(from..from + FRESH).collect())
        }
    }
}

fn parse(arguments: &[String]) -> Result<Task, String> {
    let (mut count, mut from, mut seed) = (None, None, None);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{name} needs a number"))?;
        let value: u64 = value.parse().map_err(|_| format!("{name} needs a number, not {value}"))?;
        match name.as_str() {
            "--seeds" => count = Some(value),
            "--from" => from = Some(value),
            "--seed" => seed = Some(value),
            _ => return Err(format!("what is {name}?")),
        }
    }
    match (count, from, seed) {
        (None, None, None) => Ok(Task::Usual),
        (None, None, Some(seed)) => Ok(Task::Replay(seed)),
        (Some(count), from, None) => Ok(Task::Seeds { from: from.unwrap_or(0), count }),
        _ => Err("these do not go together".to_owned()),
    }
}

fn regressions() -> Vec<u64> {
    let numbers = REGRESSIONS.lines().filter(|line| !line.starts_with('#'));
    numbers.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

fn replay(seed: u64) -> ExitCode {
    SEED.set(Some(seed));
    let plan = Plan::of(seed);
    println!("seed {seed}: {plan:?}");
    let result = World::new(seed, plan, Log::Printed).run();
    match result {
        Ok(report) => {
            println!("{report:?}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("FAIL  seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how fast the simulation is has to be measured")]
fn all(seeds: Vec<u64>) -> ExitCode {
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new(Outcome::default());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| work(&seeds, &next, &outcome));
        }
    });
    let outcome = outcome.into_inner().expect("nobody has panicked: the process would have ended");
    tell(&seeds, &outcome, began.elapsed());
    if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(seeds: &[u64], next: &AtomicUsize, outcome: &Mutex<Outcome>) {
    let mut sum = Report::default();
    while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
        SEED.set(Some(seed));
        match World::new(seed, Plan::of(seed), Log::Off).run() {
            Ok(report) => sum += &report,
            Err(violation) => {
                println!("FAIL  seed {seed}: {violation}\n      tests/run sim --seed {seed}");
                outcome.lock().expect("as above").failures.push((seed, violation));
            }
        }
    }
    outcome.lock().expect("as above").sum += &sum;
}

fn tell(seeds: &[u64], outcome: &Outcome, took: Duration) {
    let sum = &outcome.sum;
    let hours = Duration::from_millis(sum.simulated_ms).as_secs_f64() / 3600.0;
    println!("{} seeds, {} failures, {:.0} s", seeds.len(), outcome.failures.len(), took.as_secs_f64());
    println!("{hours:.1} simulated hours, {:.2} in a second", hours / took.as_secs_f64().max(0.001));
    let Report { acknowledged, reads, holes, owners, losses, .. } = sum;
    println!(
        "{acknowledged} writes acknowledged, {reads} reads checked, {holes} holes checked, {owners} changes of owner, \
         {losses} losses reported and accepted"
    );
    let faults: Vec<String> = sum.faults.iter().map(|(fault, times)| format!("{fault} {times}")).collect();
    println!("faults: {}", faults.join(", "));
}
