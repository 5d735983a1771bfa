//! Inputs in, records out: the state of a whole trace, live or replayed. Pure: what it knows of time, processes and
//! symbols, it was told.

mod coverage;
mod figures;
mod js;
mod questions;
mod stacks;

use std::collections::{BTreeMap, HashSet};

use crate::{
    event::{Batch, Cause, DecodeError, Event, LossCounts, OrderCheck},
    heap::{FoundBlocks, Limits, Sampling, Series, SiteIds, Tracker},
    output::record::{
        EndReason, Header, Level, Losses, Notice, Overhead, ProcessSummary, Record, Site as SiteRecord,
        Summary, Tick as TickRecord,
    },
    symbol::Frame,
};

use leaktrace_common::Header as RecordHeader;

use coverage::living;

use super::{
    gaze::Gaze,
    input::{Fact, Input, Part, Tick},
    names::Names,
    parts::Parts,
    ranking::{self, View},
    slack::Slack,
    spend::Spend,
    traced::{Traced, fragmentation, is_code, process_summary},
    v8::V8State,
    verdicts::{Moment, Verdicts},
};

/// The state of a trace.
pub struct Pipeline {
    view: View,
    limits: Limits,
    ids: SiteIds,
    processes: BTreeMap<u16, Traced>,
    names: Names,
    /// Call sites whose stack is known and was not told yet: nothing was said of them.
    untold: HashSet<u32>,
    verdicts: Verdicts,
    /// Totals of processes that ended long ago, and what was lost of them.
    past: Vec<ProcessSummary>,
    past_losses: LossCounts,
    header: Option<Header>,
    start_ns: u64,
    /// Mappings are traced, so that their figures mean something.
    mappings: bool,
    /// Samples are taken.
    sampling: Option<Sampling>,
    /// No allocation is traced.
    v8_only: bool,
    t: f64,
    spend: Box<Spend>,
    gaze: Gaze,
    losses: LossCounts,
    order: OrderCheck,
    announced_loss: u64,
    events: u64,
    /// Records since the last tick.
    interval: u64,
    last_tick: f64,
}

impl Pipeline {
    /// A trace of which nothing has happened yet.
    pub fn new(view: View, limits: Limits) -> Self {
        Self {
            view,
            limits,
            ids: SiteIds::default(),
            processes: BTreeMap::new(),
            names: Names::default(),
            untold: HashSet::new(),
            verdicts: Verdicts::default(),
            past: Vec::new(),
            past_losses: LossCounts::default(),
            header: None,
            start_ns: 0,
            mappings: false,
            sampling: None,
            v8_only: false,
            t: 0.0,
            spend: Box::default(),
            gaze: Gaze::default(),
            losses: LossCounts::default(),
            order: OrderCheck::default(),
            announced_loss: 0,
            events: 0,
            interval: 0,
            last_tick: 0.0,
        }
    }

    /// Takes the next input; what is to be printed is appended to `out`.
    pub fn step(&mut self, input: &Input, out: &mut Vec<Record>) {
        match input {
            Input::Events(batch) => self.events(batch, out),
            Input::Fact(fact) => self.fact(fact, out),
        }
    }

