//! Named heartbeats: an application's own loops say that they go on, and liveness fails when one does not.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::check::{AnyCheck, Scope};
use crate::checker::Checker;
use crate::clock::Clock;
use crate::component::{Component, Group, RegisterError};
use crate::hysteresis::Thresholds;
use crate::outcome::{Outcome, Reason};
use crate::snapshot::{Activity, Belonging, Snapshot};
use crate::table::milliseconds;

impl Checker {
    /// Watches a loop of the application's own: from now on it must [`beat`](Heartbeat::beat) at least every `limit`,
    /// from 10 ms to 24 h. `limit` is the longest that one round may ever take, not its usual time: past it the
    /// liveness probe fails, and Kubernetes restarts the process.
    ///
    /// The loop is a component in group `live` by this name, whose result says how long ago the last beat was. What
    /// the liveness probe answers is read from the beats themselves, so that a late loop is noticed also while it
    /// keeps the engine from running.
    pub fn heartbeat(&self, name: impl Into<Arc<str>>, limit: Duration) -> Result<Heartbeat, RegisterError> {
        let name = name.into();
        if !(SHORTEST..=LONGEST).contains(&limit) {
            let name = name.chars().take(80).collect();
            return Err(RegisterError::Setting { name, problem: "a heartbeat's limit must be from 10ms to 24h" });
        }
        let clock = Arc::clone(&self.shared.settings.clock);
        let pulse = Arc::new(Pulse {
            id: self.shared.heartbeats.ids.fetch_add(1, Ordering::Relaxed),
            name,
            limit,
            last: AtomicU64::new(reading(&*clock)),
            clock,
            lost: AtomicBool::new(false),
            left_out: AtomicBool::new(false),
            told: AtomicBool::new(false),
        });
        {
            // Loops and components change under one lock, so that they agree.
            let mut table = self.table();
            table.insert(self.shared.heartbeats.component(&pulse), Belonging::Loop, self.clock())?;
            self.shared.heartbeats.add(&pulse);
        }
        self.shared.wake.notify_one();
        Ok(Heartbeat { handle: Arc::new(Handle { pulse, checker: self.clone() }) })
    }

    /// All heartbeats, as they are now.
    pub fn heartbeats(&self) -> Vec<HeartbeatStats> {
        let pulses = self.shared.heartbeats.pulses.load();
        let stats = |pulse: &Arc<Pulse>| HeartbeatStats {
            name: Arc::clone(&pulse.name),
            age: pulse.age(),
            limit: pulse.limit,
            late: pulse.late().is_some(),
        };
        pulses.iter().map(stats).collect()
    }
}

/// The shortest and the longest limit.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The handle with which a loop says that it goes on. Cheap to clone: all clones speak for the same loop.
///
/// A loop that ends on purpose says so with [`finish`](Self::finish). When the last handle is dropped without it, the
/// loop has died, of a panic for example: it is late at once and remains so. Once the process is on its way out, no
/// loop is late: loops end then.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use wellkept_health::{Checker, Settings};
///
/// let (checker, engine) = Checker::new(Settings::new("orders"));
/// tokio::spawn(engine.run(std::future::pending()));
///
/// let heartbeat = checker.heartbeat("order-loop", Duration::from_secs(30))?;
/// let orders = tokio::spawn(async move {
///     for _order in 0..3 {
///         heartbeat.beat();
///     }
///     heartbeat.finish();
/// });
/// # orders.await.unwrap();
/// # assert!(checker.heartbeats().is_empty());
/// # Ok::<(), wellkept_health::RegisterError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Heartbeat {
    handle: Arc<Handle>,
}

struct Handle {
    pulse: Arc<Pulse>,
    checker: Checker,
}

impl Heartbeat {
    /// Says that the loop goes on: one reading of a coarse clock and one atomic store. Never blocks.
    pub fn beat(&self) {
        let pulse = &self.handle.pulse;
        pulse.last.store(reading(&*pulse.clock), Ordering::Relaxed);
    }

