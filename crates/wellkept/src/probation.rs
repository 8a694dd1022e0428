//! Whether the service is worse off since its configuration was changed: readiness that was there and is lost, a check
//! that panics, or requests that fail.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wellkept_config::Judge;
use wellkept_health::{Checker, Reason, Status};
use wellkept_http::{RequestLayer, Responses};

/// Of so many responses since the change at least a share that fails says something.
const ENOUGH: u64 = 50;
/// One in so many that fails is too many, if it is twice what it was before as well.
const ONE_IN: u64 = 20;

/// For how long readiness must be lost: a check that is built anew may need a moment.
const LOST: Duration = Duration::from_secs(5);

/// Judges a change by the service's health, and by what its requests come to where they are counted.
pub(crate) struct Health {
    checker: Checker,
    requests: Option<RequestLayer>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Whether it was ready before the change.
    was_ready: bool,
    /// The checks that panicked already then.
    panicked: HashSet<Arc<str>>,
    /// Since when readiness is lost.
    lost: Option<Instant>,
    /// The responses until the change.
    responses: Responses,
}

impl Health {
    pub(crate) fn new(checker: Checker, requests: Option<RequestLayer>) -> Self {
        Self { checker, requests, seen: Mutex::default() }
    }

    fn responses(&self) -> Responses {
        self.requests.as_ref().map(RequestLayer::responses).unwrap_or_default()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn panicked(&self) -> impl Iterator<Item = Arc<str>> {
        let snapshot = self.checker.snapshot();
        let panicked = snapshot.components().filter(|one| one.raw_reason == Some(Reason::Panic));
        panicked.map(|one| Arc::clone(&one.name)).collect::<Vec<_>>().into_iter()
    }
}

impl Judge for Health {
    fn before(&self) {
        let was_ready = self.checker.readiness().ready;
        let (panicked, responses) = (self.panicked().collect(), self.responses());
        *self.seen() = Seen { was_ready, panicked, lost: None, responses };
    }

    fn verdict(&self) -> Option<String> {
        let mut seen = self.seen();
        if let Some(name) = self.panicked().find(|name| !seen.panicked.contains(name)) {
            return Some(format!("check `{name}` panics"));
        }
        if let Some(verdict) = failing(seen.responses, self.responses()) {
            return Some(verdict);
        }
        let readiness = self.checker.readiness();
        // Who is taken out by hand, or by a window, is not so because of the configuration's being bad.
        if !seen.was_ready || readiness.ready || readiness.status == Status::Maintenance {
            seen.lost = None;
            return None;
        }
        let lost = *seen.lost.get_or_insert_with(Instant::now);
        let status = readiness.status.as_str();
        (lost.elapsed() >= LOST).then(|| format!("readiness is lost for {LOST:?}: {status}"))
    }
}

/// Whether too many requests fail since the change.
fn failing(before: Responses, now: Responses) -> Option<String> {
    let (all, failed) = (now.all.saturating_sub(before.all), now.failed.saturating_sub(before.failed));
    let many = all >= ENOUGH && failed.saturating_mul(ONE_IN) >= all;
    // Twice the share before, without dividing.
    let twice = u128::from(failed) * u128::from(before.all) >= 2 * u128::from(before.failed) * u128::from(all);
    (many && twice).then(|| format!("{failed} of {all} requests failed since the change"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use wellkept_health::{AnyCheck, Component, Outcome, Settings, Thresholds, TokioClock};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn requests_that_fail_more_than_before_fail_a_probation() {
        let counted = |all, failed| Responses { all, failed };
        let new = counted(0, 0);
        assert_eq!(failing(new, counted(49, 49)), None, "too few to tell");
        assert_eq!(failing(new, counted(100, 4)), None);
        assert_eq!(failing(new, counted(100, 5)).unwrap(), "5 of 100 requests failed since the change");
        let bad_before = counted(1000, 100);
        assert_eq!(failing(bad_before, counted(1100, 119)), None, "it was hardly better before");
        assert_eq!(failing(bad_before, counted(1100, 120)).unwrap(), "20 of 100 requests failed since the change");
    }

    async fn judged_after(state: &Arc<AtomicU8>, health: &Health, now: u8, seconds: u32) -> Option<String> {
        state.store(now, Ordering::Relaxed);
        let mut verdict = None;
        for _ in 0..seconds {
            // pace: the judge is asked every second.
            tokio::time::sleep(SECOND).await;
            verdict = verdict.or(health.verdict());
        }
        verdict
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_that_is_lost_for_five_seconds_or_a_new_panic_fails_a_probation() {
        let settings = Settings { clock: TokioClock::start(), ..Settings::new("tested") };
        let (checker, engine) = Checker::new(settings);
        let state = Arc::new(AtomicU8::new(0));
        let asked = Arc::clone(&state);
        let check = AnyCheck::from_fn(move || {
            let state = asked.load(Ordering::Relaxed);
            async move {
                assert!(state < 2, "it panics");
                if state == 0 { Outcome::pass() } else { Outcome::fail(Reason::Error, "down") }
            }
        });
        let component = Component::new("db", check).interval(SECOND / 4).thresholds(Thresholds::new(1, 1));
        checker.register(component).unwrap();
        tokio::spawn(engine.run(std::future::pending()));
        let health = Health::new(checker.clone(), None);
        assert_eq!(judged_after(&state, &health, 0, 1).await, None);
        assert!(checker.readiness().ready);

        health.before();
        assert_eq!(judged_after(&state, &health, 1, 4).await, None, "it may come back");
        assert_eq!(judged_after(&state, &health, 0, 2).await, None);
        let verdict = judged_after(&state, &health, 1, 8).await.unwrap();
        assert!(verdict.starts_with("readiness is lost"), "{verdict}");

        health.before();
        assert_eq!(judged_after(&state, &health, 1, 8).await, None, "it was not ready before");
        assert_eq!(judged_after(&state, &health, 2, 2).await.unwrap(), "check `db` panics");
        health.before();
        assert_eq!(judged_after(&state, &health, 2, 2).await, None, "it panicked before");
    }
}
