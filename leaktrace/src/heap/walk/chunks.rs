//! From chunk to chunk: each says how long it is, and the next one whether it is in use.
//!
//! The program runs meanwhile. So a part of the heap is copied at once, and believed only if all of it makes sense; else it is
//! copied again, and after that the part before it too, because what led here may have been out of date. Where that does
//! not help, the walk goes on where a long row of chunks makes sense again, or at the next chunk that the allocator's own
//! lists name.

use std::collections::VecDeque;

use super::arena::{Arena, Segment};
use super::layout::{ADDRESSES, ALIGNMENT, FLAGS, IS_MAPPED, Layout, MIN_CHUNK, NOT_MAIN, PREVIOUS_IN_USE};
use super::memory::{HeapMemory, word, word_at};

/// Bytes copied at once: some tens of microseconds, in which little changes.
const WINDOW: usize = 128 << 10;
/// Parts that can still be taken back.
const HELD_PARTS: usize = 8;
/// Attempts to get over one place.
const ATTEMPTS: u32 = 12;
/// Chunks in a row that make sense.
const CHAIN: u32 = 24;
/// How much a heap may grow in a walk.
const GROWTH: u64 = 1 << 36;
/// Attempts in all: a heap that is damaged all over is not worth more.
const ALL_ATTEMPTS: u64 = 1 << 16;

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Handed out, or in a list of freed ones that are not marked as free.
    InUse,
    Free,
    /// The end of the arena.
    Top,
    /// Marks the end of a heap that was left.
    Fence,
}

/// Some memory of the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) address: u64,
    pub(super) size: u64,
    pub(super) state: State,
}

/// How far a walk through a segment came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) bytes: u64,
    pub(super) retries: u64,
    /// Places where the walk had to begin anew.
    pub(super) gaps: u64,
}

/// A stretch of chunks that make sense.
#[derive(Debug, Default)]
struct Part {
    start: u64,
    chunks: Vec<Chunk>,
}

/// Why a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It goes on here.
    More(u64),
    /// That was all of the segment.
    Whole,
    /// What stands here is no chunk, or cannot be read.
    Broken(u64),
}

