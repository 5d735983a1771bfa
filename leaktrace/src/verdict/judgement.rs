//! The answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether it is a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It grows and nothing says that it will stop.
    Leak,
    /// It may be a leak: early growth, or one large jump that stays.
    Suspect,
    /// It does not grow without bound.
    Bounded,
    /// Too little was seen for an answer.
    InsufficientData,
}

/// The shape of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// Sustained growth, steady or accelerating.
    Linear,
    /// Jumps with flat treads, never back down.
    Staircase,
    /// Cycles. With rising low points it is a leak, with flat ones it is bounded.
    Periodic,
    /// One abrupt large jump that stays.
    Spike,
    /// Growth that saturates.
    Warmup,
    /// No net growth.
    Steady,
    /// Less and less.
    Shrinking,
}

/// How fast it grows, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// The best estimate.
    pub bytes_per_s: f64,
    /// Lower and upper end of the interval that holds the true rate with 95 %; `low <= bytes_per_s <= high`.
    pub ci95: (f64, f64),
}

/// One thing that speaks for or against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// A stable name to branch on: `trend`, `saturation`, `steps`, `period`, `troughs`, `survival`, `free_ratio`, ….
    pub name: String,
    /// Its figure; what it means and its unit depends on the name.
    pub value: f64,
    /// One short phrase for people: "old blocks do not die: 98 % of those born in the first half still live".
    pub says: String,
}

/// What a series is.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Whether it is a leak.
    pub verdict: Verdict,
    /// Its shape; `None` with insufficient data.
    pub pattern: Option<Pattern>,
    /// How likely verdict and pattern are right, 0..1, calibrated: of those at 0.9, nine in ten are.
    pub confidence: f64,
    /// How fast it grows; `None` where no rate can be given.
    pub growth: Option<Growth>,
    /// Since when it moves as it does now, in the time of the series; `None` where it always did, as far as is known.
    pub since_s: Option<f64>,
    /// Seconds until the headroom is used up at this rate; `None` without a limit, or without growth.
    pub eta_to_limit_s: Option<f64>,
    /// What speaks for it and against it, the weightiest first.
    pub evidence: Vec<Evidence>,
    /// The likely cause, in one sentence.
    pub cause: Option<String>,
    /// What to do, in one sentence.
    pub advice: Option<String>,
}
