//! Claims about what is asked of a running checker, on tokio's paused time.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::{
    Activity, AnyCheck, Change, Checker, Component, ControlError, Engine, History, Memory, Origin, Outcome, Reason,
    Schedule, Settings, Status, Switched, Thresholds, TokioClock, Tuning, Verdict, Which, Window,
};

mod whole;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn made(settings: Settings, components: impl IntoIterator<Item = Component>) -> (Checker, Engine) {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..settings });
    for component in components {
        checker.register(component).unwrap();
    }
    (checker, engine)
}

fn running(components: impl IntoIterator<Item = Component>) -> Checker {
    let (checker, engine) = made(Settings::new("tested"), components);
    tokio::spawn(engine.run(pending()));
    checker
}

/// A check whose every run is counted, takes its time, and finds what it is told; it notes when it runs on top of
/// itself.
#[derive(Clone, Default)]
struct Probe {
    runs: Arc<AtomicUsize>,
    finds: Arc<AtomicU8>,
    within: Arc<AtomicUsize>,
    overlapped: Arc<AtomicBool>,
}

impl Probe {
    fn component(&self, name: &str, takes: Duration) -> Component {
        let probe = self.clone();
        let check = AnyCheck::from_fn(move || {
            let probe = probe.clone();
            async move {
                probe.runs.fetch_add(1, Ordering::Relaxed);
                let before = probe.within.fetch_add(1, Ordering::Relaxed);
                probe.overlapped.fetch_or(before > 0, Ordering::Relaxed);
                let finds = probe.finds.load(Ordering::Relaxed);
                sleep(takes).await;
                probe.within.fetch_sub(1, Ordering::Relaxed);
                match finds {
                    0 => Outcome::pass(),
                    1 => Outcome::warn(Reason::Threshold, "nearly full"),
                    _ => Outcome::fail(Reason::Refused, "connection refused"),
                }
            }
        });
        Component::new(name, check).interval(HOUR)
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    fn find(&self, verdict: Verdict) {
        self.finds.store(verdict as u8, Ordering::Relaxed);
    }
}

fn standing(checker: &Checker, name: &str) -> (Status, Option<Reason>) {
    let snapshot = checker.snapshot();
    let standing = snapshot.standing(snapshot.component(name).unwrap());
    (standing.status, standing.reason)
}

fn code<T>(result: Result<T, ControlError>) -> &'static str {
    result.err().expect("it is refused").code()
}

fn passing(name: &str) -> Component {
    Component::new(name, AnyCheck::from_fn(async || ())).interval(SECOND)
}

