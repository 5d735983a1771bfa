//! The thread that finds names, and its queue.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::resolver::Resolver;
use super::{Options, Request, Resolved};

/// Requests that may wait.
pub const QUEUE_LIMIT: usize = 4096;
/// Requests answered at once. A stack of 32 new addresses takes 4 ms in a large program, and the first table must come
/// within a second.
const BATCH_LIMIT: usize = 64;
/// Demanglers recurse into names that the target made.
const STACK_BYTES: usize = 16 << 20;

#[derive(Debug)]
enum Job {
    Resolve(Request),
    Forget(u16),
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Requests taken out but not answered yet.
    working: usize,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    panics: AtomicU64,
}

impl Shared {
    /// Held only to move requests in and out, never while names are looked up.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds names on a thread of its own. Dropping it discards what is queued and lets the thread end after its batch.
#[derive(Debug)]
pub struct Symbolizer {
    shared: Arc<Shared>,
}

impl Symbolizer {
    /// Starts the thread; `deliver` is called on it with each answer, in no promised order.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(options: Options, deliver: impl Fn(Resolved) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("leaktrace-names".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&worker, options, deliver))?;
        Ok(Self { shared })
    }

    /// Asks for a stack's names. False when the queue is full: ask again later.
    pub fn request(&self, request: Request) -> bool {
        let mut queue = self.shared.queue();
        if queue.jobs.len() >= QUEUE_LIMIT {
            return false;
        }
        queue.jobs.push_back(Job::Resolve(request));
        drop(queue);
        self.shared.wake.notify_one();
        true
    }

    /// Drops what is kept about a process, after the requests made before this call are answered.
    pub fn forget(&self, process: u16) {
        self.shared.queue().jobs.push_back(Job::Forget(process));
        self.shared.wake.notify_one();
    }

    /// Requests not answered yet; 0 when all names are delivered.
    pub fn queue_len(&self) -> usize {
        let queue = self.shared.queue();
        queue.jobs.len() + queue.working
    }

    /// How many times reading a file of the target panicked; names of that file are missing.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }
}

impl Drop for Symbolizer {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.closed = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.wake.notify_one();
    }
}

fn run(shared: &Shared, options: Options, deliver: impl Fn(Resolved)) {
    let mut resolver = Resolver::new(options);
    while let Some(work) = next(shared) {
        match work {
            Work::Batch(batch) => {
                for resolved in resolver.resolve(&batch) {
                    deliver(resolved);
                }
                shared.panics.store(resolver.panics, Ordering::Relaxed);
                shared.queue().working = 0;
            }
            Work::Forget(process) => resolver.forget(process),
        }
    }
}

enum Work {
    Batch(Vec<Request>),
    Forget(u16),
}

/// Waits for work; none when the symbolizer was dropped.
fn next(shared: &Shared) -> Option<Work> {
    let mut queue = shared.queue();
    loop {
        if queue.closed {
            return None;
        }
        match queue.jobs.pop_front() {
            Some(Job::Resolve(first)) => {
                let batch = take_batch(&mut queue.jobs, first);
                queue.working = batch.len();
                return Some(Work::Batch(batch));
            }
            Some(Job::Forget(process)) => return Some(Work::Forget(process)),
            None => queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Takes the requests of the same process and generation out of the queue, up to where that process is forgotten.
fn take_batch(jobs: &mut VecDeque<Job>, first: Request) -> Vec<Request> {
    let (process, pid, generation) = (first.process, first.pid, first.generation);
    let mut batch = vec![first];
    let mut ended = false;
    for job in std::mem::take(jobs) {
        match job {
            Job::Resolve(request)
                if !ended
                    && batch.len() < BATCH_LIMIT
                    && (request.process, request.pid, request.generation) == (process, pid, generation) =>
            {
                batch.push(request);
            }
            other => {
                ended |= matches!(other, Job::Forget(gone) if gone == process);
                jobs.push_back(other);
            }
        }
    }
    batch
}
