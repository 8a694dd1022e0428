//! A configuration that runs and can be changed: read by everyone at any moment, replaced whole or not at all.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};

use crate::control::Running;
use crate::document::LoadError;
use crate::outcome::{Report, Request};
use crate::settings::Settings;
use crate::sources::Sources;
use crate::versions::{MemoryVersions, Patient, VersionId, VersionStore};

mod books;
mod candidate;
mod control;
mod handle;
mod keeper;
mod preparations;
mod probation;
mod start;
mod subscriber;
mod telling;
mod transaction;
mod turns;

pub use books::ReloadStats;
pub use handle::{CachedHandle, Handle, Reading};
pub use probation::{Judge, Probation};
pub use subscriber::{Prepared, Refusal, Subscriber, Subscription};

pub(crate) use books::Seen;
use books::{Books, Entry};
use keeper::Keeper;
use turns::Task;

/// How a configuration is changed.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// How long one change may take from the beginning of its turn to its commit. Default: 30 s; at most 30 days.
    pub deadline: Duration,
    /// How many versions are kept. Default: 50.
    pub keep: usize,
    /// How long a change waits for the store of versions before it goes on without. Default: 5 s.
    pub store_patience: Duration,
    /// Whether a change goes back by itself when it does no good. Default: no.
    pub probation: Option<Probation>,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(30), keep: 50, store_patience: Duration::from_secs(5), probation: None }
    }
}

/// A configuration of type `T` that runs. Cheap to clone: all clones are the same one.
///
/// A change is read, prepared by all who subscribed, and committed, whole or not at all; the one from before runs until
/// then, and on where anything is wrong.
///
/// ```
/// use std::sync::Arc;
/// use wellkept_config::{
///     Live, LiveOptions, Outcome, Prepared, Refusal, Request, Section, Settings, Sources, Trigger,
/// };
///
/// struct Limits { rows: u64 }
///
/// impl Settings for Limits {
///     fn read(section: &mut Section<'_>) -> Option<Self> {
///         Some(Self { rows: section.or("rows", 100) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let folder = tempfile::tempdir().unwrap();
/// # let file = folder.path().join("app.yaml");
/// # std::fs::write(&file, "rows: 10").unwrap();
/// let live = Live::<Limits>::load(Sources::new().file(&file), LiveOptions::default()).unwrap();
/// let _subscription = live.subscribe("importer", |_old: Arc<Limits>, new: Arc<Limits>| async move {
///     if new.rows > 1_000 {
///         return Err(Refusal::new("the importer has room for 1000 rows"));
///     }
///     // What is made here, such as a connection, is put to use by the commit, or dropped.
///     Ok(Prepared::new(move || vec![]))
/// });
///
/// std::fs::write(&file, "rows: 20").unwrap();
/// let report = live.reload(Request::new(Trigger::Code)).await;
/// assert_eq!((report.outcome, live.current().rows), (Outcome::Applied, 20));
/// assert_eq!(report.changes, ["~ rows: 10 -> 20"]);
///
/// std::fs::write(&file, "rows: 5000").unwrap();
/// let report = live.reload(Request::new(Trigger::Code)).await;
/// let Outcome::Rejected(rejection) = report.outcome else { panic!() };
/// assert_eq!(rejection.to_string(), "importer refuses it: the importer has room for 1000 rows");
/// assert_eq!(live.current().rows, 20);
/// # }
/// ```
pub struct Live<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    sources: Sources,
    /// What everyone reads. Replaced with `books` locked, read without.
    current: Arc<ArcSwap<T>>,
    /// What the process was started with: what waits for a restart is measured against it.
    started: Arc<T>,
    /// No foreign code runs under it, and nothing waits.
    books: Mutex<Books<T>>,
    /// Tells that someone subscribed or left.
    membership: watch::Sender<()>,
    /// Tells of changes after the fact.
    changes: watch::Sender<Arc<T>>,
    /// One reading of the sources at a time, be it one that was given up and hangs.
    reading: Arc<Semaphore>,
    /// Likewise of a content that is kept.
    reading_kept: Arc<Semaphore>,
    /// Where changes are made.
    runtime: OnceLock<runtime::Handle>,
    keeper: Arc<Keeper>,
    observers: Mutex<Vec<Observer>>,
}

