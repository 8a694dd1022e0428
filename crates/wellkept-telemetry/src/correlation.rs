//! Which piece of work a line, a request or a task belongs to: a correlation id and a W3C trace context, carried along.
//!
//! A [`Correlation`] is made where work comes in (for HTTP by the layer of `wellkept-http`), is current while that work
//! runs, and shows in every log line as `trace_id`, `span_id` and `correlation_id`. It follows the work through futures
//! and spans; across `tokio::spawn` and blocking threads it goes by [`spawn`] and [`spawn_blocking`], or by a span that was
//! opened while it was current.
//!
//! ```
//! use wellkept_telemetry::correlation::{Correlation, Incoming, Trust};
//!
//! let incoming = Incoming {
//!     traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
//!     request_id: Some("order-7"),
//!     ..Incoming::default()
//! };
//! let correlation = Correlation::accept(incoming, Trust::Callers);
//! assert_eq!(correlation.id(), "order-7");
//! assert_eq!(correlation.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
//! correlation.in_scope(|| tracing::info!("is logged with all three"));
//! ```

mod carry;
mod context;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

pub use carry::{Scoped, spawn, spawn_blocking};
#[cfg(feature = "otlp")]
pub(crate) use context::is_in_ratio;
pub use context::{SpanId, TraceId};

use context::{Parent, state};

/// Longest id that is taken from a caller, in characters.
pub const MAX_ID: usize = 128;

/// The target of the spans that stand for whole requests. They are for traces: the log, which has the ids of the
/// correlation, does not show their fields.
pub const REQUEST_TARGET: &str = "wellkept::request";

/// The target of spans that give the log its context of a request, and are no part of a trace.
pub const CONTEXT_TARGET: &str = "wellkept::context";

/// What one piece of work is known by. Cheap to clone.
#[derive(Clone)]
pub struct Correlation(Arc<Inner>);

struct Inner {
    id: String,
    /// What an untrusted caller called it.
    callers_id: Option<String>,
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    origin: Origin,
    /// Of a trace that began here it is decided later whether it is recorded.
    flags: AtomicU8,
    /// Whether a span has been exported as this one.
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only what is exported claims it"))]
    is_claimed: AtomicBool,
    state: Option<String>,
    /// The fields of log lines in each style, written once for all of them.
    logged: [OnceLock<[(usize, String); 3]>; 3],
}

/// Where a trace began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Here,
    Caller,
    /// Here, as a part of what a caller began.
    PartOfCallers,
}

/// What a caller says of itself, as it came in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Incoming<'a> {
    /// `traceparent` (W3C Trace Context, section 3.2). One that breaks the rules is taken for none.
    pub traceparent: Option<&'a str>,
    /// `tracestate` (section 3.3). Passed on only with a `traceparent` that is taken, in at most 512 characters.
    pub tracestate: Option<&'a str>,
    /// `x-request-id`, for which there is no standard: letters, digits, `.`, `_` and `-`, at most [`MAX_ID`] of them.
    /// Anything else is taken for none, so that no id can break a line, a header or a path.
    pub request_id: Option<&'a str>,
}

/// Whose ids are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Callers': for a service behind others of one's own, or behind a gateway that replaces what comes from outside.
    #[default]
    Callers,
    /// Nobody's: a service that strangers reach gives ids of its own. What a stranger called its request is kept beside
    /// them, as `client_request_id`.
    Nobody,
}

impl Correlation {
    /// A new one, for work that begins here. Its id is the trace's.
    pub fn begin() -> Self {
        Self::accept(Incoming::default(), Trust::Nobody)
    }

    /// Of work that a caller has begun; what is missing, broken or not to be trusted is made anew.
    pub fn accept(incoming: Incoming<'_>, trust: Trust) -> Self {
        let parent = incoming.traceparent.filter(|_| trust == Trust::Callers).and_then(Parent::parse);
        let trace = parent.as_ref().map_or_else(TraceId::random, |parent| parent.trace);
        let callers_id = incoming.request_id.filter(|id| is_safe(id)).map(str::to_owned);
        let (own, callers_id) = match trust {
            Trust::Callers => (callers_id, None),
            Trust::Nobody => (None, callers_id),
        };
        Self(Arc::new(Inner {
            id: own.unwrap_or_else(|| trace.to_string()),
            callers_id,
            trace,
            span: SpanId::random(),
            parent: parent.as_ref().map(|parent| parent.span),
            origin: if parent.is_some() { Origin::Caller } else { Origin::Here },
            // The numbers are random, and say so (level 2, section 3.2.2.5.2).
            flags: AtomicU8::new(parent.as_ref().map_or(context::RANDOM, |parent| parent.flags)),
            is_claimed: AtomicBool::new(false),
            state: parent.and(incoming.tracestate).and_then(state),
            logged: Default::default(),
        }))
    }