fn hanging(name: &str) -> Component {
    Component::new(name, AnyCheck::from_fn(async || pending::<()>().await)).interval(HOUR)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_who_ask_at_once_share_one_run() {
    let probe = Probe::default();
    let checker = running([probe.component("db", SECOND / 5)]);
    sleep(SECOND).await;
    assert_eq!(probe.runs(), 1, "the scheduled one");
    let mut callers = JoinSet::new();
    for number in 0..1_000_u64 {
        let checker = checker.clone();
        callers.spawn(async move {
            sleep(Duration::from_micros(number * 100)).await;
            let health = checker.check_component("db").await.unwrap();
            let snapshot = checker.snapshot();
            assert_eq!(snapshot.component("db").unwrap().checked, health.checked, "it is published by then");
            health
        });
    }
    let answers = callers.join_all().await;
    assert_eq!(probe.runs(), 2, "one for all of them");
    assert!(answers.iter().all(|one| Arc::ptr_eq(one, &answers[0])));
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_it_runs_joins_that_run() {
    let probe = Probe::default();
    let checker = running([probe.component("db", SECOND)]);
    sleep(SECOND / 2).await;
    let began = Instant::now();
    checker.check_component("db").await.unwrap();
    assert_eq!(probe.runs(), 1);
    assert!(began.elapsed() < SECOND * 6 / 10, "it waited for the rest of the run only");
}

#[tokio::test(start_paused = true)]
async fn a_result_that_was_asked_for_goes_through_the_thresholds() {
    let probe = Probe::default();
    let checker = running([probe.component("db", Duration::ZERO)]);
    sleep(SECOND).await;
    probe.find(Verdict::Fail);
    for served in [Status::Healthy, Status::Healthy, Status::Unhealthy] {
        let health = checker.check_component("db").await.unwrap();
        assert_eq!(health.raw, Some(Verdict::Fail));
        assert_eq!(health.served.as_ref().unwrap().status, served);
        assert_eq!(standing(&checker, "db").0, served);
    }
}

#[tokio::test(start_paused = true)]
async fn a_younger_result_spares_a_run_and_an_interval_is_the_longest_gap() {
    let probe = Probe::default();
    let slow = Probe::default().component("slow", 3 * SECOND).interval(SECOND).timeout(5 * SECOND);
    let checker = running([probe.component("db", Duration::ZERO), slow]);
    sleep(4 * SECOND).await;
    let ask = async |name: &str, gap| checker.check_component_at_most_every(name, gap).await.unwrap().origin;
    assert_eq!(ask("db", SECOND / 2).await, Origin::Run);
    for _ in 0..100 {
        assert_eq!(ask("db", SECOND / 2).await, Origin::Latest);
    }
    assert_eq!(probe.runs(), 2);
    sleep(SECOND / 2).await;
    assert_eq!(ask("db", SECOND / 2).await, Origin::Run);
    // A run of it takes three intervals, so that its latest result is older than one of them by now.
    assert_eq!(ask("slow", HOUR).await, Origin::Run);
    assert_eq!(ask("slow", HOUR).await, Origin::Latest);
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_code() {
    let (checker, engine) = made(Settings { max_concurrent: 1, ..Settings::new("tested") }, []);
    checker.register(passing("db")).unwrap();
    checker.register(passing("off").activity(Activity::Disabled)).unwrap();
    let began = Instant::now();
    assert_eq!(code(checker.check_component("nothing\n").await), "component.unknown");
    assert_eq!(code(checker.check_component("off").await), "component.disabled");
    assert_eq!(code(checker.check_component("db").await), "engine.not_running", "nobody began");
    assert!(began.elapsed() < 4 * SECOND);
    let engine = tokio::spawn(engine.run(pending()));
    checker.check_component("db").await.unwrap();

    checker.register(hanging("hangs").timeout(10 * SECOND)).unwrap();
    sleep(SECOND).await;
    let began = Instant::now();
    assert_eq!(code(checker.check_component("db").await), "component.no_result", "no place is free");
    assert!(began.elapsed() <= 3 * SECOND + SECOND / 10, "its timeout and a second");

    for (name, code_of_it) in [("nothing", "component.unknown"), ("db", "component.setting")] {
        let tuning = Tuning { fall: Some(0), ..Tuning::default() };
        assert_eq!(code(checker.tune(name, &tuning)), code_of_it);
    }
    assert_eq!(code(checker.enable("nothing")), "component.unknown");
    assert_eq!(code(checker.disable("nothing")), "component.unknown");

    let waits = tokio::spawn({
        let checker = checker.clone();
        async move { checker.check_component("db").await }
    });
    sleep(SECOND).await;
    engine.abort();
    let began = Instant::now();
    assert_eq!(code(waits.await.unwrap()), "engine.not_running");
    assert_eq!(code(checker.check_component("db").await), "engine.not_running");
    assert_eq!(code(checker.check_all(SECOND, Which::All).await), "engine.not_running");
    assert!(began.elapsed() < SECOND / 10, "told at once");
}

#[tokio::test(start_paused = true)]
async fn a_component_removed_while_it_runs_leaves_nobody_waiting_and_nothing_behind() {
    let probe = Probe::default();
    let checker = running([probe.component("db", SECOND)]);
    let waits = tokio::spawn({
        let checker = checker.clone();
        async move { checker.check_component("db").await }
    });
    sleep(SECOND / 2).await;
    assert!(checker.unregister("db"));
    sleep(SECOND / 100).await;
    assert!(waits.is_finished());
    assert_eq!(code(waits.await.unwrap()), "component.removed");
    sleep(2 * SECOND).await;
    assert_eq!(checker.snapshot().components().len(), 0);
    assert_eq!(checker.stats().runs_total, 0, "its result came to nothing");
    assert_eq!(checker.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn who_asks_a_component_that_is_replaced_gets_the_first_result_of_the_new_one() {
    let (old, new) = (Probe::default(), Probe::default());
    new.find(Verdict::Warn);
    let checker = running([old.component("db", SECOND).fingerprint(1)]);
    let waits = tokio::spawn({
        let checker = checker.clone();
        async move { checker.check_component("db").await }
    });
    sleep(SECOND / 2).await;
    checker.replace(vec![new.component("db", SECOND / 10).fingerprint(2)]).unwrap();
    let health = waits.await.unwrap().unwrap();
    assert_eq!(health.raw, Some(Verdict::Warn));
    assert_eq!(new.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_asks_a_component_that_is_tuned_gets_the_first_result_under_the_new_settings() {
    let probe = Probe::default();
    let checker = running([probe.component("db", SECOND)]);
    let ask = || {
        let checker = checker.clone();
        tokio::spawn(async move { checker.check_component("db").await })
    };
    let before = ask();
    sleep(SECOND / 2).await;
    probe.find(Verdict::Warn);
    checker.tune("db", &Tuning { slow: Change::Set(HOUR), ..Tuning::default() }).unwrap();
    for asked in [before, ask()] {
        assert_eq!(asked.await.unwrap().unwrap().raw, Some(Verdict::Warn));
    }
    assert_eq!(probe.runs(), 2, "one run more for all of them");
    assert_eq!(checker.snapshot().component("db").unwrap().totals.count(), 2, "the old run's result counts");
    assert!(!probe.overlapped.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_when_the_one_who_asked_goes_away() {
    let probe = Probe::default();
    let checker = running([probe.component("db", SECOND)]);
    sleep(2 * SECOND).await;
    probe.find(Verdict::Warn);
    let asked = tokio::time::timeout(SECOND / 2, checker.check_component("db")).await;
    assert!(asked.is_err(), "it was cancelled");
    sleep(SECOND).await;
    assert_eq!(checker.snapshot().component("db").unwrap().raw, Some(Verdict::Warn));
    assert_eq!(probe.runs(), 2);
    checker.check_component("db").await.unwrap();
    assert_eq!(probe.runs(), 3, "a later question begins a later run");
}

#[tokio::test]
async fn a_check_that_hangs_on_its_thread_is_not_run_on_top_of_itself() {
    let (runs, free) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, freed) = (Arc::clone(&runs), Arc::clone(&free));
    let check = AnyCheck::blocking(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        while !freed.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    });
    let component = Component::new("mount", check).interval(HOUR).timeout(Duration::from_millis(50));
    let (checker, engine) = Checker::new(Settings::new("tested"));
    checker.register(component).unwrap();
    tokio::spawn(engine.run(pending()));
    let first = checker.check_component("mount").await.unwrap();
    assert_eq!(first.raw_reason, Some(Reason::Timeout));
    assert_eq!(code(checker.check_component("mount").await), "component.no_result");
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    free.store(true, Ordering::Relaxed);
    let health = checker.check_component("mount").await.unwrap();
    assert_eq!(health.raw, Some(Verdict::Pass));
    assert!(runs.load(Ordering::Relaxed) <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_component_is_left_out_and_shown_and_counts_again_from_its_first_new_result() {
    let probe = Probe::default();
    let checker = running([probe.component("db", SECOND / 10).interval(SECOND), passing("other")]);
    sleep(3 * SECOND).await;
    probe.find(Verdict::Fail);
    sleep(5 * SECOND).await;
    assert!(!checker.readiness().ready);

    assert_eq!(checker.disable("db").unwrap(), Switched::Now);
    assert_eq!(checker.disable("db").unwrap(), Switched::Already);
    sleep(SECOND / 10).await;
    assert_eq!(standing(&checker, "db"), (Status::Unknown, Some(Reason::Disabled)));
    assert!(checker.readiness().ready && checker.status() == Status::Healthy);
    let runs = probe.runs();
    sleep(100 * SECOND).await;
    assert_eq!(probe.runs(), runs, "it does not run");
    assert_eq!(standing(&checker, "db"), (Status::Unknown, Some(Reason::Disabled)), "not stale");
    assert_eq!(checker.snapshot().component("db").unwrap().totals.missed, 0);
    assert!(checker.readiness().ready);

    assert_eq!(checker.enable("db").unwrap(), Switched::Now);
    assert_eq!(checker.enable("db").unwrap(), Switched::Already);
    sleep(SECOND / 20).await;
    assert_eq!(standing(&checker, "db"), (Status::Unknown, Some(Reason::Pending)));
    assert!(checker.readiness().ready, "it counts from its first result on");
    sleep(SECOND / 10).await;
    assert_eq!(standing(&checker, "db"), (Status::Unhealthy, Some(Reason::Refused)), "which decides at once");
    assert!(!checker.readiness().ready);
    sleep(SECOND * 5 / 2).await;
    assert!(probe.runs() >= runs + 3, "it is on its schedule again");
    assert!(!probe.overlapped.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_reading_is_handed_on_only_while_its_result_holds() {
    let check = AnyCheck::from_fn(async || {
        sleep(SECOND).await;
        Outcome::pass().with_remaining("free_bytes", 7)
    });
    let checker = running([Component::new("disk", check).interval(10 * SECOND)]);
    let reading = |later: Duration| {
        let snapshot = checker.snapshot();
        snapshot.component("disk").unwrap().seen(checker.clock().boot() + later).remaining
    };
    sleep(5 * SECOND).await;
    assert_eq!(reading(Duration::ZERO), Some(("free_bytes", 7.0)));
    assert_eq!(reading(HOUR), None, "stale");
    checker.disable("disk").unwrap();
    sleep(SECOND / 10).await;
    assert_eq!(reading(Duration::ZERO), None, "disabled");
    checker.enable("disk").unwrap();
    sleep(SECOND / 2).await;
    assert_eq!(reading(Duration::ZERO), None, "pending");
    assert_eq!(checker.snapshot().component("disk").unwrap().remaining, None, "and nothing of before is shown");
    sleep(SECOND).await;
    assert_eq!(reading(Duration::ZERO), Some(("free_bytes", 7.0)));
}

#[tokio::test(start_paused = true)]
async fn a_component_disabled_while_it_runs_leaves_no_failure_in_the_history() {
    let probe = Probe::default();
    let (checker, engine) = made(Settings::new("tested"), [probe.component("db", SECOND), passing("other")]);
    checker.set_history(History::start(Memory::default()).unwrap());
    tokio::spawn(engine.run(pending()));
    sleep(3 * SECOND).await;
    probe.find(Verdict::Fail);
    let waits = tokio::spawn({
        let checker = checker.clone();
        async move { checker.check_component("db").await }
    });
    sleep(SECOND / 2).await;
    checker.disable("db").unwrap();
    assert_eq!(code(waits.await.unwrap()), "component.disabled");
    // In again while the run from before still goes on, whose failure is not to be heard.
    checker.enable("db").unwrap();
    probe.find(Verdict::Pass);
    let health = checker.check_component("db").await.unwrap();
    assert_eq!(health.raw, Some(Verdict::Pass));
    assert_eq!(probe.runs(), 3);
    assert!(!probe.overlapped.load(Ordering::Relaxed), "the new run waited for the old one's end");

    let history = checker.history().unwrap();
    let results = history.results("db", 10, 5 * SECOND).unwrap();
    assert_eq!(results.iter().map(|one| one.verdict).collect::<Vec<_>>(), [Verdict::Pass; 2]);
    let changes = history.changes(Some("db"), 10, 5 * SECOND).unwrap();
    let told: Vec<_> = changes.iter().rev().map(|one| (one.to, one.reason.as_deref())).collect();
    assert_eq!(told, [(Status::Healthy, None), (Status::Unknown, Some("disabled")), (Status::Healthy, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_registered_disabled_holds_nobody_up_until_it_is_enabled() {
    let probe = Probe::default();
    let off = probe.component("off", Duration::ZERO).activity(Activity::Disabled);
    let child = Probe::default();
    child.find(Verdict::Fail);
    let child = child.component("child", Duration::ZERO).optional().depends_on(["off"]);
    let checker = running([off, passing("db"), child]);
    sleep(SECOND).await;
    assert!(checker.is_started() && checker.readiness().ready);
    assert_eq!(probe.runs(), 0);
    assert_eq!(standing(&checker, "off"), (Status::Unknown, Some(Reason::Disabled)));
    let snapshot = checker.snapshot();
    assert!(snapshot.root_cause(snapshot.component("child").unwrap()).is_none(), "what is off is nobody's trouble");
    checker.enable("off").unwrap();
    sleep(SECOND / 10).await;
    assert_eq!(probe.runs(), 1);
    assert_eq!(standing(&checker, "off"), (Status::Healthy, None));
}

#[tokio::test(start_paused = true)]
async fn tuning_keeps_the_state_and_plans_the_next_run_at_once() {
    let probe = Probe::default();
    let checker = running([probe.component("db", Duration::ZERO)]);
    sleep(SECOND).await;
    probe.find(Verdict::Fail);
    for _ in 0..3 {
        checker.check_component("db").await.unwrap();
    }
    assert_eq!(standing(&checker, "db").0, Status::Unhealthy);
    let since = checker.snapshot().component("db").unwrap().since;
    let before = probe.runs();
    let tuning = Tuning { interval: Some(SECOND), max_age: Change::Set(7 * SECOND), ..Tuning::default() };
    let tuned = checker.tune("db", &tuning).unwrap();
    assert_eq!(tuned.current_schedule().interval, SECOND);
    sleep(SECOND * 11 / 10).await;
    assert!(probe.runs() > before, "the hour from before is not waited for");
    let snapshot = checker.snapshot();
    let db = snapshot.component("db").unwrap();
    assert!(db.tuned && db.since == since && db.max_age == 7 * SECOND);
    assert_eq!(standing(&checker, "db").0, Status::Unhealthy);

    probe.find(Verdict::Pass);
    checker.tune("db", &Tuning { rise: Some(1), max_age: Change::Clear, ..Tuning::default() }).unwrap();
    checker.check_component("db").await.unwrap();
    assert_eq!(standing(&checker, "db").0, Status::Healthy);
    assert_eq!(checker.snapshot().component("db").unwrap().max_age, 5 * SECOND, "3 × interval + timeout");

    let longer = Tuning { interval: Some(HOUR), ..Tuning::default() };
    checker.tune("db", &longer).unwrap();
    sleep(SECOND / 10).await;
    let before = probe.runs();
    sleep(60 * SECOND).await;
    assert_eq!(probe.runs(), before);
}

#[tokio::test(start_paused = true)]
async fn tuning_is_taken_whole_or_not_at_all() {
    let checker = running([passing("db")]);
    let whole = |tuning: Tuning| checker.tune("db", &Tuning { fall: Some(9), ..tuning });
    let keep = Tuning::default;
    for wrong in [
        Tuning { interval: Some(Duration::ZERO), ..keep() },
        Tuning { timeout: Some(Duration::MAX), ..keep() },
        Tuning { jitter: Some(f64::NAN), ..keep() },
        Tuning { rise: Some(0), ..keep() },
        Tuning { window: Change::Set(Window { failures: 3, of: 2 }), ..keep() },
        Tuning { window: Change::Set(Window { failures: 1, of: 65 }), ..keep() },
    ] {
        assert_eq!(code(whole(wrong)), "component.setting");
    }
    assert_eq!(checker.definition("db").unwrap().current_thresholds(), Thresholds::default());
    assert!(!checker.snapshot().component("db").is_some_and(|one| one.tuned));
    let window = Window { failures: 1, of: 64 };
    whole(Tuning { window: Change::Set(window), slow: Change::Set(SECOND), ..keep() }).unwrap();
    let definition = checker.definition("db").unwrap();
    assert_eq!(definition.current_thresholds(), Thresholds { fall: 9, rise: 2, window: Some(window) });
    assert_eq!(definition.slow_above(), Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_tuning_puts_no_run_off() {
    let probe = Probe::default();
    let checker = running([probe.component("db", Duration::ZERO).interval(SECOND)]);
    let mut flip = false;
    for _ in 0..3_000 {
        flip = !flip;
        let fall = Some(if flip { 2 } else { 3 });
        checker.tune("db", &Tuning { fall, interval: Some(SECOND), ..Tuning::default() }).unwrap();
        sleep(SECOND / 100).await;
    }
    assert!((28..=32).contains(&probe.runs()), "{} runs in 30 s", probe.runs());
}

#[tokio::test(start_paused = true)]
async fn tuning_does_not_put_the_first_run_off() {
    let probe = Probe::default();
    let delayed = Schedule { interval: HOUR, initial_delay: 5 * SECOND, ..Schedule::default() };
    let checker = running([probe.component("db", Duration::ZERO).schedule(delayed)]);
    sleep(SECOND).await;
    checker.tune("db", &Tuning { interval: Some(2 * HOUR), ..Tuning::default() }).unwrap();
    sleep(3 * SECOND).await;
    assert_eq!(probe.runs(), 0);
    sleep(2 * SECOND).await;
    assert_eq!(probe.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_at_run_time_holds_until_the_definition_itself_changes() {
    let make = |name: &str, fingerprint| passing(name).fingerprint(fingerprint);
    let checker = running([make("off", 1), make("tuned", 1), make("other", 1)]);
    sleep(SECOND).await;
    checker.disable("off").unwrap();
    checker.tune("tuned", &Tuning { fall: Some(9), ..Tuning::default() }).unwrap();
    let seen = || {
        let snapshot = checker.snapshot();
        let component = |name| snapshot.component(name).unwrap();
        let fall = checker.definition("tuned").unwrap().current_thresholds().fall;
        (component("off").activity, component("tuned").tuned, fall)
    };
    checker.replace(vec![make("off", 1), make("tuned", 1), make("other", 2)]).unwrap();
    sleep(SECOND).await;
    assert_eq!(seen(), (Activity::Disabled, true, 9), "another component changed");
    assert!(checker.readiness().ready);
    checker.replace(vec![make("off", 2), make("tuned", 2), make("other", 2)]).unwrap();
    sleep(SECOND).await;
    assert_eq!(seen(), (Activity::Enabled, false, 3));
    assert_eq!(standing(&checker, "off"), (Status::Healthy, None));
    checker.replace(vec![make("off", 3).activity(Activity::Disabled), make("tuned", 2), make("other", 2)]).unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(standing(&checker, "off"), (Status::Unknown, Some(Reason::Disabled)));
    assert!(checker.readiness().ready);
}
