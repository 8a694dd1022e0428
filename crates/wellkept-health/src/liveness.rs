//! Whether this process is alive: an OS thread asks the runtime, so that a wedged runtime is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::check::{AnyCheck, Scope};
use crate::checker::{Checker, Lifecycle};
use crate::clock::Clock;
use crate::component::{Component, Group};
use crate::heartbeat::{Heartbeats, is_runtimes_fault};
use crate::outcome::{Outcome, Reason};
use crate::snapshot::{ComponentHealth, Snapshot};
use crate::status::Status;

impl Checker {
    /// Whether the liveness probe passes now, and why not.
    ///
    /// Computed at the time of reading: from the runtime's latest answer and the loops' latest beats, which need no
    /// engine, then from the components in group `live`: one that is down fails it. One that is unknown does not: a
    /// result of this process that has grown too old says that the engine does not run, which the watch over the
    /// runtime judges. Once the process is on its way out only the runtime counts: loops end then, and a restart is on
    /// its way (Kubernetes, "Pod Lifecycle", termination).
    pub fn life(&self) -> Life {
        let liveness = self.liveness();
        let owed = liveness.stalled_for();
        if liveness.is_stalled() {
            return Life::Stalled { owed };
        }
        match self.lifecycle() {
            Lifecycle::Draining => return Life::Alive,
            Lifecycle::Starting | Lifecycle::Running => {}
        }
        match liveness.heartbeats.worst() {
            Some((_, overdue)) if is_runtimes_fault(overdue, owed) => return Life::Stalled { owed },
            Some((pulse, overdue)) => return Life::Late { heartbeat: Arc::clone(&pulse.name), overdue },
            None => {}
        }
        // Nothing is known before the first results, and a process that starts is not a dead one.
        if self.is_started() && self.down(&self.snapshot()).next().is_some() {
            return Life::Failing;
        }
        Life::Alive
    }

    /// The components that fail liveness. A loop's is none of them: the loop is judged by its beats, and not by what
    /// the engine last made of them.
    pub(crate) fn down<'s>(&'s self, snapshot: &'s Snapshot) -> impl Iterator<Item = &'s ComponentHealth> {
        // Mostly the kept total says at once that there is nothing to look for.
        let suspects = Some(snapshot).filter(|snapshot| !snapshot.status(&Group::Live).is_ready()).into_iter();
        suspects.flat_map(|snapshot| snapshot.group(&Group::Live)).filter(|one| {
            snapshot.counts_as(one, Some(&Group::Live)) == Some(Status::Unhealthy)
                && !self.shared.heartbeats.has_named(&one.name)
        })
    }

    /// Whether the liveness probe passes now: [`Checker::life`] in a word.
    pub fn is_alive(&self) -> bool {
        self.life() == Life::Alive
    }
}

/// Whether a process lives, and what keeps it from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Life {
    /// It does.
    Alive,
    /// The runtime owes an answer: a task blocks its threads. Loops on it are late for the same reason.
    Stalled {
        /// For how long.
        owed: Duration,
    },
    /// The runtime answers, and a loop of the application's own does not beat.
    Late {
        /// The loop's name.
        heartbeat: Arc<str>,
        /// For how long it has been late.
        overdue: Duration,
    },
    /// A component in group `live` is down.
    Failing,
}

impl Life {
    /// The stable code: `alive`, `stalled`, `late`, `failing`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Stalled { .. } => "stalled",
            Self::Late { .. } => "late",
            Self::Failing => "failing",
        }
    }
}

/// How the runtime is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// How often the runtime is asked for a sign of life. Default 500 ms; what is not from 1 ms to 60 s is taken as the
    /// nearer of the two.
    pub period: Duration,
    /// How late its answer may be before liveness fails. Default 5 s; less than 1 ms is taken as that.
    pub limit: Duration,
    /// What happens when it stays stalled. Default: it is said.
    pub on_stall: OnStall,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { period: Duration::from_millis(500), limit: Duration::from_secs(5), on_stall: OnStall::Tell }
    }
}

