//! Against the C library's own figures.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::Victim;
use serde_json::Value;

use super::{coverage, figure, program, quit, tell, victim, walk};
use crate::Case;

pub(super) const CASES: &[Case] = &[
    ("heap_walk::one_thread", || figures_are_the_librarys(1)),
    ("heap_walk::eight_threads", || figures_are_the_librarys(8)),
    ("heap_walk::without_symbols", without_symbols),
    ("heap_walk::churning", churning),
];

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
