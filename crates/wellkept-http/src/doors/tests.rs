//! Claims about the doors' answers, as shapes and status codes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use wellkept_health::{
    AnyCheck, Checker, Component, ExportSettings, Exporter, ExporterError, Group, Outcome, Reason, Scope, Settings,
    StatusChange, TokioClock, Verdict,
};
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::metrics::Metrics;

use super::{Doors, Names};
use crate::access::{Access, Token};
use crate::server::Arrival;

mod at_once;
mod flags;
mod formats;
mod health_json;
mod kubernetes;
mod metrics;
mod openapi;
mod trends;
mod upstream;

const LOOPBACK: &str = "127.0.0.1:8080";
const OPEN: &str = "0.0.0.0:8080";

/// A service with one healthy required component and a failing optional one that needs it, three seconds old.
async fn checker() -> Checker {
    let clock = TokioClock::start();
    let settings = Settings { version: "1.4.2".to_owned(), clock, ..Settings::new("orders") };
    let (checker, engine) = Checker::new(settings);
    let database = || async { Outcome::pass().with("connections", serde_json::json!({ "active": 5, "max": 20 })) };
    checker.register(Component::new("orders-db", AnyCheck::from_fn(database))).unwrap();
    let cache = || async { Outcome::fail(Reason::Refused, "connection refused").with_detail("127.0.0.1:6379") };
    checker.register(Component::new("cache", AnyCheck::from_fn(cache)).optional().depends_on(["orders-db"])).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
    checker
}

fn doors(checker: &Checker, access: Access, names: Names) -> Doors {
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    Doors::new(checker.clone(), shutdown, access, names, Metrics::new())
}

