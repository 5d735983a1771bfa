//! The history of a figure since attach in a fixed number of points, for the sparkline.

use crate::output::record::Tick;

/// Points that are kept: once full, neighbours are merged, so that a week fits as well as a minute.
const POINTS: usize = 512;

/// Which history is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Graph {
    /// Live bytes.
    #[default]
    Live,
    /// The resident set.
    Resident,
    /// Memory within the heap that is free and scattered (`--heap-walk`).
    Scattered,
    /// Memory of the heap that is not live (`--heap-walk`).
    Slack,
}

impl Graph {
    /// The one behind it.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Live => Self::Resident,
            Self::Resident => Self::Scattered,
            Self::Scattered => Self::Slack,
            Self::Slack => Self::Live,
        }
    }

    /// The word before it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Live => "history",
            Self::Resident => "resident",
            Self::Scattered => "scattered",
            Self::Slack => "slack",
        }
    }
}

/// All histories.
#[derive(Clone, Default)]
pub(super) struct Histories {
    live: History,
    resident: History,
    scattered: History,
    slack: History,
}

impl Histories {
    /// One of them.
    pub(super) const fn get(&self, graph: Graph) -> &History {
        match graph {
            Graph::Live => &self.live,
            Graph::Resident => &self.resident,
            Graph::Scattered => &self.scattered,
            Graph::Slack => &self.slack,
        }
    }

    /// Adds what the last ticks of all processes say.
    pub(super) fn push<'a>(&mut self, t: f64, ticks: impl Iterator<Item = &'a Tick> + Clone) {
        let sum = |figures: &mut dyn Iterator<Item = u64>| figures.fold(0, u64::saturating_add);
        self.live.push(t, sum(&mut ticks.clone().map(|tick| tick.live_bytes)));
        self.resident.push(t, sum(&mut ticks.clone().filter_map(|tick| tick.rss_bytes)));
        let walked = ticks.clone().filter_map(|tick| tick.fragmentation.as_ref());
        let mut scattered = walked.map(|found| found.compaction_bytes).peekable();
        if scattered.peek().is_some() {
            self.scattered.push(t, sum(&mut scattered));
        }
        let mut slack = ticks.filter_map(|tick| tick.rss_parts.as_ref()?.slack_bytes).peekable();
        if slack.peek().is_some() {
            self.slack.push(t, sum(&mut slack));
        }
    }
}

/// Bytes over time, each point the largest of its share of time.
#[derive(Clone, Default)]
pub(super) struct History {
    points: Vec<u64>,
    /// Ticks a point stands for; 0 before the first.
    stride: u64,
    /// Ticks that are in the last point.
    filled: u64,
    last_t: Option<f64>,
}

impl History {
    /// Adds a tick; several of one moment (one for each process) are one, and the last, which knows all, counts.
    fn push(&mut self, t: f64, bytes: u64) {
        let same_moment = self.last_t.is_some_and(|last| (t - last).abs() < 1e-3);
        self.last_t = Some(t);
        self.stride = self.stride.max(1);
        if let Some(point) = self.points.last_mut().filter(|_| same_moment || self.filled < self.stride) {
            *point = if same_moment && self.stride == 1 { bytes } else { bytes.max(*point) };
            self.filled += u64::from(!same_moment);
            return;
        }
        if self.points.len() == POINTS {
            self.points = self.points.chunks(2).filter_map(|pair| pair.iter().max().copied()).collect();
            self.stride = self.stride.saturating_mul(2);
        }
        self.points.push(bytes);
        self.filled = 1;
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The largest of the whole history.
    pub(super) fn highest(&self) -> u64 {
        self.points.iter().max().copied().unwrap_or(0)
    }

    /// The history in at most `columns` bars, oldest first; the highest is the largest of all, the base is 0.
    pub(super) fn bars(&self, columns: usize) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let highest = self.highest().max(1);
        let shown = self.points.len().min(columns);
        let bar = |column: usize| {
            let from = column * self.points.len() / shown;
            let to = ((column + 1) * self.points.len() / shown).max(from + 1);
            let value = self.points.get(from..to).and_then(|part| part.iter().max()).unwrap_or(&0);
            let height = (*value as f64 / highest as f64 * 7.0).round() as usize;
            *BARS.get(height).unwrap_or(&'█')
        };
        (0..shown).map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, Histories, History, POINTS};
    use crate::output::fixture;
    use crate::output::record::Tick;

    #[test]
    fn few_points_are_shown_as_they_are() {
        let mut history = History::default();
        assert_eq!(history.bars(10), "");
        for (t, bytes) in [0, 50, 100, 0].into_iter().enumerate() {
            history.push(t as f64, bytes);
        }
        assert_eq!(history.bars(10), "▁▅█▁");
        assert_eq!(history.bars(2), "▅█");
        assert_eq!(history.bars(0), "");
    }

    #[test]
    fn ticks_of_one_moment_are_one_point() {
        let mut history = History::default();
        for (t, bytes) in [(0.0, 100), (0.0, 50), (1.0, 60), (1.0, 100)] {
            history.push(t, bytes);
        }
        assert_eq!(history.bars(9), "▅█");
    }

    #[test]
    fn each_figure_has_its_own() {
        let mut histories = Histories::default();
        let tick = |rss_bytes| Tick { rss_bytes, fragmentation: None, ..fixture::tick(1.0, 7, 0) };
        histories.push(1.0, [tick(Some(100)), tick(None)].iter());
        assert_eq!(histories.get(Graph::Resident).highest(), 100);
        assert!(histories.get(Graph::Scattered).is_empty() && !histories.get(Graph::Live).is_empty());
        assert_eq!(Graph::Live.next().next().next().next(), Graph::Live);
    }

    #[test]
    fn a_long_history_keeps_its_shape_in_bounded_room() {
        let mut history = History::default();
        for t in 0..1_000_000_u64 {
            history.push(t as f64, t);
        }
        assert!(history.points.len() <= POINTS);
        assert_eq!(history.bars(8), "▂▃▄▄▅▆▇█");
    }
}
