//! Where `tracing` and the encoder meet: levels, spans, events.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::Level;
use super::encode::{Encoder, SpanFields};
use super::sink::Sink;
use crate::correlation::Correlation;

/// The level in force, changed at run time.
pub(super) struct LevelCell(AtomicU8);

impl LevelCell {
    pub(super) fn new(level: Level) -> Self {
        Self(AtomicU8::new(level as u8))
    }

    pub(super) fn load(&self) -> Level {
        match self.0.load(Ordering::Relaxed) {
            0 => Level::Trace,
            1 => Level::Debug,
            2 => Level::Info,
            3 => Level::Warning,
            _ => Level::Error,
        }
    }

    pub(super) fn store(&self, level: Level) {
        self.0.store(level as u8, Ordering::Relaxed);
        // Each place that logs remembers whether it is wanted: they have to ask again.
        tracing::callsite::rebuild_interest_cache();
    }

    fn filter(&self) -> LevelFilter {
        match self.load() {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
        }
    }
}

impl fmt::Debug for LevelCell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(formatter)
    }
}

#[derive(Debug)]
pub(super) struct LogLayer {
    encoder: Encoder,
    level: Arc<LevelCell>,
    sink: Arc<Sink>,
}

impl LogLayer {
    pub(super) fn new(encoder: Encoder, level: Arc<LevelCell>, sink: Arc<Sink>) -> Self {
        Self { encoder, level, sink }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level.filter()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.filter())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let correlation = Correlation::current();
        if attributes.metadata().fields().is_empty() && correlation.is_none() {
            return;
        }
        let Some(span) = context.span(id) else { return };
        // For a task that takes only its span along.
        if let Some(correlation) = correlation {
            span.extensions_mut().replace(correlation);
        }
        let mut fields = SpanFields::default();
        fields.record(self.encoder, |visitor| attributes.record(visitor));
        span.extensions_mut().replace(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Taken out meanwhile: a value's Debug may log an event itself, which reads the span's fields.
        let taken = span.extensions_mut().remove::<SpanFields>();
        let mut fields = taken.unwrap_or_default();
        fields.record(self.encoder, |visitor| values.record(visitor));
        span.extensions_mut().replace(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let spans = |show: &mut dyn FnMut(&SpanFields)| {
            for span in context.event_scope(event).into_iter().flatten() {
                if let Some(fields) = span.extensions().get() {
                    show(fields);
                }
            }
        };
        let of_span = || context.event_scope(event)?.find_map(|span| span.extensions().get::<Correlation>().cloned());
        let correlation = Correlation::current().or_else(of_span);
        self.encoder.event(event, &spans, correlation.as_ref(), |line| self.sink.push(line));
    }
}
