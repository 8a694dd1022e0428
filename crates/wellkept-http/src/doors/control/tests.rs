//! Claims about acting on components over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use wellkept_health::{AnyCheck, Checker, Component, Group, Settings, TokioClock};
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::metrics::Metrics;

use crate::access::Access;
use crate::doors::{Doors, Names};
use crate::server::Arrival;

const SECOND: Duration = Duration::from_secs(1);

/// A service whose required `db` counts its runs, and whose optional `batch` never answers.
async fn service() -> (Checker, Doors, Arc<AtomicUsize>) {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let check = AnyCheck::from_fn(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    checker.register(Component::new("db", check).interval(3600 * SECOND)).unwrap();
    let hangs = AnyCheck::from_fn(async || std::future::pending::<()>().await);
    let batch = Component::new("batch", hangs).optional().groups([Group::from("jobs")]).interval(3600 * SECOND);
    checker.register(batch).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(5 * SECOND).await; // pace: on paused time
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    let doors = Doors::new(checker.clone(), shutdown, Access::loopback_only(), Names::Shown, Metrics::new());
    (checker, doors, runs)
}

async fn send(doors: &Doors, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("host", "localhost:1");
    let (request, body) = match body {
        Value::Null => (request, Body::empty()),
        body => (request.header("content-type", "application/json"), Body::from(body.to_string())),
    };
    let mut request = request.body(body).unwrap();
    let arrival = Arrival::new(
        "127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap(),
        "127.0.0.1:5".parse::<std::net::SocketAddr>().unwrap(),
    );
    request.extensions_mut().insert(arrival);
    let response = doors.admin().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn post(doors: &Doors, path: &str) -> (u16, Value) {
    send(doors, "POST", path, Value::Null).await
}

async fn tune(doors: &Doors, settings: Value) -> (u16, Value) {
    send(doors, "PATCH", "/api/v1/components/db", settings).await
}

#[tokio::test(start_paused = true)]
async fn a_run_over_http_is_fresh_at_most_once_a_second() {
    let (_checker, doors, runs) = service().await;
    let mut fresh = 0;
    for _ in 0..50 {
        let (status, body) = post(&doors, "/api/v1/components/db/run").await;
        assert_eq!((status, &body["component"]["status"]), (200, &json!("healthy")));
        fresh += usize::from(body["fresh"] == true);
    }
    assert_eq!((fresh, runs.load(Ordering::Relaxed)), (1, 2));
    tokio::time::sleep(SECOND).await; // pace: on paused time
    assert_eq!(post(&doors, "/api/v1/components/db/run").await.1["fresh"], true);
}

#[tokio::test(start_paused = true)]
async fn a_component_is_disabled_and_enabled_and_the_answer_says_what_changed() {
    let (checker, doors, _) = service().await;
    for (verb, enabled, changed) in
        [("disable", false, true), ("disable", false, false), ("enable", true, true), ("enable", true, false)]
    {
        let answer = post(&doors, &format!("/api/v1/components/db/{verb}")).await;
        assert_eq!(answer, (200, json!({ "name": "db", "enabled": enabled, "changed": changed })));
        if !enabled {
            let (status, refusal) = post(&doors, "/api/v1/components/db/run").await;
            assert_eq!((status, &refusal["error"]["code"]), (409, &json!("component.disabled")));
            tokio::time::sleep(SECOND).await; // pace: on paused time
            let (_, detailed) = send(&doors, "GET", "/health/detailed", Value::Null).await;
            assert_eq!(detailed["components"]["db"]["reason"], "disabled");
            assert!(checker.readiness().ready);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settings_are_changed_whole_or_not_at_all_and_null_takes_one_away() {
    let (_checker, doors, _) = service().await;
    let settings = json!({
        "interval": "5s", "timeout": "250ms", "jitter": 0.2, "fall": 5, "rise": 1,
        "window": { "failures": 5, "of": 10 }, "slow": "100ms", "max_age": "1m",
    });
    let mut tuned = settings.clone();
    tuned["name"] = json!("db");
    assert_eq!(tune(&doors, settings).await, (200, tuned.clone()));
    (tuned["window"], tuned["slow"], tuned["max_age"]) = (Value::Null, Value::Null, json!("15s 250ms"));
    let cleared = json!({ "window": null, "slow": null, "max_age": null });
    assert_eq!(tune(&doors, cleared).await, (200, tuned.clone()));
    for (wrong, status, code) in [
        (json!({ "fall": 0, "rise": 9 }), 422, "component.setting"),
        (json!({ "interval": "1ms" }), 422, "component.setting"),
        (json!({ "window": { "failures": 3, "of": 2 } }), 422, "component.setting"),
        (json!({ "interval": null }), 400, "http.bad_body"),
        (json!({ "interval": 5 }), 400, "http.bad_body"),
        (json!({ "interval": "-5s" }), 400, "http.bad_body"),
        (json!({ "fall": -1 }), 400, "http.bad_body"),
        (json!({ "url": "http://evil.example" }), 400, "http.bad_body"),
        (json!({ "window": { "failures": 3 } }), 400, "http.bad_body"),
        (json!([]), 400, "http.bad_body"),
    ] {
        let (got, refusal) = tune(&doors, wrong.clone()).await;
        assert_eq!((got, &refusal["error"]["code"]), (status, &json!(code)), "{wrong}: {refusal}");
    }
    assert_eq!(tune(&doors, json!({})).await, (200, tuned), "what was refused changed nothing");
    tokio::time::sleep(SECOND).await; // pace: on paused time
    let (_, detailed) = send(&doors, "GET", "/health/detailed", Value::Null).await;
    assert_eq!(detailed["components"]["db"]["tuned"], true);
    assert_eq!(detailed["components"]["batch"]["tuned"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_all_names_what_did_not_finish() {
    let (_checker, doors, runs) = service().await;
    let (status, body) = post(&doors, "/api/v1/run?timeout=500ms").await;
    assert_eq!((status, &body["unfinished"]), (200, &json!(["batch"])));
    assert_eq!(body["components"]["db"]["status"], "healthy");
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    let (_, required) = post(&doors, "/api/v1/run?required=true").await;
    assert_eq!(required["unfinished"], json!([]));
    let (_, group) = post(&doors, "/api/v1/run?group=jobs&timeout=1ms").await;
    assert_eq!(group["unfinished"], json!(["batch"]));
    for query in ["timeout=2h", "timeout=5", "required=maybe", "only=db", "required=true&group=jobs"] {
        let (status, refusal) = post(&doors, &format!("/api/v1/run?{query}")).await;
        assert_eq!((status, &refusal["error"]["code"]), (400, &json!("http.bad_query")), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_runs_of_all_are_waited_for_at_once() {
    let (_checker, doors, _) = service().await;
    let waiting: Vec<_> = (0..super::super::RUNS)
        .map(|_| {
            let doors = doors.clone();
            tokio::spawn(async move { post(&doors, "/api/v1/run?timeout=2s").await.0 })
        })
        .collect();
    tokio::time::sleep(SECOND).await; // pace: on paused time
    assert_eq!(post(&doors, "/api/v1/run").await.0, 503);
    for one in waiting {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(post(&doors, "/api/v1/run?required=true").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_told_and_nothing_is_ever_added() {
    let (checker, doors, _) = service().await;
    for path in ["/api/v1/components/nothing/run", "/api/v1/components/a%2Fb/enable", "/api/v1/components/%0A/disable"]
    {
        let (status, refusal) = post(&doors, path).await;
        assert_eq!((status, &refusal["error"]["code"]), (404, &json!("component.unknown")), "{path}");
    }
    assert_eq!(post(&doors, "/api/v1/components/%FF/run").await.0, 404);
    for method in ["PUT", "POST", "PATCH"] {
        let (status, _) = send(&doors, method, "/api/v1/components/new", json!({})).await;
        assert!([404, 405].contains(&status), "{method}: {status}");
    }
    assert_eq!(send(&doors, "GET", "/api/v1/components/db/run", Value::Null).await.0, 405);
    assert_eq!(checker.stats().components, 2);
}
