//! What tracing may cost: kept by looking in slices, which says less, and nothing wrong.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use leaktrace_tests::{Build, Ended, Language, Leaktrace, Said, Totals, Victim, Watched, no_probes_in};
use serde_json::Value;

use crate::Case;
use crate::sampling::{check_estimates, check_samples};
use crate::verdicts::soak_time;

pub(crate) const CASES: &[Case] = &[
    ("budget::default_is_exact_on_a_quiet_target", quiet),
    ("budget::kept_by_sessions", || kept("session")),
    ("budget::kept_by_multi_links", || kept("multi")),
    ("budget::kept_by_perf_links", || kept("perf")),
    ("budget::slices_by_sessions_leave_no_trace", || no_trace("session")),
    ("budget::slices_by_multi_links_leave_no_trace", || no_trace("multi")),
    ("budget::stopped_while_session_links_go", || stopped_while_probes_go("session")),
    ("budget::stopped_while_multi_links_go", || stopped_while_probes_go("multi")),
    ("budget::stopped_while_perf_links_go", || stopped_while_probes_go("perf")),
    ("budget::whole_again_when_the_load_is_gone", whole_again),
    ("budget::samples_where_they_are_enough", samples_first),
    ("budget::fewer_samples_and_then_slices", fewer_samples),
    ("budget::mappings_are_not_left_out", only_told),
];

/// They take a minute and little of a CPU.
pub(crate) const WAITING: &[Case] = &[
    ("budget::leak_of_1_mb_per_s_beside_churn_is_named", leak),
    ("budget::cache_that_turns_over_is_no_leak", cache),
];

/// Some thousand blocks are far below what may be taken: nothing is left out.
fn quiet() -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let mut leaktrace = Leaktrace::attach_by_default(victim.pid(), &["--interval", "200ms"])?;
    victim.go(3000, 7, 4)?;
    let ledger = victim.report()?;
    // More than a window, after which the budget would have been found to be passed.
    leaktrace.wait_for("some ticks", |record| record["t"].as_f64() > Some(2.5))?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_equal(&ledger)?;
    let capture = &ended.of_type("header").next().context("no header")?["capture"];
    ensure!(capture["max_overhead"] == 0.2, "the default is told: {capture}");
    ensure!(ended.of_type("tick").all(|tick| tick["overhead"]["mode"] == "everything"), "not all was seen");
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

/// Under a load that allocates without rest, five percent stay five percent, the blocks stay whole, and so does the code.
fn kept(links: &str) -> Result<()> {
    let victim =
        Victim::start(Build::new("patterns.c", Language::C).path()?, &["linear", "churn=500000000"])?;
    let arguments = ["--max-overhead", "5%", "--links", links, "--interval", "500ms"];
    let mut leaktrace = Leaktrace::attach(victim.pid(), &arguments)?;
    leaktrace.wait_for_notice("budget_slices")?;
    let seconds = if links == "perf" { 12.0 } else { 6.0 };
    leaktrace.wait_for("some slices", |record| record["t"].as_f64() > Some(seconds))?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    // The first window is whole, and the slice after it may have begun late.
    let slices: Vec<&Value> = ended.of_type("tick").filter(|tick| tick["t"].as_f64() > Some(2.0)).collect();
    ensure!(slices.iter().all(|tick| tick["overhead"]["mode"] == "slices"), "not in slices");
    let mean = |name: &str| {
        slices.iter().filter_map(|tick| tick["overhead"][name].as_f64()).sum::<f64>() / slices.len() as f64
    };
    let (taken, watched) = (mean("target_cpu_share"), mean("watched_share"));
    println!("{links}: {:.1} % of a CPU taken, {:.1} % of the time watched", taken * 100.0, watched * 100.0);
    // One slice more or less makes a difference in some seconds.
    ensure!(taken <= 0.08 && taken > 0.002, "{taken} of a CPU were taken");
    ensure!(watched < 0.5, "{watched} of the time was watched");
    ensure!(ended.summary()?["losses"]["total"] == 0, "losses: {}", ended.summary()?["losses"]);
    has_intervals(&ended)?;
    no_probes_in(victim.pid())?;
    Ok(())
}

/// The end comes while a slice ends: probes that are being taken away must be gone before leaktrace is.
fn stopped_while_probes_go(links: &str) -> Result<()> {
    let arguments = ["linear", "churn=500000000"];
    let victim = Victim::start(Build::new("patterns.c", Language::C).path()?, &arguments)?;
    // To take them all away takes some hundredths of a second, with perf links more than one.
    for pause_ms in [0, 10, 150, 600] {
        let mut leaktrace = Leaktrace::attach(
            victim.pid(),
            &["--max-overhead", "5%", "--links", links, "--interval", "500ms"],
        )?;
        // It is said right before they go.
        leaktrace.wait_for_notice("budget_slices")?;
        sleep(Duration::from_millis(pause_ms));
        leaktrace.stop()?.expect_success()?;
        no_probes_in(victim.pid())?;
    }
    Ok(())
}

