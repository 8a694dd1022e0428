//! The caches of `moka`, as a check sees them.

use std::hash::{BuildHasher, Hash};

use super::{CacheStats, Counted, CountedCache, Lookups};

/// What `moka` says of its size lags behind by the work that it does now and then (`run_pending_tasks`).
impl<K, V, S> CountedCache for Counted<moka::sync::Cache<K, V, S>>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Clone + Send + Sync + 'static,
{
    fn stats(&self) -> CacheStats {
        let cache = &self.cache;
        stats(&self.lookups, cache.entry_count(), cache.weighted_size(), cache.policy().max_capacity())
    }
}

/// As the one for threads.
impl<K, V, S> CountedCache for Counted<moka::future::Cache<K, V, S>>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Clone + Send + Sync + 'static,
{
    fn stats(&self) -> CacheStats {
        let cache = &self.cache;
        stats(&self.lookups, cache.entry_count(), cache.weighted_size(), cache.policy().max_capacity())
    }
}

impl Lookups {
    /// Counts an entry of a `moka` cache that was looked up or made, as by `entry(…).or_insert_with(…)`, and hands it on:
    /// a miss when it had to be made.
    pub fn of_entry<K, V>(&self, entry: moka::Entry<K, V>) -> moka::Entry<K, V> {
        self.count(!entry.is_fresh());
        entry
    }
}

fn stats(lookups: &Lookups, entries: u64, size: u64, capacity: Option<u64>) -> CacheStats {
    let (hits, misses, evictions) = (lookups.hits(), lookups.misses(), lookups.evictions());
    CacheStats { hits, misses, entries, size: Some(size), capacity, evictions }
}
