//! Claims about all components together: a run of all, the start, ten thousand that fail, results that flap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{HOUR, Probe, SECOND, passing, running, standing};
use crate::{Activity, AnyCheck, Component, Group, Outcome, Reason, Status, Thresholds, Verdict, Which, Window};

#[tokio::test(start_paused = true)]
async fn a_run_of_all_ends_with_its_last_result_or_at_its_deadline() {
    let (quick, slow) = (Probe::default(), Probe::default());
    let checker = running([
        quick.component("quick", SECOND / 10),
        slow.component("slow", SECOND).optional().groups([Group::from("batch")]),
        passing("off").activity(Activity::Disabled),
    ]);
    sleep(3 * SECOND).await;
    let runs = || (quick.runs(), slow.runs());
    let ran = async |timeout, which| {
        let began = Instant::now();
        let all = checker.check_all(timeout, which).await.unwrap();
        let unfinished: Vec<String> = all.unfinished.iter().map(ToString::to_string).collect();
        (unfinished, began.elapsed().as_millis() / 100, all.snapshot)
    };
    let (unfinished, tenths, snapshot) = ran(5 * SECOND, Which::All).await;
    assert_eq!((unfinished.len(), tenths, runs()), (0, 10, (2, 2)));
    assert!(snapshot.age(snapshot.component("slow").unwrap()).unwrap() < SECOND / 10, "with the new results");

    let (unfinished, tenths, snapshot) = ran(SECOND / 2, Which::All).await;
    assert_eq!((unfinished, tenths), (vec!["slow".to_owned()], 5));
    assert!(snapshot.age(snapshot.component("quick").unwrap()).unwrap() < SECOND / 2);
    sleep(SECOND).await;
    assert_eq!(runs(), (3, 3));

    assert_eq!(ran(5 * SECOND, Which::Required).await.0.len(), 0);
    assert_eq!(runs(), (4, 3));
    assert_eq!(ran(Duration::MAX, Which::Group(Group::from("batch"))).await.0.len(), 0);
    assert_eq!(runs(), (4, 4));
    assert_eq!(ran(Duration::ZERO, Which::All).await.0.len(), 2);

    sleep(2 * SECOND).await;
    let before = runs();
    let spared = checker.check_all_at_most_every(SECOND, Which::All, HOUR).await.unwrap();
    assert!(spared.unfinished.is_empty());
    assert_eq!(runs(), before, "all results are young enough");
}

#[tokio::test(start_paused = true)]
async fn what_is_for_the_start_only_never_runs_again_and_counts_no_more() {
    let (migration, db) = (Probe::default(), Probe::default());
    migration.find(Verdict::Fail);
    let once = migration.component("migration", Duration::ZERO).interval(SECOND).groups([Group::Startup]);
    let checker = running([once, db.component("db", Duration::ZERO).interval(SECOND)]);
    sleep(10 * SECOND).await;
    assert!(!checker.is_started() && !checker.readiness().ready, "it is not ready");
    assert!(migration.runs() >= 10);
    migration.find(Verdict::Pass);
    sleep(3 * SECOND).await;
    assert!(checker.is_started() && checker.readiness().ready);
    let runs = migration.runs();
    migration.find(Verdict::Fail);
    sleep(100 * SECOND).await;
    assert!(migration.runs() <= runs + 1, "never again");
    assert!(db.runs() > 100);
    assert_eq!(standing(&checker, "migration"), (Status::Healthy, None), "what it found holds");
    assert_eq!(checker.status(), Status::Healthy);
    assert!(checker.check_all(SECOND, Which::All).await.unwrap().unfinished.is_empty());
    assert!(migration.runs() <= runs + 1, "nor with all the others");
    for _ in 0..3 {
        checker.check_component("migration").await.unwrap();
    }
    assert_eq!(standing(&checker, "migration").0, Status::Unhealthy, "only when it is asked for by name");
    assert_eq!(checker.status(), Status::Healthy, "and for nothing but to be shown");
    let later = Probe::default();
    checker.register(later.component("later", Duration::ZERO).interval(SECOND).groups([Group::Startup])).unwrap();
    sleep(10 * SECOND).await;
    assert_eq!(later.runs(), 1, "one result is all that is shown of it");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_checks_that_fail_at_once_are_each_told_and_never_too_many_at_a_time() {
    const MANY: usize = 10_000;
    let broken = Arc::new(AtomicBool::new(false));
    let components = (0..MANY).map(|number| {
        let broken = Arc::clone(&broken);
        let check = AnyCheck::from_fn(move || {
            let broken = broken.load(Ordering::Relaxed);
            async move {
                sleep(Duration::from_millis(20)).await;
                if broken { Outcome::fail(Reason::Refused, "connection refused") } else { Outcome::pass() }
            }
        });
        Component::new(format!("c{number}"), check).interval(10 * SECOND)
    });
    let checker = running(components);
    sleep(20 * SECOND).await;
    assert!(checker.readiness().ready);
    broken.store(true, Ordering::Relaxed);
    // In the first round some join a run that had begun before.
    for round in 0..4 {
        let all = tokio::spawn({
            let checker = checker.clone();
            async move { checker.check_all(30 * SECOND, Which::All).await.unwrap() }
        });
        sleep(Duration::from_millis(30)).await;
        let stats = checker.stats();
        assert!(stats.running <= 512 && stats.queued > 5_000, "{stats:?}");
        assert!(stats.lags.total > Duration::ZERO, "a queue makes runs late");
        assert!(all.await.unwrap().unfinished.is_empty(), "round {round}");
    }
    let snapshot = checker.snapshot();
    assert!(snapshot.components().all(|one| snapshot.standing(one).status == Status::Unhealthy));
    assert!(!checker.readiness().ready);
    assert_eq!(checker.stats().queued, 0);
    assert_eq!(checker.stats().changes_total, 2 * MANY as u64 + 2, "one for each, and the service's own, twice");
}

#[tokio::test(start_paused = true)]
async fn a_pass_after_the_timeout_fails_and_flapping_every_run_is_told_once_by_a_window() {
    let late = Probe::default();
    let late = late.component("late", SECOND + SECOND / 50).timeout(SECOND).optional();
    let flips = Arc::new(AtomicUsize::new(0));
    let flapping = |name: &str, thresholds| {
        let flips = Arc::clone(&flips);
        let check = AnyCheck::from_fn(move || {
            let flip = (flips.fetch_add(1, Ordering::Relaxed) / 2).is_multiple_of(2);
            async move { if flip { Outcome::pass() } else { Outcome::fail(Reason::Refused, "refused") } }
        });
        Component::new(name, check).interval(HOUR).thresholds(thresholds)
    };
    let windowed = Thresholds { window: Some(Window { failures: 5, of: 10 }), ..Thresholds::default() };
    let checker = running([late, flapping("calm", Thresholds::default()), flapping("windowed", windowed)]);
    let health = checker.check_component("late").await.unwrap();
    assert_eq!((health.raw, health.raw_reason.clone()), (Some(Verdict::Fail), Some(Reason::Timeout)));
    for _ in 0..200 {
        checker.check_component("calm").await.unwrap();
        checker.check_component("windowed").await.unwrap();
    }
    let snapshot = checker.snapshot();
    let changes = |name| snapshot.component(name).unwrap().totals.changes;
    assert_eq!((changes("calm"), changes("windowed")), (0, 1));
    assert_eq!(standing(&checker, "windowed"), (Status::Unhealthy, Some(Reason::Refused)));
}
