//! What is in flight: connections and units of work, counted with atomics, waited for by events, and named where wanted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

mod counts;
mod names;
mod sync;

pub use names::{InFlight, InFlightKind, Work};

use crate::report::ConnectionStats;
use counts::Counts;
use names::{Names, Place};

const DEFAULT_MAX_IN_FLIGHT_REQUESTS: usize = 1_000;

/// Counts connections and requests in flight, or whatever else comes and goes: jobs, messages, sessions. A cheap handle:
/// clones share the counts.
///
/// Beginning and ending touches atomics only; a waiter is looked for only while one waits. What is begun with a
/// [`Work`] can be named while it is there, at the price of a lock that no other thread is likely to want.
///
/// ```
/// use wellkept_shutdown::{Tracker, Work};
///
/// let tracker = Tracker::default();
/// let import = tracker.start_work(Work::new("import", "orders of 2026-01-15"))?;
/// let held_up_by: Vec<String> = tracker.in_flight(10).iter().map(ToString::to_string).collect();
/// assert!(held_up_by[0].starts_with("import orders of 2026-01-15"));
/// drop(import);
/// assert_eq!(tracker.in_flight_requests(), 0);
/// # Ok::<(), wellkept_shutdown::Refused>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tracker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    counts: Counts,
    names: Names,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_IN_FLIGHT_REQUESTS)
    }
}

impl Tracker {
    /// A tracker that refuses requests above `max_in_flight_requests` (1,000 by [`Default`]).
    pub fn new(max_in_flight_requests: usize) -> Self {
        Self { shared: Arc::new(Shared { counts: Counts::new(max_in_flight_requests), names: Names::default() }) }
    }

    /// Changes the limit for requests that begin from now on.
    pub fn set_max_in_flight_requests(&self, limit: usize) {
        self.shared.counts.set_limit(limit);
    }

    /// The limit above which requests are refused.
    pub fn max_in_flight_requests(&self) -> usize {
        self.shared.counts.limit()
    }

    /// Counts a connection until the guard is dropped. Never refused: a connection cap is the server's.
    pub fn register_connection(&self) -> ConnectionGuard {
        self.shared.counts.connect();
        ConnectionGuard { tracker: self.clone(), place: None }
    }

    /// As [`register_connection`](Self::register_connection), and names it while it is open.
    pub fn register_named_connection(&self, work: Work) -> ConnectionGuard {
        self.shared.counts.connect();
        ConnectionGuard { tracker: self.clone(), place: Some(self.shared.names.enter(InFlightKind::Connection, work)) }
    }

    /// Counts a request until the guard is dropped, or refuses it.
    pub fn start_request(&self) -> Result<RequestGuard, Refused> {
        self.begin_request()?;
        Ok(RequestGuard { tracker: self.clone(), place: None })
    }

    /// As [`start_request`](Self::start_request), and names it while it is in flight. For a request, a job, a message:
    /// whatever must not be cut in the middle.
    pub fn start_work(&self, work: Work) -> Result<RequestGuard, Refused> {
        self.begin_request()?;
        Ok(RequestGuard { tracker: self.clone(), place: Some(self.shared.names.enter(InFlightKind::Request, work)) })
    }

    /// Counts a request until the guard is dropped, even at the limit and while draining: for routes that must answer
    /// to the last, such as probes.
    pub fn start_exempt_request(&self) -> RequestGuard {
        self.begin_exempt_request();
        RequestGuard { tracker: self.clone(), place: None }
    }

    /// [`start_request`](Self::start_request) without a guard, for those who keep one of their own: each success must
    /// be followed by exactly one [`end_request`](Self::end_request).
    pub fn begin_request(&self) -> Result<(), Refused> {
        self.shared.counts.begin()
    }

    /// [`start_exempt_request`](Self::start_exempt_request) without a guard.
    pub fn begin_exempt_request(&self) {
        self.shared.counts.begin_exempt();
    }

    /// Ends a request begun without a guard.
    pub fn end_request(&self) {
        self.shared.counts.end();
    }

