//! Where the heap of a process begins.

use std::ops::Range;

use super::ground::Libc;
use super::reader::Reader;
use crate::heap::walk::{HeapMemory as _, PAGE, Roots, find_main_arena, find_parameters};
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
pub(super) fn find(libc: &Libc, maps: &[Mapping], reader: &mut Reader) -> Option<(Roots, FoundBy)> {
    let Variables { main_arena, parameters } = libc.variables;
    let mut roots = Roots { main_arena: 0, parameters, brk: brk(maps), anonymous: anonymous(maps) };
    let unnamed = main_arena.is_none() || parameters.is_none();
    let ranges = if unnamed { glibc::data(&libc.object, maps) } else { Vec::new() };
    let data: Vec<(u64, Vec<u8>)> = ranges.iter().map(|range| (range.start, copy(reader, range))).collect();
    let find_arena = || data.iter().find_map(|(at, data)| find_main_arena(data, *at, libc.layout, &roots));
    let found = main_arena.or_else(find_arena)?;
    if let (None, Some(brk)) = (parameters, &roots.brk) {
        let mut copies = data.iter();
        roots.parameters = copies.find_map(|(at, data)| find_parameters(data, *at, libc.layout, brk));
    }
    roots.main_arena = found;
    Some((roots, if main_arena.is_some() { FoundBy::Symbols } else { FoundBy::Data }))
}

/// What stands in a range; zeros where it is not in memory.
fn copy(reader: &mut Reader, range: &Range<u64>) -> Vec<u8> {
    let mut data = vec![0; (range.end - range.start) as usize];
    for (at, part) in (range.start..).step_by(PAGE as usize).zip(data.chunks_mut(PAGE as usize)) {
        reader.read(at, part);
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
