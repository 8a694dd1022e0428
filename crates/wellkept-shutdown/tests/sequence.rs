//! The sequence as its users see it, in virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use wellkept_shutdown::{
    BoxFuture, Cause, Entrance, EntranceKind, Hook, Phase, RegisterError, Remaining, Report, Resource, ResourceOutcome,
    ResourceType, Sequence, Settings, Shutdown, Signal, Status, Triggered, WhenLate, Work,
};

type Log = Arc<Mutex<Vec<String>>>;

/// An entrance that writes down what is asked of it, and drains when told.
struct Door {
    name: &'static str,
    open: usize,
    log: Log,
    drained: Notify,
}

impl Door {
    fn new(name: &'static str, open: usize, log: &Log) -> Arc<Self> {
        Arc::new(Self { name, open, log: Arc::clone(log), drained: Notify::new() })
    }

    fn note(&self, what: &str) {
        note(&self.log, &format!("{} {what}", self.name));
    }
}

impl Entrance for Door {
    fn name(&self) -> &str {
        self.name
    }

    fn announce(&self) {
        self.note("announces");
    }

    fn open(&self) -> usize {
        self.open
    }

    fn stop_accepting(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.note("stops") })
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.drained.notified().await;
            self.note("is drained");
        })
    }

    fn remaining(&self) -> Vec<Remaining> {
        vec![Remaining {
            item: "a slow request".to_owned(),
            reason: "in_flight".into(),
            age: Some(Duration::from_secs(3)),
        }]
    }

    fn abort(&self) {
        self.note("aborts");
    }
}

fn note(log: &Log, line: &str) {
    log.lock().expect("no test panics while it writes").push(line.to_owned());
}

fn logged(log: &Log) -> String {
    log.lock().expect("no test panics while it writes").join("\n")
}

fn resource(name: &'static str, log: &Log) -> Resource {
    let log = Arc::clone(log);
    Resource::new(name, ResourceType::Custom, move || async move { note(&log, &format!("{name} closes")) })
}

fn panics() {
    panic!("on purpose");
}

async fn run(shutdown: &Shutdown, sequence: Sequence) -> Report {
    shutdown.trigger(Cause::requested("test"));
    sequence.run().await
}

fn outcomes(report: &Report) -> Vec<(&str, ResourceOutcome)> {
    report.resources.iter().map(|resource| (resource.name.as_str(), resource.outcome)).collect()
}

