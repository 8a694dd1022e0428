//! One connection: its state in atomics, for all who look at it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use http::{Method, Uri};
use wellkept_shutdown::{ConnectionGuard, Remaining};

use super::address::Peer;
use super::named::{LastNamed, Named, Names};
use super::options::ServerOptions;
use super::shared::{Shared, Stage};

/// What the connection waits for, as far as the time limits care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Waits {
    /// For the end of the TLS handshake.
    Handshake,
    FirstByte,
    Head,
    NextRequest,
    /// A request is in flight.
    Nothing,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ended {
    FirstByte = 1,
    Header,
    Idle,
    Write,
    Evicted,
    /// It made room although it was busy.
    EvictedBusy,
    /// A WebSocket's client did not answer the farewell.
    Unanswered,
    ByItself,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Protocol {
    Unknown,
    Http1,
    Http2,
    /// HTTP/1.1 has handed the socket to somebody else, a WebSocket most likely.
    Upgraded,
    /// As above, and what is spoken is known.
    WebSocket,
}

/// What the client of HTTP/1 still sends of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Upload {
    None,
    /// A body that nobody has read to its end.
    Coming,
    /// The same after the answer: it is taken and thrown away.
    Discarded,
}

pub(super) struct Connection {
    id: u64,
    pub(super) server: Arc<Shared>,
    pub(super) peer: Peer,
    protocol: AtomicU8,
    waits: AtomicU8,
    /// Since when, on the server's clock.
    since: AtomicU32,
    /// Since when requests have been in flight without a pause.
    busy_since: AtomicU32,
    /// Since when a write waits for the other end; 0 when none does.
    blocked_since: AtomicU32,
    /// HTTP/2: parts of bodies that wait for the socket or the other end's window, and when one last moved.
    parts: AtomicUsize,
    parts_moved: AtomicU32,
    /// Requests begun whose last byte has not left.
    active: AtomicUsize,
    /// Of these, those whose response has been handed over completely and now waits for the socket.
    handed_over: AtomicUsize,
    /// The name of the one that was handed over last: it stays until the response has left.
    leaving: LastNamed,
    requests: AtomicU64,
    upload: AtomicU8,
    /// The first request has not come yet, and would be served even after the stop.
    arriving: AtomicBool,
    /// 0, or why the server ends it.
    ending: AtomicU8,
    gone: AtomicBool,
    wakers: Mutex<Wakers>,
    names: Names,
    _tracked: ConnectionGuard,
}

#[derive(Default)]
struct Wakers {
    read: Option<Waker>,
    write: Option<Waker>,
}

/// Which side of the connection waits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    /// Reading; also the task that drives the whole connection.
    Read,
    /// Writing.
    Write,
}

impl Connection {
    /// Of a socket that was just taken.
    pub(super) fn new(server: &Arc<Shared>, id: u64, peer: Peer) -> Self {
        let first = if server.shakes_hands { Waits::Handshake } else { Waits::FirstByte };
        Self {
            id,
            server: Arc::clone(server),
            peer,
            protocol: AtomicU8::new(Protocol::Unknown as u8),
            waits: AtomicU8::new(first as u8),
            since: AtomicU32::new(server.look_at_the_clock()),
            busy_since: AtomicU32::new(0),
            blocked_since: AtomicU32::new(0),
            parts: AtomicUsize::new(0),
            parts_moved: AtomicU32::new(0),
            active: AtomicUsize::new(0),
            handed_over: AtomicUsize::new(0),
            leaving: LastNamed::default(),
            requests: AtomicU64::new(0),
            upload: AtomicU8::new(Upload::None as u8),
            arriving: AtomicBool::new(true),
            ending: AtomicU8::new(0),
            gone: AtomicBool::new(false),
            wakers: Mutex::default(),
            names: Names::default(),
            _tracked: server.tracker.register_connection(),
        }
    }

