//! Claims about the engine, on tokio's paused time.

use std::future::pending;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, advance, sleep};

use crate::{
    AnyCheck, Checker, Clock, Component, Group, History, HistoryError, HistoryStore, Memory, Outcome, Reason, Record,
    RunResult, Scope, Settings, Status, StatusChange, TokioClock, Verdict,
};

mod blocking;
mod changes;
mod start;
mod steps;

const SECOND: Duration = Duration::from_secs(1);

fn checker(components: impl IntoIterator<Item = Component>) -> Checker {
    let settings = Settings { clock: TokioClock::start(), ..Settings::new("tested") };
    let (checker, engine) = Checker::new(settings);
    for component in components {
        checker.register(component).unwrap();
    }
    tokio::spawn(engine.run(pending()));
    checker
}

/// A component that runs every second and answers what the switch says.
fn switched(name: &str, switch: &Arc<AtomicU8>) -> Component {
    let switch = Arc::clone(switch);
    let check = AnyCheck::from_fn(move || {
        let outcome = match switch.load(Ordering::Relaxed) {
            0 => Outcome::pass(),
            1 => Outcome::warn(Reason::Threshold, "nearly full"),
            _ => Outcome::fail(Reason::Refused, "connection refused").with_detail("127.0.0.1:1"),
        };
        async move { outcome }
    });
    Component::new(name, check).interval(SECOND).timeout(SECOND / 2)
}

fn status(checker: &Checker, name: &str) -> (Status, Option<Reason>) {
    let snapshot = checker.snapshot();
    let standing = snapshot.standing(snapshot.component(name).unwrap());
    (standing.status, standing.reason)
}

#[tokio::test(start_paused = true)]
async fn it_is_not_ready_before_the_first_results_and_started_after_them() {
    let slow = AnyCheck::from_fn(async || sleep(SECOND).await);
    let checker = checker([Component::new("slow", slow)]);
    assert_eq!(checker.status(), Status::Unknown, "nothing is known before the engine has looked");
    sleep(SECOND / 2).await;
    assert!(!checker.readiness().ready);
    assert!(!checker.is_started());
    assert_eq!(status(&checker, "slow"), (Status::Unknown, Some(Reason::Pending)));
    sleep(SECOND + SECOND / 10).await;
    assert!(checker.readiness().ready);
    assert!(checker.is_started());
}

#[tokio::test(start_paused = true)]
async fn it_falls_after_three_results_and_rises_after_two() {
    let switch = Arc::new(AtomicU8::new(0));
    let checker = checker([switched("db", &switch)]);
    sleep(5 * SECOND).await;
    assert_eq!(status(&checker, "db"), (Status::Healthy, None));
    switch.store(2, Ordering::Relaxed);
    let broken = Instant::now();
    while checker.readiness().ready {
        advance(SECOND / 100).await;
        sleep(SECOND / 100).await;
    }
    assert!(broken.elapsed() > 2 * SECOND, "not by one failed run");
    assert!(broken.elapsed() < 4 * SECOND);
    assert_eq!(status(&checker, "db"), (Status::Unhealthy, Some(Reason::Refused)));
    switch.store(0, Ordering::Relaxed);
    let passes = || checker.snapshot().component("db").unwrap().totals.runs[0];
    let before = passes();
    while !checker.readiness().ready {
        advance(SECOND / 100).await;
        sleep(SECOND / 100).await;
    }
    assert_eq!(passes() - before, 2, "after two passes, not after one");
    assert_eq!(status(&checker, "db"), (Status::Healthy, None));
}

