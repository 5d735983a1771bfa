//! What is measured of curves whose truth is known.

use super::Samples;
use crate::verdict::curve::Curve;
use crate::verdict::study::{Kernel, Study};

fn study(count: usize, shape: impl Fn(f64) -> f64) -> Study {
    let last = (count - 1) as f64;
    let points = (0..count).map(|i| (i as f64, 1e6 * (10.0 + shape(i as f64 / last))));
    Study::new(Curve::new(&Samples::new(points)).unwrap())
}

fn assert_near(got: f64, expected: f64, margin: f64, what: &str) {
    assert!((got - expected).abs() <= margin, "{what}: {got} instead of {expected}");
}

#[test]
fn moves_add_up() {
    let triangle = study(200, |x| if x < 0.5 { 2.0 * x } else { 2.0 - 2.0 * x });
    assert_near(triangle.moves.up, 1.0, 0.03, "up");
    assert_near(triangle.moves.down, 1.0, 0.03, "down");
    assert_near(triangle.moves.falling(), 0.5, 0.01, "share of falls");
    assert_near(triangle.moves.net, 0.0, 0.05, "net");
    let line = study(200, |x| x);
    assert_near(line.moves.falling(), 0.0, 1e-9, "a line never falls");
    assert_near(line.moves.net, 0.875, 0.02, "from the first eighth to the last");
}

#[test]
fn a_line_is_a_line_whatever_else_is_tried() {
    let smooth = study(300, |x| x).smooth;
    assert_near(smooth.line.slope, 1.0, 1e-6, "slope");
    assert!(smooth.line.score.criterion < smooth.bend.score.criterion);
    assert!(smooth.line.score.criterion < smooth.saturation.score.criterion);
    assert!(smooth.line.score.criterion < smooth.level.criterion - 100.0);
}

#[test]
fn a_bend_is_found_where_it_is() {
    let bend = study(300, |x| (x - 0.43_f64).max(0.0)).smooth.bend;
    assert_near(bend.place, 0.43, 0.02, "place");
    assert_near(bend.before, 0.0, 0.05, "slope before");
    assert_near(bend.after, 1.0 / 0.57, 0.05, "slope after");
}

#[test]
fn a_full_cache_is_a_ramp_and_a_warm_one_an_exponential() {
    let full = study(400, |x| x.min(0.5)).smooth.saturation;
    assert!(matches!(full.kernel, Kernel::Ramp { .. }), "{:?}", full.kernel);
    assert_near(full.kernel.all_but(0.1), 0.45, 0.03, "nine tenths");
    let warm = study(400, |x| 1.0 - (-x / 0.12).exp()).smooth.saturation;
    assert!(matches!(warm.kernel, Kernel::Exponential { .. }), "{:?}", warm.kernel);
    assert_near(warm.kernel.all_but(0.1), 0.12 * 10.0_f64.ln(), 0.03, "nine tenths");
}

#[test]
fn a_warm_up_and_the_slope_that_goes_on_are_told_apart() {
    let sloped = study(400, |x| 1.0 - (-x / 0.08).exp() + 0.5 * x).smooth.sloped;
    assert_near(sloped.slope, 0.5 / 1.5, 0.02, "slope in ranges a window");
}

#[test]
fn steps_are_counted_and_their_treads_are_flat() {
    let steps = study(200, |x| (x * 5.0).floor().min(4.0)).steps;
    assert_eq!(steps.count(), 4);
    assert_near(steps.interval().unwrap(), 0.2, 0.01, "interval");
    assert_near(steps.usual_height(), 0.25, 0.001, "height");
    assert_near(steps.tread_slope, 0.0, 1e-6, "slope of treads");
    assert_near(steps.abrupt, 1.0, 1e-6, "abruptness");
    assert!(steps.gain > 1.0 && steps.fresh.gain > 1.0, "{steps:?}");
    let line = study(200, |x| x).steps;
    assert!(line.tread_slope > 0.8 && line.fresh.gain <= 0.0, "{line:?}");
}

#[test]
fn treads_found_in_noise_do_not_hold_for_the_points_between() {
    let mut noise = super::noise(11);
    let errors: Vec<f64> = (0..250).map(|_| 0.05 * noise()).collect();
    let steps = study(250, |x| x + errors[(x * 249.0).round() as usize]).steps;
    assert!(steps.fresh.gain < 0.0 && steps.fresh.tread_slope > 0.5, "{steps:?}");
}

#[test]
fn a_leap_is_measured() {
    let stays = study(300, |x| if x < 0.3 { 0.0 } else { 1.0 }).leap;
    assert_near(stays.at, 0.3, 0.01, "when");
    assert_near(stays.height, 1.0, 1e-9, "height");
    assert_near(stays.stays, 1.0, 1e-9, "what is left at the end");
    assert_near(stays.drift, 0.0, 1e-9, "drift");
    let slow = study(300, |x| ((x - 0.3) / 0.3).clamp(0.0, 1.0)).leap;
    assert!(slow.abrupt < 0.3, "{slow:?}");
}

#[test]
fn cycles_are_timed_and_their_low_points_followed() {
    let flat = study(400, |x| (x * 8.0).fract()).cycles;
    assert_near(flat.period, 0.125, 0.003, "period");
    assert!(flat.likeness > 0.8 && flat.jitter < 0.1, "{flat:?}");
    assert_near(flat.trough_growth, 0.0, 0.1, "growth of low points");
    let rising = study(400, |x| 0.5 * (x * 8.0).fract() + x).cycles;
    assert_near(rising.trough_growth * 1.5, 1.0, 0.12, "growth of low points");
    assert_near(rising.mean_growth.slope * 1.5, 1.0, 0.12, "growth of means");
}

#[test]
fn rest_is_longer_than_any_pause_before() {
    let stopped = study(300, |x| x.min(0.7)).tail;
    assert_near(stopped.rest, 0.3, 0.06, "rest");
    assert!(stopped.rest > 3.0 * stopped.longest_pause, "{stopped:?}");
    let line = study(300, |x| x).tail;
    assert!(line.rest < 0.1, "{line:?}");
}
