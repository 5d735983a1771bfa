//! Following: exec, dlopen and children change what a trace has to look at.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

use super::{
    attach::{Attached, Attacher},
    engine::{Happening, code_ranges},
    heap_walk::live::Walks,
    input::Fact,
    safety::decide_returns,
    supervisor::{Supervisor, Traced},
    v8::Heaps,
};
use crate::{
    error::Failure,
    output::record::Level,
    target::{find, maps::Mapping, pages::PageReader, process::Process},
};

/// After exec the loader maps the new image's libraries: it is looked at again after these times.
const LOOKS_AFTER_EXEC: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
];
impl Supervisor {
    pub(super) fn see_to(&mut self, happening: Happening) {
        match happening {
            Happening::Held(blocks) => self.samples_begin(blocks.as_deref()),
            Happening::Fork => {
                if self.children {
                    self.follow_children();
                }
            }
            Happening::Exec(index) => {
                if let Some(traced) = self.processes.get_mut(&index)
                    && let Ok(process) = Process::open(traced.process.pid)
                {
                    traced.process = process;
                    (traced.heaps, traced.pages) = (Heaps::default(), PageReader::default());
                    traced.walks = Walks::of_new_image();
                    let comm = traced.process.comm.clone();
                    self.engine.tell(Fact::Renamed { process: index, comm });
                }
                let now = Instant::now();
                self.looks.extend(LOOKS_AFTER_EXEC.map(|after| (now + after, index)));
            }
            Happening::ObjectsChanged(index) => {
                if let Some(traced) = self.processes.get_mut(&index) {
                    traced.walks.code_changed();
                }
                self.look(index, false);
            }
            Happening::Heap(index, heap) => self.meet_heap(index, heap),
        }
    }

    pub(super) fn look_again(&mut self) {
        let now = Instant::now();
        let due: Vec<u16> = self.looks.iter().filter(|(at, _)| *at <= now).map(|(_, index)| *index).collect();
        self.looks.retain(|(at, _)| *at > now);
        for index in due {
            // The last look after an exec sees all that the loader mapped.
            let is_settled = self.looks.iter().all(|(_, pending)| *pending != index);
            self.look(index, is_settled);
        }
    }

    /// Looks at what a process has mapped, and probes what is new.
    ///
    /// Only where its mappings are settled, probes in files that are mapped no more are let go: at any other moment an
    /// exec may be under way of which we have not heard, and the libraries to come keep their probes.
    fn look(&mut self, index: u16, is_settled: bool) {
        let Some(traced) = self.processes.get_mut(&index) else { return };
        let Ok(maps) = traced.process.maps() else { return };
        // At once: placing probes takes a while, and then these would be the mappings of some time ago.
        self.engine.tell(Fact::Code { process: index, ranges: code_ranges(&maps) });
        self.under_way.attaching(&self.attacher.programs.losses());
        let found = self.attacher.look(
            &traced.process,
            index,
            traced.returns,
            &maps,
            is_settled,
            &mut traced.attached,
        );
        let pid = traced.process.pid;
        // Right after exec nothing but the program and its loader is mapped: the next look may find more.
        let found = found.map_err(|error| traced.why_not = Some(error.message));
        self.under_way.attached();
        self.engine.copies_stacks(index, traced.attached.copies_stacks());
        if let Ok(found) = found {
            self.tell_found(index, pid, &found, false);
        }
        if is_settled {
            self.tell_why_not(index);
        }
    }

    /// Tells, once, why nothing of a process is seen.
    fn tell_why_not(&mut self, index: u16) {
        let Some(traced) = self.processes.get_mut(&index) else { return };
        let (pid, sees_calls) = (traced.process.pid, traced.attached.sees_calls());
        if let Some(why) = traced.why_not.take().filter(|_| !sees_calls) {
            self.notice(pid, Level::Warning, "child_not_traced", why);
        }
    }

    /// Attaches to descendants of the traced processes that are not traced yet.
    pub(super) fn follow_children(&mut self) {
        let known: Vec<u32> = self.processes.values().map(|traced| traced.process.pid).collect();
        let mut unknown: Vec<u32> = known.iter().flat_map(|&pid| find::children(pid)).collect();
        while let Some(pid) = unknown.pop() {
            if self.processes.values().any(|traced| traced.process.pid == pid) {
                continue;
            }
            if self.follow(pid) {
                unknown.extend(find::children(pid));
            }
        }
    }

    /// Attaches to one child; `false` where that cannot be.
    fn follow(&mut self, pid: u32) -> bool {
        // It may be gone already, or a leaktrace that was started by the target.
        let Ok(process) = Process::open(pid) else { return false };
        let Some(index) = self.free_index() else {
            self.notice(
                pid,
                Level::Warning,
                "too_many_processes",
                "too many processes were traced: this one is not".to_owned(),
            );
            return false;
        };
        let Ok(maps) = process.maps() else { return false };
        let decided = decide_returns(&process, &self.system, &mut self.attacher, self.plain_probes);
        let Ok((returns, _)) = decided else { return false };
        // Before the tracepoints report on it: a record of a process that is not known would be lost.
        for fact in process_facts(index, &process, &maps, false) {
            self.engine.tell(fact);
        }
        if watch(&mut self.attacher, pid, index).is_err() {
            self.engine.tell(Fact::Gone { process: index, t: self.clock.t() });
            return false;
        }
        let mut attached = Attached::default();
        self.under_way.attaching(&self.attacher.programs.losses());
        let found = self.attacher.look(&process, index, returns, &maps, true, &mut attached);
        self.under_way.attached();
        self.engine.copies_stacks(index, attached.copies_stacks());
        let mut why_not = None;
        match found {
            Ok(found) => {
                let allocators: Vec<&str> = found.allocators.iter().map(|one| one.kind.name()).collect();
                let sentence =
                    format!("{} {pid} is traced as well ({})", process.comm, allocators.join(", "));
                self.notice(pid, Level::Info, "child_followed", sentence);
                self.tell_found(index, pid, &found, true);
            }
            Err(error) => why_not = Some(error.message),
        }
        // It may be on its way to another image, with its libraries not mapped yet.
        let now = Instant::now();
        self.looks.extend(LOOKS_AFTER_EXEC.map(|after| (now + after, index)));
        self.processes.insert(index, Traced::new(process, returns, attached, why_not));
        true
    }

    fn free_index(&mut self) -> Option<u16> {
        let index = self.next_index;
        self.next_index = index.checked_add(1)?;
        Some(index)
    }

    /// dlopen is announced by the dynamic linker, but not everybody maps code through it.
    pub(super) fn look_if_changed(&mut self, index: u16) {
        let Some(traced) = self.processes.get(&index) else { return };
        let Ok(maps) = traced.process.maps() else { return };
        if traced.attached.has_new(&maps) {
            self.look(index, false);
        }
    }
}

/// What the pipeline must know of a process before its first event.
pub(super) fn process_facts(index: u16, process: &Process, maps: &[Mapping], is_waiting: bool) -> [Fact; 2] {
    let (pid, comm) = (process.pid, process.comm.clone());
    [
        Fact::Process { process: index, pid, comm, is_waiting },
        Fact::Code { process: index, ranges: code_ranges(maps) },
    ]
}

/// Tells the tracepoints to report on a process.
pub(super) fn watch(attacher: &mut Attacher, pid: u32, index: u16) -> Result<(), Failure> {
    NonZeroU32::new(pid).map_or(Ok(()), |pid| attacher.programs.watch(pid, index))
}
