//! The way of the metrics to wherever an application wants them: each exporter on a thread of its own. Nothing waits in a
//! queue, for each time it gets what is so at that moment.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::collector::Audience;
use super::declaration::MetricError;
use super::reading::Reading;
use super::{Inner, Metrics};

/// Most exporters of one registry, each of which has a thread.
pub const MAX_EXPORTERS: usize = 16;

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Something that takes the metrics out of this process: to a `StatsD` server, into a file, a message queue.
///
/// It is called on a thread of its own and may block, best for no longer than until `deadline`. While it does, nothing
/// piles up: what it missed is counted as skipped, and the next reading has all that was counted meanwhile. An error or a
/// panic is counted and logged when it begins. Nothing of it delays who counts or who reads.
///
/// ```
/// use std::io::Write;
/// use std::time::Instant;
/// use wellkept_telemetry::metrics::{Metrics, MetricsExportError, MetricsExportSettings, MetricsExporter, Reading};
///
/// /// Writes one line for each number.
/// struct Lines<W>(W);
///
/// impl<W: Write + Send + 'static> MetricsExporter for Lines<W> {
///     fn export(&mut self, reading: &Reading, _deadline: Instant) -> Result<(), MetricsExportError> {
///         for family in &reading.families {
///             for sample in &family.samples {
///                 if let Some(number) = sample.value.number() {
///                     writeln!(self.0, "{} {:?} {number}", family.name(), sample.labels)?;
///                 }
///             }
///         }
///         Ok(self.0.flush()?)
///     }
/// }
///
/// let metrics = Metrics::new();
/// metrics.export("lines", Lines(std::io::sink()), MetricsExportSettings::default())?;
/// # assert!(metrics.flush_exports(std::time::Duration::from_secs(10)));
/// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
/// ```
pub trait MetricsExporter: Send + 'static {
    /// Takes what all metrics say now. What it has not done by `deadline` comes too late.
    fn export(&mut self, reading: &Reading, deadline: Instant) -> Result<(), MetricsExportError>;
}

/// Why an exporter could not do as asked. Logged for operators when it begins to fail.
pub type MetricsExportError = Box<dyn std::error::Error + Send + Sync>;

/// How an exporter is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsExportSettings {
    /// From one export to the next. From 10 ms to 24 h, default 10 s.
    pub every: Duration,
    /// How long one may take. From 10 ms to 24 h, default 5 s.
    pub deadline: Duration,
}

impl Default for MetricsExportSettings {
    fn default() -> Self {
        Self { every: Duration::from_secs(10), deadline: Duration::from_secs(5) }
    }
}

impl Metrics {
    /// Has `exporter` take the metrics from now on, on a thread of its own that ends with the registry. There may be
    /// [`MAX_EXPORTERS`] of them.
    pub fn export(
        &self,
        name: &str,
        exporter: impl MetricsExporter,
        settings: MetricsExportSettings,
    ) -> Result<(), MetricError> {
        let mut exports = self.0.exports.all();
        if exports.iter().any(|export| export.name == name) {
            return Err(MetricError::NameTaken(name.to_owned()));
        }
        if exports.len() >= MAX_EXPORTERS {
            return Err(MetricError::TooMany);
        }
        let (flush, flushes) = sync_channel(1);
        let export = Arc::new(Export { name: name.to_owned(), flush, fates: Default::default() });
        let worker = Worker {
            exporter,
            fates: Arc::downgrade(&export),
            inner: Arc::downgrade(&self.0),
            every: settings.every.clamp(SHORTEST, LONGEST),
            deadline: settings.deadline.clamp(SHORTEST, LONGEST),
            is_failing: false,
        };
        std::thread::Builder::new()
            .name("wk-export".to_owned())
            .spawn(move || worker.run(&flushes))
            .map_err(|_| MetricError::Thread(name.to_owned()))?;
        exports.push(export);
        Ok(())
    }

    /// Has each exporter take the metrics once more, for the last time before the process ends. Blocks until all have, or
    /// until `wait` is over, whatever an exporter does; whether all have.
    pub fn flush_exports(&self, wait: Duration) -> bool {
        let end = Instant::now() + wait.min(LONGEST);
        let exports = self.0.exports.all().clone();
        let asked = exports.iter().map(|export| {
            let (done, told) = sync_channel(1);
            // One that still has another flush before it does not take part: that one is as good.
            export.flush.try_send(done).ok().map(|()| told)
        });
        let asked: Vec<_> = asked.collect();
        let told = |told: Option<Receiver<Fate>>| {
            told?.recv_timeout(end.saturating_duration_since(Instant::now())).ok().filter(|fate| *fate == Fate::Taken)
        };
        // Each is waited for, also after one that failed.
        let fates: Vec<_> = asked.into_iter().map(told).collect();
        fates.iter().all(Option::is_some)
    }
}

/// The exporters of one registry.
#[derive(Default)]
pub(super) struct Exports(Mutex<Vec<Arc<Export>>>);

/// An exporter's books, and the way to ask it for a flush.
pub(super) struct Export {
    pub(super) name: String,
    flush: SyncSender<SyncSender<Fate>>,
    fates: [AtomicU64; Fate::ALL.len()],
}

/// What became of one export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Taken,
    Failed,
    /// It was due while the one before still went on.
    Skipped,
}

