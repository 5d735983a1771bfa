//! The call sites of a trace as a profile, for files that other tools read.

use std::{borrow::Cow, cmp::Reverse, collections::HashMap, sync::Arc};

use super::{
    super::{
        clock::seconds_of,
        traced::{Traced, by_address},
    },
    Pipeline,
};
use crate::{
    heap::{MAPPING_OVERFLOW_SITE, OVERFLOW_SITE, OldLive, Site},
    output::{
        record::{Header, ProcessSummary, SiteKind},
        stacks::{Missing, Profile, StackSample, Values},
    },
    symbol::Frame,
};

/// So many sites of a process are named for a file, some kilobytes each; the largest.
const NAMED: usize = 32 << 10;

impl Pipeline {
    /// All call sites as they are now. What they add up to is what the summary says of the processes.
    pub fn stacks(&self) -> Profile<'_> {
        let header = self.header.as_ref();
        let processes = self.processes.iter();
        let (mut samples, mut bare) = (Vec::new(), BareFrames::default());
        for (&process, traced) in processes {
            samples.extend(self.samples(process, traced, &mut bare));
        }
        samples.extend(self.past.iter().flat_map(past_samples));
        samples.retain(|sample| sample.values != Values::default());
        samples.sort_by_key(|sample| (Reverse(sample.values.live_bytes), Reverse(sample.values.alloc_bytes)));
        let code = self.processes.values().map(|traced| (traced.pid, traced.code.as_slice()));
        Profile {
            samples,
            several: header.is_some_and(|header| header.capture.children) || self.processes.len() > 1,
            exe: header.and_then(|header| header.exe.as_deref()),
            started_s: header.and_then(|header| seconds_of(&header.wall_time)),
            duration_s: self.t,
            code: code.collect(),
            build_ids: header.into_iter().flat_map(build_ids).collect(),
        }
    }

    fn samples<'a>(
        &'a self,
        process: u16,
        traced: &'a Traced,
        bare: &mut BareFrames,
    ) -> impl Iterator<Item = StackSample<'a>> {
        let old = self.old_live(traced);
        all_sites(traced).map(move |(kind, site)| {
            let (live_bytes, live_count) = match &old {
                None => (site.live_bytes, site.live_count),
                Some(old) => old.get(&site.id).map_or((0, 0), |old| (old.live_bytes, old.live_count)),
            };
            let is_before = traced.tracker.is_before(site.id);
            // What was allocated before is none of what was allocated since.
            let (allocs, alloc_bytes) = if is_before { (0, 0) } else { (site.allocs, site.alloc_bytes) };
            let values = Values { live_count, live_bytes, allocs, alloc_bytes };
            let frames = match self.names.get(site.id) {
                Some(names) => Cow::Borrowed(names.outwards()),
                None => site.frames().iter().map(|&address| bare.frame(address)).collect(),
            };
            let missing = match site.id {
                _ if is_before => Some(Missing::BeforeAttach),
                OVERFLOW_SITE | MAPPING_OVERFLOW_SITE => Some(Missing::FurtherSites),
                _ if frames.is_empty() => Some(Missing::Stack),
                _ => site.truncated.then_some(Missing::OuterFrames),
            };
            let verdict = self.verdicts.on_site(process, site.id).map(|record| record.verdict);
            StackSample { pid: traced.pid, comm: &traced.comm, kind, missing, frames, values, verdict }
        })
    }

    /// What is live of old blocks, where only those count.
    fn old_live(&self, traced: &Traced) -> Option<HashMap<u32, OldLive>> {
        let age = u64::try_from(self.view.older_than?.as_nanos()).unwrap_or(u64::MAX);
        let cutoff = self.now_ns().saturating_sub(age);
        let tracker = &traced.tracker;
        let old = [
            tracker.older_than(cutoff),
            tracker.mappings().older_than(cutoff),
            tracker.sampled().older_than(cutoff),
        ];
        Some(old.into_iter().flatten().map(|old| (old.site, old)).collect())
    }

    /// Sites of a process without names, the largest first, `most` at most: id and return addresses.
    pub fn unnamed_for_stacks(&self, process: u16, most: usize) -> Vec<(u32, Vec<u64>)> {
        let Some(traced) = self.processes.get(&process) else { return Vec::new() };
        let mut sites: Vec<&Site> = all_sites(traced).map(|(_, site)| site).collect();
        let size = |site: &&Site| (Reverse(site.live_bytes), Reverse(site.alloc_bytes), site.id);
        if sites.len() > NAMED {
            sites.select_nth_unstable_by_key(NAMED, size);
            sites.truncate(NAMED);
        }
        // What the addresses of a former image meant is not known any more.
        sites.retain(|site| !site.ended && !site.frames().is_empty() && !self.names.contains(site.id));
        sites.sort_unstable_by_key(size);
        sites.into_iter().take(most).map(|site| (site.id, site.frames().to_vec())).collect()
    }
}

/// Frames without a name, each made once.
#[derive(Default)]
struct BareFrames(HashMap<u64, Arc<Frame>>);

impl BareFrames {
    fn frame(&mut self, address: u64) -> Arc<Frame> {
        Arc::clone(self.0.entry(address).or_insert_with(|| Arc::new(by_address(address))))
    }
}

fn build_ids(header: &Header) -> impl Iterator<Item = (&str, &str)> {
    header.code.iter().filter_map(|file| Some((file.module.as_str(), file.build_id.as_deref()?)))
}

fn all_sites(traced: &Traced) -> impl Iterator<Item = (SiteKind, &Site)> {
    let tracker = &traced.tracker;
    let heap = tracker.sites().iter().map(|site| (SiteKind::Heap, site));
    let mapped = tracker.mappings().sites().iter().map(|site| (SiteKind::Mapping, site));
    let sampled = tracker.sampled().sites().iter().map(|site| (SiteKind::Js, site));
    heap.chain(mapped).chain(sampled)
}

/// Of a process that ended long ago only the totals are left.
fn past_samples(past: &ProcessSummary) -> impl Iterator<Item = StackSample<'_>> {
    let heap = Values {
        live_count: past.live_count,
        live_bytes: past.live_bytes,
        allocs: past.allocs,
        alloc_bytes: past.alloc_bytes,
    };
    let mapped = past.mapped.as_ref().map(|mapped| Values {
        live_count: mapped.live_count,
        live_bytes: mapped.live_bytes,
        allocs: mapped.maps,
        alloc_bytes: mapped.mapped_bytes,
    });
    let values = [(SiteKind::Heap, Some(heap)), (SiteKind::Mapping, mapped)];
    values.into_iter().filter_map(|(kind, values)| {
        Some(StackSample {
            pid: past.pid,
            comm: &past.comm,
            kind,
            missing: Some(Missing::EndedProcess),
            values: values?,
            ..StackSample::default()
        })
    })
}
