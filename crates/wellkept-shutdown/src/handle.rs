//! The handle: what everybody else holds to trigger, watch and feed the shutdown.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::cause::Cause;
use crate::closer::panic_text;
use crate::deadline::Budget;
use crate::entrance::{Entrance, EntranceKind};
use crate::flush::Started;
use crate::hook::Hook;
use crate::phase::Phase;
use crate::report::{Progress, Report, Stats, seconds};
use crate::resources::{RegisterError, Registry, Resource, ResourceId};
use crate::sequence::Sequence;
use crate::settings::Settings;
use crate::tracker::Tracker;

/// The handle of a shutdown. Cheap to clone, and safe to use from anywhere: a handler, a closer, a `Drop`, another
/// thread, with or without a runtime.
#[derive(Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

impl Shutdown {
    /// The handle, and the worker that must be [run](Sequence::run) for anything to happen after the trigger.
    pub fn new(settings: Settings) -> (Self, Sequence) {
        Self::with_tracker(settings, Tracker::default())
    }

    /// Like [`new`](Self::new) with a tracker of the caller's, for another limit of requests in flight.
    pub fn with_tracker(settings: Settings, tracker: Tracker) -> (Self, Sequence) {
        let shared = Arc::new(Shared {
            settings,
            tracker,
            phase: AtomicU8::new(Phase::Running as u8),
            phases: watch::Sender::new(Phase::Running),
            trigger: OnceLock::new(),
            forced: OnceLock::new(),
            forcing: watch::Sender::new(false),
            state: Mutex::new(State::default()),
            report: watch::Sender::new(None),
            flushing: Mutex::default(),
            alarm: (Mutex::new(None), Condvar::new()),
        });
        (Self { shared: Arc::clone(&shared) }, Sequence::new(shared))
    }

    /// Starts the shutdown. The first cause is kept; later calls change nothing. Does not wait.
    pub fn trigger(&self, cause: Cause) -> Triggered {
        self.shared.trigger(cause, self.shared.settings)
    }

    /// As [`trigger`](Self::trigger), with another deadline for the whole than [`Settings::deadline`].
    pub fn trigger_within(&self, cause: Cause, deadline: Duration) -> Triggered {
        self.shared.trigger(cause, Settings { deadline, ..self.shared.settings })
    }

    /// Starts the shutdown if nothing has, and waits for its end: in one call what [`trigger_within`](Self::trigger_within)
    /// and [`finished`](Self::finished) do. Cancel-safe: the shutdown goes on when nobody waits.
    ///
    /// Not from a hook, a closer or what the drain waits for: those would wait for themselves, until their time is over.
    pub async fn shut_down(&self, reason: impl Into<String>, deadline: Option<Duration>) -> Arc<Report> {
        self.trigger_within(Cause::requested(reason), deadline.unwrap_or(self.shared.settings.deadline));
        self.finished().await
    }

    /// Cuts the shutdown short: waiting ends at once, what is open is cut, resources are skipped, the flush stays
    /// bounded. Triggers first if nothing has. The first forcing cause is kept.
    pub fn force(&self, cause: Cause) {
        self.shared.trigger(cause.clone(), self.shared.settings);
        if self.shared.forced.set(cause).is_ok() {
            self.shared.forcing.send_replace(true);
        }
    }

    /// Where the shutdown is. One atomic load.
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// Whether a shutdown was triggered. One atomic load.
    pub fn is_shutting_down(&self) -> bool {
        self.phase() != Phase::Running
    }

