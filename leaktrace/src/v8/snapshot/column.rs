//! A column of numbers that is rarely looked at, compressed.
//!
//! Names, ids and sizes are needed before and after the work on the graph, not during it. Compressed they take a
//! quarter of their size, which is what keeps the whole below the size of the file.

/// Numbers that are compressed together.
const CHUNK: usize = 1 << 16;
/// The fastest that is not a plain copy; higher levels gain little on numbers.
const LEVEL: i32 = 1;

/// Numbers in the order in which they were pushed.
#[derive(Debug, Default)]
pub(super) struct Column {
    chunks: Vec<Chunk>,
    /// What is not a full chunk yet.
    tail: Vec<u32>,
}

#[derive(Debug)]
enum Chunk {
    Packed(Box<[u8]>),
    Plain(Box<[u32]>),
}

impl Column {
    /// Appends a number.
    pub(super) fn push(&mut self, value: u32) {
        self.tail.push(value);
        if self.tail.len() == CHUNK {
            self.pack();
        }
    }

    /// Nothing follows: the last numbers are compressed, too.
    pub(super) fn finish(&mut self) {
        if !self.tail.is_empty() {
            self.pack();
        }
        self.tail = Vec::new();
    }

    fn pack(&mut self) {
        let planes = planes_of(&self.tail);
        let chunk = match zstd::bulk::compress(&planes, LEVEL) {
            Ok(packed) if packed.len() < planes.len() => Chunk::Packed(packed.into_boxed_slice()),
            _ => Chunk::Plain(self.tail.as_slice().into()),
        };
        self.chunks.push(chunk);
        self.tail.clear();
    }

    /// A view that finds single numbers, best in ascending order.
    pub(super) const fn lookup(&self) -> Lookup<'_> {
        Lookup { column: self, chunk: usize::MAX, values: Vec::new() }
    }

    /// All numbers in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let chunks = self.chunks.iter().flat_map(Chunk::values);
        chunks.chain(self.tail.iter().copied())
    }
}

impl Chunk {
    fn values(&self) -> Vec<u32> {
        match self {
            Self::Plain(values) => values.to_vec(),
            Self::Packed(packed) => values_of(
                &zstd::bulk::decompress(packed, CHUNK * 4)
                    .expect("what was compressed here can be decompressed"),
            ),
        }
    }
}

/// Finds numbers of a column by their index.
pub(super) struct Lookup<'a> {
    column: &'a Column,
    /// The chunk that `values` comes from.
    chunk: usize,
    values: Vec<u32>,
}

impl Lookup<'_> {
    /// The number at an index; 0 beyond the end.
    pub(super) fn get(&mut self, index: u32) -> u32 {
        let (chunk, within) = (index as usize / CHUNK, index as usize % CHUNK);
        if chunk == self.column.chunks.len() {
            return self.column.tail.get(within).copied().unwrap_or_default();
        }
        if chunk != self.chunk {
            self.values = self.column.chunks.get(chunk).map(Chunk::values).unwrap_or_default();
            self.chunk = chunk;
        }
        self.values.get(within).copied().unwrap_or_default()
    }
}

/// The lowest bytes of all numbers, then the next ones, and so on: the high ones are nearly all alike.
fn planes_of(values: &[u32]) -> Vec<u8> {
    let mut planes = vec![0; values.len() * 4];
    for (shift, plane) in (0..).step_by(8).zip(planes.chunks_exact_mut(values.len().max(1))) {
        for (byte, value) in plane.iter_mut().zip(values) {
            *byte = (value >> shift) as u8;
        }
    }
    planes
}

fn values_of(planes: &[u8]) -> Vec<u32> {
    let mut values = vec![0; planes.len() / 4];
    let length = values.len().max(1);
    for (shift, plane) in (0..).step_by(8).zip(planes.chunks_exact(length)) {
        for (value, byte) in values.iter_mut().zip(plane) {
            *value |= u32::from(*byte) << shift;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{CHUNK, Column};

    fn column_of(values: &[u32]) -> Column {
        let mut column = Column::default();
        for &value in values {
            column.push(value);
        }
        column.finish();
        column
    }

    #[test]
    fn many_chunks_come_back() {
        let values: Vec<u32> =
            (0..CHUNK as u32 * 2 + 7).map(|i| i.wrapping_mul(2_654_435_761) >> (i % 32)).collect();
        let column = column_of(&values);
        assert!(column.iter().eq(values.iter().copied()));
        let mut lookup = column.lookup();
        for index in [0, 1, CHUNK as u32, 5, CHUNK as u32 * 2 + 6, 70_000] {
            assert_eq!(lookup.get(index), values[index as usize]);
        }
        assert_eq!(lookup.get(u32::MAX), 0);
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(values in prop::collection::vec(any::<u32>(), 0..300)) {
            let column = column_of(&values);
            prop_assert!(column.iter().eq(values.iter().copied()));
        }
    }
}
