//! Claims about heartbeats, most of them on tokio's paused time.

use std::future::pending;
use std::sync::mpsc;

use tokio::time::sleep;
use wellkept_testkit::until;

use super::*;
use crate::{End, Life, NewMaintenance, Settings, Status, TokioClock, WatchOptions};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

async fn checker() -> Checker {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    tokio::spawn(engine.run(pending()));
    sleep(SECOND / 10).await;
    checker
}

fn component(checker: &Checker) -> (Status, Option<Reason>) {
    let snapshot = checker.snapshot();
    let standing = snapshot.standing(snapshot.component("order-loop").unwrap());
    (standing.status, standing.reason)
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_stops_beating_fails_liveness_and_names_itself() {
    let checker = checker().await;
    let heartbeat = checker.heartbeat("order-loop", 10 * SECOND).unwrap();
    for _ in 0..10 {
        sleep(9 * SECOND).await;
        assert!(checker.is_alive());
        assert_eq!(component(&checker), (Status::Healthy, None));
        heartbeat.beat();
    }
    sleep(13 * SECOND).await;
    assert_eq!(checker.life(), Life::Late { heartbeat: "order-loop".into(), overdue: 3 * SECOND });
    assert_eq!(component(&checker), (Status::Unhealthy, Some(Reason::Late)));
    let snapshot = checker.snapshot();
    let metadata = &snapshot.component("order-loop").unwrap().metadata;
    assert!(metadata["age_ms"].as_f64().unwrap() > 10_000.0, "{metadata:?}");
    assert_eq!(metadata["limit_ms"], 10_000.0);

    heartbeat.beat();
    assert!(checker.is_alive(), "it is the beat that counts, not the engine's next look");
    sleep(2 * SECOND).await;
    assert_eq!(component(&checker), (Status::Healthy, None));
}

#[tokio::test(start_paused = true)]
async fn a_late_loop_is_noticed_before_the_engine_has_looked_at_anything() {
    let (checker, _engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let _heartbeat = checker.heartbeat("order-loop", SECOND).unwrap();
    assert!(checker.is_alive());
    sleep(2 * SECOND).await;
    assert_eq!(checker.life().as_str(), "late");
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_died_is_late_at_once_and_one_that_finished_is_gone() {
    let checker = checker().await;
    let finishes = checker.heartbeat("order-loop", 10 * SECOND).unwrap();
    let clone = finishes.clone();
    drop(finishes);
    assert!(checker.is_alive(), "a handle is left");
    clone.finish();
    sleep(SECOND).await;
    assert!(checker.is_alive() && checker.snapshot().component("order-loop").is_none());

    let doomed = checker.heartbeat("order-loop", 10 * SECOND).unwrap();
    let died = tokio::spawn(async move {
        doomed.beat();
        panic!("on purpose");
    });
    assert!(died.await.is_err());
    assert_eq!(checker.life().as_str(), "late");
    sleep(2 * SECOND).await;
    assert_eq!(component(&checker), (Status::Unhealthy, Some(Reason::Late)));
    assert!(checker.unregister("order-loop"));
    sleep(SECOND).await;
    assert!(checker.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_finished_handle_leaves_a_later_loop_of_its_name_alone() {
    let checker = checker().await;
    let first = checker.heartbeat("order-loop", SECOND).unwrap();
    let left = first.clone();
    first.finish();
    let _second = checker.heartbeat("order-loop", SECOND).unwrap();
    left.finish();
    assert_eq!(checker.heartbeats().len(), 1);
    sleep(SECOND / 10).await;
    assert!(checker.snapshot().component("order-loop").is_some());
}

#[tokio::test(start_paused = true)]
async fn loops_may_end_while_the_process_does() {
    let checker = checker().await;
    let heartbeat = checker.heartbeat("order-loop", SECOND).unwrap();
    sleep(SECOND / 2).await;
    checker.begin_draining();
    drop(heartbeat);
    sleep(10 * SECOND).await;
    assert!(checker.is_alive());
    assert_eq!(checker.status(), Status::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_leaves_the_loops_where_they_are() {
    let checker = checker().await;
    let heartbeat = checker.heartbeat("order-loop", 10 * SECOND).unwrap();
    sleep(SECOND).await;
    let db = || Component::new("db", AnyCheck::from_fn(async || ()));
    checker.replace(vec![db()]).unwrap();
    let taken = checker.replace(vec![Component::new("order-loop", AnyCheck::from_fn(async || ()))]).unwrap_err();
    assert_eq!(taken[0].code(), "component.duplicate");
    assert_eq!(checker.heartbeat("db", SECOND).unwrap_err().code(), "component.duplicate");
    assert_eq!(checker.heartbeats().len(), 1, "what was refused is not watched");
    sleep(SECOND).await;
    assert_eq!(component(&checker), (Status::Healthy, None));
    drop(heartbeat);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_an_operator_left_out_fails_nothing() {
    let checker = checker().await;
    let _heartbeat = checker.heartbeat("order-loop", SECOND).unwrap();
    sleep(10 * SECOND).await;
    assert!(!checker.is_alive());
    checker.disable("order-loop").unwrap();
    sleep(SECOND).await;
    assert!(checker.is_alive());
    checker.enable("order-loop").unwrap();
    assert!(!checker.is_alive());

    let repair = NewMaintenance::of_components(["order-loop"], End::After(60 * SECOND), "repair");
    checker.begin_maintenance(repair).unwrap();
    sleep(SECOND).await;
    assert!(checker.is_alive());
    sleep(60 * SECOND).await;
    assert!(!checker.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_nobody_can_keep_is_refused() {
    let checker = checker().await;
    for limit in [Duration::ZERO, Duration::from_millis(9), 25 * 3600 * SECOND] {
        assert_eq!(checker.heartbeat("order-loop", limit).unwrap_err().code(), "component.setting");
    }
    assert_eq!(checker.heartbeat("", SECOND).unwrap_err().code(), "component.name");
    assert!(checker.heartbeats().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_loop_in_maintenance_is_told_of_as_late_only_once_that_is_over() {
    let checker = checker().await;
    let _heartbeat = checker.heartbeat("order-loop", SECOND).unwrap();
    let repair = NewMaintenance::of_components(["order-loop"], End::After(60 * SECOND), "repair");
    checker.begin_maintenance(repair).unwrap();
    sleep(10 * SECOND).await;
    checker.shared.heartbeats.look(Duration::ZERO);
    assert_eq!(checker.liveness().late_total(), 0);
    sleep(60 * SECOND).await;
    checker.shared.heartbeats.look(Duration::ZERO);
    assert_eq!(checker.liveness().late_total(), 1);
}

#[tokio::test(start_paused = true)]
async fn loops_that_beat_keep_the_process_alive_however_old_the_engine_s_results_are() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    let engine = tokio::spawn(engine.run(pending()));
    let heartbeat = checker.heartbeat("order-loop", SECOND).unwrap();
    sleep(SECOND / 2).await;
    assert!(checker.is_started());
    engine.abort();
    for _ in 0..100 {
        heartbeat.beat();
        sleep(SECOND / 2).await;
        assert!(checker.is_alive());
    }
    assert_eq!(component(&checker), (Status::Unknown, Some(Reason::Stale)));
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_whole_process_makes_no_loop_late_nor_excuses_one_for_longer() {
    let checker = checker().await;
    let heartbeat = checker.heartbeat("order-loop", SECOND).unwrap();
    let forgive = |pause| checker.shared.heartbeats.forgive(pause);
    heartbeat.beat();
    sleep(10 * SECOND).await;
    forgive(Duration::ZERO);
    assert!(!checker.is_alive());
    forgive(9 * SECOND);
    assert!(checker.is_alive());
    assert_eq!(checker.heartbeats()[0].age, SECOND);
    forgive(3600 * SECOND);
    assert_eq!(checker.heartbeats()[0].age, Duration::ZERO);
    sleep(2 * SECOND).await;
    assert!(!checker.is_alive(), "no beat is owed to it in advance");
}

#[test]
fn a_loop_and_its_component_agree_whoever_switches_them_at_once() {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    let heartbeat = checker.heartbeat("order-loop", 3600 * SECOND).unwrap();
    for _ in 0..500 {
        std::thread::scope(|scope| {
            scope.spawn(|| checker.disable("order-loop").unwrap());
            scope.spawn(|| checker.enable("order-loop").unwrap());
        });
        let runs = checker.table().ask("order-loop", Duration::ZERO, checker.clock()).is_ok();
        assert_eq!(heartbeat.handle.pulse.left_out.load(Ordering::Acquire), !runs);
    }
}

/// Beats every few milliseconds until it is told to stop beating or to block its thread.
fn beating(runtime: &tokio::runtime::Runtime, heartbeat: Heartbeat) -> mpsc::Sender<mpsc::Receiver<()>> {
    let (orders, taken) = mpsc::channel::<mpsc::Receiver<()>>();
    runtime.spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        loop {
            pace.tick().await;
            if let Ok(held) = taken.try_recv() {
                held.recv().ok();
            }
            heartbeat.beat();
        }
    });
    orders
}

#[test]
fn a_blocked_runtime_is_told_from_a_late_loop() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (checker, engine) = Checker::new(Settings::new("tested"));
    runtime.spawn(engine.run(pending()));
    let options = WatchOptions { period: Duration::from_millis(5), limit: 60 * SECOND, ..WatchOptions::default() };
    let _watch = checker.liveness().watch(runtime.handle().clone(), options).unwrap();

    // One thread is all that the runtime has: whoever blocks it stalls the engine and every loop.
    let heartbeat = checker.heartbeat("order-loop", SECOND / 2).unwrap();
    let orders = beating(&runtime, heartbeat);
    until(PATIENCE, "the start", || checker.is_started() && checker.is_alive());
    let (release, held) = mpsc::channel();
    orders.send(held).unwrap();
    until(PATIENCE, "the loop to be late", || checker.heartbeats()[0].late);
    until(PATIENCE, "the stall to be seen", || matches!(checker.life(), Life::Stalled { .. }));
    release.send(()).unwrap();
    until(PATIENCE, "the loop to go on", || checker.is_alive());
    assert_eq!(checker.liveness().late_total(), 0, "it was not the loop's fault");

    let silent = checker.heartbeat("silent-loop", SECOND / 2).unwrap();
    until(
        PATIENCE,
        "the silent loop to be named",
        || matches!(checker.life(), Life::Late { heartbeat, .. } if &*heartbeat == "silent-loop"),
    );
    until(PATIENCE, "it to be counted", || checker.liveness().late_total() == 1);
    silent.finish();
    until(PATIENCE, "the silent loop to be forgotten", || checker.is_alive());
    runtime.shutdown_background();
}
