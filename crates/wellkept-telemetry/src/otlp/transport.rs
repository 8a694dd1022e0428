//! How messages reach the receiver: handed in, since this crate opens no connections.

use std::fmt;
use std::time::{Duration, Instant};

/// Posts messages to a receiver of OTLP over HTTP. The crate `wellkept` brings one; any client will do that keeps deadlines.
pub trait Transport: Send + Sync + 'static {
    /// Posts one message to `<endpoint>` + [`Signal::path`], as `application/x-protobuf`, and waits for the answer, whatever
    /// its status. Called on threads of this crate's own; blocks until `message.deadline` at the latest, which nobody
    /// enforces from outside. No redirect is to be followed.
    fn post(&self, message: Message<'_>) -> Result<Answer, Unreachable>;
}

/// What a message tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Readings of metrics.
    Metrics,
}

impl Signal {
    /// The path below the endpoint (OTLP specification, "OTLP/HTTP Request").
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// `traces` or `metrics`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// One message to be posted.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// What it tells of, and with that where it goes.
    pub signal: Signal,
    /// The body, in protobuf.
    pub body: &'a [u8],
    /// When the answer must be there.
    pub deadline: Instant,
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Message");
        shown.field("signal", &self.signal).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// What the receiver answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, where it is there in seconds (RFC 9110, 10.2.3).
    pub retry_after: Option<Duration>,
    /// The body, or its first part: it is looked at only where the status is 2xx.
    pub body: Vec<u8>,
}

/// No answer came: no connection, a broken one, or the deadline has passed. The text is for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);
