//! Export by OTLP, the protocol of OpenTelemetry, over HTTP in protobuf: ended spans, and metrics.
//!
//! Spans bear the ids of the [`Correlation`](crate::correlation::Correlation) that log lines and outgoing requests bear. They
//! go into a bounded queue and leave by a thread of its own: a receiver that is slow, hangs or is gone holds nobody, what
//! does not fit is dropped, and everything is counted ([`SpanBooks`]). The messages are those of OTLP 1; the connection is
//! handed in as a [`Transport`], since this crate opens none.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use wellkept_telemetry::logging::{self, Options as Logging};
//! use wellkept_telemetry::otlp::{Answer, Message, Options, Otlp, Transport, Unreachable};
//!
//! struct Client;
//! impl Transport for Client {
//!     fn post(&self, message: Message<'_>) -> Result<Answer, Unreachable> {
//!         // Posts `message.body` to the endpoint and `message.signal.path()`, until `message.deadline`.
//!         Ok(Answer { status: 200, ..Answer::default() })
//!     }
//! }
//!
//! let options = Options { service: "orders".to_owned(), ..Options::default() };
//! let otlp = Otlp::start(options, Arc::new(Client))?;
//! let (subscriber, _logging) = logging::subscriber(Logging { traces: Some(otlp.layer()), ..Logging::default() })?;
//! tracing::subscriber::with_default(subscriber, || tracing::info_span!("take orders").in_scope(|| ()));
//! assert!(otlp.flush(Duration::from_secs(1)));
//! assert_eq!(otlp.books().exported, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attributes;
mod delivery;
mod exporter;
mod layer;
mod messages;
mod options;
mod queue;
mod span;
mod transport;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

pub use layer::TraceLayer;
pub use options::{InvalidVariable, Options};
pub use queue::{MAX_QUEUED_BYTES, MAX_QUEUED_SPANS};
pub use span::{MAX_ATTRIBUTES, MAX_EVENTS, MAX_SPAN_BYTES};
pub use transport::{Answer, Message, Signal, Transport, Unreachable};

use delivery::Patience;
use exporter::Receiver;
use queue::Queue;

/// A running export. Cheap to clone; the exporter's thread ends when the last one is dropped, after one try with what waits.
#[derive(Clone)]
pub struct Otlp(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    options: Options,
}

impl Otlp {
    /// Starts the exporter's thread. Nothing is sent before a span has ended.
    pub fn start(options: Options, transport: Arc<dyn Transport>) -> Result<Self, OtlpError> {
        Self::start_with(options, transport, Patience::default())
    }

    fn start_with(options: Options, transport: Arc<dyn Transport>, patience: Patience) -> Result<Self, OtlpError> {
        if !options.is_usable() {
            return Err(OtlpError::Endpoint);
        }
        if !(0.0..=1.0).contains(&options.ratio) {
            return Err(OtlpError::Ratio);
        }
        let queue = Arc::new(Queue::new(options.delay));
        let (exported, resource) = (Arc::clone(&queue), options.resource());
        let receiver = Receiver::new(transport, Signal::Traces, options.timeout);
        let run = move || exporter::run(&exported, receiver, &resource, patience);
        thread::Builder::new().name("wk-otlp-traces".to_owned()).spawn(run).map_err(OtlpError::Thread)?;
        Ok(Self(Arc::new(Inner { queue, options })))
    }

    /// What turns spans of `tracing` into exported ones.
    pub fn layer(&self) -> TraceLayer {
        TraceLayer::new(Arc::clone(&self.0.queue), self.0.options.level, self.0.options.ratio)
    }

    /// Has all spans that have ended exported now, and waits for it, at most for `deadline`; blocks the thread. Returns
    /// whether all have left the queue in time. A receiver that asked to be left alone is.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.0.queue.flush(deadline)
    }

    /// What became of the spans so far.
    pub fn books(&self) -> SpanBooks {
        self.0.queue.books()
    }

    /// What was chosen.
    pub fn options(&self) -> &Options {
        &self.0.options
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Otlp").field("books", &self.books()).finish_non_exhaustive()
    }
}

/// What became of the spans that were recorded: `accepted = exported + dropped + pending`, at every instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanBooks {
    /// Spans that ended.
    pub accepted: u64,
    /// Spans that the receiver took.
    pub exported: u64,
    /// Spans that were lost, by reason.
    pub dropped: [(SpanLoss, u64); SpanLoss::ALL.len()],
    /// Spans that wait, or are on their way.
    pub pending: u64,
}

impl SpanBooks {
    /// All spans that were lost.
    pub fn lost(&self) -> u64 {
        self.dropped.iter().map(|(_, lost)| lost).sum()
    }

    /// Those that were lost for this reason.
    pub fn lost_to(&self, reason: SpanLoss) -> u64 {
        self.dropped[reason as usize].1
    }
}

/// Why a span was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanLoss {
    /// There was no room for it: the receiver is slow or away, or more is recorded than it takes.
    QueueFull,
    /// The receiver took the message without it.
    Rejected,
    /// The receiver refused the message, and would again.
    Refused,
    /// The receiver was away for too long.
    Undelivered,
    /// The export had ended.
    Closed,
}

impl SpanLoss {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::QueueFull, Self::Rejected, Self::Refused, Self::Undelivered, Self::Closed];

    /// The stable word: `queue_full`, `rejected`, `refused`, `undelivered`, `closed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Undelivered => "undelivered",
            Self::Closed => "closed",
        }
    }
}

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The endpoint is no URL that a path can be added to.
    #[error("the endpoint must be a URL that begins with http:// or https://, without query")]
    Endpoint,
    /// A share is between 0 and 1.
    #[error("the ratio must be between 0 and 1")]
    Ratio,
    /// The thread can't be started.
    #[error("the exporter's thread can't be started: {0}")]
    Thread(#[source] io::Error),
}

impl OtlpError {
    /// The stable code: `otlp.endpoint`, `otlp.ratio` or `otlp.thread`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Endpoint => "otlp.endpoint",
            Self::Ratio => "otlp.ratio",
            Self::Thread(_) => "otlp.thread",
        }
    }
}

#[cfg(test)]
mod tests;