    /// Follows the phases. A slow reader sees the latest one, not each.
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.shared.follow()
    }

    /// Ends when a shutdown is triggered. Cancel-safe.
    pub async fn begun(&self) {
        self.shared.begun().await;
    }

    /// Ends when the phase, or a later one, is reached. Cancel-safe.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.subscribe().wait_for(|current| *current >= phase).await;
    }

    /// Ends when the shutdown is over, with its report. Any number may wait. Cancel-safe.
    pub async fn finished(&self) -> Arc<Report> {
        let mut reports = self.shared.report.subscribe();
        loop {
            if let Some(report) = reports.borrow_and_update().clone() {
                return report;
            }
            if reports.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    /// What counts connections and requests in flight.
    pub fn tracker(&self) -> &Tracker {
        &self.shared.tracker
    }

    /// The durations this shutdown goes by.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// What triggered the shutdown, if something did.
    pub fn cause(&self) -> Option<&Cause> {
        self.shared.trigger.get().map(|trigger| &trigger.cause)
    }

    /// When each part ends at the latest, once triggered.
    pub fn budget(&self) -> Option<Budget> {
        self.shared.trigger.get().map(|trigger| trigger.budget)
    }

    /// Has a resource closed at the end.
    pub fn register(&self, resource: Resource) -> Result<ResourceId, RegisterError> {
        let registered = self.shared.lock().resources.register(resource);
        // Here, outside the lock, one that was refused is dropped: its closer may hold what calls this shutdown then.
        registered.map_err(|(error, _refused)| error)
    }

    /// Takes a resource back. Tells whether it was still there.
    pub fn unregister(&self, id: ResourceId) -> bool {
        let taken = self.shared.lock().resources.unregister(id);
        taken.is_some()
    }

    /// Has an entrance closed in its turn. One that comes after the announcement is announced at once, and one of the
    /// application's that comes once the drain has begun is aborted at once.
    pub fn add_entrance(&self, kind: EntranceKind, entrance: Arc<dyn Entrance>) {
        let added = Arc::clone(&entrance);
        // Listed before the look at the phase: the sequence announces it, or this does, or both, but never nobody.
        self.shared.lock().entrances.push((kind, entrance));
        if self.phase() >= Phase::Announcing {
            added.announce();
        }
        if self.phase() >= Phase::DrainingConnections && kind == EntranceKind::Application {
            added.abort();
        }
    }

    /// Calls `listener` at each change of phase, on the thread that makes it. It must not block; a panic is noted as an
    /// error and changes nothing else.
    pub fn on_phase(&self, listener: impl Fn(Phase) + Send + Sync + 'static) {
        self.shared.lock().listeners.push(Arc::new(listener));
    }

    /// Has `hook` called first thing after the trigger, together with the others of its kind, while everything is still
    /// served: to leave a registry, to stop taking jobs, to save sessions. It may take as long as a resource
    /// ([`Settings::resource`]); the delay runs meanwhile, and the announcement waits for it.
    pub fn before(&self, hook: Hook) {
        self.shared.lock().before.push(hook);
    }

    /// Has `hook` called when all resources are closed, before the flush, together with the others of its kind. What it
    /// may take is what is left before the flush, at most [`Settings::resource`]. Not called when the shutdown is forced.
    pub fn after(&self, hook: Hook) {
        self.shared.lock().after.push(hook);
    }

    /// Has `hook` called at the very end, together with the other flushes, in the time reserved for them
    /// ([`Settings::flush`]), however the shutdown went. Each flush has a thread of its own, a future too: it is polled
    /// on a small runtime there, because the one that it came from may be what hangs. Where the sequence itself is stuck,
    /// the [watchdog](crate::watchdog) calls it.
    pub fn on_flush(&self, hook: Hook) {
        self.shared.lock().flushes.push(hook);
    }

    /// How far the shutdown has come.
    pub fn progress(&self) -> Progress {
        let active_connections = self.shared.tracker.connections();
        let state = self.shared.lock();
        Progress {
            phase: self.phase(),
            active_connections,
            drained_connections: state.connections_at_drain.saturating_sub(active_connections),
            closed_resources: state.closed_resources,
            total_resources: state.closed_resources + state.resources.len(),
            duration_seconds: self.shared.elapsed_seconds(),
            errors: state.errors.clone(),
        }
    }

    /// The state of this handle.
    pub fn stats(&self) -> Stats {
        Stats {
            is_shutting_down: self.is_shutting_down(),
            phase: self.phase(),
            resources_count: self.shared.lock().resources.len(),
            connection_stats: self.shared.tracker.stats(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shutdown")
            .field("phase", &self.phase())
            .field("cause", &self.cause())
            .finish_non_exhaustive()
    }
}

/// What became of a call to [`Shutdown::trigger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triggered {
    /// This call started the shutdown.
    Now,
    /// Another one had done so before.
    Before,
}

/// What the handle and the worker share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) tracker: Tracker,
    phase: AtomicU8,
    phases: watch::Sender<Phase>,
    trigger: OnceLock<Trigger>,
    forced: OnceLock<Cause>,
    forcing: watch::Sender<bool>,
    state: Mutex<State>,
    report: watch::Sender<Option<Arc<Report>>>,
    /// The flushes that the watchdog has started, for a sequence that comes loose.
    pub(crate) flushing: Mutex<Vec<Started>>,
    /// When threads outside the runtime have to act, once it is known.
    pub(crate) alarm: (Mutex<Option<Alarm>>, Condvar),
}

/// What the watchdog waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alarm {
    /// When the flush begins at the latest.
    pub(crate) flush: std::time::Instant,
    /// The end of everything.
    pub(crate) deadline: std::time::Instant,
}

pub(crate) struct Trigger {
    pub(crate) cause: Cause,
    pub(crate) budget: Budget,
    pub(crate) started_at: jiff::Timestamp,
}

