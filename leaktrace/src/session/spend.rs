//! What tracing takes from the processes, by estimate: hits of probes times their price. Pure.

/// Functions are numbered by a byte.
const FUNCTIONS: usize = 256;

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
}

impl Default for Spend {
    fn default() -> Self {
        let free = [0; FUNCTIONS];
        Self { record_ns: free, passed_ns: free, seen: [0; FUNCTIONS], ns: 0, passed_calls: 0 }
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

    /// A record came.
    #[inline]
    pub(super) fn record(&mut self, function: u8) {
        self.ns = self.ns.saturating_add(u64::from(self.record_ns[usize::from(function)]));
    }

    /// So many calls were not told, since attach.
    pub(super) fn passed(&mut self, calls: &[(u8, u64)]) {
        for &(function, calls) in calls {
            let index = usize::from(function);
            let new = calls.saturating_sub(self.seen[index]);
            self.seen[index] = self.seen[index].max(calls);
            self.passed_calls = self.passed_calls.saturating_add(new);
            self.ns = self.ns.saturating_add(new.saturating_mul(u64::from(self.passed_ns[index])));
        }
    }

    /// Nanoseconds of this interval.
    pub(super) const fn ns(&self) -> u64 {
        self.ns
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
            spend.record(function);
        }
        spend.passed(&[(1, 100), (9, 5)]);
        assert_eq!((spend.ns(), spend.passed_calls()), (4800 + 90_000, 105));
        spend.begin_interval();
        // Counts are since attach, and a recording may hold any.
        spend.passed(&[(1, 110), (9, 5)]);
        spend.passed(&[(1, 3)]);
        assert_eq!((spend.ns(), spend.passed_calls()), (9000, 10));
        spend.passed(&[(1, u64::MAX)]);
        assert_eq!(spend.ns(), u64::MAX);
    }
}
