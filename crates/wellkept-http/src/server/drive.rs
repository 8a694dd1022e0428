//! The task of one connection: drives it from the first byte to the end.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
#[cfg(feature = "tls")]
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};

use super::address::Peer;
use super::connection::{Connection, Protocol, Side, Upload, Waits};
#[cfg(feature = "tls")]
use super::handshake;
use super::service::RequestService;
use super::shared::{Shared, Stage};
use super::socket::Socket;
use super::stream::Stream;
use super::transport::Transport;

/// Takes a connection over and spawns its task.
pub(super) fn spawn(server: &Arc<Shared>, id: u64, socket: Socket, peer: Peer) {
    let connection = Arc::new(Connection::new(server, id, peer));
    server.opened(id, Arc::clone(&connection));
    let open = Open(Arc::clone(&connection));
    tokio::spawn(until_ended(connection, socket, open));
}

/// Tells the connection that its socket is closed, when dropped.
pub(super) struct Open(Arc<Connection>);

impl Deref for Open {
    type Target = Arc<Connection>;

    fn deref(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Drives the connection, and drops it in the middle of whatever it does when it shall end.
async fn until_ended(connection: Arc<Connection>, socket: Socket, open: Open) {
    let mut driven = pin!(drive(&connection, socket, open));
    let mut enlisted = false;
    poll_fn(|context| {
        // A task's waker stays the same, so once is enough.
        if !enlisted {
            connection.enlist(Side::Read, context);
            enlisted = true;
        }
        if connection.is_ending() && !connection.goes_on_after_all() && !connection.ends_as_idle() {
            return Poll::Ready(());
        }
        // Polled also when it ends as idle: what has come meanwhile may be a request, which is not lost then.
        let polled = driven.as_mut().poll(context);
        if polled.is_pending() && connection.is_ending() && !connection.goes_on_after_all() {
            return Poll::Ready(());
        }
        polled
    })
    .await;
}

async fn drive(connection: &Arc<Connection>, socket: Socket, open: Open) {
    let server = &*connection.server;
    let Some(transport) = secure(connection, socket).await else { return };
    let mut stream = Stream::new(transport, open);
    let sniffed = unless_closing(server, stream.sniff()).await;
    let result = match sniffed.and_then(Result::ok) {
        Some(Protocol::Http2) => {
            connection.enter(Protocol::Http2, Waits::NextRequest);
            let service = RequestService::new(Arc::clone(connection));
            let mut exchange = pin!(server.http2.serve_connection(stream, service));
            let mut told = false;
            poll_fn(|context| {
                let polled = exchange.as_mut().poll(context);
                // Only after its first request: GOAWAY before that would turn away a client that was just let in.
                let go = (server.has_reached(Stage::Announcing) && connection.requests() > 0)
                    || server.has_reached(Stage::Closing);
                if polled.is_pending() && go && !told {
                    told = true;
                    exchange.as_mut().graceful_shutdown();
                    return exchange.as_mut().poll(context);
                }
                polled
            })
            .await
        }
        Some(_) => {
            connection.enter(Protocol::Http1, Waits::Head);
            let service = RequestService::new(Arc::clone(connection));
            let mut exchange = pin!(server.http1.serve_connection(stream, service).with_upgrades());
            let (mut turn, mut has_turned) = (pin!(reactor_turn()), false);
            poll_fn(|context| {
                // Polled first: a request that is there already is answered before the connection closes.
                let polled = exchange.as_mut().poll(context);
                if polled.is_pending() && server.has_reached(Stage::Closing) {
                    // What the system has taken in shows only when the reactor has looked.
                    if !has_turned {
                        ready!(turn.as_mut().poll(context));
                        has_turned = true;
                    }
                    exchange.as_mut().graceful_shutdown();
                    let polled = exchange.as_mut().poll(context);
                    // Hyper goes on waiting for a first request, or for the rest of a head.
                    let waits = connection.is_idle() && !connection.has_upload(Upload::Discarded);
                    return if waits { Poll::Ready(Ok(())) } else { polled };
                }
                polled
            })
            .await
        }
        // It went away, or the server does; there is nothing that could be answered.
        None => return,
    };
    if let Err(error) = result {
        tracing::debug!(target: "wellkept::http", server = server.name, peer = %connection.peer, %error, "connection failed");
    }
}

/// Shakes hands where the server speaks TLS; `None` when that has failed, or the server closes meanwhile.
#[cfg(feature = "tls")]
async fn secure(connection: &Connection, socket: Socket) -> Option<Transport> {
    let server = &*connection.server;
    let Some(tls) = &server.options.tls else { return Some(Transport::Plain(socket)) };
    match unless_closing(server, handshake::shake(socket, tls)).await? {
        Ok(transport) => {
            // What it asks for has its own time to come.
            connection.wait_for(Waits::FirstByte);
            transport
        }
        Err(error) => {
            server.counts.handshakes.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(target: "wellkept::http", server = server.name, peer = %connection.peer, %error, "no TLS handshake");
            None
        }
    }
}

#[cfg(not(feature = "tls"))]
fn secure(_: &Connection, socket: Socket) -> impl Future<Output = Option<Transport>> {
    std::future::ready(Some(Transport::Plain(socket)))
}

/// Ends when the reactor has looked for events: who yields has its turn after that. Twice, as it may have looked just before.
async fn reactor_turn() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}

/// What comes of it, or `None` when the server closes its idle connections first.
async fn unless_closing<T>(server: &Shared, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Pending if server.has_reached(Stage::Closing) => Poll::Ready(None),
        polled => polled.map(Some),
    })
    .await
}
