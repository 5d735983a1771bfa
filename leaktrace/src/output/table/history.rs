//! The history of live bytes since attach in a fixed number of points, for the sparkline.

/// Points that are kept: once full, neighbours are merged, so that a week fits as well as a minute.
const POINTS: usize = 512;

/// Live bytes over time, each point the largest of its share of time.
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
    pub(super) fn push(&mut self, t: f64, live_bytes: u64) {
        let same_moment = self.last_t.is_some_and(|last| (t - last).abs() < 1e-3);
        self.last_t = Some(t);
        self.stride = self.stride.max(1);
        if let Some(point) = self.points.last_mut().filter(|_| same_moment || self.filled < self.stride) {
            *point = if same_moment && self.stride == 1 { live_bytes } else { live_bytes.max(*point) };
            self.filled += u64::from(!same_moment);
            return;
        }
        if self.points.len() == POINTS {
            self.points = self.points.chunks(2).filter_map(|pair| pair.iter().max().copied()).collect();
            self.stride = self.stride.saturating_mul(2);
        }
        self.points.push(live_bytes);
        self.filled = 1;
    }

    /// The largest live bytes of the whole history.
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
    use super::{History, POINTS};

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
    fn a_long_history_keeps_its_shape_in_bounded_room() {
        let mut history = History::default();
        for t in 0..1_000_000_u64 {
            history.push(t as f64, t);
        }
        assert!(history.points.len() <= POINTS);
        assert_eq!(history.bars(8), "▂▃▄▄▅▆▇█");
    }
}