/// Probes come and go under eight threads at work, some times a second; `cargo xtask soak` does the same for minutes.
fn no_trace(links: &str) -> Result<()> {
    let seconds = soak_time()?.map_or(8.0, |time| time.as_secs_f64());
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let pid = victim.pid();
    let arguments = ["--max-overhead", "5%", "--links", links, "--interval", "500ms"];
    let mut leaktrace = Leaktrace::attach(pid, &arguments)?;
    victim.go_while(20_000, 8, || {
        leaktrace.wait_for_notice("budget_slices")?;
        // Tick by tick: the soak's time is longer than any one wait may be.
        let mut t = 0.0;
        while t < seconds {
            let tick = leaktrace.wait_for("a tick", |record| record["type"] == "tick")?;
            t = tick["t"].as_f64().context("no time")?;
        }
        Ok(())
    })?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    println!("{links}: {seconds} s, {} events", ended.summary()?["events"]);
    ensure!(ended.summary()?["losses"]["total"] == 0, "losses: {}", ended.summary()?["losses"]);
    no_probes_in(pid)?;
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

fn has_intervals(ended: &Ended) -> Result<()> {
    let last = ended.of_type("tick").next_back().context("no tick")?;
    ensure!(last["live_bytes_ci95"].is_array() && last["samples"].is_u64(), "no interval: {last}");
    let sites = last["sites"].as_array().context("no sites")?;
    ensure!(!sites.is_empty() && sites.iter().all(|site| site["estimated"] == true), "told as exact: {last}");
    Ok(())
}

fn whole_again() -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--max-overhead", "5%", "--interval", "200ms"])?;
    victim.go(3_000_000, 7, 2)?;
    leaktrace.wait_for_notice("budget_slices")?;
    leaktrace.wait_for_notice("budget_whole")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let last = ended.of_type("tick").next_back().context("no tick")?;
    ensure!(last["overhead"]["mode"] == "slices", "what was not seen stays unseen: {last}");
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

/// A load that leaves room grows until tracing all of it is more than may be taken: samples are enough then. What lived before
/// stays known, and so does what is told of all that came: by the victim's ledger.
///
/// Prices are measured anew each time, and where that is disturbed, hits may seem to be all of the cost: then it is tried again.
fn samples_first() -> Result<()> {
    for _ in 0..4 {
        if begins_with_samples()? {
            return Ok(());
        }
    }
    bail!("always slices, where samples are enough")
}

/// Whether samples were taken and were enough; if so, they were right.
fn begins_with_samples() -> Result<bool> {
    const MOST: f64 = 0.05;
    const MORE_A_SECOND: f64 = 0.15;
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &["2", "plain"])?;
    let directory = tempfile::tempdir()?;
    let dump = directory.path().join("live").display().to_string();
    // Only sessions skip the return of what is no sample: with other links the hits are nearly all of the cost.
    let arguments =
        ["--max-overhead", "5%", "--links", "session", "--interval", "500ms", "--dump-live", &dump];
    let mut leaktrace = Leaktrace::attach(victim.pid(), &arguments)?;
    // Far from too much, also where hits cost some times as much as elsewhere.
    let (mut since, mut pause, mut seed) = (None, Duration::from_millis(150), 1);
    // Some milliseconds of work at a time.
    loop {
        let begun = Instant::now();
        victim.go(500, seed, 2)?;
        sleep(pause);
        let last = leaktrace.records_so_far()?.last().context("no record")?;
        let t = last["t"].as_f64().context("no time")?;
        match since {
            Some(since) if t > since + 3.0 => break,
            Some(_) => {}
            None if told(leaktrace.records(), "budget_samples") => {
                since = Some(t);
                // At the very edge chance would decide what comes next.
                pause = pause.mul_f64(1.4);
            }
            // Slowly: where the load grows much within the second that the budget is for, hits alone are too much at its end.
            None => pause = pause.mul_f64((-MORE_A_SECOND * begun.elapsed().as_secs_f64()).exp()),
        }
        if told(leaktrace.records(), "budget_slices") {
            let ended = leaktrace.stop()?;
            ended.expect_success()?;
            let header = ended.of_type("header").next().context("no header")?;
            println!("slices after {t} s, by prices of {}", header["capture"]["hit_ns"]);
            for tick in ended.of_type("tick").filter(|tick| tick["t"].as_f64() > Some(t - 2.0)) {
                println!("{} s: {}", tick["t"], tick["overhead"]);
            }
            return Ok(false);
        }
        seed += 1;
        ensure!(seed < 5000, "never by samples");
    }
    let since = since.context("never by samples")?;
    leaktrace.wait_for_notice("budget_whole")?;
    victim.go(500, 0, 2)?;
    let ledger = victim.report()?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let by_samples = |tick: &&Value| tick["overhead"]["sample_bytes"].is_u64();
    let taken: Vec<f64> = ended
        .of_type("tick")
        .filter(by_samples)
        .filter(|tick| tick["t"].as_f64().is_some_and(|t| t > since + 0.5 && t < since + 3.0))
        .filter_map(|tick| tick["overhead"]["target_cpu_share"].as_f64())
        .collect();
    let taken = taken.iter().sum::<f64>() / taken.len() as f64;
    println!("at most {:.1} %, by samples {:.1} % of a CPU taken", MOST * 100.0, taken * 100.0);
    ensure!(taken > 0.0 && taken < MOST * 1.1, "{taken} of a CPU were taken");
    let last = ended.of_type("tick").next_back().context("no tick")?;
    ensure!(last["overhead"]["mode"] == "samples", "what was not seen stays unseen: {last}");
    check_samples(&ledger, Path::new(&dump), u64::MAX / 20)?;
    check_estimates(&ended, &ledger, 0.3)?;
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(true)
}

