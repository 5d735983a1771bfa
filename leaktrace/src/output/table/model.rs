//! What the live view knows: built from records alone, without a clock or a terminal.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::history::{Graph, Histories};
use super::verdicts::Verdicts;
use crate::cli::Sort;
use crate::output::rates::Rates;
use crate::output::record::{
    CaptureMode, Fragmentation, Header, Losses, Mapped, Notice, Record, Site, SiteTick, Summary, Tick,
};
use crate::output::v8_record::IsolateTick;
use crate::output::verdict::VerdictRecord;

/// Notices that are kept; the view shows the last.
const MAX_NOTICES: usize = 100;

/// Stacks that are kept; the view shows far fewer, and a site whose stack was dropped still has its function's name.
const MAX_STACKS: usize = 100_000;

/// Growth is told over this many seconds: from one tick to the next it mostly shows the load's own ups and downs.
const GROWTH_WINDOW: f64 = 30.0;

/// Ticks of the window at the shortest interval, and some.
const MAX_WINDOW: usize = 400;

/// Everything that the records told so far.
#[derive(Clone, Default)]
pub(super) struct Data {
    pub(super) header: Option<Header>,
    pub(super) processes: BTreeMap<u32, Process>,
    pub(super) stacks: HashMap<u32, Site>,
    pub(super) verdicts: Verdicts,
    pub(super) notices: VecDeque<Notice>,
    pub(super) histories: Histories,
}

/// One process at its last tick.
#[derive(Clone, Default)]
pub(super) struct Process {
    pub(super) tick: Tick,
    pub(super) rates: Option<Rates>,
    /// Time and live bytes of the recent ticks.
    window: VecDeque<(f64, u64)>,
}

impl Process {
    fn tick(&mut self, tick: &Tick) {
        self.rates = Rates::between(&self.tick, tick).or(self.rates);
        self.tick = tick.clone();
        self.window.push_back((tick.t, tick.live_bytes));
        // One tick from before the window stays: growth is told over the whole of it.
        while self.window.get(1).is_some_and(|(t, _)| tick.t - t >= GROWTH_WINDOW)
            || self.window.len() > MAX_WINDOW
        {
            self.window.pop_front();
        }
    }

    /// Growth of live bytes a second, and over how many seconds.
    fn growth(&self) -> Option<(f64, f64)> {
        let (&(from, before), &(to, now)) = (self.window.front()?, self.window.back()?);
        let seconds = to - from;
        (seconds > 0.0).then(|| ((now as f64 - before as f64) / seconds, seconds))
    }
}

/// The figures of all processes together.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) t: f64,
    pub(super) live_bytes: u64,
    pub(super) live_count: u64,
    pub(super) unknown_frees: u64,
    pub(super) rss_bytes: Option<u64>,
    pub(super) mapped: Option<Mapped>,
    /// Heaps of the C library that were read.
    pub(super) heap: Option<HeapUse>,
    /// The JavaScript heaps of all processes.
    pub(super) isolates: Vec<IsolateTick>,
    pub(super) rates: Option<Rates>,
    /// Growth of live bytes a second, and over how many seconds.
    pub(super) growth: Option<(f64, f64)>,
    pub(super) events_per_s: f64,
    pub(super) target_cpu_share: f64,
    pub(super) mode: CaptureMode,
    pub(super) watched_share: f64,
    pub(super) sample_bytes: Option<u64>,
    pub(super) own_cpu_share: f64,
    pub(super) own_rss_bytes: u64,
    pub(super) losses: Losses,
}

/// How heaps are used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeapUse {
    /// Bytes in memory,
    pub(super) resident: u64,
    /// of these those that are handed out,
    pub(super) used: f64,
    /// and those that would go back if all stood side by side.
    pub(super) scattered: u64,
}

impl HeapUse {
    fn plus(self, more: &Fragmentation) -> Self {
        let used = more.resident_bytes as f64 * more.utilisation.unwrap_or(0.0);
        Self {
            resident: self.resident.saturating_add(more.resident_bytes),
            used: self.used + used,
            scattered: self.scattered.saturating_add(more.compaction_bytes),
        }
    }
}

/// A line of the table of sites.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) pid: u32,
    pub(super) figures: &'a SiteTick,
    pub(super) stack: Option<&'a Site>,
    pub(super) verdict: Option<&'a VerdictRecord>,
}

impl Data {
    fn apply(&mut self, record: &Record) {
        match record {
            Record::Header(header) => self.header = Some(header.clone()),
            Record::Tick(tick) => self.tick(tick),
            Record::Site(site) => {
                if self.stacks.len() < MAX_STACKS || self.stacks.contains_key(&site.site) {
                    self.stacks.insert(site.site, site.clone());
                }
            }
            Record::Notice(notice) => {
                self.verdicts.notice(notice);
                if self.notices.len() == MAX_NOTICES {
                    self.notices.pop_front();
                }
                self.notices.push_back(notice.clone());
            }
            Record::Verdict(verdict) => self.verdicts.apply(verdict),
            Record::Summary(_)
            | Record::Gc(_)
            | Record::HeapSnapshot(_)
            | Record::HeapConstructor(_)
            | Record::HeapGrowth(_)
            | Record::HeapObject(_)
            | Record::HeapWalk(_) => {}
        }
    }

