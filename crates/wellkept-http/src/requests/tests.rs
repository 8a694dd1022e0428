//! What a request gets, and what is counted of it: asked of the layer on a real router.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tower::ServiceExt as _;
use wellkept_telemetry::correlation::Trust;
use wellkept_telemetry::metrics::{Audience, Reading, TextFormat, Value};

use super::cells::DECLARATIONS;
use super::*;

const DURATION: &str = "wellkept_http_request_duration_seconds";

struct App {
    metrics: Metrics,
    router: Router,
}

impl App {
    fn new(router: Router) -> Self {
        Self::with(router, RequestOptions::default())
    }

    fn with(router: Router, options: RequestOptions) -> Self {
        let metrics = Metrics::new();
        let router = router.layer(RequestLayer::new(&metrics, options).unwrap());
        Self { metrics, router }
    }

    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Bytes {
        let response = self.ask(Request::get(path).body(Body::empty()).unwrap()).await;
        response.into_body().collect().await.unwrap().to_bytes()
    }

    fn reading(&self) -> Reading {
        self.metrics.read(Audience::Everyone)
    }

    /// How many requests were counted of a route, method and status.
    fn counted(&self, route: &str, method: &str, status: &str) -> u64 {
        let labels = [("route", route), ("method", method), ("status", status)];
        match self.reading().family(DURATION).unwrap().sample(&labels) {
            Some(sample) => match &sample.value {
                Value::Histogram(histogram) => histogram.count(),
                Value::Number(..) => panic!("a histogram"),
            },
            None => 0,
        }
    }

    fn number(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let reading = self.reading();
        reading.family(name).unwrap().sample(labels).and_then(|sample| sample.value.number()).unwrap_or(0.0)
    }

    fn in_flight(&self) -> f64 {
        self.number("wellkept_http_requests_in_flight", &[])
    }
}

fn chunks(parts: usize) -> Body {
    let parts = (0..parts).map(|_| Ok::<_, Infallible>(Bytes::from_static(b"chunk")));
    Body::from_stream(futures_util::stream::iter(parts))
}

#[tokio::test]
async fn a_body_that_nobody_could_send_is_not_counted_however_it_is_announced() {
    let app = App::new(Router::new().route("/orders", post(async || "no body is read")));
    for announced in [u64::MAX - 2, 1 << 41, 7] {
        let request = Request::post("/orders").header(CONTENT_LENGTH, announced).body(Body::empty()).unwrap();
        app.ask(request).await.into_body().collect().await.unwrap();
    }
    let labels = [("route", "/orders"), ("method", "POST")];
    assert!((app.number("wellkept_http_request_body_bytes", &labels) - 7.0).abs() < 0.5);
}

#[tokio::test]
async fn a_request_is_counted_by_route_method_and_class_of_status() {
    let router = Router::new()
        .route("/orders/{id}", get(async || "an order").delete(async || StatusCode::NOT_FOUND))
        .nest("/api", Router::new().route("/items/{*rest}", any(async || StatusCode::BAD_GATEWAY)));
    let app = App::new(router);
    assert_eq!(app.get("/orders/7").await, "an order");
    app.get("/orders/8").await;
    app.ask(Request::delete("/orders/7").body(Body::empty()).unwrap()).await;
    app.ask(Request::builder().method("PROPFIND").uri("/api/items/a/b").body(Body::empty()).unwrap()).await;
    app.get("/nowhere").await;
    assert_eq!(app.counted("/orders/{id}", "GET", "2xx"), 2);
    assert_eq!(app.counted("/orders/{id}", "DELETE", "4xx"), 1);
    assert_eq!(app.counted("/api/items/{*rest}", "_OTHER", "5xx"), 1);
    assert_eq!(app.counted("unmatched", "GET", "4xx"), 1);
    for (code, count) in [("200", 2.0), ("404", 2.0), ("502", 1.0)] {
        assert!((app.number("wellkept_http_responses", &[("code", code)]) - count).abs() < 0.1, "{code}");
    }
    assert!(app.in_flight().abs() < 0.1);
    let sent = app.number("wellkept_http_response_body_bytes", &[("route", "/orders/{id}"), ("method", "GET")]);
    assert!((sent - 16.0).abs() < 0.1, "{sent}");
}

