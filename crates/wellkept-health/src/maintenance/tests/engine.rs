//! Claims about maintenance in a running checker, on tokio's paused time.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use tokio::time::sleep;
use wellkept_testkit::until;

use super::*;
use crate::{Checker, Group, History, HistoryError, Memory, Scope, Settings, StatusChange, TokioClock};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// A component that runs every second and passes while the switch is on.
fn switched(name: &str, switch: &Arc<AtomicBool>) -> Component {
    let switch = Arc::clone(switch);
    let check = AnyCheck::from_fn(move || {
        let works = switch.load(Ordering::Relaxed);
        let failure = || Outcome::fail(Reason::Refused, "connection refused").with_detail("127.0.0.1:1");
        async move { if works { Outcome::pass() } else { failure() } }
    });
    Component::new(name, check).interval(SECOND).timeout(SECOND / 2)
}

fn checker(components: impl IntoIterator<Item = Component>) -> (Checker, History) {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let history = History::start(Memory::default()).unwrap();
    checker.set_history(history.clone());
    for component in components {
        checker.register(component).unwrap();
    }
    tokio::spawn(engine.run(pending()));
    (checker, history)
}

fn status(checker: &Checker, name: &str) -> Status {
    let snapshot = checker.snapshot();
    snapshot.standing(snapshot.component(name).unwrap()).status
}

/// All changes so far, the oldest first, in a line each.
fn changes(history: &History, component: Option<&str>) -> Vec<String> {
    let mut changes = history.changes(component, 100, PATIENCE).unwrap();
    changes.reverse();
    let line = |change: StatusChange| {
        let from = change.from.map_or("none", Status::as_str);
        let reason = change.reason.unwrap_or_default();
        format!("{from} {} {reason} {} {}", change.to, change.message, change.detail.unwrap_or_default())
    };
    changes.into_iter().filter(|change| change.component.as_deref() == component).map(line).collect()
}

fn of_db(end: End) -> NewMaintenance {
    NewMaintenance::of_components(["db"], end, "new disks").by("ann")
}

