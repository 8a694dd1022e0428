//! Where `tracing` and the encoder meet: levels, spans, events.

use std::fmt;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::Level;
use super::encode::{Encoder, SEVERITY, SpanFields};
use super::sink::Sink;
use super::upkeep::Upkeep;
use crate::correlation::Correlation;

#[derive(Debug)]
pub(super) struct LogLayer {
    upkeep: Arc<Upkeep>,
    /// Each distinct format, with the sinks that take it: an event is encoded once for all of these.
    formats: Vec<(Encoder, Vec<Arc<Sink>>)>,
    /// From which level on a layer beside this one wants to know of what is not logged.
    beside: LevelFilter,
}

/// The fields of a span in each format.
struct Recorded(Vec<SpanFields>);

impl LogLayer {
    pub(super) fn new(upkeep: Arc<Upkeep>, sinks: Vec<(Encoder, Arc<Sink>)>, beside: LevelFilter) -> Self {
        let mut formats: Vec<(Encoder, Vec<Arc<Sink>>)> = Vec::new();
        for (encoder, sink) in sinks {
            match formats.iter_mut().find(|(known, _)| *known == encoder) {
                Some((_, sinks)) => sinks.push(sink),
                None => formats.push((encoder, vec![sink])),
            }
        }
        Self { upkeep, formats, beside }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        self.upkeep.levels.wants(metadata)
    }

    fn lets_through(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata) || *metadata.level() <= self.beside
    }

    fn record(&self, recorded: &mut Recorded, record: &dyn Fn(&mut dyn Visit)) {
        recorded.0.resize_with(self.formats.len(), SpanFields::default);
        for ((encoder, _), fields) in self.formats.iter().zip(&mut recorded.0) {
            fields.record(encoder, record);
        }
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
        // For a task that takes only its span along.
        if let Some(correlation) = correlation {
            span.extensions_mut().replace(correlation);
        }
        if self.beside != LevelFilter::OFF && !self.wants(attributes.metadata()) {
            return;
        }
        let mut recorded = Recorded(Vec::new());
        self.record(&mut recorded, &|visitor| attributes.record(visitor));
        span.extensions_mut().replace(recorded);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if self.beside != LevelFilter::OFF && !self.wants(span.metadata()) {
            return;
        }
        // Taken out meanwhile: a value's Debug may log an event itself, which reads the span's fields.
        let taken = span.extensions_mut().remove::<Recorded>();
        let mut recorded = taken.unwrap_or(Recorded(Vec::new()));
        self.record(&mut recorded, &|visitor| values.record(visitor));
        span.extensions_mut().replace(recorded);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.beside != LevelFilter::OFF && !self.wants(event.metadata()) {
            return;
        }
        let level = severity(event);
        // Of all others the place has asked: whether an error is critical is known only now.
        if level == Level::Error && !self.upkeep.levels.wants_level(event.metadata().target(), level) {
            return;
        }
        if !self.upkeep.admits(event, level) {
            return;
        }
        let of_span = || context.event_scope(event)?.find_map(|span| span.extensions().get::<Correlation>().cloned());
        let correlation = Correlation::current().or_else(of_span);
        for (index, (encoder, sinks)) in self.formats.iter().enumerate() {
            let spans = |show: &mut dyn FnMut(&SpanFields)| {
                for span in context.event_scope(event).into_iter().flatten() {
                    if let Some(fields) = span.extensions().get::<Recorded>().and_then(|it| it.0.get(index)) {
                        show(fields);
                    }
                }
            };
            encoder.event((event, level), &spans, correlation.as_ref(), |line| {
                for sink in sinks {
                    sink.push(line);
                }
            });
        }
    }
}

/// The level of an event, of which only an error can be a critical one.
fn severity(event: &Event<'_>) -> Level {
    let level = Level::from(*event.metadata().level());
    if level == Level::Error && event.metadata().fields().field(SEVERITY).is_some() {
        let mut critical = Critical(false);
        event.record(&mut critical);
        if critical.0 {
            return Level::Critical;
        }
    }
    level
}

struct Critical(bool);

impl Visit for Critical {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 |= field.name() == SEVERITY && value == "critical";
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}
