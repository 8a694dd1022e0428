//! What is in flight: connections and requests, counted with atomics and waited for by events.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::report::ConnectionStats;

const DEFAULT_MAX_IN_FLIGHT_REQUESTS: usize = 1_000;

/// Counts connections and requests in flight. A cheap handle: clones share the counts.
///
/// Beginning and ending a request touches atomics only; a waiter is looked for only while one waits.
#[derive(Debug, Clone)]
pub struct Tracker {
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    requests: AtomicUsize,
    connections: AtomicUsize,
    max_in_flight_requests: AtomicUsize,
    refused: AtomicU64,
    accepting: AtomicBool,
    /// Set by the first waiter and never cleared: a tracker is drained at the end of its life.
    waited_for: AtomicBool,
    idle: Notify,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_IN_FLIGHT_REQUESTS)
    }
}

impl Tracker {
    /// A tracker that refuses requests above `max_in_flight_requests` (1,000 by [`Default`]).
    pub fn new(max_in_flight_requests: usize) -> Self {
        Self {
            counts: Arc::new(Counts {
                requests: AtomicUsize::new(0),
                connections: AtomicUsize::new(0),
                max_in_flight_requests: AtomicUsize::new(max_in_flight_requests),
                refused: AtomicU64::new(0),
                accepting: AtomicBool::new(true),
                waited_for: AtomicBool::new(false),
                idle: Notify::new(),
            }),
        }
    }

    /// Changes the limit for requests that begin from now on.
    pub fn set_max_in_flight_requests(&self, limit: usize) {
        self.counts.max_in_flight_requests.store(limit, Ordering::Relaxed);
    }

    /// The limit above which requests are refused.
    pub fn max_in_flight_requests(&self) -> usize {
        self.counts.max_in_flight_requests.load(Ordering::Relaxed)
    }

    /// Counts a connection until the guard is dropped. Never refused: a connection cap is the server's.
    pub fn register_connection(&self) -> ConnectionGuard {
        self.counts.connections.fetch_add(1, Ordering::SeqCst);
        ConnectionGuard { tracker: self.clone() }
    }

    /// Counts a request until the guard is dropped, or refuses it.
    pub fn start_request(&self) -> Result<RequestGuard, Refused> {
        self.begin_request()?;
        Ok(RequestGuard { tracker: self.clone() })
    }

    /// Counts a request until the guard is dropped, even at the limit and while draining: for routes that must answer
    /// to the last, such as probes.
    pub fn start_exempt_request(&self) -> RequestGuard {
        self.begin_exempt_request();
        RequestGuard { tracker: self.clone() }
    }

    /// [`start_request`](Self::start_request) without a guard, for those who keep one of their own: each success must
    /// be followed by exactly one [`end_request`](Self::end_request).
    pub fn begin_request(&self) -> Result<(), Refused> {
        let counts = &*self.counts;
        // Counted first and looked at afterwards: whoever stops and then waits sees either this request or its refusal.
        let before = counts.requests.fetch_add(1, Ordering::SeqCst);
        let refused = if !counts.accepting.load(Ordering::SeqCst) {
            Refused::Draining
        } else if before >= counts.max_in_flight_requests.load(Ordering::Relaxed) {
            Refused::TooManyInFlight
        } else {
            return Ok(());
        };
        self.end_request();
        counts.refused.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    /// [`start_exempt_request`](Self::start_exempt_request) without a guard.
    pub fn begin_exempt_request(&self) {
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends a request begun without a guard.
    pub fn end_request(&self) {
        if self.counts.requests.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.counts.tell();
        }
    }

    /// Refuses requests from now on. Those in flight go on.
    pub fn stop_accepting_new(&self) {
        self.counts.accepting.store(false, Ordering::SeqCst);
    }

    /// Whether new requests are taken.
    pub fn is_accepting_new(&self) -> bool {
        self.counts.accepting.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Requests in flight now.
    pub fn in_flight_requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Ends when no request is in flight. Cancel-safe. Without a bound of its own: put a timeout around it.
    pub async fn requests_ended(&self) {
        self.until(|counts| counts.requests.load(Ordering::SeqCst) == 0).await;
    }

    /// Ends when neither a request nor a connection is open. Cancel-safe, and without a bound of its own.
    pub async fn idle(&self) {
        self.until(|counts| {
            counts.requests.load(Ordering::SeqCst) == 0 && counts.connections.load(Ordering::SeqCst) == 0
        })
        .await;
    }

    /// The counts at this moment.
    pub fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            total_connections: self.connections(),
            total_in_flight_requests: self.in_flight_requests(),
            max_in_flight_requests: self.max_in_flight_requests(),
            is_accepting_new: self.is_accepting_new(),
            refused_requests_total: self.counts.refused.load(Ordering::Relaxed),
        }
    }

