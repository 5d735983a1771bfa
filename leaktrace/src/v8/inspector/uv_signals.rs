//! Which signals JavaScript listens to: the tree that libuv keeps of its signal handles, read from outside.
//!
//! `uv__signal_tree` points at the root of a red-black tree of `uv_signal_t`. Its layout is the same from libuv 1.43
//! (Node 16) to 1.52 (Node 26): measured on Node 16.20, 18.20, 20.20, 22.23, 24.21 and 26.10, with and without a
//! listener. Every node is checked for what a handle must look like, so that another layout is seen as such.

use crate::target::memory::Memory;

/// Offsets within `uv_signal_t` on 64-bit machines.
const TYPE: usize = 16;
const SIGNAL: usize = 104;
const LEFT: usize = 112;
const RIGHT: usize = 120;
const PARENT: usize = 128;
const COLOUR: usize = 136;
const HANDLE: usize = 152;
/// `UV_SIGNAL` of `uv_handle_type`.
const UV_SIGNAL: u32 = 16;
/// A process has a handle for each signal and loop: more are no tree of handles.
const MAX_HANDLES: usize = 4096;
/// The target may change the tree while we read it.
const ATTEMPTS: usize = 5;

/// Memory of another process.
pub(super) trait Reads {
    /// Fills the buffer from an address; `false` where not all of it could be read.
    fn fill(&self, address: u64, buffer: &mut [u8]) -> bool;
}

impl Reads for Memory {
    fn fill(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.read(address, buffer).is_ok_and(|count| count == buffer.len())
    }
}

/// Whether a signal is in the tree at `tree`; `None` where what stands there cannot be one.
pub(super) fn is_listened_to(memory: &impl Reads, tree: u64, signal: u32) -> Option<bool> {
    (0..ATTEMPTS).find_map(|_| search(memory, tree, signal))
}

fn search(memory: &impl Reads, tree: u64, signal: u32) -> Option<bool> {
    let root = pointer(memory, tree)?;
    let mut left_to_see = vec![(root, 0)];
    let mut seen = 0;
    while let Some((node, parent)) = left_to_see.pop() {
        if node == 0 {
            continue;
        }
        seen += 1;
        if seen > MAX_HANDLES {
            return None;
        }
        let handle = Handle::read(memory, node)?;
        if handle.parent != parent {
            return None;
        }
        if handle.signal == signal {
            return Some(true);
        }
        left_to_see.extend([(handle.left, node), (handle.right, node)]);
    }
    // Nothing may have come while we looked.
    (pointer(memory, tree)? == root).then_some(false)
}

struct Handle {
    signal: u32,
    left: u64,
    right: u64,
    parent: u64,
}

impl Handle {
    fn read(memory: &impl Reads, address: u64) -> Option<Self> {
        let mut bytes = [0; HANDLE];
        if !address.is_multiple_of(8) || !memory.fill(address, &mut bytes) {
            return None;
        }
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let signal = number(SIGNAL)?;
        let is_handle = number(TYPE)? == UV_SIGNAL && (1..=64).contains(&signal) && number(COLOUR)? <= 1;
        is_handle.then_some(Self { signal, left: word(LEFT)?, right: word(RIGHT)?, parent: word(PARENT)? })
    }
}

fn pointer(memory: &impl Reads, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    memory.fill(address, &mut bytes).then(|| u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Memory in pieces.
    #[derive(Default)]
    struct Pieces(BTreeMap<u64, Vec<u8>>);

    impl Reads for Pieces {
        fn fill(&self, address: u64, buffer: &mut [u8]) -> bool {
            let Some((start, bytes)) = self.0.range(..=address).next_back() else { return false };
            let from = (address - start) as usize;
            let Some(found) = bytes.get(from..from + buffer.len()) else { return false };
            buffer.copy_from_slice(found);
            true
        }
    }

    fn handle(signal: u32, left: u64, right: u64, parent: u64) -> Vec<u8> {
        let mut bytes = vec![0; HANDLE];
        bytes[TYPE..TYPE + 4].copy_from_slice(&UV_SIGNAL.to_le_bytes());
        bytes[SIGNAL..SIGNAL + 4].copy_from_slice(&signal.to_le_bytes());
        for (at, value) in [(LEFT, left), (RIGHT, right), (PARENT, parent)] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn tree(root: u64, handles: &[(u64, Vec<u8>)]) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.0.insert(0x1000, root.to_le_bytes().to_vec());
        pieces.0.extend(handles.iter().cloned());
        pieces
    }

    #[test]
    fn an_empty_tree_has_no_listener() {
        assert_eq!(is_listened_to(&tree(0, &[]), 0x1000, 10), Some(false));
    }

    #[test]
    fn listeners_are_found_in_both_branches() {
        let handles = [
            (0x2000, handle(10, 0x3000, 0x4000, 0)),
            (0x3000, handle(1, 0, 0, 0x2000)),
            (0x4000, handle(15, 0, 0, 0x2000)),
        ];
        let memory = tree(0x2000, &handles);
        for (signal, is_there) in [(10, true), (1, true), (15, true), (2, false), (12, false)] {
            assert_eq!(is_listened_to(&memory, 0x1000, signal), Some(is_there), "{signal}");
        }
    }

    #[test]
    fn what_cannot_be_a_tree_is_not_known() {
        let bad = [
            tree(0x2000, &[]),
            tree(0x2001, &[(0x2000, handle(10, 0, 0, 0))]),
            // A node whose parent is another one, and one that is its own child.
            tree(0x2000, &[(0x2000, handle(1, 0, 0, 0x77))]),
            tree(0x2000, &[(0x2000, handle(1, 0x2000, 0, 0))]),
            tree(0x2000, &[(0x2000, handle(65, 0, 0, 0))]),
            tree(0x2000, &[(0x2000, vec![0; HANDLE])]),
        ];
        for memory in &bad {
            assert_eq!(is_listened_to(memory, 0x1000, 10), None);
        }
        assert_eq!(is_listened_to(&Pieces::default(), 0x1000, 10), None);
    }
}
