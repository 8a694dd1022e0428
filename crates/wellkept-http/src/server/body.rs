//! The response body: keeps its request in flight until the last byte is handed over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http::{Method, Uri};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::connection::{Connection, Protocol};
use super::events::EventsEnd;
use super::named::Named;

/// A request in flight. Dropped when its response is handed over completely, or given up.
pub(super) struct InFlight {
    connection: Arc<Connection>,
    named: Option<Named>,
    lasts: Lasts,
}

#[derive(PartialEq, Eq)]
enum Lasts {
    /// Until it is dropped.
    Itself,
    /// As long as the connection, which ends it.
    Connection,
}

impl InFlight {
    /// Of a request that was begun on the connection and the tracker; the report names it.
    pub(super) fn named(connection: Arc<Connection>, method: &Method, uri: &Uri) -> Self {
        let named = Some(connection.name(method, uri));
        Self { connection, named, lasts: Lasts::Itself }
    }

    /// The same for one whose answer is known: where its client does not take it, the report names the connection.
    pub(super) fn unnamed(connection: Arc<Connection>) -> Self {
        Self { connection, named: None, lasts: Lasts::Itself }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Lasts as long as the connection from now on.
    pub(super) fn upgrade(mut self, to: Protocol) {
        self.lasts = Lasts::Connection;
        self.connection.upgrade(to);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.lasts == Lasts::Itself {
            self.connection.hand_over(self.named);
        }
    }
}

/// Who keeps the request in flight.
enum Hold {
    /// The body alone: HTTP/1 writes what it takes before it flushes.
    Body(#[expect(dead_code, reason = "held for its drop")] InFlight),
    /// The body and each part of it: HTTP/2 may keep a part until the other end's window opens.
    Parts(Arc<InFlight>),
    Nothing,
}

pin_project! {
    /// A body that ends its request when it ends.
    pub(super) struct ServedBody {
        #[pin]
        body: Body,
        hold: Hold,
        events: Option<EventsEnd>,
    }
}

impl ServedBody {
    pub(super) fn new(body: Body, events: Option<EventsEnd>, in_flight: InFlight) -> Self {
        let hold = if in_flight.connection.is(Protocol::Http2) {
            Hold::Parts(Arc::new(in_flight))
        } else {
            Hold::Body(in_flight)
        };
        Self { body, hold, events }
    }

    /// The body of an answer whose request is accounted for already.
    pub(super) fn free(body: Body) -> Self {
        Self { body, hold: Hold::Nothing, events: None }
    }
}

impl http_body::Body for ServedBody {
    type Data = Part;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Part>, axum::Error>>> {
        let mut this = self.project();
        if let Some(events) = this.events
            && events.poll(context)
        {
            // What the application keeps for the stream goes now.
            this.body.set(Body::empty());
            return Poll::Ready(None);
        }
        let Some(frame) = ready!(this.body.poll_frame(context)?) else { return Poll::Ready(None) };
        if let (Some(events), Some(bytes)) = (this.events, frame.data_ref()) {
            events.pass(bytes);
        }
        let part = |bytes| Part {
            bytes,
            held: match this.hold {
                Hold::Parts(in_flight) => Some(Held::new(in_flight)),
                Hold::Body(_) | Hold::Nothing => None,
            },
        };
        Poll::Ready(Some(Ok(frame.map_data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A part of a body; on HTTP/2 it keeps its request in flight until it is written.
pub(super) struct Part {
    bytes: Bytes,
    held: Option<Held>,
}

/// Tells the connection how a part gets on.
struct Held(Arc<InFlight>);

impl Held {
    fn new(in_flight: &Arc<InFlight>) -> Self {
        in_flight.connection.part_taken();
        Self(Arc::clone(in_flight))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.connection.part_left();
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(held) = &self.held {
            held.0.connection.part_moved();
        }
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}