    /// Refuses requests from now on. Those in flight go on.
    pub fn stop_accepting_new(&self) {
        self.shared.counts.stop();
    }

    /// Whether new requests are taken.
    pub fn is_accepting_new(&self) -> bool {
        self.shared.counts.is_accepting()
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.shared.counts.connections()
    }

    /// Requests in flight now.
    pub fn in_flight_requests(&self) -> usize {
        self.shared.counts.requests()
    }

    /// What is there now and was given a name, the oldest first, at most `limit`. Ages are exact to some milliseconds.
    /// Holds up those who come and go for microseconds.
    pub fn in_flight(&self, limit: usize) -> Vec<InFlight> {
        self.shared.names.list(limit)
    }

    /// Ends when no request is in flight. Cancel-safe. Without a bound of its own: put a timeout around it.
    pub async fn requests_ended(&self) {
        self.shared.counts.until(|counts| counts.requests() == 0).await;
    }

    /// Ends when neither a request nor a connection is open. Cancel-safe, and without a bound of its own.
    pub async fn idle(&self) {
        self.shared.counts.until(|counts| counts.requests() == 0 && counts.connections() == 0).await;
    }

    /// Refuses requests from now on and waits until nothing is open, for `limit` at most. Tells how many requests and
    /// connections are left. Cancel-safe.
    pub async fn drain_connections(&self, limit: Duration) -> Left {
        self.stop_accepting_new();
        // What is left is counted below, whether the wait ended in time or not.
        let _ = tokio::time::timeout(limit, self.idle()).await;
        Left { requests: self.in_flight_requests(), connections: self.connections() }
    }

    /// Asks whoever holds a guard to let go now: [`RequestGuard::cut`] and [`ConnectionGuard::cut`] end. Nothing is
    /// accepted any more. Tells how many requests and connections were there. Does not wait, and can't end a holder who
    /// does not listen.
    pub fn force_close_all(&self) -> Left {
        self.shared.counts.cut();
        Left { requests: self.in_flight_requests(), connections: self.connections() }
    }

    /// The counts at this moment.
    pub fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            total_connections: self.connections(),
            total_in_flight_requests: self.in_flight_requests(),
            max_in_flight_requests: self.max_in_flight_requests(),
            is_accepting_new: self.is_accepting_new(),
            refused_requests_total: self.shared.counts.refused(),
        }
    }
}

/// Keeps a request counted.
#[must_use = "the request counts as ended when the guard is dropped"]
pub struct RequestGuard {
    tracker: Tracker,
    place: Option<Place>,
}

impl RequestGuard {
    /// Ends when it shall be given up because the time is over: select on it beside work that may be cut. Never ends
    /// otherwise. Cancel-safe.
    pub async fn cut(&self) {
        self.tracker.shared.counts.until_cut().await;
    }

    /// Whether it shall be given up.
    pub fn is_cut(&self) -> bool {
        self.tracker.shared.counts.is_cut()
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        // Before the count, so that a wait that ends finds no name.
        if let Some(place) = self.place.take() {
            self.tracker.shared.names.leave(place);
        }
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
    place: Option<Place>,
}

impl ConnectionGuard {
    /// Ends when it shall be given up because the time is over. Never ends otherwise. Cancel-safe.
    pub async fn cut(&self) {
        self.tracker.shared.counts.until_cut().await;
    }

    /// Whether it shall be given up.
    pub fn is_cut(&self) -> bool {
        self.tracker.shared.counts.is_cut()
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.tracker.shared.names.leave(place);
        }
        self.tracker.shared.counts.disconnect();
    }
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ConnectionGuard").finish_non_exhaustive()
    }
}

/// What a drain left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Requests in flight.
    pub requests: usize,
    /// Connections open.
    pub connections: usize,
}

impl Left {
    /// Whether nothing is.
    pub const fn is_nothing(self) -> bool {
        self.requests == 0 && self.connections == 0
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

#[cfg(all(test, wellkept_model))]
mod model;
#[cfg(all(test, not(wellkept_model)))]
mod tests;
