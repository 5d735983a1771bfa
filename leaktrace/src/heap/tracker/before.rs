//! Blocks that were there before the trace, as a walk through the heap found them.
//!
//! A walk reads while the program goes on. What was allocated or freed since the attach is known by its events, and they
//! decide; the walk's word counts for all other addresses. A block that was freed while the walk was under way may have
//! been read before, so such addresses are kept until its blocks are taken over.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::Tracker;
use crate::heap::block::Loose;
use crate::heap::series::Series;
use crate::heap::sites::OVERFLOW_INDEX;
use crate::heap::walk::{SizeClasses, WalkedBlock};

/// Addresses that are kept while a walk is under way. A walk during which more is freed is not taken over.
const MOST_FREED: usize = 4 << 20;

/// Blocks as a recording keeps them: each by its distance to the one before, and the bytes that may be used of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundBlocks {
    steps: Vec<(u64, u64)>,
    #[serde(skip)]
    last: u64,
}

impl FoundBlocks {
    /// The next block.
    pub fn push(&mut self, block: WalkedBlock) {
        self.steps.push((block.address.wrapping_sub(self.last), block.usable));
        self.last = block.address;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The blocks, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = WalkedBlock> + '_ {
        let mut at = 0_u64;
        self.steps.iter().map(move |&(step, usable)| {
            at = at.wrapping_add(step);
            WalkedBlock { address: at, usable }
        })
    }
}

/// What was freed since a walk began.
#[derive(Debug, Default)]
enum Freed {
    /// No walk is under way.
    #[default]
    NotAsked,
    /// These addresses.
    Known(FxHashSet<u64>),
    /// More than are kept.
    TooMany,
}

/// What is known of the blocks from before.
#[derive(Debug, Default)]
pub(super) struct Before {
    freed: Freed,
    /// Index of their site, once there are any.
    site: Option<u32>,
    /// Those that are left, by size.
    sizes: SizeClasses,
}

impl Before {
    /// Something was freed, or given to `realloc`.
    #[inline]
    pub(super) fn note_free(&mut self, address: u64) {
        if let Freed::Known(freed) = &mut self.freed {
            freed.insert(address);
            if freed.len() > MOST_FREED {
                self.freed = Freed::TooMany;
            }
        }
    }

    /// Whether a block is one from before.
    #[inline]
    pub(super) fn has(&self, block: &Loose) -> bool {
        self.site == Some(block.site)
    }

    /// One of them is gone.
    #[cold]
    pub(super) fn lose(&mut self, block: &Loose) {
        self.sizes.remove(block.size);
    }
}

impl Tracker {
    /// A walk through the heap begins; events from now on are younger than what it reads.
    pub fn walk_begins(&mut self) {
        if self.before.site.is_none() {
            self.before.freed = Freed::Known(FxHashSet::default());
        }
    }

    /// Takes over blocks that the walk found, once all events up to its end have been applied. They may come in parts.
    /// `false` where so much was freed meanwhile that they cannot be trusted.
    pub fn take_found(&mut self, blocks: &FoundBlocks, now_ns: u64) -> bool {
        let Freed::Known(freed) = std::mem::take(&mut self.before.freed) else { return false };
        let site = *self.before.site.get_or_insert_with(|| self.sites.create_bare(now_ns));
        if site == OVERFLOW_INDEX {
            self.before.site = None;
            return false;
        }
        for block in blocks.iter().filter(|block| !freed.contains(&block.address)) {
            let loose =
                Loose { address: block.address, size: block.usable, site, birth: 0, tid: 0, level: 0 };
            self.find(&loose, now_ns);
        }
        self.before.freed = Freed::Known(freed);
        true
    }

    /// The walk could not be made.
    pub fn walk_given_up(&mut self) {
        self.before.freed = Freed::NotAsked;
    }

    /// All blocks of the walk have come: what is live is known as a whole from now on, and its history begins.
    pub fn walk_ended(&mut self) {
        self.before.freed = Freed::NotAsked;
        self.series = Series::default();
    }

    fn find(&mut self, block: &Loose, now_ns: u64) {
        let calls = self.in_flight.iter().filter(|(_, call)| call.address == block.address);
        let is_known =
            self.live.contains(block.address) || calls.clone().any(|(_, call)| call.block.is_some());
        if is_known {
            return;
        }
        let in_flight = calls.map(|(&tid, _)| tid).min();
        self.totals.found_count += 1;
        if self.totals.live_count >= self.max_blocks {
            self.totals.blocks_full += 1;
            if let Some(site) = self.sites.get_mut(block.site) {
                site.not_kept(block.size, now_ns);
            }
            return;
        }
        // Where its reallocation began before the walk, the old block may come back yet.
        match in_flight.and_then(|tid| self.in_flight.get_mut(&tid)) {
            Some(call) => call.block = Some(*block),
            None => {
                self.live.insert(block);
            }
        }
        self.totals.found_bytes = self.totals.found_bytes.saturating_add(block.size);
        self.totals.add_live(block.size);
        self.before.sizes.add(block.size);
        if let Some(glimpses) = &mut self.glimpses {
            glimpses.found(block);
        }
        if let Some(site) = self.sites.get_mut(block.site) {
            site.allocated(block.size, block.birth, now_ns);
        }
    }

    /// Id of the site that the blocks from before belong to, and those that are left by size; `None` where they are not
    /// known.
    pub fn before(&self) -> Option<(u32, &SizeClasses)> {
        let site = self.sites().get(self.before.site? as usize)?;
        Some((site.id, &self.before.sizes))
    }

    /// Whether this is the site of the blocks from before.
    pub fn is_before(&self, id: u32) -> bool {
        self.before().is_some_and(|(site, _)| site == id)
    }
}
