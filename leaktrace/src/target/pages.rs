//! Resident pages of a process by what they are used for, from `/proc/PID/smaps`.

use std::io::{self, BufReader};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// glibc's arenas other than the main one are this large, and lie at multiples of it.
const ARENA: u64 = 64 << 20;
/// The guard before a thread's stack.
const MAX_GUARD: u64 = 64 << 10;
/// The least stack that the C library gives a thread, and the most that anybody asks for.
const MIN_STACK: u64 = 16 << 10;
const MAX_STACK: u64 = 256 << 20;
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
    /// Mapped files, with what the program changed of them. Recordings of earlier versions do not have this and what follows.
    #[serde(default)]
    pub file_bytes: u64,
    /// Memory without a file that is neither a stack nor the C library's.
    #[serde(default)]
    pub anonymous_bytes: u64,
    /// Of that, what may be written.
    #[serde(default)]
    pub written_bytes: u64,
    /// Bytes that are swapped out, in none of the above.
    #[serde(default)]
    pub swap_bytes: u64,
    /// All that is in memory.
    #[serde(default)]
    pub rss_bytes: u64,
}

impl Pages {
    /// Adds mappings up. The C library's pages are those of `[heap]` and of its arenas; those of other allocators cannot be
    /// told from the rest.
    pub fn of(areas: &[Area]) -> Self {
        let mut pages = Self::default();
        for area in areas {
            let kind = match area.kind {
                AreaKind::Brk | AreaKind::Arena => &mut pages.allocator_bytes,
                AreaKind::Stack => &mut pages.stack_bytes,
                AreaKind::File => &mut pages.file_bytes,
                AreaKind::Anonymous => &mut pages.anonymous_bytes,
            };
            *kind = kind.saturating_add(area.resident);
            if area.kind == AreaKind::Anonymous && area.is_writable {
                pages.written_bytes = pages.written_bytes.saturating_add(area.resident);
            }
            pages.swap_bytes = pages.swap_bytes.saturating_add(area.swapped);
            pages.rss_bytes = pages.rss_bytes.saturating_add(area.resident);
        }
        pages
    }
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
            self.last = areas(pid).ok().map(|areas| Pages::of(&areas));
            self.next = begin.checked_add(begin.elapsed() * REST);
        }
        self.last
    }
}

/// What a mapping is, by what `/proc/PID/smaps` tells of it and its neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AreaKind {
    /// What the program took by brk.
    Brk,
    /// A heap of one of glibc's arenas other than the main one.
    Arena,
    /// The stack of a thread.
    Stack,
    /// A file, with what of its pages the program changed.
    File,
    /// Memory without a file.
    #[default]
    Anonymous,
}

/// A mapping and its pages in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What it is.
    pub kind: AreaKind,
    /// It may be written.
    pub is_writable: bool,
    /// Bytes of its pages that are in memory.
    pub resident: u64,
    /// Bytes of its pages that are swapped out.
    pub swapped: u64,
    /// Nobody may access it: an address range in reserve, or a guard.
    pub is_closed: bool,
    /// Another program fills its missing pages (userfaultfd): who reads one waits for it.
    pub is_filled_by_others: bool,
}

/// All mappings of a process with their pages, by ascending address.
pub fn areas(pid: u32) -> io::Result<Vec<Area>> {
    parse(BufReader::new(std::fs::File::open(format!("/proc/{pid}/smaps"))?))
}

fn parse(smaps: impl io::BufRead) -> io::Result<Vec<Area>> {
    let mut areas: Vec<Area> = Vec::new();
    for line in smaps.lines().take(MAX_LINES) {
        let line = line?;
        if let Some(area) = Area::of(&line) {
            areas.push(area);
        } else if let Some(area) = areas.last_mut() {
            if let Some(bytes) = kib(&line, "Rss:") {
                area.resident = bytes;
            } else if let Some(bytes) = kib(&line, "Swap:") {
                area.swapped = bytes;
            } else if let Some(flags) = line.strip_prefix("VmFlags:") {
                let mut flags = flags.split_ascii_whitespace();
                area.is_filled_by_others = flags.any(|flag| matches!(flag, "um" | "ui"));
            }
        }
    }
    tell_apart(&mut areas);
    Ok(areas)
}

