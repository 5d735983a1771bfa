//! The victims themselves, untraced: a wrong ledger would make every other test worthless.

use std::{collections::BTreeMap, process::Command};

use leaktrace_tests::{Build, Language, Ledger, Victim, rust_victim, system_library, victim_source};

fn expect_consistent(ledger: &Ledger) {
    assert_eq!(ledger.live.len() as u64, ledger.allocs - ledger.frees);
    assert_eq!(ledger.live.values().sum::<u64>(), ledger.bytes);
    assert_eq!(ledger.corrupt, 0);
    assert!(ledger.reallocs.iter().all(|count| *count > 0), "every kind of realloc: {:?}", ledger.reallocs);
}

fn ledger_of(mut victim: Victim) -> Ledger {
    victim.go(50_000, 7, 8).expect("the victim works");
    let ledger = victim.report().expect("the victim reports");
    assert!(victim.quit().expect("the victim ends").success());
    expect_consistent(&ledger);
    ledger
}

fn totals(ledger: &Ledger) -> [u64; 5] {
    [
        ledger.allocs,
        ledger.frees,
        ledger.unknown,
        ledger.bytes,
        ledger.alloc_bytes.expect("the ledger tells all bytes"),
    ]
}

#[test]
fn the_ledger_depends_on_the_seed_alone() {
    let program = Build::new("ledger.c", Language::C).path().unwrap();
    let first = ledger_of(Victim::start(&program, &[]).unwrap());
    let second = ledger_of(Victim::start(&program, &[]).unwrap());
    assert_eq!(totals(&first), totals(&second));
}

#[test]
fn the_ledger_holds_under_other_allocators() {
    let program = Build::new("ledger.c", Language::C).path().unwrap();
    for (library, package) in [
        ("libjemalloc.so.2", "libjemalloc2"),
        ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
        ("libmimalloc.so.2", "libmimalloc2.0"),
    ] {
        let library = system_library(library, package).unwrap();
        ledger_of(Victim::preloaded(&program, &[], &library).unwrap());
    }
    ledger_of(Victim::start(Build::new("ledger.c", Language::Musl).stripped().path().unwrap(), &[]).unwrap());
}

/// Readable memory of a process, as the kernel has it: start to end, neighbours as one.
fn readable(pid: u32) -> Option<BTreeMap<u64, u64>> {
    let mut areas = BTreeMap::<u64, u64>::new();
    for line in std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?.lines() {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        match areas.last_entry() {
            _ if !rest.starts_with('r') => {}
            Some(mut last) if *last.get() == start => *last.get_mut() = end,
            _ => drop(areas.insert(start, end)),
        }
    }
    Some(areas)
}

#[test]
fn the_mappers_ledger_is_what_the_kernel_has() {
    for language in [Language::C, Language::Musl] {
        let mut victim = Victim::start(Build::new("mapper.c", language).path().unwrap(), &[]).unwrap();
        victim.go(20_000, 7, 4).unwrap();
        let report = victim.report_mappings().unwrap();
        let ledger = &report.ledger;
        assert_eq!(report.ranges.values().sum::<u64>(), ledger.live);
        assert_eq!(ledger.mapped - ledger.unmapped, ledger.live);
        assert_eq!(ledger.maps - ledger.unmaps, ledger.count);
        assert!(report.operations.iter().all(|count| *count > 100), "{:?}", report.operations);
        let areas = readable(victim.pid()).unwrap();
        for (start, size) in &report.ranges {
            let area = areas.range(..=start).next_back();
            assert!(area.is_some_and(|(_, end)| *end >= start + size), "{start:#x} is not the victim's");
        }
        assert!(victim.quit().unwrap().success());
    }
}

#[test]
fn exceptions_and_jumps_give_the_same_result_twice() {
    let throwing = Build::new("throwing.cpp", Language::Cpp).path().unwrap();
    let jumps = Build::new("jumps.c", Language::C).path().unwrap();
    for (program, arguments) in [(throwing, ["4", "200"].as_slice()), (jumps, ["5"].as_slice())] {
        let (first, status) = Victim::start(&program, arguments).unwrap().run().unwrap();
        assert!(status.success() && first.starts_with("ok "), "{first}");
        let (second, _) = Victim::start(&program, arguments).unwrap().run().unwrap();
        assert_eq!(first, second);
    }
}

