//! What tracing takes from the processes, by estimate: hits of probes times their price. Pure.

use super::budget::Spent;

/// Functions are numbered by a byte.
const FUNCTIONS: usize = 256;
/// Places for threads.
const THREADS: usize = 64;

/// Hits of an interval, and what they cost.
#[derive(Debug)]
pub(super) struct Spend {
    /// Of a call with its record, by function.
    record_ns: [u32; FUNCTIONS],
    /// Of a call without.
    passed_ns: [u32; FUNCTIONS],
    /// Calls without a record since attach, by function.
    seen: [u64; FUNCTIONS],
    /// Of this interval.
    ns: u64,
    passed_calls: u64,
    /// Since attach.
    total: Spent,
    /// Of this slice, by thread; threads may share a place.
    of_threads: [u64; THREADS],
}

impl Default for Spend {
    fn default() -> Self {
        let free = [0; FUNCTIONS];
        Self {
            record_ns: free,
            passed_ns: free,
            seen: [0; FUNCTIONS],
            ns: 0,
            passed_calls: 0,
            total: Spent::default(),
            of_threads: [0; THREADS],
        }
    }
}

impl Spend {
    /// What a call of a function costs, with a record and without one.
    pub(super) fn prices(&mut self, record_ns: &[(u8, u32)], passed_ns: &[(u8, u32)]) {
        for (table, prices) in [(&mut self.record_ns, record_ns), (&mut self.passed_ns, passed_ns)] {
            for &(function, ns) in prices {
                table[usize::from(function)] = ns;
            }
        }
    }

    /// A record came, by a thread.
    #[inline]
    pub(super) fn record(&mut self, function: u8, tid: u32) {
        let ns = u64::from(self.record_ns[usize::from(function)]);
        self.take(ns, u64::from(self.passed_ns[usize::from(function)]), ns);
        let thread = &mut self.of_threads[tid as usize % THREADS];
        *thread = thread.saturating_add(ns);
    }

    #[inline]
    const fn take(&mut self, ns: u64, least_ns: u64, whole_ns: u64) {
        self.ns = self.ns.saturating_add(ns);
        self.total.ns = self.total.ns.saturating_add(ns);
        self.total.least_ns = self.total.least_ns.saturating_add(least_ns);
        self.total.whole_ns = self.total.whole_ns.saturating_add(whole_ns);
    }

    /// So many calls were not told, since attach.
    pub(super) fn passed(&mut self, calls: &[(u8, u64)]) {
        for &(function, calls) in calls {
            let index = usize::from(function);
            let new = calls.saturating_sub(self.seen[index]);
            self.seen[index] = self.seen[index].max(calls);
            self.passed_calls = self.passed_calls.saturating_add(new);
            let price = |prices: &[u32; FUNCTIONS]| new.saturating_mul(u64::from(prices[index]));
            let (passed_ns, record_ns) = (price(&self.passed_ns), price(&self.record_ns));
            self.take(passed_ns, passed_ns, record_ns);
        }
    }

    /// Nanoseconds of this interval.
    pub(super) const fn ns(&self) -> u64 {
        self.ns
    }

    /// Since attach.
    pub(super) const fn total(&self) -> Spent {
        self.total
    }

    /// A slice begins.
    pub(super) const fn begin_slice(&mut self) {
        self.of_threads = [0; THREADS];
    }

    /// Nanoseconds of this slice, of the thread that gave most.
    pub(super) fn busiest_ns(&self) -> u64 {
        self.of_threads.iter().copied().max().unwrap_or_default()
    }

    /// Calls of this interval that were not told.
    pub(super) const fn passed_calls(&self) -> u64 {
        self.passed_calls
    }

    /// The next interval begins.
    pub(super) const fn begin_interval(&mut self) {
        (self.ns, self.passed_calls) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_cost_with_a_record_and_without_one() {
        let mut spend = Spend::default();
        spend.prices(&[(1, 2000), (2, 800)], &[(1, 900)]);
        for function in [1, 1, 2, 3] {
            spend.record(function, u32::from(function));
        }
        spend.passed(&[(1, 100), (9, 5)]);
        assert_eq!((spend.ns(), spend.passed_calls()), (4800 + 90_000, 105));
        assert_eq!(spend.busiest_ns(), 4000, "of a thread");
        spend.begin_slice();
        let total = Spent { ns: 4800 + 90_000, least_ns: 1800 + 90_000, whole_ns: 4800 + 200_000 };
        assert_eq!((spend.busiest_ns(), spend.total()), (0, total));
        spend.begin_interval();
        // Counts are since attach, and a recording may hold any.
        spend.passed(&[(1, 110), (9, 5)]);
        spend.passed(&[(1, 3)]);
        assert_eq!((spend.ns(), spend.passed_calls()), (9000, 10));
        spend.passed(&[(1, u64::MAX)]);
        assert_eq!(spend.ns(), u64::MAX);
    }
}
