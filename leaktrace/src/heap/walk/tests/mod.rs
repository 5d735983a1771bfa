//! The reading of heaps, on heaps made by hand.

mod synthetic;

use proptest::prelude::*;

use super::layout::layout_of;
use super::{HeapWalk, PAGE, WalkError, WalkedBlock, find_main_arena, find_parameters, walk};
use synthetic::{DATA, HEAP, Kind, Synthetic};

fn walked(made: &mut Synthetic) -> (HeapWalk, Vec<WalkedBlock>) {
    let mut blocks = Vec::new();
    let found = walk(&mut made.memory, made.layout, &made.roots, &mut |block| blocks.push(block)).unwrap();
    (found, blocks)
}

fn is_whole(found: &HeapWalk) -> bool {
    found.arenas.iter().all(|arena| arena.covered_bytes == arena.system_bytes)
}

const CHUNKS: [(u64, Kind); 9] = [
    (0x20, Kind::Used),
    (0x30, Kind::Fast),
    (0x400, Kind::Free),
    (0x410, Kind::Used),
    (0x60, Kind::Cached),
    (0x60, Kind::Cached),
    (0x20, Kind::Cached),
    (0x5000, Kind::Free),
    (0x2000, Kind::Used),
];

#[test]
fn every_kind_of_chunk_is_told_apart() {
    let mut made = Synthetic::main(&CHUNKS);
    let (found, blocks) = walked(&mut made);
    let arena = &found.arenas[0];
    assert!(is_whole(&found));
    assert_eq!((found.retries, found.gaps), (0, 0));
    assert_eq!((arena.fast_chunks, arena.fast_bytes), (1, 0x30));
    assert_eq!(arena.top_bytes, made.end - made.top);
    assert_eq!(arena.free_bytes, 0x30 + 0x400 + 0x5000 + arena.top_bytes);
    assert_eq!(arena.free_chunks, 4);
    assert_eq!(arena.largest_free_bytes, 0x5000);
    assert_eq!(arena.in_use_bytes() + arena.free_bytes, arena.system_bytes);
    assert_eq!((found.caches.caches, found.caches.blocks, found.caches.bytes), (1, 3, 0x60 + 0x60 + 0x20));
    // The cache itself, three that are handed out, three that are cached.
    assert_eq!(arena.blocks, 7);
    assert_eq!(blocks.len(), 7);
    let handed_out: Vec<u64> = blocks
        .iter()
        .filter(|block| !found.caches.addresses.contains(&block.address))
        .map(|b| b.usable)
        .collect();
    assert_eq!(handed_out, [0x288, 0x18, 0x408, 0x1ff8]);
    let all: u64 = found.sizes.iter().map(|(_, class)| class.blocks).sum();
    assert_eq!(all, 7);
}

#[test]
fn pages_and_what_can_be_given_back_are_counted() {
    let mut made = Synthetic::main(&[(0x9d70, Kind::Free), (0x3000, Kind::Used)]);
    let (found, _) = walked(&mut made);
    // The free chunk begins at 0x290 and ends at 0xa000; the used one ends at 0xd000; 0x1000 are left.
    assert_eq!(found.pages.pages(), 0xe);
    assert_eq!((found.pages.empty, found.pages.full, found.pages.quarter), (9 + 1, 3, 1));
    assert_eq!(found.pages.live_bytes, 0x290 + 0x3000);
    assert_eq!(found.pages.compaction_bytes(), 0xe000 - 0x4000);
    // Nine pages of the free chunk; of the top not even one, as its start stays.
    assert_eq!(found.arenas[0].trimmable_bytes, 9 * PAGE);
    made.memory.away.push(HEAP + 0x2000..HEAP + 0x4000);
    let (found, _) = walked(&mut made);
    assert!(is_whole(&found), "nothing of what is away was needed");
    assert_eq!(found.pages.pages(), 0xc);
    assert_eq!(found.arenas[0].trimmable_bytes, 7 * PAGE);
}

