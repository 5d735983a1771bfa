//! The memory of a process, as the heap walk wants it.

use crate::heap::walk::HeapMemory;
use crate::target::resident::ResidentMemory;

/// Pages that are in memory, and no other.
pub(super) struct Reader(pub(super) ResidentMemory);

impl HeapMemory for Reader {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        self.0.read(address, buffer)
    }

    fn resident_pages(&mut self, start: u64, end: u64) -> u64 {
        self.0.pages(start, end)
    }
}
