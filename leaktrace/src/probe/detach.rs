//! Taking probes away.
//!
//! The kernel cannot take a probe out of a process in a thread that is about to be killed, as all threads are when their
//! process ends: it says `failed to unregister, leaking uprobe`, and the breakpoint stays for good. So this process must not end
//! before they are done.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    thread::{self, Builder, JoinHandle},
};

use rustix::process::setpriority_process;

use super::links::Link;

/// How many threads take probes away.
static UNDER_WAY: Mutex<usize> = Mutex::new(0);
static ONE_IS_DONE: Condvar = Condvar::new();

/// A thread that takes probes away, while it does.
struct UnderWay;

impl UnderWay {
    fn begin() -> Self {
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ONE_IS_DONE.notify_all();
    }
}

/// From now on the calling thread waits for a CPU behind nobody, nor do those that it starts. Where all CPUs are wanted, probes
/// would else stay for half as long again, at the target's cost: closing links is a few moments' work between long waits.
pub fn make_haste() {
    const FIRST: i32 = -20;
    // On Linux that is of the thread alone. Where it is refused, all takes longer.
    let _ = setpriority_process(None, FIRST);
}

/// Waits until all that was [begun aside](detach_aside) is done. Before the process ends, whatever its end.
pub fn wait_for_all() {
    let mut under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
    while *under_way > 0 {
        under_way = ONE_IS_DONE.wait(under_way).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Takes probes away on a thread of its own; `None` where there are none, or they were taken away here.
pub fn detach_aside(links: Vec<Box<dyn Link>>) -> Option<JoinHandle<()>> {
    if links.is_empty() {
        return None;
    }
    let under_way = UnderWay::begin();
    let detach = move || {
        make_haste();
        detach_all(links);
        drop(under_way);
    };
    // Where no thread can be started, the closure is dropped here, and the links with it.
    Builder::new().name("detach".to_owned()).spawn(detach).ok()
}

/// Takes many probes away at once.
///
/// Closing a link waits for a grace period of the kernel, however many wait beside it: so they wait together.
pub fn detach_all(links: Vec<Box<dyn Link>>) {
    const AT_ONCE: usize = 64;
    let mut links = links;
    while !links.is_empty() {
        let batch = links.split_off(links.len().saturating_sub(AT_ONCE));
        thread::scope(|scope| {
            for link in batch {
                // A thread that cannot be started drops its closure, and with it the link, here.
                let _ = Builder::new().name("detach".into()).spawn_scoped(scope, move || drop(link));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use super::*;

    /// A link that takes its time to go.
    struct Slow(Arc<AtomicUsize>);

    impl Link for Slow {}

    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(50));
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn nothing_is_left_once_it_was_waited_for() {
        let gone = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let links = (0..100).map(|_| Box::new(Slow(Arc::clone(&gone))) as Box<dyn Link>);
            assert!(detach_aside(links.collect()).is_some());
        }
        assert!(detach_aside(Vec::new()).is_none());
        wait_for_all();
        assert_eq!(gone.load(Ordering::Relaxed), 300);
    }
}