    /// A part of this work with a span id of its own.
    #[must_use]
    pub fn part(&self) -> Self {
        let Inner { id, callers_id, trace, span, origin, state, .. } = &*self.0;
        Self(Arc::new(Inner {
            id: id.clone(),
            callers_id: callers_id.clone(),
            trace: *trace,
            span: SpanId::random(),
            parent: Some(*span),
            origin: if *origin == Origin::Here { Origin::Here } else { Origin::PartOfCallers },
            flags: AtomicU8::new(self.flags()),
            is_claimed: AtomicBool::new(false),
            state: state.clone(),
            logged: Default::default(),
        }))
    }

    /// What the work is called: the caller's id, or the trace's.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// What a caller that is not trusted called it.
    pub fn client_request_id(&self) -> Option<&str> {
        self.0.callers_id.as_deref()
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.0.trace
    }

    /// Its own place in the trace.
    pub fn span_id(&self) -> SpanId {
        self.0.span
    }

    /// The place in the trace that it was begun from.
    pub fn parent_id(&self) -> Option<SpanId> {
        self.0.parent
    }

    /// Whether the trace is recorded: as the caller says, or as was decided here by [`Correlation::sample`].
    pub fn is_sampled(&self) -> bool {
        self.flags() & context::SAMPLED != 0
    }

    /// Decides whether the trace is recorded, and tells whoever is called from here. A caller has decided already; of what
    /// began here this share is recorded, from 0 to 1, by the trace's id: the answer is the same each time, and wherever a
    /// trace is asked of by the same rule (OpenTelemetry, `TraceIdRatioBased`). Whoever exports spans asks once for each;
    /// without it, nothing that begins here is recorded.
    pub fn sample(&self, ratio: f64) -> bool {
        if self.0.origin == Origin::Here && context::is_in_ratio(self.0.trace, ratio) {
            self.0.flags.fetch_or(context::SAMPLED, Ordering::Relaxed);
        }
        self.is_sampled()
    }

    fn flags(&self) -> u8 {
        self.0.flags.load(Ordering::Relaxed)
    }

    /// The `traceparent` for whoever is called from here.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.0.trace, self.0.span, self.flags())
    }

    /// The `tracestate` for whoever is called from here.
    pub fn tracestate(&self) -> Option<&str> {
        self.0.state.as_deref()
    }

    /// Whether the parent is the caller's.
    #[cfg(feature = "otlp")]
    pub(crate) fn is_of_a_caller(&self) -> bool {
        self.0.origin == Origin::Caller
    }

    /// Takes the ids for a span. True for the first who asks.
    #[cfg(feature = "otlp")]
    pub(crate) fn claim(&self) -> bool {
        !self.0.is_claimed.swap(true, Ordering::Relaxed)
    }

    /// The flags as `traceparent` has them.
    #[cfg(feature = "otlp")]
    pub(crate) fn trace_flags(&self) -> u8 {
        self.flags()
    }

    /// The flags of a trace that begins with a span and no correlation.
    #[cfg(feature = "otlp")]
    pub(crate) fn flags_of_new(is_sampled: bool) -> u8 {
        context::RANDOM | if is_sampled { context::SAMPLED } else { 0 }
    }

    /// The fields of a log line: each one's key, and all of it.
    pub(crate) fn logged(&self, style: LogStyle) -> impl Iterator<Item = (&[u8], &[u8])> {
        let Inner { trace, span, id, logged, .. } = &*self.0;
        let fields = logged[style as usize].get_or_init(|| {
            // Neither needs to be escaped.
            let field = |name, value: &dyn fmt::Display| {
                let (before, after, quote) = match style {
                    LogStyle::Json => (",\"", "\":", "\""),
                    LogStyle::Gelf => (",\"_", "\":", "\""),
                    LogStyle::Text => (" ", "=", ""),
                };
                let key = format!("{before}{name}{after}");
                (key.len(), format!("{key}{quote}{value}{quote}"))
            };
            [field(NAMES[0], trace), field(NAMES[1], span), field(NAMES[2], id)]
        });
        fields.iter().map(|(key, field)| (field.as_bytes().get(..*key).unwrap_or_default(), field.as_bytes()))
    }
}

/// How the fields of a log line are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LogStyle {
    Json,
    Gelf,
    Text,
}

const NAMES: [&str; 3] = ["trace_id", "span_id", "correlation_id"];

fn is_safe(id: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(safe)
}

impl fmt::Debug for Correlation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Correlation")
            .field("id", &self.0.id)
            .field("trace_id", &self.0.trace)
            .field("span_id", &self.0.span)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