impl WatchOptions {
    /// The same within the limits.
    fn bounded(self) -> Self {
        let period = self.period.clamp(SHORTEST, LONGEST_PERIOD);
        Self { period, limit: self.limit.max(SHORTEST), ..self }
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST_PERIOD: Duration = Duration::from_secs(60);

/// What happens when a runtime stays stalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStall {
    /// It is logged and counted, and the liveness probe fails: who asks will restart the process.
    #[default]
    Tell,
    /// The watching thread also ends the process, with [`STALLED_EXIT_CODE`], for where nobody asks. Nothing is drained
    /// or closed: what would do it is what is stalled.
    Exit {
        /// For how long the runtime must have owed an answer. Taken as the limit where that is longer. A process that
        /// was stopped as a whole and goes on has not been stalled.
        after: Duration,
    },
}

/// The exit code of a process that is ended because its runtime is stalled (`EX_SOFTWARE`).
pub const STALLED_EXIT_CODE: u8 = 70;

/// How long the last log line may take to leave.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What is known of the runtime's life. Without a [`Liveness::watch`] it is taken for alive.
#[derive(Debug, Clone)]
pub struct Liveness {
    clock: Arc<dyn Clock>,
    state: Arc<State>,
    heartbeats: Heartbeats,
}

#[derive(Debug)]
struct State {
    /// The latest answer of the runtime, in milliseconds since the epoch.
    heartbeat: AtomicI64,
    /// The latest answer's delay, in microseconds.
    lag: AtomicU64,
    /// Stalls noticed so far.
    stalls: AtomicU64,
    /// What the watch that is on has found. What one that is over still finds is its own affair.
    watched: ArcSwapOption<Watched>,
}

#[derive(Debug)]
struct Watched {
    /// For how long the runtime has owed an answer, in milliseconds.
    stalled: AtomicU64,
    limit: Duration,
}

impl Watched {
    fn stalled_for(&self) -> Duration {
        Duration::from_millis(self.stalled.load(Ordering::Relaxed))
    }
}

impl State {
    /// Ends a watch, if it is still the one that is on.
    fn end(&self, watched: &Arc<Watched>) {
        self.watched.compare_and_swap(watched, None);
    }
}

impl Liveness {
    pub(crate) fn new(clock: Arc<dyn Clock>, heartbeats: Heartbeats) -> Self {
        let state = State {
            heartbeat: AtomicI64::new(clock.wall().as_millisecond()),
            lag: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            watched: ArcSwapOption::empty(),
        };
        Self { clock, state: Arc::new(state), heartbeats }
    }

    /// Starts the thread that asks `runtime` for signs of life and takes it for stalled when an answer is late. It also
    /// logs and counts the [heartbeats](Checker::heartbeat) that are late. It ends when the returned guard is dropped,
    /// or when the runtime is gone; the runtime is then taken for alive.
    ///
    /// # Errors
    /// `AlreadyExists` while another watch is on: a process has one runtime whose life is its own. Otherwise when the
    /// thread can't be started.
    pub fn watch(&self, runtime: Handle, options: WatchOptions) -> std::io::Result<LivenessWatch> {
        let options = options.bounded();
        let watched = Arc::new(Watched { stalled: AtomicU64::new(0), limit: options.limit });
        let before = self.state.watched.compare_and_swap(&None::<Arc<Watched>>, Some(Arc::clone(&watched)));
        if before.is_some() {
            return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "the runtime is watched already"));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (liveness, stopped, found) = (self.clone(), Arc::clone(&stop), Arc::clone(&watched));
        let thread = std::thread::Builder::new().name("wk-liveness".to_owned()).spawn(move || {
            liveness.ask_until(&stopped, &runtime, options, &found);
            liveness.state.end(&found);
        });
        let thread = thread.inspect_err(|_| self.state.end(&watched))?.thread().clone();
        Ok(LivenessWatch { stop, thread, watched, state: Arc::clone(&self.state) })
    }

