//! `cargo xtask test`: everything that must hold before a change lands, in one order, with one line of counts.

use std::env;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::bpf;
use crate::node;
use crate::packages;

mod libtest;
mod steps;

use libtest::Counts;
use steps::State;

/// How one step ended.
#[derive(Debug)]
enum Outcome {
    /// As counted.
    Counted(Counts),
    /// Not run, because of this.
    Skipped(String),
}

impl Outcome {
    fn passed() -> Self {
        Self::Counted(Counts { passed: 1, ..Counts::default() })
    }
}

/// One thing that is tested.
struct Step {
    name: &'static str,
    run: fn(&mut State) -> Result<Outcome>,
}

/// In the order in which they run: what fails fast comes first.
const STEPS: [Step; 8] = [
    Step { name: "formatting", run: steps::formatting },
    Step { name: "clippy", run: steps::clippy },
    Step { name: "fuzz targets", run: steps::fuzz_targets },
    Step { name: "compilation of the tests", run: steps::compilation },
    Step { name: "unit, property and command-line tests", run: steps::unprivileged_tests },
    Step { name: "end-to-end tests as root", run: steps::privileged_tests },
    Step { name: "BPF object", run: steps::bpf_object },
    Step { name: "documentation", run: steps::documentation },
];

/// Runs all steps; fails if any of them does. With `install`, or where `CI=true`, what is missing is installed first.
pub(crate) fn run(install: bool) -> Result<()> {
    let began = Instant::now();
    let mut skipped = Vec::new();
    if install || env::var("CI").is_ok_and(|value| value == "true") {
        announce("packages and the BPF toolchain");
        packages::install_missing()?;
        node::install_missing()?;
        bpf::install_toolchain()?;
        println!("-- done in {:.0} s", began.elapsed().as_secs_f64());
    } else {
        for package in packages::missing() {
            println!("missing: {} ({})", package.name, package.reason);
            skipped.push(format!("what needs {}: {}", package.name, package.reason));
        }
        for version in node::missing() {
            println!("missing: node {version} (V8 of another version)");
            skipped.push(format!("what needs node {version}"));
        }
    }
    let mut state = State::default();
    let mut total = Counts::default();
    let mut failures = Vec::new();
    for step in STEPS {
        announce(step.name);
        let started = Instant::now();
        let result = (step.run)(&mut state);
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(Outcome::Counted(counts)) => {
                total.add(counts);
                if counts.failed > 0 {
                    failures.push(format!("{}: {} failed", step.name, counts.failed));
                }
                let Counts { passed, failed, skipped } = counts;
                println!(
                    "-- {}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0} s",
                    step.name
                );
            }
            Ok(Outcome::Skipped(reason)) => {
                println!("-- {}: SKIPPED: {reason}", step.name);
                total.skipped += 1;
                skipped.push(format!("{}: {reason}", step.name));
            }
            Err(error) => {
                println!("-- {}: FAILED in {seconds:.0} s: {error:#}", step.name);
                total.failed += 1;
                failures.push(format!("{}: {error:#}", step.name));
            }
        }
    }
    report(total, &skipped, &failures, began)
}

/// Prints what was skipped, what failed, and the counts as the last line.
fn report(total: Counts, skipped: &[String], failures: &[String], began: Instant) -> Result<()> {
    println!("\n== result after {:.0} s", began.elapsed().as_secs_f64());
    for reason in skipped {
        println!("SKIPPED {reason}");
    }
    if !skipped.is_empty() {
        println!("`cargo xtask test --install` installs what is missing");
    }
    for failure in failures {
        println!("FAILED {failure}");
    }
    let Counts { passed, failed, skipped } = total;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if !failures.is_empty() {
        bail!("{} of {} steps failed", failures.len(), STEPS.len());
    }
    Ok(())
}

fn announce(name: &str) {
    println!("\n== {name}");
}
