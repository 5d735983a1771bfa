//! A walk as the output has it.

use super::roots::FoundBy;
use crate::heap::walk::{ArenaWalk, HeapWalk, Layout, PageOccupancy};
use crate::output::walk_record::{HeapArena, HeapFigures, HeapFragmentation, HeapSize, PageCounts};

/// What is known of a heap.
pub(super) struct Walked<'a> {
    pub(super) layout: &'a Layout,
    pub(super) found_by: FoundBy,
    pub(super) heap: &'a HeapWalk,
}

impl Walked<'_> {
    /// As the output has it.
    pub(super) fn figures(&self) -> HeapFigures {
        let heap = self.heap;
        let (major, minor) = self.layout.version;
        let blocks = || heap.sizes.iter().map(|(_, class)| class);
        let cached_usable = heap.caches.bytes - 8 * heap.caches.blocks;
        let mut figures = HeapFigures {
            version: format!("{major}.{minor}"),
            layout_tested: self.layout.is_tested,
            found_by: self.found_by.name().to_owned(),
            coverage: heap.coverage(),
            system_bytes: heap.total(|arena| arena.system_bytes),
            in_use_bytes: heap.total(ArenaWalk::in_use_bytes),
            free_bytes: heap.total(|arena| arena.free_bytes),
            fast_bytes: heap.total(|arena| arena.fast_bytes),
            fast_count: heap.total(|arena| arena.fast_chunks),
            top_bytes: heap.total(|arena| arena.top_bytes),
            free_count: heap.total(|arena| arena.free_chunks),
            largest_free_bytes: heap.arenas.iter().map(|arena| arena.largest_free_bytes).max().unwrap_or(0),
            cached_bytes: heap.caches.bytes,
            cached_count: heap.caches.blocks,
            caches: heap.caches.caches,
            live_bytes: blocks().map(|class| class.bytes).sum::<u64>().saturating_sub(cached_usable),
            live_count: blocks().map(|class| class.blocks).sum::<u64>().saturating_sub(heap.caches.blocks),
            mapped_count: heap.mapped.blocks,
            mapped_bytes: heap.mapped.bytes,
            mapped_resident_bytes: heap.mapped.resident_bytes,
            mapped_recorded_count: heap.mapped.recorded_blocks,
            mapped_recorded_bytes: heap.mapped.recorded_bytes,
            fragmentation: HeapFragmentation::default(),
            sizes: heap
                .sizes
                .iter()
                .map(|(up_to, class)| HeapSize { up_to, count: class.blocks, bytes: class.bytes })
                .collect(),
            arenas: heap.arenas.iter().map(arena).collect(),
            retries: heap.retries,
            gaps: heap.gaps,
        };
        figures.fragmentation = fragmentation(heap, figures.free_bytes, figures.largest_free_bytes);
        figures
    }
}

fn fragmentation(heap: &HeapWalk, free: u64, largest: u64) -> HeapFragmentation {
    let pages = &heap.pages;
    let resident_bytes = pages.resident_bytes();
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    HeapFragmentation {
        resident_bytes,
        utilisation: share(pages.live_bytes, resident_bytes),
        external: share(free - largest.min(free), free),
        compaction_bytes: pages.compaction_bytes(),
        trimmable_bytes: heap.total(|arena| arena.trimmable_bytes),
        pages: counts(pages),
    }
}

fn counts(pages: &PageOccupancy) -> PageCounts {
    PageCounts {
        empty: pages.empty,
        to_25: pages.quarter,
        to_50: pages.half,
        to_75: pages.three_quarters,
        below_100: pages.nearly_full,
        full: pages.full,
    }
}

fn arena(walked: &ArenaWalk) -> HeapArena {
    let system = walked.system_bytes;
    let covered = walked.covered_bytes.min(system);
    HeapArena {
        address: format!("{:#x}", walked.address),
        heaps: walked.heaps,
        system_bytes: system,
        max_system_bytes: walked.max_system_bytes,
        in_use_bytes: walked.in_use_bytes(),
        free_bytes: walked.free_bytes,
        free_count: walked.free_chunks,
        fast_bytes: walked.fast_bytes,
        fast_count: walked.fast_chunks,
        top_bytes: walked.top_bytes,
        largest_free_bytes: walked.largest_free_bytes,
        coverage: if system == 0 { 1.0 } else { covered as f64 / system as f64 },
    }
}
