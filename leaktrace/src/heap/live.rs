//! The live map: address -> block, within 64 bytes a block at any moment.
//!
//! 256 tables, so that growth copies a small part of the blocks at a time: neither the reader of the ring stalls, nor
//! do old and new tables of everything stand in memory together. A slot is 25 bytes, and a table doubles when 7/8
//! full. Were all tables alike, all would double at once, and cost 25 / (7/16) = 57 bytes a block then; so their
//! shares of the addresses differ by up to two, and at any moment some are full and some have just doubled.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use rustc_hash::FxHashMap;

use super::block::{Entry, Loose};

const SHARDS: usize = 256;

/// Parts of the hash space that are dealt out to the shards.
const PARTS: usize = 1 << 13;

#[derive(Debug)]
pub(super) struct LiveMap {
    shards: Box<[HashTable<Entry>]>,
    /// The shard of each part of the hash space.
    shard_of: Box<[u8]>,
    /// Sizes that do not fit into an [`Entry`].
    huge: FxHashMap<u64, u64>,
}

impl LiveMap {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        // The logarithm gives the last shard twice as many parts as the first.
        let shard_of =
            (0..PARTS).map(|part| ((1.0 + part as f64 / PARTS as f64).log2() * SHARDS as f64) as u8);
        Self { shards, shard_of: shard_of.collect(), huge: FxHashMap::default() }
    }

    #[inline]
    pub(super) fn contains(&self, address: u64) -> bool {
        let hash = mix(address);
        let shard = self.shards.get(self.shard_index(hash));
        shard.is_some_and(|shard| shard.find(hash, |entry| entry.address == address).is_some())
    }

    /// Inserts a block; returns the one that stood at its address.
    #[inline]
    pub(super) fn insert(&mut self, block: &Loose) -> Option<Loose> {
        let (entry, is_huge) = Entry::pack(block);
        let hash = mix(block.address);
        let index = self.shard_index(hash);
        let shard = self.shards.get_mut(index)?;
        make_room(shard);
        let replaced = match shard.entry(hash, |other| other.address == block.address, rehash) {
            Slot::Occupied(mut slot) => Some(std::mem::replace(slot.get_mut(), entry)),
            Slot::Vacant(slot) => {
                slot.insert(entry);
                None
            }
        };
        let replaced = replaced.map(|old| old.unpack(|address| self.huge.remove(&address)));
        if is_huge {
            self.huge.insert(block.address, block.size);
        }
        replaced
    }

    #[inline]
    pub(super) fn remove(&mut self, address: u64) -> Option<Loose> {
        let hash = mix(address);
        let index = self.shard_index(hash);
        let shard = self.shards.get_mut(index)?;
        let (entry, _) = shard.find_entry(hash, |entry| entry.address == address).ok()?.remove();
        Some(entry.unpack(|address| self.huge.remove(&address)))
    }

    /// Calls `f` for every block, in no particular order.
    pub(super) fn for_each(&self, mut f: impl FnMut(Loose)) {
        for entry in self.shards.iter().flat_map(HashTable::iter) {
            f(entry.unpack(|address| self.huge.get(&address).copied()));
        }
    }

    /// Chosen by bits that the tables themselves use for neither the slot nor the tag.
    fn shard_index(&self, hash: u64) -> usize {
        self.shard_of.get((hash >> 40) as usize % PARTS).copied().map_or(0, usize::from)
    }

    /// Gives back memory of shards that are nearly empty: after a peak the map would otherwise keep its size.
    pub(super) fn shrink(&mut self) {
        for shard in &mut self.shards {
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
                shard.shrink_to(shard.len() * 2, rehash);
            }
        }
    }
}

/// Rebuilds a shard whose free slots are used up by removed entries rather than by live ones.
///
/// hashbrown doubles a table that is more than half full even if removed entries fill it; under churn that would
/// leave it under a quarter full, at 100 bytes a block. Up to 15/16 of the capacity we rebuild it at its size.
#[inline]
fn make_room(shard: &mut HashTable<Entry>) {
    if shard.len() == shard.capacity() && shard.num_buckets() > 16 {
        rebuild(shard);
    }
}

#[cold]
fn rebuild(shard: &mut HashTable<Entry>) {
    let full = shard.num_buckets() / 8 * 7;
    let capacity = if shard.len() >= full / 16 * 15 { full + 1 } else { full };
    let mut rebuilt = HashTable::with_capacity(capacity);
    for entry in shard.iter() {
        rebuilt.insert_unique(rehash(entry), *entry, rehash);
    }
    *shard = rebuilt;
}

fn rehash(entry: &Entry) -> u64 {
    mix(entry.address)
}

/// Addresses differ in few, low bits, and hashbrown wants its 7 highest and its lowest bits mixed: both halves of a
/// 128-bit product.
#[inline]
fn mix(address: u64) -> u64 {
    let product = u128::from(address ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(address: u64, size: u64) -> Loose {
        Loose { address, size, site: 5, birth: 6, tid: 7, level: 0 }
    }

    fn bytes(map: &LiveMap) -> usize {
        map.shards.iter().map(HashTable::allocation_size).sum()
    }

    fn count(map: &LiveMap) -> usize {
        map.shards.iter().map(HashTable::len).sum()
    }

    #[test]
    fn a_replaced_block_comes_out_with_its_size() {
        let mut map = LiveMap::new();
        assert_eq!(map.insert(&block(16, u64::MAX)), None);
        assert_eq!(map.insert(&block(16, 1 << 40)), Some(block(16, u64::MAX)));
        assert_eq!(map.insert(&block(16, 3)), Some(block(16, 1 << 40)));
        assert!(map.huge.is_empty());
        assert_eq!((count(&map), map.contains(16), map.contains(17)), (1, true, false));
        assert_eq!(map.remove(16), Some(block(16, 3)));
        assert_eq!((map.remove(16), count(&map)), (None, 0));
    }

    #[test]
    fn a_block_costs_at_most_45_bytes_of_tables_while_the_map_grows_and_churns() {
        let mut map = LiveMap::new();
        let address = |index: u64| 0x7f00_0000_0000 + index * 16;
        let check = |map: &LiveMap, index: u64| {
            let within = !index.is_multiple_of(512) || bytes(map) <= 45 * count(map);
            assert!(within, "{} bytes for {} blocks", bytes(map), count(map));
        };
        for index in 0..400_000 {
            map.insert(&block(address(index), 16));
            if index > 100_000 {
                check(&map, index);
            }
        }
        for index in 0..1_000_000 {
            map.remove(address(index));
            map.insert(&block(address(index + 400_000), 16));
            check(&map, index);
        }
        assert_eq!(count(&map), 400_000);
        let mut seen = 0;
        map.for_each(|_| seen += 1);
        assert_eq!(seen, 400_000);
    }

    #[test]
    fn an_emptied_map_gives_its_memory_back() {
        let mut map = LiveMap::new();
        for address in 0..200_000 {
            map.insert(&block(address, 1));
        }
        let full = bytes(&map);
        for address in 0..190_000 {
            map.remove(address);
        }
        map.shrink();
        assert!(bytes(&map) < full / 4);
        assert!((190_000..200_000).all(|address| map.contains(address)));
    }
}
