//! Collectors: figures of other parts, read when somebody looks. Each runs on a thread that nobody has to wait for, so
//! that one that panics, hangs or says nonsense is left out, and the page is there all the same.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::books::Books;
use super::declaration::{Declaration, Kind, Meta, MetricError};
use super::exemplar::Exemplar;
use super::reading::{Family, HistogramValue, Labels, Number, Sample, Value};

/// How long one collector may take.
pub const COLLECTOR_LIMIT: Duration = Duration::from_secs(1);
/// How long all together may take.
const ALL_LIMIT: Duration = Duration::from_secs(4);

/// Reads figures when somebody looks: those of a part that counts by itself, or of the system.
///
/// It runs on a thread of its own, may block, and has a second; one that takes longer, panics or breaks the rules of
/// [`Readings`] is left off the page, which says so in `wellkept_metrics_collector_failures_total`. It is never run
/// twice at the same time.
///
/// ```
/// use wellkept_telemetry::metrics::{Audience, Collector, Declaration, Metrics, Readings};
///
/// const QUEUED: Declaration<'_> = Declaration::gauge("jobs_queued", "Jobs that wait, by queue.").by(&["queue"]);
///
/// #[derive(Debug)]
/// struct Queues;
///
/// impl Collector for Queues {
///     fn declarations(&self) -> Vec<Declaration<'static>> {
///         vec![QUEUED]
///     }
///
///     fn collect(&self, readings: &mut Readings) {
///         readings.family(&QUEUED).sample(["mails"], 3.0).sample(["reports"], 0.0);
///     }
/// }
///
/// let metrics = Metrics::new();
/// metrics.collector("queues", Queues, Audience::Everyone)?;
/// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
/// ```
pub trait Collector: Send + Sync + 'static {
    /// All families that it may ever give, for the reference page.
    fn declarations(&self) -> Vec<Declaration<'static>>;

    /// Gives the figures as they are now.
    fn collect(&self, readings: &mut Readings);
}

/// Who may see what a collector gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audience {
    /// Whoever may read the page.
    #[default]
    Everyone,
    /// Those who may see details: what names components.
    Operators,
}

/// Where a collector puts what it has read. The first family or sample that breaks a rule (a name that is none, another
/// number of values than labels, the same labels twice, a counter below zero) ends it: all that the collector gave is
/// then left out.
#[derive(Debug, Default)]
pub struct Readings {
    families: Vec<Family>,
    fault: Option<Fault>,
    /// Of foreign registries.
    pub(super) exemplars_dropped: u64,
}

/// What was wrong with a collector's figures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error("`{0}` is given twice")]
    Twice(String),
    #[error("a sample of `{0}` is given twice")]
    SampleTwice(String),
    #[error("`{0}` has a value that it can't have")]
    Value(String),
    #[error("what a foreign registry wrote can't be read: {0}")]
    Foreign(String),
}

/// A family that a collector fills.
#[derive(Debug)]
pub struct FamilyReadings<'r> {
    readings: &'r mut Readings,
    /// `None` after a fault.
    family: Option<Family>,
    seen: hashbrown::HashSet<Labels>,
}

impl Readings {
    /// Begins a family. What it holds is there when the returned value is dropped. One without samples is shown too.
    pub fn family(&mut self, declaration: &Declaration<'_>) -> FamilyReadings<'_> {
        self.begin(declaration.checked().map(Arc::new))
    }

    /// A family without labels: one value.
    pub fn value(&mut self, declaration: &Declaration<'_>, value: impl Into<Number>) {
        self.family(declaration).sample([], value);
    }

    /// What one collector gives now, or what is wrong with it: for its tests.
    pub fn of(collector: &impl Collector) -> Result<Vec<Family>, String> {
        let mut readings = Self::default();
        collector.collect(&mut readings);
        readings.end().map_err(|fault| fault.to_string())
    }

    pub(super) fn foreign(&mut self, declaration: &Declaration<'_>) -> FamilyReadings<'_> {
        self.begin(declaration.tolerated().map(Arc::new))
    }

    /// A family whose declaration has been checked.
    pub(super) fn known(&mut self, meta: &Arc<Meta>) -> FamilyReadings<'_> {
        self.begin(Ok(Arc::clone(meta)))
    }

    pub(super) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    pub(super) fn end(self) -> Result<Vec<Family>, Fault> {
        self.fault.map_or(Ok(self.families), Err)
    }

    fn begin(&mut self, meta: Result<Arc<Meta>, MetricError>) -> FamilyReadings<'_> {
        let family = match meta {
            Ok(meta) if self.families.iter().any(|family| family.meta.name == meta.name) => {
                self.fail(Fault::Twice(meta.name.to_string()));
                None
            }
            Ok(meta) => Some(Family { meta, samples: Vec::new() }),
            Err(error) => {
                self.fail(error.into());
                None
            }
        };
        FamilyReadings { readings: self, family, seen: hashbrown::HashSet::new() }
    }
}

