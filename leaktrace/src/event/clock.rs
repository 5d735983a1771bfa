//! The clock that the kernel stamps records with.

use rustix::time::{ClockId, clock_gettime};

/// The kernel's monotonic clock, nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
