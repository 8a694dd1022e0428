//! The application's own cache in memory: how often it has what is asked for, and how full it is. For use from code.
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | less than `degraded_below` of the latest lookups found something | degraded | `threshold` |
//!
//! The metadata holds `hit_rate`, of the latest lookups that were judged, from 0 to 1; `memory_usage`, the part of the
//! capacity that is taken, where there is one; and `cache`: `hits` and `misses` since the beginning, `entries`, and where
//! the cache knows them `size`, `capacity` and `evictions`.
//!
//! A rate is judged over at least `min_lookups`: what fewer say is chance. Until there are as many since the last
//! judgement, that one stands, so that a cache that nobody asks neither recovers nor fails.
//!
//! Any cache can be looked at, by a [`CountedCache`] of your own. For one that does not count its lookups, as `moka`'s do
//! not, [`Lookups`] does; those of `moka` are ready with the feature of that name.
#![cfg_attr(
    feature = "moka",
    doc = r#"
```
use wellkept_checks::cache::{Cache, Counted, Lookups, Options};
use wellkept_health::{Checker, Settings};

let prices = moka::sync::Cache::new(10_000);
let lookups = Lookups::default();
let (checker, _engine) = Checker::new(Settings::new("orders"));
let cache = Cache::new(Counted::new(prices.clone(), lookups.clone()), Options::default())?;
checker.register(cache.component("prices"))?;

// What passes through the handle is counted, and nothing else.
let found = lookups.of(prices.get("tea"));
let price = lookups.of_entry(prices.entry("tea").or_insert_with(|| 3)).into_value();
assert_eq!((found, price), (None, 3));
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]

#[cfg(feature = "moka")]
mod moka;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use wellkept_config::Ratio;
use wellkept_health::{Check, Component, Context, Outcome, Scope};

use crate::InvalidOption;
use crate::findings::Findings;

/// A cache, as a check sees it.
///
/// ```
/// use wellkept_checks::cache::{Cache, CacheStats, CountedCache, Options};
///
/// struct Mine;
///
/// impl CountedCache for Mine {
///     fn stats(&self) -> CacheStats {
///         CacheStats { hits: 950, misses: 50, entries: 120, ..CacheStats::default() }
///     }
/// }
///
/// let component = Cache::new(Mine, Options::default())?.component("prices");
/// # drop(component);
/// # Ok::<(), wellkept_checks::InvalidOption>(())
/// ```
pub trait CountedCache: Send + Sync + 'static {
    /// How it stands now. Called at the component's interval, on a thread of the runtime: must not block.
    fn stats(&self) -> CacheStats;
}

/// How a cache stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups that found something, since the beginning.
    pub hits: u64,
    /// Lookups that found nothing, since the beginning.
    pub misses: u64,
    /// What it holds, in entries.
    pub entries: u64,
    /// What it holds, in the unit of its capacity: bytes, where it weighs its entries in bytes.
    pub size: Option<u64>,
    /// What it may hold, in that unit; in entries where `size` is not known. `None` when it is not bounded.
    pub capacity: Option<u64>,
    /// Entries that had to go for lack of room, since the beginning.
    pub evictions: Option<u64>,
}

impl CacheStats {
    fn lookups(&self) -> u64 {
        self.hits.saturating_add(self.misses)
    }

    /// The part of the capacity that is taken.
    fn usage(&self) -> Option<f64> {
        let capacity = self.capacity.filter(|capacity| *capacity > 0)?;
        Some(self.size.unwrap_or(self.entries) as f64 / capacity as f64)
    }
}

/// The settings of a [`Cache`] check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Degraded when less than this part of the latest lookups found something. Default: not set.
    pub degraded_below: Option<Ratio>,
    /// As many lookups are judged together at least. More than 0. Default 100.
    pub min_lookups: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { degraded_below: None, min_lookups: 100 }
    }
}

/// The application's own cache.
pub struct Cache<C> {
    looked_at: C,
    options: Options,
    judged: Mutex<Judged>,
}

/// What was judged last.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    /// How the cache stood then.
    at: CacheStats,
    hit_rate: Option<f64>,
}

impl<C: CountedCache> Cache<C> {
    /// Looks at this cache; a clone that shares its entries and counters will do. Refuses to judge less than one lookup.
    pub fn new(cache: C, options: Options) -> Result<Self, InvalidOption> {
        if options.min_lookups == 0 {
            return Err(InvalidOption::new("min_lookups", "must be more than 0"));
        }
        Ok(Self { looked_at: cache, options, judged: Mutex::default() })
    }