    fn tick(&mut self, tick: &Tick) {
        self.processes.entry(tick.pid).or_default().tick(tick);
        // A child that is gone leaks no more, and a tree may go through thousands of them.
        if tick.rss_bytes.is_none() && self.processes.len() > 1 {
            self.processes.remove(&tick.pid);
            self.verdicts.forget(tick.pid);
        }
        self.histories.push(tick.t, self.processes.values().map(|process| &process.tick));
    }

    /// The figures of all processes together. leaktrace's own costs and losses are told by every process's tick alike,
    /// so that the newest one has them.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for process in self.processes.values() {
            let Process { tick, rates, .. } = process;
            if let Some((growth, seconds)) = process.growth() {
                let (sum, longest) = totals.growth.unwrap_or_default();
                totals.growth = Some((sum + growth, seconds.max(longest)));
            }
            totals.live_bytes = totals.live_bytes.saturating_add(tick.live_bytes);
            totals.live_count = totals.live_count.saturating_add(tick.live_count);
            totals.unknown_frees = totals.unknown_frees.saturating_add(tick.unknown_frees);
            if let Some(rss) = tick.rss_bytes {
                totals.rss_bytes = Some(totals.rss_bytes.unwrap_or(0).saturating_add(rss));
            }
            if let Some(found) = &tick.fragmentation {
                totals.heap = Some(totals.heap.unwrap_or_default().plus(found));
            }
            if let Some(v8) = &tick.v8 {
                totals.isolates.extend(v8.isolates.iter().cloned());
            }
            if let Some(mapped) = &tick.mapped {
                totals.mapped = Some(totals.mapped.take().unwrap_or_default().plus(mapped));
            }
            if let Some(rates) = rates {
                totals.rates = Some(totals.rates.unwrap_or_default().plus(*rates));
            }
            if tick.t >= totals.t {
                totals.t = tick.t;
                totals.events_per_s = tick.overhead.events_per_s;
                totals.target_cpu_share = tick.overhead.target_cpu_share;
                totals.mode = tick.overhead.mode;
                totals.watched_share = tick.overhead.watched_share;
                totals.sample_bytes = tick.overhead.sample_bytes;
                totals.own_cpu_share = tick.overhead.own_cpu_share;
                totals.own_rss_bytes = tick.overhead.own_rss_bytes;
                totals.losses = tick.losses.clone();
            }
        }
        totals
    }

    /// The sites that the last ticks named, in this order.
    pub(super) fn rows(&self, sort: Sort) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = self
            .processes
            .values()
            .flat_map(|process| process.tick.sites.iter().map(|site| (process.tick.pid, site)))
            .map(|(pid, figures)| Row {
                pid,
                figures,
                stack: self.stacks.get(&figures.site),
                verdict: self.verdicts.on_site(pid, figures.site),
            })
            .collect();
        rows.sort_by(|a, b| {
            let (a, b) = (a.figures, b.figures);
            let growth = |site: &SiteTick| site.growth_bytes_per_s.unwrap_or(f64::NEG_INFINITY);
            let order = match sort {
                Sort::Live => b.live_bytes.cmp(&a.live_bytes),
                Sort::Growth => growth(b).total_cmp(&growth(a)),
                Sort::Count => b.live_count.cmp(&a.live_count),
                Sort::Allocs => b.allocs.cmp(&a.allocs),
                Sort::Age => b.age_s.total_cmp(&a.age_s),
            };
            order.then(a.site.cmp(&b.site))
        });
        rows
    }
}

/// The data, and what of it the user looks at.
pub(super) struct Model {
    data: Data,
    frozen: Option<Box<Data>>,
    pub(super) summary: Option<Summary>,
    pub(super) sort: Sort,
    pub(super) help: bool,
    pub(super) graph: Graph,
    /// The full stack of the selected site is shown, from this frame on.
    pub(super) expanded: Option<usize>,
    /// The selected site: it stays selected when its rank changes.
    pub(super) selected: Option<u32>,
    /// Only blocks of at least this age are counted for sites.
    pub(super) older_than: Option<Duration>,
    pub(super) colour: bool,
}

impl Model {
    pub(super) fn new(sort: Sort, older_than: Option<Duration>, colour: bool) -> Self {
        Self {
            data: Data::default(),
            frozen: None,
            summary: None,
            sort,
            help: false,
            graph: Graph::default(),
            expanded: None,
            selected: None,
            older_than,
            colour,
        }
    }

    pub(super) fn apply(&mut self, record: &Record) {
        if let Record::Summary(summary) = record {
            self.summary = Some(summary.clone());
        }
        self.data.apply(record);
    }

    /// What is shown: the newest data, or those of the moment when the user paused.
    pub(super) fn shown(&self) -> &Data {
        self.frozen.as_deref().unwrap_or(&self.data)
    }

