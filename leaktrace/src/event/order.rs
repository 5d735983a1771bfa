//! Checks that the events of each thread come in the order of their times.
//!
//! One ring serves all CPUs, and the kernel hands out its slots in the order of reservation: events of one thread,
//! and of one address (a block is freed at the entry of `free` and handed out at the return of `malloc`), are in
//! order without sorting. Times of different threads may cross by the moment between the clock and the reservation.

use leaktrace_common::Header;

const SLOTS: usize = 256;

/// Counts events that are older than the one before them of the same thread: a sign of a bug on the kernel side or
/// of a damaged recording.
///
/// Remembers one thread a slot, so that it costs the same for any number of threads; a thread pushed out of its slot
/// by another is simply not checked once.
#[derive(Clone, Debug)]
pub struct OrderCheck {
    last: Box<[(u32, u64); SLOTS]>,
    out_of_order: u64,
}

impl Default for OrderCheck {
    fn default() -> Self {
        Self { last: Box::new([(0, 0); SLOTS]), out_of_order: 0 }
    }
}

impl OrderCheck {
    /// Looks at the next event of the stream.
    #[inline]
    pub fn observe(&mut self, header: &Header) {
        // The slot index is below SLOTS by construction, so this never misses.
        let Some(slot) = self.last.get_mut(header.tid as usize % SLOTS) else { return };
        let (tid, time_ns) = *slot;
        if tid == header.tid && header.time_ns < time_ns {
            self.out_of_order += 1;
        } else {
            *slot = (header.tid, header.time_ns);
        }
    }

    /// Events that were older than their predecessor, since the start.
    pub const fn out_of_order(&self) -> u64 {
        self.out_of_order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(check: &mut OrderCheck, tid: u32, time_ns: u64) {
        check.observe(&Header { kind: 1, function: 0, process: 0, tid, time_ns });
    }

    #[test]
    fn threads_may_cross_but_no_thread_goes_back() {
        let mut check = OrderCheck::default();
        observe(&mut check, 1, 100);
        observe(&mut check, 2, 90);
        observe(&mut check, 1, 100);
        assert_eq!(check.out_of_order(), 0);
        observe(&mut check, 2, 89);
        observe(&mut check, 1, 99);
        assert_eq!(check.out_of_order(), 2);
        observe(&mut check, 1, 100);
        assert_eq!(check.out_of_order(), 2);
    }
}
