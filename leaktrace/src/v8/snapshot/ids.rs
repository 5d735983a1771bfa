//! Figures by object id, kept from one snapshot to the next.

use rustc_hash::FxHashMap;

/// Beyond this many unused places for each used one, a table is kept as a map.
const SPARSE: usize = 4;

/// A number for each of some ids.
///
/// V8 numbers the objects of its heap with odd ids, one after the other: a table by id takes 4 bytes an object. Objects
/// outside the heap have even ids, in older versions made from addresses.
#[derive(Debug, Default)]
pub(super) struct ById {
    /// By half of the id; 0 is no entry, all others are one more than the number.
    odd: Vec<u32>,
    others: FxHashMap<u32, u32>,
}

impl ById {
    /// A table of the given entries, of which there are `len`.
    pub(super) fn of(entries: impl Iterator<Item = (u32, u32)>, len: usize) -> Self {
        let mut table = Self::default();
        let bound = len.saturating_mul(SPARSE).saturating_add(1 << 16);
        for (id, value) in entries {
            let value = value.saturating_add(1);
            let place = id as usize / 2;
            if id % 2 == 0 || place >= bound {
                table.others.insert(id, value);
                continue;
            }
            if place >= table.odd.len() {
                table.odd.resize(place + 1, 0);
            }
            if let Some(entry) = table.odd.get_mut(place) {
                *entry = value;
            }
        }
        table
    }

    pub(super) fn get(&self, id: u32) -> Option<u32> {
        let odd = if id % 2 == 1 {
            self.odd.get(id as usize / 2).copied().filter(|&value| value > 0)
        } else {
            None
        };
        odd.or_else(|| self.others.get(&id).copied()).map(|value| value - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::ById;

    proptest! {
        #[test]
        fn a_table_is_a_map(entries in prop::collection::btree_map(0_u32..200_000, 0_u32..1000, 0..50), big in any::<u32>()) {
            let mut entries: BTreeMap<u32, u32> = entries;
            entries.insert(big, 7);
            let table = ById::of(entries.iter().map(|(&id, &value)| (id, value)), entries.len());
            for id in (0..200_000).step_by(97).chain(entries.keys().copied()) {
                prop_assert_eq!(table.get(id), entries.get(&id).copied());
            }
        }
    }
}