fn told(records: &[Value], code: &str) -> bool {
    records.iter().any(|record| record["code"] == code)
}

/// Under a load that allocates without rest not even fewer samples are enough: the hits alone are too many.
fn fewer_samples() -> Result<()> {
    let victim =
        Victim::start(Build::new("patterns.c", Language::C).path()?, &["linear", "churn=500000000"])?;
    let arguments = ["--max-overhead", "1%", "--sample", "64KiB", "--interval", "500ms"];
    let mut leaktrace = Leaktrace::attach(victim.pid(), &arguments)?;
    leaktrace.wait_for_notice("budget_slices")?;
    leaktrace.wait_for("a tick in slices", |record| record["overhead"]["mode"] == "slices")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    ensure!(ended.summary()?["losses"]["total"] == 0, "losses: {}", ended.summary()?["losses"]);
    let first = ended.of_type("tick").next().context("no tick")?;
    ensure!(first["overhead"]["mode"] == "samples" && first["overhead"]["sample_bytes"] == 65536, "{first}");
    has_intervals(&ended)
}

fn only_told() -> Result<()> {
    let victim =
        Victim::start(Build::new("patterns.c", Language::C).path()?, &["linear", "churn=500000000"])?;
    let arguments = ["--max-overhead", "1%", "--mmap", "--interval", "500ms"];
    let mut leaktrace = Leaktrace::attach(victim.pid(), &arguments)?;
    leaktrace.wait_for_notice("budget_passed")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    ensure!(ended.of_type("tick").all(|tick| tick["overhead"]["mode"] == "everything"), "left out");
    Ok(())
}

/// Three hundred times as much comes and goes beside it, and a twentieth of a CPU is all that may be taken.
fn leak() -> Result<()> {
    let (function, options) = ("remember_forever", ["linear", "wait=1", "churn=300000000"]);
    let watched =
        watch(&options, |watched| watched.seconds() > 60.0 || watched.on(function).any(Said::is_leak))?;
    watched.expect_by(watched.begin + 60.0, function, "a linear leak", |said| {
        said.is_leak() && said.pattern == "linear" && (said.growth / 1e6 - 1.0).abs() < 0.2
    })?;
    for other in ["parse_request", "render_response"] {
        let leaks = watched.on(other).filter(|said| said.is_leak()).count();
        ensure!(leaks == 0, "{other} was called a leak {leaks} times; {watched}");
    }
    watched.expect_line(function, "patterns.c")
}

/// Full after five seconds; the soak looks at it for ten minutes.
fn cache() -> Result<()> {
    let options = ["cache", "wait=1", "bytes=2000000", "rate=400000", "churn=300000000"];
    let seconds = soak_time()?.map_or(70.0, |time| time.as_secs_f64());
    let watched = watch(&options, |watched| watched.seconds() > seconds)?;
    watched.expect_never("a leak was seen where there is none", Said::is_leak)
}

fn watch(victim: &[&str], is_enough: impl Fn(&Watched) -> bool) -> Result<Watched> {
    let mut victim = Victim::start(Build::new("patterns.c", Language::C).path()?, victim)?;
    let leaktrace = Leaktrace::attach(victim.pid(), &["--max-overhead", "5%"])?;
    victim.send("go")?;
    let watched = Watched::follow(leaktrace, Some(&victim), is_enough)?;
    println!("{watched}");
    Ok(watched)
}
