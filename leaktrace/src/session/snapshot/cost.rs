//! What a snapshot costs the process, and whether there is memory for it.

use std::{fmt, io};

use crate::{
    output::text,
    target::{limit::Limits, usage::Usage},
};

/// What is known before a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Anonymous memory of the process: its JavaScript heap is at most that.
    heap_at_most: u64,
    /// Memory that the machine can give (`MemAvailable`).
    available: Option<u64>,
    /// What the nearest limit of the process leaves, and its name.
    headroom: Option<(u64, &'static str)>,
}

impl Cost {
    /// Looks at a process and its surroundings.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let heap_at_most = Usage::read(pid)?.rss_anon;
        let limit = Limits::new().nearest(pid);
        let headroom = limit.map(|limit| (limit.headroom_bytes, limit.name));
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Ok(Self { heap_at_most, available: available(&meminfo), headroom })
    }

    /// Why there may not be memory enough: as much again as the heap takes, in the worst case.
    pub(super) fn is_too_high(&self) -> Option<String> {
        let need = self.heap_at_most;
        let needs = text::bytes(need);
        if let Some((left, name)) = self.headroom.filter(|(left, _)| *left < need) {
            return Some(format!(
                "it may need {needs} more, and its limit {name} leaves {}",
                text::bytes(left)
            ));
        }
        let available = self.available.filter(|available| *available < need)?;
        Some(format!("it may need {needs} more, and the machine has {} left", text::bytes(available)))
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a snapshot stops its event loop, about a second for each 50 MB of its heap, and may need {} more memory",
            text::bytes(self.heap_at_most)
        )
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[rstest]
    #[case(Some(500), Some(500), None)]
    #[case(Some(100), Some(100), None)]
    #[case(None, None, None)]
    #[case(Some(99), None, Some("the machine has"))]
    #[case(Some(500), Some(99), Some("memory.max"))]
    #[case(Some(0), Some(0), Some("memory.max"))]
    fn memory_must_suffice_for_the_heap_again(
        #[case] available: Option<u64>,
        #[case] headroom: Option<u64>,
        #[case] why: Option<&str>,
    ) {
        let cost = Cost {
            heap_at_most: 100 * MIB,
            available: available.map(|mib| mib * MIB),
            headroom: headroom.map(|mib| (mib * MIB, "memory.max")),
        };
        let said = cost.is_too_high();
        assert_eq!(said.is_some(), why.is_some(), "{said:?}");
        assert!(said.unwrap_or_default().contains(why.unwrap_or_default()));
    }

    #[test]
    fn what_the_machine_has_is_read() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 * MIB));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert!(Cost::of(std::process::id()).unwrap().available.is_some());
    }
}
