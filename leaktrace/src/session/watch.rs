//! Detectors of what a trace would otherwise leave out in silence: memory that grows where no probe looks.
//!
//! Fed once a tick with figures; they know no clock and no /proc. Each tells its finding once.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::output::{record::Level, text};

const MIB: u64 = 1 << 20;
/// Growth of anonymous memory without any event, at which the allocator must be elsewhere.
const UNSEEN_GROWTH: u64 = 8 * MIB;
/// Growth of anonymous memory that traced blocks should explain.
const EXPLAINED_GROWTH: u64 = 16 * MIB;
/// So many ticks in a row it must be unexplained: a burst may be freed, or not be counted, at one of them.
const UNEXPLAINED_TICKS: u32 = 5;
/// Growth of a child that is worth a word.
const CHILD_GROWTH: u64 = 8 * MIB;
/// More children are not remembered.
const MAX_CHILDREN: usize = 4096;

/// What is known of a process at a tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observed<'a> {
    /// Resident memory in bytes.
    pub(super) rss_bytes: u64,
    /// Resident anonymous memory in bytes.
    pub(super) anon_bytes: u64,
    /// Traced bytes that are allocated and not freed.
    pub(super) live_bytes: u64,
    /// Allocation events seen from the process so far.
    pub(super) events: u64,
    /// Names of its runtimes that have a heap of their own.
    pub(super) runtimes: &'a [&'a str],
    /// Its descendants that are not traced; empty with `--children`.
    pub(super) untraced_children: &'a [ChildUsage<'a>],
}

/// A child process at a tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChildUsage<'a> {
    /// Its process id.
    pub(super) pid: u32,
    /// Its name, as the kernel keeps it: untrusted.
    pub(super) comm: &'a str,
    /// Its resident memory in bytes.
    pub(super) rss_bytes: u64,
}

/// What a detector found, for a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// How much it matters.
    pub(super) level: Level,
    /// Its stable name.
    pub(super) code: &'static str,
    /// One sentence for people.
    pub(super) message: String,
}

/// The detectors of one process.
#[derive(Debug, Default)]
pub(super) struct Watch {
    first: Baseline,
    /// Resident memory of each child when it was first seen.
    children: BTreeMap<u32, u64>,
    unexplained_ticks: u32,
    is_unseen: bool,
    told: Told,
}

/// Figures at the attach, in bytes.
#[derive(Debug, Default)]
struct Baseline {
    rss: u64,
    anon: u64,
    live: u64,
}

/// What was told already.
#[derive(Debug, Default)]
struct Told {
    no_probe: bool,
    unexplained: bool,
    children: bool,
}

impl Watch {
    /// Begins with what was observed at the attach.
    pub(super) fn new(first: &Observed<'_>) -> Self {
        let mut watch = Self::default();
        watch.restart(first);
        watch
    }

    /// Measures growth from here on: the process has replaced its image. What was told is not told again.
    pub(super) fn restart(&mut self, first: &Observed<'_>) {
        self.first = Baseline { rss: first.rss_bytes, anon: first.anon_bytes, live: first.live_bytes };
        self.children.clear();
        (self.unexplained_ticks, self.is_unseen) = (0, false);
        self.meet_children(first);
    }

    /// Takes the figures of a tick; gives what is to be told now.
    pub(super) fn tick(&mut self, now: &Observed<'_>) -> Vec<Finding> {
        self.meet_children(now);
        let findings = [self.no_probe_fires(now), self.growth_not_explained(now), self.children_grow(now)];
        findings.into_iter().flatten().collect()
    }

    /// Whether, at the last tick, memory grew of which the traced blocks explain less than half.
    pub(super) const fn is_growth_unexplained(&self) -> bool {
        self.is_unseen || self.unexplained_ticks >= UNEXPLAINED_TICKS
    }

    /// Forgets children that are gone, and remembers what new ones use.
    fn meet_children(&mut self, now: &Observed<'_>) {
        let present: BTreeMap<u32, u64> =
            now.untraced_children.iter().map(|child| (child.pid, child.rss_bytes)).collect();
        self.children.retain(|pid, _| present.contains_key(pid));
        for (pid, rss_bytes) in present {
            if self.children.len() < MAX_CHILDREN {
                self.children.entry(pid).or_insert(rss_bytes);
            }
        }
    }

    fn no_probe_fires(&mut self, now: &Observed<'_>) -> Option<Finding> {
        let growth = now.anon_bytes.saturating_sub(self.first.anon);
        self.is_unseen = now.events == 0 && growth >= UNSEEN_GROWTH;
        if !self.is_unseen || std::mem::replace(&mut self.told.no_probe, true) {
            return None;
        }
        let message = format!(
            "memory grows but no probe fires: {} of anonymous memory came since the attach without one allocation \
             event, so the allocator is elsewhere{}; see `leaktrace doctor`, or name it by --object or --symbols-prefix",
            text::bytes(growth),
            of_runtimes(now.runtimes)
        );
        Some(Finding { level: Level::Warning, code: "no_probe_fires", message })
    }

    fn growth_not_explained(&mut self, now: &Observed<'_>) -> Option<Finding> {
        let growth = now.anon_bytes.saturating_sub(self.first.anon);
        let traced = now.live_bytes.saturating_sub(self.first.live);
        // Without any event the other detector has the better answer.
        let is_unexplained = now.events > 0 && growth >= EXPLAINED_GROWTH && traced < growth / 2;
        self.unexplained_ticks = if is_unexplained { self.unexplained_ticks.saturating_add(1) } else { 0 };
        if self.unexplained_ticks < UNEXPLAINED_TICKS || std::mem::replace(&mut self.told.unexplained, true) {
            return None;
        }
        let message = format!(
            "most growth is not explained by what is traced: anonymous memory grew by {} since the attach, traced \
             blocks by {}; the rest is fragmentation, mappings or a heap that is not traced{}",
            text::bytes(growth),
            text::bytes(traced),
            of_runtimes(now.runtimes)
        );
        Some(Finding { level: Level::Warning, code: "growth_not_explained", message })
    }

    fn children_grow(&mut self, now: &Observed<'_>) -> Option<Finding> {
        let own = now.rss_bytes.saturating_sub(self.first.rss);
        let growth = |child: &&ChildUsage<'_>| {
            let first = self.children.get(&child.pid).copied();
            first.map_or(0, |first| child.rss_bytes.saturating_sub(first))
        };
        let largest = now.untraced_children.iter().max_by_key(growth)?;
        let grown = growth(&largest);
        if grown < CHILD_GROWTH || grown <= own || std::mem::replace(&mut self.told.children, true) {
            return None;
        }
        let message = format!(
            "child process {} ({}) grew by {}, the target by {}: use --children to trace it too, or --pid {}",
            largest.pid,
            largest.comm,
            text::bytes(grown),
            text::bytes(own),
            largest.pid
        );
        Some(Finding { level: Level::Warning, code: "children_grow", message })
    }
}

/// Names the runtimes whose heaps may hold what is not seen.
fn of_runtimes(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        names => format!(" ({}: it keeps a heap of its own)", names.join(", ")),
    }
}
