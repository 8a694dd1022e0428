//! The server: listens, bounds what a connection may cost, and leaves without losing a request.
//!
//! HTTP/1.1 and HTTP/2 (prior knowledge) on one port, by [hyper]. Each server is an [`Entrance`] of the shutdown. All
//! its time limits are kept by one sweeper per server that looks at coarse stamps, so that a request costs no timer.

mod accept;
mod address;
mod body;
mod connection;
mod drive;
mod events;
#[cfg(feature = "tls")]
mod handshake;
mod listen;
mod named;
mod options;
mod service;
mod shared;
mod socket;
mod socket_file;
mod stream;
mod succession;
#[cfg(test)]
mod tests;
mod transport;
mod upload;
mod websocket;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use serde::Serialize;
use wellkept_shutdown::{BoxFuture, Entrance, Remaining, Tracker};

pub use address::{Address, AddressError, Peer, PeerProcess};
pub(crate) use listen::listen;
pub use listen::{BindError, Listener};
pub use options::{AtOnce, Exempt, ServerOptions};
pub(crate) use service::refusal;

use connection::Connection;
use shared::{Answers, Shared, Stage};

/// A server that listens but does not serve yet.
pub struct Server {
    listener: Listener,
    options: ServerOptions,
    at_once: Option<AtOnce>,
}

impl Server {
    /// Listens on `address` now, as [`Listener::bind`] does: TCP or a Unix socket. Needs no runtime.
    pub fn bind(address: impl Into<Address>, options: ServerOptions) -> Result<Self, BindError> {
        let listener = Listener::bind(address, options.socket_mode)?;
        Ok(Self { listener, options, at_once: None })
    }

    /// On a socket that listens already, of the standard library or a [`Listener`], whether it blocks or not. How it
    /// treats old connections and how long its queue is was decided by who bound it. Needs no runtime.
    pub fn on(
        listener: impl TryInto<Listener, Error: Into<BindError>>,
        options: ServerOptions,
    ) -> Result<Self, BindError> {
        Ok(Self { listener: listener.try_into().map_err(Into::into)?, options, at_once: None })
    }

    /// Where it listens, with the port that was taken.
    pub fn local_address(&self) -> &Address {
        self.listener.address()
    }

    /// Has `at_once` asked before the router, for answers that cost less than to find their route: see
    /// [`Doors::at_once`](crate::Doors::at_once). They are counted and refused like all others; the router's layers do not
    /// see them.
    #[must_use]
    pub fn at_once(self, at_once: AtOnce) -> Self {
        Self { at_once: Some(at_once), ..self }
    }

    /// How it is asked: `http`, or `https` over TLS.
    pub fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.options.tls.is_some() {
            return "https";
        }
        "http"
    }

    /// Has the file of a Unix socket that was handed over removed at the end ([`Listener::adopt_file`]).
    pub fn adopt_file(&mut self) {
        self.listener.adopt_file();
    }

    /// Serves on the current tokio runtime until the handle is told to stop; dropping the handle stops nothing. `name`
    /// is the one in logs and in the shutdown's report. Requests are counted on `tracker` and refused above its limit.
    ///
    /// Each request carries the extension [`Arrival`], and over TCP axum's `ConnectInfo<SocketAddr>`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn serve(self, name: &str, router: axum::Router, tracker: Tracker) -> Arc<ServerHandle> {
        let answers = Answers { router, at_once: self.at_once };
        let shared = Shared::new(name, self.listener.address().clone(), self.options, answers, tracker);
        shared.succession.keep(&self.listener);
        tokio::spawn(accept::run(Arc::clone(&shared), self.listener));
        tokio::spawn(shared::sweep(Arc::clone(&shared)));
        Arc::new(ServerHandle { shared })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("address", self.listener.address()).finish_non_exhaustive()
    }
}

/// A serving server, to be given to the shutdown as an entrance.
#[derive(Debug)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

impl ServerHandle {
    /// Where it listens.
    pub fn local_address(&self) -> &Address {
        &self.shared.bound
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The counts at this moment.
    pub fn stats(&self) -> ServerStats {
        self.shared.stats()
    }
}

impl Entrance for ServerHandle {
    fn name(&self) -> &str {
        &self.shared.name
    }

    /// From now on each HTTP/1.1 response says `Connection: close`, and each HTTP/2 connection that has carried a request
    /// gets GOAWAY. New connections are still taken and served.
    fn announce(&self) {
        self.shared.advance(Stage::Announcing);
    }

    fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.until(|shared| shared.open.load(Ordering::SeqCst) == 0))
    }

    /// Takes what waits in the accept queue, closes the listener, and refuses requests that come late on connections
    /// taken before. Ends when the listener is closed.
    fn stop_accepting(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.shared.ask_to_stop();
            self.shared.until(|shared| shared.listener_closed.load(Ordering::SeqCst)).await;
        })
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.drain())
    }

    fn remaining(&self) -> Vec<Remaining> {
        self.shared.remaining()
    }

    fn abort(&self) {
        self.shared.advance(Stage::Aborted);
        self.shared.ask_to_stop();
    }
}

/// How a request came in; a request extension.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The address of the listening socket, not of this connection: `0.0.0.0` if it listens everywhere.
    pub bound: Address,
    /// The other end of the connection.
    pub peer: Peer,
    connection: Weak<Connection>,
}

impl Arrival {
    /// Of a request that another server took, or none.
    pub fn new(bound: impl Into<Address>, peer: impl Into<Peer>) -> Self {
        Self { bound: bound.into(), peer: peer.into(), connection: Weak::new() }
    }

    /// Ends when clients are told to go elsewhere: for a handler that holds its answer back (long polling) to give it now.
    /// Never ends for a request that another server took. Cancel-safe.
    pub async fn leaving(&self) {
        match self.connection.upgrade() {
            Some(connection) => connection.server.until(|server| server.has_reached(Stage::Announcing)).await,
            None => std::future::pending().await,
        }
    }

    /// Ends the connection of a client that does not take its answers while others wait for the room.
    pub(crate) fn end_slow_connection(&self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.end_slow();
        }
    }
}

/// What a server counts. Totals are since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ServerStats {
    /// Connections taken.
    pub accepted_total: u64,
    /// Connections open now.
    pub open: usize,
    /// The limit of open connections.
    pub max_connections: usize,
    /// Connections closed to make room for newer ones.
    pub evicted_total: u64,
    /// Requests answered with 503 because they came after the stop.
    pub refused_late_total: u64,
    /// Requests answered with 503 because too many were in flight.
    pub refused_overload_total: u64,
    /// Errors of `accept`, such as too many open files.
    pub accept_errors_total: u64,
    /// TLS handshakes that failed; those that came to no end are among the timeouts.
    pub handshake_errors_total: u64,
    /// Connections closed for silence, by kind.
    pub timeouts: TimeoutStats,
    /// Requests that began.
    pub requests_total: u64,
    /// Requests in flight now, until their last byte has left; upgraded connections too.
    pub in_flight: usize,
}

/// Connections closed because the other end was too slow, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TimeoutStats {
    /// Said nothing, or too little to know its protocol.
    pub first_byte_total: u64,
    /// Did not finish a request's head.
    pub header_total: u64,
    /// Kept open without a request.
    pub idle_total: u64,
    /// Did not take what was sent.
    pub write_total: u64,
}
