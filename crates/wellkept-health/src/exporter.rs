//! The way of health to wherever an application wants it: each exporter on a thread of its own, behind a bounded queue.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::checker::{Checker, Shared};
use crate::history::StatusChange;
use crate::snapshot::Snapshot;

/// Why an exporter could not do as asked. Logged for operators when it begins to fail.
pub type ExporterError = Box<dyn std::error::Error + Send + Sync>;

/// Something that takes health out of this process: into a file, a message queue, a monitoring system.
///
/// It is called on a thread of its own and may block. While it does, changes wait in a bounded queue; past that they
/// are dropped and counted. An error or a panic is counted, logged when it begins, and the next call comes as if nothing
/// had happened. Nothing of it delays a check or a reader.
///
/// ```
/// use std::io::Write;
/// use wellkept_health::{Exporter, ExporterError, StatusChange};
///
/// /// Writes one line of JSON for each change.
/// struct JsonLines<W>(W);
///
/// impl<W: Write + Send + 'static> Exporter for JsonLines<W> {
///     fn change(&mut self, change: &StatusChange) -> Result<(), ExporterError> {
///         serde_json::to_writer(&mut self.0, change)?;
///         self.0.write_all(b"\n")?;
///         Ok(self.0.flush()?)
///     }
/// }
/// ```
pub trait Exporter: Send + 'static {
    /// The status of a component, or of the service as a whole, has changed.
    fn change(&mut self, change: &StatusChange) -> Result<(), ExporterError>;

    /// All components as they are now: every [`ExportSettings::every`], for what is sampled. Default: nothing.
    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<(), ExporterError> {
        let _ = snapshot;
        Ok(())
    }
}

/// How an exporter is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportSettings {
    /// Changes that may wait for it. From 1 to 65,536, default 1,024.
    pub queue: usize,
    /// From one snapshot to the next; `None` for no snapshots. From 10 ms to 24 h, default 10 s.
    pub every: Option<Duration>,
}

impl Default for ExportSettings {
    fn default() -> Self {
        Self { queue: 1024, every: Some(Duration::from_secs(10)) }
    }
}

/// Most exporters, each of which has a thread.
const MOST: usize = 16;
const LARGEST_QUEUE: usize = 65_536;
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Longest wait for a flush: what more is asked for is taken as this.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Checker {
    /// Hands changes and snapshots to `exporter` from now on, on a thread of its own that ends with the checker. There
    /// may be 16 of them.
    pub fn export(
        &self,
        name: impl Into<Arc<str>>,
        exporter: impl Exporter,
        settings: ExportSettings,
    ) -> Result<(), ExportError> {
        let name = name.into();
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return Err(ExportError::Name);
        }
        let every_fits = settings.every.is_none_or(|every| (SHORTEST..=LONGEST).contains(&every));
        if !(1..=LARGEST_QUEUE).contains(&settings.queue) || !every_fits {
            return Err(ExportError::Setting);
        }
        let mut ways = self.shared.exports.ways();
        if ways.iter().any(|way| way.books.name == name) {
            return Err(ExportError::Duplicate);
        }
        if ways.len() >= MOST {
            return Err(ExportError::TooMany);
        }
        let (queue, messages) = sync_channel(settings.queue);
        let books = Arc::new(Books::new(name));
        let worker = Worker {
            exporter: Box::new(exporter),
            books: Arc::clone(&books),
            checker: Arc::downgrade(&self.shared),
            every: settings.every,
            failing: false,
        };
        std::thread::Builder::new().name("wk-export".to_owned()).spawn(move || worker.run(&messages))?;
        ways.push(Way { queue, books });
        self.shared.exports.any.store(true, Ordering::Release);
        Ok(())
    }

    /// Hands nothing more to an exporter, which still gets what waits for it. Says whether there was one.
    pub fn stop_export(&self, name: &str) -> bool {
        let mut ways = self.shared.exports.ways();
        let before = ways.len();
        ways.retain(|way| &*way.books.name != name);
        ways.len() < before
    }

    /// Waits until every exporter has been handed what was told before, all together at most `wait` (an hour
    /// at most). Says whether they
    /// have. Blocks.
    pub fn flush_exports(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait.min(LONGEST_WAIT);
        let queues: Vec<_> = self.shared.exports.ways().iter().map(|way| way.queue.clone()).collect();
        let answers: Vec<_> = queues.iter().map(|queue| ask(queue, until)).collect();
        let left = || until.saturating_duration_since(Instant::now());
        answers.into_iter().all(|answer| answer.is_some_and(|answer| answer.recv_timeout(left()).is_ok()))
    }

    /// The exporters' figures.
    pub fn exports(&self) -> Vec<ExportStats> {
        self.shared.exports.ways().iter().map(|way| way.books.stats()).collect()
    }
}

/// An exporter's figures, for metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportStats {
    /// Its name.
    pub name: Arc<str>,
    /// Calls that it took.
    pub taken_total: u64,
    /// Calls that ended with an error or a panic.
    pub failed_total: u64,
    /// Changes that it was not handed because its queue was full.
    pub dropped_total: u64,
    /// Changes that wait for it.
    pub queued: u64,
}

