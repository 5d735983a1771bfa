//! What was seen of the JavaScript heap: from facts to call sites.

use super::{super::names::SiteNames, Pipeline};
use crate::{
    event::Cause,
    output::record::{Record, Site as SiteRecord, Tick as TickRecord},
    symbol::Frame,
};

impl Pipeline {
    /// A stack (isolate and number) is known from now on. Its record waits until something is said of it.
    pub(super) fn js_stack(
        &mut self,
        process: u16,
        (isolate, stack): (u32, u32),
        t: f64,
        frames: &[Frame],
        culprit: Option<usize>,
    ) {
        let now_ns = self.ns_at(t);
        let Some(traced) = self.processes.get_mut(&process) else { return };
        let Some(site) = traced.tracker.sampled_mut().site_at(isolate, stack, now_ns) else { return };
        self.names.insert(site, frames, culprit);
        self.untold.insert(site);
    }

    /// Objects came and went.
    pub(super) fn js_samples(
        &mut self,
        process: u16,
        isolate: u32,
        t: f64,
        born: &[(u64, u32, u64)],
        gone: &[u64],
    ) {
        let now_ns = self.ns_at(t);
        let Some(traced) = self.processes.get_mut(&process) else { return };
        let sampled = traced.tracker.sampled_mut();
        let before = sampled.not_kept();
        for &ordinal in gone {
            sampled.gone(isolate, ordinal, now_ns);
        }
        for &(ordinal, stack, size) in born {
            sampled.born(isolate, stack, ordinal, size, now_ns);
        }
        sampled.looked_at();
        let lost = sampled.not_kept() - before;
        self.losses.add(Cause::JsSamplesFull, lost);
    }

    /// An isolate has ended.
    pub(super) fn js_isolate_ended(&mut self, process: u16, isolate: u32, t: f64) {
        let now_ns = self.ns_at(t);
        if let Some(traced) = self.processes.get_mut(&process) {
            traced.tracker.sampled_mut().isolate_ended(isolate, now_ns);
        }
    }

    /// The stacks of sites that this tick names for the first time. There may be thousands of others, which nobody asks
    /// for.
    pub(super) fn tell_untold(&mut self, tick: &TickRecord, out: &mut Vec<Record>) {
        for named in &tick.sites {
            if !self.untold.remove(&named.site) {
                continue;
            }
            let truncated = self.site_owner(named.site).is_some_and(|(_, truncated)| truncated);
            let stack = self.names.get(named.site).map(SiteNames::stack).unwrap_or_default();
            let (t, pid, site) = (tick.t, tick.pid, named.site);
            out.push(Record::Site(SiteRecord { t, pid, site, stack, truncated }));
        }
    }

    /// A time of a fact on the clock of records.
    fn ns_at(&self, t: f64) -> u64 {
        self.start_ns.saturating_add((t * 1e9) as u64)
    }
}