type Observer = Arc<dyn Fn(&Request, &Report) + Send + Sync>;

impl<T: Settings> Live<T> {
    /// Reads the sources for the first time; versions are kept in memory. Blocks on the file system.
    pub fn load(sources: Sources, options: LiveOptions) -> Result<Self, LoadError> {
        Self::start(sources, options, Box::new(MemoryVersions::default()))
    }

    /// Like [`load`](Self::load), with a store that keeps the versions over the end of the process.
    ///
    /// Where the store says that the content of the files was rolled back from, the version runs that was returned to,
    /// until the files change. A store that can't be read or written does not keep the process from starting: it is
    /// said loudly. Blocks on the store as well, for [`LiveOptions::store_patience`] at each of a few calls, and no longer
    /// on one that hangs.
    pub fn load_with(sources: Sources, options: LiveOptions, store: impl VersionStore) -> Result<Self, LoadError> {
        let patient = Patient::new(Box::new(store), options.store_patience);
        Self::start(sources, options, Box::new(patient))
    }

    fn start(sources: Sources, options: LiveOptions, store: Box<dyn VersionStore>) -> Result<Self, LoadError> {
        let start::First { candidate, files, refuses, keeper } = start::first(&sources, &options, store)?;
        let current = Arc::clone(&candidate.value);
        let shared = Shared {
            sources,
            current: Arc::new(ArcSwap::new(Arc::clone(&current))),
            started: Arc::clone(&current),
            books: Mutex::new(Books::new(options, candidate, files, refuses)),
            membership: watch::Sender::new(()),
            changes: watch::Sender::new(current),
            reading: Arc::new(Semaphore::new(1)),
            reading_kept: Arc::new(Semaphore::new(1)),
            runtime: OnceLock::new(),
            keeper: Arc::new(keeper),
            observers: Mutex::default(),
        };
        if let Ok(runtime) = runtime::Handle::try_current() {
            let _ = shared.runtime.set(runtime);
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Names the runtime on which changes are made and subscribers prepare. Without this it is the one in which
    /// [`load`](Self::load) was called, else the one of the first reload. Only the first name counts. Its time must be
    /// enabled.
    pub fn run_on(&self, runtime: runtime::Handle) {
        let _ = self.shared.runtime.set(runtime);
    }

    /// The configuration that runs. Never blocks.
    pub fn current(&self) -> Arc<T> {
        self.shared.current.load_full()
    }

    /// How a section of the configuration is read, by those who read often.
    pub fn handle<S>(&self, lens: fn(&T) -> &S) -> Handle<T, S> {
        Handle::new(Arc::clone(&self.shared.current), lens)
    }

    /// Has `subscriber` asked and told of each change from now on; `name` is what reports call it. What it builds on at
    /// first is [`current`](Self::current), asked for after this call: so no change is missed.
    pub fn subscribe(&self, name: &str, subscriber: impl Subscriber<T>) -> Subscription {
        let id = self.shared.books().join(name, Arc::new(subscriber));
        self.shared.membership.send_replace(());
        let shared: Weak<Shared<T>> = Arc::downgrade(&self.shared);
        let end = move || {
            if let Some(shared) = shared.upgrade() {
                // Dropped where the lock is free again: it is the application's own type.
                let member = shared.books().leave(id);
                shared.membership.send_replace(());
                quietly(|| drop(member));
            }
        };
        Subscription { end: Some(Box::new(end)) }
    }

    /// Reads the sources again and applies what they say whole, or not at all.
    ///
    /// One change is made at a time. Those who ask while one is made wait for the next, and share it where they ask for
    /// the same; where four different ones wait, a further one is refused. Dropping the future changes nothing: the
    /// change goes on. A change takes at most [`LiveOptions::deadline`] from its turn to its commit; after that it
    /// waits for the store of versions, within its limit. Where a commit blocks for good, which it must not, those who
    /// wait are refused after twice that time.
    pub async fn reload(&self, request: Request) -> Report {
        turns::ask(&self.shared, Task::Reload, request).await
    }

    /// Returns to a version that is kept: its files' texts as they were, with the environment, the command line and the
    /// secrets as they are now. What the files say now is refused from then on, until they change, across restarts.
    ///
    /// Waits and ends as [`reload`](Self::reload) does.
    pub async fn roll_back(&self, to: VersionId, request: Request) -> Report {
        turns::ask(&self.shared, Task::RollBack(to), request).await
    }

    /// Ends all changes: the process is on its way out. What is prepared but not committed never is; from now on
    /// everything is refused. Can't be undone.
    pub fn close(&self) {
        self.shared.books().close();
    }

    /// Changes how changes are made, from the next one on.
    pub fn adjust(&self, change: impl FnOnce(&mut LiveOptions)) {
        let mut options = self.shared.books().options.clone();
        change(&mut options);
        self.shared.keeper.keep(options.keep);
        self.shared.books().options = options;
    }

    /// Has `observer` told of what each turn came to, dry runs and what goes back by itself included: once, however many
    /// share it. It must not block.
    pub fn observe(&self, observer: impl Fn(&Request, &Report) + Send + Sync + 'static) {
        self.shared.observers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(observer));
    }

    /// What runs, in figures and words.
    pub fn running(&self) -> Running {
        self.shared.running()
    }

    /// What reloads came to so far.
    pub fn stats(&self) -> ReloadStats {
        let (version, unwritten) = (self.shared.version(), self.shared.keeper.unwritten());
        self.shared.books().stats(version, unwritten)
    }

    /// Tells of each change after it was made.
    pub fn changes(&self) -> Changes<T> {
        Changes { receiver: self.shared.changes.subscribe() }
    }

    /// What the sources said when they were read last to be applied.
    pub(crate) fn seen(&self) -> Seen {
        self.shared.books().seen.clone()
    }

    /// Writes what the store of versions did not take so far, and says how many versions are in memory only: for the
    /// end of the process. Waits for at most [`LiveOptions::store_patience`]. Cancel-safe.
    pub async fn flush(&self) -> usize {
        if let Some(runtime) = self.shared.runtime()
            && self.shared.keeper.unwritten().0 > 0
        {
            self.shared.keeper.write(&runtime, self.shared.patience()).await;
        }
        self.shared.keeper.unwritten().0
    }

    /// What it is read from.
    pub fn sources(&self) -> &Sources {
        &self.shared.sources
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is configured may be a secret.
        formatter.debug_struct("Live").finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    fn books(&self) -> MutexGuard<'_, Books<T>> {
        // Whoever panicked held no half-made change: what is in the books is replaced in single steps.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who are subscribed, in the order of their subscriptions.
    fn members(&self) -> Vec<Entry<T>> {
        self.books().members().to_vec()
    }

    /// The number of what runs, where the store gave it one.
    fn version(&self) -> Option<VersionId> {
        let generation = self.books().now.generation;
        self.keeper.number(generation)
    }

    /// How long the store is waited for.
    fn patience(&self) -> Duration {
        self.books().options.store_patience.min(LONGEST)
    }

    /// How long one change may take.
    fn deadline(&self) -> Duration {
        self.books().options.deadline.min(LONGEST)
    }

    /// Tells the observers.
    fn tell(&self, request: &Request, report: &Report) {
        let observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for observer in observers {
            quietly(|| observer(request, report));
        }
    }
}

impl<T: Settings> Shared<T> {
    fn running(&self) -> Running {
        let files = self.sources.watched().iter().map(|path| path.display().to_string()).collect();
        let version = self.version();
        self.books().running(version, files)
    }
}

/// Tells of changes after the fact. Who looks late sees the newest only.
pub struct Changes<T> {
    receiver: watch::Receiver<Arc<T>>,
}

impl<T> Changes<T> {
    /// Waits for the next change; `None` when there will be no more, since the [`Live`] is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<T>> {
        self.receiver.changed().await.ok()?;
        // Cloned at once: who holds on to a borrow would hold up the next change.
        Some(Arc::clone(&self.receiver.borrow_and_update()))
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Changes").finish_non_exhaustive()
    }
}

/// No deadline is longer, whatever is configured: so that instants can be computed.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Runs foreign code; `None` when it panicked, which is logged.
fn quietly<R>(run: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(run))
        .inspect_err(|panic| {
            let panic = panic_message(panic.as_ref());
            tracing::error!(target: "wellkept::config", panic, "code of the application panicked where it must not");
        })
        .ok()
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// Milliseconds since 1970.
fn milliseconds(at: SystemTime) -> i64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
