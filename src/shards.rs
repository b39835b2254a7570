//! A hash map in shards that copies share: to change a copy costs one shard, whatever the size of the map.
//!
//! For tables that every core reads and one thread changes. A look-up costs one hash, as in a plain map, and one more
//! pointer. Measured with 100,000 names (`benches/changes.rs`).

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

/// Entries per shard for which a table is laid out: to copy so many costs about as much as to copy the list of 1,024
/// shards that 100,000 entries need.
const SHARD_SIZE: usize = 98;
/// More on average, and the shards are made anew, four times as many.
const SHARD_SIZE_MAX: usize = 256;

#[derive(Clone)]
pub struct Shards<K, V> {
    /// A power of two of them.
    shards: Box<[Shard<K, V>]>,
    hasher: RandomState,
    len: usize,
}

type Shard<K, V> = Arc<HashTable<(K, V)>>;

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self::with_shards(1, RandomState::new())
    }
}

impl<K, V> Shards<K, V> {
    /// Laid out for `count` entries.
    pub fn with_capacity(count: usize) -> Self {
        let shards = match count {
            0..=SHARD_SIZE_MAX => 1,
            _ => (count / SHARD_SIZE).next_power_of_two(),
        };
        Self::with_shards(shards, RandomState::new())
    }

    fn with_shards(count: usize, hasher: RandomState) -> Self {
        Self {
            shards: (0..count).map(|_| Shard::default()).collect(),
            hasher,
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let entries = self.shards.iter().flat_map(|shard| shard.iter());
        entries.map(|(key, value)| (key, value))
    }

    /// The table inside a shard uses the lowest bits and the seven highest.
    fn place(&self, hash: u64) -> usize {
        (hash >> 28) as usize & (self.shards.len() - 1)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get(self.place(hash))?;
        let found = shard.find(hash, |(held, _)| held.borrow() == key)?;
        Some(&found.1)
    }

    /// Returns what it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.len >= self.shards.len() * SHARD_SIZE_MAX {
            self.spread();
        }
        let hash = self.hasher.hash_one(&key);
        let place = self.place(hash);
        let hasher = &self.hasher;
        let shard = Arc::make_mut(self.shards.get_mut(place)?);
        match shard.entry(
            hash,
            |(held, _)| *held == key,
            |(held, _)| hasher.hash_one(held),
        ) {
            Entry::Occupied(mut held) => Some(std::mem::replace(&mut held.get_mut().1, value)),
            Entry::Vacant(place) => {
                place.insert((key, value));
                self.len += 1;
                None
            }
        }
    }

    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let place = self.place(hash);
        let shard = self.shards.get_mut(place)?;
        // Looked for first: what is not there is no reason to copy.
        shard.find(hash, |(held, _)| held.borrow() == key)?;
        let entry = Arc::make_mut(shard)
            .find_entry(hash, |(held, _)| held.borrow() == key)
            .ok()?;
        let ((_, value), _) = entry.remove();
        self.len -= 1;
        Some(value)
    }

    fn spread(&mut self) {
        let mut wider = Self::with_shards(self.shards.len() * 4, self.hasher.clone());
        for (key, value) in self.iter() {
            wider.insert(key.clone(), value.clone());
        }
        *self = wider;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_copy_keeps_what_it_had_while_the_other_changes() {
        let mut random = 0x5eed_u64;
        let mut next = move |end: u64| {
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (random >> 33) % end
        };
        let mut map: Shards<Arc<str>, u64> = Shards::default();
        let mut model: HashMap<Arc<str>, u64> = HashMap::new();
        let mut kept = Vec::new();
        // Past two widenings: from 1 shard to 4 to 16.
        for round in 0..20_000 {
            let key: Arc<str> = format!("name {}", next(4_000)).into();
            if next(3) == 0 {
                assert_eq!(map.remove(&*key), model.remove(&key));
            } else {
                assert_eq!(
                    map.insert(key.clone(), round),
                    model.insert(key.clone(), round)
                );
            }
            assert_eq!(map.get(&*key), model.get(&key));
            if round % 2_500 == 0 {
                kept.push((map.clone(), model.clone()));
            }
        }
        kept.push((map, model));
        for (map, model) in kept {
            assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
            assert_eq!(map.iter().count(), model.len());
            assert!(map.iter().all(|(key, value)| model.get(key) == Some(value)));
            assert!(
                model
                    .iter()
                    .all(|(key, value)| map.get(&**key) == Some(value))
            );
        }
    }

    #[test]
    fn a_change_of_a_copy_copies_one_shard() {
        let mut map: Shards<u64, ()> = Shards::with_capacity(100_000);
        assert_eq!(map.shards.len(), 1_024);
        (0..100_000).for_each(|key| assert!(map.insert(key, ()).is_none()));
        let before = map.clone();
        map.remove(&7);
        map.remove(&100_000);
        let changed = map
            .shards
            .iter()
            .zip(&before.shards)
            .filter(|(one, other)| !Arc::ptr_eq(one, other));
        assert_eq!(changed.count(), 1);
        let largest = map.shards.iter().map(|shard| shard.len()).max();
        assert!(
            largest.is_some_and(|len| len < 4 * SHARD_SIZE),
            "{largest:?}"
        );
    }
}
