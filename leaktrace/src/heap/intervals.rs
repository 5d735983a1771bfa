//! Ranges of address space that do not overlap, each a part of a mapping.

use std::collections::BTreeMap;

/// A part of a mapping: all of it, until something is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    /// First address behind it, above `start`.
    pub(super) end: u64,
    /// Number of the mapping that it is a part of.
    pub(super) mapping: u64,
    /// Its pages may be accessed; otherwise they are address space, not memory.
    pub(super) accessible: bool,
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Bytes that may be accessed.
    pub(super) fn memory(&self) -> u64 {
        if self.accessible { self.len() } else { 0 }
    }
}

/// A [`Piece`] inside the map, where its start is the key.
#[derive(Clone, Copy, Debug)]
struct Rest {
    end: u64,
    mapping: u64,
    accessible: bool,
}

impl Rest {
    fn from(self, start: u64) -> Piece {
        Piece { start, end: self.end, mapping: self.mapping, accessible: self.accessible }
    }
}

/// Pieces by their start. However a target cuts its mappings up, there are never more than `limit` of them.
#[derive(Debug)]
pub(super) struct Intervals {
    by_start: BTreeMap<u64, Rest>,
    limit: usize,
}

impl Intervals {
    pub(super) fn new(limit: usize) -> Self {
        Self { by_start: BTreeMap::new(), limit }
    }

    /// Puts a piece where nothing is (see [`Self::take`]); refuses it, with `false`, where there is no room for one
    /// more. Neighbours of the same mapping become one piece.
    pub(super) fn insert(&mut self, piece: Piece) -> bool {
        if piece.start >= piece.end {
            return true;
        }
        let Piece { mut start, mut end, mapping, accessible } = piece;
        let alike = |rest: &Rest| rest.mapping == mapping && rest.accessible == accessible;
        if let Some((&before, rest)) = self.by_start.range(..start).next_back()
            && rest.end == start
            && alike(rest)
        {
            self.by_start.remove(&before);
            start = before;
        }
        if let Some(rest) = self.by_start.get(&end).copied()
            && alike(&rest)
        {
            self.by_start.remove(&end);
            end = rest.end;
        }
        if self.by_start.len() >= self.limit {
            return false;
        }
        self.by_start.insert(start, Rest { end, mapping, accessible });
        true
    }

    /// Takes everything from `start` up to `end` out, cutting what reaches over. What is left of a piece behind `end`
    /// may find no room: then it is taken out too, and added to `refused`.
    pub(super) fn take(&mut self, start: u64, end: u64, refused: &mut Vec<Piece>) -> Vec<Piece> {
        let mut taken = Vec::new();
        if start >= end {
            return taken;
        }
        if let Some((&before, rest)) = self.by_start.range_mut(..start).next_back()
            && rest.end > start
        {
            let whole = rest.from(before);
            rest.end = start;
            taken.push(Piece { start, ..whole });
        }
        while let Some((&at, rest)) = self.by_start.range(start..end).next() {
            taken.push(rest.from(at));
            self.by_start.remove(&at);
        }
        // Only the last can reach over.
        if let Some(last) = taken.last_mut()
            && last.end > end
        {
            let tail = Piece { start: end, ..*last };
            last.end = end;
            if !self.insert(tail) {
                refused.push(tail);
            }
        }
        taken
    }

    /// Whether any piece lies between `start` and `end`.
    pub(super) fn overlaps(&self, start: u64, end: u64) -> bool {
        start < end && self.by_start.range(..end).next_back().is_some_and(|(_, rest)| rest.end > start)
    }

    /// Whether no further mapping finds room.
    pub(super) fn is_full(&self) -> bool {
        self.by_start.len() >= self.limit
    }

    pub(super) fn clear(&mut self) {
        self.by_start.clear();
    }

    /// All pieces, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = Piece> {
        self.by_start.iter().map(|(&start, rest)| rest.from(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: u64, end: u64, mapping: u64) -> Piece {
        Piece { start, end, mapping, accessible: true }
    }

    fn all(intervals: &Intervals) -> Vec<(u64, u64, u64)> {
        intervals.iter().map(|piece| (piece.start, piece.end, piece.mapping)).collect()
    }

    #[test]
    fn a_hole_leaves_two_parts_and_filling_it_again_makes_one() {
        let mut intervals = Intervals::new(10);
        assert!(intervals.insert(piece(10, 20, 1)));
        let mut refused = Vec::new();
        assert_eq!(intervals.take(13, 15, &mut refused), [piece(13, 15, 1)]);
        assert_eq!(all(&intervals), [(10, 13, 1), (15, 20, 1)]);
        assert!(!intervals.overlaps(13, 15) && intervals.overlaps(13, 16) && intervals.overlaps(0, 11));
        assert!(intervals.insert(piece(13, 15, 1)));
        assert_eq!(all(&intervals), [(10, 20, 1)]);
        assert!(intervals.insert(piece(20, 21, 2)));
        assert_eq!(all(&intervals).len(), 2);
        assert_eq!(intervals.take(0, u64::MAX, &mut refused), [piece(10, 20, 1), piece(20, 21, 2)]);
        assert!(refused.is_empty() && all(&intervals).is_empty());
    }

    #[test]
    fn ranges_without_length_are_nothing() {
        let mut intervals = Intervals::new(10);
        let mut refused = Vec::new();
        assert!(intervals.insert(piece(10, 20, 1)) && intervals.insert(piece(30, 30, 2)));
        assert!(intervals.take(15, 15, &mut refused).is_empty());
        assert!(intervals.take(18, 12, &mut refused).is_empty());
        assert!(!intervals.overlaps(15, 15) && !intervals.overlaps(18, 12));
        assert_eq!(all(&intervals), [(10, 20, 1)]);
    }

    #[test]
    fn what_finds_no_room_is_given_back() {
        let mut intervals = Intervals::new(2);
        let mut refused = Vec::new();
        assert!(intervals.insert(piece(10, 20, 1)) && intervals.insert(piece(30, 40, 2)));
        assert!(intervals.is_full() && !intervals.insert(piece(50, 60, 3)));
        assert_eq!(intervals.take(12, 13, &mut refused), [piece(12, 13, 1)]);
        assert_eq!(refused, [piece(13, 20, 1)]);
        assert_eq!(all(&intervals), [(10, 12, 1), (30, 40, 2)]);
        // A neighbour of the same mapping needs no room of its own.
        assert!(intervals.insert(piece(12, 14, 1)));
    }
}