#[tokio::test(start_paused = true)]
async fn everything_happens_in_its_order() {
    let log = Log::default();
    let (shutdown, sequence) = Shutdown::new(Settings { delay: Duration::from_secs(5), ..Settings::default() });
    let (application, probe) = (Door::new("application", 1, &log), Door::new("probe", 1, &log));
    application.drained.notify_one();
    probe.drained.notify_one();
    shutdown.add_entrance(EntranceKind::Probe, probe);
    shutdown.add_entrance(EntranceKind::Application, application);
    shutdown.register(resource("database", &log)).unwrap();
    shutdown.register(resource("cache", &log)).unwrap();
    shutdown.register(resource("first", &log).priority(1)).unwrap();
    let flush_log = Arc::clone(&log);
    shutdown.on_flush(Hook::new("logs", move || async move { note(&flush_log, "logs flush") }));
    let hook_log = Arc::clone(&log);
    shutdown.on_phase(move |phase| note(&hook_log, &format!("-- {phase}")));

    let report = run(&shutdown, sequence).await;

    insta::assert_snapshot!(logged(&log), @"
    -- initiated
    -- delaying
    -- announcing
    probe announces
    application announces
    -- stopping_new_requests
    application stops
    -- draining_connections
    application is drained
    application aborts
    -- closing_resources
    first closes
    cache closes
    database closes
    probe stops
    probe is drained
    probe aborts
    -- flushing_buffers
    logs flush
    -- completed
    ");
    assert_eq!((report.status, report.exit_code()), (Status::Successful, 0));
    assert!(report.forced.is_empty() && report.errors.is_empty());
    let delay = report.phases.iter().find(|time| time.phase == Phase::Delaying).unwrap();
    assert!((delay.duration_seconds - 5.0).abs() < 0.01, "{delay:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_replaced_does_not_wait_until_it_is_noticed() {
    let (shutdown, sequence) = Shutdown::new(Settings { delay: Duration::from_secs(5), ..Settings::default() });
    shutdown.trigger(Cause::HandedOver);
    assert!(sequence.run().await.duration_seconds < 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_announcement_ends_at_once_when_nothing_is_open() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let door = Door::new("application", 0, &Log::default());
    door.drained.notify_one();
    shutdown.add_entrance(EntranceKind::Application, door);
    let began = Instant::now();
    run(&shutdown, sequence).await;
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_does_not_end_is_cut_and_listed() {
    let log = Log::default();
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    shutdown.add_entrance(EntranceKind::Application, Door::new("application", 1, &log));
    shutdown.register(resource("database", &log)).unwrap();
    let began = Instant::now();
    let report = run(&shutdown, sequence).await;
    assert_eq!((report.status, report.exit_code()), (Status::Forced, 75));
    assert_eq!(shutdown.phase(), Phase::Forced);
    insta::assert_snapshot!(serde_json::to_string(&report.forced).unwrap(), @r#"[{"entrance":"application","item":"a slow request","reason":"in_flight","age_seconds":3.0}]"#);
    assert_eq!(outcomes(&report), [("database", ResourceOutcome::Closed)]);
    let drained = began.elapsed();
    assert!(drained > Duration::from_secs(10) && drained < Duration::from_millis(10_400), "{drained:?}");
}

// On real time: virtual time would pass while the blocking closers run.
#[tokio::test]
async fn one_bad_closer_stops_no_other() {
    let log = Log::default();
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let resources = [
        resource("well", &log),
        Resource::new("hangs", ResourceType::Redis, std::future::pending::<()>).timeout(Duration::from_millis(20)),
        Resource::new("panics", ResourceType::Database, || async { panics() }),
        Resource::new("fails", ResourceType::HttpClient, || async { Err("refused") }),
        Resource::blocking("blocking panics", ResourceType::FileHandle, panics),
        Resource::blocking("blocking", ResourceType::FileHandle, || Ok::<(), String>(())),
    ];
    for resource in resources {
        shutdown.register(resource).unwrap();
    }
    let report = run(&shutdown, sequence).await;
    assert_eq!(
        outcomes(&report),
        [
            ("blocking", ResourceOutcome::Closed),
            ("blocking panics", ResourceOutcome::Panicked),
            ("fails", ResourceOutcome::Failed),
            ("panics", ResourceOutcome::Panicked),
            ("hangs", ResourceOutcome::TimedOut),
            ("well", ResourceOutcome::Closed),
        ]
    );
    assert_eq!((report.status, report.exit_code()), (Status::Failed, 70));
    assert_eq!(report.errors.len(), 4);
    assert_eq!(report.resources[2].detail, "refused");
    let progress = shutdown.progress();
    assert_eq!((progress.closed_resources, progress.total_resources, progress.errors.len()), (6, 6, 4));
}

// The flush is on a thread and so on real time; the rest is as fast as virtual time.
#[tokio::test(start_paused = true)]
async fn hanging_closers_leave_the_flush_its_time() {
    let log = Log::default();
    let settings = Settings { deadline: Duration::from_secs(20), ..Settings::default() };
    let (shutdown, sequence) = Shutdown::new(settings);
    for _ in 0..10 {
        shutdown.register(Resource::new("hangs", ResourceType::Custom, std::future::pending::<()>)).unwrap();
    }
    let (flush_log, began) = (Arc::clone(&log), Instant::now());
    let left = Arc::new(Mutex::new(Duration::ZERO));
    shutdown.on_phase({
        let left = Arc::clone(&left);
        move |phase| {
            if phase == Phase::FlushingBuffers {
                *left.lock().unwrap() = (began + Duration::from_secs(20)).duration_since(Instant::now());
            }
        }
    });
    shutdown.on_flush(Hook::new("logs", move || async move { note(&flush_log, "logs flushed") }));
    let report = run(&shutdown, sequence).await;
    assert_eq!(logged(&log), "logs flushed");
    assert_eq!(*left.lock().unwrap(), Duration::from_secs(2), "all that is reserved is left");
    assert_eq!((report.status, report.exit_code()), (Status::Forced, 75));
    let skipped = outcomes(&report).iter().filter(|(_, outcome)| *outcome == ResourceOutcome::Skipped).count();
    // Three of 5 s each and one of 3 s fit before the 2 s of the flush.
    assert_eq!(skipped, 6);
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_hangs_ends_with_the_deadline() {
    let flush = Duration::from_millis(50);
    let (shutdown, sequence) = Shutdown::new(Settings { flush, ..Settings::default() });
    shutdown.on_flush(Hook::new("logs", std::future::pending::<()>));
    shutdown
        .register(Resource::new("hangs", ResourceType::Custom, std::future::pending::<()>).timeout(Duration::MAX))
        .unwrap();
    let report = run(&shutdown, sequence).await;
    assert_eq!(report.exit_code(), 75);
    assert!(report.errors.iter().any(|error| error.starts_with("flush `logs` timed_out")), "{:?}", report.errors);
}

#[tokio::test(start_paused = true)]
async fn hooks_come_before_the_delay_ends_and_after_the_resources() {
    let log = Log::default();
    // A line of progress would let virtual time pass while the thread that panics is still on its way.
    let settings = Settings { delay: Duration::from_secs(1), log_progress: None, ..Settings::default() };
    let (shutdown, sequence) = Shutdown::new(settings);
    shutdown.register(resource("database", &log)).unwrap();
    for (name, takes) in [("quick", 0), ("slow", 3)] {
        let log = Arc::clone(&log);
        shutdown.before(Hook::new(name, move || async move {
            tokio::time::sleep(Duration::from_secs(takes)).await;
            note(&log, name);
        }));
    }
    shutdown.before(Hook::new("hangs", std::future::pending::<()>));
    shutdown.before(Hook::blocking("panics", panics));
    let after = Arc::clone(&log);
    shutdown.after(Hook::blocking("temporary files", move || note(&after, "temporary files")));
    let phases = Arc::clone(&log);
    shutdown.on_phase(move |phase| note(&phases, &format!("-- {phase}")));
    let began = Instant::now();
    let report = run(&shutdown, sequence).await;
    insta::assert_snapshot!(logged(&log), @"
    -- initiated
    -- delaying
    quick
    slow
    -- announcing
    -- stopping_new_requests
    -- draining_connections
    -- closing_resources
    database closes
    temporary files
    -- flushing_buffers
    -- completed
    ");
    assert_eq!(
        began.elapsed(),
        Duration::from_secs(5),
        "what hangs gets a resource's time, and the delay runs meanwhile"
    );
    assert_eq!(report.status, Status::Failed);
    insta::assert_snapshot!(report.errors.join("\n"), @"
    hook `hangs` timed_out: did not end within 5s
    hook `panics` panicked: on purpose
    ");
}

#[tokio::test(start_paused = true)]
async fn parallel_closers_take_the_time_of_the_slowest_and_those_that_stand_on_others_go_first() {
    let log = Log::default();
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let takes = |name: &'static str, seconds| {
        let log = Arc::clone(&log);
        Resource::new(name, ResourceType::Custom, move || async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            note(&log, name);
        })
    };
    let pool = shutdown.register(takes("pool", 1).priority(1)).unwrap();
    for (name, seconds) in [("a", 3), ("b", 2), ("c", 1)] {
        shutdown.register(takes(name, seconds).parallel().stands_on(pool)).unwrap();
    }
    let began = Instant::now();
    assert_eq!(run(&shutdown, sequence).await.status, Status::Successful);
    assert_eq!(logged(&log), "c\nb\na\npool");
    assert_eq!(began.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_force_ends_all_waiting_and_names_what_it_cut() {
    let log = Log::default();
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    shutdown.add_entrance(EntranceKind::Application, Door::new("application", 1, &log));
    shutdown.add_entrance(EntranceKind::Probe, Door::new("probe", 0, &log));
    shutdown.register(resource("database", &log)).unwrap();
    let flush_log = Arc::clone(&log);
    shutdown.on_flush(Hook::new("logs", move || async move { note(&flush_log, "logs flush") }));
    let worker = tokio::spawn(sequence.run());
    shutdown.trigger(Cause::Signal(Signal::Terminate));
    shutdown.reached(Phase::DrainingConnections).await;
    let forced_at = Instant::now();
    shutdown.force(Cause::Signal(Signal::Interrupt));
    let report = worker.await.unwrap();
    assert_eq!(forced_at.elapsed(), Duration::ZERO);
    assert_eq!((report.status, report.exit_code()), (Status::Forced, 130));
    assert_eq!(report.cause, Cause::Signal(Signal::Terminate));
    assert_eq!(outcomes(&report), [("database", ResourceOutcome::Skipped)]);
    assert_eq!(report.forced.len(), 2);
    insta::assert_snapshot!(logged(&log), @"
    application announces
    probe announces
    application stops
    application aborts
    probe aborts
    logs flush
    ");
}

#[tokio::test(start_paused = true)]
async fn a_force_in_the_middle_of_a_closer_names_it_and_those_after_it() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    shutdown.register(Resource::new("never", ResourceType::Custom, || async {})).unwrap();
    shutdown.register(Resource::new("hangs", ResourceType::Custom, std::future::pending::<()>)).unwrap();
    let worker = tokio::spawn(sequence.run());
    shutdown.trigger(Cause::requested("test"));
    shutdown.reached(Phase::ClosingResources).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    shutdown.force(Cause::requested("impatience"));
    let report = worker.await.unwrap();
    assert_eq!(outcomes(&report), [("hangs", ResourceOutcome::TimedOut), ("never", ResourceOutcome::Skipped)]);
    assert_eq!(report.exit_code(), 75);
}

#[tokio::test(start_paused = true)]
async fn the_first_cause_is_kept_and_all_who_wait_get_the_same_report() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn({
                let shutdown = shutdown.clone();
                async move { shutdown.finished().await }
            })
        })
        .collect();
    assert!(!shutdown.stats().is_shutting_down);
    assert_eq!(shutdown.trigger(Cause::requested("one")), Triggered::Now);
    assert_eq!(shutdown.phase(), Phase::Initiated, "readiness fails before the worker has its turn");
    assert_eq!(shutdown.trigger(Cause::requested("two")), Triggered::Before);
    let report = sequence.run().await;
    assert_eq!(report.cause, Cause::requested("one"));
    for waiter in waiting {
        assert_eq!(*waiter.await.unwrap(), report);
    }
    assert_eq!(*shutdown.finished().await, report, "who asks afterwards gets it too");
    assert_eq!(
        shutdown.register(Resource::new("late", ResourceType::Custom, || async {})),
        Err(RegisterError::Closing)
    );
}

#[tokio::test(start_paused = true)]
async fn a_closer_may_trigger_register_and_force_without_harm() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let inner = shutdown.clone();
    shutdown
        .register(Resource::new("meddler", ResourceType::Custom, move || async move {
            assert_eq!(inner.trigger(Cause::requested("again")), Triggered::Before);
            let late = Resource::new("late", ResourceType::Custom, || async {});
            assert_eq!(inner.register(late), Err(RegisterError::Closing));
        }))
        .unwrap();
    assert_eq!(run(&shutdown, sequence).await.status, Status::Successful);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_hook_and_a_panicking_entrance_do_not_end_the_sequence() {
    struct Broken;
    impl Entrance for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn announce(&self) {
            panic!("announce");
        }
        fn open(&self) -> usize {
            1
        }
        fn stop_accepting(&self) -> BoxFuture<'_, ()> {
            panic!("stop")
        }
        fn drain(&self) -> BoxFuture<'_, ()> {
            Box::pin(async { panic!("drain") })
        }
        fn abort(&self) {
            panic!("abort");
        }
    }
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    shutdown.on_phase(|phase| assert_ne!(phase, Phase::Delaying));
    shutdown.add_entrance(EntranceKind::Application, Arc::new(Broken));
    shutdown.register(Resource::new("database", ResourceType::Database, || async {})).unwrap();
    let report = run(&shutdown, sequence).await;
    assert_eq!(outcomes(&report), [("database", ResourceOutcome::Closed)]);
    assert_eq!(report.status, Status::Failed);
    assert_eq!(report.errors.len(), 5, "{:?}", report.errors);
}

#[tokio::test(start_paused = true)]
async fn a_failure_as_cause_exits_with_70_even_when_all_closes_well() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    shutdown.trigger(Cause::failure("the consumer died"));
    assert_eq!(sequence.run().await.exit_code(), 70);
}

#[tokio::test]
async fn a_dropped_sequence_lets_nobody_wait_for_ever() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    drop(sequence);
    assert_eq!(shutdown.finished().await.status, Status::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_zero_and_one_without_end_are_survived() {
    for (deadline, longest) in [(Duration::ZERO, Duration::ZERO), (Duration::MAX, Duration::from_millis(301))] {
        let (shutdown, sequence) = Shutdown::new(Settings { deadline, ..Settings::default() });
        let door = Door::new("application", 1, &Log::default());
        door.drained.notify_one();
        shutdown.add_entrance(EntranceKind::Application, door);
        let began = Instant::now();
        run(&shutdown, sequence).await;
        assert!(began.elapsed() <= longest, "{deadline:?}: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_and_the_progress_keep_their_names_in_json() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    shutdown.register(Resource::new("pool", ResourceType::Database, || async { Err("refused") })).unwrap();
    insta::assert_snapshot!(serde_json::to_string(&shutdown.progress()).unwrap(), @r#"{"phase":"running","active_connections":0,"drained_connections":0,"closed_resources":0,"total_resources":1,"duration_seconds":0.0,"errors":[]}"#);
    insta::assert_snapshot!(serde_json::to_string(&shutdown.stats()).unwrap(), @r#"{"is_shutting_down":false,"phase":"running","resources_count":1,"connection_stats":{"total_connections":0,"total_in_flight_requests":0,"max_in_flight_requests":1000,"is_accepting_new":true,"refused_requests_total":0}}"#);
    shutdown.trigger(Cause::Signal(Signal::Terminate));
    let mut report = sequence.run().await;
    report.started_at = "2026-01-15T10:30:00Z".to_owned();
    report.phases.clear();
    report.duration_seconds = 0.0;
    report.resources[0].duration_seconds = 0.0;
    insta::assert_snapshot!(serde_json::to_string(&report).unwrap(), @r#"{"status":"failed","cause":{"signal":"SIGTERM"},"forced_by":null,"started_at":"2026-01-15T10:30:00Z","duration_seconds":0.0,"phases":[],"connections_at_drain":0,"requests_at_drain":0,"connections_cut":0,"requests_cut":0,"forced":[],"resources":[{"name":"pool","type":"database","priority":100,"outcome":"failed","duration_seconds":0.0,"detail":"refused"}],"errors":["resource `pool` failed: refused"]}"#);
}

#[tokio::test(start_paused = true)]
async fn work_of_any_kind_is_waited_for_and_then_cut_by_name() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let tracker = shutdown.tracker().clone();
    let quick = tracker.start_work(Work::new("job", "quick")).unwrap();
    let slow = tracker.start_work(Work::new("job", "slow").detail("tenant 7")).unwrap();
    let deaf = tracker.register_named_connection(Work::new("consumer", "orders"));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(quick);
    });
    let holder = tokio::spawn(async move {
        slow.cut().await;
        Instant::now()
    });
    let began = Instant::now();
    let report = run(&shutdown, sequence).await;
    // The announcement's 300 ms and the drain's 10 s.
    assert_eq!(holder.await.unwrap() - began, Duration::from_millis(10_300), "it is told at the end of the drain");
    assert_eq!((report.requests_at_drain, report.requests_cut, report.connections_cut), (2, 1, 1));
    assert_eq!((report.status, report.exit_code()), (Status::Forced, 75));
    let mut named: Vec<_> = report.forced.iter().map(|item| (item.item.as_str(), item.entrance.as_str())).collect();
    named.sort_unstable();
    assert_eq!(named, [("consumer orders", "tracker"), ("job slow (tenant 7)", "tracker")]);
    assert_eq!(began.elapsed(), Duration::from_millis(10_400), "who is deaf gets a moment and no more");
    drop(deaf);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_late_does_so_as_long_as_the_tails_are_kept() {
    let settings = Settings { when_late: WhenLate::Wait, ..Settings::default() };
    for (takes, status) in [(20, Status::Successful), (60, Status::Forced)] {
        let (shutdown, sequence) = Shutdown::new(settings);
        let request = shutdown.tracker().start_request().unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(takes)).await;
            drop(request);
        });
        let began = Instant::now();
        assert_eq!(run(&shutdown, sequence).await.status, status, "{takes}");
        // 30 s less 5 s for resources and 2 s for the flush.
        assert!(began.elapsed() <= Duration::from_millis(23_100), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn one_call_starts_it_with_a_deadline_of_its_own_and_waits_for_the_report() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let _request = shutdown.tracker().start_request().unwrap();
    tokio::spawn(sequence.run());
    let began = Instant::now();
    let report = shutdown.shut_down("deployment", Some(Duration::from_secs(4))).await;
    assert_eq!(report.cause, Cause::requested("deployment"));
    assert!(began.elapsed() <= Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(shutdown.shut_down("again", None).await, report, "a second call gets the same report");
    let error = Report::clone(&report).into_result().unwrap_err();
    insta::assert_snapshot!(error, @"the shutdown was forced: 1 requests and 0 connections were cut");
}

#[tokio::test]
async fn ready_made_closers_bring_files_to_the_disk_and_remove_what_is_temporary() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("uploads/deep")).unwrap();
    for name in ["uploads/deep/a", "single", "kept"] {
        std::fs::write(at(name), "").unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(at("kept"), at("link")).unwrap();
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    for resource in [
        Resource::temporary("folder", at("uploads")),
        Resource::temporary("file", at("single")),
        Resource::temporary("link", at("link")),
        Resource::temporary("gone", at("never there")),
        Resource::file("journal", std::fs::File::create(at("journal")).unwrap()),
        Resource::dropped("client", ResourceType::HttpClient, sender),
        Resource::file("read-only", std::fs::File::open("/proc/self/status").unwrap()),
    ] {
        shutdown.register(resource).unwrap();
    }
    let report = run(&shutdown, sequence).await;
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["journal", "kept"]);
    assert!(receiver.recv().is_err(), "its other end is dropped");
    let failed = report.resources.iter().filter(|resource| resource.outcome != ResourceOutcome::Closed);
    let failed: Vec<_> = failed.map(|resource| (resource.name.as_str(), resource.outcome)).collect();
    assert_eq!(failed, [("read-only", ResourceOutcome::Failed)], "the error of a sync is told");
}

#[tokio::test(start_paused = true)]
async fn an_entrance_that_comes_during_the_drain_is_not_left_open() {
    let log = Log::default();
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let late = Door::new("late", 1, &log);
    let (adding, added) = (shutdown.clone(), Arc::clone(&late));
    shutdown.on_phase(move |phase| {
        if phase == Phase::DrainingConnections {
            adding.add_entrance(EntranceKind::Application, Arc::clone(&added) as Arc<dyn Entrance>);
        }
    });
    run(&shutdown, sequence).await;
    assert!(logged(&log).starts_with("late announces\nlate aborts"), "{}", logged(&log));
}
