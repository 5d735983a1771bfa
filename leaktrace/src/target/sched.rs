//! How long the threads of a process ran, and how long they waited for a CPU while they could have run.

use std::fs;

/// More threads are not asked.
const MOST_THREADS: usize = 64;

/// Time of threads since they began, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// On a CPU.
    pub run_ns: u64,
    /// Waiting for one.
    pub wait_ns: u64,
}

impl CpuTime {
    /// Of the threads of a process, the first 64 of them; nothing where the kernel does not tell.
    pub fn of_process(pid: u32) -> Self {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Self::default() };
        let times = tasks
            .flatten()
            .take(MOST_THREADS)
            .filter_map(|task| parse(&fs::read_to_string(task.path().join("schedstat")).ok()?));
        times.fold(Self::default(), Self::plus)
    }

    /// Of two together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_add(other.run_ns),
            wait_ns: self.wait_ns.saturating_add(other.wait_ns),
        }
    }

    /// Of the time since `before` in which threads could have run, the share in which they did; 1 where nothing is known.
    pub fn run_share(self, before: Self) -> f64 {
        let run = self.run_ns.saturating_sub(before.run_ns) as f64;
        let wait = self.wait_ns.saturating_sub(before.wait_ns) as f64;
        if run > 0.0 { run / (run + wait) } else { 1.0 }
    }
}

/// Time on a CPU, time waiting, and how often.
fn parse(schedstat: &str) -> Option<CpuTime> {
    let mut words = schedstat.split_ascii_whitespace();
    let mut number = || words.next()?.parse().ok();
    Some(CpuTime { run_ns: number()?, wait_ns: number()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_no_running() {
        let before = parse("1000 200 7\n").unwrap();
        assert_eq!(before, CpuTime { run_ns: 1000, wait_ns: 200 });
        let now = before.plus(CpuTime { run_ns: 300, wait_ns: 100 });
        assert!((now.run_share(before) - 0.75).abs() < 1e-9);
        assert!((before.run_share(now) - 1.0).abs() < 1e-9, "it ended");
        assert_eq!(parse("1000"), None);
        assert!(CpuTime::of_process(std::process::id()).run_ns > 0);
        assert_eq!(CpuTime::of_process(u32::MAX), CpuTime::default());
    }
}
