//! Copies of stacks in a live run: unwound as they come out of the ring, so that everything behind it sees return
//! addresses only; and the rules that the programs learn from them.

use std::{
    collections::{BTreeSet, HashMap},
    hash::BuildHasher as _,
    time::{Duration, Instant},
};

use leaktrace_common::{Header, MAX_FRAMES, Reason, StackCopy, StackRecord};
use rustc_hash::{FxBuildHasher, FxHashMap};
use zerocopy::IntoBytes as _;

use super::{backoff::Backoff, engine::code_ranges, traced::is_code};
use crate::{
    probe::copies::CopyMaps,
    target::maps,
    unwind::{Copied, End, Files, Process, code_pages},
};

/// Bytes of a [`StackRecord`] before its frames.
const PREFIX: usize = size_of::<StackRecord>() - MAX_FRAMES * size_of::<u64>();
/// Call paths that are remembered to be compared later.
const MAX_PATHS: usize = 1 << 20;
/// How long after its code has changed a process may still change more of it: a program maps its libraries one by one.
const SETTLING: Duration = Duration::from_millis(20);
/// How long to wait before the mappings of a process are read again for an address that is no known code; longer and
/// longer while that brings nothing.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// Unwinds the copies of one run.
pub(super) struct Copies {
    maps: CopyMaps,
    files: Files,
    processes: HashMap<u16, Traced>,
    /// Processes whose stacks are copied. Of others nothing is read.
    copied: BTreeSet<u16>,
    /// The hash of the call path behind each hash of the programs'.
    paths: FxHashMap<u64, u64>,
    /// Processes whose code was found elsewhere than before.
    changed: BTreeSet<u16>,
}

/// The code of one process.
struct Traced {
    pid: u32,
    unwinder: Process,
    ranges: Vec<(u64, u64)>,
    /// When the code that has just changed is taken to stand still.
    settled: Option<Instant>,
    /// Return addresses whose rule was told.
    ruled: BTreeSet<u64>,
    /// When the mappings may be read again for an address that is no known code.
    look: Backoff,
}

impl Copies {
    pub(super) fn new(maps: CopyMaps) -> Self {
        Self {
            maps,
            files: Files::default(),
            processes: HashMap::new(),
            copied: BTreeSet::new(),
            paths: FxHashMap::default(),
            changed: BTreeSet::new(),
        }
    }

