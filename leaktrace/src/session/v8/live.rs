//! What the supervisor reads of a process with V8: limits of its heaps, and its resident pages by use.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};

use crate::{
    session::{
        input::{Fact, Pages},
        supervisor::Supervisor,
    },
    target::{memory::Memory, v8::old_space_limit},
};

/// Heaps of one process whose limits are read.
const MAX_HEAPS: usize = 256;
/// glibc's arenas other than the main one are this large, and lie at multiples of it.
const ARENA: u64 = 64 << 20;
/// More lines of a process's mappings are not read.
const MAX_LINES: usize = 4 << 20;

/// V8's heaps in one process, with the limits that were told.
#[derive(Debug, Default)]
pub(in crate::session) struct Heaps {
    limits: BTreeMap<u64, Option<u64>>,
    /// The limit that the process was started with, once that was looked for.
    started_with: Option<StartedWith>,
}

/// The limit that a process was started with, if it was.
#[derive(Clone, Copy, Debug)]
struct StartedWith(Option<u64>);

impl Supervisor {
    /// A heap was seen for the first time.
    pub(in crate::session) fn meet_heap(&mut self, index: u16, heap: u64) {
        if let Some(traced) = self.processes.get_mut(&index)
            && traced.heaps.limits.len() < MAX_HEAPS
        {
            traced.heaps.limits.entry(heap).or_default();
        }
        self.look_at_heap_limits(index);
    }

    /// Limits may be raised while a program runs: each is read again at a tick.
    pub(in crate::session) fn look_at_heaps(&mut self) {
        for index in self.processes.keys().copied().collect::<Vec<_>>() {
            self.look_at_heap_limits(index);
        }
    }

    fn look_at_heap_limits(&mut self, index: u16) {
        let Some(traced) = self.processes.get_mut(&index).filter(|one| !one.heaps.limits.is_empty()) else {
            return;
        };
        let process = &traced.process;
        let (Ok(maps), Ok(memory)) = (process.maps(), Memory::open(process.pid)) else { return };
        let look = || StartedWith(old_space_limit(process.pid, &process.cmdline));
        let StartedWith(started_with) = *traced.heaps.started_with.get_or_insert_with(look);
        let mut told = Vec::new();
        for (&heap, known) in &mut traced.heaps.limits {
            let computed = traced.attached.v8().iter().find_map(|v8| v8.heap_limit(heap, &maps, &memory));
            let source = if computed.is_some() { "v8" } else { "--max-old-space-size" };
            let Some(limit_bytes) = computed.or(started_with) else { continue };
            if known.replace(limit_bytes) != Some(limit_bytes) {
                told.push(Fact::HeapLimit { process: index, heap, limit_bytes, source: source.to_owned() });
            }
        }
        for fact in told {
            self.engine.tell(fact);
        }
    }
}

/// Resident pages by use. glibc's are those of `[heap]` and of its arenas; of other allocators they cannot be told
/// from the rest.
pub(in crate::session) fn pages(pid: u32) -> Option<Pages> {
    let file = std::fs::File::open(format!("/proc/{pid}/smaps")).ok()?;
    let mut pages = Pages::default();
    // An arena is known by what follows it: the rest of its 64 MiB, reserved. So each mapping waits for the next.
    let mut waiting = Area::default();
    for line in BufReader::new(file).lines().take(MAX_LINES) {
        let line = line.ok()?;
        if let Some(area) = Area::of(&line) {
            pages.add(&waiting, Some(&area));
            waiting = area;
        } else if let Some(kib) = line.strip_prefix("Rss:") {
            let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            waiting.resident = kib.saturating_mul(1024);
        }
    }
    pages.add(&waiting, None);
    Some(pages)
}

impl Pages {
    fn add(&mut self, area: &Area, next: Option<&Area>) {
        if area.is_stack {
            self.stack_bytes = self.stack_bytes.saturating_add(area.resident);
        } else if area.is_heap || area.is_arena(next) {
            self.allocator_bytes = self.allocator_bytes.saturating_add(area.resident);
        }
    }
}

/// A mapping, as far as it matters what it is used for.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
struct Area {
    start: u64,
    end: u64,
    is_anonymous: bool,
    is_writable: bool,
    is_stack: bool,
    is_heap: bool,
    resident: u64,
}

impl Area {
    /// The mapping that a line begins, if it begins one.
    fn of(line: &str) -> Option<Self> {
        let (start, end, name) = mapping(line)?;
        let is_writable = line.split(' ').nth(1).is_some_and(|access| access.starts_with("rw"));
        let (is_stack, is_heap) = (name == "[stack]", name == "[heap]");
        Some(Self { start, end, is_anonymous: name.is_empty(), is_writable, is_stack, is_heap, resident: 0 })
    }

    fn is_arena(&self, next: Option<&Self>) -> bool {
        let begins =
            self.start != 0 && self.start.is_multiple_of(ARENA) && self.is_anonymous && self.is_writable;
        let end = self.start.saturating_add(ARENA);
        let is_reserved =
            |next: &Self| next.start == self.end && next.end == end && next.is_anonymous && !next.is_writable;
        begins && (self.end == end || next.is_some_and(is_reserved))
    }
}

/// Start, end and name of a mapping, if the line begins one.
fn mapping(line: &str) -> Option<(u64, u64, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = (hex(start)?, hex(end)?);
    let name = rest.splitn(5, ' ').nth(4).unwrap_or_default().trim();
    (start < end).then_some((start, end, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mappings_are_told_from_figures() {
        let heap = "55d0c0a00000-55d0c0a21000 rw-p 00000000 00:00 0                          [heap]";
        assert_eq!(mapping(heap), Some((0x55d0_c0a0_0000, 0x55d0_c0a2_1000, "[heap]")));
        assert_eq!(mapping("7f00-8000 rw-p 00000000 00:00 0 "), Some((0x7f00, 0x8000, "")));
        assert_eq!(mapping("Rss:                 132 kB"), None);
        assert_eq!(mapping("8000-7000 rw-p 00000000 00:00 0"), None);
    }

    #[test]
    fn an_arena_is_known_by_what_is_reserved_behind_it() {
        let area = |line| Area::of(line).unwrap();
        let arena = area("7f5a60000000-7f5a60021000 rw-p 00000000 00:00 0 ");
        let rest = area("7f5a60021000-7f5a64000000 ---p 00000000 00:00 0 ");
        let other = area("7f5a60021000-7f5a60031000 rw-p 00000000 00:00 0 ");
        assert!(arena.is_arena(Some(&rest)));
        assert!(!arena.is_arena(Some(&other)) && !arena.is_arena(None) && !rest.is_arena(Some(&other)));
    }

    #[test]
    fn our_own_stack_is_resident() {
        let pages = pages(std::process::id()).unwrap();
        assert!(pages.stack_bytes > 0 && pages.allocator_bytes > 0, "{pages:?}");
    }
}