    pub(super) fn paused(&self) -> bool {
        self.frozen.is_some()
    }

    pub(super) fn toggle_pause(&mut self) {
        self.frozen = if self.frozen.is_some() { None } else { Some(Box::new(self.data.clone())) };
    }

    /// The rank of the selected site among those shown; the first where none is, or where it is gone.
    pub(super) fn selected_rank(&self, rows: &[Row<'_>]) -> usize {
        self.selected.and_then(|id| rows.iter().position(|row| row.figures.site == id)).unwrap_or(0)
    }

    /// Selects another site, or scrolls the stack that is shown.
    pub(super) fn step(&mut self, by: isize) {
        let rows = self.shown().rows(self.sort);
        let rank = self.selected_rank(&rows);
        if let Some(first) = self.expanded {
            let frames = rows.get(rank).and_then(|row| row.stack).map_or(0, |site| site.stack.len());
            self.expanded = Some(first.saturating_add_signed(by).min(frames.saturating_sub(1)));
            return;
        }
        let rank = rank.saturating_add_signed(by).min(rows.len().saturating_sub(1));
        self.selected = rows.get(rank).map(|row| row.figures.site);
    }

    /// Shows or hides the full stack of the selected site.
    pub(super) fn toggle_stack(&mut self) {
        let rows = self.shown().rows(self.sort);
        let rank = self.selected_rank(&rows);
        // The rank may change under a shown stack, the site must not.
        self.selected = rows.get(rank).map(|row| row.figures.site);
        self.expanded = if self.expanded.is_some() || self.selected.is_none() { None } else { Some(0) };
    }

    /// Goes on to the next order of the sites.
    pub(super) fn next_sort(&mut self) -> Sort {
        self.sort = match self.sort {
            Sort::Live => Sort::Growth,
            Sort::Growth => Sort::Count,
            Sort::Count => Sort::Allocs,
            Sort::Allocs => Sort::Age,
            Sort::Age => Sort::Live,
        };
        self.sort
    }
}

#[cfg(test)]
mod tests {
    use super::Model;
    use crate::cli::Sort;
    use crate::output::fixture;
    use crate::output::record::{Record, Tick};

    fn model() -> Model {
        let mut model = Model::new(Sort::Live, None, false);
        for record in fixture::leaking_service(0) {
            model.apply(&record);
        }
        model
    }

    fn order(model: &Model) -> Vec<u32> {
        model.shown().rows(model.sort).iter().map(|row| row.figures.site).collect()
    }

    #[test]
    fn totals_add_the_processes_up() {
        let mut model = model();
        let one = model.shown().totals();
        model.apply(&Record::Tick(Tick { pid: 1, live_bytes: 5, ..fixture::tick(192.0, 5, 0) }));
        let both = model.shown().totals();
        assert_eq!(both.live_bytes, one.live_bytes + 5);
        assert_eq!(both.unknown_frees, one.unknown_frees * 2);
        model.apply(&Record::Tick(Tick { pid: 1, rss_bytes: None, ..fixture::tick(193.0, 5, 0) }));
        assert_eq!(model.shown().totals().live_bytes, one.live_bytes);
        let (growth, seconds) = one.growth.unwrap();
        assert!(growth > 1e6 && (seconds - 30.0).abs() < 1e-6, "{growth} over {seconds}");
        assert!((one.rates.unwrap().allocs - 24_000.0).abs() < 1.0);
    }

    #[test]
    fn the_selected_site_stays_selected() {
        let mut model = model();
        assert_eq!(order(&model), [1, 2, 3, 4]);
        model.step(1);
        assert_eq!(model.selected, Some(2));
        model.sort = Sort::Growth;
        assert_eq!(order(&model), [1, 2, 4, 3]);
        model.step(-5);
        assert_eq!(model.selected, Some(1));
        model.step(50);
        assert_eq!(model.selected, Some(3));
    }

    #[test]
    fn an_expanded_stack_scrolls_and_stays_in_bounds() {
        let mut model = model();
        model.toggle_stack();
        assert_eq!((model.expanded, model.selected), (Some(0), Some(1)));
        model.step(100);
        assert_eq!(model.expanded, Some(fixture::stack().len() - 1));
        model.step(-100);
        assert_eq!(model.expanded, Some(0));
        model.toggle_stack();
        assert_eq!(model.expanded, None);
    }

    #[test]
    fn a_pause_holds_the_picture_not_the_trace() {
        let mut model = model();
        let before = model.shown().totals().live_bytes;
        model.toggle_pause();
        model.apply(&Record::Tick(fixture::tick(193.0, before * 2, 0)));
        assert_eq!(model.shown().totals().live_bytes, before);
        model.toggle_pause();
        assert_eq!(model.shown().totals().live_bytes, before * 2);
    }

    #[test]
    fn an_empty_model_has_nothing_to_select() {
        let mut model = Model::new(Sort::Live, None, false);
        model.step(1);
        model.toggle_stack();
        assert_eq!((model.selected, model.expanded), (None, None));
    }
}
