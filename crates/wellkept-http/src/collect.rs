//! What the parts' figures are called as metrics. Read at each scrape; nothing is kept here.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use wellkept_health::Checker;
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::metrics::{Audience, Metrics};

mod health;
mod process;
mod servers;
mod shutdown;

pub(crate) use servers::Servers;

/// Adds the collectors of the service, its components, the shutdown and this process.
pub(crate) fn register(metrics: &Metrics, checker: &Checker, shutdown: &Shutdown) -> Servers {
    let servers = Servers::default();
    add(metrics, "servers", servers.clone(), Audience::Everyone);
    add(metrics, "service", health::ServiceCollector(checker.clone()), Audience::Everyone);
    add(metrics, "components", health::ComponentCollector(checker.clone()), Audience::Operators);
    add(metrics, "shutdown", shutdown::ShutdownCollector(shutdown.clone()), Audience::Everyone);
    add(metrics, "process", process::ProcessCollector::default(), Audience::Everyone);
    servers
}

/// Adds one under a name that tells its failures.
pub(crate) fn add(metrics: &Metrics, name: &str, collector: impl Collector, audience: Audience) {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    if let Err(error) = metrics.mount(name, registry, audience) {
        tracing::error!(target: "wellkept::metrics", code = error.code(), "{error}");
    }
}

/// A collector from a function that reads figures.
///
/// For the figures of parts that this crate does not know, such as reloads or the log.
pub struct Figures<F>(pub F);

/// One figure of a part.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// The metric's name; a counter's without `_total`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: FigureKind,
    /// Its value, or its values by a label.
    pub values: FigureValues,
}

/// The value of a figure, or its values by a label.
#[derive(Debug, Clone, PartialEq)]
pub enum FigureValues {
    /// One.
    One(f64),
    /// The label's name, and a value for each of its words.
    By(&'static str, Vec<(&'static str, f64)>),
}

/// Whether a figure only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureKind {
    /// Grows until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl<F> fmt::Debug for Figures<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Figures")
    }
}

impl<F> Collector for Figures<F>
where
    F: Fn() -> Vec<Figure> + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        for Figure { name, help, kind, values } in (self.0)() {
            match (kind, values) {
                (FigureKind::Counter, FigureValues::One(value)) => families.counter(name, help, value)?,
                (FigureKind::Gauge, FigureValues::One(value)) => families.gauge(name, help, value)?,
                (kind, FigureValues::By(label, values)) => {
                    let values = values.into_iter().map(|(word, value)| ([(label, word)], value));
                    match kind {
                        FigureKind::Counter => families.counters(name, help, values)?,
                        FigureKind::Gauge => families.gauges(name, help, values)?,
                    }
                }
            }
        }
        Ok(())
    }
}

/// Families of metrics being written.
pub(crate) struct Families<'e>(pub(crate) DescriptorEncoder<'e>);

impl Families<'_> {
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    pub(crate) fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(crate) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