#[tokio::test(start_paused = true)]
async fn a_component_in_maintenance_is_left_out_shown_and_told_of_twice() {
    let switch = Arc::new(AtomicBool::new(true));
    let (checker, history) = checker([switched("db", &switch)]);
    sleep(3 * SECOND).await;
    let begun = checker.begin_maintenance(of_db(End::After(HOUR))).unwrap();
    sleep(SECOND / 20).await;
    assert_eq!(status(&checker, "db"), Status::Maintenance);
    switch.store(false, Ordering::Relaxed);
    sleep(20 * SECOND).await;
    let snapshot = checker.snapshot();
    let db = snapshot.component("db").unwrap();
    assert_eq!(db.raw, Some(Verdict::Fail), "its check goes on");
    assert_eq!(snapshot.standing(db).reason, Some(Reason::Maintenance));
    assert!(!format!("{:?}", snapshot.standing(db)).contains("disks"), "the reason is for operators");
    assert!(snapshot.is_silenced(db));
    assert!(checker.readiness().ready);
    assert_eq!(checker.status(), Status::Healthy);
    checker.end_maintenance(&begun[0].id, "bob").unwrap();
    sleep(SECOND / 20).await;
    assert_eq!(status(&checker, "db"), Status::Unhealthy, "what is true of it counts again at once");
    assert!(!checker.readiness().ready);
    assert_eq!(
        changes(&history, Some("db")),
        [
            "none healthy   ",
            "healthy maintenance maintenance in maintenance by ann: new disks",
            "maintenance unhealthy refused connection refused ended by bob",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_in_maintenance_takes_no_traffic_lives_and_is_told_of_twice() {
    let switch = Arc::new(AtomicBool::new(true));
    let liveness = Component::new("loop", AnyCheck::from_fn(async || ())).scope(Scope::Process).groups([Group::Live]);
    let grouped = switched("api", &Arc::new(AtomicBool::new(true))).groups([Group::Ready, Group::from("edge")]);
    let (checker, history) = checker([switched("db", &switch), liveness, grouped]);
    sleep(3 * SECOND).await;
    checker.begin_maintenance(NewMaintenance::of_the_service(End::After(60 * SECOND), "move").by("ann")).unwrap();
    sleep(SECOND / 20).await;
    assert_eq!(checker.status(), Status::Maintenance);
    assert_eq!(checker.readiness().status, Status::Maintenance);
    assert!(!checker.readiness().ready);
    let snapshot = checker.snapshot();
    assert_eq!(snapshot.status(&Group::from("edge")), Status::Maintenance);
    assert_eq!(snapshot.status(&Group::Live), Status::Healthy);
    assert!(checker.is_alive() && checker.is_started());
    switch.store(false, Ordering::Relaxed);
    sleep(20 * SECOND).await;
    assert_eq!(status(&checker, "db"), Status::Unhealthy, "a component shows what is true of it");
    assert_eq!(changes(&history, Some("db")), ["none healthy   "], "and nobody is told");
    sleep(40 * SECOND).await;
    assert_eq!(checker.status(), Status::Unhealthy);
    assert_eq!(changes(&history, Some("db"))[1], "healthy unhealthy refused connection refused ");
    assert_eq!(
        changes(&history, None),
        [
            "none healthy   ",
            "healthy maintenance maintenance in maintenance by ann: move",
            "maintenance unhealthy refused db (refused) its time has come",
        ]
    );
    let since = checker.snapshot().component("db").unwrap().since;
    assert!(checker.clock().boot() > since.boot + 30 * SECOND, "since it was so, not since it was told");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_nobody_renews_enters_and_leaves_a_window_by_itself() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let steady = Component::new("db", AnyCheck::from_fn(async || ())).interval(HOUR).max_age(24 * HOUR);
    checker.register(steady).unwrap();
    // The clock begins at midnight of 2026-01-01, UTC.
    let once = Recurrence::Once(date(2026, 1, 1));
    let window = MaintenanceWindow::new("w", once, time(0, 1, 0, 0), 30 * SECOND, TimeZone::UTC);
    checker.set_maintenance_windows(vec![window]).unwrap();
    let engine = tokio::spawn(engine.run(pending()));
    sleep(3 * SECOND).await;
    engine.abort();
    for (second, expected) in
        [(59, Status::Healthy), (61, Status::Maintenance), (89, Status::Maintenance), (91, Status::Healthy)]
    {
        sleep(Duration::from_secs(second).saturating_sub(checker.clock().boot())).await;
        assert_eq!(checker.status(), expected, "after {second} s");
        assert_eq!(checker.snapshot().overall(), expected, "after {second} s");
        assert_eq!(checker.readiness().ready, expected == Status::Healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn windows_are_replaced_whole_and_one_that_is_gone_ends() {
    let (checker, history) = checker([switched("db", &Arc::new(AtomicBool::new(true)))]);
    sleep(3 * SECOND).await;
    let window = |name: &str| {
        let once = Recurrence::Once(date(2026, 1, 1));
        MaintenanceWindow::new(name, once, time(0, 0, 0, 0), HOUR, TimeZone::UTC).reason("backup")
    };
    checker.set_maintenance_windows(vec![window("night")]).unwrap();
    sleep(SECOND / 20).await;
    assert_eq!(checker.status(), Status::Maintenance);
    let listed = checker.maintenances();
    assert_eq!((&*listed[0].id, listed[0].origin), ("window:night", MaintenanceOrigin::Window));
    assert_eq!(checker.end_maintenance("window:night", "").unwrap_err(), MaintenanceError::OfWindow);
    let twice = checker.set_maintenance_windows(vec![window("a"), window("a")]).unwrap_err();
    assert_eq!(twice.code(), "maintenance.window");
    assert_eq!(checker.maintenances().len(), 1, "nothing changed");
    checker.set_maintenance_windows(Vec::new()).unwrap();
    sleep(SECOND / 20).await;
    assert_eq!(checker.status(), Status::Healthy);
    assert_eq!(
        changes(&history, None)[1..],
        ["healthy maintenance maintenance in maintenance backup", "maintenance healthy   its window is over",]
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_down_names_the_parent_in_maintenance() {
    let down = Arc::new(AtomicBool::new(false));
    let (checker, _history) =
        checker([switched("db", &Arc::new(AtomicBool::new(true))), switched("api", &down).depends_on(["db"])]);
    sleep(5 * SECOND).await;
    let root = || {
        let snapshot = checker.snapshot();
        snapshot.root_cause(snapshot.component("api").unwrap()).map(|root| root.name.to_string())
    };
    assert_eq!(root(), None);
    checker.begin_maintenance(of_db(End::Open)).unwrap();
    sleep(SECOND / 20).await;
    assert_eq!(root().as_deref(), Some("db"));
    let unknown = NewMaintenance::of_components(["api", "nothing\n"], End::Open, "why");
    let refused = checker.begin_maintenance(unknown).unwrap_err();
    assert_eq!(refused.to_string(), "there is no component named `nothing\\n`");
    assert_eq!(status(&checker, "api"), Status::Unhealthy, "all or none");
}

/// A store in memory that refuses to work as often as it is told to.
#[derive(Clone, Default)]
struct Stubborn {
    refusals: Arc<AtomicU32>,
    kept: Arc<Mutex<Vec<Maintenance>>>,
}

impl Stubborn {
    fn refuse(&self) -> Result<(), HistoryError> {
        let less = |left: u32| left.checked_sub(1);
        match self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(HistoryError::new("store.full", "no space is left")),
            Err(_) => Ok(()),
        }
    }
}

impl MaintenanceStore for Stubborn {
    fn load(&mut self) -> Result<Vec<Maintenance>, HistoryError> {
        self.refuse()?;
        Ok(self.kept.lock().unwrap().clone())
    }

    fn save(&mut self, maintenances: &[Maintenance]) -> Result<(), HistoryError> {
        self.refuse()?;
        *self.kept.lock().unwrap() = maintenances.to_vec();
        Ok(())
    }
}

fn started(store: &Stubborn) -> Checker {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    checker.register(Component::new("db", AnyCheck::from_fn(async || ()))).unwrap();
    checker.keep_maintenances(store.clone()).unwrap();
    checker
}

#[test]
fn what_was_begun_by_hand_survives_a_restart_and_what_was_ended_does_not() {
    let store = Stubborn::default();
    let before = started(&store);
    let begun = before.begin_maintenance(of_db(End::After(HOUR))).unwrap();
    let ended = before.begin_maintenance(NewMaintenance::of_the_service(End::Open, "why")).unwrap();
    before.end_maintenance(&ended[0].id, "").unwrap();
    assert_eq!(before.maintenances_kept(PATIENCE), Kept::Stored);
    drop(before);
    let after = started(&store);
    assert_eq!(after.maintenances(), begun);
    assert_eq!(after.begin_maintenance(of_db(End::Open)).unwrap().len(), 1);
    assert_ne!(after.maintenances()[0].id, after.maintenances()[1].id);
}

#[test]
fn what_is_over_is_dropped_at_the_start() {
    let store = Stubborn::default();
    let over = Timestamp::now() - SignedDuration::from_secs(1);
    store.kept.lock().unwrap().push(Maintenance {
        id: "m1".into(),
        component: None,
        reason: "why".into(),
        author: "".into(),
        since: over - SignedDuration::from_hours(1),
        until: over,
        origin: MaintenanceOrigin::Duration,
    });
    let checker = started(&store);
    assert!(checker.maintenances().is_empty());
    assert_eq!(checker.maintenances_kept(PATIENCE), Kept::Stored);
    assert!(store.kept.lock().unwrap().is_empty());
}

#[test]
fn a_store_that_fails_leaves_it_in_memory_and_says_so() {
    let store = Stubborn::default();
    let checker = started(&store);
    assert_eq!(checker.maintenances_kept(PATIENCE), Kept::Stored);
    store.refusals.store(1, Ordering::SeqCst);
    checker.begin_maintenance(of_db(End::Open)).unwrap();
    assert_eq!(checker.maintenances_kept(PATIENCE), Kept::InMemory);
    assert_eq!(checker.maintenances().len(), 1);
    checker.begin_maintenance(of_db(End::Open)).unwrap();
    assert_eq!(checker.maintenances_kept(PATIENCE), Kept::Stored, "a change is tried at once");
    assert_eq!(store.kept.lock().unwrap().len(), 2);
    let (without, _engine) = Checker::new(Settings::new("tested"));
    assert_eq!(without.maintenances_kept(PATIENCE), Kept::InMemory);
}

#[test]
fn a_store_that_does_not_answer_holds_the_start_for_two_seconds_only() {
    struct Hanging(mpsc::Receiver<Maintenance>);
    impl MaintenanceStore for Hanging {
        fn load(&mut self) -> Result<Vec<Maintenance>, HistoryError> {
            Ok(self.0.iter().collect())
        }
        fn save(&mut self, _: &[Maintenance]) -> Result<(), HistoryError> {
            Ok(())
        }
    }
    let (answer, hanging) = mpsc::channel();
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    let clock = Instant::now();
    checker.keep_maintenances(Hanging(hanging)).unwrap();
    assert!(clock.elapsed() < PATIENCE);
    let begun = checker.begin_maintenance(NewMaintenance::of_the_service(End::Open, "why")).unwrap();
    assert_eq!(checker.maintenances_kept(SECOND / 100), Kept::InMemory);
    answer.send(Maintenance { id: "m1".into(), ..(*begun[0]).clone() }).unwrap();
    drop(answer);
    until(PATIENCE, "what was kept to be on too", || checker.maintenances().len() == 2);
}

#[test]
fn a_store_that_can_not_be_read_at_the_start_loses_nothing() {
    let store = Stubborn::default();
    let begun = started(&store).begin_maintenance(of_db(End::After(HOUR))).unwrap();
    until(PATIENCE, "the store to have it", || !store.kept.lock().unwrap().is_empty());
    store.refusals.store(1, Ordering::SeqCst);
    let checker = started(&store);
    assert!(checker.maintenances().is_empty());
    let second = checker.begin_maintenance(of_db(End::After(HOUR))).unwrap();
    until(PATIENCE, "both to be on", || checker.maintenances().len() == 2);
    assert_eq!(checker.maintenances_kept(PATIENCE), Kept::Stored);
    let kept: Vec<_> = store.kept.lock().unwrap().iter().map(|one| Arc::clone(&one.id)).collect();
    assert!(kept.contains(&begun[0].id) && kept.contains(&second[0].id), "{kept:?}");
}