/// Why an exporter was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The name is empty, longer than 128 bytes, or holds a control character.
    #[error("an exporter's name must have 1 to 128 bytes and no control character")]
    Name,
    /// There is an exporter of that name already.
    #[error("there is an exporter of this name already")]
    Duplicate,
    /// There are 16 already.
    #[error("there are {MOST} exporters already, which is the limit")]
    TooMany,
    /// A setting is out of its range.
    #[error("an exporter's queue must hold 1 to {LARGEST_QUEUE} changes, and its snapshots be 10ms to 24h apart")]
    Setting,
    /// Its thread could not be started.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl ExportError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name => "export.name",
            Self::Duplicate => "export.duplicate",
            Self::TooMany => "export.too_many",
            Self::Setting => "export.setting",
            Self::Thread(_) => "export.thread",
        }
    }
}

/// All exporters of a checker.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    /// So that a checker without any pays one load for each change.
    any: AtomicBool,
    ways: Mutex<Vec<Way>>,
}

impl Exports {
    /// Never waits for an exporter.
    pub(crate) fn tell(&self, change: &StatusChange) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let change = Arc::new(change.clone());
        for way in self.ways().iter() {
            way.tell(Arc::clone(&change));
        }
    }

    fn ways(&self) -> MutexGuard<'_, Vec<Way>> {
        // Nothing under this lock waits, and what it guards is whole at every step.
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to one exporter. Its thread ends when this is dropped.
#[derive(Debug)]
struct Way {
    queue: SyncSender<Message>,
    books: Arc<Books>,
}

#[derive(Debug)]
enum Message {
    Change(Arc<StatusChange>),
    Flush(SyncSender<()>),
}

#[derive(Debug)]
struct Books {
    name: Arc<str>,
    taken: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    queued: AtomicU64,
    /// The queue is full, which has been said.
    full: AtomicBool,
}

impl Books {
    fn new(name: Arc<str>) -> Self {
        let [taken, failed, dropped, queued] = [(); 4].map(|()| AtomicU64::new(0));
        Self { name, taken, failed, dropped, queued, full: AtomicBool::new(false) }
    }

    fn stats(&self) -> ExportStats {
        ExportStats {
            name: Arc::clone(&self.name),
            taken_total: self.taken.load(Ordering::Relaxed),
            failed_total: self.failed.load(Ordering::Relaxed),
            dropped_total: self.dropped.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
        }
    }
}

impl Way {
    fn tell(&self, change: Arc<StatusChange>) {
        let books = &self.books;
        // Counted before it is sent, so that the thread never takes out what was not put in.
        books.queued.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Message::Change(change)).is_ok() {
            books.full.store(false, Ordering::Relaxed);
            return;
        }
        books.queued.fetch_sub(1, Ordering::Relaxed);
        books.dropped.fetch_add(1, Ordering::Relaxed);
        if !books.full.swap(true, Ordering::Relaxed) {
            let exporter = &*books.name;
            tracing::warn!(target: "wellkept::health", exporter, "an exporter does not keep up: changes are dropped");
        }
    }
}

/// Puts a question into a queue that may be full, which is just when an answer is worth waiting for.
fn ask(queue: &SyncSender<Message>, until: Instant) -> Option<Receiver<()>> {
    let (reply, answer) = sync_channel(1);
    let mut message = Message::Flush(reply);
    while let Err(refused) = queue.try_send(message) {
        let TrySendError::Full(kept) = refused else { return None };
        if Instant::now() >= until {
            return None;
        }
        message = kept;
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Some(answer)
}

/// What runs on the exporter's thread.
struct Worker {
    exporter: Box<dyn Exporter>,
    books: Arc<Books>,
    /// Weak, or the checker would never end for the exporter's sake.
    checker: Weak<Shared>,
    every: Option<Duration>,
    failing: bool,
}

impl Worker {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut due = self.every.map(|every| Instant::now() + every);
        loop {
            let message = match due {
                Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => messages.recv().map_err(RecvTimeoutError::from),
            };
            match message {
                Ok(Message::Change(change)) => {
                    self.books.queued.fetch_sub(1, Ordering::Relaxed);
                    self.call(|exporter| exporter.change(&change));
                }
                // Whoever asked may have given up.
                Ok(Message::Flush(reply)) => drop(reply.send(())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(every) = self.every
                && due.is_some_and(|due| due <= Instant::now())
            {
                // Once the checker is gone there are no more snapshots; the changes that wait are taken all the same.
                let snapshot = self.checker.upgrade().map(|shared| shared.snapshot.load_full());
                due = snapshot.map(|snapshot| {
                    self.call(|exporter| exporter.snapshot(&snapshot));
                    Instant::now() + every
                });
            }
        }
    }

    fn call(&mut self, deliver: impl FnOnce(&mut dyn Exporter) -> Result<(), ExporterError>) {
        let called = catch_unwind(AssertUnwindSafe(|| deliver(&mut *self.exporter)));
        let failure = match called {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("it panicked".to_owned()),
        };
        let exporter = &*self.books.name;
        if let Some(error) = &failure {
            self.books.failed.fetch_add(1, Ordering::Relaxed);
            if !self.failing {
                tracing::warn!(target: "wellkept::health", exporter, error, "an exporter fails");
            }
        } else {
            self.books.taken.fetch_add(1, Ordering::Relaxed);
            if self.failing {
                tracing::info!(target: "wellkept::health", exporter, "an exporter works again");
            }
        }
        self.failing = failure.is_some();
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Worker").field("exporter", &self.books.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
