//! `model [--steps N] [NAME...]`: explores every configuration of the model, or these, with up to so many steps each; a
//! state that several steps lead to is explored once.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it reports, also how long it took")]

use std::process::ExitCode;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};
use tests::model::{Exploration, RULES};

/// Steps in a configuration if nothing is said.
const STEPS: usize = 10_000_000;

fn main() -> ExitCode {
    let mut steps = STEPS;
    let mut names = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--steps" {
            let Some(number) = words.next().and_then(|word| word.parse().ok()) else {
                println!("--steps: how many?");
                return ExitCode::from(2);
            };
            steps = number;
        } else {
            names.push(word);
        }
    }
    let all = Exploration::all();
    if let Some(name) = names.iter().find(|name| all.iter().all(|exploration| exploration.name != **name)) {
        println!("there is no exploration {name}");
        return ExitCode::from(2);
    }
    let mut total = 0;
    let mut is_good = true;
    for exploration in all {
        if names.is_empty() || names.iter().any(|name| name == exploration.name) {
            let (unique, good) = explore(&exploration, steps);
            total += unique;
            is_good &= good;
        }
    }
    println!("{total} different states in all");
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many states it has, and whether all is well.
fn explore(exploration: &Exploration, steps: usize) -> (usize, bool) {
    let since = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checker = exploration
        .clone()
        .checker()
        .threads(threads)
        .target_state_count(steps)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let unique = checker.unique_state_count();
    println!(
        "{}: {unique} different states{}, up to {} steps deep; served again from each of {}; {} s",
        exploration.name,
        if checker.state_count() < steps { ", all there are" } else { "" },
        checker.max_depth(),
        exploration.recoveries(),
        since.elapsed().as_secs(),
    );
    let mut is_good = true;
    for rule in RULES {
        let Some(path) = checker.discovery(rule) else { continue };
        is_good = false;
        let last = path.last_state();
        let why = last.violation().map(str::to_owned).or_else(|| last.recover().err()).unwrap_or_default();
        println!("  not true: {rule}: {why}");
        path.into_actions().iter().for_each(|step| println!("    {step:?}"));
    }
    (unique, is_good)
}