fn kib(line: &str, label: &str) -> Option<u64> {
    let kib: u64 = line.strip_prefix(label)?.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// An arena is known by what follows it: the rest of its 64 MiB, reserved. A thread's stack by what stands before it: a
/// guard.
fn tell_apart(areas: &mut [Area]) {
    for at in 0..areas.len() {
        let before = at.checked_sub(1).and_then(|before| areas.get(before)).cloned();
        let Some(rest) = areas.get_mut(at..) else { break };
        for area in rest.get_mut(..arena_parts(rest)).unwrap_or_default() {
            area.kind = AreaKind::Arena;
        }
        if let Some(area) = rest.first_mut().filter(|area| area.is_memory())
            && before.is_some_and(|before| area.is_stack(&before))
        {
            area.kind = AreaKind::Stack;
        }
    }
}

/// How many of these mappings are the arena that begins with the first: more than one in a process that was forked.
fn arena_parts(areas: &[Area]) -> usize {
    let Some(first) = areas.first().filter(|first| first.start != 0 && first.start.is_multiple_of(ARENA))
    else {
        return 0;
    };
    let end = first.start.saturating_add(ARENA);
    let mut reached = first.start;
    let follows = |area: &&Area| {
        let follows = area.start == reached && area.end <= end && area.is_memory();
        reached = if follows { area.end } else { reached };
        follows
    };
    let parts = areas.iter().take_while(follows).count();
    let is_reserve = |next: &Area| {
        next.start == reached && next.end == end && next.kind == AreaKind::Anonymous && !next.is_writable
    };
    let is_arena = reached == end || areas.get(parts).is_some_and(is_reserve);
    if parts > 0 && is_arena { parts } else { 0 }
}

impl Area {
    /// The mapping that a line begins, if it begins one.
    fn of(line: &str) -> Option<Self> {
        let (start, end, name) = mapping(line)?;
        let access = line.split(' ').nth(1).unwrap_or_default();
        let kind = match name {
            "[heap]" => AreaKind::Brk,
            "[stack]" => AreaKind::Stack,
            name if name.starts_with('/') => AreaKind::File,
            _ => AreaKind::Anonymous,
        };
        let is_closed = access.starts_with("---");
        let is_writable = access.starts_with("rw");
        Some(Self { start, end, kind, is_writable, is_closed, ..Self::default() })
    }

    /// Memory that is written and has no file.
    fn is_memory(&self) -> bool {
        self.kind == AreaKind::Anonymous && self.is_writable
    }

    /// Stacks are some hundred KiB to some MiB, and their guard is a page or a few.
    fn is_stack(&self, before: &Self) -> bool {
        let is_guard = before.is_closed
            && before.end == self.start
            && before.kind == AreaKind::Anonymous
            && before.end - before.start <= MAX_GUARD;
        is_guard && (MIN_STACK..=MAX_STACK).contains(&(self.end - self.start))
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

    fn kinds(lines: &[&str]) -> Vec<AreaKind> {
        let mut areas: Vec<Area> = lines.iter().map(|line| Area::of(line).unwrap()).collect();
        tell_apart(&mut areas);
        areas.iter().map(|area| area.kind).collect()
    }

    #[test]
    fn an_arena_is_known_by_what_is_reserved_behind_it() {
        const ARENA: &str = "7f5a60000000-7f5a60021000 rw-p 00000000 00:00 0 ";
        const REST: &str = "7f5a60021000-7f5a64000000 ---p 00000000 00:00 0 ";
        const OTHER: &str = "7f5a60021000-7f5a60031000 rw-p 00000000 00:00 0 ";
        assert_eq!(kinds(&[ARENA, REST]), [AreaKind::Arena, AreaKind::Anonymous]);
        assert_eq!(kinds(&[ARENA, OTHER]), [AreaKind::Anonymous; 2]);
        assert_eq!(kinds(&[ARENA]), [AreaKind::Anonymous]);
        // After a fork.
        let rest_of_two = "7f5a60031000-7f5a64000000 ---p 00000000 00:00 0 ";
        assert_eq!(kinds(&[ARENA, OTHER, rest_of_two])[..2], [AreaKind::Arena; 2]);
    }

    #[test]
    fn a_stack_is_known_by_the_guard_before_it() {
        const GUARD: &str = "7f5a64fff000-7f5a65000000 ---p 00000000 00:00 0 ";
        const STACK: &str = "7f5a65000000-7f5a65800000 rw-p 00000000 00:00 0 ";
        const RESERVE: &str = "7f5a60000000-7f5a65000000 ---p 00000000 00:00 0 ";
        assert_eq!(kinds(&[GUARD, STACK]), [AreaKind::Anonymous, AreaKind::Stack]);
        assert_eq!(kinds(&[RESERVE, STACK]), [AreaKind::Anonymous; 2]);
        assert_eq!(kinds(&[STACK]), [AreaKind::Anonymous]);
        let named = [
            "7f00-8000 rw-p 0 00:00 0 /lib/x",
            "8000-9000 rw-p 0 00:00 0 [stack]",
            "9000-a000 rw-p 0 0:0 0 [heap]",
        ];
        assert_eq!(kinds(&named), [AreaKind::File, AreaKind::Stack, AreaKind::Brk]);
    }

    #[test]
    fn what_others_fill_is_known_by_its_flags() {
        let smaps = "1000-3000 rw-p 00000000 00:00 0 \nRss: 8 kB\nVmFlags: rd wr mr mw me ac sd \n\
                     5000-9000 rw-p 00000000 00:00 0 \nRss: 8 kB\nSwap: 4 kB\nVmFlags: rd wr um ac \n";
        let areas = parse(smaps.as_bytes()).unwrap();
        let filled: Vec<_> =
            areas.iter().map(|area| (area.start, area.end, area.is_filled_by_others)).collect();
        assert_eq!(filled, [(0x1000, 0x3000, false), (0x5000, 0x9000, true)]);
        assert_eq!((areas[1].resident, areas[1].swapped), (8192, 4096));
    }

    #[test]
    fn pages_are_added_up_by_what_they_are() {
        let area =
            |kind, resident, is_writable| Area { kind, resident, is_writable, swapped: 1, ..Area::default() };
        let pages = Pages::of(&[
            area(AreaKind::Brk, 100, true),
            area(AreaKind::Arena, 20, true),
            area(AreaKind::Stack, 3, true),
            area(AreaKind::File, 40, false),
            area(AreaKind::Anonymous, 50, true),
            area(AreaKind::Anonymous, 7, false),
        ]);
        assert_eq!((pages.allocator_bytes, pages.stack_bytes, pages.file_bytes), (120, 3, 40));
        assert_eq!((pages.anonymous_bytes, pages.written_bytes), (57, 50));
        assert_eq!((pages.swap_bytes, pages.rss_bytes), (6, 220));
    }

    #[test]
    fn our_own_stack_is_resident() {
        let mut reader = PageReader::default();
        let pages = reader.read(std::process::id()).unwrap();
        assert!(pages.stack_bytes > 0 && pages.allocator_bytes > 0, "{pages:?}");
        assert_eq!(reader.read(std::process::id()), Some(pages), "it rests");
    }
}
