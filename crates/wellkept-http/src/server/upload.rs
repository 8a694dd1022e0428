//! The body of a request, followed to its end: a connection whose client still sends one must not close like any other.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::{Connection, Upload};

/// A body that tells the connection when it has been read to its end.
pub(super) struct UploadBody {
    body: Incoming,
    connection: Arc<Connection>,
}

impl UploadBody {
    /// What the router gets; nothing where there is nothing.
    pub(super) fn of(body: Incoming, connection: &Arc<Connection>) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return Body::empty();
        }
        Body::new(Self { body, connection: Arc::clone(connection) })
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.connection.upload_is(Upload::None);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