    /// Whether the runtime owes an answer for longer than the limit.
    pub fn is_stalled(&self) -> bool {
        self.state.watched.load().as_ref().is_some_and(|watched| watched.stalled_for() >= watched.limit)
    }

    /// For how long the runtime has owed an answer.
    pub fn stalled_for(&self) -> Duration {
        self.state.watched.load().as_ref().map_or(Duration::ZERO, |watched| watched.stalled_for())
    }

    /// How late the latest answer came.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.state.lag.load(Ordering::Relaxed))
    }

    /// How often the runtime was found stalled.
    pub fn stalls_total(&self) -> u64 {
        self.state.stalls.load(Ordering::Relaxed)
    }

    /// How often a loop with a [heartbeat](Checker::heartbeat) was found late while the runtime answered. Counted by
    /// the thread of [`Liveness::watch`].
    pub fn late_total(&self) -> u64 {
        self.heartbeats.late_total()
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

    fn ask_until(&self, stop: &AtomicBool, runtime: &Handle, options: WatchOptions, watched: &Watched) {
        let answer = Arc::new(AtomicU8::new(ANSWERED));
        let mut last = Instant::now();
        let mut reported = false;
        while !stop.load(Ordering::Acquire) {
            // A process that was stopped as a whole wakes up with one long pause. It counts as two periods, or every
            // resume would look like a stall of the runtime and of all loops.
            let most = options.period * 2;
            let waited = last.elapsed();
            match answer.swap(OWED, Ordering::AcqRel) {
                GONE => return,
                ANSWERED => {
                    if reported {
                        tracing::warn!(target: "wellkept::health", "the runtime answers again");
                        reported = false;
                    }
                    watched.stalled.store(0, Ordering::Relaxed);
                    self.ask(runtime, &answer);
                }
                _ => {
                    self.owe(watched.stalled_for() + waited.min(most), options, watched, &mut reported);
                }
            }
            self.heartbeats.forgive(waited.saturating_sub(most));
            self.heartbeats.look(watched.stalled_for());
            last = Instant::now();
            std::thread::park_timeout(options.period);
        }
    }

    fn owe(&self, stalled: Duration, options: WatchOptions, watched: &Watched, reported: &mut bool) {
        let stalled_ms = u64::try_from(stalled.as_millis()).unwrap_or(u64::MAX);
        watched.stalled.store(stalled_ms, Ordering::Relaxed);
        if stalled >= options.limit && !*reported {
            *reported = true;
            self.state.stalls.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                target: "wellkept::health", stalled_ms,
                "the runtime is stalled: a task blocks its threads; liveness fails"
            );
        }
        if let OnStall::Exit { after } = options.on_stall
            && stalled >= after.max(options.limit)
        {
            end_process(stalled_ms);
        }
    }

    fn ask(&self, runtime: &Handle, answer: &Arc<AtomicU8>) {
        let (liveness, asked) = (self.clone(), Instant::now());
        let question = Question { answer: Arc::clone(answer), said: GONE };
        drop(runtime.spawn(async move {
            let lag = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            liveness.state.lag.store(lag, Ordering::Relaxed);
            liveness.state.heartbeat.store(liveness.clock.wall().as_millisecond(), Ordering::Relaxed);
            question.answered();
        }));
    }
}

/// The runtime's answer: still to come, given, or never to come.
const OWED: u8 = 0;
const ANSWERED: u8 = 1;
const GONE: u8 = 2;

/// Tells also when it is dropped unasked, which is what a runtime that has ended does with it.
struct Question {
    answer: Arc<AtomicU8>,
    said: u8,
}

impl Question {
    fn answered(mut self) {
        self.said = ANSWERED;
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.answer.store(self.said, Ordering::Release);
    }
}

fn end_process(stalled_ms: u64) -> ! {
    let until = Instant::now() + LAST_WORDS;
    // The log may be what hangs, so it gets a thread and a moment, part of which is for what it hands the line to.
    drop(std::thread::Builder::new().spawn(move || {
        tracing::error!(target: "wellkept::health", stalled_ms, "the runtime stays stalled: the process is ended");
    }));
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    std::process::exit(i32::from(STALLED_EXIT_CODE));
}

