//! Whether this process is alive: an OS thread asks the runtime, so that a wedged runtime is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::check::{AnyCheck, Scope};
use crate::clock::Clock;
use crate::component::{Component, Group};
use crate::outcome::{Outcome, Reason};

/// What is known of the runtime's life. Without a [`Liveness::watch`] it is taken for alive.
#[derive(Debug, Clone)]
pub struct Liveness {
    clock: Arc<dyn Clock>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The latest answer of the runtime, in milliseconds since the epoch.
    heartbeat: AtomicI64,
    /// For how long the runtime has owed an answer, in milliseconds.
    stalled: AtomicU64,
    /// The latest answer's delay, in microseconds.
    lag: AtomicU64,
    limit: AtomicU64,
    /// Stalls noticed so far.
    stalls: AtomicU64,
}

impl Liveness {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            heartbeat: AtomicI64::new(clock.wall().as_millisecond()),
            stalled: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            stalls: AtomicU64::new(0),
        };
        Self { clock, state: Arc::new(state) }
    }

    /// Starts the thread that asks `runtime` every `period` and takes it for stalled when an answer is `limit` late.
    /// The thread ends with the last clone of the returned guard.
    pub fn watch(&self, runtime: Handle, period: Duration, limit: Duration) -> std::io::Result<LivenessWatch> {
        let stop = Arc::new(AtomicBool::new(false));
        self.state.limit.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let (liveness, stopped) = (self.clone(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("wk-liveness".to_owned())
            .spawn(move || liveness.ask_until(&stopped, &runtime, period))?;
        Ok(LivenessWatch { stop, thread: thread.thread().clone() })
    }

    /// Whether the runtime owes an answer for longer than the limit.
    pub fn is_stalled(&self) -> bool {
        self.stalled_for() >= Duration::from_millis(self.state.limit.load(Ordering::Relaxed))
    }

    /// For how long the runtime has owed an answer.
    pub fn stalled_for(&self) -> Duration {
        Duration::from_millis(self.state.stalled.load(Ordering::Relaxed))
    }

    /// How late the latest answer came.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.state.lag.load(Ordering::Relaxed))
    }

    /// How often the runtime was found stalled.
    pub fn stalls_total(&self) -> u64 {
        self.state.stalls.load(Ordering::Relaxed)
    }

    /// When the runtime last answered.
    pub fn last_heartbeat(&self) -> Timestamp {
        Timestamp::from_millisecond(self.state.heartbeat.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The event loop as a component in group `live`: it warns when the loop answers later than `slow`.
    pub fn component(&self, name: &str, slow: Duration) -> Component {
        let liveness = self.clone();
        let check = AnyCheck::from_fn(move || {
            let lag = liveness.lag();
            let late = lag > slow;
            let outcome =
                if late { Outcome::warn(Reason::Slow, "the event loop answers late") } else { Outcome::pass() };
            let stalls = liveness.stalls_total();
            async move { outcome.with("lag_ms", crate::table::milliseconds(lag)).with("stalls", stalls) }
        });
        Component::new(name, check).scope(Scope::Process).groups([Group::Live])
    }

    fn ask_until(&self, stop: &AtomicBool, runtime: &Handle, period: Duration) {
        let answered = Arc::new(AtomicBool::new(true));
        let mut last = Instant::now();
        let mut reported = false;
        while !stop.load(Ordering::Acquire) {
            if answered.swap(false, Ordering::AcqRel) {
                if reported {
                    tracing::warn!(target: "wellkept::health", "the runtime answers again");
                    reported = false;
                }
                self.state.stalled.store(0, Ordering::Relaxed);
                self.ask(runtime, &answered);
            } else {
                // A process that was stopped as a whole wakes up with one long pause: it counts as two periods, or
                // every resume would look like a stall.
                let owed = last.elapsed().min(period * 2);
                let stalled = self.stalled_for() + owed;
                let millis = u64::try_from(stalled.as_millis()).unwrap_or(u64::MAX);
                self.state.stalled.store(millis, Ordering::Relaxed);
                if self.is_stalled() && !reported {
                    reported = true;
                    self.state.stalls.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(
                        target: "wellkept::health", stalled_ms = millis,
                        "the runtime is stalled: a task blocks its threads; liveness fails"
                    );
                }
            }
            last = Instant::now();
            std::thread::park_timeout(period);
        }
    }

    fn ask(&self, runtime: &Handle, answered: &Arc<AtomicBool>) {
        let (liveness, answered, asked) = (self.clone(), Arc::clone(answered), Instant::now());
        drop(runtime.spawn(async move {
            let lag = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            liveness.state.lag.store(lag, Ordering::Relaxed);
            liveness.state.heartbeat.store(liveness.clock.wall().as_millisecond(), Ordering::Relaxed);
            answered.store(true, Ordering::Release);
        }));
    }
}

/// Ends the watching thread when dropped. Does not wait for it.
#[derive(Debug)]
pub struct LivenessWatch {
    stop: Arc<AtomicBool>,
    thread: std::thread::Thread,
}

impl Drop for LivenessWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use wellkept_testkit::until;

    use super::*;
    use crate::{Checker, Settings};

    #[test]
    fn a_blocked_runtime_fails_liveness_and_a_free_one_passes_it_again() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (checker, engine) = Checker::new(Settings::new("tested"));
        runtime.spawn(engine.run(std::future::pending()));
        let (period, limit) = (Duration::from_millis(10), Duration::from_millis(100));
        let _watch = checker.liveness().watch(runtime.handle().clone(), period, limit).unwrap();
        let patience = Duration::from_secs(20);
        until(patience, "the start", || checker.is_started());
        assert!(checker.is_alive());

        let before = checker.liveness().last_heartbeat();
        until(patience, "a heartbeat", || checker.liveness().last_heartbeat() > before);
        let (release, held) = mpsc::channel::<()>();
        runtime.spawn(async move { held.recv() });
        until(patience, "the stall to be noticed", || !checker.is_alive());
        assert!(checker.liveness().stalled_for() >= limit);
        assert_eq!(checker.liveness().stalls_total(), 1);

        release.send(()).unwrap();
        until(patience, "the runtime to answer again", || checker.is_alive());
        assert_eq!(checker.liveness().stalls_total(), 1);
        runtime.shutdown_background();
    }

    #[tokio::test(start_paused = true)]
    async fn the_event_loop_is_a_component_on_liveness() {
        let (checker, _engine) = Checker::new(Settings::new("tested"));
        let component = checker.liveness().component("event-loop", Duration::from_millis(50));
        component.validate().unwrap();
        checker.liveness().state.lag.store(60_000, Ordering::Relaxed);
        let finished = crate::run_once(&component).await;
        assert_eq!(finished.outcome.reason(), Some(&Reason::Slow));
        assert_eq!(finished.outcome.metadata()["lag_ms"], 60.0);
    }
}
