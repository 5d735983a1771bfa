//! One process of a trace: its heap, and what was told of it.

use super::{
    input::Part,
    input::ProcessUsage,
    names::Names,
    parts::Parts,
    slack::Slack,
    v8::V8State,
    watch::{ChildUsage, Finding, Observed, Watch},
};
use crate::{
    heap::{FoundBlocks, Series, Site, Tracker},
    output::{
        record::{BeforeAttach, Fragmentation, Mapped, ProcessSummary},
        walk_record::{HeapSize, HeapWalkRecord},
    },
    symbol::Frame,
    verdict::Samples,
};

/// One process of the trace.
pub(super) struct Traced {
    pub(super) pid: u32,
    pub(super) comm: String,
    pub(super) tracker: Tracker,
    pub(super) code: Vec<(u64, u64)>,
    pub(super) usage: Option<ProcessUsage>,
    /// The history of its resident set.
    pub(super) resident: Series,
    /// The history of what the trace can account for, at the same moments: live blocks, mappings, V8's heaps.
    pub(super) accounted: Series,
    pub(super) runtimes: Vec<String>,
    /// V8's heaps, where it has some.
    pub(super) v8: V8State,
    /// How its heap is used, by the last walk through it.
    pub(super) fragmentation: Option<Fragmentation>,
    /// What its resident set is made of.
    pub(super) parts: Parts,
    /// The free memory of its heap over time.
    pub(super) slack: Slack,
    /// From the first tick on.
    pub(super) watch: Option<Watch>,
    /// It has yet to become the command that is to be traced.
    pub(super) is_waiting: bool,
    pub(super) gone: bool,
}

/// What a walk tells of how a heap is used; nothing where it could not be read.
pub(super) fn fragmentation(walk: &HeapWalkRecord) -> Option<Fragmentation> {
    let heap = walk.heap.as_ref()?;
    let found = &heap.fragmentation;
    Some(Fragmentation {
        t: walk.t,
        utilisation: found.utilisation,
        external: found.external,
        resident_bytes: found.resident_bytes,
        free_bytes: heap.free_bytes,
        compaction_bytes: found.compaction_bytes,
        trimmable_bytes: found.trimmable_bytes,
        coverage: heap.coverage,
    })
}

/// The stack of a site, by name where names are known, else by address.
pub(super) fn stack_of(traced: Option<&Traced>, site: u32, names: &Names) -> Vec<Frame> {
    if let Some(names) = names.get(site) {
        return names.stack();
    }
    traced.and_then(|traced| traced.tracker.site(site)).map_or_else(Vec::new, bare_stack)
}

/// The stack of a site by address.
pub(super) fn bare_stack(site: &Site) -> Vec<Frame> {
    site.frames().iter().copied().map(by_address).collect()
}

/// A frame of which nothing else is known.
pub(super) fn by_address(address: u64) -> Frame {
    Frame {
        function: None,
        module: None,
        file: None,
        line: None,
        column: None,
        address: format!("{address:#x}"),
        offset: None,
        inlined: false,
    }
}

impl Traced {
    /// What it mapped directly, as the output shows it.
    pub(super) fn mapped(&self) -> Mapped {
        let totals = self.tracker.mappings().totals();
        Mapped {
            live_bytes: totals.live_bytes,
            live_count: totals.live_count,
            peak_live_bytes: totals.peak_live_bytes,
            reserved_bytes: totals.reserved_bytes,
            maps: totals.maps,
            unmaps: totals.unmaps,
            mapped_bytes: totals.mapped_bytes,
            unmapped_bytes: totals.unmapped_bytes,
            unknown_unmaps: totals.unknown_unmaps,
        }
    }

    /// What the figures of this tick show that the live blocks do not.
    ///
    /// Where the trace looks in slices, growth may be so many times what is estimated of it: `slowed`.
    pub(super) fn findings(&mut self, slowed: f64) -> Vec<Finding> {
        // Where no allocation is traced, that none is seen is no finding.
        let Some(usage) = self.usage.as_ref().filter(|_| !self.v8.is_only()) else { return Vec::new() };
        let (totals, mapped) = (self.tracker.totals(), self.tracker.mappings().totals());
        let runtimes: Vec<&str> = self.runtimes.iter().map(String::as_str).collect();
        let children: Vec<ChildUsage<'_>> = usage
            .untraced_children
            .iter()
            .map(|child| ChildUsage { pid: child.pid, comm: &child.comm, rss_bytes: child.rss_bytes })
            .collect();
        let unseen =
            self.tracker.grown_in_slices().map_or(0.0, |grown| grown.given_bytes.max(0.0) * (slowed - 1.0));
        let now = Observed {
            rss_bytes: usage.rss_bytes,
            anon_bytes: usage.split.anon_bytes,
            live_bytes: self.held_bytes().saturating_add(self.v8.grown_bytes()).saturating_add(unseen as u64),
            events: totals.allocs.saturating_add(totals.unknown_frees).saturating_add(mapped.maps),
            runtimes: &runtimes,
            untraced_children: &children,
        };
        match &mut self.watch {
            Some(watch) => watch.tick(&now),
            first => {
                *first = Some(Watch::new(&now));
                Vec::new()
            }
        }
    }

