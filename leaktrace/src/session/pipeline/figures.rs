//! The figures of a tick: totals, losses, and what tracing costs.

use super::{Pipeline, notice, round};
use crate::{
    event::Cause,
    heap::Sampling,
    output::record::{CaptureMode, Level, Losses, Overhead, Record, Tick as TickRecord},
    session::{input::Tick, ranking, traced::Traced},
};

impl Pipeline {
    pub(super) fn losses(&self) -> Losses {
        let mut counts = self.losses.clone();
        counts.merge(&self.past_losses);
        counts.add(Cause::OutOfOrder, self.order.out_of_order());
        for traced in self.processes.values() {
            counts.merge(&traced.tracker.losses());
            counts.add(Cause::UnpairedGc, traced.v8.unpaired());
        }
        let causes = counts.iter().filter(|(_, count)| *count > 0);
        let causes = causes.map(|(name, count)| (name.to_owned(), count)).collect();
        Losses { total: counts.total(), causes }
    }

    /// A loss is told when it first happens, and again whenever the count has doubled.
    pub(super) fn announce_losses(&mut self, losses: &Losses, out: &mut Vec<Record>) {
        if losses.total == 0 || losses.total < self.announced_loss.saturating_mul(2) {
            return;
        }
        self.announced_loss = losses.total;
        let causes: Vec<String> =
            losses.causes.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let message = format!("the figures are incomplete: {}", causes.join(", "));
        let pid = self.processes.values().next().map_or(0, |traced| traced.pid);
        out.push(notice(self.t, pid, Level::Warning, "lost_events", message));
    }

    pub(super) fn overhead(&self, tick: &Tick) -> Overhead {
        let seconds = (tick.t - self.last_tick).max(1e-3);
        Overhead {
            events_per_s: round(self.interval as f64 / seconds, 1.0),
            passed_per_s: round(self.spend.passed_calls() as f64 / seconds, 1.0),
            target_cpu_share: round(self.spend.ns() as f64 / 1e9 / seconds, 1e4),
            mode: self.capture_mode(),
            sample_bytes: self.sample_bytes(),
            watched_share: round(self.gaze.watched_share(tick.t), 1e4),
            own_cpu_share: round(tick.own_cpu_share, 1e4),
            own_rss_bytes: tick.own_rss_bytes,
        }
    }

    fn capture_mode(&self) -> CaptureMode {
        match (self.gaze.is_in_slices(), self.sampling) {
            (true, _) => CaptureMode::Slices,
            (false, Some(_)) => CaptureMode::Samples,
            (false, None) => CaptureMode::Everything,
        }
    }

    /// One sample in so many bytes at present.
    fn sample_bytes(&self) -> Option<u64> {
        self.sampling.filter(|_| !self.gaze.is_in_slices()).map(Sampling::interval).filter(|bytes| *bytes > 0)
    }

    pub(super) fn tick_of(&self, traced: &Traced, losses: &Losses, overhead: &Overhead) -> TickRecord {
        let totals = traced.tracker.totals();
        let [live_count, allocs, frees] = traced.tracker.counts();
        TickRecord {
            t: self.t,
            pid: traced.pid,
            live_bytes: totals.live_bytes,
            live_count,
            allocs,
            frees,
            unknown_frees: totals.unknown_frees,
            alloc_bytes: totals.alloc_bytes,
            free_bytes: totals.free_bytes,
            rss_bytes: traced.usage.as_ref().map(|usage| usage.rss_bytes),
            rss_split: traced.usage.as_ref().map(|usage| usage.split.clone()),
            mapped: self.mappings.then(|| traced.mapped()),
            memory_limit: traced.usage.as_ref().and_then(|usage| usage.limit.clone()),
            fragmentation: traced.fragmentation.clone(),
            internal_bytes: traced
                .tracker
                .rounding()
                .filter(|_| !traced.tracker.is_estimated())
                .map(|_| totals.internal_bytes),
            samples: traced.tracker.is_estimated().then_some(totals.live_count),
            live_bytes_ci95: traced.tracker.interval(),
            before_attach: traced.before_attach().map(Box::new),
            rss_parts: traced.parts.split(traced).map(Box::new),
            v8: traced.v8.tick(traced, self.t),
            losses: losses.clone(),
            overhead: overhead.clone(),
            sites: ranking::largest(traced, &self.view, self.now_ns(), &self.names),
        }
    }
}
