//! What is seen of the blocks: all of them, samples, or slices of time; and what that costs.

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
        let sampling = self.sampling;
        for traced in self.living() {
            traced.tracker.set_sampling(sampling);
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
        let sees_all_frees = self.gaze.sees_all_frees;
        for traced in self.living() {
            traced.tracker.look_away(t, sees_all_frees);
        }
    }

    /// The probes stand again.
    pub(super) fn look_again(&mut self, t: f64, until: Option<f64>) {
        self.gaze.again(t, until);
        self.spend.begin_slice();
        for traced in self.living() {
            let code = &traced.code;
            traced.tracker.look_again(t, until, &|address| is_code(code, address));
        }
    }

    /// The processes that are not gone.
    fn living(&mut self) -> impl Iterator<Item = &mut Traced> {
        self.processes.values_mut().filter(|traced| !traced.gone)
    }

    /// What tracing took from the processes since attach.
    pub(in crate::session) const fn spent(&self) -> Spent {
        self.spend.total()
    }
}