type Suspects = Arc<dyn Fn(Duration) -> Vec<(String, Duration)> + Send + Sync>;
type Listener = Arc<dyn Fn(Phase) + Send + Sync>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) resources: Registry,
    pub(crate) entrances: Vec<(EntranceKind, Arc<dyn Entrance>)>,
    listeners: Vec<Listener>,
    suspects: Vec<Suspects>,
    pub(crate) before: Vec<Hook>,
    pub(crate) after: Vec<Hook>,
    pub(crate) flushes: Vec<Hook>,
    pub(crate) entered: Vec<(Phase, Instant)>,
    pub(crate) errors: Vec<String>,
    pub(crate) closed_resources: usize,
    pub(crate) connections_at_drain: usize,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::from_index(self.phase.load(Ordering::Relaxed))
    }

    pub(crate) fn triggered(&self) -> Option<&Trigger> {
        self.trigger.get()
    }

    pub(crate) fn trigger(&self, cause: Cause, mut settings: Settings) -> Triggered {
        if cause == Cause::HandedOver {
            // Whoever comes is served by the successor already: there is nothing to be noticed by anybody.
            settings.delay = Duration::ZERO;
        }
        let budget = Budget::new(Instant::now(), &settings);
        let trigger = Trigger { cause, budget, started_at: jiff::Timestamp::now() };
        let set = Alarm { flush: trigger.budget.resources.into_std(), deadline: trigger.budget.deadline.into_std() };
        if self.trigger.set(trigger).is_err() {
            return Triggered::Before;
        }
        let (alarm, changed) = &self.alarm;
        *alarm.lock().unwrap_or_else(PoisonError::into_inner) = Some(set);
        changed.notify_all();
        // Entered here, not by the worker: readiness fails at once, even when the worker waits for its turn.
        self.enter(Phase::Initiated);
        Triggered::Now
    }

    pub(crate) fn follow(&self) -> watch::Receiver<Phase> {
        self.phases.subscribe()
    }

    pub(crate) async fn begun(&self) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.phases.subscribe().wait_for(|phase| *phase != Phase::Running).await;
    }

    pub(crate) fn forced_by(&self) -> Option<&Cause> {
        self.forced.get()
    }

    pub(crate) async fn forced(&self) {
        // As above.
        let _ = self.forcing.subscribe().wait_for(|forced| *forced).await;
    }

    /// Moves to a phase and tells everybody: the log, those who watch, the hooks.
    pub(crate) fn enter(&self, phase: Phase) {
        let now = Instant::now();
        self.phase.store(phase as u8, Ordering::Relaxed);
        let listeners = {
            let mut state = self.lock();
            state.entered.push((phase, now));
            state.listeners.clone()
        };
        if let Some(trigger) = self.trigger.get() {
            let remaining_ms = u64::try_from(trigger.budget.remaining(now).as_millis()).unwrap_or(u64::MAX);
            tracing::info!(
                target: "wellkept::shutdown",
                phase = phase.as_str(),
                cause = %trigger.cause,
                remaining_ms,
                "shutdown: {phase}"
            );
        }
        for listener in listeners {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| listener(phase))) {
                self.error(format!("a listener panicked at {phase}: {}", panic_text(&*payload)));
            }
        }
        // Last, so that whoever is woken finds the listeners' work done: readiness is off before the next phase begins.
        self.phases.send_replace(phase);
    }

    /// Notes an error for the report, and logs it.
    pub(crate) fn error(&self, line: String) {
        tracing::error!(target: "wellkept::shutdown", phase = self.phase().as_str(), "{line}");
        self.lock().errors.push(line);
    }

    /// Adds someone who can say who holds a thread for longer than a time.
    pub(crate) fn suspect(&self, who: impl Fn(Duration) -> Vec<(String, Duration)> + Send + Sync + 'static) {
        self.lock().suspects.push(Arc::new(who));
    }

    /// Who holds a thread for longer than this.
    pub(crate) fn suspects(&self, for_longer_than: Duration) -> Vec<(String, Duration)> {
        let suspects = self.lock().suspects.clone();
        suspects.iter().flat_map(|who| who(for_longer_than)).collect()
    }

    pub(crate) fn elapsed_seconds(&self) -> f64 {
        self.trigger.get().map_or(0.0, |trigger| seconds(trigger.budget.began.elapsed()))
    }

    pub(crate) fn publish(&self, report: Report) {
        self.report.send_replace(Some(Arc::new(report)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceType;

    /// Calls the shutdown when it is dropped.
    struct CallsBack(Shutdown);

    impl Drop for CallsBack {
        fn drop(&mut self) {
            self.0.stats();
        }
    }

    #[test]
    fn what_a_closer_holds_may_call_the_shutdown_as_it_is_dropped() {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (shutdown, sequence) = Shutdown::new(Settings::default());
            let holds = || {
                let held = CallsBack(shutdown.clone());
                Resource::new("pool", ResourceType::Custom, move || async move { drop(held) })
            };
            let id = shutdown.register(holds()).unwrap();
            assert!(shutdown.unregister(id));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            shutdown.trigger(Cause::requested("test"));
            runtime.block_on(sequence.run());
            assert_eq!(shutdown.register(holds()), Err(RegisterError::Closing));
            tell.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(20)).expect("it ends");
    }
}