#[test]
fn a_header_that_cannot_be_read_costs_the_stretch_to_the_next_known_chunk() {
    let mut chunks = vec![(0x1000, Kind::Used); 16];
    chunks[9] = (0x1000, Kind::Free);
    let mut made = Synthetic::main(&chunks);
    let page = made.chunks[4] & !(PAGE - 1);
    made.memory.away.push(page..page + PAGE);
    let (found, _) = walked(&mut made);
    assert!(found.gaps > 0);
    let lost = found.arenas[0].system_bytes - found.arenas[0].covered_bytes;
    assert_eq!(
        lost,
        made.chunks[9] - made.chunks[4],
        "from the header that is away to the chunk that a bin names"
    );
}

#[test]
fn scribbled_headers_cost_coverage_and_nothing_else() {
    for (index, value) in [(2, 0), (3, 7), (5, u64::MAX), (1, 0x31 + 8), (4, 1 << 60)] {
        let mut made = Synthetic::main(&[(0x100, Kind::Used); 12]);
        made.memory.set(made.chunks[index] + 8, value);
        let (found, _) = walked(&mut made);
        assert!(found.coverage() < 1.0 && found.gaps > 0, "{index}: {found:?}");
        assert_eq!(made.size(0), 0x100);
    }
}

#[test]
fn blocks_that_only_look_like_a_cache_are_none() {
    let mut made = Synthetic::main(&[(0x290, Kind::Used), (0x60, Kind::Cached), (0x60, Kind::Used)]);
    // A counter without a list, in a block of the size of a cache.
    let block = made.chunks[0] + 16;
    made.memory.set(block, 1);
    assert_eq!(walked(&mut made).0.caches.blocks, 1);
    // A list that leads to a block of another size.
    made.memory.set(block + 128, made.chunks[1] + 16);
    assert_eq!(walked(&mut made).0.caches.blocks, 1);
}

#[test]
fn chunks_of_other_arenas_are_none_of_the_main_one() {
    let mut made = Synthetic::main(&[(0x100, Kind::Used); 4]);
    made.mark_not_main();
    let (found, _) = walked(&mut made);
    assert!(found.coverage() < 1.0);
}

#[test]
fn a_ring_that_does_not_close_is_refused() {
    let mut made = Synthetic::main(&CHUNKS);
    let next = made.roots.main_arena + made.layout.arena.next as u64;
    for elsewhere in [0, 1, DATA + 0x2000, 0xdead_0000] {
        made.memory.set(next, elsewhere);
        let error = walk(&mut made.memory, made.layout, &made.roots, &mut |_| {}).unwrap_err();
        assert!(matches!(error, WalkError::RingOpen | WalkError::ArenaUnreadable(_)), "{error}");
    }
}

#[test]
fn the_roots_are_found_by_what_they_look_like() {
    let mut made = Synthetic::main(&CHUNKS);
    let data = made.memory.bytes_mut(0).clone();
    assert_eq!(find_main_arena(&data, DATA, made.layout, &made.roots), Some(made.roots.main_arena));
    let brk = made.roots.brk.clone().unwrap();
    assert_eq!(find_parameters(&data, DATA, made.layout, &brk), made.roots.parameters);
    let nothing = vec![0; data.len()];
    assert_eq!(find_main_arena(&nothing, DATA, made.layout, &made.roots), None);
    assert_eq!(find_parameters(&nothing, DATA, made.layout, &brk), None);
    assert_eq!(find_main_arena(&[], DATA, made.layout, &made.roots), None);
    // Two that look alike are one too many.
    let twice = [data.clone(), data].concat();
    assert_eq!(find_parameters(&twice, DATA, made.layout, &brk), None);
}

