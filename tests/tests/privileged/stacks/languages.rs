//! Programs in C, C++ and Rust, built in each way, deep and from several threads.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Ended, Language, Victim, rust_victim};
use serde_json::Value;

use super::{Paths, compare, paths_c, seen, trace, trace_victim};
use crate::Case;

pub(super) const CASES: &[Case] = &[
    ("stacks::without_frame_pointers", || named(&paths_c(&WITHOUT))),
    ("stacks::with_frame_pointers", || named(&paths_c(&["-O2", "-fno-omit-frame-pointer"]))),
    ("stacks::optimised_and_linked_as_one", || named(&paths_c(&LINKED_AS_ONE))),
    ("stacks::stripped", || equal(&paths_c(&WITHOUT).stripped().path()?, LEVELS).map(drop)),
    ("stacks::stripped_with_a_debug_file", || named(&paths_c(&WITHOUT).debug_file())),
    ("stacks::tables_for_debuggers_alone", tables_for_debuggers),
    ("stacks::cpp", || named(&paths_cpp(&WITHOUT))),
    ("stacks::cpp_optimised_and_linked_as_one", || named(&paths_cpp(&LINKED_AS_ONE))),
    ("stacks::rust", rust),
    ("stacks::frame_pointers_when_asked_for", frame_pointers),
    ("stacks::plain_probes_see_the_same", plain_probes),
    ("stacks::to_the_end_of_memory_by_tables", to_the_end_by_tables),
    ("stacks::to_the_end_of_memory_by_frame_pointers", to_the_end_by_frame_pointers),
];

/// So deep are the paths.
const LEVELS: u32 = 60;

const WITHOUT: [&str; 2] = ["-O2", "-fomit-frame-pointer"];
const LINKED_AS_ONE: [&str; 3] = ["-O3", "-flto", "-fomit-frame-pointer"];

fn paths_cpp(flags: &[&str]) -> Build {
    Build::new("paths.cpp", Language::Cpp).flags(flags)
}

/// Of a program with debugging information no frame stays without a name either.
fn named(build: &Build) -> Result<()> {
    known_throughout(&equal(&build.path()?, LEVELS)?, LEVELS)
}

fn rust() -> Result<()> {
    // Each level is two frames or more, and no stack is followed further than 127.
    let levels = 40;
    known_throughout(&equal(&rust_victim("rust_paths")?, levels)?, levels)
}

