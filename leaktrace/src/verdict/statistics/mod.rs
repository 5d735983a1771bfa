//! Statistics that the verdicts rest on: each a function of plain numbers, none knows of memory.

mod autocorrelation;
mod change_points;
mod generalised;
mod mann_kendall;
mod robust;
mod student;
mod theil_sen;

pub(super) use change_points::change_points;
pub(super) use generalised::{Noise, fit};
pub(super) use mann_kendall::{Trend, mann_kendall};
pub(super) use robust::{deviation, mean, median, quantile};
pub(super) use student::quantile_975;
pub(super) use theil_sen::theil_sen;
