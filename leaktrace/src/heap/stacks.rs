//! The stacks of a process: return addresses behind each hash, as the kernel side sent them.
//!
//! They are kept across exec, because the kernel side sends a stack once and never again.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::event::Frames;

/// Stacks by hash. (The process is part of what is hashed, so each process has its own.)
#[derive(Debug)]
pub(super) struct Stacks {
    by_hash: FxHashMap<u64, Stack>,
    frames: usize,
    max_frames: usize,
}

/// One stack, innermost frame first.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    pub(super) frames: Arc<[u64]>,
    pub(super) truncated: bool,
}

/// What became of a stack that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    /// Known already: two CPUs met it at once, or its first record was lost on the way.
    Known,
    /// Another stack is known under this hash, and stands for both.
    Collision,
    /// No room.
    Rejected,
}

impl Stacks {
    pub(super) fn new(max_frames: usize) -> Self {
        Self { by_hash: FxHashMap::default(), frames: 0, max_frames }
    }

    pub(super) fn insert(&mut self, hash: u64, frames: Frames<'_>, truncated: bool) -> Arrival {
        if let Some(known) = self.by_hash.get(&hash) {
            let same = known.frames.iter().copied().eq(frames.iter());
            return if same { Arrival::Known } else { Arrival::Collision };
        }
        // An empty stack costs its entry, too.
        let cost = frames.len().max(1);
        if self.frames + cost > self.max_frames {
            return Arrival::Rejected;
        }
        self.frames += cost;
        self.by_hash.insert(hash, Stack { frames: frames.iter().collect(), truncated });
        Arrival::New
    }

    pub(super) fn get(&self, hash: u64) -> Option<&Stack> {
        self.by_hash.get(&hash)
    }
}

/// How many frames of a stack are part of the call path.
///
/// A frame-pointer walk through code that uses the register for something else runs into junk: the path ends before
/// the first address that does not stand in executable memory. Frame 0 is the return address of the allocation
/// function itself, and always right. A return address may stand just behind a mapping's last call: ask for the byte
/// before it.
pub(super) fn clean_depth(frames: &[u64], is_code: &dyn Fn(u64) -> bool) -> usize {
    let junk = frames.iter().skip(1).position(|&address| !is_code(address.wrapping_sub(1)));
    junk.map_or(frames.len(), |position| position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_ends_before_the_first_address_that_is_no_code() {
        let is_code = |address: u64| (100..200).contains(&address);
        for (frames, depth) in [
            (&[][..], 0),
            (&[7], 1),
            (&[7, 150, 160], 3),
            (&[150, 200], 2),
            (&[150, 201, 160], 1),
            (&[150, 100], 1),
            (&[150, 160, 0, 170], 2),
        ] {
            assert_eq!(clean_depth(frames, &is_code), depth, "{frames:?}");
        }
    }
}
