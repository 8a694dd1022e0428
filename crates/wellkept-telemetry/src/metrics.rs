//! Metrics: a registry whose page can't be broken, handles that cost an atomic, and what exporters read.
//!
//! ```
//! use wellkept_telemetry::metrics::{Audience, Exposition, Metrics};
//!
//! let metrics = Metrics::new();
//! let created = metrics.counter("clients_created", "Clients created.")?;
//! let orders = metrics.counters("orders", "Orders taken, by channel.", ["channel"])?;
//! let open = metrics.gauge("projects_open", "Projects that are open.")?;
//! let duration = metrics.histogram("task_duration_seconds", "How long a task took.")?;
//!
//! created.inc();
//! orders.with(["web"]).inc();
//! open.set(12.0);
//! duration.observe(0.023);
//!
//! let page = metrics.page(None, Audience::Everyone);
//! assert_eq!(page.content_type, "text/plain; version=0.0.4; charset=utf-8");
//! assert!(page.body.contains("# TYPE orders_total counter\norders_total{channel=\"web\"} 1\n"));
//! # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
//! ```
//!
//! A rate is a counter: what is asked is `rate(orders_total[5m])`, which needs no memory here, misses nothing between two
//! looks, and adds up over instances.

mod books;
mod collector;
mod declaration;
mod exemplar;
mod exporter;
mod foreign;
mod instruments;
mod labelled;
mod names;
mod negotiation;
mod reading;
mod text;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

pub use collector::{Audience, COLLECTOR_LIMIT, Collector, FamilyReadings, Readings};
pub use declaration::{Declaration, Kind, MAX_FAMILIES, MAX_HELP, MAX_LABELS, MAX_NAME, MetricError};
pub use exemplar::{Exemplar, MAX_EXEMPLAR, Trace};
pub use exporter::{MAX_EXPORTERS, MetricsExportError, MetricsExportSettings, MetricsExporter};
pub use instruments::{Counter, FloatCounter, Gauge, Held, Histogram, Instrument, SECONDS};
pub use labelled::{Labelled, MAX_SERIES, OVERFLOW};
pub use names::MAX_VALUE;
pub use negotiation::{Escaping, TextFormat};
pub use reading::{Family, HistogramValue, Labels, Number, Reading, Sample, Value};

use books::Books;
use collector::{Collectors, Entry, Failure, Owned, Read};
use exporter::Exports;
use instruments::{checked_bounds, sealed};
use labelled::{CellOf, Settings, Shown, Table};
use text::Page;

/// A registry. Cheap to clone; clones are the same registry.
///
/// What is wrong with a metric is an error when it is declared, and nothing that is counted later can break the page. The
/// same declaration twice gives the same metric, so that parts that don't know each other may count on one.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    families: RwLock<Families>,
    collectors: Collectors,
    exports: Exports,
    books: Arc<Books>,
    since: SystemTime,
    /// How long the latest page was, which the next is about.
    length: AtomicUsize,
}

#[derive(Debug, Default)]
struct Families {
    list: Vec<Arc<dyn Shown>>,
    /// The names of families and samples, with the family that has them.
    taken: HashMap<String, usize>,
}

/// What there is to say of a family beyond its declaration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits<'b> {
    /// How many series it has at most. Default [`MAX_SERIES`].
    pub max_series: usize,
    /// The bounds of a histogram's buckets, growing; what is above all of them has a bucket too. Default [`SECONDS`].
    pub bounds: &'b [f64],
}

impl Default for Limits<'_> {
    fn default() -> Self {
        Self { max_series: MAX_SERIES, bounds: &SECONDS }
    }
}

/// The body of a metrics page and the content type that it must be sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposition {
    /// For the `Content-Type` header. Prometheus 3 refuses a page without one.
    pub content_type: &'static str,
    /// The page.
    pub body: String,
}

