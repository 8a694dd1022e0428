//! The requests of one connection by their routes, for the report of what was cut.

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

impl Names {
    /// Copies nothing: both are counted references.
    pub(super) fn enter(&self, method: &Method, uri: &Uri, since: u32) -> Named {
        Named(self.lock().insert(Request { method: method.clone(), uri: uri.clone(), since }))
    }

    pub(super) fn leave(&self, named: Named) {
        // Dropped after the lock.
        let _request = self.lock().try_remove(named.0);
    }

    /// Method and path of each, and since when. Without the query, which may hold what is private.
    pub(super) fn list(&self) -> Vec<(String, u32)> {
        let describe = |request: &Request| {
            let path: String = request.uri.path().chars().take(MAX_PATH).collect();
            (format!("{} {path}", request.method), request.since)
        };
        self.lock().iter().map(|(_, request)| describe(request)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