#[tokio::test]
async fn what_strangers_send_makes_no_more_series() {
    let app = App::new(Router::new().route("/orders/{id}", any(async || StatusCode::OK)));
    for number in 0..10_000 {
        let method = format!("M{number}");
        let path = if number % 2 == 0 { format!("/orders/{number}") } else { format!("/{number}/x?{number}") };
        drop(app.ask(Request::builder().method(&*method).uri(&*path).body(Body::empty()).unwrap()).await);
    }
    let reading = app.reading();
    let series: usize = DECLARATIONS.iter().map(|one| reading.family(one.name).unwrap().samples.len()).sum();
    assert!(series <= 2 + 2 + 4 + 3, "{series} series");
    assert_eq!(app.counted("/orders/{id}", "_OTHER", "2xx") + app.counted("unmatched", "_OTHER", "4xx"), 10_000);
}

#[tokio::test]
async fn more_routes_than_there_may_be_are_counted_together() {
    let metrics = Metrics::new();
    let counts = RequestCounts::new(&metrics).unwrap();
    for number in 0..1500 {
        counts.route(&format!("/{number}"));
    }
    assert_eq!(counts.route("/7").route(), "/7");
    assert_eq!(counts.route("/1499").route(), "_overflow");
}

#[tokio::test(start_paused = true)]
async fn a_request_lasts_to_the_end_of_its_body() {
    let slow = async || {
        let parts = futures_util::stream::iter(0..2).then(async |_| {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"x"))
        });
        Body::from_stream(parts)
    };
    let router = Router::new().route("/slow", get(slow));
    let app = App::new(router);
    let response = app.ask(Request::get("/slow").body(Body::empty()).unwrap()).await;
    assert_eq!((app.counted("/slow", "GET", "2xx"), app.in_flight().to_bits()), (0, 1.0_f64.to_bits()));
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(app.counted("/slow", "GET", "2xx"), 0, "there is more to come");
    body.frame().await.unwrap().unwrap();
    assert!(body.frame().await.is_none());
    assert_eq!((app.counted("/slow", "GET", "2xx"), app.in_flight().to_bits()), (1, 0.0_f64.to_bits()));
    drop(body);
    assert_eq!(app.counted("/slow", "GET", "cancelled"), 0, "counted once");
}

#[tokio::test]
async fn one_that_is_given_up_is_cancelled_and_an_answer_to_head_is_whole() {
    let router = Router::new()
        .route("/never", get(async || std::future::pending::<()>().await))
        .route("/long", get(async || chunks(3)))
        .route("/empty", get(async || StatusCode::NO_CONTENT))
        .route("/known", get(async || "of a known length"));
    let app = App::new(router);
    let never = app.ask(Request::get("/never").body(Body::empty()).unwrap());
    assert!(tokio::time::timeout(Duration::from_millis(1), never).await.is_err());
    assert_eq!(app.counted("/never", "GET", "cancelled"), 1);
    let mut body = app.ask(Request::get("/long").body(Body::empty()).unwrap()).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!((app.counted("/long", "GET", "cancelled"), app.counted("/long", "GET", "2xx")), (1, 0));
    drop(app.ask(Request::head("/long").body(Body::empty()).unwrap()).await);
    assert_eq!(app.counted("/long", "HEAD", "2xx"), 1);
    drop(app.ask(Request::get("/empty").body(Body::empty()).unwrap()).await);
    assert_eq!(app.counted("/empty", "GET", "2xx"), 1);
    // A server that has all bytes of a known length does not ask for the end.
    let mut body = app.ask(Request::get("/known").body(Body::empty()).unwrap()).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!((app.counted("/known", "GET", "2xx"), app.counted("/known", "GET", "cancelled")), (1, 0));
    assert!(app.in_flight().abs() < 0.1);
}

