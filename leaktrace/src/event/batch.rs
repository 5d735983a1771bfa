//! Batches: records back to back in one buffer, as they travel from the ring to the heap and into recordings.
//!
//! Each record stands behind an 8-byte prefix (its length as u32, four zero bytes) and is padded to 8 bytes, so
//! that a malloc and a free take 48 and 32 bytes. The format is part of recordings: it does not change without
//! a new version of theirs.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::decode::{DecodeError, Event};

const PREFIX: usize = 8;
const ALIGNMENT: usize = 8;

/// Collects records into a batch.
#[derive(Debug, Default)]
pub struct BatchWriter {
    bytes: BytesMut,
    records: u64,
}

impl BatchWriter {
    /// An empty batch with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes), records: 0 }
    }

    /// Appends one record, as the kernel wrote it.
    #[inline]
    pub fn push(&mut self, record: &[u8]) {
        let padding = record.len().next_multiple_of(ALIGNMENT) - record.len();
        // The length and the four zero bytes behind it.
        self.bytes.put_u64_le(u64::from(record.len() as u32));
        self.bytes.put_slice(record);
        if padding > 0 {
            self.bytes.put_bytes(0, padding);
        }
        self.records += 1;
    }

    /// Bytes collected so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Records collected so far.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Hands out what was collected and starts the next batch. The buffer is used again once the batch is dropped.
    pub fn take(&mut self) -> Bytes {
        self.records = 0;
        self.bytes.split().freeze()
    }
}

/// The events of a batch, in the order in which they were pushed.
///
/// A record that is no event yields its error and is skipped; after [`DecodeError::Cut`] nothing more can be read.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    rest: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads a batch, which may be hostile or cut.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<Event<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((prefix, rest)) = self.rest.split_first_chunk::<PREFIX>() else {
            let left = self.rest.len();
            self.rest = &[];
            return Some(Err(DecodeError::Cut { length: PREFIX, left }));
        };
        let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        let Some((record, padded)) = rest.split_at_checked(length) else {
            self.rest = &[];
            return Some(Err(DecodeError::Cut { length, left: rest.len() }));
        };
        let padding = length.next_multiple_of(ALIGNMENT) - length;
        self.rest = padded.get(padding..).unwrap_or(&[]);
        Some(Event::decode(record))
    }
}

#[cfg(test)]
mod tests {
    use leaktrace_common::{AllocationRecord, FreeRecord, Header, Kind};
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;

    fn header(kind: Kind, tid: u32) -> Header {
        Header { kind: kind as u8, function: 0, process: 0, tid, time_ns: 0 }
    }

    #[test]
    fn records_of_a_malloc_and_a_free_take_80_bytes() {
        let mut writer = BatchWriter::default();
        writer.push(
            AllocationRecord { header: header(Kind::Allocation, 1), address: 1, size: 2, stack: 3 }
                .as_bytes(),
        );
        writer.push(FreeRecord { header: header(Kind::Free, 1), address: 1 }.as_bytes());
        assert_eq!((writer.len(), writer.records()), (80, 2));
        assert_eq!(Batch::new(&writer.take()).count(), 2);
        assert!(writer.is_empty());
    }

    #[test]
    fn a_bad_record_is_skipped_and_the_next_one_read() {
        let mut writer = BatchWriter::default();
        writer.push(&[99; 5]);
        writer.push(&[]);
        writer.push(FreeRecord { header: header(Kind::Free, 4), address: 8 }.as_bytes());
        let bytes = writer.take();
        let events: Vec<_> = Batch::new(&bytes).collect();
        assert_eq!(events[0], Err(DecodeError::UnknownKind(99)));
        assert_eq!(events[1], Err(DecodeError::UnknownKind(0)));
        assert_eq!(events[2], Ok(Event::Free { header: header(Kind::Free, 4), address: 8 }));
        assert_eq!(events.len(), 3);
    }

    proptest! {
        #[test]
        fn what_is_pushed_comes_out(records in prop::collection::vec((any::<u64>(), any::<u32>()), 0..50)) {
            let mut writer = BatchWriter::default();
            for &(address, tid) in &records {
                writer.push(FreeRecord { header: header(Kind::Free, tid), address }.as_bytes());
            }
            let bytes = writer.take();
            let read: Vec<_> = Batch::new(&bytes)
                .map(|event| match event {
                    Ok(Event::Free { header, address }) => (address, header.tid),
                    other => panic!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(read, records);
        }

        #[test]
        fn a_cut_batch_gives_the_whole_records_and_one_error(count in 1_usize..5, cut in 1_usize..32) {
            let mut writer = BatchWriter::default();
            for _ in 0..count {
                writer.push(FreeRecord { header: header(Kind::Free, 1), address: 1 }.as_bytes());
            }
            let bytes = writer.take();
            let results: Vec<_> = Batch::new(&bytes[..bytes.len() - cut]).collect();
            prop_assert_eq!(results.iter().filter(|result| result.is_ok()).count(), count - 1);
        }

        #[test]
        fn garbage_ends(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
            prop_assert!(Batch::new(&bytes).count() <= bytes.len());
        }
    }
}
