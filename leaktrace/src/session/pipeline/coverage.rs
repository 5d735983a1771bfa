//! What is seen of the blocks: all of them, samples, or slices of time; and what that costs.

use std::collections::BTreeMap;

use super::Pipeline;
use crate::{
    heap::Sampling,
    session::{
        budget::Spent,
        traced::{Traced, is_code},
    },
};

impl Pipeline {
    /// Samples of this level are told from now on.
    pub(super) fn sample(&mut self, base: u64, level: u8) {
        self.sampling = self.sampling.or_else(|| Sampling::every(base)).map(|sampling| sampling.at(level));
        for traced in living(&mut self.processes) {
            traced.tracker.set_sampling(self.sampling);
        }
    }

    /// Addresses of all live blocks, by process; `None` where they are more than so many.
    pub(in crate::session) fn live_addresses(&self, most: u64) -> Option<Vec<(u16, u64)>> {
        let living = || self.processes.iter().filter(|(_, traced)| !traced.gone);
        let count: u64 = living().map(|(_, traced)| traced.tracker.totals().live_count).sum();
        if count > most {
            return None;
        }
        let mut addresses = Vec::new();
        for (&process, traced) in living() {
            traced.tracker.for_each_block(|block| addresses.push((process, block.address)));
        }
        Some(addresses)
    }

    /// The probes go: what lives is out of sight.
    pub(super) fn look_away(&mut self, t: f64) {
        self.gaze.away(t, &self.spend);
        for traced in living(&mut self.processes) {
            traced.tracker.look_away(t, self.gaze.sees_all_frees);
        }
    }

    /// The probes stand again.
    pub(super) fn look_again(&mut self, t: f64, until: Option<f64>) {
        self.gaze.again(t, until);
        self.spend.begin_slice();
        for traced in living(&mut self.processes) {
            let code = &traced.code;
            traced.tracker.look_again(t, until, &|address| is_code(code, address));
        }
    }

    /// What tracing took from the processes since attach.
    pub(in crate::session) const fn spent(&self) -> Spent {
        self.spend.total()
    }
}

/// The processes that are not gone.
pub(super) fn living(processes: &mut BTreeMap<u16, Traced>) -> impl Iterator<Item = &mut Traced> {
    processes.values_mut().filter(|traced| !traced.gone)
}
