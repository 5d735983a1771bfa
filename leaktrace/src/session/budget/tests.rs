use super::*;

const SLICES_ONLY: Means = Means { samples_from: None, slices: true };
const ALL: Means = Means { samples_from: Some(0), slices: true };

/// What tracing takes of a CPU while the probes stand: where all is told, and where nothing is. Of samples of level 1 a tenth
/// of the rest is told, and of each other level a quarter of the one before.
#[derive(Clone, Copy, Debug)]
struct Load {
    whole: f64,
    least: f64,
}

const fn all(whole: f64) -> Load {
    Load { whole, least: whole }
}

/// What became of a run: share that was taken, share of the time in which the probes stood, steps and when.
#[derive(Debug)]
struct Run {
    spent: f64,
    stood: f64,
    steps: Vec<(f64, Step)>,
}

impl Run {
    fn count(&self, step: Step) -> usize {
        self.steps.iter().filter(|(_, one)| *one == step).count()
    }
}

fn run(share: f64, means: Means, seconds: f64, load: impl Fn(f64) -> Load) -> Run {
    const MS: f64 = 0.001;
    let mut budget = Budget::new(share, means);
    let (mut ns, mut least, mut whole) = (0.0, 0.0, 0.0);
    let (mut stood, mut stands, mut t) = (0.0, true, 0.0);
    let mut level = means.samples_from.unwrap_or(0);
    let mut run = Run { spent: 0.0, stood: 0.0, steps: Vec::new() };
    while t < seconds {
        t += MS;
        let spent =
            Spent { ns: (ns * 1e9) as u64, least_ns: (least * 1e9) as u64, whole_ns: (whole * 1e9) as u64 };
        if stands {
            let load = load(t);
            let told = if level == 0 { 1.0 } else { 0.1 * 0.25f64.powi(i32::from(level) - 1) };
            ns += (load.least + (load.whole - load.least) * told) * MS;
            least += load.least * MS;
            whole += load.whole * MS;
            stood += MS;
        }
        let step = budget.step(t, spent);
        match step {
            Step::Away => stands = false,
            Step::Again | Step::Whole => (stands, level) = (true, 0),
            Step::Sample(next) => level = next,
            Step::Wait | Step::Stay => {}
        }
        if budget.is_turning() {
            budget.samples(t, spent);
        }
        if step != Step::Wait {
            run.steps.push((t, step));
        }
    }
    (run.spent, run.stood) = (ns / seconds, stood / seconds);
    run
}

#[test]
fn what_costs_less_than_the_budget_is_traced_whole() {
    let run = run(0.05, ALL, 30.0, |_| all(0.04));
    assert!((run.spent - 0.04).abs() < 1e-3 && (run.stood - 1.0).abs() < 1e-3);
    assert!(run.steps.is_empty(), "{run:?}");
}

#[test]
fn slices_keep_the_budget_once_it_is_passed() {
    for (share, cost) in [(0.05, 0.75), (0.01, 0.9), (0.2, 1.5), (0.05, 8.0)] {
        let run = run(share, SLICES_ONLY, 300.0, |t| all(if t < 1.0 { 0.0 } else { cost }));
        let by_slices = share * BY_SLICES;
        assert!((0.9..1.05).contains(&(run.spent / by_slices)), "{share} of {cost}: {}", run.spent);
        assert!((0.8..1.2).contains(&(run.stood * cost / by_slices)) || run.stood < 0.02, "{}", run.stood);
        assert_eq!((run.steps[0].1, run.steps[1].1), (Step::Away, Step::Again));
        assert_eq!(run.count(Step::Whole), 0);
    }
}

/// What may be spent in a window is spent in a tenth of it: the rest need not be waited for.
#[test]
fn a_budget_that_is_passed_at_once_is_noticed_at_once() {
    let run = run(0.05, SLICES_ONLY, 3.0, |_| all(0.5));
    let (first, step) = run.steps[0];
    assert!(step == Step::Away && (0.1..0.2).contains(&first), "{run:?}");
}

#[test]
fn slices_are_longer_where_probes_go_slowly() {
    let spent = Spent { ns: 800_000_000, ..Spent::default() };
    let mut budget = Budget::new(0.05, SLICES_ONLY);
    assert_eq!(budget.step(1.0, spent), Step::Away);
    budget.are_gone(4.0);
    assert_eq!(budget.step(4.0, spent), Step::Again);
    assert!((budget.slice_s() - 3.0 * 0.05 * BY_SLICES / 0.8).abs() < 1e-9, "{}", budget.slice_s());
}

