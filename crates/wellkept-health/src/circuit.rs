//! The circuit breaker: a check that keeps failing is left alone for a while, longer each time.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::outcome::{Outcome, Reason, Verdict};
use crate::schedule::fraction;
use crate::table::milliseconds;

/// How a check is spared that keeps failing: a dependency that is down is not helped by being asked at every interval,
/// and one that charges by the call is paid for nothing.
///
/// After `failures` consecutive failed runs the circuit opens: a run then ends at once as failed, with the reason
/// `circuit_open`, and the check is not asked. After a back-off one run is let through. If it fails, the next back-off
/// is twice as long; if it does not, the circuit closes. A run that timed out or panicked has failed; a warning has not.
///
/// A back-off is shortened by up to a fifth at random, so that replicas do not come back all at once.
///
/// ```
/// use std::time::Duration;
/// use wellkept_health::{AnyCheck, CircuitBreaker, Component};
///
/// let breaker = CircuitBreaker::new().failures(3).first(Duration::from_secs(5)).most(Duration::from_secs(60));
/// let component = Component::new("payments", AnyCheck::from_fn(async || ())).circuit(breaker);
/// # drop(component);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    failures: u32,
    first: Duration,
    most: Duration,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new()
    }
}

impl CircuitBreaker {
    /// Opens after 5 failures, for 10 s at first and 5 min at most.
    pub const fn new() -> Self {
        Self { failures: 5, first: Duration::from_secs(10), most: Duration::from_secs(300) }
    }

    /// Consecutive failed runs that open the circuit. At least 1, default 5.
    #[must_use]
    pub const fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// The first back-off. From 10 ms to `most`, default 10 s.
    #[must_use]
    pub const fn first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// The longest back-off. At most 24 h, default 5 min.
    #[must_use]
    pub const fn most(mut self, most: Duration) -> Self {
        self.most = most;
        self
    }

    /// What is wrong with it, if something is.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.failures == 0 {
            Some("a circuit opens after at least 1 failure")
        } else if self.first < SHORTEST || self.most > LONGEST {
            Some("a circuit's back-off must be from 10ms to 24h")
        } else if self.first > self.most {
            Some("a circuit's first back-off must not be longer than the longest")
        } else {
            None
        }
    }
}

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The share of a back-off by which chance may shorten it.
const SPREAD: f64 = 0.2;

/// The circuit of one component; its clones stand behind the same one.
#[derive(Debug)]
pub(crate) struct Circuit {
    component: Arc<str>,
    breaker: CircuitBreaker,
    machine: Mutex<Machine>,
    chance: RandomState,
}

#[derive(Debug)]
struct Machine {
    state: State,
    /// Counts the changes of state: what a run finds that was let through in an earlier one changes nothing.
    turn: u64,
    /// Why the latest failed run did.
    reason: Option<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    HalfOpen { pause: Duration },
}

impl Circuit {
    pub(crate) fn new(component: Arc<str>, breaker: CircuitBreaker) -> Arc<Self> {
        let machine = Machine { state: State::Closed { failures: 0 }, turn: 0, reason: None };
        Arc::new(Self { component, breaker, machine: Mutex::new(machine), chance: RandomState::new() })
    }

    pub(crate) fn breaker(&self) -> CircuitBreaker {
        self.breaker
    }

    /// Lets a run through, or says what it counts as without.
    pub(crate) fn ask(self: &Arc<Self>) -> Answer {
        match self.admit() {
            Ok(permit) => Answer::Go(permit),
            Err(refused) => Answer::No(refused.outcome("not asked: it failed too often in a row")),
        }
    }

