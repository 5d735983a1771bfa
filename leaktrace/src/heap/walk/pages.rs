//! How full the pages of the heap are.

use super::memory::{HeapMemory, PAGE};

/// Pages of the heap that are in memory, by how much of them is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageOccupancy {
    /// Nothing.
    pub empty: u64,
    /// Up to a quarter.
    pub quarter: u64,
    /// More, up to half.
    pub half: u64,
    /// More, up to three quarters.
    pub three_quarters: u64,
    /// More, but not all.
    pub nearly_full: u64,
    /// All.
    pub full: u64,
    /// Bytes of these pages that are handed out.
    pub live_bytes: u64,
}

impl PageOccupancy {
    /// All of these pages.
    pub fn pages(&self) -> u64 {
        self.empty + self.quarter + self.half + self.three_quarters + self.nearly_full + self.full
    }

    /// Their bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.pages() * PAGE
    }

    /// Bytes that would go back to the kernel if what is handed out stood side by side.
    pub fn compaction_bytes(&self) -> u64 {
        self.resident_bytes().saturating_sub(self.live_bytes.next_multiple_of(PAGE))
    }

    /// Takes in those of another arena.
    pub(super) fn add(&mut self, other: &Self) {
        self.empty += other.empty;
        self.quarter += other.quarter;
        self.half += other.half;
        self.three_quarters += other.three_quarters;
        self.nearly_full += other.nearly_full;
        self.full += other.full;
        self.live_bytes += other.live_bytes;
    }

    fn count(&mut self, pages: u64, live: u64) {
        let slot = match live * 4 {
            0 => &mut self.empty,
            quarters if quarters <= PAGE => &mut self.quarter,
            quarters if quarters <= 2 * PAGE => &mut self.half,
            quarters if quarters <= 3 * PAGE => &mut self.three_quarters,
            _ if live < PAGE => &mut self.nearly_full,
            _ => &mut self.full,
        };
        *slot += pages;
        self.live_bytes += pages * live.min(PAGE);
    }
}

/// Takes in ranges of a heap by ascending address.
#[derive(Debug, Default)]
pub(super) struct PageMeter {
    pub(super) occupancy: PageOccupancy,
    /// The page that is not full yet, and what of it is handed out.
    page: u64,
    live: u64,
    has_page: bool,
}

impl PageMeter {
    /// The next range: handed out or not.
    pub(super) fn add(&mut self, memory: &mut dyn HeapMemory, start: u64, end: u64, is_live: bool) {
        let mut at = start;
        while at < end {
            let page = at - at % PAGE;
            if !self.has_page || page != self.page {
                self.finish(memory);
                let whole = (end - end % PAGE).saturating_sub(page);
                if at == page && whole > 0 {
                    let resident = memory.resident_pages(page, page + whole);
                    self.occupancy.count(resident, if is_live { PAGE } else { 0 });
                    at = page + whole;
                    continue;
                }
                (self.page, self.live, self.has_page) = (page, 0, true);
            }
            let until = end.min(page + PAGE);
            self.live += if is_live { until - at } else { 0 };
            at = until;
        }
    }

    /// No more of this page comes.
    pub(super) fn finish(&mut self, memory: &mut dyn HeapMemory) {
        if self.has_page && memory.resident_pages(self.page, self.page + PAGE) > 0 {
            self.occupancy.count(1, self.live);
        }
        self.has_page = false;
    }
}

/// Freed memory that stands together, as far as `malloc_trim` gives it back: whole pages, but for the start, where the
/// allocator keeps its list pointers.
#[derive(Debug, Default)]
pub(super) struct Trimmable {
    run: Option<(u64, u64)>,
    pub(super) pages: u64,
}

/// What `malloc_trim` leaves at the start of a free chunk: `sizeof (struct malloc_chunk)`.
const LEFT: u64 = 48;

impl Trimmable {
    /// A freed chunk.
    pub(super) fn free(&mut self, memory: &mut dyn HeapMemory, start: u64, end: u64) {
        match &mut self.run {
            Some((_, until)) if *until == start => *until = end,
            _ => {
                self.end(memory);
                self.run = Some((start, end));
            }
        }
    }

    /// What follows is not free.
    pub(super) fn end(&mut self, memory: &mut dyn HeapMemory) {
        if let Some((start, end)) = self.run.take() {
            self.pages += whole_pages(memory, start + LEFT, end);
        }
    }

    /// The end of an arena: of the main one whole pages but the last bytes go back, of others nothing.
    pub(super) fn top(&mut self, memory: &mut dyn HeapMemory, start: u64, end: u64, is_main: bool) {
        /// `malloc_trim` keeps the smallest chunk and a byte.
        const KEPT: u64 = super::layout::MIN_CHUNK + 1;
        let start = match self.run.take() {
            Some((free, until)) if until == start => free,
            run => {
                self.run = run;
                self.end(memory);
                start
            }
        };
        if is_main {
            let released = (end - start).saturating_sub(KEPT) / PAGE * PAGE;
            self.pages += whole_pages(memory, end - released, end);
        }
    }
}

fn whole_pages(memory: &mut dyn HeapMemory, start: u64, end: u64) -> u64 {
    let (start, end) = (start.next_multiple_of(PAGE), end - end % PAGE);
    if start < end { memory.resident_pages(start, end) } else { 0 }
}
