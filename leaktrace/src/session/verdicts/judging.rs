//! From what is known of a process to judgements: its series, and the circumstances beside them.

use super::{heir::took_over, pace::Pace};
use crate::{
    heap,
    output::verdict::{About, Subject, SubjectKind, VerdictRecord},
    session::{
        traced::{Traced, samples},
        v8::explain_heap,
    },
    verdict::{Circumstances, Judgement, Samples, SiteFacts, judge},
};

/// Growth younger than this is at most `suspect`: a cache that fills looks the same. Most caches of a service under
/// load are full by then, and a leak of 1 MB/s is named within a minute.
const PATIENCE_S: f64 = 50.0;
/// Of a site that goes on with the growth of a process that is a leak.
const PATIENCE_WITH_HEIRS_S: f64 = 20.0;
/// A JavaScript heap grows by itself while functions are compiled at first use and collect feedback: by a quarter of
/// a megabyte in the first minute of a program that keeps nothing, more of a large one.
const HEAP_NOISE: f64 = (1 << 20) as f64;
/// Programs that leak nothing keep some blocks more for a while: statistics, tables that grow by and by.
const NOISE: f64 = (64 << 10) as f64;
/// Growth of live bytes below this says nothing about how the resident set follows: pages and the allocator's own
/// reserves are in the way.
pub(super) const COMPARABLE_GROWTH: f64 = (1 << 20) as f64;

/// So many ticks at which a site was not there yet are shown before its history, and more of them the longer the
/// history is: this share of its length. A jump is only seen as one where there is a level before it.
const TICKS_BEFORE_BIRTH: usize = 5;
const SHARE_BEFORE_BIRTH: f64 = 0.125;

/// What is known of the whole trace at a tick.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Moment {
    /// Seconds since attach.
    pub(in crate::session) t: f64,
    /// The same on the clock of records, nanoseconds.
    pub(in crate::session) now_ns: u64,
    /// Share of events that were lost, 0..1.
    pub(in crate::session) loss_share: f64,
    /// Where the trace looks in slices: by how much a process may be slowed while it is looked at, 1 and above.
    pub(in crate::session) slowed: f64,
}

/// One process, ready to be judged.
pub(super) struct Judging<'a> {
    traced: &'a Traced,
    moment: Moment,
    /// How sure it is that the process is a leak, where that is told.
    leak: Option<f64>,
    live: Samples,
    resident: Samples,
    rss_agreement: Option<f64>,
    /// Where the trace looks in slices.
    pace: Option<Pace>,
}

impl<'a> Judging<'a> {
    pub(super) fn new(traced: &'a Traced, moment: Moment, leak: Option<f64>) -> Self {
        let live = Samples::new(traced.tracker.history());
        let resident = samples(&traced.resident);
        let pace =
            Pace::of(&traced.tracker, moment.slowed, &live, (&resident, traced.v8.committed_growth() as f64));
        let live = pace.map_or_else(|| live.clone(), |pace| pace.corrected(&live));
        let rss_agreement = agreement(&resident, &live);
        Self { traced, moment, leak, live, resident, rss_agreement, pace }
    }

    /// The process by its live bytes; `None` where no allocation is traced.
    pub(super) fn process(&self) -> Option<VerdictRecord> {
        if self.traced.v8.is_only() {
            return None;
        }
        let totals = self.traced.tracker.totals();
        let around = if self.traced.tracker.is_estimated() {
            Circumstances {
                error_bytes: totals.estimate.error(),
                rss_agreement: self.rss_agreement,
                loss_share: self.moment.loss_share,
                pace: self.pace.map(Pace::bounds),
                ..self.circumstances_of_samples(totals.live_count)
            }
        } else {
            self.circumstances()
        };
        let circumstances =
            Circumstances { has_unexplained_growth: self.traced.has_unexplained_growth(), ..around };
        let [live_count, allocs, frees] = self.traced.tracker.counts();
        let about = About {
            live_bytes: totals.live_bytes,
            live_count: Some(live_count),
            allocs: Some(allocs),
            frees: Some(frees),
            estimated: self.traced.tracker.is_estimated(),
            ..self.about(SubjectKind::Process, u64::from(self.traced.pid))
        };
        Some(record(&judge(&self.live, &circumstances), about))
    }

    /// The process by its resident set; `None` where that was not seen at this tick.
    pub(super) fn rss(&self) -> Option<VerdictRecord> {
        let live_bytes = self.traced.usage.as_ref()?.rss_bytes;
        let about = About { live_bytes, ..self.about(SubjectKind::Rss, u64::from(self.traced.pid)) };
        // In slices more may be held than is known.
        let accounted_share = self.accounted_share().filter(|_| self.pace.is_none());
        let circumstances = Circumstances { accounted_share, ..self.circumstances() };
        let mut judgement = judge(&self.resident, &circumstances);
        self.traced.v8.explain_rss(&mut judgement);
        self.traced.slack.explain(&mut judgement);
        Some(record(&judgement, about))
    }

    /// What the trace can account for of the growth of the resident set. Both are pushed at the same moments.
    fn accounted_share(&self) -> Option<f64> {
        let accounted = samples(&self.traced.accounted);
        let resident = self.resident.growth().filter(|grown| *grown > 0.0)?;
        Some(accounted.growth()? / resident)
    }

