//! `cargo xtask classification --fit`: the weights of the decision.
//!
//! A multinomial logistic regression of the signs of series, by Adam (Kingma and Ba 2015) on small batches with a little
//! shrinkage. It is fitted on the corpus' fitting seed and, in equal number, on [`variations`] of its own: shapes, noise
//! and sampling that the corpus does not have, so that what is learnt is not the corpus. The same code on the same
//! machine gives the same weights.

mod dice;
mod signal;
mod variations;

use std::fmt::Write as _;

use leaktrace::verdict::{Samples, signs};
use leaktrace_corpus::{Class, generate, seeds};

use dice::Dice;
use variations::variation;

/// Series of each class and source.
const SERIES: usize = 2_500;
/// How often each series is looked at.
const EPOCHS: usize = 60;
const BATCH: usize = 128;
const SHRINKAGE: f64 = 1e-5;
const FASTEST: f64 = 0.03;
const CLASSES: usize = Class::ALL.len();

/// The signs of a series, a constant 1 after them, and its class.
struct Row {
    signs: Vec<f64>,
    class: usize,
}

/// Fits the weights and gives the text of `leaktrace/src/verdict/weights.rs`; says what it does.
pub(crate) fn fit() -> String {
    let (names, rows) = rows();
    println!("{} series, {} signs", rows.len(), names.len());
    let weights = descend(&rows);
    let right = rows.iter().filter(|row| likeliest(&weights, &row.signs) == row.class).count();
    println!("{:.2} % of them are recognised", 100.0 * right as f64 / rows.len() as f64);
    render(&names, &weights)
}

fn rows() -> (Vec<&'static str>, Vec<Row>) {
    let mut names = Vec::new();
    let mut rows = Vec::new();
    let mut take = |points: Vec<(f64, f64)>, class: usize| {
        let named = signs(&Samples::new(points));
        if !named.is_empty() {
            names = named.iter().map(|&(name, _)| name).collect();
            let signs = named.into_iter().map(|(_, sign)| sign).chain([1.0]).collect();
            rows.push(Row { signs, class });
        }
    };
    let mut dice = Dice::new(1);
    for index in 0..SERIES * CLASSES {
        let class = index % CLASSES;
        take(variation(&mut dice, class), class);
    }
    for series in generate(seeds::FITTING, SERIES * CLASSES) {
        let class = Class::ALL.iter().position(|&class| class == series.class).unwrap_or(0);
        take(series.points.iter().map(|&(t, bytes)| (t, bytes as f64)).collect(), class);
    }
    (names, rows)
}

/// Weights for each class, one for each sign and the constant.
fn descend(rows: &[Row]) -> Vec<Vec<f64>> {
    let width = rows.first().map_or(0, |row| row.signs.len());
    let zeros = || vec![vec![0.0; width]; CLASSES];
    let (mut weights, mut mean, mut square) = (zeros(), zeros(), zeros());
    let mut dice = Dice::new(99);
    let mut order: Vec<&Row> = rows.iter().collect();
    let steps = EPOCHS * rows.len().div_ceil(BATCH);
    let mut step = 0;
    for _ in 0..EPOCHS {
        for index in (1..order.len()).rev() {
            order.swap(index, dice.below(index + 1));
        }
        for batch in order.chunks(BATCH) {
            step += 1;
            let slopes = slopes(&weights, batch);
            let pace = FASTEST * (1.0 - f64::from(step) / steps as f64) + 1e-5;
            let (unbias_mean, unbias_square) = (1.0 - 0.9_f64.powi(step), 1.0 - 0.999_f64.powi(step));
            let states =
                weights.iter_mut().flatten().zip(mean.iter_mut().flatten()).zip(square.iter_mut().flatten());
            for (((weight, mean), square), slope) in states.zip(slopes.iter().flatten()) {
                *mean = 0.9 * *mean + 0.1 * slope;
                *square = 0.999 * *square + 0.001 * slope * slope;
                *weight -= pace * (*mean / unbias_mean) / ((*square / unbias_square).sqrt() + 1e-8);
            }
        }
    }
    weights
}

/// The gradient of the cross entropy over a batch.
fn slopes(weights: &[Vec<f64>], batch: &[&Row]) -> Vec<Vec<f64>> {
    let mut slopes: Vec<Vec<f64>> =
        weights.iter().map(|weights| weights.iter().map(|weight| SHRINKAGE * weight).collect()).collect();
    for row in batch {
        let probabilities = probabilities(weights, &row.signs);
        for (class, (slopes, probability)) in slopes.iter_mut().zip(probabilities).enumerate() {
            let error = (probability - f64::from(u8::from(class == row.class))) / batch.len() as f64;
            for (slope, sign) in slopes.iter_mut().zip(&row.signs) {
                *slope += error * sign;
            }
        }
    }
    slopes
}

fn scores<'a>(weights: &'a [Vec<f64>], signs: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    weights.iter().map(move |weights| weights.iter().zip(signs).map(|(weight, sign)| weight * sign).sum())
}

fn probabilities(weights: &[Vec<f64>], signs: &[f64]) -> Vec<f64> {
    let highest = scores(weights, signs).fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores(weights, signs).map(|score| (score - highest).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / total).collect()
}

fn likeliest(weights: &[Vec<f64>], signs: &[f64]) -> usize {
    let best = scores(weights, signs).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(0, |(class, _)| class)
}

fn render(names: &[&str], weights: &[Vec<f64>]) -> String {
    let mut text = String::from(
        "//! The weights of the decision. Generated by `cargo xtask classification --fit`; do not edit.\n\n\
         /// The signs that the weights are for, in order; the weight after the last is constant.\n#[cfg(test)]\n",
    );
    let list = |items: Vec<String>| items.join(", ");
    let quoted = list(names.iter().map(|name| format!("{name:?}")).collect());
    let rows = list(
        weights
            .iter()
            .map(|weights| format!("[{}]", list(weights.iter().map(|w| format!("{:.0}", w * 1e3)).collect())))
            .collect(),
    );
    let (count, width) = (names.len(), names.len() + 1);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "pub(super) const NAMES: [&str; {count}] = [{quoted}];");
    let _ = writeln!(text, "\n/// For each shape its weights, in thousandths.");
    let _ = writeln!(text, "pub(super) const WEIGHTS: [[i32; {width}]; {CLASSES}] = [{rows}];");
    text
}
