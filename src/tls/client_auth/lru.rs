//! A bounded map that forgets what was not asked for the longest. Look-up, insert and remove take constant time.

use hashbrown::HashMap;
use std::hash::Hash;

pub(in crate::tls) struct Lru<K, V> {
    places: HashMap<K, usize, ahash::RandomState>,
    slots: Vec<Slot<K, V>>,
    /// Slots whose entry was removed: their `entry` is `None` and they are in no list.
    free: Vec<usize>,
    newest: Option<usize>,
    oldest: Option<usize>,
    capacity: usize,
}

struct Slot<K, V> {
    entry: Option<(K, V)>,
    newer: Option<usize>,
    older: Option<usize>,
}

impl<K: Clone + Eq + Hash, V> Lru<K, V> {
    /// A capacity of 0 counts as 1. Nothing is allocated yet.
    pub fn new(capacity: usize) -> Lru<K, V> {
        Lru {
            places: HashMap::with_hasher(ahash::RandomState::new()),
            slots: Vec::new(),
            free: Vec::new(),
            newest: None,
            oldest: None,
            capacity: capacity.max(1),
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The value, which becomes the one asked for last.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let place = *self.places.get(key)?;
        if self.newest != Some(place) {
            self.unlink(place);
            self.link_newest(place);
        }
        let (_, value) = self.slots.get(place)?.entry.as_ref()?;
        Some(value)
    }

    /// Replaces the value of an equal key; else, when full, drops the entry not asked for the longest.
    pub fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        if self.places.len() >= self.capacity
            && let Some(oldest) = self.oldest
        {
            self.release(oldest);
        }
        let slot = Slot {
            entry: Some((key.clone(), value)),
            newer: None,
            older: None,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(key, place);
        self.link_newest(place);
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = *self.places.get(key)?;
        self.release(place)
    }

    /// Drops every entry whose key is not wanted. Takes time in proportion to the entries.
    pub fn retain(&mut self, wanted: impl Fn(&K) -> bool) {
        let unwanted: Vec<usize> = self
            .places
            .iter()
            .filter(|(key, _)| !wanted(key))
            .map(|(_, place)| *place)
            .collect();
        for place in unwanted {
            self.release(place);
        }
    }

    fn release(&mut self, place: usize) -> Option<V> {
        self.unlink(place);
        let (key, value) = self.slots[place].entry.take()?;
        self.places.remove(&key);
        self.free.push(place);
        Some(value)
    }

    fn link_newest(&mut self, place: usize) {
        self.slots[place].newer = None;
        self.slots[place].older = self.newest;
        match self.newest {
            Some(second) => self.slots[second].newer = Some(place),
            None => self.oldest = Some(place),
        }
        self.newest = Some(place);
    }

    fn unlink(&mut self, place: usize) {
        let Slot { newer, older, .. } = self.slots[place];
        match newer {
            Some(newer) => self.slots[newer].older = older,
            None => self.newest = older,
        }
        match older {
            Some(older) => self.slots[older].newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;

    #[test]
    fn the_entry_not_asked_for_the_longest_is_dropped_first() {
        let mut lru = Lru::new(3);
        for key in ["a", "b", "c"] {
            lru.insert(key, key.len());
        }
        assert!(lru.get(&"a").is_some());
        lru.insert("d", 1);
        let kept: Vec<_> = ["a", "b", "c", "d"]
            .map(|key| lru.get(&key).is_some())
            .into();
        assert_eq!(kept, [true, false, true, true]);
    }

    #[test]
    fn it_agrees_with_a_plain_list_over_many_steps() {
        let mut lru = Lru::new(8);
        let mut list: Vec<(u32, u32)> = Vec::new(); // oldest first
        let mut random = 1u32;
        for step in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (random >> 16) % 24;
            match (random >> 8) % 4 {
                0 => {
                    let expected = list.iter().position(|(k, _)| *k == key);
                    let expected = expected.map(|place| list.remove(place).1);
                    assert_eq!(lru.remove(&key), expected, "step {step}");
                }
                1 => {
                    let found = list.iter().position(|(k, _)| *k == key);
                    let expected = found.map(|place| {
                        let entry = list.remove(place);
                        list.push(entry);
                        entry.1
                    });
                    assert_eq!(lru.get(&key).copied(), expected, "step {step}");
                }
                2 if step % 100 == 0 => {
                    list.retain(|(k, _)| k % 2 == 0);
                    lru.retain(|k| k % 2 == 0);
                }
                _ => {
                    list.retain(|(k, _)| *k != key);
                    if list.len() == 8 {
                        list.remove(0);
                    }
                    list.push((key, step));
                    lru.insert(key, step);
                }
            }
            assert_eq!(lru.len(), list.len(), "step {step}");
        }
        assert!(lru.slots.len() <= 8);
    }
}
