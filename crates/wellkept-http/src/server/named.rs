//! The requests of one connection by their routes, for the report of what was cut.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{Method, Uri};
use slab::Slab;

/// Longer paths are cut.
const MAX_PATH: usize = 200;

/// The lock is one connection's own, so nobody waits for it but who asks for the names.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Slab<Request>>);

#[derive(Debug)]
struct Request {
    method: Method,
    uri: Uri,
    since: u32,
}

/// Where a request's name stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named(usize);

/// One name, or none, without a lock.
#[derive(Debug)]
pub(super) struct LastNamed(AtomicUsize);

impl LastNamed {
    const NONE: usize = usize::MAX;

    /// Gives back the one before.
    pub(super) fn replace(&self, named: Named) -> Option<Named> {
        Self::named(self.0.swap(named.0, Ordering::SeqCst))
    }

    pub(super) fn take(&self) -> Option<Named> {
        // A load is cheaper, and most often there is none.
        Self::named(self.0.load(Ordering::Relaxed)).and_then(|_| Self::named(self.0.swap(Self::NONE, Ordering::SeqCst)))
    }

    fn named(place: usize) -> Option<Named> {
        (place != Self::NONE).then_some(Named(place))
    }
}

impl Default for LastNamed {
    fn default() -> Self {
        Self(AtomicUsize::new(Self::NONE))
    }
}

impl Names {
    /// Copies nothing: both are counted references.
    pub(super) fn enter(&self, method: &Method, uri: &Uri, since: u32) -> Named {
        Named(self.lock().insert(Request { method: method.clone(), uri: uri.clone(), since }))
    }

    pub(super) fn leave(&self, named: Named) {
        // Dropped after the lock.
        let _request = self.lock().try_remove(named.0);
    }

    /// Method and path (or where to, of a tunnel) of each, and since when. Without the query, which may hold what is private.
    pub(super) fn list(&self) -> Vec<(String, u32)> {
        let describe = |request: &Request| {
            // A tunnel is asked for by its other end alone.
            let path = if request.method == Method::CONNECT { request.uri.host() } else { Some(request.uri.path()) };
            let path: String = path.unwrap_or_default().chars().take(MAX_PATH).collect();
            (format!("{} {path}", request.method), request.since)
        };
        self.lock().iter().map(|(_, request)| describe(request)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