    /// Lets a run or a call through, or says how the circuit stands.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Permit, CircuitStanding> {
        let now = Instant::now();
        let mut machine = self.machine();
        match machine.state {
            State::Closed { .. } => {}
            State::Open { until, pause } if until <= now => machine.turn_to(State::HalfOpen { pause }),
            State::Open { .. } | State::HalfOpen { .. } => return Err(machine.standing(now)),
        }
        Ok(Permit { circuit: Arc::clone(self), turn: machine.turn, told: false })
    }

    pub(crate) fn standing(&self) -> CircuitStanding {
        self.machine().standing(Instant::now())
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.component
    }

    fn failed(&self, turn: u64, reason: Option<Reason>) {
        let now = Instant::now();
        let mut machine = self.machine();
        if machine.turn != turn {
            return;
        }
        machine.reason = reason;
        match machine.state {
            State::Closed { failures } if failures + 1 < self.breaker.failures => {
                machine.state = State::Closed { failures: failures + 1 };
            }
            State::Closed { .. } => {
                let pause = self.breaker.first;
                machine.turn_to(State::Open { until: now + self.shortened(pause, turn), pause });
                drop(machine);
                tracing::warn!(
                    target: "wellkept::health", component = &*self.component, failures = self.breaker.failures,
                    "the circuit opens: what is behind it is left alone"
                );
            }
            State::HalfOpen { pause } => {
                let pause = pause.saturating_mul(2).min(self.breaker.most);
                machine.turn_to(State::Open { until: now + self.shortened(pause, turn), pause });
            }
            // No run is let through while it is open.
            State::Open { .. } => {}
        }
    }

    fn worked(&self, turn: u64) {
        let mut machine = self.machine();
        if machine.turn != turn {
            return;
        }
        match machine.state {
            State::Closed { .. } => machine.state = State::Closed { failures: 0 },
            State::HalfOpen { .. } | State::Open { .. } => {
                machine.turn_to(State::Closed { failures: 0 });
                drop(machine);
                tracing::info!(
                    target: "wellkept::health", component = &*self.component, "the circuit closes: what is behind it works again"
                );
            }
        }
    }

    /// A run that nobody awaits any more says nothing about the check: the next one may try.
    fn abandoned(&self, turn: u64) {
        let mut machine = self.machine();
        if machine.turn == turn
            && let State::HalfOpen { pause } = machine.state
        {
            machine.turn_to(State::Open { until: Instant::now(), pause });
        }
    }

    fn shortened(&self, pause: Duration, turn: u64) -> Duration {
        pause.mul_f64(1.0 - SPREAD * fraction(self.chance.hash_one(turn)))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // Every change under this lock is one assignment.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    fn turn_to(&mut self, state: State) {
        self.state = state;
        self.turn += 1;
    }

    fn standing(&self, now: Instant) -> CircuitStanding {
        let reason = self.reason.clone();
        match self.state {
            State::Closed { failures } => {
                CircuitStanding { state: CircuitState::Closed, failures, next_attempt_in: None, reason }
            }
            State::Open { until, .. } => {
                let next_attempt_in = Some(until.saturating_duration_since(now));
                CircuitStanding { state: CircuitState::Open, failures: 0, next_attempt_in, reason }
            }
            State::HalfOpen { .. } => {
                CircuitStanding { state: CircuitState::HalfOpen, failures: 0, next_attempt_in: None, reason }
            }
        }
    }
}

/// How a circuit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitStanding {
    /// Whether it lets calls through.
    pub state: CircuitState,
    /// Consecutive failures that it has let through while closed.
    pub failures: u32,
    /// While it is open, until when it lets the next one through.
    pub next_attempt_in: Option<Duration>,
    /// Why the latest failure was one, where that is known.
    pub reason: Option<Reason>,
}

/// Whether a circuit lets calls through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// All.
    Closed,
    /// None.
    Open,
    /// One is under way that decides.
    HalfOpen,
}

impl CircuitState {
    /// The stable word: `closed`, `open`, `half_open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl CircuitStanding {
    /// A pass while it is closed, a warning while one call decides, and a failure while it is open.
    pub(crate) fn reported(&self) -> Outcome {
        let outcome = match self.state {
            CircuitState::Closed => Outcome::pass(),
            CircuitState::HalfOpen => Outcome::warn(Reason::CircuitOpen, "the circuit is being tried"),
            CircuitState::Open => Outcome::fail(Reason::CircuitOpen, "the circuit is open"),
        };
        self.told(outcome).with("failures", self.failures)
    }

    fn outcome(&self, message: &'static str) -> Outcome {
        self.told(Outcome::fail(Reason::CircuitOpen, message))
    }

    fn told(&self, outcome: Outcome) -> Outcome {
        let next = self.next_attempt_in.map(milliseconds);
        let reason = self.reason.as_ref().map(Reason::as_str);
        let circuit = json!({ "state": self.state.as_str(), "next_attempt_in_ms": next, "last_reason": reason });
        outcome.with("circuit", circuit)
    }
}

/// Whether the check may be asked.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It may.
    Go(Permit),
    /// It may not, and this is what the run counts as.
    No(Outcome),
}

/// A run that was let through. Dropped without a word, it was given up before its outcome was known.
#[derive(Debug)]
pub(crate) struct Permit {
    circuit: Arc<Circuit>,
    turn: u64,
    told: bool,
}

impl Permit {
    /// What the run found, its timeout taken into account.
    pub(crate) fn tell(self, outcome: &Outcome) {
        match outcome.verdict() {
            Verdict::Pass | Verdict::Warn => self.worked(),
            Verdict::Fail => self.failed(outcome.reason().cloned()),
        }
    }

    pub(crate) fn worked(mut self) {
        self.told = true;
        self.circuit.worked(self.turn);
    }

    pub(crate) fn failed(mut self, reason: Option<Reason>) {
        self.told = true;
        self.circuit.failed(self.turn, reason);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.told {
            self.circuit.abandoned(self.turn);
        }
    }
}

#[cfg(test)]
mod tests;
