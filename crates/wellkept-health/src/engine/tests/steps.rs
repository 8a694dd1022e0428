//! Claims about single steps of the engine, on its own books.

use super::*;
use crate::engine::{MOST_LOCAL, MOST_STRAGGLERS};
use crate::{End, Engine, NewMaintenance};

fn made() -> (Checker, Engine) {
    Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") })
}

/// What the engine does of one round before it waits.
fn begin(engine: &mut Engine) {
    engine.take_in();
    engine.begin_due();
}

#[tokio::test(start_paused = true)]
async fn thousands_of_checks_on_this_machine_run_a_few_at_a_time_and_wait_for_no_remote_one() {
    const MANY: usize = 5_000;
    let clock = TokioClock::start();
    let (checker, engine) = Checker::new(Settings { clock, max_concurrent: 2, ..Settings::new("tested") });
    for number in 0..4 {
        let hangs = AnyCheck::from_fn(async || pending::<()>().await);
        checker.register(Component::new(format!("remote-{number}"), hangs).timeout(3600 * SECOND)).unwrap();
    }
    for number in 0..MANY {
        let check = AnyCheck::from_fn(async || sleep(SECOND / 50).await);
        let local = Component::new(format!("local-{number}"), check).scope(Scope::Machine).interval(3600 * SECOND);
        checker.register(local).unwrap();
    }
    tokio::spawn(engine.run(pending()));
    let done = || checker.snapshot().components().filter(|one| one.served.is_some()).count();
    while done() < MANY {
        sleep(SECOND / 100).await;
        let stats = checker.stats();
        assert!(stats.running <= MOST_LOCAL as u64 + 2, "{stats:?}");
        assert!(stats.queued > 0, "at least two remote ones do wait");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_holds_a_thread_keeps_blocking_checks_from_running() {
    let (checker, mut engine) = made();
    checker.register(Component::new("disk", AnyCheck::blocking(|| ())).scope(Scope::Machine)).unwrap();
    engine.straggling_tasks = 10 * MOST_STRAGGLERS;
    begin(&mut engine);
    assert_eq!(engine.local.running, 1);
    engine.straggling_threads = MOST_STRAGGLERS;
    checker.register(Component::new("mount", AnyCheck::blocking(|| ())).scope(Scope::Machine)).unwrap();
    begin(&mut engine);
    assert_eq!(engine.local.running, 1);
    engine.publish();
    assert_eq!(status(&checker, "mount"), (Status::Unhealthy, Some(Reason::Exhausted)));
}

#[tokio::test(start_paused = true)]
async fn what_was_for_the_start_only_leaves_nothing_behind_when_it_is_removed() {
    let (checker, mut engine) = made();
    checker.table().complete_start();
    for _ in 0..200 {
        let check = AnyCheck::from_fn(async || ());
        checker.register(Component::new("migration", check).groups([Group::Startup]).interval(SECOND)).unwrap();
        begin(&mut engine);
        let ended = engine.events.recv().await.unwrap();
        engine.take(ended);
        advance(3 * SECOND).await;
        begin(&mut engine);
        assert!(engine.agenda.is_empty(), "it is due no more");
        checker.unregister("migration");
    }
    assert!(engine.size() < 100, "{} entries for no component", engine.size());
}

/// Tokio's clock, beside a time of day that can be set.
#[derive(Debug)]
struct SetByHand {
    steady: Arc<TokioClock>,
    ahead: AtomicU64,
}

impl Clock for SetByHand {
    fn boot(&self) -> Duration {
        self.steady.boot()
    }

    fn wall(&self) -> jiff::Timestamp {
        self.steady.wall() + Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn readers_are_told_when_the_time_of_day_was_set_nearer_to_a_maintenances_end() {
    let clock = Arc::new(SetByHand { steady: TokioClock::start(), ahead: AtomicU64::new(0) });
    let kept: Arc<dyn Clock> = Arc::<SetByHand>::clone(&clock);
    let (checker, engine) = Checker::new(Settings { clock: kept, ..Settings::new("tested") });
    let hour = 3600 * SECOND;
    checker.register(Component::new("db", AnyCheck::from_fn(async || ())).interval(24 * hour)).unwrap();
    let engine = tokio::spawn(engine.run(pending()));
    let repair = NewMaintenance::of_components(["db"], End::At(clock.wall() + hour), "repair");
    checker.begin_maintenance(repair).unwrap();
    sleep(10 * SECOND).await;
    clock.ahead.store(1800, Ordering::Relaxed);
    sleep(2 * SECOND).await;
    // From here on nobody publishes any more: readers have the plan that they were told last.
    engine.abort();
    assert_eq!(status(&checker, "db").0, Status::Maintenance);
    sleep(hour / 2).await;
    assert_eq!(status(&checker, "db"), (Status::Healthy, None));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_had_to_wait_stays_in_the_lags_and_the_latest_look_around_is_told() {
    let clock = TokioClock::start();
    let (checker, engine) = Checker::new(Settings { clock, max_concurrent: 1, ..Settings::new("tested") });
    for name in ["first", "second"] {
        let slow = AnyCheck::from_fn(async || sleep(3 * SECOND / 2).await);
        checker.register(Component::new(name, slow).interval(3600 * SECOND)).unwrap();
    }
    assert_eq!(checker.stats().ticked, None, "no engine runs");
    let engine = tokio::spawn(engine.run(pending()));
    sleep(60 * SECOND).await;
    let stats = checker.stats();
    assert_eq!((stats.max_concurrent, stats.lags.count()), (1, 2));
    assert_eq!((stats.lags.buckets[0], stats.lags.buckets[5]), (1, 1), "at once, and after a second and a half");
    assert!((3 * SECOND / 2..2 * SECOND).contains(&stats.lags.total), "{stats:?}");
    let now = || checker.clock().wall();
    let ago = |stats: crate::CheckerStats| now().duration_since(stats.ticked.unwrap());
    assert!(ago(stats).as_secs() <= 1);
    engine.abort();
    sleep(60 * SECOND).await;
    assert!(ago(checker.stats()).as_secs() >= 59, "it looks around no more");
}
