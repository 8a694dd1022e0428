//! How late runs start: a histogram that readers take without waiting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much later than due runs started, all of them, since the checker was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lags {
    /// How many started later than the bound before and at most [`Lags::BUCKETS`] seconds late.
    pub buckets: [u64; Self::BUCKETS.len()],
    /// All their delays together.
    pub total: Duration,
}

impl Lags {
    /// Upper bounds of the buckets, in seconds.
    pub const BUCKETS: [f64; 8] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, f64::INFINITY];

    /// How many runs started.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What the engine counts them in.
#[derive(Debug, Default)]
pub(crate) struct LagCounters {
    buckets: [AtomicU64; Lags::BUCKETS.len()],
    micros: AtomicU64,
}

impl LagCounters {
    pub(crate) fn add(&self, lag: Duration) {
        let bucket = Lags::BUCKETS.iter().position(|bound| lag.as_secs_f64() <= *bound);
        if let Some(count) = bucket.and_then(|bucket| self.buckets.get(bucket)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Lags {
        let buckets = self.buckets.each_ref().map(|count| count.load(Ordering::Relaxed));
        Lags { buckets, total: Duration::from_micros(self.micros.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_start_stays_counted_after_punctual_ones() {
        let counters = LagCounters::default();
        for millis in [0, 0, 7_000, 0, 60_000, 200] {
            counters.add(Duration::from_millis(millis));
        }
        let lags = counters.read();
        assert_eq!(lags.buckets, [3, 0, 0, 1, 0, 0, 1, 1]);
        assert_eq!((lags.count(), lags.total), (6, Duration::from_millis(67_200)));
    }
}
