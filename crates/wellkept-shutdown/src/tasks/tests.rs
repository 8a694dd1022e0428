//! What a supervisor promises: to start again, not for ever, and to let nobody stay.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::group::HOLDS_ITS_THREAD;
use super::*;
use crate::{Cause, Report, Sequence, Settings, Status, WhenLate};

fn new() -> (Tasks, Shutdown, Sequence) {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    (Tasks::new(&shutdown), shutdown, sequence)
}

async fn end(shutdown: &Shutdown, sequence: Sequence) -> Report {
    shutdown.trigger(Cause::requested("test"));
    sequence.run().await
}

/// Counts its starts, and ends each as told.
fn counted(
    name: &str,
    starts: &Arc<AtomicUsize>,
    end: impl Fn(usize) -> Result<(), &'static str> + Send + 'static,
) -> Task {
    let starts = Arc::clone(starts);
    Task::new(name, move |_| {
        let ended = end(starts.fetch_add(1, Ordering::Relaxed));
        async move { ended }
    })
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_started_again_and_what_ends_well_is_not() {
    for (restart, ends_well, expected) in [
        (Restart::OnFailure, true, 1),
        (Restart::OnFailure, false, 4),
        (Restart::Always, true, 4),
        (Restart::Never, false, 1),
    ] {
        let (tasks, _shutdown, _sequence) = new();
        let starts = Arc::new(AtomicUsize::new(0));
        let ended = if ends_well { Ok(()) } else { Err("on purpose") };
        let limits = RestartLimits { most: 3, ..RestartLimits::default() };
        tasks.spawn(counted("task", &starts, move |_| ended).restart(restart).limits(limits)).unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(starts.load(Ordering::Relaxed), expected, "{restart:?}, ends well: {ends_well}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_and_the_state_of_each_task_can_be_seen() {
    let (tasks, _shutdown, _sequence) = new();
    let starts = || Arc::new(AtomicUsize::new(0));
    let once = RestartLimits { most: 1, ..RestartLimits::default() };
    tasks.spawn(counted("panics at its begin", &starts(), |_| panic!("on purpose")).limits(once)).unwrap();
    tasks.spawn(Task::new("panics on its way", |_| panics()).limits(once)).unwrap();
    let recovers = starts();
    tasks.spawn(counted("recovers", &recovers, |start| if start < 2 { Err("refused") } else { Ok(()) })).unwrap();
    tasks.spawn(Task::new("runs", async |context: TaskContext| context.stopping().await)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(recovers.load(Ordering::Relaxed), 3);
    // In which order two were given up is their pauses' matter.
    let mut lines: Vec<_> = tasks
        .stats()
        .into_iter()
        .map(|task| serde_json::to_string(&TaskStats { age_seconds: 0.0, ..task }).unwrap())
        .collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"name":"panics at its begin","status":"given_up","restarts":1,"age_seconds":0.0,"last_error":"panicked: on purpose"}
    {"name":"panics on its way","status":"given_up","restarts":1,"age_seconds":0.0,"last_error":"panicked: on purpose"}
    {"name":"runs","status":"running","restarts":0,"age_seconds":0.0,"last_error":null}
    "#);
}

async fn panics() {
    tokio::task::yield_now().await;
    panic!("on purpose");
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_that_is_given_up_ends_the_service_with_70() {
    let (tasks, shutdown, sequence) = new();
    let starts = Arc::new(AtomicUsize::new(0));
    let limits = RestartLimits { most: 2, ..RestartLimits::default() };
    tasks.spawn(counted("consumer", &starts, |_| Err("refused")).limits(limits).essential()).unwrap();
    let report = sequence.run().await;
    assert_eq!(report.exit_code(), 70);
    assert_eq!(shutdown.cause(), Some(&Cause::failure("the task `consumer` failed too often")));
}

#[tokio::test(start_paused = true)]
async fn who_takes_work_stops_at_once_and_who_serves_requests_when_they_are_over() {
    let (tasks, shutdown, sequence) = new();
    let log = Arc::new(Mutex::new(Vec::new()));
    for (name, stop_at) in [("consumer", StopAt::Beginning), ("cache", StopAt::Drained)] {
        let log = Arc::clone(&log);
        let task = Task::new(name, move |context| {
            let log = Arc::clone(&log);
            async move {
                context.stopping().await;
                log.lock().unwrap().push(name);
            }
        });
        tasks.spawn(task.stop_at(stop_at)).unwrap();
    }
    let request = shutdown.tracker().start_request().unwrap();
    let ending = Arc::clone(&log);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        ending.lock().unwrap().push("request");
        drop(request);
    });
    assert_eq!(end(&shutdown, sequence).await.status, Status::Successful);
    assert_eq!(*log.lock().unwrap(), ["consumer", "request", "cache"]);
    assert_eq!(tasks.spawn(Task::new("late", async |_| ())), Err(TaskRefused::Stopping));
    assert!(tasks.stats().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_end_is_cut_off_and_named() {
    for (stop_at, after) in [(StopAt::Beginning, 10_000), (StopAt::Drained, 5_000)] {
        let (tasks, shutdown, sequence) = new();
        tasks.spawn(Task::new("deaf", async |_| std::future::pending::<()>().await).stop_at(stop_at)).unwrap();
        let began = Instant::now();
        let report = end(&shutdown, sequence).await;
        let named: Vec<_> = report.forced.iter().map(|one| (one.item.as_str(), &*one.reason)).collect();
        assert_eq!(named, [("task deaf", "task_does_not_end")]);
        assert_eq!((report.status, report.exit_code()), (Status::Forced, 75));
        let took = began.elapsed().as_millis();
        assert!((after..after + 500).contains(&took), "{stop_at:?}: {took} ms");
        tokio::task::yield_now().await;
        assert!(tasks.stats().is_empty(), "it is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_pause_before_a_restart_ends_it_at_once() {
    let (tasks, shutdown, sequence) = new();
    let starts = Arc::new(AtomicUsize::new(0));
    let limits = RestartLimits {
        first_pause: Duration::from_secs(3600),
        longest_pause: Duration::from_secs(3600),
        ..Default::default()
    };
    tasks.spawn(counted("loops", &starts, |_| Err("refused")).limits(limits)).unwrap();
    while tasks.stats().first().is_none_or(|one| one.status != TaskStatus::Pausing) {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    assert_eq!(end(&shutdown, sequence).await.status, Status::Successful);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(starts.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_holds_its_thread_is_found_by_its_name() {
    let settings = Settings { drain: Duration::from_millis(300), when_late: WhenLate::Cut, ..Settings::default() };
    let (shutdown, sequence) = Shutdown::new(settings);
    let tasks = Tasks::new(&shutdown);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let mut held = Some(held);
    tasks
        .spawn(Task::new("sorts for ever", move |_| {
            let held = held.take();
            // No await in here.
            async move { held.map(|held| held.recv()).map_or(Ok(()), |_| Ok::<(), String>(())) }
        }))
        .unwrap();
    tasks.spawn(Task::new("waits", async |context: TaskContext| context.stopping().await)).unwrap();
    let report = end(&shutdown, sequence).await;
    let named: Vec<_> = report.forced.iter().map(|one| (one.item.as_str(), &*one.reason)).collect();
    assert_eq!(named, [("task sorts for ever", "blocks_its_thread")]);
    assert_eq!(tasks.blocking(HOLDS_ITS_THREAD).len(), 1);
    release.send(()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn all_can_be_stopped_without_a_shutdown() {
    let (tasks, shutdown, _sequence) = new();
    tasks.spawn(Task::new("well", async |context: TaskContext| context.stopping().await)).unwrap();
    tasks.spawn(Task::new("deaf", async |_| std::future::pending::<()>().await)).unwrap();
    let began = Instant::now();
    assert_eq!(tasks.stop_all(Duration::from_secs(2)).await, ["deaf"]);
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert!(!shutdown.is_shutting_down());
}

/// Gives what `call` gives, and fails where it never ends.
fn ends<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> R {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(call()));
    told.recv_timeout(Duration::from_secs(20)).expect("it ends")
}

#[test]
fn a_task_that_is_spawned_where_there_is_no_runtime_is_a_panic_and_blocks_nobody_after_it() {
    let (tasks, shutdown, _sequence) = new();
    ends(move || {
        let spawn = || tasks.spawn(Task::new("nowhere", async |_| ()));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(spawn)).is_err());
        assert!(tasks.stats().is_empty());
        shutdown.trigger(Cause::requested("test"));
    });
}

#[test]
fn a_task_that_is_spawned_while_its_runtime_closes_leaves_the_list() {
    let (tasks, _shutdown, _sequence) = new();
    ends(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let closing = runtime.handle().clone();
        runtime.shutdown_background();
        let _entered = closing.enter();
        tasks.spawn(Task::new("too late", async |_| std::future::pending::<()>().await)).unwrap();
        // The runtime drops it now, or in a moment.
        while !tasks.stats().is_empty() {
            std::thread::yield_now();
        }
    });
}

#[tokio::test(start_paused = true)]
async fn an_essential_task_that_fails_while_it_is_to_stop_shows_in_the_exit_code() {
    let (tasks, shutdown, sequence) = new();
    let fails = |name| {
        Task::new(name, async |context: TaskContext| {
            context.stopping().await;
            Err("the offsets could not be saved")
        })
    };
    tasks.spawn(fails("consumer").essential()).unwrap();
    tasks.spawn(fails("statistics")).unwrap();
    let report = end(&shutdown, sequence).await;
    assert_eq!(report.errors, ["the task `consumer` failed while it was to stop"]);
    assert_eq!(report.exit_code(), 70);
}
