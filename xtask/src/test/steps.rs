//! The steps of `cargo xtask test`.

use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

use super::Outcome;
use super::libtest::{Counts, parse_result};
use crate::bpf;
use crate::command::Cmd;
use crate::privilege::Root;
use crate::workspace::{self, TEST_SELECTION, Tests};

/// What later steps take from earlier ones.
#[derive(Debug, Default)]
pub(super) struct State {
    tests: Option<Tests>,
}

/// rustfmt on every package, the BPF programs too: formatting needs no BPF toolchain.
pub(super) fn formatting(_: &mut State) -> Result<Outcome> {
    workspace::cargo().args(["fmt", "--all", "--check"]).run()?;
    let fuzz = workspace::root().join("fuzz/Cargo.toml");
    workspace::cargo().args(["fmt", "--check", "--manifest-path"]).arg(fuzz).run()?;
    Ok(Outcome::passed())
}

/// clippy without a warning, on all that stable Rust compiles.
pub(super) fn clippy(_: &mut State) -> Result<Outcome> {
    workspace::cargo()
        .arg("clippy")
        .args(TEST_SELECTION)
        .args(["--all-targets", "--", "--deny", "warnings"])
        .run()?;
    Ok(Outcome::passed())
}

/// The fuzz targets, which are a workspace of their own, compile on stable Rust without a warning. To be run they need
/// more.
pub(super) fn fuzz_targets(_: &mut State) -> Result<Outcome> {
    let fuzz = workspace::root().join("fuzz");
    // With the same versions and directory, what was compiled for the step before is taken.
    let lock = workspace::root().join("Cargo.lock");
    fs::copy(&lock, fuzz.join("Cargo.lock")).with_context(|| format!("cannot copy {}", lock.display()))?;
    workspace::cargo()
        .args(["clippy", "--manifest-path"])
        .arg(fuzz.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(workspace::target_directory())
        .args(["--", "--deny", "warnings"])
        // Nothing is linked, so libFuzzer need not be built.
        .env("CUSTOM_LIBFUZZER_PATH", workspace::target_directory().join("libnone.a"))
        .run()?;
    Ok(Outcome::passed())
}

/// Compiles every test and leaktrace.
pub(super) fn compilation(state: &mut State) -> Result<Outcome> {
    state.tests = Some(workspace::build_tests()?);
    Ok(Outcome::passed())
}

/// From where property tests draw their cases: the same in each run, unless another is given.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// Every test that needs no privileges. One of them compares the generated files with the committed ones.
pub(super) fn unprivileged_tests(state: &mut State) -> Result<Outcome> {
    let Some(tests) = &state.tests else { return Ok(not_compiled()) };
    let mut counts = Counts::default();
    let seed = env::var(PROPERTY_SEED).unwrap_or_else(|_| "20261128".to_owned());
    println!("{PROPERTY_SEED}={seed}");
    for program in tests.programs.iter().filter(|program| !program.is_privileged()) {
        println!("running {} of {}", program.name, program.package.display());
        let command = Cmd::new(&program.path).dir(&program.package);
        counts.add(count(command.env("CARGO_MANIFEST_DIR", &program.package).env(PROPERTY_SEED, &seed))?);
    }
    counts.add(count(workspace::cargo().arg("test").args(TEST_SELECTION).arg("--doc"))?);
    Ok(Outcome::Counted(counts))
}

/// The tests that trace real processes. They are compiled as ourselves, so that no file in the target directory
/// becomes root's, and run as root.
pub(super) fn privileged_tests(state: &mut State) -> Result<Outcome> {
    let Some(tests) = &state.tests else { return Ok(not_compiled()) };
    let root = Root::find();
    if !root.unattended() {
        return Ok(Outcome::Skipped("neither root nor sudo without a password".to_owned()));
    }
    ensure!(tests.privileged().next().is_some(), "there is no test program named privileged");
    let mut counts = Counts::default();
    for program in tests.privileged() {
        counts.add(count(tests.as_root(root, program))?);
    }
    Ok(Outcome::Counted(counts))
}

fn not_compiled() -> Outcome {
    Outcome::Skipped("the tests do not compile".to_owned())
}

/// The committed BPF object is what its sources give.
pub(super) fn bpf_object(_: &mut State) -> Result<Outcome> {
    let checked = bpf::check()?;
    println!("{checked}");
    Ok(match checked {
        bpf::Checked::Identical | bpf::Checked::Equivalent { .. } => Outcome::passed(),
        bpf::Checked::NotRebuilt { reason } => Outcome::Skipped(reason),
    })
}

/// rustdoc without a warning.
pub(super) fn documentation(_: &mut State) -> Result<Outcome> {
    workspace::cargo()
        .arg("doc")
        .args(TEST_SELECTION)
        .arg("--no-deps")
        .env("RUSTDOCFLAGS", "--deny warnings")
        .run()?;
    Ok(Outcome::passed())
}

/// Runs a test program, or several through cargo, and adds up their results.
fn count(command: Cmd) -> Result<Counts> {
    let text = command.describe();
    let mut counts = Counts::default();
    let ended_well = command.watch(|line| {
        if let Some(result) = parse_result(line) {
            counts.add(result);
        }
    })?;
    if !ended_well && counts.failed == 0 {
        bail!("`{text}` failed without saying which test did");
    }
    Ok(counts)
}
