//! Each change is one line in the log and one count, with its cause.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use tokio::time::sleep;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::{SECOND, checker, switched};
use crate::{
    AnyCheck, Changes, Checker, Component, End, Group, History, Memory, NewMaintenance, Outcome, Schedule, Scope,
    Settings, Status, StatusChange, Thresholds, TokioClock,
};

/// The lines of the log of this test's thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

#[derive(Debug, Clone, Default)]
struct Line(BTreeMap<&'static str, String>);

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        (log, guard)
    }

    /// The lines of this text so far, each as its fields of these names.
    fn lines<const N: usize>(&self, message: &str, fields: [&str; N]) -> Vec<[String; N]> {
        let lines = self.0.lock().unwrap();
        let of_text = lines.iter().filter(|line| line.0.get("message").is_some_and(|text| text == message));
        of_text.map(|line| fields.map(|field| line.0.get(field).cloned().unwrap_or_default())).collect()
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(BTreeMap::from([("level", event.metadata().level().to_string())]));
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

fn told(changes: &Changes) -> Vec<(&'static str, &'static str, u64)> {
    changes.iter().map(|one| (one.to, one.reason, one.count)).collect()
}

fn quick(name: &str, switch: &Arc<AtomicU8>) -> Component {
    switched(name, switch).thresholds(Thresholds::new(1, 1))
}

#[tokio::test(start_paused = true)]
async fn the_services_change_names_the_roots_behind_it_in_the_log_the_history_and_a_count() {
    let (log, _guard) = Log::begin();
    let (down, cold) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicU8::new(0)));
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let history = History::start(Memory::default()).unwrap();
    checker.set_history(history.clone());
    checker.register(quick("network", &down)).unwrap();
    for name in ["db", "queue"] {
        checker.register(quick(name, &down).depends_on(["network"])).unwrap();
    }
    checker.register(quick("psp", &down)).unwrap();
    checker.register(quick("cache", &cold).optional()).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    sleep(3 * SECOND).await;
    cold.store(1, Ordering::Relaxed);
    sleep(3 * SECOND).await;
    down.store(2, Ordering::Relaxed);
    sleep(3 * SECOND).await;
    down.store(0, Ordering::Relaxed);
    cold.store(0, Ordering::Relaxed);
    sleep(3 * SECOND).await;

    let changes = history.changes(None, 100, 5 * SECOND).unwrap();
    let mut service: Vec<StatusChange> = changes.into_iter().filter(|one| one.component.is_none()).collect();
    service.reverse();
    let record = |one: &StatusChange| {
        [
            one.to.as_str().to_owned(),
            one.reason.clone().unwrap_or_default(),
            one.message.clone(),
            one.caused_by.as_deref().unwrap_or_default().to_owned(),
        ]
    };
    let records: Vec<_> = service.iter().map(record).collect();
    assert_eq!(
        records[..2],
        [["healthy", "", "", ""], ["degraded", "threshold", "cache (threshold)", "cache"]]
            .map(|one| one.map(ToOwned::to_owned))
    );
    let lines = log.lines("service status changed", ["to", "reason", "cause", "caused_by"]);
    assert_eq!(lines, records, "the log and the history say the same");
    // Which of them fell first is the schedule's affair.
    let unhealthy = service.iter().find(|one| one.to == Status::Unhealthy).unwrap();
    assert_eq!(unhealthy.reason.as_deref(), Some("refused"));
    let last = &records[records.len() - 1];
    assert_eq!((&*last[0], &last[2][..6]), ("healthy", "over: "), "{last:?}");
    assert_eq!(told(&checker.status_changes()).iter().map(|(.., count)| count).sum::<u64>(), records.len() as u64);
    assert!(told(&checker.status_changes()).contains(&("unhealthy", "refused", 1)));
}

#[tokio::test(start_paused = true)]
async fn ten_alarms_of_one_root_are_folded_into_it() {
    let (log, _guard) = Log::begin();
    let down = Arc::new(AtomicU8::new(2));
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let history = History::start(Memory::default()).unwrap();
    checker.set_history(history.clone());
    checker.register(quick("network", &down)).unwrap();
    let late = Schedule { interval: SECOND, initial_delay: SECOND, ..Schedule::default() };
    for number in 0..10 {
        let leaf = quick(&format!("leaf-{number}"), &down).depends_on(["network"]).schedule(late);
        checker.register(leaf).unwrap();
    }
    for number in 0..7 {
        checker.register(quick(&format!("other-{number}"), &down).schedule(late)).unwrap();
    }
    tokio::spawn(engine.run(std::future::pending()));
    sleep(3 * SECOND).await;
    for change in history.changes(None, 100, 5 * SECOND).unwrap() {
        let caused_by = change.caused_by.as_deref();
        match change.component.as_deref() {
            Some(leaf) if leaf.starts_with("leaf") => assert_eq!(caused_by, Some("network"), "{leaf}"),
            Some(other) => assert_eq!(caused_by, None, "{other}"),
            None => {
                assert_eq!(caused_by, Some("network"));
                let named =
                    "network (refused), other-0 (refused), other-1 (refused), other-2 (refused), other-3 (refused)";
                assert_eq!(change.message, format!("{named} and 3 more"));
            }
        }
    }
    let lines = log.lines("component status changed", ["component", "caused_by"]);
    let caused: Vec<_> = lines.iter().filter(|[_, root]| root == "network").map(|[name, _]| name).collect();
    assert_eq!(caused.len(), 10, "{caused:?}");
}

