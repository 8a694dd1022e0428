//! What is promised by name: the defaults, the types of resources, the verbs of the tracker, what becomes of sessions, and
//! that each shutdown is one of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use wellkept_shutdown::{
    Budget, Cause, Hook, Left, Phase, Refused, Resource, ResourceOutcome, ResourceType, Settings, Shutdown, Status,
    Tracker, WhenLate, Work,
};

#[tokio::test(start_paused = true)]
async fn the_defaults_are_those_that_are_promised() {
    let settings = Settings::default();
    let seconds = |seconds| Duration::from_secs(seconds);
    assert_eq!((settings.deadline, settings.drain, settings.resource), (seconds(30), seconds(10), seconds(5)));
    assert_eq!((settings.when_late, settings.log_progress), (WhenLate::Cut, Some(seconds(1))));
    assert_eq!(Tracker::default().max_in_flight_requests(), 1_000);
    let (shutdown, sequence) = Shutdown::new(settings);
    assert_eq!(shutdown.stats().connection_stats.max_in_flight_requests, 1_000);
    shutdown.register(Resource::new("hangs", ResourceType::Custom, std::future::pending::<()>)).unwrap();
    shutdown.trigger(Cause::requested("test"));
    let report = sequence.run().await;
    let hung = &report.resources[0];
    assert_eq!((hung.priority, hung.outcome), (100, ResourceOutcome::TimedOut));
    assert_eq!(Duration::from_secs_f64(hung.duration_seconds), seconds(5));
}