    /// The loop has ended on purpose: it is watched no more, and its component is gone. What clones say from now on
    /// is heard by nobody.
    pub fn finish(self) {
        self.handle.checker.forget(&self.handle.pulse);
    }

    /// The component's name.
    pub fn name(&self) -> &str {
        &self.handle.pulse.name
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pulse = &self.handle.pulse;
        formatter
            .debug_struct("Heartbeat")
            .field("name", &pulse.name)
            .field("age", &pulse.age())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // After `finish` nobody looks at this any more.
        self.pulse.lost.store(true, Ordering::Release);
    }
}

/// A loop's latest sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatStats {
    /// The component's name.
    pub name: Arc<str>,
    /// How long ago the last beat was.
    pub age: Duration,
    /// How long ago it may be.
    pub limit: Duration,
    /// Whether it is longer ago, or the loop has died.
    pub late: bool,
}

/// What a loop and its watchers share.
#[derive(Debug)]
pub(crate) struct Pulse {
    id: u64,
    pub(crate) name: Arc<str>,
    limit: Duration,
    clock: Arc<dyn Clock>,
    /// The latest beat: milliseconds of the coarse clock, which stands still while the machine sleeps, so that no loop
    /// is late for having slept.
    last: AtomicU64,
    /// The last handle was dropped.
    lost: AtomicBool,
    /// An operator left its component out.
    left_out: AtomicBool,
    /// It was said to be late.
    told: AtomicBool,
}

impl Pulse {
    fn age(&self) -> Duration {
        let last = self.last.load(Ordering::Relaxed);
        Duration::from_millis(reading(&*self.clock).saturating_sub(last))
    }

    /// For how long it has been late, if it is.
    pub(crate) fn late(&self) -> Option<Duration> {
        if self.left_out.load(Ordering::Acquire) {
            return None;
        }
        if self.lost.load(Ordering::Acquire) {
            return Some(self.age());
        }
        self.age().checked_sub(self.limit).filter(|overdue| !overdue.is_zero())
    }

    fn outcome(&self) -> Outcome {
        let age = self.age();
        let outcome = match self.late() {
            None => Outcome::pass(),
            Some(_) if self.lost.load(Ordering::Acquire) => {
                Outcome::fail(Reason::Late, "the loop has ended without finishing")
            }
            Some(_) => Outcome::fail(Reason::Late, "the loop has given no sign of life in time"),
        };
        outcome.with("age_ms", milliseconds(age)).with("limit_ms", milliseconds(self.limit))
    }
}

/// All loops that are watched. Read without a lock.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeats {
    pulses: Arc<ArcSwap<Vec<Arc<Pulse>>>>,
    /// The latest, which says whose component is in maintenance.
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// The process is on its way out: loops end.
    draining: Arc<AtomicBool>,
    late: Arc<AtomicU64>,
    ids: Arc<AtomicU64>,
}

impl Heartbeats {
    pub(crate) fn new(draining: Arc<AtomicBool>, snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { pulses: Arc::default(), snapshot, draining, late: Arc::default(), ids: Arc::default() }
    }

    /// The loop that has been late for longest, and for how long; not one whose component is in maintenance.
    pub(crate) fn worst(&self) -> Option<(Arc<Pulse>, Duration)> {
        if self.draining.load(Ordering::Acquire) {
            return None;
        }
        let pulses = self.pulses.load();
        let late = pulses.iter().filter_map(|pulse| Some((pulse, self.overdue(pulse)?)));
        late.max_by_key(|(_, overdue)| *overdue).map(|(pulse, overdue)| (Arc::clone(pulse), overdue))
    }

