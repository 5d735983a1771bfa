//! Tests that trace real processes: they need root and working uprobes.
//!
//! As root they fail loudly where the kernel lets them down; as anyone else each is reported as ignored, and counted.
//! They run one after the other unless asked otherwise: several traces at once would compete for two cores, and
//! "nothing lost" is a statement about one. Only the verdicts, which take minutes of waiting, and the cases
//! on JavaScript, which mostly wait for V8, run side by side.

mod accuracy;
mod allocators;
mod budget;
mod command;
mod containers;
mod exactness;
mod exports;
mod failures;
mod heap_walk;
mod javascript;
mod links;
mod mappings;
mod prices;
mod programs;
mod rings;
mod sampling;
mod stacks;
mod survival;
mod terminal;
mod trees;
mod v8;
mod verdicts;

use std::path::Path;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

/// More of them, each a victim and a trace, starve one another on two cores: a leak is then not seen within its minute.
const WAITING_AT_ONCE: usize = 14;

/// A test case: its name and what it does.
type Case = (&'static str, fn() -> Result<()>);

fn kernel_has_uprobes() -> Result<()> {
    let kind = Path::new("/sys/bus/event_source/devices/uprobe/type");
    kind.exists().then_some(()).context("this kernel has no uprobes: none of these tests can pass")
}

fn main() {
    let arguments = Arguments::from_args();
    let mut cases: Vec<Case> = vec![("kernel_has_uprobes", kernel_has_uprobes)];
    for group in [
        exactness::CASES,
        links::CASES,
        sampling::CASES,
        budget::CASES,
        prices::CASES,
        &stacks::CASES.concat(),
        mappings::CASES,
        allocators::CASES,
        survival::CASES,
        programs::CASES,
        rings::CASES,
        trees::CASES,
        containers::CASES,
        failures::CASES,
        terminal::CASES,
        command::CASES,
        exports::CASES,
        accuracy::CASES,
        &heap_walk::CASES.concat(),
        v8::CASES,
        v8::COLLECTIONS,
    ] {
        cases.extend(group);
    }
    let javascript = javascript::CASES.concat();
    let waiting =
        [verdicts::CASES.concat(), v8::waiting(), heap_walk::WAITING.to_vec(), budget::WAITING.to_vec()]
            .concat();
    let root = rustix::process::geteuid().is_root();
    if !root && !arguments.list {
        println!(
            "{} privileged cases are ignored: they need root (sudo)",
            cases.len() + javascript.len() + waiting.len()
        );
    }
    let ended = [
        run(&arguments, cases, 1, root),
        run(&arguments, javascript, javascript::AT_ONCE, root),
        run(&arguments, waiting, WAITING_AT_ONCE, root),
    ];
    ended.iter().for_each(Conclusion::exit_if_failed);
}

/// Runs cases, so many at once unless the command line says otherwise.
fn run(arguments: &Arguments, cases: Vec<Case>, at_once: usize, root: bool) -> Conclusion {
    let threads = arguments.test_threads.or(Some(at_once));
    let trials = cases.into_iter().map(|(name, run)| {
        let trial = Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))));
        trial.with_ignored_flag(!root)
    });
    libtest_mimic::run(&Arguments { test_threads: threads, ..arguments.clone() }, trials.collect())
}
