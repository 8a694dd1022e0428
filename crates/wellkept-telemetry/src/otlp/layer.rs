//! Where `tracing` and OTLP meet: which spans are recorded, and where each stands in its trace.

use std::fmt;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::attributes::Fields;
use super::queue::Queue;
use super::span::{OpenSpan, Parent, Place};
use crate::correlation::{CONTEXT_TARGET, Correlation, SpanId, TraceId, is_in_ratio};
use crate::logging::redact::Redactor;
use crate::logging::{Level, Redaction, RedactionError, Secrets};

/// Ends a span before it closes: what is spawned from it may keep it open for long.
const ENDED: &str = "otel.ended";

/// A layer of `tracing` that exports ended spans. Put into the log by
/// [`Options::traces`](crate::logging::Options::traces), or into a subscriber of one's own.
///
/// The first span that is opened while a [`Correlation`] is current is the correlation's own: it has its ids, and its parent
/// is the caller's. Other spans are children of the one that they are opened in. Fields are attributes, with these
/// exceptions: `otel.name` and `otel.kind` (`server`, `client`, `producer`, `consumer`) say what the span is,
/// `otel.status_code` (`ok`, `error`) and `otel.status_description` how it went. Secrets are masked: those that the log's
/// [`Redaction`] names too, where it is put into the log.
#[derive(Clone)]
pub struct TraceLayer {
    queue: Arc<Queue>,
    filter: LevelFilter,
    ratio: f64,
    redactor: Arc<Redactor>,
}

impl TraceLayer {
    pub(super) fn new(queue: Arc<Queue>, level: Level, ratio: f64) -> Self {
        let filter = match level {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error | Level::Critical => LevelFilter::ERROR,
        };
        Self { queue, filter, ratio, redactor: Arc::default() }
    }

    /// Masks what the log masks; what is built in also where the log masks nothing, since this leaves the machine.
    pub(crate) fn masking(self, redaction: &Redaction) -> Result<Self, RedactionError> {
        let redaction = Redaction { secrets: Secrets::Masked, ..redaction.clone() };
        Ok(Self { redactor: Arc::new(Redactor::new(&redaction)?), ..self })
    }

    /// From which level on spans and events are exported.
    pub(crate) fn filter(&self) -> LevelFilter {
        self.filter
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        // The context of the log has a span of the trace beside it.
        *metadata.level() <= self.filter && metadata.target() != CONTEXT_TARGET
    }

    /// Where a new span stands.
    fn place(&self, enclosing: Option<Place>) -> (Place, Parent, Option<Correlation>) {
        let child = |of: Place| (Place { span: SpanId::random(), ..of }, Parent::Here(of.span));
        let Some(correlation) = Correlation::current() else {
            let (place, parent) = enclosing.map_or_else(|| (self.root(), Parent::None), child);
            return (place, parent, None);
        };
        let owner = correlation.span_id();
        if let Some(enclosing) = enclosing.filter(|enclosing| enclosing.owner == owner) {
            let (place, parent) = child(enclosing);
            return (place, parent, Some(correlation));
        }
        let is_recorded = correlation.sample(self.ratio);
        let own =
            Place { trace: correlation.trace_id(), span: owner, owner, flags: correlation.trace_flags(), is_recorded };
        let (place, parent) = if correlation.claim() {
            let parent = match correlation.parent_id() {
                Some(span) if correlation.is_of_a_caller() => Parent::Remote(span),
                Some(span) => Parent::Here(span),
                None => Parent::None,
            };
            (own, parent)
        } else {
            child(own)
        };
        (place, parent, Some(correlation))
    }

    /// A trace of its own.
    fn root(&self) -> Place {
        let (trace, span) = (TraceId::random(), SpanId::random());
        let is_recorded = is_in_ratio(trace, self.ratio);
        Place { trace, span, owner: span, flags: Correlation::flags_of_new(is_recorded), is_recorded }
    }

    fn deliver(&self, span: OpenSpan) {
        self.queue.push(span.end());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TraceLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|span| self.wants(span.metadata())) else { return };
        let enclosing = span.parent().and_then(|parent| parent.scope().find_map(|span| place_of(&span)));
        let (place, parent, correlation) = self.place(enclosing);
        let open = place.is_recorded.then(|| {
            let state = correlation.as_ref().and_then(Correlation::tracestate);
            let mut open = OpenSpan::new(span.name(), place, parent, state);
            open.record(Fields::of(&self.redactor, |visitor| attributes.record(visitor)));
            open
        });
        let mut extensions = span.extensions_mut();
        extensions.replace(place);
        if let Some(open) = open {
            extensions.replace(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(is_open) else { return };
        // Read before the span is locked: a value's Debug may log an event itself.
        let fields = Fields::of(&self.redactor, |visitor| values.record(visitor));
        let is_ended = fields.directives.iter().any(|(name, _)| *name == ENDED);
        let mut extensions = span.extensions_mut();
        if let Some(open) = extensions.get_mut::<OpenSpan>() {
            open.record(fields);
        }
        let ended = if is_ended { extensions.remove::<OpenSpan>() } else { None };
        drop(extensions);
        if let Some(ended) = ended {
            self.deliver(ended);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !self.wants(event.metadata()) {
            return;
        }
        let span = context.event_scope(event).and_then(|mut scope| scope.find(|span| place_of(span).is_some()));
        let Some(span) = span.filter(is_open) else { return };
        let fields = Fields::of(&self.redactor, |visitor| event.record(visitor));
        let level = Level::from(*event.metadata().level()).as_str();
        if let Some(open) = span.extensions_mut().get_mut::<OpenSpan>() {
            open.event(event.metadata().name(), level, fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let ended = context.span(&id).and_then(|span| span.extensions_mut().remove::<OpenSpan>());
        if let Some(ended) = ended {
            self.deliver(ended);
        }
    }
}

fn place_of<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> Option<Place> {
    span.extensions().get::<Place>().copied()
}

fn is_open<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> bool {
    span.extensions().get::<OpenSpan>().is_some()
}

impl fmt::Debug for TraceLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TraceLayer")
            .field("filter", &self.filter)
            .field("ratio", &self.ratio)
            .finish_non_exhaustive()
    }
}