    fn fact(&mut self, fact: &Fact, out: &mut Vec<Record>) {
        match fact {
            Fact::Start { header, start_ns } => self.start(header, *start_ns, out),
            Fact::Process { process, pid, comm, is_waiting } => {
                self.process(*process, *pid, comm, *is_waiting);
            }
            Fact::Renamed { process, comm } => {
                if let Some(traced) = self.processes.get_mut(process) {
                    traced.comm.clone_from(comm);
                }
            }
            Fact::Code { process, ranges } => {
                if let Some(traced) = self.processes.get_mut(process) {
                    traced.code.clone_from(ranges);
                    traced.tracker.code_changed();
                }
            }
            Fact::Runtimes { process, names } => {
                if let Some(traced) = self.processes.get_mut(process) {
                    traced.runtimes.clone_from(names);
                }
            }
            Fact::V8 { process, version, sizes_only } => {
                if let Some(traced) = self.processes.get_mut(process) {
                    traced.v8.found(version.as_deref(), *sizes_only);
                }
            }
            Fact::HeapLimit { process, heap, limit_bytes, source } => {
                if let Some(traced) = self.processes.get_mut(process) {
                    traced.v8.limit(*heap, *limit_bytes, source);
                }
            }
            Fact::Costs { ns, passed_ns } => self.spend.prices(ns, passed_ns),
            Fact::Symbols { site, frames, culprit, quiet } => {
                self.symbols(*site, frames, *culprit, *quiet, out);
            }
            Fact::JsStack { process, isolate, stack, t, frames, culprit } => {
                self.js_stack(*process, (*isolate, *stack), *t, frames, *culprit);
            }
            Fact::JsSamples { process, isolate, t, born, gone } => {
                self.js_samples(*process, *isolate, *t, born, gone);
            }
            Fact::JsIsolateEnded { process, isolate, t } => self.js_isolate_ended(*process, *isolate, *t),
            Fact::Rounding { process, rounding } => {
                if let Some(traced) = self.processes.get_mut(process) {
                    traced.tracker.set_rounding(*rounding);
                }
            }
            Fact::WalkBegins { process } => {
                if let Some(traced) = self.processes.get_mut(process) {
                    traced.tracker.walk_begins();
                }
            }
            Fact::BlocksBefore { process, t, blocks, part } => {
                self.blocks_before(*process, *t, blocks, *part, out);
            }
            Fact::HeapWalk { process, walk } => {
                if let Some(traced) = self.processes.get_mut(process) {
                    traced.fragmentation = fragmentation(walk);
                    traced.parts.walked(walk);
                    traced.slack.push(walk, traced.tracker.totals().live_bytes);
                }
                out.push(Record::HeapWalk(walk.clone()));
            }
            Fact::Passed { calls } => self.spend.passed(calls),
            Fact::Samples { base, level, .. } => self.sample(*base, *level),
            Fact::LookAway { t } => self.look_away(*t),
            Fact::LookAgain { t, until } => self.look_again(*t, *until),
            Fact::Tick(tick) => self.tick(tick, out),
            Fact::Notice(notice) => out.push(Record::Notice(notice.clone())),
            Fact::Gone { process, t } => self.gone(*process, *t, out),
            Fact::End { tick, reason, own_cpu_s, own_peak_rss_bytes } => {
                self.end(tick, *reason, (*own_cpu_s, *own_peak_rss_bytes), out);
            }
        }
    }

    fn start(&mut self, header: &Header, start_ns: u64, out: &mut Vec<Record>) {
        self.start_ns = start_ns;
        self.mappings = header.capture.mappings;
        self.sampling = Sampling::every(header.capture.sample_bytes);
        self.gaze = Gaze::new(header.capture.min_size == 0);
        self.v8_only = header.capture.v8_only;
        self.header = Some(header.clone());
        out.push(Record::Header(header.clone()));
    }

    fn process(&mut self, process: u16, pid: u32, comm: &str, is_waiting: bool) {
        let traced = Traced {
            pid,
            comm: comm.to_owned(),
            tracker: self.new_tracker(),
            code: Vec::new(),
            usage: None,
            resident: Series::default(),
            accounted: Series::default(),
            runtimes: Vec::new(),
            v8: V8State::new(self.v8_only),
            fragmentation: None,
            parts: Parts::default(),
            slack: Slack::default(),
            watch: None,
            is_waiting,
            gone: false,
        };
        self.processes.insert(process, traced);
    }

    fn new_tracker(&self) -> Tracker {
        let mut tracker = Tracker::new(&self.limits, self.start_ns, self.ids.clone());
        tracker.set_sampling(self.sampling);
        self.gaze.apply_to(&mut tracker);
        tracker
    }

    /// Applies a batch. The live map of a large heap lies outside the CPU's caches, and one event's wait for memory
    /// would follow another's: so the places of the next few events are looked at together first.
    fn events(&mut self, batch: &[u8], out: &mut Vec<Record>) {
        const TOGETHER: usize = 16;
        let mut events = Batch::new(batch);
        let mut next = Vec::with_capacity(TOGETHER);
        loop {
            next.clear();
            next.extend(events.by_ref().take(TOGETHER));
            if next.is_empty() {
                return;
            }
            for event in next.iter().flatten() {
                if let Some(traced) = self.processes.get(&event.header().process) {
                    traced.tracker.touch(event);
                }
            }
            for event in &next {
                self.event(event, out);
            }
        }
    }

