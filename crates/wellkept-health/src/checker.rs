//! The handle: register components, read the latest snapshot, tell the engine of the process's life.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::announce::Told;
use crate::clock::{Clock, SystemClock};
use crate::component::{Component, Group, RegisterError};
use crate::engine::{Engine, MOST_LOCAL};
use crate::exporter::Exports;
use crate::heartbeat::Heartbeats;
use crate::job::JobKeeper;
use crate::lag::{LagCounters, Lags};
use crate::liveness::Liveness;
use crate::maintenance::Keeper;
use crate::origin::Identity;
use crate::recorder::History;
use crate::snapshot::{Belonging, Moment, Snapshot};
use crate::status::Status;
use crate::table::{Replaced, Replacement, Table};

/// What a checker is told once, at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's name, shown to everyone.
    pub service: String,
    /// The service's version, shown to everyone. May be empty.
    pub version: String,
    /// What tells the service from others that it looks at or that look at it. Default: a random one.
    pub identity: Identity,
    /// What tells replicas apart, so that their checks spread. Default: the machine's host name.
    pub instance: String,
    /// How many checks that look beyond this machine may run at once; more wait in a queue that a metric shows.
    /// Default 512; 0 is taken as 1. Those that look at this process or machine have 512 places of their own, so that
    /// they never wait for the others.
    pub max_concurrent: usize,
    /// How many components there may be. Default 20,000.
    pub max_components: usize,
    /// How long a maintenance that is begun by hand may last; an open one ends there. Default 7 days; what is not from
    /// 1 s to 366 days is taken as the nearer of the two.
    pub longest_maintenance: Duration,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Settings {
    /// The defaults, for a service of this name.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            version: String::new(),
            identity: Identity::random(),
            instance: host_name(),
            max_concurrent: 512,
            max_components: 20_000,
            longest_maintenance: Duration::from_secs(7 * 24 * 3600),
            clock: Arc::new(SystemClock),
        }
    }

    /// The same within the limits.
    fn bounded(self) -> Self {
        Self {
            max_concurrent: self.max_concurrent.max(1),
            longest_maintenance: self.longest_maintenance.clamp(SHORTEST_MAINTENANCE, LONGEST_MAINTENANCE),
            ..self
        }
    }
}

const SHORTEST_MAINTENANCE: Duration = Duration::from_secs(1);
const LONGEST_MAINTENANCE: Duration = Duration::from_secs(366 * 24 * 3600);

/// The handle on a service's health. Cheap to clone; all clones speak of the same components.
///
/// Reading never waits for a check. Nothing runs before the [`Engine`] that comes with it does.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use wellkept_health::{AnyCheck, Checker, Component, Settings, Status};
///
/// let (checker, engine) = Checker::new(Settings::new("orders"));
/// checker.register(Component::new("queue", AnyCheck::from_fn(async || ())))?;
/// tokio::spawn(engine.run(std::future::pending()));
///
/// let mut published = checker.subscribe();
/// published.wait_for(|_| checker.status() == Status::Healthy).await.ok();
/// assert!(checker.readiness().ready);
/// # Ok::<(), wellkept_health::RegisterError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Checker {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    /// The overall status and until when it holds, in one word: milliseconds of the coarse clock above eight bits.
    pub(crate) quick: AtomicU64,
    pub(crate) published: watch::Sender<u64>,
    /// Wakes the engine when something was registered or a hold was released.
    pub(crate) wake: Notify,
    pub(crate) started: AtomicBool,
    pub(crate) holds: AtomicUsize,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) exports: Exports,
    pub(crate) born: Moment,
    pub(crate) liveness: Liveness,
    pub(crate) history: ArcSwap<Option<History>>,
    pub(crate) keeper: ArcSwapOption<Keeper>,
    pub(crate) job_keeper: ArcSwapOption<JobKeeper>,
    pub(crate) counters: Counters,
    pub(crate) told: Mutex<Told>,
    table: Mutex<Table>,
}

/// Whether traffic may come, and what that follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Whether traffic may come now.
    pub ready: bool,
    /// What the components of the group add up to.
    pub status: Status,
    /// Where the process is in its life.
    pub lifecycle: Lifecycle,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifecycle {
    /// Not everything that readiness or the startup probe requires has had its first result, or someone still holds
    /// the start.
    Starting,
    /// Started, and not on its way out.
    Running,
    /// On its way out: work in flight goes on, no new traffic should come.
    Draining,
}

