//! Claims about the ids of a request, between real servers and clients where that matters.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use wellkept_shutdown::Tracker;

use super::*;
use crate::server::{Server, ServerOptions};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

async fn ask(router: Router, headers: &[(&str, &str)]) -> (HeaderMap, String) {
    let mut request = Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

/// Tells its correlation.
fn tells() -> Router {
    let tell = async |Extension(of_request): Extension<Correlation>| {
        tokio::task::yield_now().await;
        let current = Correlation::current().unwrap();
        assert_eq!(current.id(), of_request.id());
        let state = current.tracestate().unwrap_or_default();
        format!("{} {} {state}", current.id(), current.trace_id())
    };
    Router::new().route("/", get(tell)).layer(CorrelationLayer::default())
}

#[tokio::test]
async fn a_request_keeps_its_ids_and_has_its_id_returned() {
    let headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"), ("x-request-id", "order-7")];
    let (returned, told) = ask(tells(), &headers).await;
    assert_eq!(told, format!("order-7 {TRACE} a=1,b=2"));
    assert_eq!(returned["x-request-id"], "order-7");
    let (returned, told) = ask(tells(), &[]).await;
    assert_eq!(returned["x-request-id"], told.split(' ').next().unwrap(), "a new one is returned too");
}

#[tokio::test]
async fn what_is_hostile_or_said_twice_is_replaced() {
    for headers in [
        vec![("x-request-id", "a b"), ("traceparent", "00-nonsense")],
        vec![("x-request-id", "one"), ("x-request-id", "two"), ("traceparent", PARENT), ("traceparent", PARENT)],
        vec![("x-request-id", "../../etc"), ("tracestate", "a=1")],
    ] {
        let (returned, told) = ask(tells(), &headers).await;
        let (id, trace) = told.trim().split_once(' ').unwrap();
        assert_eq!(id, trace, "{headers:?}");
        assert!(trace != TRACE && returned["x-request-id"] == id, "{headers:?}: {told}");
    }
}

#[tokio::test]
async fn a_service_may_set_the_header_itself() {
    let own = async || ([("x-request-id", "own")], "");
    let router = Router::new().route("/", get(own)).layer(CorrelationLayer::new(Trust::Nobody));
    assert_eq!(ask(router, &[]).await.0["x-request-id"], "own");
}

#[tokio::test]
async fn a_body_that_is_made_later_is_made_within_the_correlation() {
    let late = async || {
        let parts = stream::once(async {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Correlation::current().unwrap().id().to_owned())
        });
        Body::from_stream(parts)
    };
    let router = Router::new().route("/", get(late)).layer(CorrelationLayer::default());
    assert_eq!(ask(router, &[("x-request-id", "order-7")]).await.1, "order-7");
}

/// Sends one request over a connection of its own, by a client that propagates.
async fn send(address: SocketAddr) -> String {
    let socket = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http1::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let mut sender = Some(sender);
    let client = tower::service_fn(|request| {
        let mut sender = sender.take().unwrap();
        async move { sender.send_request(request).await }
    });
    let request = Request::get("/").header("host", "back").body(Body::empty()).unwrap();
    let response = PropagationLayer.layer(client).oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn serve(router: Router) -> SocketAddr {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), ServerOptions::default()).unwrap();
    server.serve("test", router, Tracker::default()).local_address().tcp().unwrap()
}

#[tokio::test]
async fn the_ids_go_on_to_a_service_that_is_called_from_a_task() {
    let back = serve(tells());
    let front = Router::new()
        .route("/", get(move || async move { wellkept_telemetry::correlation::spawn(send(back)).await.unwrap() }))
        .layer(CorrelationLayer::default());
    let headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("x-request-id", "order-7")];
    assert_eq!(ask(front, &headers).await.1, format!("order-7 {TRACE} a=1"));
    // Outside of any work nothing is told, so the service called begins its own.
    let told = send(back).await;
    assert!(!told.contains(TRACE) && !told.contains("order-7"), "{told}");
}

#[test]
fn what_a_caller_has_set_itself_is_left_alone() {
    let mut headers = HeaderMap::new();
    headers.insert(TRACEPARENT, HeaderValue::from_static("mine"));
    headers.insert(REQUEST_ID, HeaderValue::from_static("mine"));
    Correlation::begin().in_scope(|| propagate(&mut headers));
    assert_eq!(
        (headers.len(), &headers[TRACEPARENT], &headers[REQUEST_ID]),
        (2, &HeaderValue::from_static("mine"), &HeaderValue::from_static("mine"))
    );
}
