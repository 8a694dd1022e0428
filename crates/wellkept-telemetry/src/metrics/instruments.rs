//! What an application holds and counts on: counters, gauges, histograms. A held handle is one atomic away from its value.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::declaration::{Kind, MetricError};
use super::exemplar::{Slot, Trace};
use super::labelled::{Series, Settings};
use super::reading::{HistogramValue, Number, Value};
use super::text::Page;

/// Bounds for what takes time, in seconds: from half a millisecond to ten seconds, as most requests do.
pub const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Most bounds of one histogram.
const MAX_BOUNDS: usize = 200;

/// A handle that counts on one series. Clones count on the same one.
pub trait Instrument: Clone + fmt::Debug + Send + Sync + 'static + sealed::Instrument {}

pub(super) mod sealed {
    use std::sync::Arc;

    use super::{Cell, Series};

    /// How a handle stands on its series.
    pub trait Instrument {
        /// What the handle counts on.
        type Cell: Cell;
        /// A handle on this one.
        fn on(series: Arc<Series<Self::Cell>>) -> Self;
    }
}

/// The value of a series.
pub trait Cell: fmt::Debug + Send + Sync + 'static {
    /// The type of its family.
    const KIND: Kind;
    /// At the beginning.
    fn new(settings: &Settings) -> Self;
    /// What it says now.
    fn read(&self, settings: &Settings) -> Value;
    /// Writes the series to a page. `line` is the name with the labels and a blank; a histogram has the labels alone.
    fn write(&self, line: &str, settings: &Settings, page: &mut Page);
}

/// Counts whole things, one by one or some at a time. Wraps around after 2^64.
///
/// ```
/// let metrics = wellkept_telemetry::metrics::Metrics::new();
/// let created = metrics.counter("clients_created", "Clients created.")?;
/// created.inc();
/// created.add(2);
/// assert_eq!(created.value(), 3);
/// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
/// ```
#[derive(Clone)]
pub struct Counter(Arc<Series<Whole>>);

/// Counts what is not whole: seconds, euros.
#[derive(Clone)]
pub struct FloatCounter(Arc<Series<Growing>>);

/// Goes up and down.
#[derive(Clone)]
pub struct Gauge(Arc<Series<Level>>);

/// Counts values by how large they are.
#[derive(Clone)]
pub struct Histogram(Arc<Series<Buckets>>);

/// One thing that a gauge counts, until it is dropped.
#[derive(Debug)]
#[must_use = "the gauge goes down when this is dropped"]
pub struct Held(Gauge);

impl Counter {
    /// One more.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.cell.0.fetch_add(more, Ordering::Relaxed);
    }

    /// So many more, with an example of which they were: `trace` is most often [`Trace::current`].
    pub fn add_traced(&self, more: u64, trace: Option<Trace<'_>>) {
        self.add(more);
        if let Some(trace) = trace {
            let slot = self.0.cell.1.get_or_init(Box::default);
            slot.keep(trace, more as f64, &self.0.books.exemplars_dropped);
        }
    }

    /// How many there were.
    pub fn value(&self) -> u64 {
        self.0.cell.0.load(Ordering::Relaxed)
    }
}

impl FloatCounter {
    /// So much more. What is negative or no number is not added, but counted in
    /// `wellkept_metrics_values_refused_total`.
    pub fn add(&self, more: f64) {
        if more.is_finite() && more >= 0.0 {
            add(&self.0.cell.0, more);
        } else {
            self.0.books.refuse();
        }
    }

    /// The time that something took, in seconds.
    pub fn add_duration(&self, time: Duration) {
        self.add(time.as_secs_f64());
    }

    /// How much it was.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.cell.0.load(Ordering::Relaxed))
    }
}

