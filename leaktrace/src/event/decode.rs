//! Raw record bytes -> checked [`Event`]s.

use std::mem::size_of;

use leaktrace_common::{
    AllocationRecord, FreeRecord, GcRecord, Header, Kind, LifecycleRecord, MAX_FRAMES, MappingRecord,
    RangeRecord, StackRecord, sampling::untagged,
};
use zerocopy::FromBytes;

/// Bytes of a [`StackRecord`] before its frames; the kernel side may send only as many frames as are filled.
const STACK_PREFIX: usize = size_of::<StackRecord>() - MAX_FRAMES * size_of::<u64>();

/// What one record says. See [`leaktrace_common::Kind`] for the meaning of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the records in leaktrace_common, documented there")]
pub enum Event<'a> {
    /// A block was allocated.
    Allocation { header: Header, address: u64, size: u64, level: u8, stack: u64 },
    /// A block is about to be freed.
    Free { header: Header, address: u64 },
    /// A reallocation of the block at `address` began.
    ReallocBegin { header: Header, address: u64 },
    /// A reallocation returned; with `address` 0 it failed (`size` > 0) or freed the block (`size` 0).
    ReallocEnd { header: Header, address: u64, size: u64, level: u8, stack: u64 },
    /// A reallocation never returned.
    ReallocAbandoned { header: Header, address: u64 },
    /// The return addresses behind a stack hash, innermost first.
    Stack { header: Header, hash: u64, truncated: bool, frames: Frames<'a> },
    /// The process replaced its image.
    Exec { header: Header, pid: u32, tid: u32 },
    /// The process made a child process or thread.
    Fork { header: Header, pid: u32, tid: u32 },
    /// A thread of the process ended.
    Exit { header: Header, pid: u32, tid: u32 },
    /// The dynamic linker changed the process's list of loaded objects.
    ObjectsChanged { header: Header, pid: u32, tid: u32 },
    /// A range of memory or of a file was mapped.
    Map { header: Header, address: u64, length: u64, stack: u64, protection: u32, flags: u32 },
    /// A range is about to be unmapped.
    UnmapBegin { header: Header, address: u64, length: u64 },
    /// It was; with `length` 0 it was not.
    UnmapEnd { header: Header, address: u64, length: u64 },
    /// A range is about to be resized, moved or duplicated.
    RemapBegin { header: Header, address: u64, length: u64 },
    /// This became of it; with `address` 0 it stayed as it was.
    RemapEnd { header: Header, address: u64, length: u64, stack: u64, flags: u32 },
    /// What may be done with a range was changed.
    Protect { header: Header, address: u64, length: u64, protection: u32 },
    /// The return addresses behind a stack hash of mappings, innermost first.
    MappingStack { header: Header, hash: u64, truncated: bool, frames: Frames<'a> },
    /// A step of a V8 collection: `object` is the heap or its tracer, the others what the step was told.
    GcStep { header: Header, object: u64, value: u64, detail: u64 },
    /// V8 took the size of a heap: `value` bytes, for the caller that goes on at `detail`.
    GcMeasured { header: Header, object: u64, value: u64, detail: u64 },
}

impl Event<'_> {
    /// What all records have in common: function, process, thread, time.
    pub const fn header(&self) -> &Header {
        match self {
            Self::Allocation { header, .. }
            | Self::Free { header, .. }
            | Self::ReallocBegin { header, .. }
            | Self::ReallocEnd { header, .. }
            | Self::ReallocAbandoned { header, .. }
            | Self::Stack { header, .. }
            | Self::Exec { header, .. }
            | Self::Fork { header, .. }
            | Self::Exit { header, .. }
            | Self::ObjectsChanged { header, .. }
            | Self::Map { header, .. }
            | Self::UnmapBegin { header, .. }
            | Self::UnmapEnd { header, .. }
            | Self::RemapBegin { header, .. }
            | Self::RemapEnd { header, .. }
            | Self::Protect { header, .. }
            | Self::MappingStack { header, .. }
            | Self::GcStep { header, .. }
            | Self::GcMeasured { header, .. } => header,
        }
    }
}

/// Return addresses inside a record, innermost first. They may stand at any alignment, because batches also
/// come out of recordings; at most [`MAX_FRAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames<'a>(&'a [[u8; 8]]);

impl<'a> Frames<'a> {
    /// Addresses in the machine's byte order.
    pub const fn new(addresses: &'a [[u8; 8]]) -> Self {
        Self(addresses)
    }

    /// How many addresses there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the stack is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses, innermost first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u64> + use<'a> {
        self.0.iter().map(|bytes| u64::from_ne_bytes(*bytes))
    }
}

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends before its kind allows.
    #[error("record of kind {kind} has only {length} bytes")]
    Short {
        /// The record's kind; 0 where even that is missing.
        kind: u8,
        /// Its length in bytes.
        length: usize,
    },
    /// No such kind.
    #[error("unknown record kind {0}")]
    UnknownKind(u8),
    /// A stack that claims more frames than a record holds.
    #[error("stack record claims {0} frames")]
    Depth(u32),
    /// The batch ends inside a record; nothing after this can be read.
    #[error("batch is cut: a record of {length} bytes with {left} left")]
    Cut {
        /// Length that the record claims, in bytes.
        length: usize,
        /// Bytes left in the batch.
        left: usize,
    },
}

