//! A victim for each pattern: named as what it is, in time, with the line to blame; and what is bounded is no leak.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Language, Leaktrace, Said, Victim, Watched, rust_victim};

use super::{either, print};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("verdicts::patterns::linear_1_mb_per_s", linear_fast),
    ("verdicts::patterns::linear_1_mb_per_s_by_samples", linear_by_samples),
    ("verdicts::patterns::linear_10_kb_per_s_beside_50_mb_per_s", linear_slow),
    ("verdicts::patterns::accelerating", accelerating),
    ("verdicts::patterns::staircase", staircase),
    ("verdicts::patterns::rising_cycles", rising),
    ("verdicts::patterns::flat_cycles", flat),
    ("verdicts::patterns::spike", spike),
    ("verdicts::patterns::cache_fills", warmup),
    ("verdicts::patterns::cache_turns_over", || bounded("cache", &["bytes=2000000", "rate=400000"])),
    ("verdicts::patterns::buffers_replaced", || bounded("steady", &["bytes=2000000", "rate=400000"])),
    ("verdicts::patterns::shrinking", shrinking),
    ("verdicts::patterns::leak_behind_a_warm_up", late),
    ("verdicts::patterns::leak_in_cpp", || leak_in("subscribe", "leaking.cpp")),
    ("verdicts::patterns::leak_in_rust", || leak_in("remember_request", "main.rs")),
];

/// Growth that is called a leak with more than this is a promise, and must not be broken by a cache.
const SURE: f64 = 0.8;

/// Starts `patterns.c`, attaches, and lets it begin.
fn watch(pattern: &str, options: &[&str], is_enough: impl Fn(&Watched) -> bool) -> Result<Watched> {
    watch_by(&[], pattern, options, is_enough)
}

/// The same with options of leaktrace.
fn watch_by(
    how: &[&str],
    pattern: &str,
    options: &[&str],
    is_enough: impl Fn(&Watched) -> bool,
) -> Result<Watched> {
    let arguments: Vec<&str> = [&[pattern, "wait=1"], options].concat();
    let mut victim = Victim::start(Build::new("patterns.c", Language::C).path()?, &arguments)?;
    let leaktrace = Leaktrace::attach(victim.pid(), how)?;
    victim.send("go")?;
    let watched = Watched::follow(leaktrace, Some(&victim), is_enough)?;
    print(pattern, &watched);
    Ok(watched)
}

fn is_leak_of(watched: &Watched, function: &str) -> bool {
    watched.on(function).any(Said::is_leak)
}

fn is_alarm_of(watched: &Watched, function: &str, pattern: &str) -> bool {
    watched.on(function).any(|said| said.is_alarm() && said.pattern == pattern)
}

fn linear_fast() -> Result<()> {
    let function = "remember_forever";
    let watched = watch("linear", &[], |watched| watched.seconds() > 60.0 || is_leak_of(watched, function))?;
    watched.expect_by(watched.begin + 10.0, function, "seen as linear growth", |said| {
        said.is_alarm() && said.pattern == "linear"
    })?;
    watched.expect_by(watched.begin + 60.0, function, "a linear leak", |said| {
        said.is_leak() && said.pattern == "linear"
    })?;
    watched.expect_line(function, "patterns.c")
}

/// From one allocation of sixty-six: a leak all the same, and as fast.
fn linear_by_samples() -> Result<()> {
    let (function, how) = ("remember_forever", ["--sample", "64KiB"]);
    let enough = |watched: &Watched| watched.seconds() > 60.0 || is_leak_of(watched, function);
    let watched = watch_by(&how, "linear", &[], enough)?;
    watched.expect_by(watched.begin + 60.0, function, "a linear leak", |said| {
        said.is_leak() && said.pattern == "linear" && (said.growth / 1e6 - 1.0).abs() < 0.2
    })?;
    watched.expect_line(function, "patterns.c")
}

fn linear_slow() -> Result<()> {
    let function = "remember_forever";
    let is_long = either(false, true)?;
    let options = ["rate=10000", "churn=50000000"];
    let watched = watch("linear", &options, |watched| {
        let is_answered =
            if is_long { is_leak_of(watched, function) } else { is_alarm_of(watched, function, "linear") };
        watched.seconds() > if is_long { 180.0 } else { 90.0 } || is_answered
    })?;
    watched.expect_by(watched.begin + 90.0, function, "seen as linear growth", |said| {
        said.is_alarm() && said.pattern == "linear"
    })?;
    for innocent in ["parse_request", "render_response", "write_log_line"] {
        ensure!(!is_leak_of(&watched, innocent), "{innocent} gives everything back; {watched}");
    }
    if !is_long {
        return Ok(());
    }
    watched.expect_by(watched.begin + 180.0, function, "a linear leak", |said| {
        said.is_leak() && said.pattern == "linear"
    })?;
    watched.expect_line(function, "patterns.c")
}

fn accelerating() -> Result<()> {
    let function = "remember_more";
    let watched = watch("accelerating", &["rate=200000"], |watched| {
        watched.seconds() > 60.0 || is_leak_of(watched, function)
    })?;
    watched.expect_by(watched.begin + 60.0, function, "a linear leak", |said| {
        said.is_leak() && said.pattern == "linear"
    })?;
    watched.expect_line(function, "patterns.c")
}