/// A program without tables for exceptions, whose own unwinder does not get out of its first function: what leaktrace
/// finds must add up, and lead through all levels.
fn tables_for_debuggers() -> Result<()> {
    let flags = [&WITHOUT[..], &["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]].concat();
    let (told, ended) = trace(&paths_c(&flags).path()?, (LEVELS, "go 600 8 20000"), &["--top", "10000"])?;
    ensure!(told.keys().all(|path| path.len() < 3), "the program has tables for exceptions: {told:x?}");
    known_throughout(&ended, LEVELS)?;
    let sites = ended.summary()?["sites"].as_array().context("no sites")?;
    let whole = sites.iter().filter(|site| {
        let has = |function| {
            let mut stack = site["stack"].as_array().into_iter().flatten();
            stack.any(|frame| frame["function"] == function)
        };
        site["truncated"] != true && has("leak") && (has("main") || has("start_thread"))
    });
    let whole: u64 = whole.filter_map(|site| site["live_bytes"].as_u64()).sum();
    let all: u64 = told.values().sum();
    println!("{whole} of {all} bytes have a whole stack");
    ensure!(whole <= all && whole * 100 >= all * 99, "{whole} of {all} bytes have a whole stack");
    Ok(())
}

/// Eight threads, and paths of many levels that differ in their innermost and outermost ones only, have the stacks that
/// the program's own unwinder finds.
fn equal(program: &Path, levels: u32) -> Result<Ended> {
    let mut last = None;
    for (depth, go) in [(9, "go 400 1 200"), (levels, "go 600 8 20000")] {
        let (told, ended) = trace(program, (depth, go), &["--top", "10000"])?;
        let header = ended.of_type("header").next().context("no header")?;
        ensure!(header["capture"]["stacks"] == "unwind_tables", "{}", header["capture"]);
        let (equal, all) = compare(&told, seen(&ended)?)?;
        println!("depth {depth}: {equal} of {all} bytes, {} paths", told.len());
        ensure!(equal * 100 >= all * 99, "{equal} of {all} bytes have the right stack");
        last = Some(ended);
    }
    last.context("nothing was traced")
}

/// No frame without a name, or without a line in the program itself, stands between two with one.
fn known_throughout(ended: &Ended, levels: u32) -> Result<()> {
    for site in ended.summary()?["sites"].as_array().context("no sites")? {
        let stack = site["stack"].as_array().context("no stack")?;
        let unknown = |frame: &Value| !frame["function"].is_string();
        let has_gap = stack.windows(2).any(|pair| matches!(pair, [a, b] if unknown(a) && !unknown(b)));
        ensure!(!has_gap, "a frame has no name: {site}");
        let steps = stack.iter().filter(|frame| frame["function"].as_str().is_some_and(is_own));
        let nameless = steps.clone().find(|frame| frame["line"].is_null());
        ensure!(nameless.is_none(), "{nameless:?} has no line");
        let leaks =
            stack.iter().any(|frame| frame["function"].as_str().is_some_and(|name| name.contains("leak")));
        ensure!(
            !leaks || steps.count() >= levels as usize || site["truncated"] == true,
            "steps are missing: {site}"
        );
    }
    Ok(())
}

/// Functions that every path goes through, once a level or more often.
fn is_own(function: &str) -> bool {
    ["step_", "descend", "::go"].iter().any(|name| function.contains(name))
}

fn frame_pointers() -> Result<()> {
    let arguments = ["--top", "10000", "--unwind", "fp"];
    let (told, ended) = trace(&paths_c(&["-O1"]).path()?, (9, "go 100 1"), &arguments)?;
    whole_in_the_program(&told, &ended)
}

/// Up to main the program's own functions are whole; the C library's, which has no frame pointers, are not.
fn whole_in_the_program(told: &Paths, ended: &Ended) -> Result<()> {
    let header = ended.of_type("header").next().context("no header")?;
    ensure!(header["capture"]["stacks"] == "frame_pointers", "{}", header["capture"]);
    let seen = seen(ended)?;
    let named = told.iter().filter(|(path, bytes)| {
        seen.iter().any(|(found, found_bytes)| {
            found.len() > 9 && path.starts_with(found.get(1..).unwrap_or(&[])) && found_bytes == *bytes
        })
    });
    ensure!(named.count() == told.len(), "{seen:x?} is not {told:x?}");
    Ok(())
}

/// A thread's stack whose memory ends right behind its outermost frame, as that of a coroutine.
fn on_edge(flags: &[&str], arguments: &[&str]) -> Result<(Paths, Ended)> {
    trace_victim(Victim::start(paths_c(flags).path()?, &["9", "edge"])?, "go 400 1 200", arguments)
}

fn to_the_end_by_tables() -> Result<()> {
    let (told, ended) = on_edge(&WITHOUT, &["--top", "10000"])?;
    let header = ended.of_type("header").next().context("no header")?;
    ensure!(header["capture"]["stacks"] == "unwind_tables", "{}", header["capture"]);
    let (equal, all) = compare(&told, seen(&ended)?)?;
    ensure!(equal == all, "{equal} of {all} bytes have the right stack");
    Ok(())
}

fn to_the_end_by_frame_pointers() -> Result<()> {
    let (told, ended) = on_edge(&["-O1"], &["--top", "10000", "--unwind", "fp"])?;
    whole_in_the_program(&told, &ended)
}

fn plain_probes() -> Result<()> {
    let arguments = ["--top", "10000", "--plain-probes"];
    let (told, ended) = trace(&paths_c(&WITHOUT).path()?, (20, "go 200 2 500"), &arguments)?;
    let (equal, all) = compare(&told, seen(&ended)?)?;
    ensure!(equal == all, "{equal} of {all} bytes have the right stack");
    Ok(())
}
