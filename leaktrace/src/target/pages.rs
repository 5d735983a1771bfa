//! Resident pages of a process by what they are used for, from `/proc/PID/smaps`.

use std::io::{BufRead as _, BufReader};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// glibc's arenas other than the main one are this large, and lie at multiples of it.
const ARENA: u64 = 64 << 20;
/// More lines of a process's mappings are not read.
const MAX_LINES: usize = 4 << 20;
/// The kernel walks all pages of the process to answer, and keeps it from mapping meanwhile: so the next reading is this
/// many times as far away as the last one took.
const REST: u32 = 200;

/// Resident pages by use, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Stacks of threads.
    pub stack_bytes: u64,
    /// Pages of the C library's allocator.
    pub allocator_bytes: u64,
}

/// Reads the pages of one process, as often as costs it next to nothing.
#[derive(Debug, Default)]
pub struct PageReader {
    last: Option<Pages>,
    next: Option<Instant>,
}

impl PageReader {
    /// The pages of a process as they were at the last reading, which is made now if it is time; `None` where they cannot
    /// be read.
    pub fn read(&mut self, pid: u32) -> Option<Pages> {
        let begin = Instant::now();
        if self.next.is_none_or(|next| next <= begin) {
            self.last = pages(pid);
            self.next = begin.checked_add(begin.elapsed() * REST);
        }
        self.last
    }
}

/// Resident pages by use. glibc's are those of `[heap]` and of its arenas; of other allocators they cannot be told
/// from the rest.
fn pages(pid: u32) -> Option<Pages> {
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
        let mut reader = PageReader::default();
        let pages = reader.read(std::process::id()).unwrap();
        assert!(pages.stack_bytes > 0 && pages.allocator_bytes > 0, "{pages:?}");
        assert_eq!(reader.read(std::process::id()), Some(pages), "it rests");
    }
}
