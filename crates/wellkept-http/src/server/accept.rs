//! Takes connections: within the limit, in spite of errors, and to the last one that waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::address::Peer;
use super::drive;
use super::listen::Listener;
use super::shared::{Shared, Stage};
use super::socket::{Socket, Watched};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How many connections are taken after the stop was asked for: twice the queue, so that a flood ends somewhere.
const MAX_LAST: usize = 2_048;

/// Accepts until asked to stop, then takes what waits, then closes the listener. What waits in a queue that somebody else
/// empties is left to them.
pub(super) async fn run(shared: Arc<Shared>, mut listener: Listener) {
    let mut taking = Taking { shared: &shared, held: None, next: 0, pause: FIRST_PAUSE, logged: None, unlogged: 0 };
    let has_successor = tokio::select! {
        // First, so that a flood of connections cannot outshout it.
        biased;
        () = shared.stop_asked() => false,
        () = shared.succession.asked() => true,
        () = taking.take(&listener) => false,
    };
    if shared.succession.file_is_anothers() {
        listener.leave_file();
    }
    // Who comes now by the name of a Unix socket is refused, and not left in a queue that nobody empties.
    listener.remove_file();
    taking.take_held();
    if !has_successor && !listener.is_managed() && !shared.has_reached(Stage::Aborted) {
        taking.take_waiting(&listener);
    }
    // Closes it: whoever comes now is refused by the system, unless somebody else listens there, too.
    shared.succession.close();
    drop(listener);
    shared.succession.left();
    if has_successor {
        // What is open goes on as it was until the end begins.
        shared.stop_asked().await;
    }
    shared.listener_is_closed();
}

struct Taking<'s> {
    shared: &'s Arc<Shared>,
    /// Accepted, and waiting for room.
    held: Option<(Socket, Peer)>,
    next: u64,
    pause: Duration,
    logged: Option<Instant>,
    unlogged: u64,
}

impl Taking<'_> {
    /// Never ends by itself. Cancel-safe: a connection that is accepted is held until it is spawned.
    async fn take(&mut self, listener: &Listener) {
        let listener = loop {
            // Registering can fail for want of descriptors or memory; that is an error of accepting like any other.
            match Watched::new(listener.socket()) {
                Ok(listener) => break listener,
                Err(error) => self.failed(&error).await,
            }
        };
        loop {
            match listener.accept().await {
                Ok(accepted) => self.held = Some(accepted),
                Err(error) => self.failed(&error).await,
            }
            self.shared.room().await;
            self.take_held();
        }
    }

    /// Takes the one that was accepted already.
    fn take_held(&mut self) {
        if let Some((socket, peer)) = self.held.take() {
            self.spawn(socket, peer);
        }
    }

    /// Takes what the system has queued. Asks the system itself: the runtime may not have heard of it yet.
    fn take_waiting(&mut self, listener: &Listener) {
        for _ in 0..MAX_LAST {
            match listener.socket().accept_now() {
                Ok((socket, peer)) => self.spawn(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_of_the_other_end(&error) => self.count(&error),
                Err(error) => {
                    self.count(&error);
                    // An idle connection's descriptor may serve one that waits, but its task must run to close it.
                    return;
                }
            }
        }
    }

    fn spawn(&mut self, socket: Socket, peer: Peer) {
        self.pause = FIRST_PAUSE;
        let shared = self.shared;
        shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
        if shared.is_full() {
            // After the stop there may be none to evict: those last ones are served above the limit.
            shared.evict();
        }
        drive::spawn(shared, self.next, socket, peer);
        self.next += 1;
    }

    /// Counts the error and, if it is about this machine, waits before the next try, longer each time.
    async fn failed(&mut self, error: &io::Error) {
        self.count(error);
        if is_of_the_other_end(error) {
            return;
        }
        // Most likely descriptors are short: give one back.
        self.shared.evict();
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn count(&mut self, error: &io::Error) {
        self.shared.counts.accept_errors.fetch_add(1, Ordering::Relaxed);
        self.unlogged += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            tracing::warn!(
                target: "wellkept::http",
                server = self.shared.name,
                errors = self.unlogged,
                %error,
                "connections cannot be accepted"
            );
            self.logged = Some(Instant::now());
            self.unlogged = 0;
        }
    }
}

/// The connection broke while it waited: nothing is wrong here.
fn is_of_the_other_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
