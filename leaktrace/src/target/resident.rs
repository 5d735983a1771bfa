//! The memory of a process, as far as it is in memory: reading it brings nothing back from swap, and wakes nobody.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::memory::Memory;
use super::pages::Area;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes of an entry of `/proc/PID/pagemap`.
const ENTRY: u64 = 8;
/// Entries that are read at once: 16 MiB of memory, which is looked at within milliseconds.
const ENTRIES: u64 = 4096;
/// Parts of the page map that are kept.
const PARTS: usize = 8;
/// The bit of an entry that says that the page is in memory.
const PRESENT: u64 = 1 << 63;

/// Memory of a process that can be read without moving a page.
///
/// By `process_vm_readv`: `/proc/PID/mem` hands out page by page, and takes some 8 µs for each. But it knows which program it
/// was opened of, and so tells an exec.
#[derive(Debug)]
pub struct ResidentMemory {
    pid: Pid,
    program: Memory,
    pagemap: File,
    /// Ranges whose missing pages another program fills (userfaultfd): who reads one waits for it.
    handled_by_others: Vec<Range<u64>>,
    /// What was read of the page map last, in that order: a walk reads ahead of where it counts pages, and looks at other
    /// places between.
    parts: VecDeque<PageMapPart>,
}

/// A part of the page map, from a page whose number is a multiple of [`ENTRIES`].
#[derive(Debug, Default)]
struct PageMapPart {
    first: u64,
    entries: Vec<u8>,
}

impl PageMapPart {
    fn entry(&self, page: u64) -> Option<u64> {
        let offset = page.checked_sub(self.first)?.checked_mul(ENTRY)?;
        let entry = self.entries.get(usize::try_from(offset).ok()?..)?.first_chunk()?;
        Some(u64::from_le_bytes(*entry))
    }
}

impl ResidentMemory {
    /// Opens the memory of process `pid`, whose mappings these are.
    pub fn open(pid: u32, areas: &[Area]) -> io::Result<Self> {
        let handled = areas.iter().filter(|area| area.is_filled_by_others);
        Ok(Self {
            pid: Pid::from_raw(pid.cast_signed()),
            program: Memory::open(pid)?,
            pagemap: File::open(format!("/proc/{pid}/pagemap"))?,
            handled_by_others: handled.map(|area| area.start..area.end).collect(),
            parts: VecDeque::new(),
        })
    }

    /// Copies what is at `address`, up to the first page that is not in memory; says how many bytes.
    pub fn read(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let Some(end) = address.checked_add(buffer.len() as u64) else { return 0 };
        let end = self.before_others(address, end);
        let mut known = address;
        while known < end && self.is_present(known / PAGE) {
            known = (known - known % PAGE).saturating_add(PAGE);
        }
        let bytes = known.min(end).saturating_sub(address) as usize;
        let Some(buffer) = buffer.get_mut(..bytes).filter(|buffer| !buffer.is_empty()) else { return 0 };
        let remote = RemoteIoVec { base: address as usize, len: bytes };
        process_vm_readv(self.pid, &mut [IoSliceMut::new(buffer)], &[remote]).unwrap_or(0)
    }

    /// Whether the process still runs the program that it ran when this was opened; told by an address that it has mapped.
    pub fn is_same_program(&self, mapped: u64) -> bool {
        self.program.read(mapped, &mut [0]).is_ok_and(|read| read == 1)
    }

    /// How many pages from `start` to `end` are in memory.
    pub fn pages(&mut self, start: u64, end: u64) -> u64 {
        (start / PAGE..end / PAGE).filter(|page| self.entry(*page) & PRESENT != 0).count() as u64
    }

    fn before_others(&self, address: u64, end: u64) -> u64 {
        let behind = self.handled_by_others.partition_point(|range| range.end <= address);
        self.handled_by_others.get(behind).map_or(end, |range| end.min(range.start.max(address)))
    }

    /// Asks again where the answer was no: the program may have touched the page since.
    fn is_present(&mut self, page: u64) -> bool {
        if self.entry(page) & PRESENT != 0 {
            return true;
        }
        let mut entry = [0; ENTRY as usize];
        let offset = page.checked_mul(ENTRY);
        let read = offset.and_then(|offset| self.pagemap.read_at(&mut entry, offset).ok());
        read == Some(entry.len()) && u64::from_le_bytes(entry) & PRESENT != 0
    }

    fn entry(&mut self, page: u64) -> u64 {
        let known = self.parts.iter().find_map(|part| part.entry(page));
        known.unwrap_or_else(|| self.fetch(page))
    }

    /// Reads the part of the page map with a page's entry, in the place of the oldest.
    fn fetch(&mut self, page: u64) -> u64 {
        let kept = if self.parts.len() < PARTS { None } else { self.parts.pop_back() };
        let mut part = kept.unwrap_or_default();
        part.first = page - page % ENTRIES;
        part.entries.resize((ENTRIES * ENTRY) as usize, 0);
        let offset = part.first.checked_mul(ENTRY);
        let read = offset.and_then(|offset| self.pagemap.read_at(&mut part.entries, offset).ok());
        part.entries.truncate(read.unwrap_or(0));
        let entry = part.entry(page).unwrap_or(0);
        self.parts.push_front(part);
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_read_up_to_what_was_never_touched() {
        let mapping = vec![7_u8; 3 * PAGE as usize];
        let mut memory = ResidentMemory::open(std::process::id(), &[]).unwrap();
        let mut buffer = vec![0; mapping.len()];
        assert_eq!(memory.read(mapping.as_ptr() as u64, &mut buffer), mapping.len());
        assert_eq!(buffer, mapping);
        // So large that the allocator maps it by itself, and touched by nobody but for its header.
        let untouched: Vec<u8> = Vec::with_capacity(256 << 20);
        let start = (untouched.as_ptr() as u64 + (128 << 20)).next_multiple_of(PAGE);
        assert_eq!(memory.read(start, &mut buffer), 0);
        assert_eq!(memory.pages(start, start + 100 * PAGE), 0);
        assert_eq!(memory.read(u64::MAX - 8, &mut buffer), 0);
        assert_eq!(memory.read(0, &mut buffer), 0);
    }

    #[test]
    fn what_others_fill_is_left_alone() {
        let filled = Area { start: 0x5000, end: 0x9000, is_filled_by_others: true, ..Area::default() };
        let memory = ResidentMemory::open(std::process::id(), &[Area::default(), filled]).unwrap();
        assert_eq!(memory.before_others(0x4000, 0x6000), 0x5000);
        assert_eq!(memory.before_others(0x6000, 0x7000), 0x6000);
        assert_eq!(memory.before_others(0x9000, 0xa000), 0xa000);
    }
}