impl FamilyReadings<'_> {
    /// One more sample: the values of the labels in the order of the declaration, and the number.
    pub fn sample<const N: usize>(&mut self, values: [&str; N], number: impl Into<Number>) -> &mut Self {
        self.number(&values, number.into(), None)
    }

    /// As [`sample`](Self::sample), for each of these.
    pub fn samples<'v, const N: usize, V: Into<Number>>(
        &mut self,
        samples: impl IntoIterator<Item = ([&'v str; N], V)>,
    ) -> &mut Self {
        samples.into_iter().fold(self, |family, (values, number)| family.sample(values, number))
    }

    /// One more histogram: `bounds` grow and have no infinite one; `counts` are of each bucket alone, and one more than
    /// the bounds.
    pub fn histogram<const N: usize>(
        &mut self,
        values: [&str; N],
        bounds: &Arc<[f64]>,
        counts: impl IntoIterator<Item = u64>,
        sum: f64,
    ) -> &mut Self {
        let counts: Vec<u64> = counts.into_iter().collect();
        let value = HistogramValue { bounds: Arc::clone(bounds), counts, sum, exemplars: Vec::new() };
        self.add(&values, Value::Histogram(value))
    }

    fn number(&mut self, values: &[&str], number: Number, exemplar: Option<Exemplar>) -> &mut Self {
        self.add(values, Value::Number(number, exemplar))
    }

    fn add(&mut self, values: &[&str], value: Value) -> &mut Self {
        let Some(family) = &mut self.family else { return self };
        let meta = &family.meta;
        let fault = if values.len() != meta.labels.len() {
            Some(MetricError::Labels(meta.name.to_string()).into())
        } else if is_possible(meta.kind, &value) {
            let names = meta.labels.iter().map(|label| &**label);
            let labels = Labels::new(names.zip(values.iter().copied()));
            let is_new = self.seen.insert(labels.clone());
            let twice = (!is_new).then(|| Fault::SampleTwice(meta.name.to_string()));
            family.samples.push(Sample { labels, value });
            twice
        } else {
            Some(Fault::Value(meta.name.to_string()))
        };
        if let Some(fault) = fault {
            self.readings.fail(fault);
            self.family = None;
        }
        self
    }

    /// One more sample with labels that differ from sample to sample: of a foreign registry.
    pub(super) fn add_labelled(&mut self, labels: Labels, value: Value) -> &mut Self {
        let Some(family) = &mut self.family else { return self };
        if !is_possible(family.meta.kind, &value) {
            self.readings.fail(Fault::Value(family.meta.name.to_string()));
        } else if self.seen.insert(labels.clone()) {
            family.samples.push(Sample { labels, value });
        } else {
            self.readings.fail(Fault::SampleTwice(family.meta.name.to_string()));
        }
        self
    }
}

impl Drop for FamilyReadings<'_> {
    fn drop(&mut self) {
        self.readings.families.extend(self.family.take());
    }
}

/// Whether a family of this type may have this value.
fn is_possible(kind: Kind, value: &Value) -> bool {
    match (kind, value) {
        // Not a number either, which is not at least zero.
        (Kind::Counter, Value::Number(number, _)) => number.as_f64() >= 0.0,
        (Kind::Gauge | Kind::Unknown, Value::Number(..)) => true,
        (Kind::Info, Value::Number(number, _)) => number.as_f64().to_bits() == 1.0_f64.to_bits(),
        (Kind::Histogram, Value::Histogram(value)) => {
            let HistogramValue { bounds, counts, sum, .. } = value;
            let grow = bounds.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
            counts.len() == bounds.len() + 1 && grow && bounds.iter().all(|bound| bound.is_finite()) && !sum.is_nan()
        }
        _ => false,
    }
}

