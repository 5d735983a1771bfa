//! `--fail-on-leak`: a leak that stands at the end of a trace is a failure.

use super::pipeline::Pipeline;
use crate::{
    error::{ExitCode, Failure},
    output::leak,
};

/// Fails if a leak stands that is at least this sure, where one was asked for; the trace is at its end.
pub(super) fn check(pipeline: &Pipeline, confidence: Option<f64>) -> Result<(), Failure> {
    let Some(confidence) = confidence else { return Ok(()) };
    let leaks: Vec<_> =
        pipeline.alarms().into_iter().filter(|record| record.is_leak_at(confidence)).collect();
    let Some(first) = leaks.first() else { return Ok(()) };
    let more = match leaks.len() {
        1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    let message = format!("found what --fail-on-leak asks for: {}{more}", leak::line(first));
    Err(Failure::new(ExitCode::LeakFound, message))
}
