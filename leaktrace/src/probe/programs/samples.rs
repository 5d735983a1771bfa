//! Samples: how the programs take them, which of their blocks they keep in mind, and the calls that are not told.

use leaktrace_common::sampling::{self, Control};

use super::{Programs, map_failure};
use crate::error::Failure;

impl Programs {
    /// Has samples taken from now on, or everything told. Only where the [settings](super::Settings) allow for samples.
    pub fn control(&mut self, control: Control) -> Result<(), Failure> {
        self.control.set(0, control.to_bits(), 0).map_err(map_failure)
    }

    /// Keeps in mind that these blocks are told, by process and address; fails where there is no room for all of them.
    pub fn remember(&mut self, blocks: &[(u16, u64)]) -> Result<(), Failure> {
        for &(process, address) in blocks {
            self.sampled.insert(sampling::key(process, address), 1, 0).map_err(map_failure)?;
        }
        Ok(())
    }

    /// Forgets all blocks that were kept in mind.
    pub fn forget_all_samples(&mut self) {
        self.forget_samples_where(|_| true);
    }

    /// Forgets those of one process.
    pub(super) fn forget_samples(&mut self, process: u16) {
        self.forget_samples_where(|key| sampling::process_of(*key) == process);
    }

    fn forget_samples_where(&mut self, is_meant: impl Fn(&u64) -> bool) {
        let gone: Vec<u64> = self.sampled.keys().filter_map(Result::ok).filter(is_meant).collect();
        for key in gone {
            let _ = self.sampled.remove(&key);
        }
    }

    /// Whether samples may be taken later on, and are not taken now.
    pub const fn may_sample_later(&self) -> bool {
        self.may_sample_later
    }

    /// Whether there are calls that are not told.
    pub fn passes_calls(&self) -> bool {
        self.passed.is_some()
    }

    /// Calls of a function that the programs looked at so far and did not tell, summed over all CPUs.
    pub fn passed(&self, function: u8) -> u64 {
        let counted = self.passed.as_ref().and_then(|passed| passed.get(&u32::from(function), 0).ok());
        counted.map_or(0, |values| values.iter().sum())
    }
}