#[test]
fn when_the_load_is_gone_everything_is_traced_again() {
    let run_of = |load: fn(f64) -> f64| run(0.05, SLICES_ONLY, 100.0, |t| all(load(t)));
    let once = run_of(|t| if t < 20.0 { 0.8 } else { 0.01 });
    assert!(once.stood > 0.7, "{once:?}");
    assert_eq!(once.count(Step::Whole), 1);
    assert_eq!(once.steps.last().map(|(_, step)| *step), Some(Step::Stay));
    let often = run_of(|t| if (t as u64 / 20).is_multiple_of(2) { 0.8 } else { 0.01 });
    assert!(often.spent < 0.055 && often.count(Step::Whole) >= 2, "{often:?}");
}

/// A server that rests for a second after each two: all would be told again each time, and be too much each time.
#[test]
fn a_pause_is_no_end_of_a_load() {
    let run = run(0.05, SLICES_ONLY, 100.0, |t| all(if t % 3.0 < 2.0 { 0.8 } else { 0.001 }));
    assert_eq!(run.count(Step::Whole), 0, "{run:?}");
    assert!(run.spent < 0.053, "{run:?}");
}

/// Each time that it was too early, it is waited longer.
#[test]
fn what_was_too_early_is_tried_more_and_more_seldom() {
    let run = run(0.05, SLICES_ONLY, 600.0, |t| all(if t % 15.0 < 5.0 { 0.8 } else { 0.001 }));
    assert!((1..=2).contains(&run.count(Step::Whole)), "{run:?}");
}

#[test]
fn samples_are_taken_where_the_hits_leave_room_for_them() {
    // A tenth of 0.2 above 0.1, in a budget of 0.2.
    let first = run(0.2, ALL, 30.0, |_| Load { whole: 0.3, least: 0.1 });
    assert_eq!(first.steps.iter().map(|(_, step)| *step).collect::<Vec<_>>(), [Step::Sample(1)]);
    assert!((first.spent - 0.12).abs() < 0.01 && first.stood > 0.999, "{first:?}");
    // A tenth of 8 is too much, and so is a fortieth; a 160th is not.
    let third = run(0.2, ALL, 30.0, |_| Load { whole: 8.1, least: 0.1 });
    let steps: Vec<Step> = third.steps.iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, [Step::Sample(1), Step::Sample(2), Step::Sample(3)]);
    assert!(third.stood > 0.999, "{third:?}");
    // The hits alone are nearly all of it.
    let slices = run(0.2, ALL, 30.0, |_| Load { whole: 0.3, least: 0.195 });
    assert_eq!((slices.steps[0].1, slices.count(Step::Sample(1))), (Step::Away, 0));
}

#[test]
fn samples_give_way_to_slices_and_to_everything() {
    let more = run(0.2, ALL, 40.0, |t| Load { whole: 0.3, least: if t < 20.0 { 0.1 } else { 0.25 } });
    assert_eq!((more.steps[0].1, more.count(Step::Whole)), (Step::Sample(1), 0));
    assert!(more.steps.iter().any(|(t, step)| *step == Step::Away && (20.0..21.5).contains(t)), "{more:?}");
    assert!(more.spent < 0.2, "{more:?}");
    let less = run(0.2, ALL, 40.0, |t| if t < 20.0 { Load { whole: 0.3, least: 0.1 } } else { all(0.01) });
    assert_eq!(less.steps.iter().map(|(_, step)| *step).collect::<Vec<_>>(), [Step::Sample(1), Step::Whole]);
    // And back.
    let again = run(0.2, ALL, 60.0, |t| {
        if (20.0..40.0).contains(&t) { all(0.01) } else { Load { whole: 0.3, least: 0.1 } }
    });
    assert_eq!((again.count(Step::Sample(1)), again.count(Step::Whole)), (2, 1), "{again:?}");
}

#[test]
fn samples_that_were_asked_for_become_fewer_and_more_but_never_more_than_that() {
    let asked = Means { samples_from: Some(1), slices: true };
    let run = run(0.2, asked, 60.0, |t| if t < 20.0 { Load { whole: 8.1, least: 0.1 } } else { all(0.01) });
    let steps: Vec<Step> = run.steps.iter().map(|(_, step)| *step).collect();
    assert_eq!(steps, [Step::Sample(2), Step::Sample(3), Step::Sample(2), Step::Sample(1)]);
}

#[test]
fn where_nothing_can_be_done_nothing_changes() {
    let none = Means { samples_from: None, slices: false };
    let mut budget = Budget::new(0.05, none);
    let spent = Spent { ns: 800_000_000, ..Spent::default() };
    assert_eq!(budget.step(1.0, spent), Step::Away);
    assert!(!budget.is_in_slices());
    let mut budget = Budget::new(0.05, ALL);
    assert_eq!(budget.step(1.0, spent), Step::Sample(1));
    assert_eq!((budget.no_samples(1.0, spent), budget.is_in_slices()), (Step::Away, true));
}
