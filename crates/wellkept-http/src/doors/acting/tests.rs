//! Claims about who may act, and with what body.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde::Deserialize;
use tower::ServiceExt;
use wellkept_health::{Checker, Settings};
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::metrics::Metrics;

use super::{Input, MAX_BODY};
use crate::access::{Access, Token};
use crate::doors::{Doors, Names, Operation, Routes};
use crate::server::Arrival;

const SECRET: &str = "a-long-enough-secret";

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Words {
    #[serde(default)]
    word: String,
}

/// Doors that take a token.
fn doors() -> Doors {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    let access = Access::with_token(Token::parse(SECRET).unwrap());
    Doors::new(checker, shutdown, access, Names::Shown, Metrics::new())
}

/// One route that acts.
fn door() -> Router {
    let doors = doors();
    let operation =
        Operation::new(Method::POST, "/api/v1/say", "Says a word.").takes::<Words>().text("text/plain", &[200]);
    let routes = Routes::new().route(operation, async |Input(words): Input<Words>| words.word);
    doors.acting(routes).into_router(&doors)
}

async fn send(bound: &str, host: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (u16, String) {
    let mut request = Request::builder().method(Method::POST).uri("/api/v1/say").header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    let arrival = Arrival::new(
        bound.parse::<std::net::SocketAddr>().unwrap(),
        "127.0.0.1:5".parse::<std::net::SocketAddr>().unwrap(),
    );
    request.extensions_mut().insert(arrival);
    read(door().oneshot(request).await.unwrap()).await
}

async fn read(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    (status, String::from_utf8(body).unwrap())
}

async fn locally(headers: &[(&str, &str)], body: &'static str) -> (u16, String) {
    send("127.0.0.1:8080", "localhost:8080", headers, body).await
}

#[tokio::test]
async fn only_operators_act() {
    assert_eq!(locally(&[], "").await.0, 200);
    let bearer = format!("Bearer {SECRET}");
    for (headers, wanted) in [(vec![], 401), (vec![("authorization", bearer.as_str())], 200)] {
        assert_eq!(send("0.0.0.0:8080", "localhost:8080", &headers, "").await.0, wanted, "{headers:?}");
    }
    let rebound = send("127.0.0.1:8080", "rebound.example:8080", &[], "").await;
    assert_eq!(rebound.0, 401);
    assert_eq!(locally(&[("x-forwarded-for", "10.0.0.1")], "").await.0, 401);
}

#[tokio::test]
async fn a_page_acts_only_on_its_own_origin() {
    for origin in ["http://localhost:8080", "http://LOCALHOST:8080", "https://localhost:8080"] {
        assert_eq!(locally(&[("origin", origin)], "").await.0, 200, "{origin}");
    }
    for origin in [
        "null",
        "",
        "localhost:8080",
        "http://localhost",
        "http://localhost:3000",
        "http://localhost:8080.evil.example",
        "http://localhost:8080@evil.example",
        "http://user@localhost:8080",
        "http://localhost:",
        "http://localhost:8080/path",
        "http://127.0.0.1:8080",
        "http://evil.example",
        "file://localhost:8080",
        "http://\u{e9}",
    ] {
        let (status, body) = locally(&[("origin", origin)], "").await;
        assert_eq!(status, 403, "{origin}");
        assert_eq!(
            body,
            r#"{"error":{"code":"http.foreign_origin","message":"this comes from a page of another origin"}}"#
        );
    }
    let twice = [("origin", "http://localhost:8080"), ("origin", "http://localhost:8080")];
    assert_eq!(locally(&twice, "").await.0, 403, "two origins are none");
    // The usual port is left out by browsers, and named by some proxies.
    let bearer = format!("Bearer {SECRET}");
    for (origin, host) in [("https://wk.example", "wk.example:443"), ("http://wk.example:80", "wk.example")] {
        let headers = [("origin", origin), ("authorization", bearer.as_str())];
        assert_eq!(send("0.0.0.0:8081", host, &headers, "").await.0, 200, "{origin}");
    }
    for (site, wanted) in [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("x", 403)] {
        assert_eq!(locally(&[("sec-fetch-site", site)], "").await.0, wanted, "{site}");
    }
    let bearing = [("sec-fetch-site", "cross-site"), ("authorization", bearer.as_str())];
    assert_eq!(locally(&bearing, "").await.0, 403, "a token makes no page one's own");
}

#[tokio::test]
async fn a_body_is_json_that_says_so_and_has_known_fields_only() {
    let json = ("content-type", "application/json");
    assert_eq!(locally(&[json], r#"{"word":"hello"}"#).await, (200, "hello".to_owned()));
    assert_eq!(locally(&[("content-type", "Application/JSON; charset=utf-8")], "{}").await.0, 200);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ""] {
        assert_eq!(locally(&[("content-type", kind)], "{}").await.0, 415, "{kind}");
    }
    assert_eq!(locally(&[], "{}").await.0, 415);
    for (body, says) in [
        (r#"{"wort":"x"}"#, "unknown field `wort`"),
        (r#"{"word":1}"#, "invalid type"),
        (r#"{"word":"a","word":"b"}"#, "duplicate field"),
        ("{", "EOF"),
        ("{} {}", "trailing"),
        ("[[[[[[", "expected an object"),
        ("[]", "expected an object"),
        ("{\"\u{0}\"", "control character"),
    ] {
        let (status, answer) = locally(&[json], body).await;
        assert_eq!(status, 400, "{body}");
        assert!(
            answer.starts_with(r#"{"error":{"code":"http.bad_body","message":"the body can't be read: "#),
            "{answer}"
        );
        assert!(answer.contains(says), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_bounded_in_length_and_in_time() {
    let json = [("content-type", "application/json")];
    let long = format!("{{\"word\":\"{}\"}}", "x".repeat(MAX_BODY));
    assert_eq!(send("127.0.0.1:1", "localhost:1", &json, long).await.0, 413);
    let most = format!("{{\"word\":\"{}\"}}", "x".repeat(MAX_BODY - 11));
    assert_eq!(send("127.0.0.1:1", "localhost:1", &json, most).await.0, 200);
    let began = tokio::time::Instant::now();
    let (_sender, never) = tokio::sync::mpsc::channel::<()>(1);
    let body = Body::new(Endless(never));
    assert_eq!(send("127.0.0.1:1", "localhost:1", &json, body).await.0, 408);
    assert!(began.elapsed() <= Duration::from_secs(6));
}

/// A body that never comes.
struct Endless(tokio::sync::mpsc::Receiver<()>);

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        self.0.poll_recv(context).map(|_| None)
    }
}