#[tokio::test(start_paused = true)]
async fn readiness_that_turns_is_told_with_why_and_counted() {
    let (log, _guard) = Log::begin();
    let down = Arc::new(AtomicU8::new(0));
    let disk = Arc::new(AtomicU8::new(2));
    let checker = checker([quick("db", &down), quick("disk", &disk).scope(Scope::Machine)]);
    sleep(3 * SECOND).await;
    down.store(2, Ordering::Relaxed);
    sleep(3 * SECOND).await;
    down.store(0, Ordering::Relaxed);
    sleep(3 * SECOND).await;
    let begun = checker.begin_maintenance(NewMaintenance::of_the_service(End::Open, "move")).unwrap();
    sleep(SECOND).await;
    checker.end_maintenance(&begun[0].id, "ann").unwrap();
    sleep(SECOND).await;
    checker.begin_draining();
    checker.begin_draining();
    sleep(3 * SECOND).await;
    let lines = log.lines("readiness changed", ["level", "to", "reason", "status", "cause", "caused_by"]);
    let expected = [
        ["INFO", "not_ready", "starting", "unknown", "", ""],
        ["INFO", "ready", "", "healthy", "", ""],
        ["WARN", "not_ready", "components", "unhealthy", "db (refused)", "db"],
        ["INFO", "ready", "", "healthy", "", ""],
        ["INFO", "not_ready", "maintenance", "maintenance", "", ""],
        ["INFO", "ready", "", "healthy", "", ""],
        ["INFO", "not_ready", "draining", "healthy", "", ""],
    ];
    assert_eq!(lines, expected, "what no probe sees is no cause");
    let counts = told(&checker.readiness_changes());
    assert_eq!(counts.iter().find(|(to, ..)| *to == "ready"), Some(&("ready", "none", 3)));
    for why in ["starting", "components", "maintenance", "draining"] {
        assert!(counts.contains(&("not_ready", why, 1)), "{why}: {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_components_changes_are_counted_by_status_and_reason() {
    let down = Arc::new(AtomicU8::new(0));
    let checker = checker([quick("db", &down)]);
    for code in [2, 0, 1, 2, 0] {
        sleep(3 * SECOND).await;
        down.store(code, Ordering::Relaxed);
    }
    sleep(3 * SECOND).await;
    let snapshot = checker.snapshot();
    let counts = told(&snapshot.component("db").unwrap().changes);
    let expected = [("healthy", "none", 3), ("unhealthy", "refused", 2), ("degraded", "threshold", 1)];
    assert_eq!(counts, expected, "the first status is a change, too");
}

#[tokio::test(start_paused = true)]
async fn what_is_seldom_meant_is_told_when_the_engine_first_sees_it() {
    let (log, _guard) = Log::begin();
    let pass = || AnyCheck::from_fn(async || Outcome::pass());
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    // In whichever order they were registered.
    checker.register(Component::new("db", pass()).depends_on(["network", "netwrok"])).unwrap();
    checker.register(Component::new("network", pass()).groups(["readiness"].map(Group::from))).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    sleep(SECOND).await;
    let warnings = || -> Vec<String> {
        let lines = log.0.lock().unwrap();
        let warned = lines.iter().filter(|line| line.0["level"] == "WARN");
        warned.map(|line| line.0["message"].clone()).filter(|text| text.starts_with("component `")).collect()
    };
    let expected = [
        "component `db`: it depends on `netwrok`, which is not registered",
        "component `network`: `readiness` is a group of your own; that probe sees `ready`",
    ];
    assert_eq!(warnings(), expected);
    for number in 0..100 {
        checker.register(Component::new(format!("late-{number}"), pass()).depends_on(["nobody"])).unwrap();
    }
    sleep(SECOND).await;
    assert_eq!(warnings().len(), expected.len() + 20, "not one line for each of many");
}