impl Fate {
    pub(super) const ALL: [Self; 3] = [Self::Taken, Self::Failed, Self::Skipped];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl Exports {
    pub(super) fn all(&self) -> MutexGuard<'_, Vec<Arc<Export>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Export {
    pub(super) fn fates(&self) -> impl Iterator<Item = (Fate, u64)> + '_ {
        Fate::ALL.into_iter().map(|fate| (fate, self.fates[fate as usize].load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for Exports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.all().iter().map(|export| &export.name)).finish()
    }
}

/// An exporter on its thread.
struct Worker<E> {
    exporter: E,
    fates: Weak<Export>,
    inner: Weak<Inner>,
    every: Duration,
    deadline: Duration,
    is_failing: bool,
}

impl<E: MetricsExporter> Worker<E> {
    fn run(mut self, flushes: &Receiver<SyncSender<Fate>>) {
        let mut next = Instant::now() + self.every;
        loop {
            let flush = match flushes.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(done) => Some(done),
                Err(RecvTimeoutError::Timeout) => None,
                // The registry is gone.
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(fate) = self.export() else { return };
            if let Some(done) = flush {
                // Nobody may wait any more.
                let _ = done.try_send(fate);
                continue;
            }
            next += self.every;
            while next <= Instant::now() {
                next += self.every;
                self.count(Fate::Skipped);
            }
        }
    }

    /// `None` when the registry is gone.
    fn export(&mut self) -> Option<Fate> {
        let reading = Metrics(self.inner.upgrade()?).read(Audience::Operators);
        let deadline = Instant::now() + self.deadline;
        let name = self.fates.upgrade().map(|export| export.name.clone()).unwrap_or_default();
        let fate = match catch_unwind(AssertUnwindSafe(|| self.exporter.export(&reading, deadline))) {
            Ok(Ok(())) => {
                if self.is_failing {
                    tracing::info!(target: "wellkept::metrics", exporter = name, "metrics are exported again");
                }
                Fate::Taken
            }
            Ok(Err(error)) => {
                if !self.is_failing {
                    tracing::warn!(target: "wellkept::metrics", exporter = name, %error, "metrics can't be exported");
                }
                Fate::Failed
            }
            Err(_) => {
                if !self.is_failing {
                    tracing::error!(target: "wellkept::metrics", exporter = name, "an exporter of metrics panics");
                }
                Fate::Failed
            }
        };
        self.is_failing = fate == Fate::Failed;
        self.count(fate);
        Some(fate)
    }

    fn count(&self, fate: Fate) {
        if let Some(export) = self.fates.upgrade() {
            export.fates[fate as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Sends what a counter says, or does as it is told instead.
    struct Told {
        values: Sender<f64>,
        instead: Option<fn() -> Result<(), MetricsExportError>>,
    }

    impl MetricsExporter for Told {
        fn export(&mut self, reading: &Reading, _: Instant) -> Result<(), MetricsExportError> {
            let value = reading.family("orders").and_then(|family| family.sample(&[])?.value.number());
            self.values.send(value.unwrap())?;
            self.instead.map_or(Ok(()), |instead| instead())
        }
    }

    fn often() -> MetricsExportSettings {
        MetricsExportSettings { every: Duration::from_millis(10), ..MetricsExportSettings::default() }
    }

    fn page(metrics: &Metrics) -> String {
        metrics.page(None, Audience::Everyone).body
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn an_exporter_gets_what_is_so_at_the_moment_again_and_again_and_at_the_flush() {
        let metrics = Metrics::new();
        let orders = metrics.counter("orders", "").unwrap();
        let (values, got) = channel();
        let seldom = MetricsExportSettings { every: LONGEST, ..often() };
        metrics.export("often", Told { values, instead: None }, often()).unwrap();
        for count in 1..4 {
            orders.inc();
            while got.recv_timeout(PATIENCE).unwrap().total_cmp(&f64::from(count)).is_ne() {}
        }
        let (values, last) = channel();
        metrics.export("seldom", Told { values: values.clone(), instead: None }, seldom).unwrap();
        assert!(metrics.flush_exports(PATIENCE));
        assert_eq!(last.try_iter().collect::<Vec<_>>(), [3.0]);
        let twice = metrics.export("seldom", Told { values, instead: None }, seldom);
        assert_eq!(twice.unwrap_err().code(), "metrics.name_taken");
        assert!(page(&metrics).contains("wellkept_metrics_exports_total{exporter=\"seldom\",fate=\"taken\"} 1\n"));
        drop(metrics);
        assert!(last.recv_timeout(PATIENCE).is_err(), "the thread ends with the registry");
    }

    #[test]
    fn one_that_fails_or_panics_is_counted_and_goes_on_and_one_that_hangs_holds_up_no_flush() {
        let metrics = Metrics::new();
        metrics.counter("orders", "").unwrap();
        for (name, instead) in [("fails", (|| Err("no".into())) as fn() -> _), ("panics", || panic!("on purpose"))] {
            let (values, got) = channel();
            metrics.export(name, Told { values, instead: Some(instead) }, often()).unwrap();
            // It is called again after the first time.
            assert!((0..2).all(|_| got.recv_timeout(PATIENCE).is_ok()), "{name}");
            let failed = format!("wellkept_metrics_exports_total{{exporter=\"{name}\",fate=\"failed\"}} 0\n");
            assert!(!page(&metrics).contains(&failed), "{name}");
        }
        let (values, got) = channel();
        let hangs = || {
            std::thread::park();
            Ok(())
        };
        metrics.export("hangs", Told { values, instead: Some(hangs) }, often()).unwrap();
        got.recv_timeout(PATIENCE).unwrap();
        let begun = Instant::now();
        assert!(!metrics.flush_exports(Duration::from_millis(50)));
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }
}
