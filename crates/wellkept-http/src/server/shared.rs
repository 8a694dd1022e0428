//! What all connections of one server share: its stage, its counts, the list of open connections, and the sweeper that
//! keeps their time limits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Notify;
use wellkept_shutdown::{Remaining, Tracker};

use super::address::Address;
use super::connection::{Connection, Ended};
use super::options::{AtOnce, ServerOptions};
use super::succession::Succession;
use super::{ServerStats, TimeoutStats};

/// How long after the stop a connection that was just taken may still hold the drain without having said anything.
const ARRIVAL_GRACE: Duration = Duration::from_millis(100);
/// The same over TLS, where words go to and fro before a request can come.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(300);
/// How long idle connections may take to close after the last request has ended.
const LINGER: Duration = Duration::from_millis(250);
/// How many connections are named in the report when they are cut.
const MAX_NAMED: usize = 100;
/// What hyper takes on its stack; more costs two allocations a request.
const HYPER_MAX_HEADERS: usize = 100;
/// Spreads numbers that follow each other (the golden ratio, in 64 bits).
const SCATTER: u64 = 0x9E37_79B9_7F4A_7C15;
const MIN_SWEEP: Duration = Duration::from_millis(5);
const MAX_SWEEP: Duration = Duration::from_millis(250);

/// Where the server is. Only ever advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    Serving,
    /// Responses tell clients to go.
    Announcing,
    /// Late requests are refused.
    Stopped,
    /// Nothing is in flight: idle connections close.
    Closing,
    /// Everything is cut.
    Aborted,
}

pub(super) struct Shared {
    pub(super) name: String,
    pub(super) bound: Address,
    pub(super) options: ServerOptions,
    /// Whether it speaks TLS.
    pub(super) shakes_hands: bool,
    pub(super) answers: Answers,
    pub(super) tracker: Tracker,
    pub(super) retry_after: HeaderValue,
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
    stage: AtomicU8,
    /// Requests begun whose last byte has not left, and upgraded connections.
    busy: AtomicUsize,
    /// Connections taken whose first request may still be under way.
    arriving: AtomicUsize,
    pub(super) open: AtomicUsize,
    /// Of these, those that were told to go to make room.
    evicting: AtomicUsize,
    pub(super) listener_closed: AtomicBool,
    pub(super) succession: Succession,
    stop_asked: AtomicBool,
    stop: Notify,
    /// Told at each change that a drain may wait for; only once the server has left `Serving`.
    changed: Notify,
    /// Set while accepting pauses at the limit of connections.
    paused: AtomicBool,
    room: Notify,
    began: Instant,
    /// Milliseconds since `began`, as of the last sweep or accept: the clock of all stamps.
    tick: AtomicU32,
    occupied: Notify,
    /// When the announcement began, on the same clock, and how many requests have come since.
    announced: AtomicU32,
    gradual: AtomicU64,
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
    pub(super) counts: Counts,
}

/// Who answers: what can at once, or else the router.
pub(super) struct Answers {
    pub(super) router: Router,
    pub(super) at_once: Option<AtOnce>,
}