    fn event(&mut self, event: &Result<Event<'_>, DecodeError>, out: &mut Vec<Record>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::debug!("a record cannot be read: {error}");
                self.losses.add(Cause::Decode, 1);
                return;
            }
        };
        let header = event.header();
        self.order.observe(header);
        self.interval += 1;
        self.spend.record(header.function, header.tid);
        let Some(traced) = self.processes.get_mut(&header.process) else {
            self.losses.add(Cause::UnknownProcess, 1);
            return;
        };
        let code = &traced.code;
        traced.tracker.apply(event, &|address| is_code(code, address));
        if matches!(
            event,
            Event::GcStep { .. } | Event::GcMeasured { .. } | Event::Exit { .. } | Event::Exec { .. }
        ) {
            out.extend(traced.v8.apply(event, traced.pid, self.start_ns).map(Record::Gc));
        }
        if let Event::Exec { header, .. } = event {
            self.exec(header, out);
        }
    }

    /// A process replaced its image; its tracker knows already.
    fn exec(&mut self, header: &RecordHeader, out: &mut Vec<Record>) {
        let fresh = self.new_tracker();
        let Some(traced) = self.processes.get_mut(&header.process) else { return };
        // What it grew before says nothing about the new image.
        traced.watch = None;
        traced.forget_sizes();
        // From its first allocation on everything is seen.
        traced.parts.is_whole = true;
        if traced.is_waiting {
            traced.is_waiting = false;
            traced.tracker = fresh;
            return;
        }
        self.verdicts.exec(header.process);
        let t = header.time_ns.saturating_sub(self.start_ns) as f64 / 1e9;
        let message =
            "the process replaced its image (exec): its old heap is gone, tracing goes on in the new one";
        out.push(notice(t, traced.pid, Level::Info, "target_exec", message.to_owned()));
    }

    /// Takes over what a walk found of blocks that are older than the trace.
    fn blocks_before(
        &mut self,
        process: u16,
        t: f64,
        blocks: &FoundBlocks,
        part: Part,
        out: &mut Vec<Record>,
    ) {
        let at_ns = self.at_ns(t);
        let Some(traced) = self.processes.get_mut(&process) else { return };
        if !traced.take_found(blocks, part, at_ns) {
            let message =
                "blocks from before the trace are not counted: too much was freed while the heap was read";
            out.push(notice(t, traced.pid, Level::Warning, "before_attach_unknown", message.to_owned()));
        }
    }

    fn symbols(
        &mut self,
        site: u32,
        frames: &[Frame],
        culprit: Option<usize>,
        quiet: bool,
        out: &mut Vec<Record>,
    ) {
        self.names.insert(site, frames, culprit);
        let Some((pid, truncated)) = self.site_owner(site) else { return };
        if quiet {
            self.untold.insert(site);
        } else {
            let stack = frames.to_vec();
            out.push(Record::Site(SiteRecord { t: self.t, pid, site, stack, truncated }));
        }
        out.extend(self.verdicts.named(site, &self.processes, &self.names).map(Record::Verdict));
    }

    fn site_owner(&self, site: u32) -> Option<(u32, bool)> {
        let mut processes = self.processes.values();
        processes.find_map(|traced| Some((traced.pid, traced.tracker.site(site)?.truncated)))
    }

    fn tick(&mut self, tick: &Tick, out: &mut Vec<Record>) {
        self.observe(tick);
        let losses = self.losses();
        self.announce_losses(&losses, out);
        let overhead = self.overhead(tick);
        let slowed = self.gaze.slowed();
        for traced in living(&mut self.processes) {
            traced.tracker.tick(tick.t);
            traced.observe_v8(tick.t, &self.names);
            for finding in traced.findings(slowed) {
                out.push(notice(tick.t, traced.pid, finding.level, finding.code, finding.message));
            }
        }
        let ticks = self.processes.values().filter(|traced| !traced.gone);
        let ticks: Vec<_> = ticks.map(|traced| self.tick_of(traced, &losses, &overhead)).collect();
        for tick in ticks {
            self.tell_untold(&tick, out);
            out.push(Record::Tick(tick));
        }
        self.last_tick = tick.t;
        self.interval = 0;
        self.spend.begin_interval();
        self.gaze.begin_interval(tick.t);
        self.judge(&losses, out);
    }

    fn judge(&mut self, losses: &Losses, out: &mut Vec<Record>) {
        let lost = losses.total as f64;
        let loss_share = lost / (lost + self.events as f64).max(1.0);
        let moment = Moment { t: self.t, now_ns: self.now_ns(), loss_share, slowed: self.gaze.slowed() };
        let was_full = self.verdicts.is_full();
        let told = self.verdicts.tick(moment, &mut self.processes, &self.names);
        out.extend(told.into_iter().map(Record::Verdict));
        if self.verdicts.is_full() && !was_full {
            let message = "too many call sites and processes have a verdict: further ones get none";
            out.push(self.notice(Level::Warning, "verdicts_full", message));
        }
    }

    /// A process has ended: its last figures are printed. Those of the last few stay, for the summary's call sites;
    /// of a service that goes through thousands of children, the totals do.
    fn gone(&mut self, process: u16, t: f64, out: &mut Vec<Record>) {
        const KEPT: usize = 256;
        let (losses, overhead) = (self.losses(), Overhead::default());
        let Some(traced) = self.processes.get_mut(&process) else { return };
        traced.gone = true;
        traced.usage = None;
        let Some(traced) = self.processes.get(&process) else { return };
        let last = TickRecord { t, ..self.tick_of(traced, &losses, &overhead) };
        out.push(Record::Tick(last));
        if let Some(traced) = self.processes.get_mut(&process) {
            traced.close();
        }
        let told = self.verdicts.gone(process, &self.processes, &self.names);
        out.extend(told.into_iter().map(Record::Verdict));
        let gone = self.processes.iter().filter(|(index, traced)| traced.gone && **index != 0);
        if gone.clone().count() > KEPT
            && let Some((&oldest, _)) = gone.min_by_key(|(index, _)| **index)
            && let Some(traced) = self.processes.remove(&oldest)
        {
            self.past_losses.merge(&traced.tracker.losses());
            self.past_losses.add(Cause::UnpairedGc, traced.v8.unpaired());
            self.past.push(process_summary(&traced, self.mappings));
        }
    }

    /// Takes over what was seen outside.
    fn observe(&mut self, tick: &Tick) {
        self.t = tick.t;
        self.events += self.interval;
        self.spend.passed(&tick.passed);
        self.losses.set_kernel(&tick.losses);
        for traced in self.processes.values_mut() {
            traced.usage = None;
        }
        for usage in &tick.processes {
            if let Some(traced) = self.processes.get_mut(&usage.process) {
                traced.used(tick.t, usage);
            }
        }
    }

    fn end(&mut self, tick: &Tick, reason: EndReason, own: (f64, u64), out: &mut Vec<Record>) {
        self.observe(tick);
        let losses = self.losses();
        self.announce_losses(&losses, out);
        let told = self.verdicts.end(&self.processes, &self.names);
        out.extend(told.into_iter().map(Record::Verdict));
        let mut leaks = self.alarms();
        leaks.truncate(self.view.top);
        let (own_cpu_s, own_peak_rss_bytes) = own;
        out.push(Record::Summary(Summary {
            t: self.t,
            ended: reason,
            processes: self
                .processes
                .values()
                .map(|traced| process_summary(traced, self.mappings))
                .chain(self.past.iter().cloned())
                .collect(),
            leaks,
            verdicts: self.verdicts.counts(),
            sites: ranking::summary(&self.processes, &self.view, self.now_ns(), &self.names, &self.verdicts),
            losses,
            events: self.events,
            own_cpu_s: round(own_cpu_s, 1e4),
            own_peak_rss_bytes,
        }));
    }

    fn now_ns(&self) -> u64 {
        self.at_ns(self.t)
    }

    /// A time in seconds since attach, on the clock of records in nanoseconds.
    pub(super) fn at_ns(&self, t: f64) -> u64 {
        self.start_ns.saturating_add((t * 1e9) as u64)
    }
}

pub(super) fn notice(t: f64, pid: u32, level: Level, code: &str, message: String) -> Record {
    Record::Notice(Notice { t: round(t, 1e6), pid, level, code: code.to_owned(), message })
}

/// Finite numbers stay finite: JSON has no others, and a recording may hold any.
fn round(value: f64, per_unit: f64) -> f64 {
    let rounded = (value * per_unit).round() / per_unit;
    if rounded.is_finite() { rounded } else { value }
}