    /// V8's heaps by what is left in them after mark-compacts.
    pub(super) fn v8_heaps(&self) -> Vec<VerdictRecord> {
        const MOST: usize = 16;
        let judged = self.traced.v8.isolates().filter_map(|isolate| {
            let last = isolate.baseline().last()?;
            let headroom = isolate.limit().map(|(limit, _)| limit.saturating_sub(last.value) as f64);
            let circumstances = Circumstances {
                patience_s: PATIENCE_S,
                noise_bytes: HEAP_NOISE,
                loss_share: self.moment.loss_share,
                headroom_bytes: headroom,
                ..Circumstances::default()
            };
            let subject = self.about(SubjectKind::V8Heap, u64::from(isolate.number()));
            let mut judgement = judge(&samples(isolate.baseline()), &circumstances);
            explain_heap(&mut judgement, isolate);
            Some(record(&judgement, About { live_bytes: last.value, ..subject }))
        });
        judged.take(MOST).collect()
    }

    /// One of its call sites.
    pub(super) fn site(&self, id: u32) -> Option<VerdictRecord> {
        let tracker = &self.traced.tracker;
        let (site, mut history) = (tracker.site(id)?, self.site_history(id)?);
        let fate = tracker.site_facts(id, self.moment.now_ns);
        let is_sampled = tracker.sampled().isolate_of(id).is_some();
        let is_estimated = is_sampled || self.is_estimated(id);
        let mut around =
            if is_estimated { self.circumstances_of_samples(site.live_count) } else { self.circumstances() };
        around.error_bytes = site.estimate.error();
        if let Some(pace) = self.pace.filter(|_| is_estimated && !is_sampled) {
            history = pace.corrected(&history);
            around.pace = Some(pace.bounds());
            around.loss_share = self.moment.loss_share;
        }
        let is_of_heap = !is_sampled && !self.is_mapping(id);
        let leak = self.leak.filter(|_| is_of_heap && took_over(&self.live, &history));
        if leak.is_some() {
            around.patience_s = PATIENCE_WITH_HEIRS_S;
        }
        let circumstances = Circumstances { site: fate.as_ref().map(facts), ..around };
        let [live_count, allocs, frees] = if is_estimated && !is_sampled {
            site.estimate.counts()
        } else {
            [site.live_count, site.allocs, site.frees]
        };
        let about = About {
            live_bytes: site.live_bytes,
            live_count: Some(live_count),
            allocs: Some(allocs),
            frees: Some(frees),
            estimated: is_estimated,
            ..self.about(SubjectKind::Site, u64::from(id))
        };
        let mut judgement = judge(&history, &circumstances);
        // It is the same growth.
        judgement.confidence = judgement.confidence.min(leak.unwrap_or(1.0));
        Some(record(&judgement, about))
    }

    /// Whether not all of a site's blocks are seen; mappings are seen all.
    fn is_estimated(&self, id: u32) -> bool {
        self.traced.tracker.is_estimated() && !self.is_mapping(id)
    }

    fn is_mapping(&self, id: u32) -> bool {
        self.traced.tracker.mappings().site(id).is_some()
    }

    /// Its history. Where it begins with nothing, it had nothing at the ticks before, either: some of these show that
    /// what follows is a jump, and no series that always stood there.
    fn site_history(&self, id: u32) -> Option<Samples> {
        let history = self.traced.tracker.site_history(id)?;
        let (begin, first) = *history.first()?;
        let (end, _) = *history.last()?;
        let ticks = self.live.times();
        let before = ticks.get(..ticks.partition_point(|&t| t < begin)).unwrap_or_default();
        let from = begin - SHARE_BEFORE_BIRTH * (end - begin);
        let enough = before.len() - before.partition_point(|&t| t < from);
        let shown = if first > 0.0 { 0 } else { enough.max(TICKS_BEFORE_BIRTH).min(before.len()) };
        let unborn = before.iter().skip(before.len() - shown).map(|&t| (t, 0.0));
        Some(Samples::new(unborn.chain(history)))
    }

    fn circumstances(&self) -> Circumstances {
        let limit = self.traced.usage.as_ref().and_then(|usage| usage.limit.as_ref());
        Circumstances {
            patience_s: PATIENCE_S,
            noise_bytes: NOISE,
            loss_share: self.moment.loss_share,
            rss_agreement: self.rss_agreement,
            headroom_bytes: limit.map(|limit| limit.headroom_bytes as f64),
            ..Circumstances::default()
        }
    }

    /// Sampled objects do not come as events, none of which are lost; an estimate from n samples is off by one in √n.
    fn circumstances_of_samples(&self, samples: u64) -> Circumstances {
        Circumstances {
            loss_share: 0.0,
            sampled_share: 1.0 - 1.0 / (samples.max(1) as f64).sqrt(),
            rss_agreement: None,
            ..self.circumstances()
        }
    }

    fn about(&self, kind: SubjectKind, id: u64) -> About {
        About {
            t: self.moment.t,
            pid: Some(self.traced.pid),
            subject: Subject { kind, id: Some(id) },
            ..About::default()
        }
    }
}

fn record(judgement: &Judgement, about: About) -> VerdictRecord {
    VerdictRecord::new(judgement, about)
}

/// Growth of the resident set ÷ growth of live bytes over the time that both were seen; `None` while live bytes hardly
/// grow.
fn agreement(resident: &Samples, live: &Samples) -> Option<f64> {
    let first = |samples: &Samples| samples.times().first().copied();
    let last = |samples: &Samples| samples.times().last().copied();
    let from = first(resident)?.max(first(live)?);
    let to = last(resident)?.min(last(live)?);
    let live = live.growth_between(from, to)?;
    let resident = resident.growth_between(from, to)?;
    (live >= COMPARABLE_GROWTH).then(|| resident / live)
}

/// What the heap knows of a site's blocks, as evidence.
fn facts(of: &heap::SiteFacts) -> SiteFacts {
    SiteFacts {
        allocs: of.allocs,
        frees: of.frees,
        survival: of.survival,
        old_cohort_alive: of.old_cohort_alive,
        live_age_p10_p90_s: of.live_age_p10_p90_s,
    }
}
