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
mod books;
mod delivery;
mod exporter;
mod layer;
mod messages;
mod metrics;
mod options;
mod push;
mod queue;
mod span;
mod transport;

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

pub use books::{PointBooks, SpanBooks, SpanLoss};
pub use layer::TraceLayer;
pub use options::{InvalidVariable, Options};
pub use queue::{MAX_QUEUED_BYTES, MAX_QUEUED_SPANS};
pub use span::{MAX_ATTRIBUTES, MAX_EVENTS, MAX_SPAN_BYTES};
pub use transport::{Answer, Message, Signal, Transport, Unreachable};

use crate::metrics::{Audience, MetricError, Metrics, MetricsExportSettings};
use delivery::Patience;
use exporter::Receiver;
use messages::Resource;
use push::Push;
use queue::Queue;

/// A running export. Cheap to clone; the exporter's thread ends when the last one is dropped, after one try with what waits.
#[derive(Clone)]
pub struct Otlp(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    points: push::Books,
    transport: Arc<dyn Transport>,
    resource: Resource,
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
        let resource = options.resource();
        let (exported, of) = (Arc::clone(&queue), resource.clone());
        let receiver = Receiver::new(Arc::clone(&transport), Signal::Traces, options.timeout);
        let run = move || exporter::run(&exported, receiver, &of, patience);
        thread::Builder::new().name("wk-otlp".to_owned()).spawn(run).map_err(OtlpError::Thread)?;
        Ok(Self(Arc::new(Inner { queue, points: push::Books::default(), transport, resource, options })))
    }

    /// Has these metrics pushed every [`interval`](Options::interval), from now on, by an exporter of theirs: a fresh reading
    /// each time, whose counters and histograms count since the start. A push that fails is not sent again, for the next one
    /// says all that it said. [`Metrics::flush_exports`] has a last one sent. The books of this export are among the metrics
    /// from then on.
    pub fn push(&self, metrics: &Metrics) -> Result<(), MetricError> {
        let Inner { transport, resource, options, points, .. } = &*self.0;
        let receiver = Receiver::new(Arc::clone(transport), Signal::Metrics, options.timeout);
        let push = Push { receiver, resource: resource.clone(), books: Arc::clone(points), not_before: None };
        let settings = MetricsExportSettings { every: options.interval, deadline: options.timeout };
        metrics.collector("otlp", books::OtlpCollector(Arc::downgrade(&self.0)), Audience::Everyone)?;
        metrics.export("otlp", push, settings)
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

    /// What became of the points of metrics so far.
    pub fn points(&self) -> PointBooks {
        *self.0.points.lock().unwrap_or_else(PoisonError::into_inner)
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