async fn ask(router: axum::Router, bound: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::get(path).header("host", "127.0.0.1:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let peer: SocketAddr = "127.0.0.1:50000".parse().unwrap();
    request.extensions_mut().insert(Arrival::new(bound.parse::<std::net::SocketAddr>().unwrap(), peer));
    router.oneshot(request).await.unwrap()
}

async fn body(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn get(router: axum::Router, bound: &str, path: &str) -> (u16, String) {
    let response = ask(router, bound, path, &[]).await;
    (response.status().as_u16(), body(response).await)
}

#[tokio::test(start_paused = true)]
async fn the_bodies_are_the_shapes_that_were_promised() {
    let checker = checker().await;
    let admin = || doors(&checker, Access::loopback_only(), Names::Shown).admin();
    let (status, health) = get(admin(), LOOPBACK, "/health").await;
    assert_eq!(status, 200);
    insta::assert_snapshot!(health, @r#"{"status":"degraded","service":"orders","version":"1.4.2","timestamp":"2026-01-01T00:00:03.000Z","checked_at":"2026-01-01T00:00:00.000Z","uptime":"00:00:03","uptime_seconds":3}"#);
    let (_, ready) = get(admin(), LOOPBACK, "/health/ready").await;
    insta::assert_snapshot!(ready, @r#"{"ready":true,"status":"degraded","dependencies":{"cache":"unhealthy","orders-db":"healthy"}}"#);
    let (_, startup) = get(admin(), LOOPBACK, "/health/startup").await;
    insta::assert_snapshot!(startup, @r#"{"started":true}"#);
    let (_, detailed) = get(admin(), LOOPBACK, "/health/detailed").await;
    insta::assert_snapshot!(detailed.replace("},\"", "},\n\""), @r#"
    {"status":"degraded","service":"orders","version":"1.4.2","timestamp":"2026-01-01T00:00:03.000Z","uptime":"00:00:03","ready":true,"lifecycle":"running","components":{"cache":{"status":"unhealthy","reason":"refused","message":"connection refused","detail":"127.0.0.1:6379","raw_status":"fail","raw_reason":"refused","response_time":"0µs","response_time_ms":0.0,"timestamp":"2026-01-01T00:00:00.000Z","age_ms":3000,"max_age_ms":32000,"since":"2026-01-01T00:00:00.000Z","consecutive":1,"required":false,"interval_ms":10000,"timeout_ms":2000,"fall":3,"rise":2,"groups":["ready"],"depends_on":["orders-db"],"metadata":{}},
    "orders-db":{"status":"healthy","reason":null,"message":"","detail":"","raw_status":"pass","raw_reason":null,"response_time":"0µs","response_time_ms":0.0,"timestamp":"2026-01-01T00:00:00.000Z","age_ms":3000,"max_age_ms":32000,"since":"2026-01-01T00:00:00.000Z","consecutive":1,"required":true,"interval_ms":10000,"timeout_ms":2000,"fall":3,"rise":2,"groups":["ready"],"metadata":{"connections":{"active":5,"max":20}}}}}
    "#);
}

#[tokio::test(start_paused = true)]
async fn what_probes_ask_for_is_written_once_in_a_millisecond_and_never_of_another() {
    let checker = checker().await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    let first = get(doors.public(), OPEN, "/health").await;
    let ready = get(doors.public(), OPEN, "/ready").await;
    let writings = || (doors.inner.health.writing(), doors.inner.ready.writing());
    let before = writings();
    assert_eq!(get(doors.public(), OPEN, "/health").await, first);
    assert_eq!(get(doors.public(), OPEN, "/health/ready").await, ready);
    assert_eq!(writings(), before, "written again");
    tokio::time::advance(Duration::from_millis(1)).await;
    let (_, then) = get(doors.public(), OPEN, "/health").await;
    assert_eq!(then, first.1.replace("00:03.000Z\",\"checked", "00:03.001Z\",\"checked"));
    assert_eq!(get(doors.public(), OPEN, "/ready").await, ready);
    checker.begin_draining();
    let (code, draining) = get(doors.public(), OPEN, "/ready").await;
    assert!(code == 503 && draining.contains("draining"), "within the same millisecond: {draining}");
}

#[tokio::test(start_paused = true)]
async fn an_unauthorised_wish_for_details_changes_neither_body_nor_code() {
    let checker = checker().await;
    let public = || doors(&checker, Access::loopback_only(), Names::Shown).public();
    assert_eq!(get(public(), OPEN, "/ready?detailed=true").await, get(public(), OPEN, "/ready").await);
    let (_, seen) = get(public(), LOOPBACK, "/ready?detailed=true").await;
    assert!(seen.contains("\"components\""));
}

#[tokio::test(start_paused = true)]
async fn the_public_sees_status_words_and_names_and_nothing_of_a_backend() {
    let checker = checker().await;
    let token = Access::with_token(Token::parse("a-long-enough-secret").unwrap());
    for path in
        ["/health", "/health/live", "/health/ready", "/ready", "/health/startup", "/livez", "/readyz", "/metrics"]
    {
        let (_, body) = get(doors(&checker, token.clone(), Names::Shown).public(), OPEN, path).await;
        for private in ["6379", "connection refused", "active"] {
            assert!(!body.contains(private), "{path} shows {private}: {body}");
        }
    }
    for path in super::PROBES {
        let hidden = doors(&checker, token.clone(), Names::Hidden).public();
        let (_, body) = get(hidden, OPEN, path).await;
        assert!(!body.contains("orders-db") && !body.contains("cache"), "{path} names a component: {body}");
    }
    let (_, metrics) = get(doors(&checker, token, Names::Hidden).public(), LOOPBACK, "/metrics").await;
    assert!(metrics.contains("orders-db"), "an operator sees them all the same");
}

#[tokio::test(start_paused = true)]
async fn details_want_an_operator_and_are_not_there_on_the_public_door() {
    let checker = checker().await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    for path in ["/", "/status.css", "/openapi.json", "/health/detailed", "/api/v1/history", "/api/v1/shutdown"] {
        assert_eq!(get(doors.public(), LOOPBACK, path).await.0, 404, "{path}");
        assert_eq!(get(doors.admin(), OPEN, path).await.0, 401, "{path}");
        assert_eq!(get(doors.admin(), LOOPBACK, path).await.0, 200, "{path}");
    }
    assert_eq!(get(doors.operators(), LOOPBACK, "/").await.0, 404, "an application's own page stays its own");
}

#[tokio::test(start_paused = true)]
async fn hostile_paths_and_queries_are_answered_without_harm() {
    let checker = checker().await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    for path in
        ["/health/", "//health", "/health/../health/detailed", "/HEALTH", "/health%2Fdetailed", "/api/v1/history/x"]
    {
        assert_eq!(get(doors.admin(), LOOPBACK, path).await.0, 404, "{path}");
    }
    for (query, code) in
        [("limit=-1", 400), ("limit=x", 400), ("limit=18446744073709551615", 200), ("component=%00", 200)]
    {
        assert_eq!(get(doors.admin(), LOOPBACK, &format!("/api/v1/history?{query}")).await.0, code, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_get_and_head_are_answered() {
    let checker = checker().await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE] {
        let request = Request::builder().method(method).uri("/health").body(Body::empty()).unwrap();
        assert_eq!(doors.admin().oneshot(request).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    let head = Request::head("/health").body(Body::empty()).unwrap();
    let head = doors.admin().oneshot(head).await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(body(head).await, "");
}

/// What the probes answer while the process starts, runs and drains, and for each status.
#[tokio::test(start_paused = true)]
async fn each_probe_answers_with_the_code_of_its_table() {
    let healthy = (Some(Verdict::Pass), 200, 200);
    let degraded = (Some(Verdict::Warn), 200, 200);
    let unhealthy = (Some(Verdict::Fail), 503, 503);
    let unknown = (None, 503, 503);
    for (verdict, health, ready) in [healthy, degraded, unhealthy, unknown] {
        let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
        let check = move || async move {
            match verdict {
                Some(Verdict::Pass) | None => Outcome::pass(),
                Some(Verdict::Warn) => Outcome::warn(Reason::Threshold, ""),
                Some(Verdict::Fail) => Outcome::fail(Reason::Error, ""),
            }
        };
        // Its one result is too old to count when there is to be no verdict.
        let age = Duration::from_millis(if verdict.is_none() { 500 } else { 60_000 });
        let component = Component::new("it", AnyCheck::from_fn(check)).interval(Duration::from_secs(50)).max_age(age);
        checker.register(component).unwrap();
        let public = doors(&checker, Access::loopback_only(), Names::Shown).public();
        let codes = async |wanted: [u16; 7], when: &str| {
            let paths = ["/health", "/health/ready", "/ready", "/readyz", "/health/live", "/livez", "/health/startup"];
            for (path, wanted) in paths.into_iter().zip(wanted) {
                assert_eq!(get(public.clone(), OPEN, path).await.0, wanted, "{path} {when}, {verdict:?}");
            }
        };
        codes([503, 503, 503, 503, 200, 200, 503], "before the first results").await;
        tokio::spawn(engine.run(std::future::pending()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        codes([health, ready, ready, ready, 200, 200, 200], "while it runs").await;
        checker.begin_draining();
        codes([health, 503, 503, 503, 200, 200, 200], "while it drains").await;
    }
}

#[tokio::test(start_paused = true)]
async fn liveness_fails_by_a_component_of_this_process_only() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let wedged = AnyCheck::from_fn(async || Outcome::fail(Reason::NotReady, "the loop is stuck"));
    let component = Component::new("worker", wedged).scope(Scope::Process).groups([Group::Live]);
    checker.register(component).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let public = doors(&checker, Access::loopback_only(), Names::Shown).public();
    assert_eq!(get(public.clone(), OPEN, "/livez").await, (503, "not alive".to_owned()));
    let (code, live) = get(public.clone(), OPEN, "/health/live").await;
    assert_eq!(code, 503);
    assert!(live.starts_with(r#"{"alive":false,"last_heartbeat":"#), "{live}");
    assert_eq!(get(public, OPEN, "/readyz").await.0, 200);
}

struct Nowhere;

impl Exporter for Nowhere {
    fn change(&mut self, _: &StatusChange) -> Result<(), ExporterError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn loops_and_exporters_are_metrics_and_a_late_loop_is_said_to_be_late() {
    let checker = checker().await;
    checker.export("nowhere", Nowhere, ExportSettings::default()).unwrap();
    let _heartbeat = checker.heartbeat("order-loop", Duration::from_secs(5)).unwrap();
    tokio::time::sleep(Duration::from_secs(7)).await;
    let admin = || doors(&checker, Access::loopback_only(), Names::Shown).admin();
    let (_, metrics) = get(admin(), LOOPBACK, "/metrics").await;
    for line in [
        r#"wellkept_heartbeat_age_seconds{component="order-loop"} 7.0"#,
        "wellkept_heartbeats_late_total 0",
        r#"wellkept_exports_total{exporter="nowhere",fate="dropped"} 0"#,
        r#"wellkept_exports_queued{exporter="nowhere"} "#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let (status, live) = get(admin(), LOOPBACK, "/health/live").await;
    assert_eq!(status, 503);
    assert!(live.ends_with(r#""reason":"late"}"#), "{live}");
}

#[tokio::test(start_paused = true)]
async fn a_hostile_name_is_escaped_on_the_page_and_in_the_metrics() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let name = "<script>\"\\ü";
    checker.register(Component::new(name, AnyCheck::from_fn(async || ()))).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let doors = doors(&checker, Access::loopback_only(), Names::Shown);
    let (_, page) = get(doors.admin(), LOOPBACK, "/").await;
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    let (_, metrics) = get(doors.admin(), LOOPBACK, "/metrics").await;
    assert!(metrics.contains(r#"{component="<script>\"\\ü",verdict="pass"} 1"#), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn the_page_shows_on_what_a_component_depends() {
    let checker = checker().await;
    let (_, page) = get(doors(&checker, Access::loopback_only(), Names::Shown).admin(), LOOPBACK, "/").await;
    assert_eq!(page.matches("depends on").count(), 1, "{page}");
    assert!(page.contains("<small>depends on orders-db</small>"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn every_answer_forbids_keeping_it() {
    let checker = checker().await;
    let doors = Arc::new(doors(&checker, Access::loopback_only(), Names::Shown));
    for path in [
        "/health",
        "/health/ready",
        "/livez",
        "/livez?verbose",
        "/v1/health",
        "/metrics",
        "/",
        "/nothing",
        "/health/detailed",
    ] {
        let response = ask(doors.admin(), LOOPBACK, path, &[]).await;
        assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{path}");
    }
}
