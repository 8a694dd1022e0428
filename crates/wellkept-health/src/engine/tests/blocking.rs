//! What an async check that blocks its thread costs the others, on a real runtime.

use std::future::pending;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::{SECOND, status};
use crate::{AnyCheck, Checker, Component, Lags, Reason, Settings, Status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_async_check_that_blocks_its_thread_makes_no_other_late_while_one_is_left() {
    let (release, hold) = mpsc::channel::<()>();
    let hold = Arc::new(Mutex::new(hold));
    let blocks = AnyCheck::from_fn(move || {
        let hold = Arc::clone(&hold);
        // The usual mistake: this belongs into `AnyCheck::blocking`.
        async move { hold.lock().unwrap().recv() }
    });
    let moment = Duration::from_millis(50);
    let (checker, engine) = Checker::new(Settings::new("tested"));
    let checks = [("blocks", blocks), ("punctual", AnyCheck::from_fn(async || tokio::task::yield_now().await))];
    for (name, check) in checks {
        checker.register(Component::new(name, check).interval(moment).timeout(moment)).unwrap();
    }
    let engine = tokio::spawn(engine.run(pending()));
    let mut published = checker.subscribe();
    let ran = published.wait_for(|_| {
        let snapshot = checker.snapshot();
        let count = |name| snapshot.component(name).map_or(0, |one| one.totals.count());
        count("punctual") >= 40 && count("blocks") >= 10
    });
    tokio::time::timeout(20 * SECOND, ran).await.expect("all go on while one thread is blocked").unwrap();
    assert_eq!(status(&checker, "blocks"), (Status::Unhealthy, Some(Reason::Timeout)));
    assert_eq!(status(&checker, "punctual"), (Status::Healthy, None));
    let stats = checker.stats();
    assert_eq!(stats.stragglers, 1, "it is not started on top of itself");
    let late = Lags::BUCKETS.iter().zip(stats.lags.buckets).filter(|(bound, _)| **bound > 1.0);
    assert_eq!(late.map(|(_, count)| count).sum::<u64>(), 0, "{stats:?}");
    engine.abort();
    release.send(()).unwrap();
}
