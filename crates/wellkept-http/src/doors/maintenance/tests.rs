//! Claims about the maintenance endpoints.

use std::net::SocketAddr;
use std::sync::Mutex;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use wellkept_health::{
    AnyCheck, Component, HistoryError, Maintenance, MaintenanceStore, Outcome, Reason, Settings, TokioClock,
};
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::metrics::Metrics;

use super::*;
use crate::access::Access;
use crate::doors::Names;
use crate::server::Arrival;

/// Doors on a service with a healthy and a failing component, which began at midnight of 2026-01-01.
async fn doors() -> Doors {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let failing = || async { Outcome::fail(Reason::Refused, "connection refused") };
    checker.register(Component::new("db", AnyCheck::from_fn(failing))).unwrap();
    checker.register(Component::new("cache", AnyCheck::from_fn(async || ()))).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    let mut published = checker.subscribe();
    published.wait_for(|_| checker.is_started()).await.unwrap();
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    Doors::new(checker, shutdown, Access::loopback_only(), Names::Shown, Metrics::new())
}

async fn send(doors: &Doors, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
    let mut request = request.header("content-type", "application/json").body(Body::from(bytes)).unwrap();
    let peer: SocketAddr = "127.0.0.1:50000".parse().unwrap();
    request.extensions_mut().insert(Arrival::new("127.0.0.1:8080".parse::<std::net::SocketAddr>().unwrap(), peer));
    let response = doors.admin().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn get(doors: &Doors, path: &str) -> (u16, Value) {
    send(doors, Method::GET, path, &Value::Null).await
}

async fn begin(doors: &Doors, body: Value) -> (u16, Value) {
    send(doors, Method::POST, PATH, &body).await
}

#[tokio::test(start_paused = true)]
async fn a_service_in_maintenance_answers_503_ready_and_200_live_and_keeps_the_reason_to_itself() {
    let doors = doors().await;
    let wanted = json!({ "for": "30m", "reason": "new disks", "author": "ann" });
    let (code, begun) = begin(&doors, wanted).await;
    assert_eq!(code, 201);
    assert_eq!(begun["kept"], "memory", "there is no store");
    let one = &begun["maintenances"][0];
    assert_eq!((&one["component"], &one["author"], &one["origin"]), (&Value::Null, &json!("ann"), &json!("duration")));
    assert_eq!(
        (&one["since"], &one["until"]),
        (&json!("2026-01-01T00:00:00.010Z"), &json!("2026-01-01T00:30:00.010Z"))
    );
    for (path, code) in [
        ("/health", 503),
        ("/ready", 503),
        ("/readyz", 503),
        ("/livez", 200),
        ("/health/live", 200),
        ("/health/startup", 200),
    ] {
        let (answered, body) = get(&doors, path).await;
        assert_eq!(answered, code, "{path}");
        assert!(!body.to_string().contains("disks"), "{path}: {body}");
    }
    assert_eq!(get(&doors, "/ready").await.1["status"], "maintenance");
    let (_, detailed) = get(&doors, "/health/detailed").await;
    assert_eq!(detailed["maintenance"]["reason"], "new disks");
    assert_eq!(detailed["components"]["db"]["status"], "unhealthy", "a component shows what is true of it");
    assert_eq!(get(&doors, PATH).await.1["maintenances"], begun["maintenances"]);

    let path = format!("{PATH}/{}?author=bob", one["id"].as_str().unwrap());
    let (code, ended) = send(&doors, Method::DELETE, &path, &Value::Null).await;
    assert_eq!((code, &ended["maintenances"][0]["active"]), (200, &json!(false)));
    assert_eq!(get(&doors, "/ready").await.1["status"], "unhealthy");
    assert_eq!(get(&doors, PATH).await.1["maintenances"], json!([]));
    assert_eq!(send(&doors, Method::DELETE, &path, &Value::Null).await.1["error"]["code"], "maintenance.unknown");
}

#[tokio::test(start_paused = true)]
async fn a_component_in_maintenance_is_left_out_and_shown() {
    let doors = doors().await;
    assert_eq!(get(&doors, "/ready").await.0, 503);
    let (code, _) = begin(&doors, json!({ "components": ["db"], "open": true, "reason": "<b>moved</b>" })).await;
    assert_eq!(code, 201);
    let (code, ready) = get(&doors, "/ready").await;
    assert_eq!((code, &ready["dependencies"]["db"]), (200, &json!("maintenance")));
    let (_, detailed) = get(&doors, "/health/detailed").await;
    let db = &detailed["components"]["db"];
    assert_eq!((&db["reason"], &db["raw_status"]), (&json!("maintenance"), &json!("fail")));
    assert_eq!(db["maintenance"]["until"], "2026-01-08T00:00:00.010Z", "an open end has a bound");
    assert_eq!(db["maintenance"]["author"], "loopback from 127.0.0.1:50000");
    assert_eq!(detailed["maintenance"], Value::Null);
    let request = Request::get("/").header("host", "localhost:8080");
    let mut request = request.body(Body::empty()).unwrap();
    let bound: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    request.extensions_mut().insert(Arrival::new(bound, bound));
    let page = doors.admin().oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains("until 2026-01-08T00:00:00.010Z by loopback from 127.0.0.1:50000: &lt;b&gt;moved&lt;/b&gt;"));
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_is_refused_with_its_code_and_changes_nothing() {
    let doors = doors().await;
    let why = "why";
    for (body, code, word) in [
        (json!({ "for": "30m" }), 422, "maintenance.reason"),
        (json!({ "for": "30m", "reason": "x".repeat(10_240) }), 422, "maintenance.reason"),
        (json!({ "for": "30m", "reason": "two\nlines" }), 422, "maintenance.reason"),
        (json!({ "reason": why }), 422, "maintenance.end"),
        (json!({ "for": "30m", "open": true, "reason": why }), 422, "maintenance.end"),
        (json!({ "for": "9000000000h", "reason": why }), 422, "maintenance.length"),
        (json!({ "for": "99999999999999999999h", "reason": why }), 400, "http.bad_body"),
        (json!({ "for": 30, "reason": why }), 400, "http.bad_body"),
        (json!({ "until": "2025-12-31T23:59:59Z", "reason": why }), 422, "maintenance.past"),
        (json!({ "until": "9998-01-01T00:00:00Z", "reason": why }), 422, "maintenance.length"),
        (json!({ "until": "tomorrow", "reason": why }), 400, "http.bad_body"),
        (json!({ "components": [], "open": true, "reason": why }), 422, "maintenance.no_component"),
        (json!({ "components": ["db", "dc"], "open": true, "reason": why }), 404, "maintenance.unknown_component"),
        (json!({ "component": "db", "open": true, "reason": why }), 400, "http.bad_body"),
        (json!({ "open": true, "reason": why, "author": "x".repeat(101) }), 422, "maintenance.author"),
        (json!({ "open": true, "reason": "x".repeat(20_000) }), 413, "http.body_too_long"),
    ] {
        let (answered, refused) = begin(&doors, body.clone()).await;
        assert_eq!((answered, refused["error"]["code"].as_str()), (code, Some(word)), "{body} {refused}");
    }
    assert_eq!(get(&doors, PATH).await.1["maintenances"], json!([]));
    assert_eq!(send(&doors, Method::DELETE, "/api/v1/maintenance/%ff", &Value::Null).await.0, 404);
    assert_eq!(send(&doors, Method::DELETE, "/api/v1/maintenance/x?who=me", &Value::Null).await.0, 400);
}

/// A store in memory.
struct Notes(std::sync::Arc<Mutex<Vec<Maintenance>>>);

impl MaintenanceStore for Notes {
    fn load(&mut self) -> Result<Vec<Maintenance>, HistoryError> {
        Ok(Vec::new())
    }

    fn save(&mut self, maintenances: &[Maintenance]) -> Result<(), HistoryError> {
        *self.0.lock().unwrap() = maintenances.to_vec();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_comes_when_the_store_has_it() {
    let doors = doors().await;
    let notes = std::sync::Arc::default();
    doors.inner.checker.keep_maintenances(Notes(std::sync::Arc::clone(&notes))).unwrap();
    let (_, begun) = begin(&doors, json!({ "components": ["db", "cache"], "open": true, "reason": "why" })).await;
    assert_eq!(begun["kept"], "stored");
    assert_eq!(notes.lock().unwrap().len(), 2);
}
