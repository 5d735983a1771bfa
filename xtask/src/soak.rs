//! `cargo xtask soak`: what takes longer than CI may.

mod fuzz;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::bench::{Programs, Server, Tracer, Variant};
use crate::command::Cmd;
use crate::privilege::Root;
use crate::workspace::{self, Profile};

/// Options of the soak.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each part runs, in minutes.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Runs only the parts whose name contains this: exactness, attach, links, recording, verdicts of patterns, verdicts of
    /// programs, budget, fuzz and the name of a fuzz target ("fuzz unwind").
    #[arg(long, default_value = "")]
    filter: String,
}

/// What every part gets.
struct Soak {
    programs: Programs,
    scratch: tempfile::TempDir,
    time: Duration,
}

/// A part returns what it did, in a few words.
type Part = fn(&Soak) -> Result<String>;

const PARTS: [(&str, Part); 7] = [
    ("exactness", exactness),
    ("attach and detach", attach_and_detach),
    ("links", links),
    ("recording killed", recording_killed),
    ("verdicts of patterns", verdicts_of_patterns),
    ("verdicts of programs", verdicts_of_programs),
    ("budget", budget),
];

/// Runs the parts and lists their results; fails if one of them does.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = Root::find();
    ensure!(root.unattended(), "the soak needs root: run it as root, or run `sudo -v` first");
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let programs = Programs {
        root,
        leaktrace: workspace::build_leaktrace(Profile::Release)?,
        churn: workspace::compile_victim("churn", scratch.path(), workspace::Frames::Kept)?,
    };
    let soak = Soak { programs, scratch, time: Duration::from_secs(options.minutes * 60) };
    let mut failed = 0;
    let mut results = Vec::new();
    let is_asked = |name: &str| name.contains(&options.filter);
    let mut note = |name: &str, done: Result<String>| {
        failed += u32::from(done.is_err());
        results.push(match done {
            Ok(done) => format!("{name}: ok, {done}"),
            Err(error) => format!("{name}: FAILED: {error:#}"),
        });
    };
    for (name, part) in PARTS.into_iter().filter(|(name, _)| is_asked(name)) {
        println!("\n== {name}");
        note(name, part(&soak));
    }
    for target in fuzz::targets()? {
        let name = format!("fuzz {target}");
        if is_asked(&name) {
            println!("\n== {name}");
            note(&name, fuzz::run(&target, soak.time));
        }
    }
    println!("\n== result");
    for result in &results {
        println!("{result}");
    }
    ensure!(failed == 0, "{failed} of {} parts failed", results.len());
    Ok(())
}

/// The exactness tests, again and again, each time from another seed.
fn exactness(soak: &Soak) -> Result<String> {
    let until = Instant::now() + soak.time;
    let mut tests = workspace::build_tests()?;
    tests.leaktrace.clone_from(&soak.programs.leaktrace);
    let mut seed: u64 = 1;
    while Instant::now() < until {
        for program in tests.privileged() {
            let test = tests.as_root(soak.programs.root, program).arg("exact");
            test.env("LEAKTRACE_TEST_SEED", seed.to_string())
                .run()
                .with_context(|| format!("LEAKTRACE_TEST_SEED={seed}"))?;
        }
        seed += 1;
    }
    Ok(format!("{} seeds", seed - 1))
}

/// A tracer comes and goes while the target works; the target must not notice.
fn attach_and_detach(soak: &Soak) -> Result<String> {
    let seconds = soak.time.as_secs();
    let mut command = churn(soak, seconds).into_std();
    let mut target =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start churn")?;
    let until = Instant::now() + soak.time.saturating_sub(Duration::from_secs(5));
    let mut cycles = 0_u64;
    let mut traced = Ok(());
    while Instant::now() < until && traced.is_ok() {
        traced =
            Tracer::attach(Variant::Leaktrace, soak.programs.root, &soak.programs.leaktrace, target.id())
                .and_then(|tracer| tracer.map_or(Ok(()), |tracer| tracer.detach().map(drop)))
                .with_context(|| format!("cycle {cycles}"));
        cycles += 1;
    }
    if traced.is_err() {
        // A target that is dead already is what the error is about.
        let _ = target.kill();
    }
    let output = target.wait_with_output().context("cannot wait for churn")?;
    traced?;
    ensure!(output.status.success(), "the target ended with {} after {cycles} cycles", output.status);
    Ok(format!("{cycles} cycles"))
}