#[tokio::test(start_paused = true)]
async fn resources_of_every_type_close_each_within_a_time_of_its_own() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let types = [
        (ResourceType::Database, "database"),
        (ResourceType::Redis, "redis"),
        (ResourceType::HttpClient, "http_client"),
        (ResourceType::FileHandle, "file_handle"),
        (ResourceType::Custom, "custom"),
    ];
    for (seconds, (kind, word)) in (1..).zip(types) {
        let hangs = Resource::new(word, kind, std::future::pending::<()>);
        shutdown.register(hangs.timeout(Duration::from_secs(seconds)).priority(seconds.try_into().unwrap())).unwrap();
    }
    shutdown.trigger(Cause::requested("test"));
    let report = serde_json::to_value(sequence.run().await).unwrap();
    let closed: Vec<_> = report["resources"].as_array().unwrap().iter().collect();
    assert_eq!(closed.len(), 5);
    for (seconds, resource) in (1..).zip(closed) {
        assert_eq!((&resource["type"], &resource["priority"]), (&resource["name"], &seconds.into()));
        assert_eq!(
            (&resource["outcome"], &resource["duration_seconds"]),
            (&"timed_out".into(), &f64::from(seconds).into())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn connections_and_requests_are_counted_in_and_out_until_the_stop_and_the_drain_tells_what_is_left() {
    let tracker = Tracker::new(2);
    let connection = tracker.register_named_connection(Work::new("websocket", "chat").detail("tenant 7"));
    let named = tracker.in_flight(10);
    assert_eq!(
        (named[0].category.as_ref(), named[0].name.as_ref(), named[0].detail.as_ref()),
        ("websocket", "chat", "tenant 7")
    );
    let first = tracker.start_request().unwrap();
    // Without a guard, for those who keep one of their own.
    tracker.begin_request().unwrap();
    assert_eq!(tracker.start_request().unwrap_err(), Refused::TooManyInFlight);
    tracker.end_request();
    assert_eq!((tracker.connections(), tracker.in_flight_requests()), (1, 1));
    assert!(tracker.is_accepting_new());

    tracker.stop_accepting_new();
    assert!(!tracker.is_accepting_new());
    assert_eq!(tracker.start_request().unwrap_err(), Refused::Draining);
    assert_eq!(tracker.stats().refused_requests_total, 2);
    let began = Instant::now();
    let left = tracker.drain_connections(Duration::from_secs(3)).await;
    assert_eq!((left, began.elapsed()), (Left { requests: 1, connections: 1 }, Duration::from_secs(3)));
    assert_eq!(tracker.force_close_all(), left);
    tokio::join!(first.cut(), connection.cut());
    drop((first, connection));
    assert!(tracker.drain_connections(Duration::from_secs(3)).await.is_nothing());
}

#[tokio::test(start_paused = true)]
async fn a_session_is_completed_in_the_drain_or_saved_when_it_is_cut_before_its_store_closes() {
    let (shutdown, sequence) = Shutdown::new(Settings::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = |what: &'static str| {
        let told = Arc::clone(&told);
        move || told.lock().unwrap().push(what)
    };
    // Nobody works on this one: it can be saved first thing.
    let saves = tell("an idle session is saved");
    shutdown.before(Hook::new("idle sessions", async move || saves()));
    for (takes, completed, saved) in [(2, "a short session is completed", ""), (60, "", "a long session is saved")] {
        let session = shutdown.tracker().start_work(Work::new("session", "checkout")).unwrap();
        let (completes, saves) = (tell(completed), tell(saved));
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(takes)) => completes(),
                () = session.cut() => saves(),
            }
        });
    }
    let closes = tell("their store is closed");
    shutdown.register(Resource::new("sessions", ResourceType::Redis, async move || closes())).unwrap();
    shutdown.trigger(Cause::requested("test"));
    let report = sequence.run().await;
    insta::assert_snapshot!(told.lock().unwrap().join("\n"), @"
    an idle session is saved
    a short session is completed
    a long session is saved
    their store is closed
    ");
    assert_eq!((report.requests_at_drain, report.requests_cut), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn each_shutdown_is_one_of_its_own_so_that_nothing_is_to_be_reset() {
    let (first, sequence) = Shutdown::new(Settings::default());
    first.trigger(Cause::requested("first"));
    assert_eq!(sequence.run().await.status, Status::Successful);
    // As a test does that wants a fresh one: in the same process, and beside the old one.
    let (second, sequence) = Shutdown::new(Settings::default());
    assert_eq!((first.phase(), second.phase()), (Phase::Completed, Phase::Running));
    let request = second.tracker().start_request().expect("this one takes requests");
    assert_eq!(first.tracker().start_request().unwrap_err(), Refused::Draining);
    drop(request);
    second.trigger(Cause::requested("second"));
    assert_eq!(sequence.run().await.cause, Cause::requested("second"));
    assert_eq!(first.cause(), Some(&Cause::requested("first")));
}

#[tokio::test]
async fn who_follows_is_told_of_a_phase_and_who_comes_late_knows_where_it_is() {
    let (shutdown, sequence) = Shutdown::new(Settings { announce: Duration::ZERO, ..Settings::default() });
    let mut phases = shutdown.subscribe();
    let closing = shutdown.clone();
    let (go_on, allowed) = tokio::sync::oneshot::channel::<()>();
    shutdown.register(Resource::new("held", ResourceType::Custom, async move || drop(allowed.await))).unwrap();
    let ended = tokio::spawn(sequence.run());
    shutdown.trigger(Cause::requested("test"));
    phases.wait_for(|phase| *phase == Phase::ClosingResources).await.unwrap();
    closing.reached(Phase::Announcing).await;
    assert_eq!(*shutdown.subscribe().borrow(), Phase::ClosingResources);
    go_on.send(()).unwrap();
    phases.wait_for(|phase| phase.is_final()).await.unwrap();
    assert_eq!(shutdown.finished().await.status, ended.await.unwrap().status);
}

#[tokio::test(start_paused = true)]
async fn the_time_line_of_the_document_is_that_of_the_profiles() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/shutdown.md");
    let page = std::fs::read_to_string(page).unwrap();
    let profiles = [Settings::kubernetes(), Settings::systemd(), Settings::docker(), Settings::default()];
    let budgets = profiles.map(|settings| {
        let (shutdown, _sequence) = Shutdown::new(settings);
        shutdown.trigger(Cause::requested("test"));
        shutdown.budget().unwrap()
    });
    let row = |name: &str, at: fn(&Budget) -> Instant| {
        let seconds = budgets.map(|budget| (at(&budget) - budget.began).as_secs_f64().to_string());
        format!("| {name} | {} |\n", seconds.join(" | "))
    };
    let rows = [
        row("clients are told to go", |budget| budget.delay),
        row("the listener closes", |budget| budget.announce),
        row("what is in flight is cut, and named", |budget| budget.drain),
        row("resources are closed", |budget| budget.resources),
        row("logs and history have left, and the process has", |budget| budget.deadline),
    ];
    for row in rows {
        assert!(page.contains(&row), "not in the document: {row}");
    }
    let kills = profiles.map(|settings| settings.grace.map_or(String::new(), |grace| format!(" {}", grace.as_secs())));
    let row = format!("| the platform kills |{} |\n", kills.join(" |"));
    assert!(page.contains(&row), "not in the document: {row}");
}
