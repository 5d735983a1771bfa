//! Walks during a trace: at its beginning, from time to time, and at its end.

use std::time::{Duration, Instant};

use super::{Ground, Layouts, maps_of, walk_process};
use crate::{
    cli::{CaptureOptions, Only},
    error::Failure,
    heap::{
        FoundBlocks,
        walk::{HeapWalk, WalkedBlock},
    },
    output::{record::Level, walk_record::HeapWalkRecord},
    session::{
        input::{Fact, Part},
        supervisor::Supervisor,
    },
    target::process::Process,
};

/// Walks are at least so far apart,
const LEAST_REST: Duration = Duration::from_secs(10);
/// and so many times as far as the last one took: a hundredth of a CPU.
const REST: u32 = 100;
/// A command that is started is leaktrace itself until its exec, which comes at once.
const UNTIL_EXEC_S: f64 = 0.5;

/// What walks of a trace are for.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct WalkPlan {
    layouts: Layouts,
    /// The smallest blocks that are traced; `None` where none are.
    min_size: Option<u64>,
}

impl WalkPlan {
    /// For the walks of a trace, where it has any.
    pub(in crate::session) fn of(options: &CaptureOptions) -> Option<Self> {
        // Of samples not every free is told, and what is left of the blocks from before would not be known.
        let traces_all = options.only != Only::V8 && options.sample == 0;
        let min_size = traces_all.then_some(options.min_size);
        let layouts = Layouts::chosen(options.walks.heap_walk_untested);
        options.walks.heap_walk.then_some(Self { layouts, min_size })
    }
}

/// When the heap of a process is read next.
#[derive(Debug, Default)]
pub(in crate::session) struct Walks {
    /// Found by the first walk, and anew when the process has loaded other code.
    ground: Option<Ground>,
    next: Option<Instant>,
    /// It cannot be read, and that was told.
    is_hopeless: bool,
    /// Blocks from before the trace were told, or there are none, or they cannot be known.
    knows_before: bool,
}

impl Walks {
    /// Of a program that was seen from its beginning: it has no blocks from before.
    pub(in crate::session) fn of_new_image() -> Self {
        Self { knows_before: true, ..Self::default() }
    }

    /// The process has loaded other code, which may bring an allocator or a runtime.
    pub(in crate::session) fn code_changed(&mut self) {
        self.ground = None;
    }

    fn walk(
        &mut self,
        process: &Process,
        layouts: Layouts,
        visit: &mut dyn FnMut(WalkedBlock),
    ) -> Result<(HeapWalkRecord, Option<HeapWalk>), Failure> {
        let maps = maps_of(process)?;
        let ground = match self.ground.take() {
            Some(ground) => ground,
            None => Ground::of(process, &maps, layouts)?,
        };
        walk_process(process, &maps, self.ground.insert(ground), visit)
    }
}

impl Supervisor {
    /// Reads the heaps that are due; at the end all of them.
    pub(in crate::session) fn walk_heaps(&mut self, is_end: bool) {
        let Some(plan) = self.heap_walk else { return };
        if self.launched.is_some() && self.clock.t() < UNTIL_EXEC_S {
            return;
        }
        for index in self.processes.keys().copied().collect::<Vec<_>>() {
            self.walk_if_due(index, plan, is_end);
        }
    }

    fn walk_if_due(&mut self, index: u16, plan: WalkPlan, is_end: bool) {
        let begin = Instant::now();
        let Some(traced) = self.processes.get_mut(&index) else { return };
        let is_due = is_end || traced.walks.next.is_none_or(|next| next <= begin);
        if !is_due || traced.walks.is_hopeless {
            return;
        }
        // At the end nothing can be learned any more from what was there before.
        let least = plan.min_size.filter(|_| !traced.walks.knows_before && !is_end);
        let mut found = Vec::new();
        if least.is_some() {
            self.engine.tell(Fact::WalkBegins { process: index });
        }
        let walked = traced.walks.walk(&traced.process, plan.layouts, &mut |block| {
            // As of what is allocated: blocks that are too small are not seen.
            if least.is_some_and(|least| block.usable >= least) {
                found.push(block);
            }
        });
        if least.is_some() {
            let heap = walked.as_ref().ok().and_then(|(_, heap)| heap.as_ref());
            // A heap that cannot be read will not be read later, either.
            traced.walks.knows_before = walked.is_ok();
            for fact in blocks_before(index, self.clock.t(), found, heap) {
                self.engine.tell(fact);
            }
        }
        let rest = (begin.elapsed() * REST).max(LEAST_REST);
        traced.walks.next = Instant::now().checked_add(rest);
        match walked {
            Ok((mut walk, _)) => {
                walk.t = self.clock.t();
                self.engine.tell(Fact::HeapWalk { process: index, walk: Box::new(walk) });
            }
            // A process that ends meanwhile tells so itself.
            Err(_) if !traced.process.is_alive() => {}
            Err(failure) => {
                traced.walks.is_hopeless = true;
                let pid = traced.process.pid;
                self.notice(pid, Level::Warning, "heap_not_read", failure.message);
            }
        }
    }
}

/// Blocks that a recording has together.
const TOGETHER: usize = 64 << 10;

/// What is told of the blocks that a walk showed: those in threads' caches are free.
fn blocks_before(process: u16, t: f64, found: Vec<WalkedBlock>, heap: Option<&HeapWalk>) -> Vec<Fact> {
    let Some(heap) = heap else {
        let (blocks, part) = (FoundBlocks::default(), Part::GivenUp);
        return vec![Fact::BlocksBefore { process, t, blocks, part }];
    };
    let mut parts = vec![FoundBlocks::default()];
    for block in found.into_iter().filter(|block| !heap.caches.addresses.contains(&block.address)) {
        if parts.last().is_none_or(|part| part.len() >= TOGETHER) {
            parts.push(FoundBlocks::default());
        }
        if let Some(part) = parts.last_mut() {
            part.push(block);
        }
    }
    let last = parts.len() - 1;
    let part = |at| if at == last { Part::Last } else { Part::More };
    let parts = parts.into_iter().enumerate();
    parts.map(|(at, blocks)| Fact::BlocksBefore { process, t, blocks, part: part(at) }).collect()
}