impl Lifecycle {
    /// The word on the wire: `starting`, `running`, `draining`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// A set of components that can take the place of the one that is kept, made by [`Checker::prepare_replace`]. Dropped,
/// it is given up, and nothing has changed.
#[derive(Debug)]
#[must_use = "nothing changes before it is committed"]
pub struct PreparedReplace {
    checker: Checker,
    replacement: Arc<Replacement>,
}

/// What a replacement left over. Dropping it drops the checks that are gone, which may take its time or panic: what they
/// hold is theirs.
#[derive(Debug)]
#[expect(dead_code, reason = "it is held to be dropped")]
pub struct Retired {
    gone: Vec<Arc<Component>>,
    /// With the new definitions of those that kept their state.
    replacement: Arc<Replacement>,
}

impl PreparedReplace {
    /// Makes it the whole set. Can't fail, takes no longer than a change of the table, and drops no check.
    pub fn commit(self) -> (Replaced, Retired) {
        let Self { checker, replacement } = self;
        let (replaced, gone) = checker.table().commit(&replacement, &*checker.shared.settings.clock);
        checker.jobs_changed();
        checker.shared.wake.notify_one();
        (replaced, Retired { gone, replacement })
    }
}

impl Checker {
    /// A checker without components, and the engine that runs its checks once it is spawned.
    pub fn new(settings: Settings) -> (Self, Engine) {
        let settings = settings.bounded();
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::before_the_first(Arc::clone(&settings.clock))));
        let draining = Arc::new(AtomicBool::new(false));
        let heartbeats = Heartbeats::new(Arc::clone(&draining), Arc::clone(&snapshot));
        let shared = Shared {
            snapshot,
            quick: AtomicU64::new(pack(Status::Unknown, Duration::ZERO)),
            published: watch::Sender::new(0),
            wake: Notify::new(),
            started: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
            draining,
            born: Moment::now(&*settings.clock),
            liveness: Liveness::new(Arc::clone(&settings.clock), heartbeats.clone()),
            heartbeats,
            exports: Exports::default(),
            history: ArcSwap::from_pointee(None),
            keeper: ArcSwapOption::empty(),
            job_keeper: ArcSwapOption::empty(),
            counters: Counters::default(),
            told: Mutex::default(),
            table: Mutex::new(Table::new(settings.max_components, settings.longest_maintenance)),
            settings,
        };
        let checker = Self { shared: Arc::new(shared) };
        let engine = Engine::new(checker.clone());
        (checker, engine)
    }

    /// Adds a component. Its first run starts at once, or after its initial delay. Before its first result it counts for
    /// no group, unless the start waits for it: that waits for required components that groups `ready` or `startup` see
    /// and that replicas do not share.
    pub fn register(&self, component: Component) -> Result<(), RegisterError> {
        self.insert(component, Belonging::Set)
    }

    pub(crate) fn insert(&self, component: Component, belongs: Belonging) -> Result<(), RegisterError> {
        let component = Arc::new(component);
        self.table().insert(Arc::clone(&component), belongs, &*self.shared.settings.clock)?;
        if component.check.job.is_some() {
            self.jobs_changed();
        }
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Removes a component, also while its check runs. Says whether there was one.
    pub fn unregister(&self, name: &str) -> bool {
        let removed = {
            let mut table = self.table();
            self.shared.heartbeats.remove(name);
            table.remove(name)
        };
        self.shared.wake.notify_one();
        removed.is_some()
    }

    /// Makes `components` the whole set: all of it, or nothing and every error. Components whose fingerprint is
    /// unchanged keep their state; those that changed keep what was last known of them until their first result. Loops
    /// with a [`heartbeat`](Self::heartbeat) stay, and so does what was [added](Self::add) at run time, unless the set
    /// has a component of its name.
    pub fn replace(&self, components: Vec<Component>) -> Result<Replaced, Vec<RegisterError>> {
        let (replaced, retired) = self.prepare_replace(components)?.commit();
        drop(retired);
        Ok(replaced)
    }

    /// The first half of [`Checker::replace`]: everything that can be wrong with the set is found now, and nothing
    /// changes. What is registered meanwhile and would stay beside it has to fit it.
    pub fn prepare_replace(&self, components: Vec<Component>) -> Result<PreparedReplace, Vec<RegisterError>> {
        let components: Vec<_> = components.into_iter().map(Arc::new).collect();
        // Dropped outside the lock when they are refused: what a check does then is its own affair.
        let held = components.clone();
        let replacement = self.table().prepare(components);
        drop(held);
        Ok(PreparedReplace { checker: self.clone(), replacement: replacement? })
    }

    /// The latest snapshot. Never waits.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// What all components add up to, now. The cheapest reading there is: one atomic load and one of a coarse clock,
    /// which has the status a second late after the machine slept; [`Checker::snapshot`] has it at once.
    pub fn status(&self) -> Status {
        let (status, valid_until) = unpack(self.shared.quick.load(Ordering::Acquire));
        if self.shared.settings.clock.coarse() < valid_until { status } else { self.shared.snapshot.load().overall() }
    }

    /// Whether traffic may come now: not before the start is complete, and not once the process is on its way out.
    pub fn readiness(&self) -> Readiness {
        self.readiness_in(&self.shared.snapshot.load())
    }

    pub(crate) fn readiness_in(&self, snapshot: &Snapshot) -> Readiness {
        let lifecycle = self.lifecycle();
        let status = snapshot.status(&Group::Ready);
        Readiness { ready: lifecycle == Lifecycle::Running && status.is_ready(), status, lifecycle }
    }

    /// Where the process is in its life.
    pub fn lifecycle(&self) -> Lifecycle {
        if self.shared.draining.load(Ordering::Acquire) {
            Lifecycle::Draining
        } else if self.shared.started.load(Ordering::Acquire) {
            Lifecycle::Running
        } else {
            Lifecycle::Starting
        }
    }

    /// Whether the start was complete once. Stays true for the rest of the process's life.
    pub fn is_started(&self) -> bool {
        self.shared.started.load(Ordering::Acquire)
    }

    /// Keeps the start from being complete until the guard is dropped: for migrations, caches to fill.
    #[must_use]
    pub fn hold_startup(&self) -> StartupHold {
        self.shared.holds.fetch_add(1, Ordering::AcqRel);
        StartupHold { checker: self.clone() }
    }

    /// Turns readiness off for the rest of the process's life. Liveness is not touched.
    pub fn begin_draining(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.announce_readiness();
    }

    /// Whether the process itself is alive: its runtime answers, and the components in group `live` do.
    pub fn liveness(&self) -> &Liveness {
        &self.shared.liveness
    }

    /// Told a new number whenever a snapshot was published; a slow reader sees the latest only.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.published.subscribe()
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        &self.shared.settings.service
    }

    /// The service's version.
    pub fn version(&self) -> &str {
        &self.shared.settings.version
    }

    /// What tells the service from others that it looks at or that look at it.
    pub fn identity(&self) -> Identity {
        self.shared.settings.identity
    }

    /// Where time comes from.
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.settings.clock
    }

    /// Time since the checker was made, suspend included.
    pub fn uptime(&self) -> Duration {
        self.shared.settings.clock.boot().saturating_sub(self.shared.born.boot)
    }

    /// When the checker was made.
    pub fn born(&self) -> Timestamp {
        self.shared.born.wall
    }

    /// Remembers status changes and results from now on.
    pub fn set_history(&self, history: History) {
        self.shared.history.store(Arc::new(Some(history)));
    }

    /// What is remembered, when something is.
    pub fn history(&self) -> Option<History> {
        self.shared.history.load().as_ref().clone()
    }

    /// The checker's own figures.
    pub fn stats(&self) -> CheckerStats {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CheckerStats {
            components: self.table().len(),
            running: read(&counters.running),
            queued: read(&counters.queued),
            stragglers: read(&counters.stragglers),
            runs_total: read(&counters.runs),
            missed_total: read(&counters.missed),
            published_total: read(&counters.published),
            publishing_total: Duration::from_nanos(read(&counters.publishing_nanos)),
            changes_total: read(&counters.changes),
            lags: counters.lags.read(),
            max_concurrent: self.shared.settings.max_concurrent,
            max_concurrent_local: MOST_LOCAL,
            ticked: Some(counters.tick.load(Ordering::Relaxed))
                .filter(|tick| *tick != 0)
                .and_then(|tick| Timestamp::from_millisecond(tick).ok()),
        }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        // A panic under this lock can't leave the books half-written in a way that readers see: snapshots are
        // built from whole entries.
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        formatter.debug_struct("Checker").field("service", &self.service()).field("components", &snapshot).finish()
    }
}

