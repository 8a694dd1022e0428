//! A bulkhead: how many calls of one sort may be under way at once, so that a slow one can't take all there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Protection, ProtectionState};

/// Places for calls. Cheap to clone: clones share the places.
#[derive(Debug, Clone)]
pub struct Bulkhead {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    places: Arc<Semaphore>,
    limit: u32,
    most_waiting: u32,
    waiting: AtomicU32,
    refused: AtomicU64,
}

/// A place, until it is dropped.
#[derive(Debug)]
#[must_use = "dropped, the place is free again"]
pub struct BulkheadPlace {
    _place: OwnedSemaphorePermit,
}

impl Bulkhead {
    /// `limit` calls at once, 0 is taken as 1; at most `most_waiting` wait for a place, further ones are refused.
    pub fn new(limit: u32, most_waiting: u32) -> Self {
        let limit = limit.max(1);
        let places = Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS)));
        let inner = Inner { places, limit, most_waiting, waiting: AtomicU32::new(0), refused: AtomicU64::new(0) };
        Self { inner: Arc::new(inner) }
    }

    /// A place, at once or within `patience`; `None` when there is none, or too many wait already. Cancel-safe.
    pub async fn enter(&self, patience: Duration) -> Option<BulkheadPlace> {
        let inner = &*self.inner;
        if let Ok(place) = Arc::clone(&inner.places).try_acquire_owned() {
            return Some(BulkheadPlace { _place: place });
        }
        let place = match self.queue() {
            Some(_waiting) => {
                let waited = timeout(patience, Arc::clone(&inner.places).acquire_owned()).await;
                waited.ok().and_then(Result::ok)
            }
            None => None,
        };
        if place.is_none() {
            inner.refused.fetch_add(1, Ordering::Relaxed);
        }
        place.map(|place| BulkheadPlace { _place: place })
    }

    fn queue(&self) -> Option<Waiting<'_>> {
        let Inner { waiting, most_waiting, .. } = &*self.inner;
        let one_more = |count: u32| (count < *most_waiting).then_some(count + 1);
        waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok().map(|_| Waiting(waiting))
    }
}

/// One more that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Protection for Bulkhead {
    fn state(&self) -> ProtectionState {
        let Inner { places, limit, waiting, refused, .. } = &*self.inner;
        let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
        ProtectionState::Bulkhead {
            in_use: limit.saturating_sub(free),
            limit: *limit,
            waiting: waiting.load(Ordering::Acquire),
            refused: refused.load(Ordering::Relaxed),
        }
    }
}
