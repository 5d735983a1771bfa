//! Stacks of code that keeps no frame pointers: from a copy of a piece of the stack to return addresses.
//!
//! The BPF programs send a copy once for each new call path, and where they lack a rule to go on. Here it is followed from
//! frame to frame by the unwind tables of the mapped files (those for exceptions, else those for debuggers), and by frame
//! pointers where there are none (code that was
//! compiled at run time); and rules are made of the tables, by which the programs follow the next stacks themselves. The copy itself goes nowhere else. Tables are the target's, and hostile: what they say is bounded, and a panic
//! over them costs the stack, not the trace.

mod modules;
mod pages;
#[cfg(test)]
mod tests;
mod trust;
mod walk;

use std::collections::BTreeMap;

use framehop::Unwinder as _;
use framehop::x86_64::{CacheX86_64, UnwinderX86_64};
use leaktrace_common::StackCopy;
use rustc_hash::FxHashMap;
use zerocopy::FromBytes as _;

use crate::target::maps::Mapping;
pub use modules::Files;
use modules::{Bytes, Loaded, Way};
pub use pages::code_pages;
pub use trust::Trust;

/// So many addresses are remembered with what is to be followed there.
const MAX_WAYS: usize = 1 << 20;

/// A copy of a piece of a stack, as the programs sent it.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a> {
    /// What stands before the bytes.
    pub head: StackCopy,
    bytes: &'a [u8],
}

impl<'a> Copied<'a> {
    /// Reads a record; `None` if it is none.
    pub fn read(record: &'a [u8]) -> Option<Self> {
        let (head, rest) = StackCopy::read_from_prefix(record).ok()?;
        let bytes = rest.get(..head.length as usize)?;
        Some(Self { head, bytes })
    }

    /// The word at an address of the stack, if it was copied.
    fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.head.sp)?).ok()?;
        let word = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    }
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the outermost frame of the thread.
    Root,
    /// Before it: the copy was too short, there are too many frames, or the tables say nothing or nonsense.
    Cut,
}

/// The unwind tables of one process.
pub struct Process {
    unwinder: UnwinderX86_64<Bytes>,
    cache: CacheX86_64,
    /// By the start of the mapping.
    loaded: BTreeMap<u64, Loaded>,
    /// By the address of a call: what is to be followed there.
    ways: FxHashMap<u64, Way>,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            unwinder: UnwinderX86_64::new(),
            cache: CacheX86_64::new(),
            loaded: BTreeMap::new(),
            ways: FxHashMap::default(),
        }
    }
}

impl Process {
    /// Takes over what the process has mapped now; gives the ranges in which other code lies than before.
    pub fn map(&mut self, pid: u32, maps: &[Mapping], files: &mut Files) -> Vec<(u64, u64)> {
        let code = maps.iter().filter(|mapping| mapping.executable && mapping.file_id().is_some());
        let now: BTreeMap<u64, &Mapping> = code.map(|mapping| (mapping.start, mapping)).collect();
        let is_gone = |start: &u64, loaded: &mut Loaded| {
            now.get(start).is_none_or(|now| (now.end, now.file_id()) != (loaded.end, Some(loaded.file)))
        };
        let mut changed = Vec::new();
        for (start, loaded) in self.loaded.extract_if(.., is_gone) {
            changed.push((start, loaded.end));
            self.unwinder.remove_module(start);
        }
        for (&start, mapping) in &now {
            if !self.loaded.contains_key(&start)
                && let Some((loaded, module)) = files.load(pid, mapping)
            {
                changed.push((start, loaded.end));
                self.loaded.insert(start, loaded);
                if let Some(module) = module {
                    self.unwinder.add_module(module);
                }
            }
        }
        if !changed.is_empty() {
            self.ways.clear();
        }
        changed
    }

    /// The tables for an address, if it lies in a file that has some.
    fn loaded_at(&self, address: u64) -> Option<&Loaded> {
        let (_, loaded) = self.loaded.range(..=address).next_back()?;
        (address < loaded.end).then_some(loaded)
    }
}