/// The collectors of one registry.
#[derive(Default)]
pub(super) struct Collectors(Mutex<Vec<Arc<Entry>>>);

/// A collector and its books.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) audience: Audience,
    collector: Box<dyn Collector>,
    /// Since when it runs, where it does.
    running: Mutex<Option<Instant>>,
    ended: Condvar,
    failures: [AtomicU64; Failure::ALL.len()],
}

/// Why a collector's figures are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Panic,
    Timeout,
    /// It still runs since a scrape before, and has for longer than it may.
    Busy,
    Invalid,
    /// A family of that name is on the page already.
    Collision,
    /// There is no thread for it.
    Thread,
    /// The time for all was over before its turn: it was not run.
    Skipped,
}

impl Failure {
    pub(super) const ALL: [Self; 7] =
        [Self::Panic, Self::Timeout, Self::Busy, Self::Invalid, Self::Collision, Self::Thread, Self::Skipped];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Invalid => "invalid",
            Self::Collision => "collision",
            Self::Thread => "thread",
            Self::Skipped => "skipped",
        }
    }
}

impl Collectors {
    pub(super) fn add(&self, name: &str, collector: Box<dyn Collector>, audience: Audience) -> Result<(), MetricError> {
        let mut entries = self.entries();
        if entries.iter().any(|entry| entry.name == name) {
            return Err(MetricError::NameTaken(name.to_owned()));
        }
        let (running, ended, failures) = (Mutex::new(None), Condvar::new(), Default::default());
        entries.push(Arc::new(Entry { name: name.to_owned(), audience, collector, running, ended, failures }));
        Ok(())
    }