fn staircase() -> Result<()> {
    let function = "run_batch_job";
    let every = either("every=6", "every=20")?;
    // The verdict has the fourth tread to come in.
    let watched = watch("staircase", &[every], |watched| watched.mark("step", 5).is_some())?;
    let fifth = watched.mark("step", 5).context("no fifth step")?;
    // So early it may be a suspect.
    watched
        .expect_at(fifth, function, "a staircase", |said| said.is_alarm() && said.pattern == "staircase")?;
    if either(false, true)? {
        watched.expect_at(fifth, function, "a leak", Said::is_leak)?;
    }
    watched.expect_line(function, "patterns.c")
}

fn rising() -> Result<()> {
    let function = "collect_rows";
    let every = either("every=8", "every=20")?;
    let watched = watch("rising", &[every], |watched| watched.mark("cycle", 5).is_some())?;
    let fifth = watched.mark("cycle", 5).context("no fifth cycle")?;
    watched.expect_at(fifth, function, "growth in cycles", |said| {
        said.is_alarm() && said.pattern == "periodic"
    })?;
    if either(false, true)? {
        watched.expect_at(fifth, function, "a leak", Said::is_leak)?;
    }
    watched.expect_line(function, "patterns.c")
}

fn flat() -> Result<()> {
    let (every, cycles) = either(("every=5", 8), ("every=15", 12))?;
    let watched = watch("flat", &[every], |watched| watched.mark("cycle", cycles).is_some())?;
    watched.expect_never("cycles that keep nothing are no leak", Said::is_leak)?;
    watched.expect_bounded_at(watched.t, "queue_work", &["periodic"])
}

fn spike() -> Result<()> {
    let (after, settled) = either(("after=15", 20.0), ("after=60", 60.0))?;
    let is_over = |watched: &Watched| watched.mark("jump", 1).is_some_and(|jump| watched.t > jump + settled);
    let watched = watch("spike", &[after], is_over)?;
    watched.expect_never("one jump is no leak", |said| said.is_leak() && said.confidence >= SURE)?;
    watched.expect_at(watched.t, "load_table", "a suspect jump", |said| {
        said.verdict == "suspect" && said.pattern == "spike"
    })
}

fn warmup() -> Result<()> {
    let function = "fill_cache";
    let seconds = either("seconds=20", "seconds=60")?;
    let is_over = |watched: &Watched| watched.mark("full", 1).is_some_and(|full| watched.t > full + 30.0);
    let watched = watch("warmup", &[seconds, "rate=200000"], is_over)?;
    let full = watched.mark("full", 1).context("the cache is not full")?;
    watched.expect_never("a cache that fills is no sure leak", |said| {
        said.is_leak() && said.confidence >= SURE
    })?;
    watched.expect_bounded_at(full + 30.0, function, &["warmup", "steady"])
}

/// Turnover without growth. The trace sees new blocks replace old ones that it does not know, so at first all it sees
/// grows; that is bounded by then.
fn bounded(pattern: &str, options: &[&str]) -> Result<()> {
    let function = if pattern == "cache" { "cache_insert" } else { "replace_buffer" };
    let seconds = either(45.0, 180.0)?;
    let watched = watch(pattern, options, |watched| watched.seconds() > seconds)?;
    watched.expect_never("turnover is no leak", Said::is_leak)?;
    watched.expect_bounded_at(watched.t, function, &["warmup", "steady"])
}

fn shrinking() -> Result<()> {
    let (rate, seconds) = either(("rate=300000", 45.0), ("rate=80000", 180.0))?;
    // Blocks that glibc gives back to the kernel: else the resident set stays, and is growth that nothing explains.
    let options = [rate, "size=200000"];
    let watched = watch("shrinking", &options, |watched| watched.seconds() > seconds)?;
    watched.expect_never("what shrinks is no leak", Said::is_leak)?;
    // It was loaded while we looked, so what it shrinks from is a jump.
    watched.expect_bounded_at(watched.t, "load_backlog", &["shrinking", "steady", "warmup"])
}

fn late() -> Result<()> {
    let function = "admit_entry";
    let (seconds, patience) = either(("seconds=12", 75.0), ("seconds=60", 180.0))?;
    let watched = watch("late", &[seconds, "rate=400000", "leak=50000"], |watched| {
        let leaks_since = watched.mark("warm", 1);
        leaks_since.is_some_and(|since| {
            watched.t > since + patience || watched.on(function).any(|said| said.t > since && said.is_leak())
        })
    })?;
    let warm = watched.mark("warm", 1).context("the warm-up does not end")?;
    let is_leak = |said: &Said| said.t > warm && said.is_leak() && said.pattern == "linear";
    watched.expect_by(warm + patience, function, "a linear leak behind its warm-up", is_leak)?;
    watched.expect_line(function, "patterns.c")
}

fn leak_in(function: &str, file: &str) -> Result<()> {
    let program = match file {
        "leaking.cpp" => Build::new("leaking.cpp", Language::Cpp).path()?,
        _ => rust_victim("rust_leak")?,
    };
    let victim = Victim::start(program, &["1000000"])?;
    let leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    let watched = Watched::follow(leaktrace, Some(&victim), |watched| {
        watched.seconds() > 60.0 || is_leak_of(watched, function)
    })?;
    print(function, &watched);
    watched.expect_by(watched.begin + 60.0, function, "a linear leak", |said| {
        said.is_leak() && said.pattern == "linear"
    })?;
    watched.expect_line(function, file)
}
