//! What the supervisor reads of a process with V8: limits of its heaps.

use std::collections::BTreeMap;

use crate::{
    session::{input::Fact, supervisor::Supervisor},
    target::{memory::Memory, v8::old_space_limit},
};

/// Heaps of one process whose limits are read.
const MAX_HEAPS: usize = 256;
/// V8's heaps in one process, with the limits that were told.
#[derive(Debug, Default)]
pub(in crate::session) struct Heaps {
    limits: BTreeMap<u64, Option<u64>>,
    /// The limit that the process was started with, once that was looked for.
    started_with: Option<StartedWith>,
}

/// The limit that a process was started with, if it was.
#[derive(Clone, Copy, Debug)]
struct StartedWith(Option<u64>);

impl Supervisor {
    /// A heap was seen for the first time.
    pub(in crate::session) fn meet_heap(&mut self, index: u16, heap: u64) {
        if let Some(traced) = self.processes.get_mut(&index)
            && traced.heaps.limits.len() < MAX_HEAPS
        {
            traced.heaps.limits.entry(heap).or_default();
        }
        self.look_at_heap_limits(index);
    }

    /// Limits may be raised while a program runs: each is read again at a tick.
    pub(in crate::session) fn look_at_heaps(&mut self) {
        for index in self.processes.keys().copied().collect::<Vec<_>>() {
            self.look_at_heap_limits(index);
        }
    }

    fn look_at_heap_limits(&mut self, index: u16) {
        let Some(traced) = self.processes.get_mut(&index).filter(|one| !one.heaps.limits.is_empty()) else {
            return;
        };
        let process = &traced.process;
        let (Ok(maps), Ok(memory)) = (process.maps(), Memory::open(process.pid)) else { return };
        let look = || StartedWith(old_space_limit(process.pid, &process.cmdline));
        let StartedWith(started_with) = *traced.heaps.started_with.get_or_insert_with(look);
        let mut told = Vec::new();
        for (&heap, known) in &mut traced.heaps.limits {
            let computed = traced.attached.v8().iter().find_map(|v8| v8.heap_limit(heap, &maps, &memory));
            let source = if computed.is_some() { "v8" } else { "--max-old-space-size" };
            let Some(limit_bytes) = computed.or(started_with) else { continue };
            if known.replace(limit_bytes) != Some(limit_bytes) {
                told.push(Fact::HeapLimit { process: index, heap, limit_bytes, source: source.to_owned() });
            }
        }
        for fact in told {
            self.engine.tell(fact);
        }
    }
}
