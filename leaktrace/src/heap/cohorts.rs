//! The blocks of a site by the time of their birth: how many were born, and how many of them live.

/// How finely births are told apart: between 8 and 16 cohorts, whatever the length of the trace.
const COHORTS: usize = 16;

/// Width of a site's first cohorts, in birth units of 10 ms: 0.64 s.
const FIRST_WIDTH_LOG2: u8 = 6;

/// Blocks of a site by the time of their birth, in cohorts of equal width that doubles when there are too many.
///
/// Events are counted elsewhere already, so that only the *closed* cohorts have counts of their own: what is not in
/// them is in the current one. An allocation costs one comparison here, a free one more, and a count if the block is
/// old. Times may cross by a moment between threads: a block may be born into a closed cohort.
// The order puts what each allocation compares into the site's first cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Cohorts {
    /// First unit of the current cohort.
    start: u32,
    /// Width of a cohort in birth units; 0 before the first birth.
    width: u32,
    /// Birth of the first block.
    base: u32,
    /// Live blocks of each closed cohort.
    live: [u32; COHORTS],
    /// Births of each closed cohort.
    born: [u64; COHORTS],
    /// Births before the current cohort.
    born_before: u64,
}

/// Blocks born within a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cohort {
    /// First birth unit.
    pub(super) from: u32,
    /// The unit after the last one.
    pub(super) to: u64,
    pub(super) born: u64,
    /// Of these live.
    pub(super) live: u64,
}

impl Cohorts {
    /// Whether a block born now, at `birth`, needs no [`Cohorts::turn`].
    #[inline]
    pub(super) const fn is_current(&self, birth: u32) -> bool {
        birth.wrapping_sub(self.start) < self.width
    }

    /// A block is born outside the current cohort. `born` and `live` are the site's counts without it.
    #[cold]
    pub(super) fn turn(&mut self, birth: u32, born: u64, live: u64) {
        if self.width == 0 {
            (self.base, self.start, self.width) = (birth, birth, 1 << FIRST_WIDTH_LOG2);
            self.born_before = born;
            return;
        }
        if birth < self.start {
            self.add_late(birth);
            return;
        }
        let current = self.index(self.start);
        self.live[current] = live.saturating_sub(self.closed_live()) as u32;
        self.born[current] = born.saturating_sub(self.born_before);
        self.born_before = born;
        while (birth - self.base) / self.width >= COHORTS as u32 {
            self.merge();
        }
        self.open(self.index(birth));
    }

    /// A block of this birth is gone.
    #[inline]
    pub(super) fn gone(&mut self, birth: u32) {
        if self.is_closed(birth) {
            let index = self.index(birth);
            self.live[index] = self.live[index].saturating_sub(1);
        }
    }

    fn add_late(&mut self, birth: u32) {
        if self.is_closed(birth) {
            let index = self.index(birth);
            self.live[index] = self.live[index].saturating_add(1);
            self.born[index] += 1;
            self.born_before += 1;
        }
    }

    /// Whether the cohort of this birth is closed. A birth a moment before the first one belongs to the first cohort,
    /// which may be the current one.
    #[inline]
    const fn is_closed(&self, birth: u32) -> bool {
        birth < self.start && self.start != self.base
    }

    /// The cohort of a birth that is not after the current one.
    #[inline]
    fn index(&self, birth: u32) -> usize {
        let index = birth.saturating_sub(self.base) >> self.width.trailing_zeros();
        (index as usize).min(COHORTS - 1)
    }

    fn closed_live(&self) -> u64 {
        self.live.iter().copied().map(u64::from).sum()
    }

    /// Cohorts of twice the width.
    fn merge(&mut self) {
        for index in 0..COHORTS {
            let (first, second) = (2 * index, 2 * index + 1);
            let inside = second < COHORTS;
            self.live[index] = if inside { self.live[first].saturating_add(self.live[second]) } else { 0 };
            self.born[index] = if inside { self.born[first] + self.born[second] } else { 0 };
        }
        self.width *= 2;
    }

    /// Makes a cohort the current one. What was closed within it is open again.
    fn open(&mut self, index: usize) {
        self.born_before = self.born_before.saturating_sub(self.born[index]);
        (self.born[index], self.live[index]) = (0, 0);
        self.start = self.base + index as u32 * self.width;
    }

    /// Birth of the first block; `None` before it.
    pub(super) const fn first_birth(&self) -> Option<u32> {
        if self.width == 0 { None } else { Some(self.base) }
    }