    /// A process is traced from now on.
    pub(super) fn begin(&mut self, process: u16, pid: u32) {
        let traced = Traced {
            pid,
            unwinder: Process::default(),
            ranges: Vec::new(),
            settled: None,
            ruled: BTreeSet::new(),
            look: Backoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1),
        };
        self.processes.insert(process, traced);
    }

    /// From now on the stacks of a process are copied, or are not.
    pub(super) fn are_made(&mut self, process: u16, copies: bool) {
        if !copies {
            self.copied.remove(&process);
        } else if self.copied.insert(process) {
            self.look(process);
        }
    }

    /// A process is gone: its rules make room for those of others.
    pub(super) fn end(&mut self, process: u16) {
        let gone = self.processes.remove(&process);
        self.copied.remove(&process);
        for address in gone.into_iter().flat_map(|traced| traced.ruled) {
            self.maps.forget(process, address);
        }
    }

    /// The code of a process has changed, and may go on to do so for a while.
    pub(super) fn changes(&mut self, process: u16) {
        if let Some(traced) = self.processes.get_mut(&process) {
            traced.settled = Some(Instant::now() + SETTLING);
            traced.look = Backoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1);
        }
    }

    /// Looks at the processes whose code has settled.
    pub(super) fn settle(&mut self) {
        let now = Instant::now();
        let is_settled = |traced: &Traced| traced.settled.is_some_and(|settled| settled <= now);
        let settled: Vec<u16> = self
            .processes
            .iter()
            .filter(|(_, traced)| is_settled(traced))
            .map(|(process, _)| *process)
            .collect();
        for process in settled {
            self.look(process);
            self.maps.sure(process);
            if let Some(traced) = self.processes.get_mut(&process) {
                traced.settled = None;
            }
        }
    }

    /// The processes whose code was found elsewhere since the last call, and where it is.
    pub(super) fn take_changed(&mut self) -> Vec<(u16, Vec<(u64, u64)>)> {
        let changed = std::mem::take(&mut self.changed);
        let ranges = |process| Some((process, self.processes.get(&process)?.ranges.clone()));
        changed.into_iter().filter_map(ranges).collect()
    }

    /// Reads where all processes have code now.
    pub(super) fn look_at_all(&mut self) {
        for process in self.processes.keys().copied().collect::<Vec<_>>() {
            self.look(process);
        }
    }

    /// Reads where a process has code now. True if that has changed.
    pub(super) fn look(&mut self, process: u16) -> bool {
        let is_copied = self.copied.contains(&process);
        let Some(traced) = self.processes.get_mut(&process).filter(|_| is_copied) else { return false };
        let Ok(mapped) = maps::read(traced.pid) else { return false };
        let ranges = code_ranges(&mapped);
        if traced.ranges == ranges {
            return false;
        }
        traced.ranges = ranges;
        self.changed.insert(process);
        for (start, end) in traced.unwinder.map(traced.pid, &mapped, &mut self.files) {
            for address in traced.ruled.extract_if(start..end, |_| true) {
                self.maps.forget(process, address);
            }
        }
        let all = self.processes.values().flat_map(|traced| traced.ranges.iter().copied());
        if let Some(pages) = code_pages(all) {
            self.maps.code(&pages);
        }
        true
    }

    /// The stack of a copy, as a record of return addresses; nothing where it only confirms what is known.
    pub(super) fn unwind(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let copied = Copied::read(record)?;
        let head = copied.head;
        let (frames, end) = self.walk(&copied)?;
        self.tell_rules(head.header.process, &frames);
        let (frames, end) = hashed(&head, frames, end);
        let path = FxBuildHasher.hash_one(&frames);
        if head.reason == Reason::Recheck as u8
            && let Some(known) = self.paths.get(&head.hash)
        {
            if *known != path {
                tracing::debug!("two call paths behind one hash: its stacks are copied from now on");
                self.maps.ambiguous(head.hash);
            }
            return None;
        }
        if head.reason != Reason::Once as u8 && self.paths.len() < MAX_PATHS {
            self.paths.insert(head.hash, path);
        }
        Some(stack_record(&head, &frames, end))
    }

    /// Tells the programs how to follow these frames by themselves.
    fn tell_rules(&mut self, process: u16, frames: &[u64]) {
        let Some(traced) = self.processes.get_mut(&process) else { return };
        for &frame in frames {
            if is_code(&traced.ranges, frame) && traced.ruled.insert(frame) {
                let rule = traced.unwinder.rule(frame);
                self.maps.rule(process, frame, rule);
            }
        }
    }

    /// Walks; where it meets an address that is no known code, once more when the code is known.
    fn walk(&mut self, copied: &Copied<'_>) -> Option<(Vec<u64>, End)> {
        let process = copied.head.header.process;
        let traced = self.processes.get_mut(&process)?;
        let walked = traced.unwinder.walk(copied);
        let is_known = walked.0.iter().all(|&frame| is_code(&traced.ranges, frame));
        // What has just changed may change again at any moment.
        if is_known || !(traced.look.is_due() || traced.settled.is_some()) || !self.look(process) {
            return Some(walked);
        }
        let traced = self.processes.get_mut(&process)?;
        traced.look.found(LOOK_AGAIN.0);
        Some(traced.unwinder.walk(copied))
    }
}

/// The part of a stack that its hash stands for. What the programs did not come to is not in the hash: where that may come
/// again, it may come with another rest.
fn hashed(head: &StackCopy, mut frames: Vec<u64>, end: End) -> (Vec<u64>, End) {
    let followed = usize::from(head.followed);
    if head.reason == Reason::Once as u8 || frames.len() <= followed {
        return (frames, end);
    }
    frames.truncate(followed);
    (frames, End::Cut)
}

/// A record as the programs send it where they follow frame pointers themselves, with as many frames as are filled.
fn stack_record(head: &StackCopy, frames: &[u64], end: End) -> Vec<u8> {
    let depth = frames.len().min(MAX_FRAMES);
    let mut kept = [0; MAX_FRAMES];
    for (place, frame) in kept.iter_mut().zip(frames) {
        *place = *frame;
    }
    let truncated = u32::from(end == End::Cut);
    let header = Header { kind: head.kind, ..head.header };
    let record = StackRecord { header, hash: head.hash, depth: depth as u32, truncated, frames: kept };
    let bytes = record.as_bytes();
    bytes.get(..PREFIX + 8 * depth).unwrap_or(bytes).to_vec()
}

#[cfg(test)]
mod tests {
    use leaktrace_common::Kind;

    use super::*;

    #[test]
    fn a_hash_that_comes_again_stands_for_what_it_covers() {
        let header = Header { kind: Kind::StackCopy as u8, function: 0, process: 0, tid: 1, time_ns: 0 };
        let head = |reason: Reason, followed| StackCopy {
            header,
            hash: 1,
            caller: 10,
            sp: 0,
            fp: 0,
            length: 0,
            kind: Kind::Stack as u8,
            reason: reason as u8,
            followed,
        };
        let covers = |reason, followed| hashed(&head(reason, followed), vec![10, 20, 30], End::Root);
        assert_eq!(covers(Reason::New, 3), (vec![10, 20, 30], End::Root));
        assert_eq!(covers(Reason::New, 2), (vec![10, 20], End::Cut));
        assert_eq!(covers(Reason::Recheck, 1), (vec![10], End::Cut));
        assert_eq!(covers(Reason::Once, 1), (vec![10, 20, 30], End::Root));
    }
}
