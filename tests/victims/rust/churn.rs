// Churn over Rust's global allocator with a ledger, shared by both victims by `include!`.
//
// -> ready PID   <- go N   -> allocs A frees F unknown 0 bytes B   <- quit
//
// The ledger counts what passes through a wrapper around the global allocator while it is switched on, so it also
// holds for allocations that the standard library makes. Rust asks for exact sizes; alignment is at most 16 here,
// so that the system allocator takes malloc, calloc and realloc.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCS: AtomicU64 = AtomicU64::new(0);
static FREES: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

fn count(counter: &AtomicU64, bytes: &AtomicU64, size: usize) {
    if ON.load(Relaxed) {
        counter.fetch_add(1, Relaxed);
        bytes.fetch_add(size as u64, Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCS, &ALLOCATED, layout.size());
        // SAFETY: the caller's promises are those that `alloc` asks for.
        unsafe { INNER.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCS, &ALLOCATED, layout.size());
        // SAFETY: as above.
        unsafe { INNER.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(&FREES, &FREED, layout.size());
        // SAFETY: as above.
        unsafe { INNER.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(&FREES, &FREED, layout.size());
        count(&ALLOCS, &ALLOCATED, size);
        // SAFETY: as above.
        unsafe { INNER.realloc(block, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

#[inline(never)]
fn build_table(rounds: u64) -> BTreeMap<u64, String> {
    let mut table = BTreeMap::new();
    for i in 0..rounds {
        table.insert(i % 1000, format!("value {i} of the table"));
    }
    table
}

#[inline(never)]
fn grow_vectors(rounds: u64) -> Vec<Vec<u64>> {
    let mut kept = Vec::new();
    for i in 0..rounds / 20 {
        let mut vector = Vec::new();
        for k in 0..i % 100 {
            vector.push(k);
        }
        if i % 10 == 0 {
            kept.push(vector);
        }
    }
    kept
}

fn churn(rounds: u64) -> (BTreeMap<u64, String>, Vec<Vec<u64>>) {
    (build_table(rounds), grow_vectors(rounds))
}

fn main() {
    let mut stdin = io::stdin().lock();
    // The buffers of both streams exist before the count begins; the line itself is counted.
    println!("ready {}", std::process::id());
    ON.store(true, Relaxed);
    let mut line = String::new();
    let _ = stdin.read_line(&mut line);
    let rounds = line.trim().strip_prefix("go ").and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let kept = churn(rounds);
    ON.store(false, Relaxed);
    let (allocs, frees) = (ALLOCS.load(Relaxed), FREES.load(Relaxed));
    let bytes = ALLOCATED.load(Relaxed) - FREED.load(Relaxed);
    let mut text = [0u8; 200];
    let mut rest = &mut text[..];
    // Written and waited for without allocating: the trace is still running.
    let _ = writeln!(rest, "allocs {allocs} frees {frees} unknown 0 bytes {bytes}");
    let left = rest.len();
    let used = text.len() - left;
    let _ = io::stdout().write_all(&text[..used]);
    let _ = stdin.fill_buf();
    // The blocks must still be live when the test looks: nothing is dropped on the way out.
    std::mem::forget((kept, line));
    std::process::exit(0);
}
