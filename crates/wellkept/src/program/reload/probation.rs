//! Whether the service is worse off since its configuration was changed: readiness that was there and is lost, or a check
//! that panics.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wellkept_config::Judge;
use wellkept_health::{Checker, Reason, Status};

/// For how long readiness must be lost: a check that is built anew may need a moment.
const LOST: Duration = Duration::from_secs(5);

/// Judges a change by the service's health.
pub(super) struct Health {
    checker: Checker,
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
}

impl Health {
    pub(super) fn new(checker: Checker) -> Self {
        Self { checker, seen: Mutex::default() }
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
        *self.seen() = Seen { was_ready, panicked: self.panicked().collect(), lost: None };
    }

    fn verdict(&self) -> Option<String> {
        let mut seen = self.seen();
        if let Some(name) = self.panicked().find(|name| !seen.panicked.contains(name)) {
            return Some(format!("check `{name}` panics"));
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use wellkept_health::{AnyCheck, Component, Outcome, Settings, Thresholds, TokioClock};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

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
        let health = Health::new(checker.clone());
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