#[tokio::test(start_paused = true)]
async fn a_result_past_its_maximum_age_is_unknown_and_not_ready() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let once = AnyCheck::from_fn(move || {
        let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if !first {
                pending::<()>().await;
            }
        }
    });
    let hour = Duration::from_secs(3600);
    let component = Component::new("rare", once).interval(hour).timeout(hour).max_age(5 * SECOND);
    let checker = checker([component]);
    sleep(SECOND).await;
    assert!(checker.readiness().ready);
    assert_eq!(checker.status(), Status::Healthy);
    sleep(5 * SECOND).await;
    assert_eq!(status(&checker, "rare"), (Status::Unknown, Some(Reason::Stale)));
    assert_eq!(checker.status(), Status::Unknown);
    assert!(!checker.readiness().ready);
    assert!(checker.is_alive(), "liveness looks at no remote check");
}

#[tokio::test(start_paused = true)]
async fn a_checker_whose_engine_died_is_never_healthy_by_memory() {
    let settings = Settings { clock: TokioClock::start(), ..Settings::new("tested") };
    let (checker, engine) = Checker::new(settings);
    checker.register(Component::new("db", AnyCheck::from_fn(async || ())).interval(SECOND)).unwrap();
    let engine = tokio::spawn(engine.run(pending()));
    sleep(3 * SECOND).await;
    assert!(checker.readiness().ready);
    engine.abort();
    sleep(10 * SECOND).await;
    assert_eq!(checker.status(), Status::Unknown);
    assert!(!checker.readiness().ready);
}

#[tokio::test(start_paused = true)]
async fn hanging_and_panicking_checks_delay_no_other() {
    let late = Arc::new(AtomicU64::new(0));
    let (worst, began) = (Arc::clone(&late), Arc::new(Mutex::new(None::<Instant>)));
    let punctual = AnyCheck::from_fn(move || {
        let now = Instant::now();
        let before = began.lock().unwrap().replace(now);
        if let Some(before) = before {
            let gap = u64::try_from((now - before).as_millis()).unwrap();
            worst.fetch_max(gap, Ordering::Relaxed);
        }
        async {}
    });
    let hangs = (0..50).map(|number| {
        let check = AnyCheck::from_fn(async || pending::<()>().await);
        Component::new(format!("hangs-{number}"), check).interval(SECOND).timeout(SECOND / 2)
    });
    let panics = AnyCheck::from_fn(async || -> () { panic!("on purpose") });
    let all = hangs.chain([
        Component::new("panics", panics).interval(SECOND),
        Component::new("punctual", punctual).interval(SECOND),
    ]);
    let checker = checker(all);
    sleep(30 * SECOND).await;
    assert_eq!(status(&checker, "punctual"), (Status::Healthy, None));
    assert_eq!(status(&checker, "hangs-7"), (Status::Unhealthy, Some(Reason::Timeout)));
    assert_eq!(status(&checker, "panics"), (Status::Unhealthy, Some(Reason::Panic)));
    let late = late.load(Ordering::Relaxed);
    assert!((1000..=1110).contains(&late), "gap of {late} ms where 1 s and a tenth of jitter are due");
}

