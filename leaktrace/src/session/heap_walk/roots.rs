//! Where the heap of a process begins.

use std::ops::Range;

use super::reader::Reader;
use crate::heap::walk::{HeapMemory as _, Layout, Roots, find_main_arena, find_parameters};
use crate::target::elf::Object;
use crate::target::glibc::{self, Variables};
use crate::target::maps::{MappedPath, Mapping};

/// How the allocator's variables were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoundBy {
    Symbols,
    Data,
}

impl FoundBy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Symbols => "symbols",
            Self::Data => "data",
        }
    }
}

/// The roots, by symbols where there are some, else by what the variables look like. `None` where they cannot be found, or
/// the process has not allocated yet.
pub(super) fn find(
    libc: &Object,
    maps: &[Mapping],
    layout: &Layout,
    reader: &mut Reader,
) -> Option<(Roots, FoundBy)> {
    let variables = Variables::of(libc, maps);
    let mut roots = Roots {
        main_arena: variables.main_arena.unwrap_or_default(),
        parameters: variables.parameters,
        brk: brk(maps),
        anonymous: anonymous(maps),
    };
    let found_by = if variables.main_arena.is_some() { FoundBy::Symbols } else { FoundBy::Data };
    if variables.main_arena.is_none() || variables.parameters.is_none() {
        for range in glibc::data(libc, maps) {
            let data = copy(reader, &range);
            if variables.main_arena.is_none()
                && let Some(found) = find_main_arena(&data, range.start, layout, &roots)
            {
                roots.main_arena = found;
            }
            if roots.parameters.is_none()
                && let Some(brk) = &roots.brk
            {
                roots.parameters = find_parameters(&data, range.start, layout, brk);
            }
        }
    }
    (roots.main_arena != 0).then_some((roots, found_by))
}

/// What stands in a range; zeros where it is not in memory.
fn copy(reader: &mut Reader, range: &Range<u64>) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut data = vec![0; (range.end - range.start) as usize];
    for (page, part) in data.chunks_mut(PAGE).enumerate() {
        reader.read(range.start + (page * PAGE) as u64, part);
    }
    data
}

/// A process that was forked has its parent's part and its own in mappings of their own.
fn brk(maps: &[Mapping]) -> Option<Range<u64>> {
    let is_heap = |mapping: &&Mapping| matches!(&mapping.path, MappedPath::Special(name) if name == "[heap]");
    let mut heap = maps.iter().filter(is_heap);
    let first = heap.next()?;
    let end = heap.fold(first.end, |end, mapping| if mapping.start == end { mapping.end } else { end });
    Some(first.start..end)
}

/// Writable memory without a name. Neighbours that differ in what else they may do are one range.
fn anonymous(maps: &[Mapping]) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    for mapping in maps.iter().filter(|mapping| mapping.writable && mapping.path == MappedPath::Anonymous) {
        match found.last_mut() {
            Some(last) if last.end == mapping.start => last.end = mapping.end,
            _ => found.push(mapping.start..mapping.end),
        }
    }
    found
}