    /// Takes over what was seen of the process at time `t`, if it was.
    pub(super) fn used(&mut self, t: f64, usage: &ProcessUsage) {
        self.resident.push(t, usage.rss_bytes);
        // Of V8's heaps only what is reachable: the rest is garbage, and no leak of the resident set.
        self.accounted.push(t, self.held_bytes().saturating_add(self.v8.kept_bytes()));
        self.usage = Some(usage.clone());
    }

    /// Live blocks and mappings.
    fn held_bytes(&self) -> u64 {
        let mapped = self.tracker.mappings().totals().live_bytes;
        self.tracker.totals().live_bytes.saturating_add(mapped)
    }

    /// Takes over blocks from before the trace; `false` where they cannot be trusted.
    pub(super) fn take_found(&mut self, blocks: &FoundBlocks, part: Part, now_ns: u64) -> bool {
        let mut is_taken = true;
        if !blocks.is_empty() {
            is_taken = self.tracker.take_found(blocks, now_ns);
            self.parts.is_whole = is_taken;
        }
        if part == Part::GivenUp {
            self.tracker.walk_given_up();
        }
        if part == Part::Last {
            self.tracker.walk_ended();
            // What was there before they were known is not to be compared with what is known now.
            self.watch = None;
            self.resident = Series::default();
            self.accounted = Series::default();
        }
        is_taken
    }

    /// The blocks from before the trace, as the output shows them.
    pub(super) fn before_attach(&self) -> Option<BeforeAttach> {
        let (id, sizes) = self.tracker.before()?;
        let (site, totals) = (self.tracker.site(id)?, self.tracker.totals());
        let sizes =
            sizes.iter().map(|(up_to, class)| HeapSize { up_to, count: class.blocks, bytes: class.bytes });
        Some(BeforeAttach {
            site: id,
            found_bytes: totals.found_bytes,
            found_count: totals.found_count,
            live_bytes: site.live_bytes,
            live_count: site.live_count,
            sizes: sizes.collect(),
        })
    }

    /// The process is gone: histories are not needed any more.
    pub(super) fn close(&mut self) {
        self.tracker.close();
        self.forget_sizes();
    }

    /// What was seen of its size from outside says nothing any more.
    pub(super) fn forget_sizes(&mut self) {
        self.resident = Series::default();
        self.accounted = Series::default();
        self.fragmentation = None;
        self.parts = Parts::default();
        self.slack = Slack::default();
    }

    /// Whether memory grows of which the traced blocks explain less than half.
    pub(super) fn has_unexplained_growth(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_growth_unexplained)
    }
}

/// A history, ready to be judged.
pub(super) fn samples(series: &Series) -> Samples {
    Samples::new(series.points().map(|point| (point.t, point.value as f64)))
}

/// Whether the address lies in one of the ranges, which ascend.
pub(super) fn is_code(ranges: &[(u64, u64)], address: u64) -> bool {
    let after = ranges.partition_point(|&(start, _)| start <= address);
    after.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|&(_, end)| address < end)
}

/// Its totals, as the summary shows them; `mappings` says whether those are traced.
pub(super) fn process_summary(traced: &Traced, mappings: bool) -> ProcessSummary {
    let totals = traced.tracker.totals();
    let [live_count, allocs, frees] = traced.tracker.counts();
    ProcessSummary {
        pid: traced.pid,
        comm: traced.comm.clone(),
        live_bytes: totals.live_bytes,
        live_count,
        allocs,
        frees,
        unknown_frees: totals.unknown_frees,
        alloc_bytes: totals.alloc_bytes,
        free_bytes: totals.free_bytes,
        peak_live_bytes: totals.peak_live_bytes,
        live_bytes_ci95: traced.tracker.interval(),
        found_bytes: traced.tracker.before().map(|_| totals.found_bytes),
        found_count: traced.tracker.before().map(|_| totals.found_count),
        rss_bytes: traced.usage.as_ref().map(|usage| usage.rss_bytes),
        mapped: mappings.then(|| traced.mapped()),
    }
}
