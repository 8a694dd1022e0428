//! Claims about the circuit breaker, on tokio's paused time.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::time::sleep;

use super::*;
use crate::{AnyCheck, Component, run_once};

const SECOND: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);

/// What the check does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Pass,
    Warn,
    Fail,
    Hang,
}

const DEEDS: [Deed; 4] = [Deed::Pass, Deed::Warn, Deed::Fail, Deed::Hang];

/// A component behind a circuit breaker, and how often its check was really asked.
struct Spared {
    component: Component,
    deed: Arc<AtomicU8>,
    asked: Arc<AtomicUsize>,
}

impl Spared {
    fn new(breaker: CircuitBreaker) -> Self {
        let (deed, asked) = (Arc::new(AtomicU8::new(Deed::Fail as u8)), Arc::new(AtomicUsize::new(0)));
        let (does, counts) = (Arc::clone(&deed), Arc::clone(&asked));
        let check = AnyCheck::from_fn(move || {
            counts.fetch_add(1, Ordering::Relaxed);
            let deed = DEEDS[usize::from(does.load(Ordering::Relaxed))];
            async move {
                match deed {
                    Deed::Pass => Outcome::pass(),
                    Deed::Warn => Outcome::warn(Reason::Threshold, "nearly full"),
                    Deed::Fail => Outcome::fail(Reason::Refused, "connection refused"),
                    Deed::Hang => std::future::pending().await,
                }
            }
        });
        Self { component: Component::new("spared", check).timeout(TIMEOUT).circuit(breaker), deed, asked }
    }

    /// Runs once. Says what came of it, and whether the check was asked.
    async fn run(&self, deed: Deed) -> (Outcome, bool) {
        self.deed.store(deed as u8, Ordering::Relaxed);
        let before = self.asked.load(Ordering::Relaxed);
        let outcome = run_once(&self.component).await.outcome;
        (outcome, self.asked.load(Ordering::Relaxed) > before)
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_says_why_it_opened_and_when_it_tries_again() {
    let spared = Spared::new(CircuitBreaker::new().failures(2).first(10 * SECOND));
    for _ in 0..2 {
        assert_eq!(spared.run(Deed::Fail).await.0.reason(), Some(&Reason::Refused));
    }
    let (outcome, asked) = spared.run(Deed::Pass).await;
    assert!(!asked);
    assert_eq!((outcome.verdict(), outcome.reason()), (Verdict::Fail, Some(&Reason::CircuitOpen)));
    let circuit = &outcome.metadata()["circuit"];
    assert_eq!((&circuit["state"], &circuit["last_reason"]), (&json!("open"), &json!("refused")));
    let next = circuit["next_attempt_in_ms"].as_f64().unwrap();
    assert!((8_000.0..=10_000.0).contains(&next), "{next} ms");
    sleep(10 * SECOND).await;
    assert_eq!(spared.run(Deed::Pass).await.0, Outcome::pass());
}

#[tokio::test(start_paused = true)]
async fn one_run_at_a_time_tries_a_half_open_circuit() {
    let spared = Spared::new(CircuitBreaker::new().failures(1).first(SECOND));
    spared.run(Deed::Fail).await;
    sleep(SECOND).await;
    spared.deed.store(Deed::Hang as u8, Ordering::Relaxed);
    let trial = tokio::spawn({
        let component = spared.component.clone();
        async move { run_once(&component).await }
    });
    sleep(TIMEOUT / 2).await;
    let (outcome, asked) = spared.run(Deed::Pass).await;
    assert!(!asked, "the trial is still on its way");
    assert_eq!(outcome.metadata()["circuit"]["state"], "half_open");
    assert_eq!(trial.await.unwrap().outcome.reason(), Some(&Reason::Timeout));
    assert!(!spared.run(Deed::Pass).await.1, "a trial that timed out has failed");
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_was_given_up_leaves_the_next_run_to_try() {
    let spared = Spared::new(CircuitBreaker::new().failures(1).first(SECOND));
    spared.run(Deed::Fail).await;
    sleep(SECOND).await;
    let given_up = tokio::time::timeout(TIMEOUT / 2, spared.run(Deed::Hang)).await;
    assert!(given_up.is_err());
    assert_eq!(spared.run(Deed::Pass).await, (Outcome::pass(), true));
}

#[tokio::test(start_paused = true)]
async fn a_run_from_before_the_circuit_opened_does_not_close_it() {
    let spared = Spared::new(CircuitBreaker::new().failures(1).first(10 * SECOND));
    let circuit = spared.component.circuit.clone().unwrap();
    let Answer::Go(early) = circuit.ask() else { panic!("it is closed") };
    spared.run(Deed::Fail).await;
    early.tell(&Outcome::pass());
    assert!(!spared.run(Deed::Pass).await.1);
}

#[test]
fn a_breaker_that_makes_no_sense_is_refused() {
    let component = |breaker| Component::new("spared", AnyCheck::from_fn(async || ())).circuit(breaker);
    component(CircuitBreaker::new()).validate().unwrap();
    for breaker in [
        CircuitBreaker::new().failures(0),
        CircuitBreaker::new().first(Duration::ZERO),
        CircuitBreaker::new().most(25 * 3600 * SECOND),
        CircuitBreaker::new().first(60 * SECOND).most(10 * SECOND),
    ] {
        assert_eq!(component(breaker).validate().unwrap_err().code(), "component.setting");
    }
}

/// When the check is asked, by looking back over all runs that were: it failed `failed` times in a row, the last time
/// at `since`. `None` where chance decides.
fn model(breaker: CircuitBreaker, failed: u32, since: Instant, now: Instant) -> Option<bool> {
    let Some(backed_off) = failed.checked_sub(breaker.failures) else { return Some(true) };
    let longest = (0..backed_off).fold(breaker.first, |pause, _| (pause * 2).min(breaker.most));
    let waited = now - since;
    if waited >= longest {
        Some(true)
    } else if waited < longest.mul_f64(1.0 - SPREAD) {
        Some(false)
    } else {
        None
    }
}

#[test]
fn a_circuit_agrees_with_a_model_that_looks_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Failures are drawn more often than the rest, or few circuits would open twice.
    let deed = prop_oneof![6 => Just(Deed::Fail), 1 => Just(Deed::Hang), 1 => Just(Deed::Pass), 1 => Just(Deed::Warn)];
    let strategy = (1_u32..4, 1_u32..8, 1_u32..40, vec((0_u32..40, deed), 1..25));
    let settings = ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(settings).run(&strategy, |(failures, first, more, steps)| {
        let breaker = CircuitBreaker::new().failures(failures).first(SECOND * first).most(SECOND * (first + more));
        runtime.block_on(async {
            let spared = Spared::new(breaker);
            let (mut failed, mut since) = (0, Instant::now());
            for (wait, deed) in steps {
                sleep(SECOND * wait / 2).await;
                let expected = model(breaker, failed, since, Instant::now());
                let (outcome, asked) = spared.run(deed).await;
                if let Some(expected) = expected {
                    prop_assert_eq!(asked, expected, "after {} failures", failed);
                }
                prop_assert_eq!(!asked, outcome.reason() == Some(&Reason::CircuitOpen));
                if asked {
                    failed = if outcome.verdict() == Verdict::Fail { failed + 1 } else { 0 };
                    since = Instant::now();
                }
            }
            Ok(())
        })
    });
    outcome.unwrap();
}