    /// As a component. It looks at this process only, so that no probe sees it unless a group is named.
    pub fn component(self, name: impl Into<Arc<str>>) -> Component {
        Component::new(name, self).scope(Scope::Process)
    }

    /// The rate of the latest lookups, once they are enough.
    fn hit_rate(&self, stats: CacheStats) -> Option<f64> {
        let mut judged = self.judged();
        // Counters that are lower than they were began anew.
        let before = if stats.hits < judged.at.hits || stats.misses < judged.at.misses {
            CacheStats::default()
        } else {
            judged.at
        };
        let lookups = stats.lookups().saturating_sub(before.lookups());
        if lookups >= self.options.min_lookups {
            let rate = stats.hits.saturating_sub(before.hits) as f64 / lookups as f64;
            *judged = Judged { at: stats, hit_rate: Some(rate) };
        } else {
            judged.at = before;
        }
        judged.hit_rate
    }

    fn judged(&self) -> MutexGuard<'_, Judged> {
        // Every change under this lock is one assignment.
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: CountedCache> Check for Cache<C> {
    async fn run(&self, _context: &Context) -> Outcome {
        let stats = self.looked_at.stats();
        let hit_rate = self.hit_rate(stats);
        let mut findings = Findings::default();
        // A limit from below, told as one from above.
        if let Some(rate) = hit_rate {
            let limit = self.options.degraded_below.map(|limit| 1.0 - limit.as_f64());
            findings.limit(1.0 - rate, limit, None, || format!("{:.1}% of the lookups found something", rate * 100.0));
        }
        let counts = [
            ("hits", Some(stats.hits)),
            ("misses", Some(stats.misses)),
            ("entries", Some(stats.entries)),
            ("size", stats.size),
            ("capacity", stats.capacity),
            ("evictions", stats.evictions),
        ];
        let counts = counts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), Value::from(count?))));
        let outcome = findings.worst().with("cache", Value::Object(counts.collect::<Map<_, _>>()));
        let ratios = [("hit_rate", hit_rate), ("memory_usage", stats.usage())];
        ratios.into_iter().fold(outcome, |outcome, (name, ratio)| match ratio {
            Some(ratio) => outcome.with(name, ratio),
            None => outcome,
        })
    }
}

impl<C> fmt::Debug for Cache<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Counts the lookups of a cache that does not: two atomic counters, of which a lookup adds to one. Cheap to clone; clones
/// count together.
///
/// Only what passes through it is counted: a lookup that does not is neither a hit nor a miss.
///
/// ```
/// use std::collections::HashMap;
/// use wellkept_checks::cache::Lookups;
///
/// let prices = HashMap::from([("tea", 3)]);
/// let lookups = Lookups::default();
/// assert_eq!(lookups.of(prices.get("tea")), Some(&3));
/// assert_eq!(lookups.of(prices.get("coffee")), None);
/// assert_eq!((lookups.hits(), lookups.misses()), (1, 1));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

impl Lookups {
    /// Counts what a lookup found, and hands it on.
    pub fn of<T>(&self, found: Option<T>) -> Option<T> {
        self.count(found.is_some());
        found
    }

    /// Counts that a lookup found something or not, where that is known otherwise.
    pub fn count(&self, found: bool) {
        let counter = if found { &self.counts.hits } else { &self.counts.misses };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an entry that had to go for lack of room. To be called by the listener of a cache that has one.
    pub fn evicted(&self) {
        self.counts.evictions.fetch_add(1, Ordering::Relaxed);
    }

    /// Lookups that found something.
    pub fn hits(&self) -> u64 {
        self.counts.hits.load(Ordering::Relaxed)
    }

    /// Lookups that found nothing.
    pub fn misses(&self) -> u64 {
        self.counts.misses.load(Ordering::Relaxed)
    }

    /// Entries that had to go, `None` when nobody has told of one.
    pub fn evictions(&self) -> Option<u64> {
        Some(self.counts.evictions.load(Ordering::Relaxed)).filter(|evictions| *evictions > 0)
    }
}

/// A cache that does not count its lookups, beside the handle that does.
#[derive(Debug, Clone)]
pub struct Counted<C> {
    #[cfg_attr(not(feature = "moka"), expect(dead_code, reason = "it is read by the ready-made caches alone"))]
    cache: C,
    #[cfg_attr(not(feature = "moka"), expect(dead_code, reason = "it is read by the ready-made caches alone"))]
    lookups: Lookups,
}

impl<C> Counted<C> {
    /// Both share their contents with the clones that the application uses.
    pub fn new(cache: C, lookups: Lookups) -> Self {
        Self { cache, lookups }
    }
}

#[cfg(test)]
mod tests;