    /// How often a loop was found late.
    pub(crate) fn late_total(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Logs and counts what has become late, or is so no more, since the last call. What is late since the runtime owes
    /// an answer, for `owed` so far, is late for the runtime's sake, which is told elsewhere.
    pub(crate) fn look(&self, owed: Duration) {
        if self.draining.load(Ordering::Acquire) {
            return;
        }
        for pulse in self.pulses.load().iter() {
            let (heartbeat, age_ms) = (&*pulse.name, milliseconds(pulse.age()));
            match self.overdue(pulse) {
                Some(overdue) if !is_runtimes_fault(overdue, owed) && !pulse.told.swap(true, Ordering::AcqRel) => {
                    self.late.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(target: "wellkept::health", heartbeat, age_ms, "a loop is late; liveness fails");
                }
                None if pulse.told.swap(false, Ordering::AcqRel) => {
                    tracing::warn!(target: "wellkept::health", heartbeat, age_ms, "a loop is late no more");
                }
                Some(_) | None => {}
            }
        }
    }

    /// For how long a loop has been late, if it is, and its component is not in maintenance.
    fn overdue(&self, pulse: &Pulse) -> Option<Duration> {
        let overdue = pulse.late()?;
        let snapshot = self.snapshot.load();
        let maintenance = snapshot.component(&pulse.name).and_then(|one| snapshot.maintenance_of(one));
        maintenance.is_none().then_some(overdue)
    }

    /// Leaves out of every loop's age a pause in which the process as a whole did not run: no loop could beat then.
    pub(crate) fn forgive(&self, pause: Duration) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        for pulse in self.pulses.load().iter().filter(|_| pause > 0) {
            let now = reading(&*pulse.clock);
            let forgiven = |last: u64| Some(last.saturating_add(pause).min(now).max(last));
            // It always has a value to store.
            let _ = pulse.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, forgiven);
        }
    }

    /// Whether a component of this name is a loop's.
    pub(crate) fn has_named(&self, name: &str) -> bool {
        self.pulses.load().iter().any(|pulse| &*pulse.name == name)
    }

    /// A loop whose component is disabled is not late until it is enabled again.
    pub(crate) fn set_activity(&self, name: &str, activity: Activity) {
        if let Some(pulse) = self.pulses.load().iter().find(|pulse| &*pulse.name == name) {
            pulse.left_out.store(activity == Activity::Disabled, Ordering::Release);
        }
    }

    pub(crate) fn remove(&self, name: &str) {
        if self.has_named(name) {
            self.pulses.rcu(|pulses| pulses.iter().filter(|pulse| &*pulse.name != name).cloned().collect::<Vec<_>>());
        }
    }

    fn add(&self, pulse: &Arc<Pulse>) {
        self.pulses.rcu(|pulses| pulses.iter().chain([pulse]).cloned().collect::<Vec<_>>());
    }

    fn has(&self, pulse: &Arc<Pulse>) -> bool {
        self.pulses.load().iter().any(|one| Arc::ptr_eq(one, pulse))
    }

    /// The loop as a component: it belongs to the code, and stays when a configuration replaces its own.
    fn component(&self, pulse: &Arc<Pulse>) -> Component {
        let (draining, watched) = (Arc::clone(&self.draining), Arc::clone(pulse));
        let check = AnyCheck::from_fn(move || {
            let ending = draining.load(Ordering::Acquire);
            let outcome = if ending { Outcome::pass() } else { watched.outcome() };
            async move { outcome }
        });
        let interval = (pulse.limit / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        Component::new(Arc::clone(&pulse.name), check)
            .scope(Scope::Process)
            .groups([Group::Live])
            .interval(interval)
            // A beat that came or did not is no noise: one look decides.
            .thresholds(Thresholds { fall: 1, rise: 1, ..Thresholds::default() })
            .fingerprint(pulse.id)
    }
}

impl Checker {
    /// Ends the watch over this very loop; one that took its name meanwhile is left alone.
    fn forget(&self, pulse: &Arc<Pulse>) {
        let removed = {
            // Under one lock, or another loop could take the name in between and be forgotten in this one's place.
            let mut table = self.table();
            if !self.shared.heartbeats.has(pulse) {
                return;
            }
            self.shared.heartbeats.remove(&pulse.name);
            table.remove(&pulse.name)
        };
        drop(removed);
        self.shared.wake.notify_one();
    }
}

/// Whether a loop that is `overdue` can't have beaten in time because its runtime has owed an answer for `owed`.
pub(crate) fn is_runtimes_fault(overdue: Duration, owed: Duration) -> bool {
    !owed.is_zero() && owed >= overdue
}

fn reading(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.coarse().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
