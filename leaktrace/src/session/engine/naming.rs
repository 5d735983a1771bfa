//! Names of call sites: asked for off the event path, for the sites that are shown and those that go to a file.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::thread::EventThread;
use crate::symbol::{QUEUE_LIMIT, Request};

/// Names of new large sites are asked for this often.
pub(super) const NAMES_EVERY: Duration = Duration::from_millis(200);
/// How long the end waits for names that were asked for.
const NAMES_AT_END: Duration = Duration::from_secs(3);
/// The same where a file is to tell of all call sites.
const ALL_NAMES_AT_END: Duration = Duration::from_secs(10);
/// Of call sites that nobody sees so many are asked for at once: those that are shown must not wait for long.
const UNSEEN_AT_ONCE: usize = 256;

impl EventThread {
    pub(super) fn ask_for_names(&mut self) {
        if Instant::now() < self.names_due {
            return;
        }
        self.names_due = Instant::now() + NAMES_EVERY;
        for (process, site, addresses) in self.pipeline.unnamed_sites() {
            let Some(watched) = self.processes.get(&process) else { continue };
            let generation = watched.generation;
            let request = Request { process, pid: watched.pid, site, generation, addresses };
            if !self.symbolizer.request(request) {
                break;
            }
        }
        // Those that are shown come first.
        if self.symbolizer.queue_len() == 0 {
            self.ask_for_unseen(UNSEEN_AT_ONCE);
        }
    }

    fn ask_for_unseen(&mut self, most: usize) {
        let mut left = most;
        for process in self.processes.keys().copied().collect::<Vec<_>>() {
            left = left.saturating_sub(self.ask_for_all_names(process, left));
        }
    }

    /// Asks for the names of so many sites of a process that nobody sees, where a file is to tell of them. Gives how many
    /// were asked for.
    pub(super) fn ask_for_all_names(&mut self, process: u16, most: usize) -> usize {
        let wanted = !self.stacks.is_none() && most > 0;
        let Some(watched) = self.processes.get(&process).filter(|_| wanted) else { return 0 };
        let (pid, generation) = (watched.pid, watched.generation);
        let unnamed = self.pipeline.unnamed_for_stacks(process, most);
        let count = unnamed.len();
        for (site, addresses) in unnamed {
            if !self.symbolizer.request(Request { process, pid, site, generation, addresses }) {
                break;
            }
            self.quiet.insert(site);
        }
        count
    }

    /// Waits for the names that are missing, though not for ever.
    pub(super) async fn wait_for_names(&mut self) {
        self.names_due = Instant::now();
        self.ask_for_names();
        let patience = if self.stacks.is_none() { NAMES_AT_END } else { ALL_NAMES_AT_END };
        let deadline = Instant::now() + patience;
        loop {
            while self.symbolizer.queue_len() > 0 && Instant::now() < deadline {
                sleep(Duration::from_millis(5)).await;
            }
            self.take_facts();
            self.ask_for_unseen(QUEUE_LIMIT);
            if self.symbolizer.queue_len() == 0 || Instant::now() >= deadline {
                return;
            }
        }
    }
}
