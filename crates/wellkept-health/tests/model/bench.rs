//! What every model test stands on: a clock whose three faces move one by one, checks that answer what they are told,
//! and the engine run on time that takes none.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use wellkept_health::{AnyCheck, Checker, Clock, Component, Outcome, Reason, Schedule, Settings, Verdict};

/// Cases of each rule.
const CASES: u32 = 10_000;

/// Long enough on paused time for the engine to publish twice.
const SETTLE: Duration = Duration::from_millis(25);

pub(crate) type Verdicts = Result<(), TestCaseError>;

/// Runs the cases of one rule, all on one runtime whose time stands still but for sleeps.
pub(crate) fn check<S: Strategy>(strategy: &S, rule: impl AsyncFn(S::Value) -> Verdicts) {
    let runtime: Runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without drivers");
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(strategy, |value| runtime.block_on(rule(value)));
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A clock that only moves when it is told to. All in seconds.
#[derive(Debug, Default)]
pub(crate) struct Faces {
    awake: AtomicU64,
    slept: AtomicU64,
    wall_set: AtomicI64,
}

impl Faces {
    /// Time passes.
    pub(crate) fn pass(&self, seconds: u64) {
        self.awake.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The machine sleeps: the clock of ages goes on, and the wall's.
    pub(crate) fn sleep(&self, seconds: u64) {
        self.slept.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Somebody sets the clock on the wall.
    pub(crate) fn set_wall(&self, seconds: i64) {
        self.wall_set.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Faces {
    fn boot(&self) -> Duration {
        self.coarse() + Duration::from_secs(self.slept.load(Ordering::Relaxed))
    }

    fn coarse(&self) -> Duration {
        Duration::from_secs(self.awake.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Timestamp {
        let origin = Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        origin + self.boot() + SignedDuration::from_secs(self.wall_set.load(Ordering::Relaxed))
    }
}

/// A component whose check finds what was last set, and runs only when it is asked to.
pub(crate) fn set(name: &str) -> (Component, Finding) {
    let finding = Finding { component: name.to_owned(), code: Arc::new(AtomicU8::new(0)) };
    let code = Arc::clone(&finding.code);
    let check = AnyCheck::from_fn(move || {
        let outcome = match code.load(Ordering::Relaxed) {
            0 => Outcome::pass(),
            1 => Outcome::warn(Reason::Threshold, "nearly full"),
            _ => Outcome::fail(Reason::Refused, "connection refused"),
        };
        async move { outcome }
    });
    let never = Duration::from_secs(366 * 24 * 3600);
    let schedule = Schedule { interval: never, initial_delay: never, ..Schedule::default() };
    (Component::new(name, check).schedule(schedule), finding)
}

/// What a component's check finds.
pub(crate) struct Finding {
    component: String,
    code: Arc<AtomicU8>,
}

/// A checker that runs, with its own clock.
pub(crate) struct Running {
    pub(crate) checker: Checker,
    pub(crate) clock: Arc<Faces>,
    engine: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start() -> Self {
        let clock = Arc::new(Faces::default());
        let settings = Settings { clock: Arc::<Faces>::clone(&clock), ..Settings::new("modelled") };
        let (checker, engine) = Checker::new(settings);
        Self { checker, clock, engine: tokio::spawn(engine.run(std::future::pending())) }
    }

    /// Has a check come to a result, which is published when this returns.
    pub(crate) async fn find(&self, finding: &Finding, verdict: Verdict) {
        finding.code.store(verdict as u8, Ordering::Relaxed);
        self.checker.check_component(&finding.component).await.expect("it is there, and the engine runs");
    }

    /// Lets the engine take in and publish what was registered or switched.
    pub(crate) async fn settle(&self) {
        tokio::time::sleep(SETTLE).await; // pace: on paused time
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.abort();
    }
}
