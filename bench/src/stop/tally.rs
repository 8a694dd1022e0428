//! What the clients of one server saw until it was gone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counted by all clients of one stop.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Clients that have had an answer.
    ready: AtomicU64,
    started: AtomicBool,
    start: Notify,
    connected: AtomicU64,
    answered: AtomicU64,
    told_to_retry: AtomicU64,
    other: AtomicU64,
    unprocessed: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    silent_connections: AtomicU64,
    silent_requests: AtomicU64,
}

/// The end of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// 200, complete.
    Answered,
    /// 503 with `Retry-After`.
    ToldToRetry,
    /// Any other answer.
    Other,
    /// HTTP/2 says that it was never processed: `REFUSED_STREAM`, or a GOAWAY below it. Safe to send again.
    Unprocessed,
    /// Sent, and no complete answer.
    Lost,
}

/// How many requests of one connection were lost, and whether anything was heard on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OfConnection {
    pub(super) heard: bool,
    pub(super) lost: u64,
}

impl OfConnection {
    pub(super) fn add(&mut self, other: Self) {
        self.heard |= other.heard;
        self.lost += other.lost;
    }
}

impl Tally {
    pub(super) fn is_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ready(&self) -> u64 {
        self.ready.load(Ordering::Relaxed)
    }

    /// Lets the load begin.
    pub(super) fn start(&self) {
        self.started.store(true, Ordering::SeqCst);
        self.start.notify_waiters();
    }

    /// Ends when the load begins: until all are connected, nobody keeps the server busy.
    pub(super) async fn started(&self) {
        let start = self.start.notified();
        if !self.started.load(Ordering::SeqCst) {
            start.await;
        }
    }

    pub(super) fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request on its connection.
    pub(super) fn note(&self, fate: Fate, connection: &mut OfConnection) {
        let count = match fate {
            Fate::Lost => {
                connection.lost += 1;
                return;
            }
            Fate::Answered => &self.answered,
            Fate::ToldToRetry => &self.told_to_retry,
            Fate::Other => &self.other,
            Fate::Unprocessed => &self.unprocessed,
        };
        connection.heard = true;
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what was lost on a connection that is over. One on which nothing was heard may never have been accepted:
    /// a client can't tell.
    pub(super) fn over(&self, connection: OfConnection) {
        if connection.heard {
            self.lost.fetch_add(connection.lost, Ordering::Relaxed);
        } else if connection.lost > 0 {
            self.silent_connections.fetch_add(1, Ordering::Relaxed);
            self.silent_requests.fetch_add(connection.lost, Ordering::Relaxed);
        }
    }

    /// The sum, with the number of connections that the server says it took: those beyond it, which the system had
    /// queued, were reset when the listener closed.
    pub(super) fn sum(&self, accepted: u64) -> Seen {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let never_accepted = of(&self.connected).saturating_sub(accepted);
        let (connections, requests) = (of(&self.silent_connections), of(&self.silent_requests));
        // Of the silent connections, those that were accepted count as lost with all that was sent on them.
        let excused = (requests * never_accepted.min(connections)).checked_div(connections).unwrap_or(0);
        Seen {
            answered: of(&self.answered),
            told_to_retry: of(&self.told_to_retry),
            other: of(&self.other),
            unprocessed: of(&self.unprocessed),
            refused: of(&self.refused),
            never_accepted: excused,
            lost: of(&self.lost) + requests - excused,
        }
    }
}

/// What became of the requests of one stop.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) answered: u64,
    pub(super) told_to_retry: u64,
    pub(super) other: u64,
    pub(super) unprocessed: u64,
    /// Clients that found nobody to connect to, which is where each of them ends.
    pub(super) refused: u64,
    /// Sent on connections that the server never took out of the system's queue.
    pub(super) never_accepted: u64,
    /// Sent on accepted connections, without a complete answer.
    pub(super) lost: u64,
}