    async fn until(&self, reached: impl Fn(&Counts) -> bool) {
        self.counts.waited_for.store(true, Ordering::SeqCst);
        loop {
            let mut told = std::pin::pin!(self.counts.idle.notified());
            // Enlisted before looking, so that no end in between is missed.
            told.as_mut().enable();
            if reached(&self.counts) {
                return;
            }
            told.await;
        }
    }
}

impl Counts {
    fn tell(&self) {
        if self.waited_for.load(Ordering::SeqCst) {
            self.idle.notify_waiters();
        }
    }
}

/// Keeps a request counted.
#[must_use = "the request counts as ended when the guard is dropped"]
pub struct RequestGuard {
    tracker: Tracker,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.tracker.end_request();
    }
}

impl fmt::Debug for RequestGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RequestGuard").finish_non_exhaustive()
    }
}

/// Keeps a connection counted.
#[must_use = "the connection counts as ended when the guard is dropped"]
pub struct ConnectionGuard {
    tracker: Tracker,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if self.tracker.counts.connections.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tracker.counts.tell();
        }
    }
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ConnectionGuard").finish_non_exhaustive()
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// The process is on its way out.
    #[error("the service is shutting down")]
    Draining,
    /// As many requests as allowed are in flight.
    #[error("too many requests are in flight")]
    TooManyInFlight,
}

impl Refused {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Draining => "shutdown.draining",
            Self::TooManyInFlight => "shutdown.too_many_in_flight",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[test]
    fn the_limit_refuses_and_an_exempt_request_passes_it() {
        let tracker = Tracker::new(1);
        let first = tracker.start_request().unwrap();
        assert_eq!(tracker.start_request().unwrap_err(), Refused::TooManyInFlight);
        let probe = tracker.start_exempt_request();
        assert_eq!(tracker.in_flight_requests(), 2);
        drop((first, probe));
        assert_eq!(tracker.in_flight_requests(), 0);
        assert!(tracker.start_request().is_ok());
        assert_eq!(tracker.stats().refused_requests_total, 1);
    }

    #[test]
    fn after_the_stop_requests_are_refused_and_those_in_flight_go_on() {
        let tracker = Tracker::default();
        let running = tracker.start_request().unwrap();
        tracker.stop_accepting_new();
        assert!(!tracker.is_accepting_new());
        assert_eq!(tracker.start_request().unwrap_err(), Refused::Draining);
        assert_eq!(tracker.in_flight_requests(), 1);
        drop(running);
        assert_eq!(tracker.in_flight_requests(), 0);
    }

    #[tokio::test]
    async fn the_wait_ends_with_the_last_guard_and_not_before() {
        let tracker = Tracker::default();
        let (connection, one, two) =
            (tracker.register_connection(), tracker.start_request().unwrap(), tracker.start_request().unwrap());
        let mut requests = std::pin::pin!(tracker.requests_ended());
        let mut everything = std::pin::pin!(tracker.idle());
        let poll = |future: std::pin::Pin<&mut dyn Future<Output = ()>>| {
            future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        };
        assert_eq!(poll(requests.as_mut()), Poll::Pending);
        drop(one);
        assert_eq!(poll(requests.as_mut()), Poll::Pending);
        drop(two);
        assert_eq!(poll(requests.as_mut()), Poll::Ready(()));
        assert_eq!(poll(everything.as_mut()), Poll::Pending);
        drop(connection);
        assert_eq!(poll(everything.as_mut()), Poll::Ready(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_end_is_missed_when_ends_and_the_wait_race() {
        for _ in 0..500 {
            let tracker = Tracker::default();
            let guard = tracker.start_request().unwrap();
            let waiter = tokio::spawn({
                let tracker = tracker.clone();
                async move { tracker.requests_ended().await }
            });
            drop(guard);
            tokio::time::timeout(std::time::Duration::from_secs(5), waiter).await.expect("the wait ends").unwrap();
        }
    }
}