/// The totals.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) refused_late: AtomicU64,
    pub(super) refused_overload: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) handshakes: AtomicU64,
    first_byte: AtomicU64,
    header: AtomicU64,
    idle: AtomicU64,
    pub(super) write: AtomicU64,
    /// Of connections that are closed; the open ones keep their own.
    requests: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        name: &str,
        bound: Address,
        options: ServerOptions,
        answers: Answers,
        tracker: Tracker,
    ) -> Arc<Self> {
        #[cfg(feature = "tls")]
        let shakes_hands = options.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let shakes_hands = false;
        let mut http1 = http1::Builder::new();
        if options.max_headers > HYPER_MAX_HEADERS {
            http1.max_headers(options.max_headers);
        }
        http1
            .max_header_size(options.max_header_bytes)
            // The sweeper keeps this limit, without a timer for each request.
            .header_read_timeout(None);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.max_streams)
            .max_header_list_size(u32::try_from(options.max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(options.max_reset_streams)
            .keep_alive_interval(options.keep_alive_interval)
            .keep_alive_timeout(options.keep_alive_timeout);
        Arc::new(Self {
            name: name.to_owned(),
            bound,
            retry_after: HeaderValue::from(options.retry_after.as_secs().max(1)),
            options,
            shakes_hands,
            // Turns handlers into routes once, not at each request.
            answers: Answers { router: answers.router.with_state(()), ..answers },
            tracker,
            http1,
            http2,
            stage: AtomicU8::new(Stage::Serving as u8),
            busy: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            evicting: AtomicUsize::new(0),
            listener_closed: AtomicBool::new(false),
            succession: Succession::default(),
            stop_asked: AtomicBool::new(false),
            stop: Notify::new(),
            changed: Notify::new(),
            paused: AtomicBool::new(false),
            room: Notify::new(),
            began: Instant::now(),
            tick: AtomicU32::new(1),
            occupied: Notify::new(),
            announced: AtomicU32::new(0),
            gradual: AtomicU64::new(0),
            connections: Mutex::new(BTreeMap::new()),
            counts: Counts::default(),
        })
    }

    fn arrival_grace(&self) -> Duration {
        if self.shakes_hands { HANDSHAKE_GRACE } else { ARRIVAL_GRACE }
    }

    pub(super) fn has_reached(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::SeqCst) >= stage as u8
    }

    /// Moves on and wakes every connection, so that each looks where the server is.
    pub(super) fn advance(&self, stage: Stage) {
        if stage == Stage::Announcing && !self.has_reached(stage) {
            self.announced.store(self.look_at_the_clock(), Ordering::Relaxed);
        }
        if self.stage.fetch_max(stage as u8, Ordering::SeqCst) < stage as u8 {
            for connection in self.connections().values() {
                connection.wake();
            }
            self.changed.notify_waiters();
        }
    }

    pub(super) fn ask_to_stop(&self) {
        // Waiters and counters look at the stage, so a server that stops unannounced announces now.
        self.advance(Stage::Announcing);
        self.stop_asked.store(true, Ordering::SeqCst);
        self.stop.notify_waiters();
    }

    /// Whether this request is one of those that are refused before the stop.
    pub(super) fn refuses_gradually(&self) -> bool {
        let Some(over) = self.options.refuse_gradually else { return false };
        if !self.has_reached(Stage::Announcing) || self.has_reached(Stage::Stopped) {
            return false;
        }
        let since = self.announced.load(Ordering::Relaxed);
        let lasts = Duration::from_millis(u64::from(self.look_at_the_clock().wrapping_sub(since)));
        let share = lasts.as_secs_f64() / over.as_secs_f64().max(f64::MIN_POSITIVE);
        let number = self.gradual.fetch_add(1, Ordering::Relaxed).wrapping_mul(SCATTER) >> 32;
        (number as f64) < share * f64::from(u32::MAX)
    }

    /// When, after the announcement, it is the turn of one of many who are all told to go: somewhere within
    /// [`ServerOptions::farewell_spread`], the same for the same.
    pub(super) fn spread(&self, id: u64) -> Duration {
        let share = u32::try_from(id.wrapping_mul(SCATTER) >> 56).unwrap_or(0);
        self.options.farewell_spread / 256 * share
    }

    /// Ends when the accept loop shall end.
    pub(super) async fn stop_asked(&self) {
        wait(&self.stop, || self.stop_asked.load(Ordering::SeqCst)).await;
    }

    pub(super) fn listener_is_closed(&self) {
        self.advance(Stage::Stopped);
        self.listener_closed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Ends when the condition holds. The condition must be about something that tells `changed`.
    pub(super) async fn until(&self, reached: impl Fn(&Self) -> bool) {
        wait(&self.changed, || reached(self)).await;
    }

    /// Ends when the last byte of the last answer has left and the idle connections have closed.
    pub(super) async fn drain(&self) {
        let grace = self.arrival_grace();
        self.drop_stale_arrivals(grace);
        // A connection that was just taken holds the drain for a moment; one whose request has begun, to its end.
        let quiet = |shared: &Self| shared.busy.load(Ordering::SeqCst) == 0;
        // In this order: a request that begins counts as busy before it counts as arrived.
        let settled = self.until(|shared| shared.arriving.load(Ordering::SeqCst) == 0 && quiet(shared));
        if tokio::time::timeout(grace, settled).await.is_err() {
            self.until(quiet).await;
        }
        self.advance(Stage::Closing);
        let closed = self.until(|shared| shared.open.load(Ordering::SeqCst) == 0);
        if tokio::time::timeout(LINGER, closed).await.is_err() {
            // A late request may have begun in the last moment: its refusal still leaves.
            self.until(quiet).await;
            self.advance(Stage::Aborted);
            let closed = self.until(|shared| shared.open.load(Ordering::SeqCst) == 0);
            // Each is told; this only gives them their turn to close.
            let _ = tokio::time::timeout(LINGER, closed).await;
        }
    }

    /// What is open, connections with requests first.
    pub(super) fn remaining(&self) -> Vec<Remaining> {
        let connections = self.connections();
        let mut open: Vec<_> = connections.values().collect();
        open.sort_by_key(|connection| connection.is_idle());
        let now = self.look_at_the_clock();
        let mut named: Vec<_> = open.iter().flat_map(|connection| connection.remaining(now)).take(MAX_NAMED).collect();
        if open.len() > MAX_NAMED {
            let item = format!("and {} more connections", open.len() - MAX_NAMED);
            named.push(Remaining { item, reason: Cow::Borrowed("in_flight"), age: None });
        }
        named
    }

    pub(super) fn stats(&self) -> ServerStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // The closed ones first: one that closes in between is counted late rather than twice.
        let closed = read(&self.counts.requests);
        let of_open: u64 = self.connections().values().map(|connection| connection.requests()).sum();
        ServerStats {
            accepted_total: read(&self.counts.accepted),
            open: self.open.load(Ordering::SeqCst),
            max_connections: self.options.max_connections,
            evicted_total: read(&self.counts.evicted),
            refused_late_total: read(&self.counts.refused_late),
            refused_overload_total: read(&self.counts.refused_overload),
            accept_errors_total: read(&self.counts.accept_errors),
            handshake_errors_total: read(&self.counts.handshakes),
            timeouts: TimeoutStats {
                first_byte_total: read(&self.counts.first_byte),
                header_total: read(&self.counts.header),
                idle_total: read(&self.counts.idle),
                write_total: read(&self.counts.write),
            },
            requests_total: closed + of_open,
            in_flight: self.busy.load(Ordering::SeqCst),
        }
    }

    // Connections coming and going.

    pub(super) fn opened(&self, id: u64, connection: Arc<Connection>) {
        self.arriving.fetch_add(1, Ordering::SeqCst);
        if self.open.fetch_add(1, Ordering::SeqCst) == 0 {
            self.occupied.notify_one();
        }
        self.connections().insert(id, connection);
    }

    pub(super) fn closed(&self, id: u64, requests: u64, evicted: bool) {
        let removed = self.connections().remove(&id);
        drop(removed);
        if evicted {
            self.evicting.fetch_sub(1, Ordering::SeqCst);
            self.counts.evicted.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.requests.fetch_add(requests, Ordering::Relaxed);
        let last = self.open.fetch_sub(1, Ordering::SeqCst) == 1;
        self.make_room();
        if last {
            self.tell();
        }
    }

    pub(super) fn arrived(&self) {
        if self.arriving.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tell();
        }
    }

    pub(super) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end(&self, requests: usize) {
        if self.busy.fetch_sub(requests, Ordering::SeqCst) == requests {
            self.tell();
        }
    }

    /// A connection has closed or become idle.
    pub(super) fn make_room(&self) {
        if self.paused.load(Ordering::Relaxed) {
            self.room.notify_one();
        }
    }

    fn tell(&self) {
        if self.has_reached(Stage::Announcing) {
            self.changed.notify_waiters();
        }
    }

    /// Whether a new connection needs another one to go.
    pub(super) fn is_full(&self) -> bool {
        let evicting = self.evicting.load(Ordering::SeqCst);
        self.open.load(Ordering::SeqCst).saturating_sub(evicting) >= self.options.max_connections
    }

    /// Ends when a new connection may be taken: there is room, or one can be closed for it.
    pub(super) async fn room(&self) {
        while self.is_full() && self.next_to_go().is_none() {
            self.paused.store(true, Ordering::SeqCst);
            // Bounded, for the case that room was made just before `paused` was seen.
            let _ = tokio::time::timeout(MAX_SWEEP, self.room.notified()).await;
            self.paused.store(false, Ordering::SeqCst);
        }
    }

    /// Closes a connection for a new one. Tells whether there was one to close.
    pub(super) fn evict(&self) -> bool {
        let Some(oldest) = self.next_to_go() else { return false };
        // Counted before it is told, so that its end finds the count.
        self.evicting.fetch_add(1, Ordering::SeqCst);
        let ends = oldest.end(if oldest.is_idle() { Ended::Evicted } else { Ended::EvictedBusy });
        if !ends {
            self.keeps_its_place();
        }
        ends
    }

    /// One that was to make room stays.
    pub(super) fn keeps_its_place(&self) {
        self.evicting.fetch_sub(1, Ordering::SeqCst);
    }

    /// The oldest connection without a complete request head; where that is allowed and there is none, the oldest one
    /// that has been busy for too long.
    fn next_to_go(&self) -> Option<Arc<Connection>> {
        let connections = self.connections();
        let mut open = connections.values().filter(|connection| !connection.is_ending());
        let idle = open.clone().find(|connection| connection.is_idle());
        let busy = |limit| {
            let now = self.look_at_the_clock();
            open.find(|connection| connection.is_busy_for(now, limit))
        };
        idle.or_else(|| self.options.evict_busy_after.and_then(busy)).cloned()
    }

    pub(super) fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Time.

    pub(super) fn now(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    pub(super) fn look_at_the_clock(&self) -> u32 {
        // Never 0, which stands for "no stamp"; wraps after 49 days, and ages are taken by wrapping too.
        #[expect(clippy::cast_possible_truncation, reason = "wrapping is meant")]
        let now = (self.began.elapsed().as_millis() as u32).max(1);
        self.tick.store(now, Ordering::Relaxed);
        now
    }

    fn sweep_interval(&self) -> Duration {
        let options = &self.options;
        [options.first_byte_timeout, options.header_timeout, options.idle_timeout, options.write_timeout]
            .into_iter()
            .fold(MAX_SWEEP * 4, Duration::min)
            .div_f64(4.0)
            .clamp(MIN_SWEEP, MAX_SWEEP)
    }

    fn sweep_once(&self, slack: Duration) {
        let now = self.look_at_the_clock();
        for connection in self.connections().values() {
            if let Some(ended) = connection.overdue(now, &self.options, slack) {
                let count = match ended {
                    Ended::FirstByte => &self.counts.first_byte,
                    Ended::Header => &self.counts.header,
                    Ended::Idle => &self.counts.idle,
                    Ended::Write => &self.counts.write,
                    Ended::Evicted | Ended::EvictedBusy | Ended::Unanswered | Ended::ByItself => continue,
                };
                if connection.end(ended) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.drop_stale_arrivals(self.arrival_grace() + slack);
    }

    /// A connection that has said nothing for a while is not about to.
    fn drop_stale_arrivals(&self, grace: Duration) {
        if self.arriving.load(Ordering::Relaxed) > 0 {
            let now = self.look_at_the_clock();
            for connection in self.connections().values() {
                connection.arrived_if_silent(now, grace);
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("name", &self.name).field("bound", &self.bound).finish_non_exhaustive()
    }
}

/// Keeps the time limits of all connections; sleeps while there is none.
pub(super) async fn sweep(shared: Arc<Shared>) {
    let interval = shared.sweep_interval();
    loop {
        if shared.open.load(Ordering::SeqCst) == 0 {
            if shared.listener_closed.load(Ordering::SeqCst) {
                return;
            }
            let closed = shared.until(|shared| shared.listener_closed.load(Ordering::SeqCst));
            tokio::select! {
                () = shared.occupied.notified() => {}
                () = closed => {}
            }
        } else {
            tokio::time::sleep(interval).await;
            shared.sweep_once(interval);
        }
    }
}

async fn wait(told: &Notify, reached: impl Fn() -> bool) {
    loop {
        let mut told = std::pin::pin!(told.notified());
        // Enlisted before looking, so that no change in between is missed.
        told.as_mut().enable();
        if reached() {
            return;
        }
        told.await;
    }
}
