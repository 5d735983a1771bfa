//! Where the level of a series jumps.

/// The division of a series into pieces of constant level with the least sum of squares plus `penalty` for each piece:
/// exact (optimal partitioning, Jackson et al. 2005), with candidates left out that can never win again (PELT, Killick
/// et al. 2012). Gives the index of the first value of each piece but the first. Takes up to n² steps: the caller
/// bounds n.
pub(in super::super) fn change_points(values: &[f64], penalty: f64) -> Vec<usize> {
    let sums = Sums::new(values);
    let n = values.len();
    // For each end: the least cost of everything before it, and where its last piece begins.
    let mut best: Vec<(f64, usize)> = Vec::with_capacity(n + 1);
    best.push((-penalty, 0));
    let mut candidates: Vec<(usize, f64)> = Vec::new();
    for end in 1..=n {
        candidates.push((end - 1, best.get(end - 1).map_or(0.0, |&(cost, _)| cost)));
        let mut least = (f64::INFINITY, 0);
        for &(start, before) in &candidates {
            let cost = before + sums.spread(start, end) + penalty;
            if cost < least.0 {
                least = (cost, start);
            }
        }
        candidates.retain(|&(start, before)| before + sums.spread(start, end) <= least.0);
        best.push(least);
    }
    let mut points = Vec::new();
    let mut end = n;
    while let Some(&(_, start)) = best.get(end).filter(|&&(_, start)| start > 0 && start < end) {
        points.push(start);
        end = start;
    }
    points.reverse();
    points
}

/// Sums from the start, so that the spread of any piece takes one step.
struct Sums {
    values: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(values: &[f64]) -> Self {
        let mean = super::robust::mean(values);
        let running = |step: fn(f64) -> f64| {
            let from_start = values.iter().scan(0.0, move |sum, y| {
                *sum += step(y - mean);
                Some(*sum)
            });
            std::iter::once(0.0).chain(from_start).collect()
        };
        Self { values: running(|y| y), squares: running(|y| y * y) }
    }

    /// Sum of squares around the mean of the values from `start` up to before `end`.
    fn spread(&self, start: usize, end: usize) -> f64 {
        let between =
            |sums: &[f64]| sums.get(end).zip(sums.get(start)).map_or(0.0, |(end, start)| end - start);
        let sum = between(&self.values);
        (between(&self.squares) - sum * sum / (end - start).max(1) as f64).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_found_where_they_are() {
        let values: Vec<f64> = [0.0; 7].into_iter().chain([5.0; 5]).chain([4.0; 9]).collect();
        assert_eq!(change_points(&values, 0.1), [7, 12]);
        assert_eq!(change_points(&values, 4.0), [7], "the small one is not worth its price");
        assert!(change_points(&values, 1e6).is_empty());
        assert!(change_points(&[], 1.0).is_empty() && change_points(&[3.0], 1.0).is_empty());
    }

    #[test]
    fn it_is_the_best_of_all_divisions() {
        let values = [1.0, 3.0, 2.5, 9.0, 8.0, 4.0, 4.5, 4.2, 11.0, 10.0];
        for penalty in [0.5, 2.0, 10.0, 40.0] {
            let cost = |points: &[usize]| {
                let sums = Sums::new(&values);
                let ends: Vec<usize> = [0].iter().chain(points).chain(&[values.len()]).copied().collect();
                ends.windows(2).map(|piece| sums.spread(piece[0], piece[1]) + penalty).sum::<f64>()
            };
            let all = (0_usize..1 << (values.len() - 1)).map(|bits| {
                let chosen: Vec<usize> = (1..values.len()).filter(|i| bits >> (i - 1) & 1 == 1).collect();
                cost(&chosen)
            });
            let least = all.fold(f64::INFINITY, f64::min);
            assert!((cost(&change_points(&values, penalty)) - least).abs() < 1e-9, "penalty {penalty}");
        }
    }
}
