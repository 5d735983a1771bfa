//! What a walk needs of the memory that it reads.

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// The memory of a process, as far as looking at it does the process no harm: pages that are not in memory are not read,
/// as that would bring them back from swap, or wait for whoever fills them.
pub trait HeapMemory {
    /// Copies what is at `address`: as many bytes, from the first, as can be had.
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> usize;

    /// How many pages between two addresses are in memory; both are multiples of [`PAGE`].
    fn resident_pages(&mut self, start: u64, end: u64) -> u64;
}

/// Little-endian words of a structure that was read.
#[derive(Debug)]
pub(super) struct Words(Vec<u8>);

impl Words {
    /// Reads a structure of so many bytes whole, or not at all.
    pub(super) fn read(memory: &mut dyn HeapMemory, address: u64, bytes: usize) -> Option<Self> {
        let mut buffer = vec![0; bytes];
        (memory.read(address, &mut buffer) == bytes).then_some(Self(buffer))
    }

    pub(super) fn u64(&self, offset: usize) -> Option<u64> {
        word(&self.0, offset)
    }

    pub(super) fn u32(&self, offset: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.0.get(offset..)?.first_chunk()?))
    }

    pub(super) fn u16(&self, offset: usize) -> Option<u16> {
        Some(u16::from_le_bytes(*self.0.get(offset..)?.first_chunk()?))
    }
}

/// The word at an offset of a buffer.
pub(super) fn word(buffer: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*buffer.get(offset..)?.first_chunk()?))
}

/// One word of memory.
pub(super) fn word_at(memory: &mut dyn HeapMemory, address: u64) -> Option<u64> {
    let mut buffer = [0; 8];
    (memory.read(address, &mut buffer) == buffer.len()).then(|| u64::from_le_bytes(buffer))
}
