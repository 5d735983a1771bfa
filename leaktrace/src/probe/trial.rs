//! The trial of return probes.
use crate::{probe::programs::Programs, target::hazard::TrialResult};
pub fn run(_: &mut Programs) -> TrialResult { TrialResult::Failed }
pub fn run_child_if_asked() {}
