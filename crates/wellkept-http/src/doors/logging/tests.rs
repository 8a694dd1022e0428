//! Claims about the endpoint of the log's levels.

use std::net::SocketAddr;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use wellkept_health::{Checker, Settings};
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::logging::{Format, Options, SinkOptions, subscriber};
use wellkept_telemetry::metrics::Metrics;

use super::*;
use crate::access::Access;
use crate::doors::Names;
use crate::server::Arrival;

fn doors() -> Doors {
    let (checker, _engine) = Checker::new(Settings::new("orders"));
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    Doors::new(checker, shutdown, Access::loopback_only(), Names::Shown, Metrics::new())
}

fn with_log() -> (Doors, Logging) {
    let options = Options { level: Level::Warning, ..Options::to(SinkOptions::writer(Format::Json, std::io::sink())) };
    let options = Options { modules: vec![("h2".to_owned(), Level::Error)], ..options };
    let (_subscriber, logging) = subscriber(options).unwrap();
    let doors = doors();
    doors.show_logging(&logging);
    (doors, logging)
}

async fn send(doors: &Doors, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
    let mut request = request.header("content-type", "application/json").body(Body::from(bytes)).unwrap();
    let peer: SocketAddr = "127.0.0.1:50000".parse().unwrap();
    request.extensions_mut().insert(Arrival::new("127.0.0.1:8080".parse::<SocketAddr>().unwrap(), peer));
    let response = doors.admin().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_level_is_set_for_a_while_shown_and_taken_back() {
    let (doors, logging) = with_log();
    let wanted = json!({ "module": "sqlx", "level": "debug", "for": "10m", "reason": "slow queries", "author": "ann" });
    let (status, shown) = send(&doors, "PUT", PATH, &wanted).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(
        (&shown["level"], &shown["configured"], &shown["set"]),
        (&json!("warning"), &json!("warning"), &Value::Null)
    );
    assert_eq!(shown["modules"][0], json!({ "module": "h2", "level": "error", "configured": "error", "set": null }));
    let sqlx = &shown["modules"][1];
    assert_eq!((&sqlx["module"], &sqlx["level"], &sqlx["configured"]), (&json!("sqlx"), &json!("debug"), &Value::Null));
    assert_eq!((&sqlx["set"]["by"], &sqlx["set"]["reason"]), (&json!("ann"), &json!("slow queries")));
    let left = sqlx["set"]["left"].as_str().unwrap();
    assert!(left.starts_with("9m") || left == "10m", "{left}");
    assert!(sqlx["set"]["ends"].as_str().unwrap() > sqlx["set"]["since"].as_str().unwrap());
    assert_eq!(send(&doors, "GET", PATH, &Value::Null).await.1["modules"][1]["set"]["by"], "ann");

    let (status, shown) = send(&doors, "PUT", PATH, &json!({ "level": "critical" })).await;
    assert_eq!((status, &shown["level"], &shown["set"]["ends"]), (200, &json!("critical"), &Value::Null));
    assert_eq!(shown["set"]["by"], "loopback from 127.0.0.1:50000");
    assert_eq!(logging.level(), Level::Critical);

    let (status, shown) = send(&doors, "DELETE", "/api/v1/logging?module=sqlx", &Value::Null).await;
    assert_eq!((status, shown["modules"].as_array().unwrap().len()), (200, 1));
    let (status, refusal) = send(&doors, "DELETE", "/api/v1/logging?module=sqlx", &Value::Null).await;
    assert_eq!((status, &refusal["error"]["code"]), (404, &json!("logging.not_set")));
    let (status, shown) = send(&doors, "DELETE", PATH, &Value::Null).await;
    assert_eq!((status, &shown["level"], &shown["set"]), (200, &json!("warning"), &Value::Null));
    assert_eq!(send(&doors, "DELETE", PATH, &Value::Null).await.0, 200, "there being nothing more is no mistake");
}

#[tokio::test]
async fn the_books_are_shown_and_balance() {
    let (doors, logging) = with_log();
    logging.change_level(LevelChange::default()).unwrap();
    let (_, shown) = send(&doors, "GET", PATH, &Value::Null).await;
    assert_eq!(shown["suppressed"], 0);
    let sink = &shown["sinks"][0];
    assert_eq!(sink["sink"], "writer");
    let dropped: u64 = sink["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let [accepted, written, pending] = ["accepted", "written", "pending"].map(|name| sink[name].as_u64().unwrap());
    assert_eq!(accepted, written + dropped + pending, "{sink}");
}

#[tokio::test]
async fn what_is_wrong_is_refused_in_words_and_changes_nothing() {
    let (doors, logging) = with_log();
    let before = logging.levels();
    for (body, code, error) in [
        (json!({ "level": "loud" }), 400, "http.bad_body"),
        (json!({ "level": 3 }), 400, "http.bad_body"),
        (json!({ "module": "sqlx" }), 400, "http.bad_body"),
        (json!({ "level": "debug", "for": "soon" }), 400, "http.bad_body"),
        (json!({ "level": "debug", "for": 600 }), 400, "http.bad_body"),
        (json!({ "level": "debug", "until": "10m" }), 400, "http.bad_body"),
        (json!({ "level": "debug", "for": "1ms" }), 422, "logging.duration"),
        (json!({ "level": "debug", "for": "200h" }), 422, "logging.duration"),
        (json!({ "level": "debug", "module": "" }), 422, "logging.module"),
        (json!({ "level": "debug", "module": "a b" }), 422, "logging.module"),
        (json!({ "level": "debug", "module": "m".repeat(129) }), 422, "logging.module"),
        (json!({ "level": "debug", "author": "a\nb" }), 422, "logging.text"),
    ] {
        let (status, refusal) = send(&doors, "PUT", PATH, &body).await;
        assert_eq!((status, refusal["error"]["code"].as_str()), (code, Some(error)), "{body}: {refusal}");
    }
    assert_eq!(send(&doors, "DELETE", "/api/v1/logging?modul=x", &Value::Null).await.0, 400);
    for author in ["a%0Ab".to_owned(), "a".repeat(201)] {
        for whose in ["module=h2&", ""] {
            let path = format!("{PATH}?{whose}author={author}");
            let (status, refusal) = send(&doors, "DELETE", &path, &Value::Null).await;
            assert_eq!((status, refusal["error"]["code"].as_str()), (422, Some("logging.text")), "{path}: {refusal}");
        }
    }
    assert_eq!(logging.levels(), before);
    for number in 0..wellkept_telemetry::logging::MAX_LEVEL_CHANGES {
        let body = json!({ "level": "debug", "module": format!("m{number}") });
        assert_eq!(send(&doors, "PUT", PATH, &body).await.0, 200);
    }
    let (status, refusal) = send(&doors, "PUT", PATH, &json!({ "level": "debug" })).await;
    assert_eq!((status, &refusal["error"]["code"]), (409, &json!("logging.too_many_changes")));
}

#[tokio::test]
async fn without_a_log_there_is_nothing_and_the_public_never_sees_it() {
    for method in ["GET", "PUT", "DELETE"] {
        let body = if method == "PUT" { json!({ "level": "debug" }) } else { Value::Null };
        assert_eq!(send(&doors(), method, PATH, &body).await.0, 404, "{method}");
    }
    let (doors, _logging) = with_log();
    let request = Request::get(PATH).header("host", "localhost:8080").body(Body::empty()).unwrap();
    assert_eq!(doors.public().oneshot(request).await.unwrap().status(), 404);
    let request = Request::get(PATH).header("host", "orders.example").body(Body::empty()).unwrap();
    assert_eq!(doors.admin().oneshot(request).await.unwrap().status(), 401);
}
