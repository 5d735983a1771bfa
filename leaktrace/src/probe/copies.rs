//! What the BPF programs are told for their copies of stacks, by whoever unwinds them.

use aya::maps::{Array, HashMap, MapData};
use leaktrace_common::{AMBIGUOUS, CODE_WORDS};

/// The maps through which fingerprints of stacks are steered.
pub struct CopyMaps {
    pages: Array<MapData, [u64; CODE_WORDS]>,
    bases: HashMap<MapData, u64, u64>,
    known: HashMap<MapData, u64, u32>,
}

impl CopyMaps {
    pub(super) const fn new(
        pages: Array<MapData, [u64; CODE_WORDS]>,
        bases: HashMap<MapData, u64, u64>,
        known: HashMap<MapData, u64, u32>,
    ) -> Self {
        Self { pages, bases, known }
    }

    /// Tells where there may be code.
    pub fn code(&mut self, pages: &[u64; CODE_WORDS]) {
        told("where code is", self.pages.set(0, pages, 0));
    }

    /// Tells where the outermost frame of a thread ends. The map may be full: then more is copied than need be.
    pub fn base(&mut self, thread: u64, base: u64) {
        told("where a stack ends", self.bases.insert(thread, base, 0));
    }

    /// The fingerprint was seen with two call paths.
    pub fn ambiguous(&mut self, fingerprint: u64) {
        told("an ambiguous stack", self.known.insert(fingerprint, AMBIGUOUS, 0));
    }
}

fn told(what: &str, result: Result<(), aya::maps::MapError>) {
    if let Err(error) = result {
        tracing::debug!("the programs cannot be told {what}: {error}");
    }
}
