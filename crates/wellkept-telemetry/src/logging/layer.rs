//! Where `tracing` and the encoder meet: levels, spans, events.

use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::Level;
use super::encode::{Encoders, Recorded};
use super::sink::Sink;
use super::upkeep::Upkeep;
use crate::correlation::{Correlation, REQUEST_TARGET};

#[derive(Debug)]
pub(super) struct LogLayer {
    upkeep: Arc<Upkeep>,
    encoders: Encoders,
    /// For each format, the sinks that take it.
    sinks: Vec<Vec<Arc<Sink>>>,
    /// From which level on a layer beside this one wants to know of what is not logged.
    beside: LevelFilter,
}

impl LogLayer {
    /// For each format an encoder, and the sinks that take it.
    pub(super) fn new(
        upkeep: Arc<Upkeep>,
        (encoders, sinks): (Encoders, Vec<Vec<Arc<Sink>>>),
        beside: LevelFilter,
    ) -> Self {
        Self { upkeep, encoders, sinks, beside }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        self.upkeep.levels.wants(metadata)
    }

    /// Whether the fields of a span are in the lines.
    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        self.beside == LevelFilter::OFF || (metadata.target() != REQUEST_TARGET && self.wants(metadata))
    }

    fn lets_through(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata) || *metadata.level() <= self.beside
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_register_dispatch(&self, log: &Dispatch) {
        self.upkeep.is_of(log);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.lets_through(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.lets_through(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.upkeep.levels.filter().max(self.beside))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let correlation = Correlation::current();
        if attributes.metadata().fields().is_empty() && correlation.is_none() {
            return;
        }
        let Some(span) = context.span(id) else { return };
        // The correlation is for a task that takes only its span along.
        let mut recorded = Recorded::of(correlation);
        if self.shows(attributes.metadata()) {
            self.encoders.span(attributes.metadata(), &mut recorded, |visitor| attributes.record(visitor));
        }
        span.extensions_mut().replace(recorded);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if !self.shows(span.metadata()) {
            return;
        }
        // Before the span is locked: a value's Debug may log an event itself, or record another field.
        let mut later = Recorded::default();
        self.encoders.span(span.metadata(), &mut later, |visitor| values.record(visitor));
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Recorded>() {
            Some(recorded) => recorded.add(&later),
            None => extensions.insert(later),
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.beside != LevelFilter::OFF && !self.wants(event.metadata()) {
            return;
        }
        let admits = |level| {
            // Of all others the place has asked: whether an error is critical is known only now.
            let is_wanted = level != Level::Error || self.upkeep.levels.wants_level(event.metadata().target(), level);
            is_wanted && self.upkeep.admits(event, level)
        };
        let spans = |show: &mut dyn FnMut(&Recorded)| {
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(fields) = span.extensions().get() {
                    show(fields);
                }
            }
        };
        self.encoders.event(event, admits, &spans, Correlation::current(), |format, line| {
            for sink in self.sinks.get(format).into_iter().flatten() {
                sink.push(line);
            }
        });
    }
}