    pub(super) fn enter(&self, protocol: Protocol, waits: Waits) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
        self.wait_for(waits);
    }

    pub(super) fn wait_for(&self, waits: Waits) {
        self.since.store(self.server.now(), Ordering::Relaxed);
        // Whoever sees what it waits for sees since when.
        self.waits.store(waits as u8, Ordering::Release);
    }

    pub(super) fn is(&self, protocol: Protocol) -> bool {
        self.protocol.load(Ordering::Relaxed) == protocol as u8
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.is(Protocol::Upgraded) || self.is(Protocol::WebSocket)
    }

    /// How long to wait before the client is told to go, once it shall be: not all at once.
    pub(super) fn leaves_after(&self) -> Option<Duration> {
        self.server.has_reached(Stage::Announcing).then(|| self.turn())
    }

    /// When after the announcement it is its turn to be told.
    pub(super) fn turn(&self) -> Duration {
        self.server.spread(self.id)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether no request is in flight: none has a complete head.
    pub(super) fn is_idle(&self) -> bool {
        self.active.load(Ordering::SeqCst) == 0
    }

    /// Whether requests have been in flight for longer than this without a pause.
    pub(super) fn is_busy_for(&self, now: u32, limit: Duration) -> bool {
        !self.is_idle() && age(now, self.busy_since.load(Ordering::Relaxed)) > limit
    }

    /// A request's head is complete. Tells whether it is the first of a connection that was just taken.
    pub(super) fn begin(&self) -> bool {
        self.server.begin();
        // Before it counts as busy: only this task begins requests.
        if self.is_idle() {
            self.busy_since.store(self.server.now(), Ordering::Relaxed);
        }
        self.active.fetch_add(1, Ordering::SeqCst);
        if self.is_ending() {
            self.goes_on_after_all();
        }
        self.waits.store(Waits::Nothing as u8, Ordering::Relaxed);
        // Only the connection's own task begins requests, so this needs no atomic addition.
        self.requests.store(self.requests() + 1, Ordering::Relaxed);
        // After `begin` on the server, so that a drain sees one or the other.
        self.arrived()
    }

    pub(super) fn upload_is(&self, upload: Upload) {
        self.upload.store(upload as u8, Ordering::Relaxed);
    }

    pub(super) fn has_upload(&self, upload: Upload) -> bool {
        self.upload.load(Ordering::Relaxed) == upload as u8
    }

    /// A response is handed over completely; its last bytes may still wait for the socket.
    pub(super) fn hand_over(&self, named: Option<Named>) {
        if let Some(named) = named
            && let Some(before) = self.leaving.replace(named)
        {
            self.names.leave(before);
        }
        self.handed_over.fetch_add(1, Ordering::SeqCst);
        if self.gone.load(Ordering::SeqCst) {
            self.flushed();
        }
    }

    /// Everything handed over has left, or never will.
    pub(super) fn flushed(&self) {
        if self.handed_over.load(Ordering::SeqCst) == 0 {
            return;
        }
        let ended = self.handed_over.swap(0, Ordering::SeqCst);
        if ended == 0 {
            return;
        }
        if let Some(named) = self.leaving.take() {
            self.names.leave(named);
        }
        for _ in 0..ended {
            self.server.tracker.end_request();
        }
        self.end_active(ended);
    }

    fn end_active(&self, ended: usize) {
        if self.active.fetch_sub(ended, Ordering::SeqCst) == ended {
            self.wait_for(Waits::NextRequest);
            self.server.make_room();
        }
        self.server.end(ended);
    }

    /// The socket is handed to somebody else. The connection stays busy to its end, but is no request any more.
    pub(super) fn upgrade(&self, to: Protocol) {
        self.protocol.store(to as u8, Ordering::SeqCst);
        self.server.tracker.end_request();
    }

    /// The socket is closed.
    pub(super) fn close(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.flushed();
        if self.is_upgraded() {
            self.end_active(1);
        }
        self.arrived();
        // From here on nobody else can end it.
        let ended = self.ending.compare_exchange(0, Ended::ByItself as u8, Ordering::SeqCst, Ordering::SeqCst);
        let evicted = [Ended::Evicted, Ended::EvictedBusy].map(|ended| Err(ended as u8)).contains(&ended);
        self.server.closed(self.id, self.requests(), evicted);
    }

    /// Bytes have come in.
    pub(super) fn heard(&self) {
        if self.waits.load(Ordering::Relaxed) == Waits::NextRequest as u8 && self.is(Protocol::Http1) {
            self.wait_for(Waits::Head);
        }
    }

    pub(super) fn blocked(&self) {
        self.blocked_since.store(self.server.now(), Ordering::Relaxed);
    }

    pub(super) fn unblocked(&self) {
        self.blocked_since.store(0, Ordering::Relaxed);
    }

    /// A part of a body is handed to HTTP/2, which may keep it.
    pub(super) fn part_taken(&self) {
        if self.parts.fetch_add(1, Ordering::Relaxed) == 0 {
            self.part_moved();
        }
    }

    /// Some of a part has been written.
    pub(super) fn part_moved(&self) {
        self.parts_moved.store(self.server.now(), Ordering::Relaxed);
    }

    /// A part is written, or given up.
    pub(super) fn part_left(&self) {
        self.part_moved();
        self.parts.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a time limit has passed, and which.
    pub(super) fn overdue(&self, now: u32, options: &ServerOptions, slack: Duration) -> Option<Ended> {
        if self.is_ending() {
            return None;
        }
        let older = |since: u32, limit: Duration| age(now, since) > limit.saturating_add(slack);
        let blocked_since = self.blocked_since.load(Ordering::Relaxed);
        if blocked_since != 0 && older(blocked_since, options.write_timeout) {
            return Some(Ended::Write);
        }
        // A client may read the socket and yet never open a stream's window.
        let parts_wait = self.parts.load(Ordering::Relaxed) > 0;
        if parts_wait && older(self.parts_moved.load(Ordering::Relaxed), options.write_timeout) {
            return Some(Ended::Write);
        }
        let (limit, ended) = match self.waits.load(Ordering::Acquire) {
            waits if waits == Waits::Handshake as u8 => (options.first_byte_timeout, Ended::FirstByte),
            waits if waits == Waits::FirstByte as u8 => (options.first_byte_timeout, Ended::FirstByte),
            waits if waits == Waits::Head as u8 => (options.header_timeout, Ended::Header),
            waits if waits == Waits::NextRequest as u8 => (options.idle_timeout, Ended::Idle),
            _ => return None,
        };
        let since = self.since.load(Ordering::Relaxed);
        (self.is_idle() && older(since, limit)).then_some(ended)
    }

    /// Gives up waiting for a first request if nothing at all has come.
    pub(super) fn arrived_if_silent(&self, now: u32, grace: Duration) {
        let waits = self.waits.load(Ordering::Relaxed);
        let silent = waits == Waits::FirstByte as u8 || waits == Waits::Handshake as u8;
        if silent && age(now, self.since.load(Ordering::Relaxed)) > grace {
            self.arrived();
        }
    }

    fn arrived(&self) -> bool {
        let first = self.arriving.load(Ordering::Relaxed) && self.arriving.swap(false, Ordering::SeqCst);
        if first {
            self.server.arrived();
        }
        first
    }

    /// Ends the connection wherever it is. Tells whether it is this call that does so.
    pub(super) fn end(&self, ended: Ended) -> bool {
        let first = self.ending.compare_exchange(0, ended as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        self.wake();
        first
    }

    /// Ends it as one whose client does not take what it asked for.
    pub(super) fn end_slow(&self) {
        if self.end(Ended::Write) {
            self.server.counts.write.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst) != 0 || self.server.has_reached(Stage::Aborted)
    }

    /// Whether it ends because no request was in flight: one may have begun in that moment.
    pub(super) fn ends_as_idle(&self) -> bool {
        let idle = [Ended::FirstByte, Ended::Header, Ended::Idle, Ended::Evicted];
        let ending = self.ending.load(Ordering::SeqCst);
        idle.into_iter().any(|ended| ended as u8 == ending) && !self.server.has_reached(Stage::Aborted)
    }

    /// Takes back an end that was for an idle connection, if a request has begun since. To be asked by the connection's own
    /// task only, which begins requests. Tells whether it goes on.
    pub(super) fn goes_on_after_all(&self) -> bool {
        if self.is_idle() || !self.ends_as_idle() {
            return false;
        }
        if self.ending.swap(0, Ordering::SeqCst) == Ended::Evicted as u8 {
            self.server.keeps_its_place();
        }
        true
    }

    /// Has the task woken when something is asked of the connection.
    pub(super) fn enlist(&self, side: Side, context: &Context<'_>) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = match side {
            Side::Read => &mut wakers.read,
            Side::Write => &mut wakers.write,
        };
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    pub(super) fn wake(&self) {
        let wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        for waker in [&wakers.read, &wakers.write].into_iter().flatten() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn name(&self, method: &Method, uri: &Uri) -> Named {
        self.names.enter(method, uri, self.server.now())
    }

    /// What is in flight on it, or the connection itself if nothing is.
    pub(super) fn remaining(&self, now: u32) -> Vec<Remaining> {
        let (protocol, from) = (self.protocol_name(), self.peer);
        let age = |since: u32| Some(age(now, since));
        let blocked = self.blocked_since.load(Ordering::Relaxed) != 0
            || self.handed_over.load(Ordering::SeqCst) > 0
            || self.parts.load(Ordering::Relaxed) > 0;
        let in_flight = if blocked {
            "client_does_not_read"
        } else if self.is_upgraded() {
            "upgraded"
        } else {
            "in_flight"
        };
        let named = self.names.list();
        if !named.is_empty() {
            let remaining = |(request, since)| Remaining {
                item: format!("{request} from {from} over {protocol}"),
                reason: Cow::Borrowed(in_flight),
                age: age(since),
            };
            return named.into_iter().map(remaining).collect();
        }
        let reason = match self.waits.load(Ordering::Relaxed) {
            _ if !self.is_idle() => in_flight,
            waits if waits == Waits::Handshake as u8 => "tls_handshake",
            waits if waits == Waits::FirstByte as u8 => "silent",
            waits if waits == Waits::Head as u8 => "request_head_unfinished",
            _ => "idle",
        };
        let protocol = if reason == "tls_handshake" { "TLS" } else { protocol };
        let item = format!("{protocol} connection from {from}");
        vec![Remaining { item, reason: Cow::Borrowed(reason), age: age(self.since.load(Ordering::Relaxed)) }]
    }

    fn protocol_name(&self) -> &'static str {
        match self.protocol.load(Ordering::Relaxed) {
            protocol if protocol == Protocol::Http1 as u8 => "HTTP/1",
            protocol if protocol == Protocol::Http2 as u8 => "HTTP/2",
            protocol if protocol == Protocol::WebSocket as u8 => "WebSocket",
            protocol if protocol == Protocol::Upgraded as u8 => "an upgraded connection",
            _ => "silent",
        }
    }
}

impl Wake for Connection {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }
}

/// How long ago that was. A stamp may be newer than the look at the clock that it is compared with: then it was just now.
fn age(now: u32, since: u32) -> Duration {
    let passed = now.wrapping_sub(since);
    Duration::from_millis(if passed > u32::MAX / 2 { 0 } else { u64::from(passed) })
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} connection from {}", self.protocol_name(), self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_from_after_the_look_at_the_clock_is_new_and_not_as_old_as_can_be() {
        assert_eq!(age(7, 8), Duration::ZERO);
        assert_eq!(age(8, 7), Duration::from_millis(1));
        // The clock begins anew after 49 days.
        assert_eq!(age(2, u32::MAX), Duration::from_millis(3));
        assert_eq!(age(u32::MAX, 2), Duration::ZERO);
    }
}