#[test]
fn short_ledgers_are_told() {
    let plugin = Build::new("plugin_alloc.c", Language::SharedC).path().unwrap();
    let opener = Build::new("dlopener.c", Language::C).path().unwrap();
    let mut victim = Victim::start(opener, &[plugin.to_str().unwrap()]).unwrap();
    victim.send("load").unwrap();
    victim.expect("loaded").unwrap();
    assert_eq!(victim.go_for_totals("go 10000").unwrap().allocs, 10_000);
    assert!(victim.quit().unwrap().success());

    let mut victim = Victim::start(Build::new("execer.c", Language::C).path().unwrap(), &[]).unwrap();
    victim.send("go 10").unwrap();
    victim.expect("again").unwrap();
    assert_eq!(victim.go_for_totals("go 1000").unwrap().bytes, 50_000);
    assert!(victim.quit().unwrap().success());

    for arguments in [["2"].as_slice(), ["--exec", "2"].as_slice()] {
        let program = Build::new("forker.c", Language::C).path().unwrap();
        let mut victim = Victim::start(program, arguments).unwrap();
        victim.send("go 300").unwrap();
        victim.expect("forked").unwrap();
        victim.send("work").unwrap();
        for allocs in [300, 600] {
            let worker = Ledger::from_totals(&victim.expect("worker").unwrap()).unwrap();
            assert_eq!((worker.allocs, worker.frees), (allocs, allocs / 3 * 2));
        }
        victim.expect("done").unwrap();
        assert!(victim.quit().unwrap().success());
    }
}

#[test]
fn early_exits_come_as_asked() {
    let program = Build::new("early_exit.c", Language::C).path().unwrap();
    for (moment, code) in
        [("at_go", Some(7)), ("in_malloc", Some(7)), ("by_signal", None), ("by_abort", None)]
    {
        let mut victim = Victim::start(&program, &[moment]).unwrap();
        victim.send("go").unwrap();
        assert_eq!(victim.finish().unwrap().code(), code, "{moment}");
    }
}

#[test]
fn the_bench_programs_tell_their_rates() {
    let churn = Build::new("churn.c", Language::C).path().unwrap();
    let output = Command::new(churn).args(["--pairs", "10000", "--threads", "2"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("pairs "), "{output:?}");
    Build::new("demo_service.c", Language::C).path().unwrap();
    assert!(victim_source("nodehttp.js").exists());
}

#[test]
fn patterns_tell_what_they_hold() {
    let program = Build::new("patterns.c", Language::C).path().unwrap();
    let quick = ["every=0.2", "after=0.3", "seconds=0.3", "step=1000000", "kept=100000", "bytes=2000000"];
    for (pattern, name, held) in [
        ("staircase", "step", [1_000_000, 2_000_000]),
        ("rising", "cycle", [100_000, 200_000]),
        ("flat", "cycle", [0, 0]),
    ] {
        let victim = Victim::start(&program, &[&[pattern], quick.as_slice()].concat()).unwrap();
        assert!(victim.line().unwrap().starts_with("mark start 0 at "));
        // A block is a thousand bytes: growth is exact to one of them, and a late machine may skip a number.
        for least in held {
            let line = victim.expect("mark").unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[1], name, "{line}");
            let (number, bytes): (u64, u64) = (words[2].parse().unwrap(), words[6].parse().unwrap());
            assert!(bytes >= least && bytes <= number * (held[0] + 1000), "{pattern}: {line}");
        }
    }
    for (pattern, name) in [("spike", "jump"), ("warmup", "full"), ("late", "warm")] {
        let victim = Victim::start(&program, &[&[pattern], quick.as_slice()].concat()).unwrap();
        assert!(victim.line().unwrap().starts_with("mark start 0 at "));
        assert!(victim.expect("mark").unwrap().starts_with(&format!("mark {name} 1 at ")));
    }
    for wrong in [["linear", "speed=3"], ["linear", "rate=x"], ["sideways", "rate=1"]] {
        assert_eq!(Command::new(&program).args(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn rust_programs_keep_a_ledger() {
    // Only the one without dependencies: this test must pass without a registry.
    let mut victim = Victim::start(rust_victim("rust_system").unwrap(), &[]).unwrap();
    let ledger = victim.go_for_totals("go 20000").unwrap();
    assert!(ledger.allocs > 10_000 && ledger.frees <= ledger.allocs);
    assert!(victim.quit().unwrap().success());
}
