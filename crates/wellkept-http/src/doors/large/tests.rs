//! Claims about large answers: when they are used again, and what is said when there is no room.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;
use wellkept_health::{AnyCheck, Component, Outcome, Settings, TokioClock};
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::metrics::Metrics;

use super::*;
use crate::access::Access;
use crate::doors::Names;

/// Doors on a service with as many components as are many here.
async fn doors() -> Doors {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    for number in 0..=FEW {
        let check = AnyCheck::from_fn(async || Outcome::pass());
        let component = Component::new(format!("part-{number}"), check);
        checker.register(component.groups(["ready", "mine"].map(wellkept_health::Group::from))).unwrap();
    }
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    Doors::new(checker, shutdown, Access::loopback_only(), Names::Shown, Metrics::new())
}

async fn ask(doors: &Doors, path: &str) -> Response {
    doors.public().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

async fn get(doors: &Doors, path: &str) -> (u16, String) {
    let response = ask(doors, path).await;
    let code = response.status().as_u16();
    (code, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_again_for_a_moment_while_the_verdict_holds() {
    let doors = doors().await;
    let checker = &doors.inner.checker;
    for path in ["/health/ready", "/health?format=spring", "/v1/health", "/health.json", "/readyz?verbose"] {
        let (code, first) = get(&doors, path).await;
        assert_eq!(code, 200, "{path}");
        // Nobody waits for it, so that it comes between two answers that are a moment apart.
        let late = AnyCheck::from_fn(std::future::pending::<Outcome>);
        checker.register(Component::new("late", late).optional()).unwrap();
        tokio::time::sleep(REUSED_FOR / 4).await; // pace: on paused time
        assert_eq!(get(&doors, path).await, (200, first.clone()), "{path}");
        tokio::time::sleep(REUSED_FOR).await; // pace: on paused time
        let (code, then) = get(&doors, path).await;
        assert!(code == 200 && then.contains("late") && !first.contains("late"), "{path}: {then}");
        checker.unregister("late");
        tokio::time::sleep(REUSED_FOR * 2).await; // pace: on paused time
    }
    assert_eq!(get(&doors, "/health/ready").await.0, 200);
    checker.begin_draining();
    let (code, body) = get(&doors, "/health/ready").await;
    assert!(code == 503 && body.contains("draining"), "a verdict is never old: {body}");
}

#[tokio::test(start_paused = true)]
async fn without_room_a_probe_has_its_code_and_format_and_shows_no_component() {
    let doors = doors().await;
    let taken = doors.inner.large.for_the_public.take_all();
    let (code, ready) = get(&doors, "/health/ready").await;
    assert_eq!((code, &*ready), (200, r#"{"ready":true,"status":"healthy","dependencies":{}}"#));
    let (code, spring) = get(&doors, "/health?format=spring").await;
    assert_eq!((code, &*spring), (200, r#"{"status":"UP"}"#));
    let (code, listed) = get(&doors, "/readyz?verbose").await;
    assert_eq!((code, &*listed), (200, "ok"));
    assert_eq!(get(&doors, "/health/group/mine").await, (200, "healthy".to_owned()));
    doors.inner.checker.begin_draining();
    let (code, health) = get(&doors, "/health.json").await;
    assert!(code == 503 && health.contains(r#""status":"fail""#), "{health}");
    assert_eq!(get(&doors, "/health/group/mine").await.0, 503);
    drop(taken);
    assert!(get(&doors, "/health/ready").await.1.contains("part-0"));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_out_is_left_out_also_when_there_is_no_room() {
    let doors = doors().await;
    let down = AnyCheck::from_fn(async || Outcome::fail(wellkept_health::Reason::Refused, "refused"));
    doors.inner.checker.register(Component::new("down", down)).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
    let _taken = doors.inner.large.for_the_public.take_all();
    for (path, expected) in
        [("/readyz", 503), ("/readyz?exclude=down", 200), ("/readyz?verbose&exclude=down", 200), ("/livez", 200)]
    {
        assert_eq!(get(&doors, path).await.0, expected, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_its_room_until_its_reader_has_taken_it() {
    let doors = doors().await;
    let room = &doors.inner.large.for_the_public;
    let (before, reader) = (room.free(), ask(&doors, "/readyz?verbose&exclude=one").await);
    assert_eq!(room.free(), before - 1);
    let other = ask(&doors, "/readyz?verbose&exclude=one").await;
    doors.inner.large.forget();
    assert_eq!(room.free(), before - 1, "one writing serves both");
    drop(reader);
    assert_eq!(room.free(), before - 1);
    drop(other);
    assert_eq!(room.free(), before);
}

#[tokio::test]
async fn a_writer_whose_client_has_gone_still_counts() {
    let doors = doors().await;
    let asked = doors.asked(Request::get("/health.json").body(Body::empty()).unwrap());
    let (go, held) = std::sync::mpsc::channel::<()>();
    let hangs = doors.large(&asked, move |_, _| {
        held.recv().ok();
        Response::default()
    });
    let free = || doors.inner.large.writers.available_permits();
    assert!(timeout(Duration::from_millis(50), hangs).await.is_err());
    assert_eq!(free(), WRITERS - 1, "the work goes on");
    drop(go);
    while free() < WRITERS {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_whose_writer_panics_is_none() {
    let doors = doors().await;
    let asked = doors.asked(Request::get("/health.json").body(Body::empty()).unwrap());
    assert!(doors.large(&asked, |_, _| panic!("of a test")).await.is_err());
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_one_without_components() {
    let doors = doors().await;
    let asked = doors.asked(Request::get("/health.json").body(Body::empty()).unwrap());
    let (_go, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let slow = doors.on_subject(asked, Subject::Ready, move |_, asked, _| {
        if asked.sight == Sight::Names {
            held.lock().unwrap().recv().ok();
        }
        Response::default()
    });
    assert_eq!(slow.await.status(), 200);
    assert_eq!(doors.inner.large.writers.available_permits(), WRITERS - 1, "the work goes on");
}
