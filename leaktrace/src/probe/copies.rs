//! What the BPF programs are told for their copies of stacks, by whoever unwinds them.

use aya::maps::{Array, HashMap, MapData};
use leaktrace_common::{AMBIGUOUS, CODE_WORDS, Rule};
use zerocopy::IntoBytes as _;

/// The maps through which walks over stacks are steered.
pub struct CopyMaps {
    pages: Array<MapData, [u64; CODE_WORDS]>,
    rules: HashMap<MapData, u64, u64>,
    known: HashMap<MapData, u64, u32>,
    unsure: Array<MapData, u32>,
}

impl CopyMaps {
    pub(super) const fn new(
        pages: Array<MapData, [u64; CODE_WORDS]>,
        rules: HashMap<MapData, u64, u64>,
        known: HashMap<MapData, u64, u32>,
        unsure: Array<MapData, u32>,
    ) -> Self {
        Self { pages, rules, known, unsure }
    }

    /// Tells where there may be code.
    pub fn code(&mut self, pages: &[u64; CODE_WORDS]) {
        told("where code is", self.pages.set(0, pages, 0));
    }

    /// The code of a process has been told: its rules mean something again.
    pub fn sure(&mut self, process: u16) {
        told("a process", self.unsure.set(u32::from(process), 0, 0));
    }

    /// Tells how to come from a return address to the next. The map may be full: then such stacks are copied each time.
    pub fn rule(&mut self, process: u16, address: u64, rule: Rule) {
        let rule = u64::from_ne_bytes(rule.as_bytes().try_into().unwrap_or_default());
        told("a rule", self.rules.insert(Rule::key(process, address), rule, 0));
    }

    /// Takes back what was told of a return address.
    pub fn forget(&mut self, process: u16, address: u64) {
        // It is gone already where the map was full.
        let _ = self.rules.remove(&Rule::key(process, address));
    }

    /// A stack that was sent is one that nobody asks for: it makes room.
    pub(super) fn forget_stack(&mut self, hash: u64) {
        // It is gone already where it was sent twice.
        let _ = self.known.remove(&hash);
    }

    /// The hash was seen with two call paths.
    pub fn ambiguous(&mut self, hash: u64) {
        told("an ambiguous stack", self.known.insert(hash, AMBIGUOUS, 0));
    }
}

fn told(what: &str, result: Result<(), aya::maps::MapError>) {
    if let Err(error) = result {
        tracing::debug!("the programs cannot be told {what}: {error}");
    }
}
