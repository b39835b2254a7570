//! Parts that several entities use, found by content as long as one of them does.

use imbl::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

pub(super) struct Shared<K, V> {
    held: HashMap<K, Weak<V>>,
    /// As many again, and those that are no more are looked for.
    live_count: usize,
}

/// Fewer are not worth looking through.
const LIVE_COUNT_MIN: usize = 64;

impl<K: Hash + Eq + Clone, V> Shared<K, V> {
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.held.get(key)?.upgrade()
    }

    pub fn insert(&mut self, key: K, value: V) -> Arc<V> {
        if self.held.len() >= 2 * self.live_count.max(LIVE_COUNT_MIN) {
            self.held.retain(|_, held| held.strong_count() > 0);
            self.live_count = self.held.len();
        }
        let value = Arc::new(value);
        self.held.insert(key, Arc::downgrade(&value));
        value
    }
}

// Derived ones would ask for the same of what is shared.
impl<K: Hash + Eq + Clone, V> Clone for Shared<K, V> {
    fn clone(&self) -> Self {
        Shared {
            held: self.held.clone(),
            live_count: self.live_count,
        }
    }
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Shared {
            held: HashMap::new(),
            live_count: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut shared = Shared::default();
        let kept: Vec<_> = (0..100).map(|key| shared.insert(key, key)).collect();
        (100..10_000).for_each(|key| drop(shared.insert(key, key)));
        assert!(shared.held.len() <= 2 * (kept.len() + LIVE_COUNT_MIN));
        assert!(kept.iter().all(|value| {
            let found = shared.get(value);
            found.is_some_and(|found| Arc::ptr_eq(&found, value))
        }));
        assert_eq!(shared.get(&9_999), None);
    }
}