    /// All cohorts with births, oldest first. `born` and `live` are the site's counts.
    pub(super) fn iter(&self, born: u64, live: u64) -> impl Iterator<Item = Cohort> {
        let current = if self.width == 0 { 0 } else { self.index(self.start) };
        let open = (born.saturating_sub(self.born_before), live.saturating_sub(self.closed_live()));
        let counts = self.born.iter().zip(&self.live).map(|(&born, &live)| (born, u64::from(live)));
        let all = counts.take(current).chain((self.width > 0).then_some(open));
        let from = |index: usize| self.base + index as u32 * self.width;
        all.enumerate()
            .map(move |(index, (born, live))| Cohort {
                from: from(index),
                to: u64::from(from(index)) + u64::from(self.width),
                born,
                live,
            })
            .filter(|cohort| cohort.born > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Cohorts fed as a site feeds them.
    #[derive(Debug, Default)]
    struct Fed {
        cohorts: Cohorts,
        born: u64,
        live: u64,
    }

    impl Fed {
        fn born(&mut self, birth: u32) {
            if !self.cohorts.is_current(birth) {
                self.cohorts.turn(birth, self.born, self.live);
            }
            self.born += 1;
            self.live += 1;
        }

        fn gone(&mut self, birth: u32) {
            self.cohorts.gone(birth);
            self.live -= 1;
        }

        fn list(&self) -> Vec<(u32, u64, u64, u64)> {
            let all = self.cohorts.iter(self.born, self.live);
            all.map(|cohort| (cohort.from, cohort.to, cohort.born, cohort.live)).collect()
        }
    }

    #[test]
    fn births_fall_into_their_cohorts_and_the_width_doubles() {
        let mut fed = Fed::default();
        assert!(fed.list().is_empty());
        for birth in [100, 101, 170, 1000] {
            fed.born(birth);
        }
        assert_eq!(fed.list(), [(100, 164, 2, 2), (164, 228, 1, 1), (996, 1060, 1, 1)]);
        fed.gone(101);
        // 16 cohorts of 0.64 s end here.
        fed.born(100 + 1024);
        assert_eq!(fed.list(), [(100, 228, 3, 2), (996, 1124, 1, 1), (1124, 1252, 1, 1)]);
        fed.gone(1000);
        fed.gone(1124);
        assert_eq!(fed.list(), [(100, 228, 3, 2), (996, 1124, 1, 0), (1124, 1252, 1, 0)]);
    }

    #[test]
    fn a_block_may_be_born_a_moment_late() {
        let mut fed = Fed::default();
        for birth in [100, 164, 163, 99] {
            fed.born(birth);
        }
        assert_eq!(fed.list(), [(100, 164, 3, 3), (164, 228, 1, 1)]);
        for birth in [163, 99, 164, 100] {
            fed.gone(birth);
        }
        assert_eq!(fed.list(), [(100, 164, 3, 0), (164, 228, 1, 0)]);
    }

    proptest! {
        #[test]
        fn cohorts_hold_what_was_born_in_them(
            steps in prop::collection::vec((0_u32..2000, 0_u8..8, any::<u16>(), 0_u32..30), 1..400),
            start in prop_oneof![Just(0), Just(u32::MAX - 200_000)],
        ) {
            let mut fed = Fed::default();
            let mut now = start;
            let mut births: Vec<u32> = Vec::new();
            let mut live: Vec<u32> = Vec::new();
            for (pause, kind, which, late) in steps {
                match kind {
                    0..3 if !live.is_empty() => fed.gone(live.swap_remove(usize::from(which) % live.len())),
                    _ => {
                        now = now.saturating_add(if kind == 7 { pause * 10 } else { pause / 50 });
                        let birth = now.saturating_sub(if kind == 6 { late } else { 0 });
                        fed.born(birth);
                        births.push(birth);
                        live.push(birth);
                    }
                }
                let list = fed.list();
                prop_assert!(list.len() <= COHORTS);
                prop_assert_eq!(list.iter().map(|cohort| cohort.2).sum::<u64>(), births.len() as u64);
                prop_assert_eq!(list.iter().map(|cohort| cohort.3).sum::<u64>(), live.len() as u64);
                let first = births[0];
                let count = |births: &[u32]| {
                    let mut counts = BTreeMap::new();
                    for &birth in births {
                        let birth = u64::from(birth.max(first));
                        let at = list.iter().find(|cohort| (u64::from(cohort.0)..cohort.1).contains(&birth));
                        *counts.entry(at.map(|cohort| cohort.0)).or_insert(0) += 1;
                    }
                    counts
                };
                let (born, alive) = (count(&births), count(&live));
                for &(from, _, cohort_born, cohort_live) in &list {
                    prop_assert_eq!(born.get(&Some(from)), Some(&cohort_born));
                    prop_assert_eq!(alive.get(&Some(from)).copied().unwrap_or(0), cohort_live);
                }
            }
        }
    }
}
