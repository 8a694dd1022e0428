//! What an application has besides requests, as metrics: caches and sessions. A recorder is held where the thing is, and
//! counting on it costs an atomic.

use crate::metrics::{Counter, Declaration, Gauge, Held, Labelled, Limits, MetricError, Metrics};

const LOOKUPS: Declaration<'static> =
    Declaration::counter("wellkept_cache_lookups", "Lookups in a cache, by whether they found something.")
        .by(&["cache", "outcome"]);
const EVICTIONS: Declaration<'static> =
    Declaration::counter("wellkept_cache_evictions", "Entries of a cache that had to go for lack of room.")
        .by(&["cache"]);
const ENTRIES: Declaration<'static> =
    Declaration::gauge("wellkept_cache_entries", "Entries that a cache holds.").by(&["cache"]);

const ACTIVE: Declaration<'static> =
    Declaration::gauge("wellkept_sessions_active", "Sessions that are open, by kind.").by(&["kind"]);
const BEGUN: Declaration<'static> =
    Declaration::counter("wellkept_sessions_begun", "Sessions that were begun, by kind.").by(&["kind"]);

/// Counts what is asked of one cache.
///
/// ```
/// use wellkept_telemetry::metrics::Metrics;
/// use wellkept_telemetry::recorders::CacheRecorder;
///
/// let metrics = Metrics::new();
/// let prices = CacheRecorder::new(&metrics, "prices")?;
/// let found = prices.lookup(Some(3));
/// prices.evicted(1);
/// prices.set_entries(120);
/// assert_eq!(found, Some(3));
/// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CacheRecorder {
    hits: Counter,
    misses: Counter,
    evictions: Counter,
    entries: Gauge,
}

impl CacheRecorder {
    /// Of the cache of this name. The same name twice counts on the same series. Fails where the application has declared
    /// one of the families differently.
    pub fn new(metrics: &Metrics, cache: &str) -> Result<Self, MetricError> {
        let lookups: Labelled<Counter, 2> = metrics.family(&LOOKUPS, Limits::default())?;
        let evictions: Labelled<Counter, 1> = metrics.family(&EVICTIONS, Limits::default())?;
        let entries: Labelled<Gauge, 1> = metrics.family(&ENTRIES, Limits::default())?;
        Ok(Self {
            hits: lookups.with([cache, "hit"]),
            misses: lookups.with([cache, "miss"]),
            evictions: evictions.with([cache]),
            entries: entries.with([cache]),
        })
    }

    /// Counts a lookup by what it found, and hands that on.
    pub fn lookup<T>(&self, found: Option<T>) -> Option<T> {
        if found.is_some() {
            self.hit();
        } else {
            self.miss();
        }
        found
    }

    /// A lookup has found something.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// A lookup has found nothing.
    pub fn miss(&self) {
        self.misses.inc();
    }

    /// So many entries had to go.
    pub fn evicted(&self, entries: u64) {
        self.evictions.add(entries);
    }

    /// It holds so many entries now.
    pub fn set_entries(&self, entries: u64) {
        self.entries.set(entries as f64);
    }
}

/// Counts the sessions of one kind.
///
/// ```
/// use wellkept_telemetry::metrics::Metrics;
/// use wellkept_telemetry::recorders::SessionRecorder;
///
/// let metrics = Metrics::new();
/// let logins = SessionRecorder::new(&metrics, "web")?;
/// let session = logins.begin();
/// // Kept with the session; that it is dropped is the session's end.
/// drop(session);
/// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SessionRecorder {
    active: Gauge,
    begun: Counter,
}

impl SessionRecorder {
    /// Of the sessions of this kind. Fails where the application has declared one of the families differently.
    pub fn new(metrics: &Metrics, kind: &str) -> Result<Self, MetricError> {
        let active: Labelled<Gauge, 1> = metrics.family(&ACTIVE, Limits::default())?;
        let begun: Labelled<Counter, 1> = metrics.family(&BEGUN, Limits::default())?;
        Ok(Self { active: active.with([kind]), begun: begun.with([kind]) })
    }

    /// One begins, and is active until what is returned is dropped. How many have ended is what was begun without what is
    /// active.
    pub fn begin(&self) -> Held {
        self.begun.inc();
        self.active.hold()
    }

    /// There are so many active ones now: for sessions that are kept elsewhere.
    pub fn set_active(&self, sessions: u64) {
        self.active.set(sessions as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Audience;

    #[test]
    fn caches_and_sessions_are_counted_by_name() {
        let metrics = Metrics::new();
        let prices = CacheRecorder::new(&metrics, "prices").unwrap();
        let again = CacheRecorder::new(&metrics, "prices").unwrap();
        assert_eq!((prices.lookup(Some(1)), again.lookup(None::<u8>), again.lookup(Some(2))), (Some(1), None, Some(2)));
        prices.evicted(3);
        prices.set_entries(7);
        let web = SessionRecorder::new(&metrics, "web").unwrap();
        let (one, two) = (web.begin(), web.begin());
        drop(one);
        let page = metrics.page(None, Audience::Everyone).body;
        for line in [
            "wellkept_cache_lookups_total{cache=\"prices\",outcome=\"hit\"} 2",
            "wellkept_cache_lookups_total{cache=\"prices\",outcome=\"miss\"} 1",
            "wellkept_cache_evictions_total{cache=\"prices\"} 3",
            "wellkept_cache_entries{cache=\"prices\"} 7",
            "wellkept_sessions_active{kind=\"web\"} 1",
            "wellkept_sessions_begun_total{kind=\"web\"} 2",
        ] {
            assert!(page.lines().any(|one| one.strip_suffix(".0").unwrap_or(one) == line), "{line}: {page}");
        }
        drop(two);
    }
}
