//! Reallocations: what a thread gave in is in flight until the call returns.

use super::Tracker;
use crate::heap::block::Loose;

/// A reallocation under way: what its thread gave in.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) address: u64,
    /// The old block, out of the live map meanwhile; `None` where it is not known.
    pub(super) block: Option<Loose>,
}

impl Tracker {
    pub(super) fn begin_realloc(&mut self, tid: u32, address: u64) {
        // The same call again: realloc's probes on a chain of tail calls.
        if self.in_flight.get(&tid).is_some_and(|call| call.address == address) {
            return;
        }
        self.abandon_realloc(tid);
        self.before.note_free(address);
        let block = self.live.remove(address);
        self.in_flight.insert(tid, InFlight { address, block });
    }

    /// A reallocation returned `new` (address 0: nothing).
    pub(super) fn end_realloc(&mut self, new: &Loose, now_ns: u64) {
        let call = self.in_flight.remove(&new.tid);
        // Where a slice begins, calls are under way whose begin nobody saw.
        if call.is_none() && self.glimpses.is_none() {
            self.totals.orphan_reallocs += 1;
        }
        let failed = new.address == 0 && new.size > 0;
        if let Some(call) = call {
            if failed {
                self.reinstate(call.block);
            } else {
                self.free(call.block.as_ref(), now_ns);
            }
        }
        if new.address != 0 {
            self.allocate(new, now_ns);
        }
    }

    /// The thread's reallocation, if there is one under way, will not return: its old block is taken to live on.
    pub(super) fn abandon_realloc(&mut self, tid: u32) {
        if let Some(call) = self.in_flight.remove(&tid) {
            self.totals.abandoned_reallocs += 1;
            self.reinstate(call.block);
        }
    }

    /// Puts a block back that was in flight. Where its address was handed out meanwhile, it must have been freed.
    fn reinstate(&mut self, block: Option<Loose>) {
        let Some(block) = block else { return };
        if self.live.contains(block.address) {
            self.displace(&block);
        } else {
            self.live.insert(&block);
        }
    }
}