impl<'a> Event<'a> {
    /// Decodes one record. Longer records than expected are accepted: the kernel side pads.
    #[inline]
    pub fn decode(record: &'a [u8]) -> Result<Self, DecodeError> {
        let number = record.first().copied().unwrap_or(0);
        let kind = Kind::from_u8(number).ok_or(DecodeError::UnknownKind(number))?;
        Ok(match kind {
            Kind::Allocation => {
                let AllocationRecord { header, address, size, stack } = read(record)?;
                let (size, level) = untagged(size);
                Self::Allocation { header, address, size, level, stack }
            }
            Kind::Free => {
                let FreeRecord { header, address } = read(record)?;
                Self::Free { header, address }
            }
            Kind::ReallocBegin => {
                let FreeRecord { header, address } = read(record)?;
                Self::ReallocBegin { header, address }
            }
            Kind::ReallocEnd => {
                let AllocationRecord { header, address, size, stack } = read(record)?;
                let (size, level) = untagged(size);
                Self::ReallocEnd { header, address, size, level, stack }
            }
            Kind::ReallocAbandoned => {
                let FreeRecord { header, address } = read(record)?;
                Self::ReallocAbandoned { header, address }
            }
            Kind::Stack => {
                let (header, hash, truncated, frames) = decode_stack(record)?;
                Self::Stack { header, hash, truncated, frames }
            }
            Kind::Exec => {
                let LifecycleRecord { header, pid, tid } = read(record)?;
                Self::Exec { header, pid, tid }
            }
            Kind::Fork => {
                let LifecycleRecord { header, pid, tid } = read(record)?;
                Self::Fork { header, pid, tid }
            }
            Kind::Exit => {
                let LifecycleRecord { header, pid, tid } = read(record)?;
                Self::Exit { header, pid, tid }
            }
            Kind::ObjectsChanged => {
                let LifecycleRecord { header, pid, tid } = read(record)?;
                Self::ObjectsChanged { header, pid, tid }
            }
            _ => Self::decode_rare(kind, record)?,
        })
    }

    /// Decodes the records of mappings and of V8's collections, of which there are few.
    #[cold]
    fn decode_rare(kind: Kind, record: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::UnmapBegin => {
                let RangeRecord { header, address, length } = read(record)?;
                Self::UnmapBegin { header, address, length }
            }
            Kind::UnmapEnd => {
                let RangeRecord { header, address, length } = read(record)?;
                Self::UnmapEnd { header, address, length }
            }
            Kind::RemapBegin => {
                let RangeRecord { header, address, length } = read(record)?;
                Self::RemapBegin { header, address, length }
            }
            Kind::RemapEnd => {
                let MappingRecord { header, address, length, stack, flags, .. } = read(record)?;
                Self::RemapEnd { header, address, length, stack, flags }
            }
            Kind::Protect => {
                let MappingRecord { header, address, length, protection, .. } = read(record)?;
                Self::Protect { header, address, length, protection }
            }
            Kind::Map => {
                let MappingRecord { header, address, length, stack, protection, flags } = read(record)?;
                Self::Map { header, address, length, stack, protection, flags }
            }
            Kind::MappingStack => {
                let (header, hash, truncated, frames) = decode_stack(record)?;
                Self::MappingStack { header, hash, truncated, frames }
            }
            Kind::GcStep => {
                let GcRecord { header, object, value, detail } = read(record)?;
                Self::GcStep { header, object, value, detail }
            }
            Kind::GcMeasured => {
                let GcRecord { header, object, value, detail } = read(record)?;
                Self::GcMeasured { header, object, value, detail }
            }
            other => return Err(DecodeError::UnknownKind(other as u8)),
        })
    }
}

fn decode_stack(record: &[u8]) -> Result<(Header, u64, bool, Frames<'_>), DecodeError> {
    let short = || short(record);
    let (header, rest) = Header::read_from_prefix(record).map_err(|_| short())?;
    let (hash, rest) = u64::read_from_prefix(rest).map_err(|_| short())?;
    let (depth, rest) = u32::read_from_prefix(rest).map_err(|_| short())?;
    let (truncated, rest) = u32::read_from_prefix(rest).map_err(|_| short())?;
    debug_assert_eq!(record.len() - rest.len(), STACK_PREFIX);
    if depth as usize > MAX_FRAMES {
        return Err(DecodeError::Depth(depth));
    }
    let (frames, _) = rest.as_chunks::<8>();
    let frames = frames.get(..depth as usize).ok_or_else(short)?;
    Ok((header, hash, truncated != 0, Frames(frames)))
}

/// Copies the record out: 24 or 40 bytes cost less than to demand an alignment from everyone who keeps batches.
#[inline]
fn read<T: FromBytes>(record: &[u8]) -> Result<T, DecodeError> {
    T::read_from_prefix(record).map(|(record, _)| record).map_err(|_| short(record))
}