    /// All families that they may give.
    pub(super) fn declarations(&self) -> Vec<Declaration<'static>> {
        self.all().iter().flat_map(|entry| entry.collector.declarations()).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.entries().clone()
    }

    /// Runs those that this audience may see. Takes four seconds at most.
    pub(super) fn run(&self, audience: Audience, books: &Arc<Books>) -> Vec<(Arc<Entry>, Vec<Family>)> {
        self.run_until(Instant::now() + ALL_LIMIT, audience, books)
    }

    fn run_until(&self, end: Instant, audience: Audience, books: &Arc<Books>) -> Vec<(Arc<Entry>, Vec<Family>)> {
        let mut waiting: Vec<_> = self.all();
        waiting.retain(|entry| entry.audience == Audience::Everyone || audience == Audience::Operators);
        let mut done = Vec::new();
        while !waiting.is_empty() && time_left(end).is_some() {
            waiting = round(waiting, end, &mut done, books);
        }
        for entry in &waiting {
            entry.count(Failure::Skipped);
        }
        done
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left until then, where there is anything.
fn time_left(end: Instant) -> Option<Duration> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// Runs them one after the other on one thread, until all are done, one takes too long or the end has come: gives those
/// that come after it. The thread of that one ends when it does.
fn round(
    entries: Vec<Arc<Entry>>,
    end: Instant,
    done: &mut Vec<(Arc<Entry>, Vec<Family>)>,
    books: &Arc<Books>,
) -> Vec<Arc<Entry>> {
    let (results, of_thread) = mpsc::sync_channel(0);
    let all = entries.clone();
    // Collectors may ask the runtime for its figures and its time.
    let runtime = tokio::runtime::Handle::try_current().ok();
    let books = Arc::clone(books);
    let run_all = move || {
        let _entered = runtime.as_ref().map(tokio::runtime::Handle::enter);
        for entry in all {
            // Nobody listens once one of them took too long.
            if results.send(entry.run(&books)).is_err() {
                return;
            }
        }
    };
    if std::thread::Builder::new().name("wk-metrics".to_owned()).spawn(run_all).is_err() {
        for entry in &entries {
            entry.count(Failure::Thread);
        }
        return Vec::new();
    }
    let mut entries = entries.into_iter();
    while let Some(left) = time_left(end)
        && let Some(entry) = entries.next()
    {
        match of_thread.recv_timeout(left.min(COLLECTOR_LIMIT)) {
            Ok(Ok(families)) => done.push((entry, families)),
            Ok(Err(failure)) => entry.count(failure),
            Err(RecvTimeoutError::Timeout) => {
                entry.count(Failure::Timeout);
                tracing::warn!(target: "wellkept::metrics", collector = entry.name, "a collector takes too long and is left out");
                break;
            }
            Err(RecvTimeoutError::Disconnected) => entry.count(Failure::Panic),
        }
    }
    entries.collect()
}

impl Entry {
    fn run(&self, books: &Books) -> Result<Vec<Family>, Failure> {
        self.begin()?;
        let collected = catch_unwind(AssertUnwindSafe(|| {
            let mut readings = Readings::default();
            self.collector.collect(&mut readings);
            books.exemplars_dropped.0.fetch_add(readings.exemplars_dropped, Ordering::Relaxed);
            readings.end()
        }));
        *self.running() = None;
        self.ended.notify_one();
        match collected {
            Ok(Ok(families)) => Ok(families),
            Ok(Err(fault)) => {
                tracing::warn!(target: "wellkept::metrics", collector = self.name, %fault, "a collector's figures are left out");
                Err(Failure::Invalid)
            }
            Err(_) => {
                tracing::error!(target: "wellkept::metrics", collector = self.name, "a collector has panicked");
                Err(Failure::Panic)
            }
        }
    }

    /// Waits for the run of another reader, who asks at the same time; one that takes too long is not waited for.
    fn begin(&self) -> Result<(), Failure> {
        let mut running = self.running();
        while let Some(since) = *running {
            let left = COLLECTOR_LIMIT.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(Failure::Busy);
            }
            running = self.ended.wait_timeout(running, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *running = Some(Instant::now());
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Option<Instant>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, failure: Failure) {
        self.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it failed, for each reason that there was.
    pub(super) fn failures(&self) -> impl Iterator<Item = (Failure, u64)> + '_ {
        let counted = |failure: Failure| (failure, self.failures[failure as usize].load(Ordering::Relaxed));
        Failure::ALL.into_iter().map(counted).filter(|(_, count)| *count > 0)
    }
}

impl fmt::Debug for Collectors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.entries().iter().map(|entry| &entry.name)).finish()
    }
}

/// One number that is read when somebody looks.
pub(super) struct Read<F> {
    pub(super) declaration: Owned,
    pub(super) read: F,
}

/// A declaration without labels that owns its texts.
pub(super) struct Owned {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) help: String,
}

impl<F: Fn() -> f64 + Send + Sync + 'static> Collector for Read<F> {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        // Of the application's own, which no page of ours lists.
        Vec::new()
    }

    fn collect(&self, readings: &mut Readings) {
        let Owned { kind, name, help } = &self.declaration;
        let declaration = match kind {
            Kind::Counter => Declaration::counter(name, help),
            _ => Declaration::gauge(name, help),
        };
        readings.value(&declaration, (self.read)());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_collector_whose_turn_comes_after_the_time_for_all_is_not_run_and_told_as_skipped() {
        let (collectors, was_run) = (Collectors::default(), Arc::new(AtomicBool::new(false)));
        let (kind, name, help) = (Kind::Gauge, "late".to_owned(), String::new());
        let seen = Arc::clone(&was_run);
        let read = move || {
            seen.store(true, Ordering::Relaxed);
            1.0
        };
        let late = Read { declaration: Owned { kind, name, help }, read };
        collectors.add("late", Box::new(late), Audience::Everyone).unwrap();
        let books = Arc::default();
        assert!(collectors.run_until(Instant::now(), Audience::Everyone, &books).is_empty());
        let failures: Vec<_> = collectors.all()[0].failures().collect();
        assert_eq!(failures, [(Failure::Skipped, 1)]);
        assert!(!was_run.load(Ordering::Relaxed));
        assert_eq!(collectors.run(Audience::Everyone, &books).len(), 1);
    }
}