impl Metrics {
    /// A registry with nothing in it but its own books.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, MetricError> {
        self.single(&Declaration::counter(name, help))
    }

    /// Declares a counter of what is not whole, such as seconds.
    pub fn float_counter(&self, name: &str, help: &str) -> Result<FloatCounter, MetricError> {
        self.single(&Declaration::counter(name, help))
    }

    /// Declares a gauge without labels.
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricError> {
        self.single(&Declaration::gauge(name, help))
    }

    /// Declares a histogram without labels, with bounds for [seconds](SECONDS).
    pub fn histogram(&self, name: &str, help: &str) -> Result<Histogram, MetricError> {
        self.single(&Declaration::histogram(name, help))
    }

    /// Declares counters by labels, of at most [`MAX_SERIES`] sets of values.
    pub fn counters<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> Result<Labelled<Counter, N>, MetricError> {
        self.family(&Declaration::counter(name, help).by(&labels), Limits::default())
    }

    /// Declares gauges by labels, of at most [`MAX_SERIES`] sets of values.
    pub fn gauges<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> Result<Labelled<Gauge, N>, MetricError> {
        self.family(&Declaration::gauge(name, help).by(&labels), Limits::default())
    }

    /// Declares histograms by labels, of at most [`MAX_SERIES`] sets of values, with bounds for [seconds](SECONDS).
    pub fn histograms<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
    ) -> Result<Labelled<Histogram, N>, MetricError> {
        self.family(&Declaration::histogram(name, help).by(&labels), Limits::default())
    }

    /// Declares an info: what is told by labels alone, such as a version.
    pub fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<(), MetricError> {
        let names: Vec<_> = labels.iter().map(|(label, _)| *label).collect();
        let values: Vec<_> = labels.iter().map(|(_, value)| names::cut(value)).collect();
        let table = self.table::<instruments::Always>(&Declaration::info(name, help).by(&names), Limits::default())?;
        table.series(&values);
        Ok(())
    }

    /// A gauge that is read when somebody looks. `read` runs as a [`Collector`] does: it may take a while, and when it
    /// panics the gauge is left out.
    pub fn gauge_from(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), MetricError> {
        let meta = Declaration::gauge(name, help).checked()?;
        let declaration = Owned { kind: Kind::Gauge, name: name.to_owned(), help: help.to_owned() };
        self.0.collectors.add(&meta.name, Box::new(Read { declaration, read }), Audience::Everyone)
    }

    /// Declares a family with everything that there is to say of it.
    ///
    /// ```
    /// use wellkept_telemetry::metrics::{Declaration, Histogram, Labelled, Limits, Metrics};
    ///
    /// const BASKETS: Declaration<'_> =
    ///     Declaration::histogram("basket_value_euros", "What baskets were worth, by country.").unit("euros").by(&["country"]);
    ///
    /// let metrics = Metrics::new();
    /// let limits = Limits { max_series: 50, bounds: &[10.0, 50.0, 100.0, 500.0] };
    /// let baskets: Labelled<Histogram, 1> = metrics.family(&BASKETS, limits)?;
    /// baskets.with(["at"]).observe(37.5);
    /// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
    /// ```
    pub fn family<I: Instrument, const N: usize>(
        &self,
        declaration: &Declaration<'_>,
        limits: Limits<'_>,
    ) -> Result<Labelled<I, N>, MetricError> {
        if declaration.labels.len() != N {
            return Err(MetricError::Labels(declaration.name.to_owned()));
        }
        self.table(declaration, limits).map(Labelled::on)
    }

    /// Adds a collector under a name of its own, which its failures are counted by.
    pub fn collector(&self, name: &str, collector: impl Collector, audience: Audience) -> Result<(), MetricError> {
        self.0.collectors.add(name, Box::new(collector), audience)
    }

    /// Shows a registry of the crate `prometheus-client` on the same page. What it says is checked at each scrape; if
    /// any of it breaks the page's rules, all of it is left out, as of a [`Collector`].
    pub fn mount(
        &self,
        name: &str,
        registry: prometheus_client::registry::Registry,
        audience: Audience,
    ) -> Result<(), MetricError> {
        self.0.collectors.add(name, Box::new(foreign::Foreign(registry)), audience)
    }

    /// All families that are declared now, of collectors too; those of mounted registries aside.
    pub fn declared(&self) -> Vec<Declared> {
        let own = self.families().list.iter().map(|family| Declared::of(&family.settings().meta)).collect::<Vec<_>>();
        let collected = self.0.collectors.declarations().into_iter().filter_map(|it| it.checked().ok());
        own.into_iter()
            .chain(books::OWN.iter().map(|own| Declared::of(own)))
            .chain(collected.map(|meta| Declared::of(&meta)))
            .collect()
    }

    /// The page, in the format that fits the request's `Accept` header best. Blocks while collectors run: for at most
    /// four seconds.
    pub fn page(&self, accept: Option<&str>, audience: Audience) -> Exposition {
        let format = TextFormat::negotiate(accept);
        Exposition { content_type: format.content_type(), body: self.text(format, audience) }
    }

    /// The page in this format, as [`page`](Self::page).
    pub fn text(&self, format: TextFormat, audience: Audience) -> String {
        let collected = self.0.collectors.run(audience, &self.0.books);
        // A little more than the latest: one that grows is not copied.
        let room = self.0.length.load(Ordering::Relaxed) + 1024;
        let mut page = Page::new(format != TextFormat::Prometheus, room + room / 16);
        for family in &self.families().list {
            family.write(&mut page);
        }
        for family in self.fitting(collected).iter().chain(&self.own()) {
            page.family(family);
        }
        let body = page.end();
        self.0.length.store(body.len(), Ordering::Relaxed);
        body
    }

    /// What all metrics say now, for an exporter. Blocks as [`page`](Self::page) does.
    pub fn read(&self, audience: Audience) -> Reading {
        let collected = self.0.collectors.run(audience, &self.0.books);
        let mut families: Vec<_> = self.families().list.iter().map(|family| family.reading()).collect();
        families.extend(self.fitting(collected));
        families.extend(self.own());
        Reading { at: SystemTime::now(), since: self.0.since, families }
    }

    /// The families of the collectors whose names all are nobody else's; the others are counted as failed.
    fn fitting(&self, collected: Vec<(Arc<Entry>, Vec<Family>)>) -> Vec<Family> {
        let (registered, mut fitting) = (self.families(), Vec::new());
        let mut taken: HashSet<String> = books::OWN.iter().flat_map(|own| own.names()).collect();
        for (entry, families) in collected {
            let names: Vec<_> = families.iter().flat_map(|family| family.meta.names()).collect();
            let mut own = HashSet::new();
            let is_taken = |name: &&String| {
                registered.taken.contains_key(*name) || taken.contains(*name) || !own.insert((*name).clone())
            };
            if let Some(name) = names.iter().find(is_taken) {
                tracing::warn!(target: "wellkept::metrics", collector = entry.name, name, "a collector's figures are left out: the name is taken");
                entry.count(Failure::Collision);
                continue;
            }
            taken.extend(names);
            fitting.extend(families);
        }
        fitting
    }

    /// What the registry says of itself.
    fn own(&self) -> Vec<Family> {
        // They are constants, and a test reads them.
        let [of_overflow, of_failures, of_exports, of_exemplars, of_values] = books::OWN.as_slice() else {
            return Vec::new();
        };
        let mut readings = Readings::default();
        let books = &self.0.books;
        let overflowed = self.families();
        let overflowed = overflowed.list.iter().filter(|family| family.overflowed() > 0);
        let overflowed: Vec<_> =
            overflowed.map(|family| (Arc::clone(&family.settings().meta.name), family.overflowed())).collect();
        readings.known(of_overflow).samples(overflowed.iter().map(|(name, count)| ([&**name], *count)));
        let entries = self.0.collectors.all();
        let failures = entries.iter().flat_map(|entry| {
            entry.failures().map(|(failure, count)| ([entry.name.as_str(), failure.as_str()], count))
        });
        readings.known(of_failures).samples(failures);
        let exports = self.0.exports.all().clone();
        let fates = exports
            .iter()
            .flat_map(|export| export.fates().map(|(fate, count)| ([export.name.as_str(), fate.as_str()], count)));
        readings.known(of_exports).samples(fates);
        readings.known(of_exemplars).sample([], books.exemplars_dropped.0.load(Ordering::Relaxed));
        readings.known(of_values).sample([], books.values_refused());
        readings.end().unwrap_or_default()
    }

    fn single<I: Instrument>(&self, declaration: &Declaration<'_>) -> Result<I, MetricError> {
        self.table(declaration, Limits::default())
            .map(|table: Arc<Table<CellOf<I>>>| sealed::Instrument::on(table.series(&[])))
    }

    fn table<C: instruments::Cell>(
        &self,
        declaration: &Declaration<'_>,
        limits: Limits<'_>,
    ) -> Result<Arc<Table<C>>, MetricError> {
        let meta = Declaration { kind: C::KIND, ..*declaration }.checked()?;
        if declaration.kind != C::KIND {
            return Err(MetricError::DeclaredOtherwise(meta.name.to_string()));
        }
        let is_histogram = C::KIND == Kind::Histogram;
        let bounds = if is_histogram { checked_bounds(&meta.name, limits.bounds)? } else { [].into() };
        let mut families = self.0.families.write().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = meta.names().collect();
        let there = names.iter().find_map(|name| families.taken.get(name)).and_then(|at| families.list.get(*at));
        if let Some(there) = there {
            let Settings { meta: other, bounds: theirs, max_series, .. } = there.settings();
            if other.name != meta.name {
                return Err(MetricError::Collision { name: meta.name.to_string(), other: other.name.to_string() });
            }
            let is_same = **other == meta && *theirs == bounds && *max_series == limits.max_series;
            let any: Arc<dyn Any + Send + Sync> = Arc::<dyn Shown>::clone(there);
            return any
                .downcast()
                .ok()
                .filter(|_| is_same)
                .ok_or_else(|| MetricError::DeclaredOtherwise(meta.name.to_string()));
        }
        if let Some(own) = books::OWN.iter().find(|own| own.names().any(|name| names.contains(&name))) {
            return Err(MetricError::Collision { name: meta.name.to_string(), other: own.name.to_string() });
        }
        if families.list.len() >= MAX_FAMILIES {
            return Err(MetricError::TooMany);
        }
        let les = bounds.iter().copied().chain([f64::INFINITY]).map(|bound| names::bound(bound).into()).collect();
        let settings = Settings { meta: Arc::new(meta), bounds, les, max_series: limits.max_series };
        let table = Arc::new(Table::new(settings, Arc::clone(&self.0.books)));
        let at = families.list.len();
        families.taken.extend(names.into_iter().map(|name| (name, at)));
        families.list.push(Arc::<Table<C>>::clone(&table));
        Ok(table)
    }

    fn families(&self) -> RwLockReadGuard<'_, Families> {
        self.0.families.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            families: RwLock::default(),
            collectors: Collectors::default(),
            exports: Exports::default(),
            books: Arc::default(),
            since: SystemTime::now(),
            length: AtomicUsize::new(0),
        }
    }
}

/// A family that is declared, for a reference page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declared {
    /// As its samples begin: a counter's with `_total`.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Its unit.
    pub unit: Option<String>,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// What it says.
    pub help: String,
}

impl Declared {
    fn of(meta: &declaration::Meta) -> Self {
        Self {
            name: format!("{}{}", meta.name, meta.kind.suffix()),
            kind: meta.kind,
            unit: meta.unit.as_deref().map(str::to_owned),
            labels: meta.labels.iter().map(ToString::to_string).collect(),
            help: meta.help.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