/// Ends the watching thread when dropped. Does not wait for it.
#[derive(Debug)]
pub struct LivenessWatch {
    stop: Arc<AtomicBool>,
    thread: std::thread::Thread,
    watched: Arc<Watched>,
    state: Arc<State>,
}

impl Drop for LivenessWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.state.end(&self.watched);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use wellkept_testkit::until;

    use super::*;
    use crate::{Checker, Settings, TokioClock};

    #[test]
    fn a_blocked_runtime_fails_liveness_and_a_free_one_passes_it_again() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (checker, engine) = Checker::new(Settings::new("tested"));
        runtime.spawn(engine.run(std::future::pending()));
        let limit = Duration::from_millis(100);
        let options = WatchOptions { period: Duration::from_millis(10), limit, ..WatchOptions::default() };
        let _watch = checker.liveness().watch(runtime.handle().clone(), options).unwrap();
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

    #[test]
    fn a_runtime_that_has_ended_is_not_stalled() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (checker, _engine) = runtime.block_on(async { Checker::new(Settings::new("tested")) });
        let options = WatchOptions { period: Duration::from_millis(1), ..WatchOptions::default() };
        let watch = checker.liveness().watch(runtime.handle().clone(), options).unwrap();
        drop(runtime);
        until(Duration::from_secs(20), "the watch to end", || Arc::strong_count(&watch.stop) == 1);
        assert_eq!(checker.liveness().stalled_for(), Duration::ZERO);
        let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let next = checker.liveness().watch(other.handle().clone(), options).unwrap();
        drop(watch);
        assert!(checker.liveness().state.watched.load().is_some(), "the end of the first one is not the second one's");
        drop(next);
    }

    #[test]
    fn one_watch_is_on_at_a_time_and_leaves_no_stall_behind() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (checker, _engine) = Checker::new(Settings::new("tested"));
        let limit = Duration::from_millis(20);
        let options = WatchOptions { period: Duration::from_millis(1), limit, ..WatchOptions::default() };
        let watch = checker.liveness().watch(runtime.handle().clone(), options).unwrap();
        let again = checker.liveness().watch(runtime.handle().clone(), options);
        assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        let (release, held) = mpsc::channel::<()>();
        runtime.spawn(async move { held.recv() });
        until(Duration::from_secs(20), "the stall to be noticed", || checker.liveness().is_stalled());
        drop(watch);
        assert!(checker.is_alive() && checker.liveness().stalled_for() == Duration::ZERO, "nobody watches");
        let watch = checker.liveness().watch(runtime.handle().clone(), options).unwrap();
        until(Duration::from_secs(20), "the stall to be noticed again", || checker.liveness().is_stalled());
        release.send(()).unwrap();
        until(Duration::from_secs(20), "the runtime to answer again", || checker.is_alive());
        drop(watch);
        runtime.shutdown_background();
    }

    #[test]
    fn settings_of_a_watch_that_nobody_can_keep_are_taken_as_the_nearest() {
        let none = WatchOptions { period: Duration::ZERO, limit: Duration::ZERO, ..WatchOptions::default() }.bounded();
        assert_eq!((none.period, none.limit), (SHORTEST, SHORTEST));
        let most = WatchOptions { period: Duration::MAX, limit: Duration::MAX, ..WatchOptions::default() }.bounded();
        assert_eq!((most.period, most.limit), (LONGEST_PERIOD, Duration::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_live_component_fails_liveness_while_it_is_down_and_not_by_its_age() {
        let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
        let check = AnyCheck::from_fn(async || Outcome::fail(Reason::Internal, "stuck"));
        checker.register(Component::new("loop", check).scope(Scope::Process).groups([Group::Live])).unwrap();
        let engine = tokio::spawn(engine.run(std::future::pending()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(checker.life(), Life::Failing);
        engine.abort();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(checker.snapshot().status(&Group::Live), Status::Unknown);
        assert_eq!(checker.life(), Life::Alive, "nothing is known of it but that the engine does not run");
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