#[tokio::test]
async fn a_blocking_check_that_hangs_has_one_thread_and_turns_unhealthy() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let check = AnyCheck::blocking(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        while counted.load(Ordering::Relaxed) < 1_000 {
            std::thread::park();
        }
    });
    let moment = Duration::from_millis(20);
    let component = Component::new("mount", check).interval(moment).timeout(moment);
    let (checker, engine) = Checker::new(Settings::new("tested"));
    checker.register(component).unwrap();
    tokio::spawn(engine.run(pending()));
    let mut published = checker.subscribe();
    let fallen = published.wait_for(|_| {
        let snapshot = checker.snapshot();
        snapshot.component("mount").is_some_and(|one| one.consecutive >= 5)
    });
    tokio::time::timeout(10 * SECOND, fallen).await.unwrap().unwrap();
    assert_eq!(status(&checker, "mount"), (Status::Unhealthy, Some(Reason::Timeout)));
    assert_eq!(runs.load(Ordering::Relaxed), 1, "it is not started on top of itself");
    assert_eq!(checker.stats().stragglers, 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_readers_runs_no_check() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let check = AnyCheck::from_fn(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    let checker = checker([Component::new("db", check).interval(10 * SECOND)]);
    for _ in 0..10_000 {
        checker.readiness();
        checker.snapshot().overall();
        advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
    }
    let runs = runs.load(Ordering::Relaxed);
    assert!((1..=3).contains(&runs), "{runs} runs in 10 s at an interval of 10 s");
}

#[tokio::test(start_paused = true)]
async fn required_optional_and_shared_components_add_up_as_the_table_says() {
    let fails = Arc::new(AtomicU8::new(2));
    for (component, ready, overall) in [
        (switched("it", &fails), Status::Unhealthy, Status::Unhealthy),
        (switched("it", &fails).optional(), Status::Degraded, Status::Degraded),
        (switched("it", &fails).shared(true), Status::Degraded, Status::Unhealthy),
        (switched("it", &fails).scope(Scope::Machine), Status::Healthy, Status::Unhealthy),
        (switched("it", &fails).groups([Group::Named("nightly".into())]), Status::Healthy, Status::Unhealthy),
    ] {
        let checker = checker([component]);
        sleep(SECOND / 2).await;
        assert_eq!(checker.readiness().status, ready);
        assert_eq!(checker.status(), overall);
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_added_at_run_time_counts_from_its_first_result() {
    let good = Arc::new(AtomicU8::new(0));
    let checker = checker([switched("old", &good)]);
    sleep(SECOND).await;
    let slow = AnyCheck::from_fn(async || pending::<()>().await);
    checker.register(Component::new("new", slow).timeout(2 * SECOND)).unwrap();
    sleep(SECOND).await;
    assert_eq!(status(&checker, "new"), (Status::Unknown, Some(Reason::Pending)));
    assert!(checker.readiness().ready, "left out while pending");
    sleep(2 * SECOND).await;
    assert!(!checker.readiness().ready, "left out for one timeout at most");
}

#[tokio::test(start_paused = true)]
async fn a_component_removed_while_it_runs_is_gone() {
    let hangs = AnyCheck::from_fn(async || pending::<()>().await);
    let checker = checker([Component::new("gone", hangs), switched("stays", &Arc::new(AtomicU8::new(0)))]);
    sleep(SECOND / 2).await;
    assert!(checker.unregister("gone"));
    assert!(!checker.unregister("gone"));
    sleep(5 * SECOND).await;
    let snapshot = checker.snapshot();
    assert_eq!(snapshot.components().map(|one| &*one.name).collect::<Vec<_>>(), ["stays"]);
    assert!(checker.readiness().ready);
}

#[tokio::test(start_paused = true)]
async fn replacing_keeps_the_state_of_what_is_unchanged_or_changes_nothing() {
    let runs = Arc::new(AtomicUsize::new(0));
    let make = |name: &str, fingerprint| {
        let counted = Arc::clone(&runs);
        let check = AnyCheck::from_fn(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async {}
        });
        Component::new(name, check).interval(Duration::from_secs(3600)).fingerprint(fingerprint)
    };
    let checker = checker([make("same", 1), make("changes", 1), make("goes", 1)]);
    sleep(SECOND).await;
    assert_eq!(runs.load(Ordering::Relaxed), 3);

    let errors = checker.replace(vec![make("twice", 1), make("twice", 2), make("", 1)]).unwrap_err();
    assert_eq!(
        errors.iter().map(crate::RegisterError::code).collect::<Vec<_>>(),
        ["component.name", "component.duplicate"]
    );
    assert_eq!(checker.snapshot().components().len(), 3, "refused whole");

    let replaced = checker.replace(vec![make("changes", 2), make("comes", 1), make("same", 1)]).unwrap();
    assert_eq!(replaced.added, ["comes"]);
    assert_eq!(replaced.changed, ["changes"]);
    assert_eq!(replaced.removed, ["goes"]);
    assert_eq!(replaced.kept, 1);
    sleep(SECOND).await;
    assert_eq!(runs.load(Ordering::Relaxed), 5, "`same` did not run again");
    assert!(checker.readiness().ready);
}

#[tokio::test(start_paused = true)]
async fn draining_turns_readiness_off_and_leaves_liveness_alone() {
    let checker = checker([switched("db", &Arc::new(AtomicU8::new(0)))]);
    sleep(SECOND).await;
    assert!(checker.readiness().ready);
    checker.begin_draining();
    assert!(!checker.readiness().ready);
    assert_eq!(checker.readiness().lifecycle.as_str(), "draining");
    assert!(checker.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_held_start_is_not_complete() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let hold = checker.hold_startup();
    tokio::spawn(engine.run(pending()));
    sleep(SECOND).await;
    assert!(!checker.is_started() && !checker.readiness().ready);
    drop(hold);
    sleep(SECOND).await;
    assert!(checker.is_started() && checker.readiness().ready);
}

#[tokio::test(start_paused = true)]
async fn each_change_is_told_once_with_its_cause() {
    let switch = Arc::new(AtomicU8::new(0));
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    checker.register(switched("db", &switch)).unwrap();
    checker.set_history(History::start(Memory::default()).unwrap());
    tokio::spawn(engine.run(pending()));
    sleep(3 * SECOND).await;
    switch.store(2, Ordering::Relaxed);
    sleep(10 * SECOND).await;
    let history = checker.history().unwrap();
    let changes = history.changes(Some("db"), 10, 5 * SECOND).unwrap();
    let told: Vec<_> = changes.iter().map(|one| (one.from, one.to, one.reason.as_deref())).collect();
    assert_eq!(told, [(Some(Status::Healthy), Status::Unhealthy, Some("refused")), (None, Status::Healthy, None)]);
    assert_eq!(changes[0].message, "connection refused");
    let results = history.results("db", 5, 5 * SECOND).unwrap();
    assert_eq!(results.len(), 5);
    assert!(results.iter().all(|one| one.verdict == Verdict::Fail));
    let service = history.changes(None, 10, 5 * SECOND).unwrap();
    assert!(service.iter().any(|one| one.component.is_none() && one.to == Status::Unhealthy));
}

/// A store whose disk is full until it is told otherwise.
struct FullDisk {
    full: Arc<AtomicU8>,
    kept: Arc<Mutex<Vec<Record>>>,
}

impl HistoryStore for FullDisk {
    fn append(&mut self, records: &[Record]) -> Result<(), HistoryError> {
        match self.full.load(Ordering::Relaxed) {
            1 => return Err(HistoryError::new("store.full", "no space left")),
            2 => panic!("on purpose"),
            _ => {}
        }
        self.kept.lock().unwrap().extend_from_slice(records);
        Ok(())
    }

    fn changes(&mut self, _: Option<&str>, _: usize) -> Result<Vec<StatusChange>, HistoryError> {
        Ok(Vec::new())
    }

    fn results(&mut self, _: &str, _: usize) -> Result<Vec<RunResult>, HistoryError> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_store_that_fails_leaves_history_in_memory_and_says_so() {
    let (full, kept) = (Arc::new(AtomicU8::new(1)), Arc::new(Mutex::new(Vec::new())));
    let history = History::start(FullDisk { full: Arc::clone(&full), kept: Arc::clone(&kept) }).unwrap();
    let result = RunResult {
        component: "db".into(),
        verdict: Verdict::Pass,
        reason: None,
        response_time_ms: 1.0,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    for _ in 0..20 {
        history.record(Record::Result(result.clone()));
    }
    assert!(!history.flush(5 * SECOND));
    assert_eq!(history.failure().as_deref(), Some("no space left"));
    assert_eq!(history.results("db", 100, 5 * SECOND).unwrap().len(), 20, "what waits answers");
    let finished = crate::run_once(&history.component("history")).await;
    assert_eq!(finished.outcome.verdict(), Verdict::Warn);
    assert_eq!(finished.outcome.metadata()["backlog"], 20);
    assert!(!finished.outcome.message().contains("space"), "the store's words are private");

    full.store(2, Ordering::Relaxed);
    assert!(!history.flush(5 * SECOND));
    assert!(history.failure().unwrap().contains("panicked"), "it fails like any other");
    full.store(0, Ordering::Relaxed);
    assert!(history.flush(5 * SECOND), "there is room again");
    assert_eq!(kept.lock().unwrap().len(), 20, "nothing was lost meanwhile");
    assert_eq!(history.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn a_component_names_the_root_of_its_trouble() {
    let (up, down) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicU8::new(2)));
    let checker = checker([
        switched("network", &down),
        switched("db", &down).depends_on(["network"]),
        switched("orders", &down).depends_on(["cache", "db"]),
        switched("cache", &up).depends_on(["network"]),
    ]);
    sleep(SECOND / 2).await;
    let snapshot = checker.snapshot();
    let root = |name| snapshot.root_cause(snapshot.component(name).unwrap()).map(|root| root.name.to_string());
    assert_eq!(root("orders").as_deref(), Some("network"));
    assert_eq!(root("db").as_deref(), Some("network"));
    assert_eq!(root("network"), None);
    assert_eq!(root("cache"), None, "it works, whatever it depends on");
    let error = checker.register(switched("loop", &up).depends_on(["loop"])).unwrap_err();
    assert_eq!(error.to_string(), "these components depend on each other in a circle: loop → loop");
}

#[tokio::test(start_paused = true)]
async fn many_reloads_with_long_intervals_leave_nothing_behind() {
    let (checker, mut engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let day = Duration::from_secs(86_400);
    for round in 0..1_000 {
        let make = |name: &str| Component::new(name, AnyCheck::from_fn(async || ())).interval(day).fingerprint(round);
        checker.replace(vec![make("a"), make("b"), make("c")]).unwrap();
        engine.look_around();
    }
    assert!(engine.size() < 150, "{} entries for three components", engine.size());
}

#[tokio::test(start_paused = true)]
async fn a_component_kept_by_a_replacement_before_the_engine_looks_still_runs() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let make = |name: &str| Component::new(name, AnyCheck::from_fn(async || ())).fingerprint(1);
    checker.register(make("kept")).unwrap();
    checker.replace(vec![make("kept"), make("added")]).unwrap();
    tokio::spawn(engine.run(pending()));
    sleep(SECOND).await;
    assert_eq!(status(&checker, "kept"), (Status::Healthy, None));
    assert!(checker.readiness().ready);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_down_stays_so_while_its_definition_changes() {
    let down = Arc::new(AtomicU8::new(2));
    let checker = checker([switched("db", &down).fingerprint(1)]);
    sleep(SECOND / 2).await;
    assert!(!checker.readiness().ready);
    let slow = AnyCheck::from_fn(async || sleep(SECOND).await);
    let changed = Component::new("db", slow).interval(10 * SECOND).fingerprint(2);
    assert_eq!(checker.replace(vec![changed]).unwrap().changed, ["db"]);
    sleep(SECOND / 2).await;
    assert_eq!(status(&checker, "db"), (Status::Unhealthy, Some(Reason::Refused)));
    assert!(!checker.readiness().ready, "nothing is known yet that would make it ready");
    sleep(SECOND).await;
    assert!(checker.readiness().ready, "the first result decides at once");
}

#[tokio::test(start_paused = true)]
async fn what_is_replaced_before_the_start_is_complete_counts() {
    let hangs = || AnyCheck::from_fn(async || pending::<()>().await);
    let checker = checker([Component::new("old", hangs())]);
    sleep(SECOND / 10).await;
    checker.replace(vec![Component::new("new", hangs())]).unwrap();
    sleep(SECOND).await;
    assert!(!checker.is_started() && !checker.readiness().ready, "nothing was checked yet");
}

#[tokio::test(start_paused = true)]
async fn local_checks_never_wait_for_a_place_among_remote_ones() {
    let clock = TokioClock::start();
    let (checker, engine) = Checker::new(Settings { clock, max_concurrent: 2, ..Settings::new("tested") });
    for number in 0..20 {
        let hangs = AnyCheck::from_fn(async || pending::<()>().await);
        let component = Component::new(format!("hangs-{number}"), hangs).interval(SECOND).timeout(SECOND).optional();
        checker.register(component).unwrap();
    }
    let local = AnyCheck::from_fn(async || ());
    let local = Component::new("loop", local).interval(SECOND).scope(Scope::Process).groups([Group::Live]);
    checker.register(local).unwrap();
    tokio::spawn(engine.run(pending()));
    for _ in 0..30 {
        sleep(SECOND).await;
        assert!(checker.stats().running <= 3, "two remote ones and the local one");
        let snapshot = checker.snapshot();
        assert!(snapshot.age(snapshot.component("loop").unwrap()).unwrap() < 2 * SECOND);
    }
    assert!(checker.stats().queued > 0, "the remote ones do wait");
    assert!(checker.is_alive());
}

/// A clock that goes on through suspend, beside tokio's, which does not.
#[derive(Debug)]
struct Sleeper {
    awake: Arc<TokioClock>,
    slept: AtomicU64,
}

impl Clock for Sleeper {
    fn boot(&self) -> Duration {
        self.awake.boot() + Duration::from_secs(self.slept.load(Ordering::Relaxed))
    }

    fn wall(&self) -> jiff::Timestamp {
        self.awake.wall()
    }
}

#[tokio::test(start_paused = true)]
async fn after_suspend_results_are_old_and_all_checks_run_at_once() {
    let clock = Arc::new(Sleeper { awake: TokioClock::start(), slept: AtomicU64::new(0) });
    let kept: Arc<dyn Clock> = Arc::<Sleeper>::clone(&clock);
    let (checker, engine) = Checker::new(Settings { clock: kept, ..Settings::new("tested") });
    let hour = Duration::from_secs(3600);
    let rare = Component::new("rare", AnyCheck::from_fn(async || ())).interval(hour);
    checker.register(rare).unwrap();
    tokio::spawn(engine.run(pending()));
    sleep(2 * SECOND).await;
    assert!(checker.readiness().ready);
    clock.slept.store(24 * 3600, Ordering::Relaxed);
    assert_eq!(status(&checker, "rare"), (Status::Unknown, Some(Reason::Stale)));
    assert!(!checker.readiness().ready);
    sleep(3 * SECOND).await;
    assert_eq!(status(&checker, "rare"), (Status::Healthy, None), "it did not wait for its hour");
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_of_the_process_all_checks_run_at_once() {
    // A year: on no host is it due in these seconds.
    let year = 365 * 24 * 3600 * SECOND;
    let checker = checker([Component::new("rare", AnyCheck::from_fn(async || ())).interval(year)]);
    let runs = || checker.snapshot().component("rare").unwrap().totals.count();
    sleep(60 * SECOND).await;
    assert_eq!(runs(), 1, "time that passes is no stop");
    advance(4 * SECOND).await;
    sleep(2 * SECOND).await;
    assert_eq!(runs(), 1, "nor is one so short noticed");
    advance(30 * SECOND).await;
    sleep(2 * SECOND).await;
    assert_eq!(runs(), 2, "it did not wait for its turn");
}

#[tokio::test(start_paused = true)]
async fn what_is_served_always_has_a_reason_of_its_own_level() {
    let switch = Arc::new(AtomicU8::new(2));
    let checker = checker([switched("db", &switch)]);
    sleep(SECOND / 2).await;
    for value in [1, 0] {
        let before = checker.snapshot().component("db").unwrap().totals.count();
        switch.store(value, Ordering::Relaxed);
        while checker.snapshot().component("db").unwrap().totals.count() == before {
            sleep(SECOND / 100).await;
        }
    }
    assert_eq!(status(&checker, "db"), (Status::Degraded, Some(Reason::Threshold)), "fail, warn, pass");
}