#[tokio::test]
async fn a_handler_that_panics_has_failed_and_was_not_cancelled() {
    let app = App::new(Router::new().route("/", get(async || -> StatusCode { panic!("as the test wants it") })));
    let router = app.router.clone();
    let asked = tokio::spawn(async move { router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await });
    assert!(asked.await.unwrap_err().is_panic());
    assert_eq!((app.counted("/", "GET", "5xx"), app.counted("/", "GET", "cancelled")), (1, 0));
    assert!(app.in_flight().abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_events_is_no_request_of_an_hour() {
    let stream = async || {
        let first = futures_util::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"data: 1\n\n"))]);
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(first.chain(futures_util::stream::pending())))
    };
    let app = App::new(Router::new().route("/events", get(stream)));
    let response = app.ask(Request::get("/events").body(Body::empty()).unwrap()).await;
    assert_eq!(app.counted("/events", "GET", "2xx"), 1, "to the head");
    let open = |app: &App| app.number("wellkept_http_event_streams", &[]).to_bits();
    assert_eq!((app.in_flight().to_bits(), open(&app)), (0.0_f64.to_bits(), 1.0_f64.to_bits()));
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(open(&app), 0.0_f64.to_bits());
    assert_eq!((app.counted("/events", "GET", "2xx"), app.counted("/events", "GET", "cancelled")), (1, 0));
    let reading = app.reading();
    let lasted = &reading.family("wellkept_http_event_stream_duration_seconds").unwrap().samples[0].value;
    assert!(matches!(lasted, Value::Histogram(histogram) if histogram.count() == 1));
}

#[tokio::test]
async fn a_bucket_bears_the_trace_of_a_request() {
    let app = App::new(Router::new().route("/", get(async || "hello")));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = Request::get("/").header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    app.ask(request.body(Body::empty()).unwrap()).await.into_body().collect().await.unwrap();
    let page = app.metrics.text(TextFormat::OpenMetrics(None), Audience::Everyone);
    let exemplar =
        page.lines().find(|line| line.starts_with(DURATION) && line.contains(&format!("# {{trace_id=\"{trace}\"}}")));
    assert!(
        exemplar.is_some_and(|line| line.contains("_bucket{route=\"/\",method=\"GET\",status=\"2xx\",le=")),
        "{page}"
    );
}

#[tokio::test]
async fn a_handler_runs_in_its_correlation_which_an_inner_layer_takes_over() {
    let handler = async || Correlation::current().map(|it| it.id().to_owned()).unwrap_or_default();
    let inner = Router::new().route("/", get(handler)).layer(crate::CorrelationLayer::default());
    let app = App::new(inner);
    let answer = app.ask(Request::get("/").header("x-request-id", "order-7").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.headers()["x-request-id"], "order-7");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "order-7");
    let answer = app.ask(Request::get("/").body(Body::empty()).unwrap()).await;
    let returned = answer.headers()["x-request-id"].clone();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), returned.as_bytes(), "one id and not two");
}

#[tokio::test]
async fn each_part_can_be_turned_off() {
    use RequestPart::{Correlation as Ids, InFlight, Metrics as Counts, Span as Context};
    let handler = async || {
        let ids = Correlation::current().is_some();
        let span = !tracing::Span::current().is_none();
        format!("{ids} {span}")
    };
    let router = || Router::new().route("/", post(handler).get(handler));
    let off = App::with(router(), RequestOptions::default().without(Ids).without(Counts).without(InFlight));
    assert!(off.get("/").await.starts_with(b"false "));
    assert_eq!(off.counted("/", "GET", "2xx"), 0);
    assert!(off.reading().family("wellkept_http_responses").unwrap().samples.is_empty());
    let no_ids = RequestOptions::default().without(Context);
    assert_eq!(App::with(router(), no_ids).get("/").await, "true false");
    let nobody = App::with(router(), RequestOptions::default().trust(Trust::Nobody));
    let answer = nobody.ask(Request::get("/").header("x-request-id", "mine").body(Body::empty()).unwrap()).await;
    assert_ne!(answer.headers()["x-request-id"], "mine");
    assert!(RequestOptions::nothing().is_nothing() && !no_ids.is_nothing());
    let all = [Ids, Counts, Context, InFlight].into_iter().fold(RequestOptions::default(), RequestOptions::without);
    assert!(all.is_nothing());
}

proptest! {
    #[test]
    fn no_path_method_or_header_breaks_the_page(
        path in "/[!-~]{0,40}", method in "[A-Z]{1,12}", id in "[ -~]{0,200}", length in "[0-9a-f+-]{0,25}"
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let app = App::new(Router::new().route("/{a}", any(async || "x")));
        let request = Request::builder().method(&*method).uri(&*path)
            .header("x-request-id", id).header("content-length", length).body(Body::empty());
        if let Ok(request) = request {
            runtime.block_on(app.ask(request));
        }
        let page = app.metrics.text(TextFormat::OpenMetrics(None), Audience::Everyone);
        prop_assert!(page.ends_with("# EOF\n"));
        prop_assert!(page.lines().count() < 120, "{page}");
    }
}