#[cold]
fn short(record: &[u8]) -> DecodeError {
    DecodeError::Short { kind: record.first().copied().unwrap_or(0), length: record.len() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;

    fn header(kind: Kind) -> Header {
        Header { kind: kind as u8, function: 3, process: 2, tid: 77, time_ns: 123 }
    }

    #[test]
    fn allocation_and_realloc_end_keep_their_fields() {
        for kind in [Kind::Allocation, Kind::ReallocEnd] {
            let record = AllocationRecord { header: header(kind), address: 16, size: 32 | 3 << 56, stack: 9 };
            let (address, size, level, stack) = match Event::decode(record.as_bytes()).unwrap() {
                Event::Allocation { address, size, level, stack, .. } if kind == Kind::Allocation => {
                    (address, size, level, stack)
                }
                Event::ReallocEnd { address, size, level, stack, .. } if kind == Kind::ReallocEnd => {
                    (address, size, level, stack)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!((address, size, level, stack), (16, 32, 3, 9));
        }
    }

    #[test]
    fn records_of_mappings_keep_their_fields_and_are_never_read_beyond_their_end() {
        for kind in [Kind::Map, Kind::RemapEnd, Kind::Protect] {
            let header = header(kind);
            let (address, length, stack, protection, flags) = (1 << 12, 5000, 9, 3, 0x22);
            let record = MappingRecord { header, address, length, stack, protection, flags };
            let expected = match kind {
                Kind::Map => Event::Map { header, address, length, stack, protection, flags },
                Kind::RemapEnd => Event::RemapEnd { header, address, length, stack, flags },
                _ => Event::Protect { header, address, length, protection },
            };
            assert_eq!(Event::decode(record.as_bytes()), Ok(expected));
            let cut = &record.as_bytes()[..47];
            assert_eq!(Event::decode(cut), Err(DecodeError::Short { kind: kind as u8, length: 47 }));
        }
        for kind in [Kind::UnmapBegin, Kind::UnmapEnd, Kind::RemapBegin] {
            let header = header(kind);
            let (address, length) = (1 << 12, 5000);
            let record = RangeRecord { header, address, length };
            let expected = match kind {
                Kind::UnmapBegin => Event::UnmapBegin { header, address, length },
                Kind::UnmapEnd => Event::UnmapEnd { header, address, length },
                _ => Event::RemapBegin { header, address, length },
            };
            assert_eq!(Event::decode(record.as_bytes()), Ok(expected));
            let cut = &record.as_bytes()[..31];
            assert_eq!(Event::decode(cut), Err(DecodeError::Short { kind: kind as u8, length: 31 }));
        }
    }

    #[test]
    fn records_of_collections_keep_their_fields_and_are_never_read_beyond_their_end() {
        for kind in [Kind::GcStep, Kind::GcMeasured] {
            let header = header(kind);
            let (object, value, detail) = (1 << 40, 7, 9);
            let record = GcRecord { header, object, value, detail };
            let expected = match kind {
                Kind::GcStep => Event::GcStep { header, object, value, detail },
                _ => Event::GcMeasured { header, object, value, detail },
            };
            assert_eq!(Event::decode(record.as_bytes()), Ok(expected));
            let cut = &record.as_bytes()[..39];
            assert_eq!(Event::decode(cut), Err(DecodeError::Short { kind: kind as u8, length: 39 }));
        }
    }

    #[test]
    fn a_stack_may_be_sent_whole_or_cut_behind_its_last_frame() {
        let mut frames = [0; MAX_FRAMES];
        frames[..3].copy_from_slice(&[1, 2, 3]);
        let record = StackRecord { header: header(Kind::Stack), hash: 5, depth: 3, truncated: 1, frames };
        for length in [size_of::<StackRecord>(), STACK_PREFIX + 24] {
            let Event::Stack { hash, truncated, frames, .. } =
                Event::decode(&record.as_bytes()[..length]).unwrap()
            else {
                panic!("not a stack");
            };
            assert_eq!((hash, truncated, frames.iter().collect::<Vec<_>>()), (5, true, vec![1, 2, 3]));
        }
        let cut = &record.as_bytes()[..STACK_PREFIX + 23];
        assert_eq!(Event::decode(cut), Err(DecodeError::Short { kind: 6, length: STACK_PREFIX + 23 }));
    }

    #[test]
    fn a_stack_deeper_than_a_record_is_refused() {
        let record = StackRecord {
            header: header(Kind::Stack),
            hash: 5,
            depth: 128,
            truncated: 0,
            frames: [0; MAX_FRAMES],
        };
        assert_eq!(Event::decode(record.as_bytes()), Err(DecodeError::Depth(128)));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_event_or_an_error(kind in 0_u8..22, rest in prop::collection::vec(any::<u8>(), 0..1200)) {
            let mut record = vec![kind];
            record.extend(rest);
            for end in 0..record.len().min(64) {
                let _ = Event::decode(&record[..end]);
            }
            if let Ok(event) = Event::decode(&record) {
                prop_assert_eq!(event.header().kind, kind);
            }
        }
    }
}
