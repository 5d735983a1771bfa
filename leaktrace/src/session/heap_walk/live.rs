//! Walks during a trace: at its beginning, from time to time, and at its end.

use std::time::{Duration, Instant};

use super::{Layouts, walk_process};
use crate::{
    output::record::Level,
    session::{input::Fact, supervisor::Supervisor},
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
    next: Option<Instant>,
    /// It cannot be read, and that was told.
    is_hopeless: bool,
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
        let walked = walk_process(&traced.process, layouts);
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
