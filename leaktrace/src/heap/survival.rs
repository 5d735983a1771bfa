//! How long blocks live: the share that outlives an age, from deaths by age and from the living, who have not died yet.

use super::site::Lifetimes;

/// Blocks that live, their ages spread evenly between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Living {
    /// Youngest and oldest, in birth units.
    pub(super) ages: (f64, f64),
    pub(super) count: f64,
}

impl Living {
    /// How many of them have ages between the bounds.
    fn between(&self, from: f64, to: f64) -> f64 {
        let (youngest, oldest) = self.ages;
        if oldest <= youngest {
            return if (from..to).contains(&youngest) { self.count } else { 0.0 };
        }
        let overlap = oldest.min(to) - youngest.max(from);
        self.count * (overlap / (oldest - youngest)).clamp(0.0, 1.0)
    }
}

/// The share of blocks that live longer than `age` (birth units), estimated after Kaplan and Meier: at each age, of
/// those that reached it, what share did not die then? Those that live are right-censored: they count among the ones
/// at risk up to the age they have.
///
/// Ages are known by the doubling steps of [`Lifetimes`], so each step is one interval of a life table: who is
/// censored within it was at risk for half of it. Within the step that holds `age`, which ends at `oldest` at the
/// latest, deaths are spread at a constant rate.
pub(super) fn survival(deaths: &Lifetimes, living: &[Living], age: f64, oldest: f64) -> f64 {
    let alive: f64 = living.iter().map(|some| some.count).sum();
    let mut at_risk = deaths.counts().iter().sum::<u64>() as f64 + alive;
    let mut share = 1.0;
    for (step, &died) in deaths.counts().iter().enumerate() {
        let (from, to) = Lifetimes::units(step);
        if from >= age {
            break;
        }
        let censored: f64 = living.iter().map(|some| some.between(from, to)).sum();
        let stays = stays(died as f64, at_risk - censored / 2.0);
        if to <= age {
            share *= stays;
        } else {
            share *= stays.powf((age - from) / (to.min(oldest).max(age) - from));
        }
        at_risk -= died as f64 + censored;
    }
    share.clamp(0.0, 1.0)
}

/// The share that does not die, of so many at risk.
fn stays(died: f64, at_risk: f64) -> f64 {
    if died > 0.0 { (1.0 - died / at_risk.max(died)).max(0.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deaths(ages: &[(u32, u32)]) -> Lifetimes {
        let mut deaths = Lifetimes::default();
        for &(age, count) in ages {
            (0..count).for_each(|_| deaths.add(age));
        }
        deaths
    }

    fn living(ages: f64, count: u32) -> Living {
        Living { ages: (ages, ages), count: f64::from(count) }
    }

    fn assert_near(estimate: f64, expected: f64) {
        assert!((estimate - expected).abs() < 1e-12, "{estimate}, not {expected}");
    }

    #[test]
    fn without_censoring_it_is_the_share_that_reached_the_age() {
        let deaths = deaths(&[(0, 5), (3, 3), (20, 2)]);
        for (age, share) in [(1.0, 0.5), (2.0, 0.5), (4.0, 0.2), (16.0, 0.2), (32.0, 0.0)] {
            assert_near(survival(&deaths, &[], age, 1e9), share);
        }
    }

    #[test]
    fn the_living_are_at_risk_up_to_their_age() {
        // 10 blocks: one dies at once (9/10); two live at age 1 and leave 7 at risk, of which 2 die at age 5 (5/7);
        // one lives at age 8, so that 4 are at risk when 1 dies at age 40 (3/4). Three live at age 100.
        let deaths = deaths(&[(0, 1), (5, 2), (40, 1)]);
        let living = [living(100.0, 3), living(8.0, 1), living(1.0, 2)];
        for (age, share) in [(1.0, 0.9), (8.0, 0.9 * 5.0 / 7.0), (64.0, 0.9 * 5.0 / 7.0 * 0.75)] {
            assert_near(survival(&deaths, &living, age, 100.0), share);
        }
    }

    #[test]
    fn the_living_of_a_step_are_at_risk_for_half_of_it() {
        // The step from 4 to 8: 4 die, 4 live, 4 go on: 4 of 12 - 4 / 2.
        let living = [living(9.0, 4), living(6.0, 4)];
        assert_near(survival(&deaths(&[(4, 2), (7, 2)]), &living, 8.0, 9.0), 0.6);
        // Half of it at a constant rate.
        assert_near(survival(&deaths(&[(4, 2), (7, 2)]), &living, 6.0, 9.0), 0.6_f64.sqrt());
    }

    #[test]
    fn ages_between_two_bounds_are_spread_evenly() {
        // A quarter of them is in the step from 8 to 16, the others in the one from 16 to 32.
        let living = [Living { ages: (12.0, 28.0), count: 8.0 }];
        assert_near(survival(&deaths(&[(10, 3)]), &living, 16.0, 28.0), 1.0 - 3.0 / (11.0 - 1.0));
    }

    #[test]
    fn who_all_live_survive_and_who_all_die_do_not() {
        assert_near(survival(&deaths(&[]), &[living(50.0, 9)], 25.0, 50.0), 1.0);
        assert_near(survival(&deaths(&[(3, 9)]), &[], 25.0, 50.0), 0.0);
        assert_near(survival(&deaths(&[]), &[], 25.0, 50.0), 1.0);
    }
}
