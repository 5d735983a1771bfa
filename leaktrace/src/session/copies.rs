//! Copies of stacks in a live run: unwound as they come out of the ring, so that everything behind it sees return
//! addresses only.

use std::collections::HashMap;

use leaktrace_common::{Header, Kind, MAX_FRAMES, StackCopy, StackRecord};
use rustc_hash::FxHashMap;
use zerocopy::IntoBytes as _;

use crate::{
    probe::copies::CopyMaps,
    target::maps,
    unwind::{Copied, End, Files, Process, code_pages},
};

/// Bytes of a [`StackRecord`] before its frames.
const PREFIX: usize = size_of::<StackRecord>() - MAX_FRAMES * size_of::<u64>();
/// Call paths that are remembered to be compared later.
const MAX_PATHS: usize = 1 << 20;

/// Unwinds the copies of one run.
pub(super) struct Copies {
    maps: CopyMaps,
    files: Files,
    processes: HashMap<u16, Traced>,
    /// The hash of the call path behind each fingerprint.
    paths: FxHashMap<u64, u64>,
    /// Fingerprints that were seen with two call paths.
    disagreements: u64,
    /// Stacks whose outer frames are missing.
    cut: u64,
}

struct Traced {
    pid: u32,
    unwinder: Process,
    ranges: Vec<(u64, u64)>,
}

impl Copies {
    pub(super) fn new(maps: CopyMaps) -> Self {
        Self {
            maps,
            files: Files::default(),
            processes: HashMap::new(),
            paths: FxHashMap::default(),
            disagreements: 0,
            cut: 0,
        }
    }

    /// A process is traced from now on.
    pub(super) fn begin(&mut self, process: u16, pid: u32) {
        self.processes.insert(process, Traced { pid, unwinder: Process::default(), ranges: Vec::new() });
    }

    /// A process is gone.
    pub(super) fn end(&mut self, process: u16) {
        self.processes.remove(&process);
    }

    /// The code of a process lies in these ranges now.
    pub(super) fn code(&mut self, process: u16, ranges: &[(u64, u64)]) {
        let Some(traced) = self.processes.get_mut(&process).filter(|traced| traced.ranges != ranges) else {
            return;
        };
        traced.ranges = ranges.to_vec();
        if let Ok(mapped) = maps::read(traced.pid) {
            traced.unwinder.map(traced.pid, &mapped, &mut self.files);
        }
        let all = self.processes.values().flat_map(|traced| traced.ranges.iter().copied());
        self.maps.code(&code_pages(all));
    }

    /// The stack of a copy, as a record of return addresses; nothing where it only confirms what is known.
    pub(super) fn unwind(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let copied = Copied::read(record)?;
        let head = copied.head;
        let traced = self.processes.get_mut(&head.header.process)?;
        let (frames, end) = traced.unwinder.walk(&copied);
        match end {
            End::Root(base) => self.maps.base(head.thread, base),
            End::Cut => self.cut += 1,
        }
        let path = path_hash(&frames);
        match self.paths.get(&head.hash) {
            Some(known) if head.is_recheck != 0 => {
                if *known != path {
                    self.disagreements += 1;
                    self.maps.ambiguous(head.hash);
                }
                None
            }
            _ => {
                if self.paths.len() < MAX_PATHS {
                    self.paths.insert(head.hash, path);
                }
                Some(stack_record(&head, &frames, end))
            }
        }
    }
}

fn path_hash(frames: &[u64]) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = rustc_hash::FxHasher::default();
    frames.hash(&mut hasher);
    hasher.finish()
}

/// A record as the programs send it where they follow frame pointers themselves, with as many frames as are filled.
fn stack_record(head: &StackCopy, frames: &[u64], end: End) -> Vec<u8> {
    let depth = frames.len().min(MAX_FRAMES);
    let mut kept = [0; MAX_FRAMES];
    for (place, frame) in kept.iter_mut().zip(frames) {
        *place = *frame;
    }
    let truncated = u32::from(end == End::Cut);
    let header = Header { kind: if head.kind == 0 { Kind::Stack as u8 } else { head.kind }, ..head.header };
    let record = StackRecord { header, hash: head.hash, depth: depth as u32, truncated, frames: kept };
    let bytes = record.as_bytes();
    bytes.get(..PREFIX + 8 * depth).unwrap_or(bytes).to_vec()
}
