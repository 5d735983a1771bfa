//! The reader's end of the ring buffers: records are copied out in batches.

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    task::{Context, Poll},
};

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use leaktrace_common::{Header, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{Interest, unix::AsyncFd};

use super::{BatchWriter, clock::monotonic_ns, merge::Merge};

/// A batch is handed on at this size: large enough to pay for the hand-over, small enough to stay in a cache.
const BATCH_BYTES: usize = 256 << 10;
/// A record that is being written hides those behind it; mostly it is there at the next look.
const LOOKS: usize = 4;

/// What was taken out of the rings.
pub struct Taken {
    /// Records, as [a batch](super::batch).
    pub batch: Bytes,
    /// How many.
    pub records: u64,
    /// There may be more.
    pub is_full: bool,
}

/// The rings, readable without blocking.
pub struct Ring {
    rings: Vec<AsyncFd<Inner>>,
    /// Bytes of each.
    capacity: usize,
    /// What several rings gave.
    merge: Merge,
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
    /// Registers rings of so many bytes each with the running tokio runtime.
    pub fn new(rings: Vec<RingBuf<MapData>>, capacity: usize) -> io::Result<Self> {
        let register = |ring| -> io::Result<AsyncFd<Inner>> {
            // SAFETY: the descriptor is the one that `Inner` owns and never replaces, so it stays open and the same for
            // as long as the AsyncFd owns the `Inner`.
            Ok(unsafe { AsyncFd::register_with_interest(Inner(ring), Interest::READABLE) }?)
        };
        Ok(Self {
            rings: rings.into_iter().map(register).collect::<Result<_, _>>()?,
            capacity,
            merge: Merge::default(),
            batch: BatchWriter::with_capacity(2 * BATCH_BYTES),
            newest_ns: 0,
        })
    }

    /// Waits until the kernel says that enough records wait. It says so for batches only: look by [`Self::take`]
    /// now and then as well.
    pub async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_readable(context)).await
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut is_any = Poll::Pending;
        for ring in &mut self.rings {
            if let Poll::Ready(guard) = ring.poll_read_ready_mut(context) {
                guard?.clear_ready();
                is_any = Poll::Ready(Ok(()));
            }
        }
        is_any
    }

    /// When the last record that was taken was made, nanoseconds on the kernel's monotonic clock; 0 before the first.
    pub const fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// The next batch of what waits in the rings; `None` when they are empty. Stacks, the life of processes, and steps
    /// of V8's collections are shown to `rare` as well. In the place of a copied stack stands what `unwind` makes of it.
    pub fn take(
        &mut self,
        mut unwind: impl FnMut(&[u8]) -> Option<Vec<u8>>,
        mut rare: impl FnMut(&[u8]),
    ) -> Option<Taken> {
        let batch = &mut self.batch;
        let newest_ns = &mut self.newest_ns;
        let mut keep = |record: &[u8]| {
            *newest_ns = time_ns(record).unwrap_or(*newest_ns);
            if record.first() == Some(&(Kind::StackCopy as u8)) {
                if let Some(stack) = unwind(record) {
                    rare(&stack);
                    batch.push(&stack);
                }
                return batch.len();
            }
            if record.first().is_some_and(|&kind| is_rare(kind)) {
                rare(record);
            }
            batch.push(record);
            batch.len()
        };
        if let [ring] = self.rings.as_mut_slice() {
            let ring = &mut ring.get_mut().0;
            while let Some(record) = ring.next() {
                if keep(&record) >= BATCH_BYTES {
                    break;
                }
            }
        } else {
            if !self.merge.is_ready() {
                gather(&mut self.rings, self.capacity, &mut self.merge);
            }
            while let Some(record) = self.merge.next() {
                if keep(record) >= BATCH_BYTES {
                    break;
                }
            }
        }
        if self.batch.is_empty() {
            return None;
        }
        let (records, is_full) = (self.batch.records(), self.batch.len() >= BATCH_BYTES);
        Some(Taken { batch: self.batch.take(), records, is_full })
    }
}

/// Empties several rings, so that what they had is in order up to the moment at which that began.
fn gather(rings: &mut [AsyncFd<Inner>], capacity: usize, merge: &mut Merge) {
    // What was read just before the first moment is held until the second.
    for _ in 0..2 {
        let until_ns = monotonic_ns();
        let mut is_all = true;
        for ring in &mut *rings {
            is_all &= empty(&mut ring.get_mut().0, capacity, merge);
        }
        // Whoever is writing a record does so for no longer than it may be kept from running. Where that takes so long that
        // there is no room for what the others have, their order is what their stamps say.
        if is_all || merge.held_bytes() > rings.len() * capacity {
            merge.settle(until_ns);
        }
        if merge.is_ready() || !is_all || merge.held_bytes() == 0 {
            return;
        }
    }
}

/// Takes what a ring has. `false` where a record that is being written may hide others.
fn empty(ring: &mut RingBuf<MapData>, capacity: usize, merge: &mut Merge) -> bool {
    // More than a ring holds was not there when this began.
    let most = merge.held_bytes() + capacity;
    for _ in 0..LOOKS {
        while let Some(record) = ring.next() {
            merge.push(time_ns(&record).unwrap_or(0), &record);
            if merge.held_bytes() > most {
                return true;
            }
        }
        if !has_records(ring) {
            return true;
        }
    }
    false
}

/// Whether the kernel says that records wait, be they written or not.
fn has_records(ring: &RingBuf<MapData>) -> bool {
    let mut asked = [PollFd::new(ring, PollFlags::IN)];
    !matches!(poll(&mut asked, Some(&Timespec::default())), Ok(0))
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
