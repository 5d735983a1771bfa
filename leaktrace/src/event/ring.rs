//! The reader's end of the ring buffer: records are copied out in batches.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
};

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use leaktrace_common::{Header, Kind};
use tokio::io::{Interest, unix::AsyncFd};

use super::BatchWriter;

/// A batch is handed on at this size: large enough to pay for the hand-over, small enough to stay in a cache.
const BATCH_BYTES: usize = 256 << 10;

/// The ring, readable without blocking.
pub struct Ring {
    kernel: AsyncFd<Inner>,
    batch: BatchWriter,
    newest_ns: u64,
}

struct Inner(RingBuf<MapData>);

impl AsRawFd for Inner {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Ring {
    /// Registers the ring with the running tokio runtime.
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: the descriptor is the one that `Inner` owns and never replaces, so it stays open and the same for
        // as long as the AsyncFd owns the `Inner`.
        let ring = unsafe { AsyncFd::register_with_interest(Inner(ring), Interest::READABLE) }?;
        Ok(Self { kernel: ring, batch: BatchWriter::with_capacity(2 * BATCH_BYTES), newest_ns: 0 })
    }

    /// Waits until the kernel says that enough records wait. It says so for batches only: look by [`Self::take`]
    /// now and then as well.
    pub async fn readable(&mut self) -> io::Result<()> {
        self.kernel.readable_mut().await?.clear_ready();
        Ok(())
    }

    /// When the last record that was taken was made, nanoseconds on the kernel's monotonic clock; 0 before the first.
    pub const fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// The next batch of what waits in the ring; `None` when it is empty. Stacks, the life of processes, and steps
    /// of V8's collections are shown to `rare` as well. In the place of a copied stack stands what `unwind` makes of it.
    pub fn take(
        &mut self,
        mut unwind: impl FnMut(&[u8]) -> Option<Vec<u8>>,
        mut rare: impl FnMut(&[u8]),
    ) -> Option<(Bytes, u64)> {
        let inner = self.kernel.get_mut();
        while self.batch.len() < BATCH_BYTES {
            let Some(record) = inner.0.next() else { break };
            self.newest_ns = time_ns(&record).unwrap_or(self.newest_ns);
            if record.first() == Some(&(Kind::StackCopy as u8)) {
                if let Some(stack) = unwind(&record) {
                    rare(&stack);
                    self.batch.push(&stack);
                }
                continue;
            }
            if record.first().is_some_and(|&kind| is_rare(kind)) {
                rare(&record);
            }
            self.batch.push(&record);
        }
        if self.batch.is_empty() {
            return None;
        }
        let records = self.batch.records();
        Some((self.batch.take(), records))
    }
}

/// When a record was made, as its header tells.
fn time_ns(record: &[u8]) -> Option<u64> {
    const AT: usize = std::mem::offset_of!(Header, time_ns);
    let bytes = record.get(AT..AT + size_of::<u64>())?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Stacks are sent once each; the life of processes and collections are nothing that happens often.
const fn is_rare(kind: u8) -> bool {
    const STACK: u8 = Kind::Stack as u8;
    const LAST_OF_LIFE: u8 = Kind::ObjectsChanged as u8;
    const MAPPING_STACK: u8 = Kind::MappingStack as u8;
    const GC_STEP: u8 = Kind::GcStep as u8;
    matches!(kind, STACK..=LAST_OF_LIFE | MAPPING_STACK | GC_STEP)
}