#[test]
fn mapped_blocks_are_found_among_other_memory() {
    const PLACE: u64 = 0x7e00_0000_0000;
    let mut made = Synthetic::main(&CHUNKS);
    made.memory.map(PLACE, 0x80_000);
    made.roots.anonymous.push(PLACE..PLACE + 0x80_000);
    for (at, size) in [(0x3000, 0x22_000), (0x25_000, 0x21_000)] {
        made.memory.set(PLACE + at + 8, size | 2);
    }
    // Other memory that has something like a size.
    made.memory.set(PLACE + 8, 0x1_0000_0002);
    let parameters = made.roots.parameters.unwrap();
    made.memory.set(parameters + 56, 2 << 32);
    made.memory.set(parameters + 80, 0x43_000);
    let (found, blocks) = walked(&mut made);
    assert_eq!((found.mapped.blocks, found.mapped.bytes), (2, 0x43_000));
    assert_eq!((found.mapped.recorded_blocks, found.mapped.recorded_bytes), (Some(2), Some(0x43_000)));
    assert_eq!(blocks.last().unwrap().address, PLACE + 0x25_010);
}

#[test]
fn layouts_are_known_by_version() {
    assert!(layout_of((2, 36)).unwrap().is_tested);
    assert!(!layout_of((2, 37)).unwrap().is_tested);
    assert_eq!(layout_of((2, 31)).unwrap().heap.bytes, 32);
    assert_eq!(layout_of((2, 27)), None);
    assert_eq!(layout_of((3, 36)), None);
}

fn kinds() -> impl Strategy<Value = Vec<(u64, Kind)>> {
    let chunk = prop_oneof![
        3 => (2_u64..200).prop_map(|units| (units * 16, Kind::Used)),
        1 => (2_u64..2000).prop_map(|units| (units * 16, Kind::Free)),
        1 => (2_u64..9).prop_map(|units| (units * 16, Kind::Fast)),
        1 => (2_u64..66).prop_map(|units| (units * 16, Kind::Cached)),
    ];
    // Two free chunks never stand side by side.
    let apart = |(a, b): (&(u64, Kind), &(u64, Kind))| a.1 != Kind::Free || b.1 != Kind::Free;
    proptest::collection::vec(chunk, 1..120)
        .prop_filter("free chunks are merged", move |chunks| {
            chunks.iter().zip(chunks.iter().skip(1)).all(apart)
        })
        .prop_map(|mut chunks| {
            // The end of the arena merges with what is free before it.
            chunks.push((0x20, Kind::Used));
            chunks
        })
}

proptest! {
    #[test]
    fn sums_are_those_of_what_was_made(chunks in kinds()) {
        let mut made = Synthetic::main(&chunks);
        let (found, blocks) = walked(&mut made);
        let sum = |kind| chunks.iter().filter(|chunk| chunk.1 == kind).map(|chunk| chunk.0).sum::<u64>();
        let arena = &found.arenas[0];
        prop_assert!(is_whole(&found));
        prop_assert_eq!(arena.free_bytes, sum(Kind::Free) + sum(Kind::Fast) + arena.top_bytes);
        prop_assert_eq!(arena.fast_bytes, sum(Kind::Fast));
        prop_assert_eq!(found.caches.bytes, sum(Kind::Cached));
        prop_assert_eq!(arena.block_bytes, sum(Kind::Used) + sum(Kind::Cached) + 0x290);
        prop_assert_eq!(blocks.len() as u64, arena.blocks);
        prop_assert_eq!(found.pages.resident_bytes(), arena.system_bytes);
        prop_assert_eq!(found.pages.live_bytes, arena.block_bytes);
    }

    #[test]
    fn damage_is_survived(chunks in kinds(), at in any::<prop::sample::Index>(), damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..20)) {
        let mut made = Synthetic::main(&chunks);
        let pieces = [at.index(2), 1];
        for (place, value) in damage {
            for piece in pieces {
                let bytes = made.memory.bytes_mut(piece);
                let at = place.index(bytes.len() - 8) & !7;
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        if let Ok(found) = walk(&mut made.memory, made.layout, &made.roots, &mut |_| {}) {
            prop_assert!(found.coverage() <= 1.0);
        }
    }
}
