//! The balance of frees, solved for the chance that a block which is gone is known to be.

/// Blocks that were out of sight, and those of them that are known to be gone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fate {
    pub(super) blocks: f64,
    pub(super) gone: f64,
}

impl Fate {
    /// How many are gone, if one that is gone is known to be so by this chance.
    pub(super) fn gone_by(&self, chance: f64) -> f64 {
        (self.gone / chance).min(self.blocks)
    }
}

/// The chance by which `frees` blocks have gone in all, between `least` and 1: the fewer are known of those that went, the
/// smaller it is.
pub(super) fn chance<I: Iterator<Item = Fate>>(fates: impl Fn() -> I, frees: f64, least: f64) -> f64 {
    const STEPS: usize = 30;
    let gone = |chance: f64| fates().map(|fate| fate.gone_by(chance)).sum::<f64>();
    let (mut low, mut high) = (least, 1.0);
    if gone(high) >= frees {
        return high;
    }
    if gone(low) <= frees {
        return low;
    }
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if gone(middle) > frees {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solved(fates: &[(f64, f64)], frees: f64, least: f64) -> f64 {
        let fates = || fates.iter().map(|&(blocks, gone)| Fate { blocks, gone });
        chance(fates, frees, least)
    }

    #[test]
    fn the_chance_accounts_for_all_frees() {
        // Of 100 and 20 blocks all 120 went, and 3 of the 20 are known: each of these stands for 7 at least.
        let found = solved(&[(100.0, 98.0), (20.0, 3.0)], 120.0, 0.03);
        assert!(found <= 0.15 + 1e-6, "{found}");
        // A third site never lost one, and 120 went as before: the third has all of its blocks.
        let found = solved(&[(100.0, 98.0), (20.0, 3.0), (5.0, 0.0)], 120.0, 0.03);
        assert!(found <= 0.15 + 1e-6, "{found}");
        // Half of those that went are known.
        let found = solved(&[(1000.0, 100.0), (1000.0, 200.0)], 600.0, 0.03);
        assert!((found - 0.5).abs() < 1e-6, "{found}");
    }

    #[test]
    fn it_stays_within_its_bounds() {
        assert!((solved(&[(10.0, 5.0)], 2.0, 0.1) - 1.0).abs() < 1e-9, "fewer frees than are known");
        assert!((solved(&[(10.0, 0.5)], 1e9, 0.1) - 0.1).abs() < 1e-9, "frees of blocks that nobody knows");
        assert!((solved(&[], 5.0, 0.1) - 0.1).abs() < 1e-9);
    }
}
