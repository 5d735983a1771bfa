//! The heap of a process, read from outside, against the C library's own figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, DEADLINE, Language, Leaktrace, Postgres, Redis, Victim};
use serde_json::Value;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("heap_walk::one_thread", || figures_are_the_librarys(1)),
    ("heap_walk::eight_threads", || figures_are_the_librarys(8)),
    ("heap_walk::without_symbols", without_symbols),
    ("heap_walk::churning", churning),
    ("heap_walk::fragmented", fragmented),
    ("heap_walk::not_fragmented", not_fragmented),
    ("heap_walk::damaged", damaged),
    ("heap_walk::swapped_out", swapped_out),
    ("heap_walk::python", python),
    ("heap_walk::another_allocator", another_allocator),
    ("heap_walk::redis_after_deletion", redis_after_deletion),
    ("heap_walk::postgres_backend", postgres_backend),
    ("heap_walk::while_tracing", while_tracing),
    ("heap_walk::of_a_process_that_is_gone", of_a_process_that_is_gone),
];

/// With the C library in the directory that `LEAKTRACE_TEST_LIBC` names, if it is set.
fn victim(workers: u32) -> Result<Victim> {
    let Some(directory) = std::env::var_os("LEAKTRACE_TEST_LIBC") else {
        return Victim::start(program()?, &[&workers.to_string()]);
    };
    let mut command = Command::new(Path::new(&directory).join("ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(&directory).arg(program()?).arg(workers.to_string());
    Victim::spawn(&mut command)
}

fn program() -> Result<std::path::PathBuf> {
    Build::new("heap.c", Language::C).flags(&["-pthread"]).path()
}

fn tell(victim: &mut Victim, command: &str) -> Result<()> {
    victim.send(command)?;
    victim.expect("done").map(|_| ())
}

/// The heap by one walk.
fn walk(pid: u32) -> Result<Value> {
    let record = walk_record(pid)?;
    let mut heap = record["heap"].clone();
    ensure!(heap.is_object(), "no heap: {record}");
    for beside in ["walk_ms", "advice"] {
        heap[beside] = record[beside].clone();
    }
    Ok(heap)
}

/// One walk, as a record.
fn walk_record(pid: u32) -> Result<Value> {
    let ended = Leaktrace::run(&["heapwalk", "--pid", &pid.to_string()])?;
    ended.expect_success()?;
    let record = ended.records.first().context("no record")?;
    ensure!(record["type"] == "heap_walk" && ended.records.len() == 1, "{record}");
    Ok(record.clone())
}

fn figure(record: &Value, name: &str) -> Result<u64> {
    record
        .pointer(&format!("/{}", name.replace('.', "/")))
        .and_then(Value::as_u64)
        .with_context(|| format!("no {name}: {record}"))
}

fn coverage(record: &Value) -> Result<f64> {
    record["coverage"].as_f64().context("no coverage")
}

/// What the victim and its library say.
struct Report {
    ledger: BTreeMap<String, u64>,
    mallinfo: BTreeMap<String, u64>,
    arenas: Vec<Arena>,
}

/// An arena of `malloc_info`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arena {
    fast_bytes: u64,
    fast_count: u64,
    rest_bytes: u64,
    rest_count: u64,
    system_bytes: u64,
    max_system_bytes: u64,
}

fn report(victim: &mut Victim) -> Result<Report> {
    victim.send("report")?;
    let fields = |line: &str| -> BTreeMap<String, u64> {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        words
            .chunks(2)
            .filter_map(|pair| Some((pair.first()?.to_string(), pair.get(1)?.parse().ok()?)))
            .collect()
    };
    let ledger = fields(&victim.expect("ledger")?);
    let mallinfo = fields(&victim.expect("mallinfo")?);
    let mut arenas: Vec<Arena> = Vec::new();
    // Behind the arenas the library prints totals in the same form.
    let mut is_inside = false;
    loop {
        let line = victim.line()?;
        let number = |name: &str| -> u64 {
            let behind = line.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
            behind.split('"').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
        };
        if line.starts_with("<heap ") {
            arenas.push(Arena::default());
            is_inside = true;
        } else if line.starts_with("</heap>") {
            is_inside = false;
        } else if line.starts_with("</malloc>") {
            return Ok(Report { ledger, mallinfo, arenas });
        }
        let Some(arena) = arenas.last_mut().filter(|_| is_inside) else { continue };
        if line.starts_with("<total type=\"fast\"") {
            (arena.fast_count, arena.fast_bytes) = (number("count"), number("size"));
        } else if line.starts_with("<total type=\"rest\"") {
            (arena.rest_count, arena.rest_bytes) = (number("count"), number("size"));
        } else if line.starts_with("<system type=\"current\"") {
            arena.system_bytes = number("size");
        } else if line.starts_with("<system type=\"max\"") {
            arena.max_system_bytes = number("size");
        }
    }
}

fn compare(record: &Value, said: &Report) -> Result<()> {
    let names = [
        ("in_use_bytes", "uordblks"),
        ("free_bytes", "fordblks"),
        ("fast_bytes", "fsmblks"),
        ("fast_count", "smblks"),
        ("mapped_count", "hblks"),
        ("mapped_bytes", "hblkhd"),
        ("mapped_recorded_count", "hblks"),
        ("mapped_recorded_bytes", "hblkhd"),
        ("system_bytes", "arena"),
    ];
    for (ours, theirs) in names {
        let (found, expected) = (figure(record, ours)?, said.mallinfo.get(theirs).copied());
        ensure!(Some(found) == expected, "{ours} is {found}, mallinfo2's {theirs} {expected:?}: {record}");
    }
    let arenas = record["arenas"].as_array().context("no arenas")?;
    ensure!(arenas.len() == said.arenas.len(), "{} arenas of {}", arenas.len(), said.arenas.len());
    for (found, expected) in arenas.iter().zip(&said.arenas) {
        let found = Arena {
            fast_bytes: figure(found, "fast_bytes")?,
            fast_count: figure(found, "fast_count")?,
            // The library's "rest" is what stands in bins, and the end of the arena.
            rest_bytes: figure(found, "free_bytes")? - figure(found, "fast_bytes")?,
            rest_count: figure(found, "free_count")? - figure(found, "fast_count")?,
            system_bytes: figure(found, "system_bytes")?,
            max_system_bytes: figure(found, "max_system_bytes")?,
        };
        let flags = expected.rest_bytes.checked_sub(found.rest_bytes).context("less than ours")?;
        ensure!(
            is_flags(flags, expected.rest_count - 1),
            "an arena is {found:?}, by malloc_info {expected:?}"
        );
        let expected = Arena { rest_bytes: expected.rest_bytes - flags, ..*expected };
        ensure!(found == expected, "an arena is {found:?}, by malloc_info {expected:?}");
    }
    Ok(())
}

/// `malloc_info` adds up the size words of chunks in bins with the flags in them (`chunksize_nomask`): 1 for each, and 4 for
/// some of arenas other than the main one. `mallinfo2` does not, and is compared as it is.
fn is_flags(bytes: u64, chunks: u64) -> bool {
    bytes >= chunks && bytes <= 5 * chunks && (bytes - chunks).is_multiple_of(4)
}

/// To the byte, at a quiet moment.
fn figures_are_the_librarys(workers: u32) -> Result<()> {
    let mut victim = victim(workers)?;
    let before = walk(victim.pid())?;
    compare(&before, &report(&mut victim)?)?;
    tell(&mut victim, "fill")?;
    let after = walk(victim.pid())?;
    let said = report(&mut victim)?;
    compare(&after, &said)?;
    ensure!((coverage(&after)? - 1.0).abs() < f64::EPSILON && figure(&after, "gaps")? == 0, "{after}");
    ensure!(
        figure(&after, "fast_count")? > 0 && figure(&after, "mapped_count")? == 3 * u64::from(workers),
        "{after}"
    );
    for (ours, theirs) in [("live_count", "blocks"), ("live_bytes", "bytes")] {
        let grown = figure(&after, ours)? - figure(&before, ours)?;
        let expected = said.ledger.get(theirs).copied().context("no ledger")?;
        ensure!(grown == expected, "{ours} grew by {grown}, by the ledger {expected}");
    }
    let cached = (figure(&after, "cached_count")?, figure(&after, "cached_bytes")?);
    let expected = (said.ledger.get("cached").copied(), said.ledger.get("cached_bytes").copied());
    ensure!((Some(cached.0), Some(cached.1)) == expected, "cached {cached:?}, by the ledger {expected:?}");
    println!(
        "{workers} workers: {} blocks, {} cached, {} in fastbins, {} arenas, equal to the byte; {} ms",
        figure(&after, "live_count")?,
        cached.0,
        figure(&after, "fast_count")?,
        said.arenas.len(),
        after["walk_ms"]
    );
    quit(victim)
}

fn quit(victim: Victim) -> Result<()> {
    ensure!(victim.quit()?.success(), "the victim was harmed");
    Ok(())
}

/// With a C library whose debug file is nowhere, the allocator's variables are known by what they look like.
fn without_symbols() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let library = directory.path().join("libc.so.6");
    let mut bytes = std::fs::read("/lib/x86_64-linux-gnu/libc.so.6")?;
    // Another build id, and a debug link to nowhere.
    for (needle, offset) in [(&b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0"[..], 16), (&b".debug\0"[..], 0)] {
        let at = bytes.windows(needle.len()).position(|window| window == needle).context("no such note")?;
        let byte = bytes.get_mut(at + offset).context("cut")?;
        *byte ^= 1;
    }
    std::fs::write(&library, bytes)?;
    let mut command = Command::new(program()?);
    let mut victim = Victim::spawn(command.env("LD_LIBRARY_PATH", directory.path()))?;
    tell(&mut victim, "fill")?;
    let record = walk(victim.pid())?;
    ensure!(record["found_by"] == "data", "{record}");
    compare(&record, &report(&mut victim)?)?;
    quit(victim)
}

/// While all threads allocate and free.
fn churning() -> Result<()> {
    let mut victim = victim(4)?;
    tell(&mut victim, "churn")?;
    // Until the heap has its size.
    let mut last = 0;
    for _ in 0..100 {
        let in_use = figure(&walk(victim.pid())?, "in_use_bytes")?;
        if in_use.abs_diff(last) * 100 < in_use {
            break;
        }
        last = in_use;
    }
    let mut worst: (f64, f64) = (1.0, 0.0);
    for _ in 0..10 {
        let before = report(&mut victim)?.mallinfo.get("uordblks").copied().context("no figure")?;
        let record = walk(victim.pid())?;
        let after = report(&mut victim)?.mallinfo.get("uordblks").copied().context("no figure")?;
        let (found, expected) =
            (figure(&record, "in_use_bytes")? as f64, u64::midpoint(before, after) as f64);
        // What the heap moved by itself is no error.
        let (low, high) = (before.min(after) as f64, before.max(after) as f64);
        let wrong = (low - found).max(found - high).max(0.0) / expected;
        worst = (worst.0.min(coverage(&record)?), worst.1.max(wrong));
        ensure!(coverage(&record)? >= 0.99, "coverage {}: {record}", coverage(&record)?);
        ensure!(wrong <= 0.01, "in use {found}, by the library {before} and {after}: {record}");
    }
    println!(
        "churning: coverage at least {}, in use at most {:.3} % beside the library's",
        worst.0,
        worst.1 * 100.0
    );
    tell(&mut victim, "rest")?;
    compare(&walk(victim.pid())?, &report(&mut victim)?)?;
    quit(victim)
}

/// The anonymous memory of a process, in bytes.
fn anonymous(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).context("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// What `malloc_trim` gives back is what the walk said that it would.
fn fragmented() -> Result<()> {
    let mut victim = victim(1)?;
    tell(&mut victim, "fragment 100000")?;
    let record = walk(victim.pid())?;
    let promised = figure(&record, "fragmentation.trimmable_bytes")?;
    let scattered = figure(&record, "fragmentation.compaction_bytes")?;
    let advice = record["advice"].as_str().context("nothing is said of a fragmented heap")?;
    ensure!(advice.contains("fragmentation"), "{advice}");
    let before = anonymous(victim.pid())?;
    tell(&mut victim, "trim")?;
    let given_back = before.saturating_sub(anonymous(victim.pid())?);
    println!(
        "fragmented: {scattered} scattered, malloc_trim gave {given_back} back, {promised} were promised"
    );
    ensure!(given_back.abs_diff(promised) <= promised / 50 + 16 * 4096, "{given_back} of {promised}");
    ensure!(promised > 5_000_000 && scattered > promised, "{record}");
    let record = walk(victim.pid())?;
    ensure!(figure(&record, "fragmentation.trimmable_bytes")? < promised / 50, "{record}");
    quit(victim)
}

fn not_fragmented() -> Result<()> {
    let mut victim = victim(1)?;
    tell(&mut victim, "keep 100000")?;
    let record = walk(victim.pid())?;
    ensure!(record["advice"].is_null(), "{record}");
    let used = record["fragmentation"]["utilisation"].as_f64().context("no utilisation")?;
    ensure!(used > 0.95, "{record}");
    quit(victim)
}

/// A heap whose headers were written over: an end, and an honest coverage.
fn damaged() -> Result<()> {
    let mut victim = victim(2)?;
    tell(&mut victim, "fill")?;
    tell(&mut victim, "scribble")?;
    let record = walk(victim.pid())?;
    println!("damaged: coverage {}, {} gaps, {} ms", record["coverage"], record["gaps"], record["walk_ms"]);
    ensure!(coverage(&record)? < 0.999 && figure(&record, "gaps")? > 0, "{record}");
    quit(victim)
}

/// A file that the kernel swaps to, until it is dropped.
struct Swap(std::path::PathBuf);

impl Swap {
    /// `None` where the kernel takes none.
    fn make() -> Result<Option<Self>> {
        const BYTES: usize = 64 << 20;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("swap-{}", std::process::id()));
        std::fs::write(&path, vec![0; BYTES])?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let swap = Self(path);
        let is_made = Command::new("/sbin/mkswap").arg(&swap.0).output()?.status.success();
        let is_on = is_made && Command::new("/sbin/swapon").arg(&swap.0).output()?.status.success();
        Ok(is_on.then_some(swap))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/swapoff").arg(&self.0).output();
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A figure of `/proc/PID/status`, in bytes.
fn status(pid: u32, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// A walk brings nothing back from swap, and says what it could not read. Where the kernel takes no swap file, the same
/// with memory that was never touched.
fn swapped_out() -> Result<()> {
    let swap = Swap::make()?;
    let mut victim = victim(1)?;
    tell(&mut victim, "keep 20000")?;
    tell(&mut victim, "page_out")?;
    let figures = |pid| Ok::<_, anyhow::Error>((status(pid, "VmRSS")?, status(pid, "VmSwap")?));
    let before = figures(victim.pid())?;
    let record = walk_record(victim.pid())?;
    let after = figures(victim.pid())?;
    ensure!(before == after, "resident and swapped {before:?} before the walk, {after:?} after it");
    let coverage = coverage(&record["heap"])?;
    println!("swapped out: {} bytes, coverage {coverage}", before.1);
    if swap.is_some() {
        ensure!(before.1 > 10_000_000, "only {} bytes are swapped out", before.1);
        let told = figure(&record["rss"], "swap_bytes")?;
        ensure!(coverage < 0.5 && told.abs_diff(before.1) < 65_536, "{record}");
    } else {
        println!("no swap file can be used here: what is swapped out was not seen");
        ensure!((coverage - 1.0).abs() < f64::EPSILON, "{record}");
    }
    quit(victim)
}

/// Something that nobody wrote for this test.
fn python() -> Result<()> {
    const PROGRAM: &str = "import os, sys\nkept = [bytes(n % 5000) for n in range(30000)]\ndel kept[::3]\n\
                           print('ready', os.getpid(), flush=True)\nsys.stdin.readline()\n";
    let mut victim = Victim::start("python3", &["-c", PROGRAM])?;
    parts_are_those_of_smaps("python3", victim.pid(), true)?;
    let record = walk(victim.pid())?;
    ensure!((coverage(&record)? - 1.0).abs() < f64::EPSILON, "{record}");
    let live = figure(&record, "live_bytes")?;
    // Two thirds of 30,000 blocks of 2,500 bytes on average; what is below 512 bytes is Python's own affair.
    ensure!((40_000_000..70_000_000).contains(&live), "{record}");
    println!("python3: {live} bytes in {} blocks, {} ms", record["live_count"], record["walk_ms"]);
    victim.send("")?;
    quit(victim)
}

/// What smaps says of a process: memory of its heap (for an allocator other than glibc's: all that is written and has no
/// file), of stacks, of files, and all.
fn smaps(pid: u32, has_glibc: bool) -> Result<[u64; 4]> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut sums = [0; 4];
    let mut kind = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let ["Rss:", kib, "kB"] = words.as_slice() {
            let bytes = kib.parse::<u64>()? * 1024;
            sums[3] += bytes;
            if let Some(kind) = kind {
                let sum: &mut u64 = sums.get_mut(kind).context("no such kind")?;
                *sum += bytes;
            }
        } else if words.first().is_some_and(|word| word.contains('-') && !word.ends_with(':')) {
            kind = match (words.get(1), words.get(5)) {
                (_, Some(&"[heap]")) => Some(0),
                (_, Some(&"[stack]")) => Some(1),
                (_, Some(path)) if path.starts_with('/') => Some(2),
                (Some(access), None) if !has_glibc && access.starts_with("rw") => Some(0),
                _ => None,
            };
        }
    }
    Ok(sums)
}

/// Parts as they should be, and the rest small.
fn parts_are_those_of_smaps(what: &str, pid: u32, has_glibc: bool) -> Result<Value> {
    let record = walk_record(pid)?;
    let [heap, stacks, files, all] = smaps(pid, has_glibc)?;
    let rss = &record["rss"];
    let close = |name: &str, expected: u64| -> Result<()> {
        let found = figure(rss, name)?;
        // Threads' stacks have no name in smaps, and are a few pages.
        let slack = 128 << 10;
        ensure!(
            found.abs_diff(expected) <= expected / 50 + slack,
            "{what}: {name} is {found}, by smaps {expected}: {record}"
        );
        Ok(())
    };
    close("rss_bytes", all)?;
    close("stack_bytes", stacks)?;
    close("file_bytes", files)?;
    if !has_glibc || record["heap"]["mapped_count"] == 0 {
        close("heap_bytes", heap)?;
    }
    let other = figure(rss, "other_bytes")?;
    ensure!(other * 20 <= all, "{what}: {other} of {all} are not known: {record}");
    println!("{what}: {rss}");
    Ok(record)
}

fn redis_after_deletion() -> Result<()> {
    let redis = Redis::start()?;
    redis.set_new_keys(20_000, 2000)?;
    redis.delete_all()?;
    let record = parts_are_those_of_smaps("redis", redis.pid(), false)?;
    ensure!(record["allocator"] == "jemalloc" && record["heap"].is_null(), "{record}");
    Ok(())
}

fn postgres_backend() -> Result<()> {
    let postgres = Postgres::start()?;
    let session = postgres.session()?;
    let record = parts_are_those_of_smaps("postgres", session.backend, true)?;
    ensure!((coverage(&record["heap"])? - 1.0).abs() < f64::EPSILON, "{record}");
    Ok(())
}

fn another_allocator() -> Result<()> {
    let library = Path::new("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2");
    let victim = Victim::preloaded(program()?, &["1"], library)?;
    let record = walk_record(victim.pid())?;
    ensure!(record["heap"].is_null() && record["allocator"] == "jemalloc", "{record}");
    quit(victim)
}

/// A heap that only scatters, and one that leaks: the resident set of both grows, and only the first is fragmentation.
pub(crate) const WAITING: &[Case] = &[
    ("heap_walk::growth_is_fragmentation", || growth(&["reserve 300000"], "scatter 500", true)),
    ("heap_walk::growth_is_a_leak", || growth(&[], "keep 500", false)),
];

fn growth(before: &[&str], step: &str, is_fragmentation: bool) -> Result<()> {
    let mut victim = victim(1)?;
    let pid = victim.pid().to_string();
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--heap-walk"])?;
    for command in before {
        tell(&mut victim, command)?;
    }
    let deadline = Instant::now() + 3 * DEADLINE;
    let is_wanted = |record: &Value| {
        let evidence = record["evidence"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_explained = evidence.iter().any(|evidence| evidence["name"] == "heap_free");
        let is_rss = record["type"] == "verdict" && record["subject"]["kind"] == "rss";
        // At first the blocks in reserve are most of what grew.
        let is_named = record["cause"].as_str().is_some_and(|cause| cause.starts_with("fragmentation: "));
        is_rss && is_explained && (is_named || !is_fragmentation)
    };
    let told = loop {
        ensure!(Instant::now() < deadline, "no verdict on the resident set tells of free memory");
        tell(&mut victim, step)?;
        std::thread::sleep(Duration::from_millis(250));
        if let Some(told) = leaktrace.records_so_far()?.iter().find(|record| is_wanted(record)) {
            break told.clone();
        }
    };
    let cause = told["cause"].as_str().unwrap_or_default();
    println!("process {pid}: {} {}: {cause}; {}", told["verdict"], told["t"], told["evidence"][0]["says"]);
    ensure!(cause.starts_with("fragmentation: ") == is_fragmentation, "{told}");
    leaktrace.stop()?.expect_success()?;
    quit(victim)
}

/// With `--heap-walk`: a walk at the attach and one at the end, ticks that tell the last one, and a replay that tells the same.
fn while_tracing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let recording = directory.path().join("trace").to_str().context("a path that is no text")?.to_owned();
    let mut victim = victim(1)?;
    let pid = victim.pid().to_string();
    let mut leaktrace = Leaktrace::start(&["--pid", &pid, "--heap-walk", "--record", &recording])?;
    let first = leaktrace.wait_for("the first walk", |record| record["type"] == "heap_walk")?;
    tell(&mut victim, "fragment 40000")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let walks: Vec<&Value> = ended.of_type("heap_walk").collect();
    let last = walks.last().context("no walk")?;
    ensure!(walks.len() == 2 && *walks.first().context("no walk")? == &first, "{} walks", walks.len());
    let grown = figure(&last["heap"], "live_bytes")?.saturating_sub(figure(&first["heap"], "live_bytes")?);
    let live = figure(ended.summary()?.pointer("/processes/0").context("no process")?, "live_bytes")?;
    // The trace counts what was asked for, the walk what may be used, and it knows what was there before.
    ensure!(grown.abs_diff(live) <= live / 50, "live bytes grew by {grown}, by the trace {live}");
    let mut ticks = ended.of_type("tick");
    ensure!(
        ticks.all(|tick| tick["fragmentation"]["utilisation"].is_f64()),
        "a tick does not tell of the walk"
    );
    let replayed = Leaktrace::run(&["replay", &recording])?;
    let again: Vec<&Value> = replayed.of_type("heap_walk").collect();
    ensure!(again == walks, "a replay tells other walks");

    let plain = Leaktrace::run(&["--pid", &pid, "--duration", "100ms"])?;
    ensure!(plain.of_type("heap_walk").count() == 0, "a walk that nobody asked for");
    quit(victim)
}

fn of_a_process_that_is_gone() -> Result<()> {
    let victim = victim(1)?;
    let pid = victim.pid().to_string();
    quit(victim)?;
    Leaktrace::run(&["heapwalk", "--pid", &pid])?.expect_failure(3)
}
