//! What `leaktrace heapwalk` tells people.

use std::fmt::Write as _;

use super::escape::visible;
use super::text::{bytes, count};
use super::verdict_text::{Look, wrapped};
use super::walk_record::{HeapArena, HeapFigures, HeapWalkRecord, PageCounts, RssParts};

/// Arenas beyond are summed up.
const ARENAS: usize = 16;
/// Columns of the longest bar.
const BAR: u64 = 30;

/// Where the memory of a process is, whole.
pub fn heap_walk(record: &HeapWalkRecord, look: Look) -> String {
    let comm = visible(&record.comm);
    let mut out = match &record.heap {
        Some(heap) => format!(
            "process {} ({comm}): heap of {} {}, {} read in {:.0} ms\n",
            record.pid,
            visible(&record.allocator),
            visible(&heap.version),
            arenas_in_words(heap.arenas.len()),
            record.walk_ms,
        ),
        None => format!(
            "process {} ({comm}): allocates by {}, whose heap cannot be read from outside\n",
            record.pid,
            visible(&record.allocator)
        ),
    };
    let mut line = |label: &str, text: &str| {
        let _ = writeln!(out, "  {label:<11} {text}");
    };
    line("in memory", &resident(&record.rss));
    for (label, text) in record.heap.iter().flat_map(lines) {
        line(label, &text);
    }
    if let Some(heap) = &record.heap {
        pages(&mut out, &heap.fragmentation.pages);
        sizes(&mut out, heap);
        arenas(&mut out, &heap.arenas);
    }
    if let Some(advice) = &record.advice {
        let columns = usize::from(look.columns).clamp(40, 120);
        let _ = writeln!(out, "\n{}", wrapped(advice, columns).join("\n"));
    }
    out
}

fn arenas_in_words(arenas: usize) -> String {
    if arenas == 1 { "1 arena,".to_owned() } else { format!("{arenas} arenas,") }
}

fn resident(rss: &RssParts) -> String {
    let mut said = format!(
        "{}: heap {}, stacks {}, files {}",
        bytes(rss.rss_bytes),
        bytes(rss.heap_bytes),
        bytes(rss.stack_bytes),
        bytes(rss.file_bytes)
    );
    if let Some(runtime) = rss.runtime_bytes {
        let _ = write!(said, ", runtime {}", bytes(runtime));
    }
    let _ = write!(said, ", other {}", bytes(rss.other_bytes));
    if rss.swap_bytes > 0 {
        let _ = write!(said, "; {} swapped out", bytes(rss.swap_bytes));
    }
    said
}

fn lines(heap: &HeapFigures) -> Vec<(&'static str, String)> {
    let fragmentation = &heap.fragmentation;
    let live = bytes(heap.live_bytes);
    let mut lines = vec![
        ("handed out", format!("{live} in {} blocks{}", count(heap.live_count), mapped(heap))),
        (
            "free",
            format!(
                "{} in {} pieces, the largest {}; {} of it at the ends of the arenas",
                bytes(heap.free_bytes),
                count(heap.free_count),
                bytes(heap.largest_free_bytes),
                bytes(heap.top_bytes)
            ),
        ),
        (
            "cached",
            format!(
                "{} in {} freed blocks that threads keep",
                bytes(heap.cached_bytes),
                count(heap.cached_count)
            ),
        ),
        (
            "scattered",
            format!(
                "{} of the arenas' {} in memory would go back if all stood side by side; {} by malloc_trim(0)",
                bytes(fragmentation.compaction_bytes),
                bytes(fragmentation.resident_bytes),
                bytes(fragmentation.trimmable_bytes)
            ),
        ),
    ];
    if heap.coverage < 1.0 || !heap.layout_tested {
        let untested = if heap.layout_tested { "" } else { "; this version was never tested" };
        let text = format!("{:.2} % of the arenas was understood{untested}", heap.coverage * 100.0);
        lines.push(("coverage", text));
    }
    lines
}

fn mapped(heap: &HeapFigures) -> String {
    match heap.mapped_count {
        0 => String::new(),
        mapped => format!(
            "; {} of it in {} that have a mapping of their own",
            bytes(heap.mapped_bytes),
            count(mapped)
        ),
    }
}

fn pages(out: &mut String, pages: &PageCounts) {
    let rows = [
        ("empty", pages.empty),
        ("to 25 %", pages.to_25),
        ("to 50 %", pages.to_50),
        ("to 75 %", pages.to_75),
        ("below 100 %", pages.below_100),
        ("full", pages.full),
    ];
    let most = rows.iter().map(|(_, pages)| *pages).max().unwrap_or(0).max(1);
    out.push_str("\n     PAGES  HANDED OUT\n");
    for (label, pages) in rows {
        let bar = "█".repeat((pages * BAR).div_ceil(most) as usize);
        let _ = writeln!(out, "{:>10}  {label:<11} {bar}", count(pages));
    }
}

fn sizes(out: &mut String, heap: &HeapFigures) {
    out.push_str("\n    BLOCKS      BYTES  SIZE UP TO\n");
    for class in &heap.sizes {
        let _ =
            writeln!(out, "{:>10} {:>10}  {}", count(class.count), bytes(class.bytes), bytes(class.up_to));
    }
}

fn arenas(out: &mut String, arenas: &[HeapArena]) {
    if arenas.len() < 2 {
        return;
    }
    out.push_str("\n    SYSTEM     IN USE       FREE  LARGEST FREE  ARENA\n");
    let mut row = |system: u64, in_use: u64, free: u64, largest: u64, name: &str| {
        let _ = writeln!(
            out,
            "{:>10} {:>10} {:>10} {:>13}  {name}",
            bytes(system),
            bytes(in_use),
            bytes(free),
            bytes(largest)
        );
    };
    for arena in arenas.iter().take(ARENAS) {
        row(
            arena.system_bytes,
            arena.in_use_bytes,
            arena.free_bytes,
            arena.largest_free_bytes,
            &arena.address,
        );
    }
    let rest = arenas.get(ARENAS..).unwrap_or_default();
    if !rest.is_empty() {
        let sum = |figure: fn(&HeapArena) -> u64| rest.iter().map(figure).sum();
        row(
            sum(|arena| arena.system_bytes),
            sum(|arena| arena.in_use_bytes),
            sum(|arena| arena.free_bytes),
            rest.iter().map(|arena| arena.largest_free_bytes).max().unwrap_or(0),
            &format!("{} more", rest.len()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;

    const LOOK: Look = Look { columns: 100, colour: false };

    #[test]
    fn a_heap_stays_as_it_is() {
        insta::assert_snapshot!("heap_walk", heap_walk(&fixture::heap::walk(), LOOK));
    }

    #[test]
    fn without_a_heap_it_says_why_and_where_the_memory_is() {
        let record = HeapWalkRecord {
            comm: "redis\x1b[2J".into(),
            allocator: "jemalloc".into(),
            heap: None,
            ..fixture::heap::walk()
        };
        let text = heap_walk(&record, LOOK);
        assert!(text.contains("jemalloc, whose heap cannot be read") && !text.contains('\x1b'), "{text}");
        assert!(text.contains("heap 84.0 MiB, stacks 1.0 MiB, files 10.0 MiB, other 5.0 MiB"), "{text}");
    }
}