/// Each kind of link a thousand times (perf links: fifty), under eight threads that check their blocks. It takes the time that
/// it takes.
fn links(soak: &Soak) -> Result<String> {
    long_forms(soak, &["links::", "--test-threads=2"])?;
    Ok("1000 cycles with sessions, 1000 with multi links, 50 with perf links".to_owned())
}

/// A tracer that records is killed at all sorts of moments; what it wrote must be readable to the cut.
fn recording_killed(soak: &Soak) -> Result<String> {
    let until = Instant::now() + soak.time;
    let (target, _) = Server::start(churn(soak, soak.time.as_secs() + 60), false)?;
    let recording = soak.scratch.path().join("killed.leaktrace");
    let mut cuts = 0_u64;
    while Instant::now() < until {
        // From the middle of the attach to some seconds of recording, in steps that fit no rhythm of the writer.
        let life = Duration::from_millis(50 + cuts * 137 % 3000);
        cut_after(soak, target.pid(), &recording, life)?;
        cuts += 1;
    }
    Ok(format!("{cuts} recordings cut"))
}

fn cut_after(soak: &Soak, pid: u32, recording: &Path, life: Duration) -> Result<()> {
    let root = soak.programs.root;
    // A recording is never written over an old one.
    root.command("rm").arg("-f").arg(recording).run()?;
    let trace = root
        .command("timeout")
        .args(["--signal=KILL", &format!("{:.3}", life.as_secs_f64())])
        .arg(&soak.programs.leaktrace)
        .args(["--pid", &pid.to_string(), "--format", "ndjson", "--record"])
        .arg(recording);
    let mut command = trace.into_std();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().context("cannot start leaktrace under timeout")?;
    if fs::metadata(recording).map_or(0, |file| file.len()) == 0 {
        // Killed before the first byte was written.
        return Ok(());
    }
    let replay =
        root.command(&soak.programs.leaktrace).arg("replay").arg(recording).args(["--format", "ndjson"]);
    let printed =
        replay.read().with_context(|| format!("a recording cut after {life:?} cannot be replayed"))?;
    let last = printed.lines().last().unwrap_or_default();
    ensure!(
        last.contains("\"type\":\"summary\""),
        "a recording cut after {life:?} replays without a summary"
    );
    Ok(())
}

/// The long forms of the cases on victims with a known pattern. They wait for the victims, not for the clock, and run
/// side by side.
fn verdicts_of_patterns(soak: &Soak) -> Result<String> {
    long_forms(soak, &["verdicts::patterns"])?;
    Ok("each pattern in its long form".to_owned())
}

/// Real programs under full load, one after the other: not one may be called a leak.
fn verdicts_of_programs(soak: &Soak) -> Result<String> {
    long_forms(soak, &["verdicts::programs", "--test-threads=1"])?;
    Ok(format!("{} s each", soak.time.as_secs()))
}

/// A twentieth of a CPU and no more, under load: nothing is called a leak that is none, a leak is, and the target notices
/// nothing of probes that come and go.
fn budget(soak: &Soak) -> Result<String> {
    long_forms(soak, &["budget::", "--test-threads=2"])?;
    Ok(format!("{} s each", soak.time.as_secs()))
}

/// Cases in their long form. Every verdict is printed, with its function, also those that are as they should be.
fn long_forms(soak: &Soak, arguments: &[&str]) -> Result<()> {
    let mut tests = workspace::build_tests()?;
    tests.leaktrace.clone_from(&soak.programs.leaktrace);
    for program in tests.privileged() {
        let test = tests.as_root(soak.programs.root, program).args(arguments);
        test.env("LEAKTRACE_TEST_SOAK_SECONDS", soak.time.as_secs().to_string()).run()?;
    }
    Ok(())
}

/// Two threads that allocate and free without a pause.
fn churn(soak: &Soak, seconds: u64) -> Cmd {
    Cmd::new(&soak.programs.churn).args(["--threads", "2", "--seconds", &seconds.to_string(), "--depth", "8"])
}