/// Keeps the start from being complete while it lives.
#[derive(Debug)]
pub struct StartupHold {
    checker: Checker,
}

impl Drop for StartupHold {
    fn drop(&mut self) {
        self.checker.shared.holds.fetch_sub(1, Ordering::AcqRel);
        self.checker.shared.wake.notify_one();
    }
}

/// The checker's own figures, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckerStats {
    /// Registered components.
    pub components: usize,
    /// Checks that run now.
    pub running: u64,
    /// Checks that are due and wait for a place.
    pub queued: u64,
    /// Runs whose time is up but which have not ended: they occupy a thread or a task.
    pub stragglers: u64,
    /// Runs that came to a result.
    pub runs_total: u64,
    /// Runs that were due while the one before was still going on.
    pub missed_total: u64,
    /// Snapshots published.
    pub published_total: u64,
    /// Time that it took to make and publish them.
    pub publishing_total: Duration,
    /// Changes of status, of components and of the service.
    pub changes_total: u64,
    /// How much later than due runs started.
    pub lags: Lags,
    /// How many checks that look beyond this machine may run at once.
    pub max_concurrent: usize,
    /// How many checks of this process or machine may run at once.
    pub max_concurrent_local: usize,
    /// When the engine last looked around, which it does once a second; `None` before the first time.
    pub ticked: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) running: AtomicU64,
    pub(crate) queued: AtomicU64,
    pub(crate) stragglers: AtomicU64,
    pub(crate) runs: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) publishing_nanos: AtomicU64,
    pub(crate) changes: AtomicU64,
    pub(crate) lags: LagCounters,
    /// When the engine last looked around, in milliseconds since 1970; 0 before that.
    pub(crate) tick: AtomicI64,
}

pub(crate) fn pack(status: Status, valid_until: Duration) -> u64 {
    let millis = u64::try_from(valid_until.as_millis()).unwrap_or(u64::MAX).min(u64::MAX >> 8);
    millis << 8 | status as u64
}

fn unpack(packed: u64) -> (Status, Duration) {
    (Status::from_rank((packed & 0xff) as u8), Duration::from_millis(packed >> 8))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
