//! What is in memory of a process, by what it is used for.

use crate::heap::walk::HeapWalk;
use crate::output::walk_record::RssParts;
use crate::target::pages::{Area, AreaKind};

/// How the heap is told from other memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heap<'a> {
    /// It was read.
    Walked(&'a HeapWalk),
    /// It cannot be read: memory without a file is taken for it.
    Unknown,
}

/// Adds the mappings up.
pub(super) fn split(areas: &[Area], heap: Heap<'_>, has_runtime: bool) -> RssParts {
    let sum = |is_wanted: &dyn Fn(&Area) -> bool| -> u64 {
        areas.iter().filter(|area| is_wanted(area)).map(|area| area.resident).sum()
    };
    let of = |kind| sum(&|area| area.kind == kind);
    let anonymous = of(AreaKind::Anonymous);
    let arenas = of(AreaKind::Brk) + of(AreaKind::Arena);
    let (heap_bytes, rest) = match heap {
        Heap::Walked(walk) => {
            let mapped = walk.mapped.resident_bytes.min(anonymous);
            (arenas + mapped, anonymous - mapped)
        }
        Heap::Unknown => {
            let written = sum(&|area| area.kind == AreaKind::Anonymous && area.is_writable);
            (arenas + written, anonymous - written)
        }
    };
    RssParts {
        rss_bytes: areas.iter().map(|area| area.resident).sum(),
        heap_bytes,
        stack_bytes: of(AreaKind::Stack),
        file_bytes: of(AreaKind::File),
        runtime_bytes: has_runtime.then_some(rest),
        other_bytes: if has_runtime { 0 } else { rest },
        swap_bytes: areas.iter().map(|area| area.swapped).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(kind: AreaKind, resident: u64) -> Area {
        Area { kind, resident, is_writable: true, swapped: 1, ..Area::default() }
    }

    #[test]
    fn the_parts_add_up() {
        let areas = [
            area(AreaKind::Brk, 100),
            area(AreaKind::Arena, 20),
            area(AreaKind::Stack, 3),
            area(AreaKind::File, 40),
            area(AreaKind::Anonymous, 50),
        ];
        let mut walk = HeapWalk::default();
        walk.mapped.resident_bytes = 30;
        let parts = split(&areas, Heap::Walked(&walk), false);
        assert_eq!((parts.heap_bytes, parts.other_bytes, parts.runtime_bytes), (150, 20, None));
        assert_eq!((parts.stack_bytes, parts.file_bytes, parts.swap_bytes), (3, 40, 5));
        assert_eq!(parts.rss_bytes, 213);
        let parts = split(&areas, Heap::Walked(&walk), true);
        assert_eq!((parts.other_bytes, parts.runtime_bytes), (0, Some(20)));
        let parts = split(&areas, Heap::Unknown, false);
        assert_eq!((parts.heap_bytes, parts.other_bytes), (170, 0));
    }
}
