//! Walks during a trace: at its beginning, from time to time, and at its end.

use std::time::{Duration, Instant};

use super::{Ground, Layouts, maps_of, walk_process};
use crate::{
    error::Failure,
    output::{record::Level, walk_record::HeapWalkRecord},
    session::{input::Fact, supervisor::Supervisor},
    target::process::Process,
};

/// Walks are at least so far apart,
const LEAST_REST: Duration = Duration::from_secs(10);
/// and so many times as far as the last one took: a hundredth of a CPU.
const REST: u32 = 100;
/// A command that is started is leaktrace itself until its exec, which comes at once.
const UNTIL_EXEC_S: f64 = 0.5;

/// When the heap of a process is read next.
#[derive(Debug, Default)]
pub(in crate::session) struct Walks {
    /// Found by the first walk, and anew when the process has loaded other code.
    ground: Option<Ground>,
    next: Option<Instant>,
    /// It cannot be read, and that was told.
    is_hopeless: bool,
}

impl Walks {
    /// The process has loaded other code, which may bring an allocator or a runtime.
    pub(in crate::session) fn code_changed(&mut self) {
        self.ground = None;
    }

    fn walk(&mut self, process: &Process, layouts: Layouts) -> Result<HeapWalkRecord, Failure> {
        let maps = maps_of(process)?;
        let ground = match self.ground.take() {
            Some(ground) => ground,
            None => Ground::of(process, &maps, layouts)?,
        };
        walk_process(process, &maps, self.ground.insert(ground))
    }
}

impl Supervisor {
    /// Reads the heaps that are due; at the end all of them.
    pub(in crate::session) fn walk_heaps(&mut self, is_end: bool) {
        let Some(layouts) = self.heap_walk else { return };
        if self.launched.is_some() && self.clock.t() < UNTIL_EXEC_S {
            return;
        }
        for index in self.processes.keys().copied().collect::<Vec<_>>() {
            self.walk_if_due(index, layouts, is_end);
        }
    }

    fn walk_if_due(&mut self, index: u16, layouts: Layouts, is_end: bool) {
        let begin = Instant::now();
        let Some(traced) = self.processes.get_mut(&index) else { return };
        let is_due = is_end || traced.walks.next.is_none_or(|next| next <= begin);
        if !is_due || traced.walks.is_hopeless {
            return;
        }
        let walked = traced.walks.walk(&traced.process, layouts);
        let rest = (begin.elapsed() * REST).max(LEAST_REST);
        traced.walks.next = Instant::now().checked_add(rest);
        match walked {
            Ok(mut walk) => {
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