impl Gauge {
    /// Is this much now.
    pub fn set(&self, value: f64) {
        self.0.cell.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// One less.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// So much more; less, if it is negative.
    pub fn add(&self, more: f64) {
        add(&self.0.cell.0, more);
    }

    /// One more until the guard is dropped: for what is in flight.
    pub fn hold(&self) -> Held {
        self.inc();
        Held(self.clone())
    }

    /// How much it is.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.cell.0.load(Ordering::Relaxed))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Histogram {
    /// One more value. One that is negative, infinite or no number is not counted here, but in
    /// `wellkept_metrics_values_refused_total`: it would spoil the sum for good.
    #[inline]
    pub fn observe(&self, value: f64) {
        self.observe_traced(value, None);
    }

    /// The time that something took, in seconds.
    #[inline]
    pub fn observe_duration(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// One more value, with an example of whose it was: `trace` is most often [`Trace::current`].
    #[inline]
    pub fn observe_traced(&self, value: f64, trace: Option<Trace<'_>>) {
        let Buckets { bounds, counts, sum, exemplars } = &self.0.cell;
        if !value.is_finite() || value < 0.0 {
            self.0.books.refuse();
            return;
        }
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        let Some(count) = counts.get(bucket) else { return };
        count.fetch_add(1, Ordering::Relaxed);
        add(sum, value);
        if let Some(trace) = trace {
            let slots = exemplars.get_or_init(|| counts.iter().map(|_| Slot::default()).collect());
            if let Some(slot) = slots.get(bucket) {
                slot.keep(trace, value, &self.0.books.exemplars_dropped);
            }
        }
    }

    /// What was observed.
    pub fn value(&self) -> HistogramValue {
        self.0.cell.value()
    }
}

/// Whole numbers, and the latest example.
#[derive(Debug)]
pub struct Whole(AtomicU64, OnceLock<Box<Slot>>);

/// A float that grows.
#[derive(Debug)]
pub struct Growing(AtomicU64);

/// A float.
#[derive(Debug)]
pub struct Level(AtomicU64);

#[derive(Debug)]
pub struct Buckets {
    bounds: Arc<[f64]>,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    exemplars: OnceLock<Box<[Slot]>>,
}

impl Cell for Whole {
    const KIND: Kind = Kind::Counter;

    fn new(_: &Settings) -> Self {
        Self(AtomicU64::new(0), OnceLock::new())
    }

    fn read(&self, _: &Settings) -> Value {
        Value::Number(Number::Whole(self.0.load(Ordering::Relaxed)), self.1.get().and_then(|slot| slot.latest()))
    }

    fn write(&self, line: &str, _: &Settings, page: &mut Page) {
        let exemplar = self.1.get().and_then(|slot| slot.latest());
        page.number(line, Number::Whole(self.0.load(Ordering::Relaxed)), exemplar.as_ref());
    }
}

impl Cell for Growing {
    const KIND: Kind = Kind::Counter;

    fn new(_: &Settings) -> Self {
        Self(AtomicU64::new(0.0_f64.to_bits()))
    }

    fn read(&self, _: &Settings) -> Value {
        Value::Number(Number::Float(f64::from_bits(self.0.load(Ordering::Relaxed))), None)
    }

    fn write(&self, line: &str, _: &Settings, page: &mut Page) {
        page.number(line, Number::Float(f64::from_bits(self.0.load(Ordering::Relaxed))), None);
    }
}

impl Cell for Level {
    const KIND: Kind = Kind::Gauge;

    fn new(_: &Settings) -> Self {
        Self(AtomicU64::new(0.0_f64.to_bits()))
    }

    fn read(&self, _: &Settings) -> Value {
        Value::Number(Number::Float(f64::from_bits(self.0.load(Ordering::Relaxed))), None)
    }

    fn write(&self, line: &str, _: &Settings, page: &mut Page) {
        page.number(line, Number::Float(f64::from_bits(self.0.load(Ordering::Relaxed))), None);
    }
}

/// The value of an info.
#[derive(Debug)]
pub(super) struct Always;

impl Cell for Always {
    const KIND: Kind = Kind::Info;

    fn new(_: &Settings) -> Self {
        Self
    }

    fn read(&self, _: &Settings) -> Value {
        Value::Number(Number::Whole(1), None)
    }

    fn write(&self, line: &str, _: &Settings, page: &mut Page) {
        page.number(line, Number::Whole(1), None);
    }
}

impl Buckets {
    fn value(&self) -> HistogramValue {
        // The sum first: it then never has more in it than the buckets, but for what comes in between.
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let slots = self.exemplars.get().map(|slots| &**slots).unwrap_or_default();
        let exemplars = slots.iter().enumerate().filter_map(|(bucket, slot)| Some((bucket, slot.latest()?))).collect();
        HistogramValue { bounds: Arc::clone(&self.bounds), counts, sum, exemplars }
    }
}

impl Cell for Buckets {
    const KIND: Kind = Kind::Histogram;

    fn new(settings: &Settings) -> Self {
        Self {
            bounds: Arc::clone(&settings.bounds),
            counts: std::iter::repeat_with(AtomicU64::default).take(settings.bounds.len() + 1).collect(),
            sum: AtomicU64::new(0.0_f64.to_bits()),
            exemplars: OnceLock::new(),
        }
    }

    fn read(&self, _: &Settings) -> Value {
        Value::Histogram(self.value())
    }

    fn write(&self, labels: &str, settings: &Settings, page: &mut Page) {
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
        let slots = self.exemplars.get().map(|slots| &**slots).unwrap_or_default();
        let buckets = settings.les.iter().zip(&self.counts).enumerate().map(|(bucket, (le, count))| {
            (&**le, count.load(Ordering::Relaxed), slots.get(bucket).and_then(Slot::latest))
        });
        page.histogram(&settings.meta.name, labels, buckets, sum);
    }
}

/// Adds to a float in an atomic.
fn add(sum: &AtomicU64, more: f64) {
    let mut now = sum.load(Ordering::Relaxed);
    loop {
        let then = (f64::from_bits(now) + more).to_bits();
        match sum.compare_exchange_weak(now, then, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(newer) => now = newer,
        }
    }
}

/// Bounds that a histogram may have; a last infinite one is left out.
pub(super) fn checked_bounds(name: &str, bounds: &[f64]) -> Result<Arc<[f64]>, MetricError> {
    let bounds = bounds.strip_suffix(&[f64::INFINITY]).unwrap_or(bounds);
    let are_fine = bounds.iter().all(|bound| bound.is_finite() && *bound >= 0.0);
    let grow = bounds.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    if bounds.len() > MAX_BOUNDS || !are_fine || !grow {
        return Err(MetricError::Bounds(name.to_owned()));
    }
    Ok(bounds.into())
}

macro_rules! instruments {
    ($($handle:ident on $cell:ident),*) => {$(
        impl Instrument for $handle {}

        impl sealed::Instrument for $handle {
            type Cell = $cell;

            fn on(series: Arc<Series<$cell>>) -> Self {
                Self(series)
            }
        }

        impl fmt::Debug for $handle {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_tuple(stringify!($handle)).field(&self.0.labels).finish()
            }
        }
    )*};
}

instruments!(Counter on Whole, FloatCounter on Growing, Gauge on Level, Histogram on Buckets);
