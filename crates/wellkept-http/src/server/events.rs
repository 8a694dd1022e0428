//! Ends a stream of server-sent events between two of them, so that its client connects elsewhere and misses nothing that
//! it had begun to read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::connection::Connection;
use super::shared::Stage;

/// The end of one stream of events.
pub(super) struct EventsEnd {
    told: Pin<Box<dyn Future<Output = ()> + Send>>,
    due: bool,
    /// The last bytes that were sent; an event ends with an empty line (HTML, section 9.2.6).
    tail: [u8; 4],
}

impl EventsEnd {
    /// For a response that is a stream of events.
    pub(super) fn of(headers: &HeaderMap, connection: &Arc<Connection>) -> Option<Self> {
        let (kind, _parameters) = {
            let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
            content_type.split_once(';').unwrap_or((content_type, ""))
        };
        if !kind.trim().eq_ignore_ascii_case("text/event-stream") {
            return None;
        }
        let connection = Arc::clone(connection);
        let told = Box::pin(async move {
            let server = &connection.server;
            server.until(|server| server.has_reached(Stage::Announcing)).await;
            let turn = connection.turn();
            if !turn.is_zero() {
                tokio::time::sleep(turn).await;
            }
        });
        Some(Self { told, due: false, tail: *b"\n\n\n\n" })
    }

    /// Whether the stream shall end here.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.due = self.due || self.told.as_mut().poll(context) == Poll::Ready(());
        self.due && self.is_between_events()
    }

    /// These bytes are sent.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let last = bytes.get(bytes.len().saturating_sub(self.tail.len())..).unwrap_or_default();
        self.tail.rotate_left(last.len());
        let keep = self.tail.len() - last.len();
        if let Some(end) = self.tail.get_mut(keep..) {
            end.copy_from_slice(last);
        }
    }

    fn is_between_events(&self) -> bool {
        self.tail.ends_with(b"\n\n") || self.tail.ends_with(b"\r\n\r\n") || self.tail.ends_with(b"\r\r")
    }
}