/// A walk through one segment.
pub(super) struct Walk<'a> {
    pub(super) memory: &'a mut dyn HeapMemory,
    pub(super) layout: &'a Layout,
    pub(super) arena: &'a Arena,
    pub(super) segment: &'a Segment,
    pub(super) window: &'a mut Vec<u8>,
    /// The end of the arena as it was last seen.
    pub(super) top: u64,
    pub(super) end: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        memory: &'a mut dyn HeapMemory,
        layout: &'a Layout,
        arena: &'a Arena,
        segment: &'a Segment,
        window: &'a mut Vec<u8>,
    ) -> Self {
        Self { memory, layout, arena, segment, window, top: arena.top, end: segment.end }
    }

    /// Shows every chunk to `visit`, by ascending address. `known` tells addresses of chunks by the allocator's lists.
    pub(super) fn run(
        mut self,
        known: &mut dyn FnMut(&mut dyn HeapMemory) -> Vec<u64>,
        visit: &mut dyn FnMut(&mut dyn HeapMemory, Chunk),
    ) -> Covered {
        let mut covered = Covered { bytes: self.segment.head, ..Covered::default() };
        let mut held: VecDeque<Part> = VecDeque::new();
        let mut anchors: Option<Vec<u64>> = None;
        let (mut at, mut attempts, mut farthest) = (self.segment.start, 0, 0);
        loop {
            let mut part = Part { start: at, chunks: Vec::new() };
            let end = self.part(&mut part);
            match end {
                End::More(next) => {
                    held.push_back(part);
                    at = next;
                }
                End::Whole => {
                    held.push_back(part);
                    break;
                }
                End::Broken(place) if self.is_worth(place, &mut farthest, &mut attempts, covered.retries) => {
                    covered.retries += 1;
                    // The first times what stands here may have moved under us, later what led here.
                    if attempts > 2
                        && let Some(before) = held.pop_back()
                    {
                        at = before.start;
                    }
                    continue;
                }
                End::Broken(place) => {
                    held.push_back(part);
                    let anchors = anchors.get_or_insert_with(|| {
                        let mut found = known(self.memory);
                        found.retain(|anchor| (self.segment.start..self.end).contains(anchor));
                        found.push(self.top);
                        found.sort_unstable();
                        found
                    });
                    covered.gaps += 1;
                    let anchor = anchors.get(anchors.partition_point(|anchor| *anchor <= place)).copied();
                    let next = self.chain_behind(place, anchor.unwrap_or(self.end)).or(anchor);
                    let Some(next) = next.filter(|next| *next < self.end) else { break };
                    at = next;
                    // What is held now is as good as it will get.
                    covered.bytes += self.hand_on(&mut held, 0, visit);
                }
            }
            covered.bytes += self.hand_on(&mut held, HELD_PARTS, visit);
        }
        covered.bytes += self.hand_on(&mut held, 0, visit);
        covered
    }

    /// Whether a place that makes no sense is looked at again.
    fn is_worth(&self, place: u64, farthest: &mut u64, attempts: &mut u32, all: u64) -> bool {
        if place > *farthest {
            (*farthest, *attempts) = (place, 0);
        }
        *attempts += 1;
        *attempts <= ATTEMPTS && all < ALL_ATTEMPTS && place < self.end
    }

    fn hand_on(
        &mut self,
        held: &mut VecDeque<Part>,
        keep: usize,
        visit: &mut dyn FnMut(&mut dyn HeapMemory, Chunk),
    ) -> u64 {
        let mut bytes = 0;
        while held.len() > keep
            && let Some(part) = held.pop_front()
        {
            for chunk in part.chunks {
                bytes += chunk.size;
                visit(self.memory, chunk);
            }
        }
        bytes
    }

    /// Looks behind a place that makes no sense, in what was copied last, for a row of chunks that is too long for chance.
    fn chain_behind(&mut self, place: u64, before: u64) -> Option<u64> {
        let start = place.checked_next_multiple_of(ALIGNMENT)?.checked_add(ALIGNMENT)?;
        let wanted = before.checked_sub(start)?.min(WINDOW as u64) as usize;
        self.window.resize(WINDOW, 0);
        let read = self.memory.read(start, self.window.get_mut(..wanted)?);
        (0..read as u64)
            .step_by(ALIGNMENT as usize)
            .map(|offset| start + offset)
            .find(|at| self.is_chain(start, read, *at))
    }

    fn is_chain(&self, start: u64, read: usize, first: u64) -> bool {
        let mut at = first;
        for _ in 0..CHAIN {
            let chunk = self.header(start, read, at).and_then(|header| self.chunk_size(at, header));
            let Some(size) = chunk else { return false };
            at += size;
        }
        true
    }

    /// The size of a chunk by its size word, if it can be one.
    fn chunk_size(&self, at: u64, header: u64) -> Option<u64> {
        let size = header & !FLAGS;
        let fits = at.checked_add(size).is_some_and(|next| next <= self.end);
        let is_chunk = size >= MIN_CHUNK
            && size.is_multiple_of(ALIGNMENT)
            && header & IS_MAPPED == 0
            && !(self.arena.is_main && header & NOT_MAIN != 0);
        (fits && is_chunk).then_some(size)
    }

    /// Where the arena ends now: it grows and shrinks meanwhile.
    fn look_at_top(&mut self) {
        if !self.segment.holds_top {
            return;
        }
        let top = word_at(self.memory, self.arena.address + self.layout.arena.top as u64);
        // It may have moved on to another heap.
        let Some(top) =
            top.filter(|top| (self.segment.start..ADDRESSES).contains(top) && top.is_multiple_of(ALIGNMENT))
        else {
            return;
        };
        let Some(size) = word_at(self.memory, top + 8).map(|word| word & !FLAGS) else { return };
        let is_near = top.checked_add(size).is_some_and(|end| end <= self.segment.end.saturating_add(GROWTH));
        if is_near {
            (self.top, self.end) = (top, top + size);
        }
    }

    /// Reads chunks from the start of a part on.
    fn part(&mut self, part: &mut Part) -> End {
        self.look_at_top();
        let start = part.start;
        if start >= self.end {
            return End::Whole;
        }
        let wanted = (self.end - start).min(WINDOW as u64) as usize;
        self.window.resize(WINDOW, 0);
        let Some(window) = self.window.get_mut(..wanted) else { return End::Broken(start) };
        let read = self.memory.read(start, window);
        let mut at = start;
        loop {
            if self.segment.holds_top && at >= self.top {
                return self.at_top(part, at);
            }
            let Some(header) = self.header(start, read, at) else {
                return if at > start { End::More(at) } else { End::Broken(at) };
            };
            let size = header & !FLAGS;
            if size < MIN_CHUNK {
                return self.at_fence(part, at, size);
            }
            if self.chunk_size(at, header).is_none() {
                return End::Broken(at);
            }
            let next = at + size;
            let is_long = at == start;
            let Some((previous_size, following)) = self.behind(start, read, next, is_long) else {
                if !is_long {
                    return End::More(at);
                }
                // What stands behind is not in memory, so nobody has touched it for long: taken as in use.
                part.chunks.push(Chunk { address: at, size, state: State::InUse });
                return End::More(next);
            };
            let is_free = following & PREVIOUS_IN_USE == 0;
            if is_free && previous_size != size {
                return End::Broken(next);
            }
            let state = if is_free { State::Free } else { State::InUse };
            part.chunks.push(Chunk { address: at, size, state });
            at = next;
        }
    }

    /// The size word of the chunk at an address, if the window has it.
    fn header(&self, start: u64, read: usize, at: u64) -> Option<u64> {
        let offset = usize::try_from(at - start).ok()?;
        word(self.window.get(..read)?, offset.checked_add(8)?)
    }

    /// What the chunk behind says of the one before: its size, if that is free, and the word with the bit that tells.
    fn behind(&mut self, start: u64, read: usize, next: u64, is_long: bool) -> Option<(u64, u64)> {
        let offset = usize::try_from(next - start).ok()?;
        let window = self.window.get(..read)?;
        if let (Some(size), Some(header)) = (word(window, offset), word(window, offset.checked_add(8)?)) {
            return Some((size, header));
        }
        if !is_long {
            return None;
        }
        let mut words = [0; 16];
        (self.memory.read(next, &mut words) == words.len()).then_some(())?;
        Some((word(&words, 0)?, word(&words, 8)?))
    }

    /// The arena ends here, if its end is not behind us.
    fn at_top(&self, part: &mut Part, at: u64) -> End {
        if at > self.top {
            // Blocks at the end were freed since: they belong to the top now.
            part.chunks.retain(|chunk| chunk.address < self.top);
            if let Some(last) = part.chunks.last_mut() {
                last.size = last.size.min(self.top - last.address);
            }
        }
        part.chunks.push(Chunk { address: self.top, size: self.end - self.top, state: State::Top });
        End::Whole
    }

    /// Behind a heap that was left stand two headers without a chunk.
    fn at_fence(&self, part: &mut Part, at: u64, size: u64) -> End {
        let is_end = self.end.checked_sub(at).is_some_and(|left| left <= 2 * ALIGNMENT);
        if size == ALIGNMENT && !self.segment.holds_top && is_end {
            part.chunks.push(Chunk { address: at, size: self.end - at, state: State::Fence });
            return End::Whole;
        }
        End::Broken(at)
    }
}
