//! Spans and metrics of a real service, as receivers over HTTP get them: one that is read by the official definitions, and
//! the independent agent Rotel.

#![cfg(feature = "otlp")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use wellkept::http::{CorrelationLayer, RequestOptions};
use wellkept::otlp::{self, Options, Otlp, SpanLoss};
use wellkept::shutdown::{Cause, Report, Settings};
use wellkept::telemetry::correlation::{self, Trust};
use wellkept::telemetry::logging;
use wellkept::{Service, ServiceOptions};
use wellkept_testkit::{OtlpReceiver, OtlpReply, OtlpRequest, Rotel, free_address, http};

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// To this receiver; what waits goes when it is flushed.
fn options(endpoint: String) -> Options {
    let hour = Duration::from_secs(3600);
    let headers = vec![("api-key".to_owned(), "a b".to_owned())];
    Options { endpoint, headers, service: "orders".to_owned(), delay: hour, interval: hour, ..Options::default() }
}

fn application() -> Router {
    let order = async |Path(id): Path<u32>| {
        tracing::info_span!("look up", order = id).in_scope(|| tracing::info!("found"));
        // What goes on behind the answer does not lengthen the request.
        correlation::spawn(std::future::pending::<()>());
        "an order"
    };
    let broken = async || (StatusCode::INTERNAL_SERVER_ERROR, "broken");
    let router = Router::new().route("/orders/{id}", get(order)).route("/broken", get(broken));
    // One that the application has already does no harm.
    router.layer(CorrelationLayer::default())
}

/// Serves the application, has `work` call it, and takes it down.
fn serve(otlp: &Otlp, settings: Settings, work: impl FnOnce(SocketAddr) + Send) -> Report {
    let traces = Some(otlp.layer());
    let log = logging::Options { sinks: Vec::new(), traces, ..logging::Options::default() };
    let options = ServiceOptions { shutdown: settings, ..ServiceOptions::default() };
    serve_with(otlp, options, log, application(), work)
}

fn serve_with(
    otlp: &Otlp,
    options: ServiceOptions,
    log: logging::Options,
    app: Router,
    work: impl FnOnce(SocketAddr) + Send,
) -> Report {
    let (subscriber, _log) = logging::subscriber(log).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let service = Service::with_options("orders", "1.4.2", options).otlp(otlp);
    let shutdown = service.shutdown().clone();
    // The log of one test is that of its thread, so all of the service runs there.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            work(address);
            shutdown.trigger(Cause::requested("the test is over"));
        });
        let serve = || runtime.block_on(service.serve_on(app, listener)).unwrap();
        tracing::subscriber::with_default(subscriber, serve)
    })
}

fn call(address: SocketAddr, path: &str) -> u16 {
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    http::request(address, "GET", path, &[("traceparent", &traceparent)], b"").unwrap().status
}

fn spans(requests: &[OtlpRequest]) -> Vec<Span> {
    let messages = requests.iter().map(|request| ExportTraceServiceRequest::decode(&*request.body).unwrap());
    messages.flat_map(|it| it.resource_spans).flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
}

fn named(spans: &[Span], name: &str) -> Span {
    spans.iter().find(|span| span.name == name).cloned().unwrap_or_else(|| panic!("no span {name} in {spans:?}"))
}

fn attributes(span: &Span) -> Vec<(&str, String)> {
    let value = |value: &Option<Value>| match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let attributes = span.attributes.iter();
    attributes.map(|it| (&*it.key, value(&it.value.as_ref().and_then(|it| it.value.clone())))).collect()
}

fn hexadecimal(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn a_request_arrives_as_a_span_of_its_callers_trace_with_what_was_done_for_it() {
    let receiver = OtlpReceiver::replying([]);
    let otlp = otlp::start(options(receiver.endpoint())).unwrap();
    serve(&otlp, Settings::default(), |address| {
        assert_eq!(call(address, "/orders/7?token=canary"), 200);
        assert_eq!(call(address, "/broken"), 500);
        assert_eq!(call(address, "/canary"), 404);
        // A probe is no request of the application's.
        assert_eq!(call(address, "/livez"), 200);
    });
    let requests = receiver.wait_for("/v1/traces", 1);
    assert!(requests[0].head.contains(&"content-type: application/x-protobuf".to_owned()), "{:?}", requests[0].head);
    assert!(requests[0].head.contains(&"api-key: a b".to_owned()));
    let spans = spans(&requests);

    let order = named(&spans, "GET /orders/{id}");
    assert_eq!((hexadecimal(&order.trace_id), hexadecimal(&order.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(order.kind, 2);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        attributes(&order),
        [
            ("http.request.method", text("GET")),
            ("http.route", text("/orders/{id}")),
            ("http.response.status_code", text("200")),
        ]
    );
    assert_eq!(order.status, None);
    let inner = named(&spans, "look up");
    assert_eq!((inner.trace_id, inner.parent_span_id), (order.trace_id.clone(), order.span_id.clone()));
    assert_eq!(inner.events[0].name, "found");

    let broken = named(&spans, "GET /broken");
    assert_eq!(broken.status.map(|status| status.code), Some(2));
    assert_ne!(broken.span_id, order.span_id);
    let unmatched = named(&spans, "GET");
    assert_eq!(attributes(&unmatched)[1..], [("http.response.status_code", text("404"))]);
    assert_eq!(spans.len(), 4);
    assert!(!format!("{spans:?}").contains("canary"));
    let books = otlp.books();
    assert_eq!((books.accepted, books.exported, books.pending), (4, 4, 0));
}

#[test]
fn the_metrics_of_a_service_are_pushed_once_more_at_its_end() {
    let receiver = OtlpReceiver::replying([]);
    let otlp = otlp::start(options(receiver.endpoint())).unwrap();
    serve(&otlp, Settings::default(), |address| {
        call(address, "/orders/7");
    });
    let body = receiver.wait_for("/v1/metrics", 1).remove(0).body;
    let message = ExportMetricsServiceRequest::decode(&*body).unwrap();
    let resource = message.resource_metrics[0].resource.clone().unwrap();
    let is_orders = |value: Option<Value>| value == Some(Value::StringValue("orders".to_owned()));
    let service = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    assert!(is_orders(service.value.clone().and_then(|it| it.value)));
    let metrics = message.resource_metrics.into_iter().flat_map(|it| it.scope_metrics).flat_map(|it| it.metrics);
    let names: Vec<String> = metrics.map(|metric| metric.name).collect();
    for name in ["wellkept_otlp_spans_accepted_total", "wellkept_shutdown_phase", "wellkept_requests_in_flight"] {
        assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
    }
}

#[test]
fn rotel_receives_the_span_and_the_metrics_of_a_request() {
    let rotel = Rotel::start();
    let otlp = otlp::start(options(rotel.endpoint())).unwrap();
    serve(&otlp, Settings::default(), |address| assert_eq!(call(address, "/orders/7"), 200));
    assert_eq!((otlp.books().exported, otlp.books().lost()), (2, 0));
    assert!(otlp.points().exported > 10 && otlp.points().rejected == 0, "{:?}", otlp.points());
    rotel.wait_for_line(|line| line.contains(TRACE));
    rotel.wait_for_line(|line| line.contains(PARENT));
    rotel.wait_for_line(|line| line.contains("GET /orders/{id}"));
    rotel.wait_for_line(|line| line.contains("wellkept_requests_in_flight"));
}

#[test]
fn a_receiver_that_was_gone_gets_what_waited_for_it() {
    let address = free_address();
    let otlp = otlp::start(options(format!("http://{address}"))).unwrap();
    let mut report = None;
    let settings = Settings { flush: Duration::from_millis(100), ..Settings::default() };
    report.replace(serve(&otlp, settings, |address| assert_eq!(call(address, "/orders/7"), 200)));
    // Neither a request nor the end of the service minds.
    assert_eq!(report.map(|report| report.exit_code()), Some(0));
    assert_eq!((otlp.books().pending, otlp.books().lost()), (2, 0));
    let receiver = OtlpReceiver::at(address, []);
    assert!(otlp.flush(PATIENCE));
    assert_eq!(spans(&receiver.wait_for("/v1/traces", 1)).len(), 2);
    assert_eq!(otlp.books().exported, 2);
}

#[test]
fn a_receiver_that_hangs_holds_no_request_and_the_end_for_its_flush_only() {
    let receiver = OtlpReceiver::replying(vec![OtlpReply::Hang; 8]);
    let otlp = otlp::start(Options { delay: Duration::ZERO, ..options(receiver.endpoint()) }).unwrap();
    let settings = Settings { flush: Duration::from_millis(200), ..Settings::default() };
    let mut took = None;
    let report = serve(&otlp, settings, |address| {
        call(address, "/orders/7");
        receiver.wait_for("/v1/traces", 1);
        let begun = Instant::now();
        (0..20).for_each(|_| assert_eq!(call(address, "/orders/7"), 200));
        took = Some(begun.elapsed());
    });
    // Far below the ten seconds that the exporter gives the receiver.
    assert!(took.is_some_and(|took| took < Duration::from_secs(5)), "{took:?}");
    assert!(report.duration_seconds < 5.0, "{}", report.duration_seconds);
    assert_eq!(report.exit_code(), 0);
    let books = otlp.books();
    assert_eq!((books.accepted, books.exported, books.pending), (42, 0, 42));
}

#[test]
fn a_receiver_that_names_a_time_is_left_alone_until_then_and_one_that_refuses_for_good() {
    let replies = [OtlpReply::Answer(503, "retry-after: 1\r\n", Vec::new())];
    let receiver = OtlpReceiver::replying(replies);
    let otlp = otlp::start(options(receiver.endpoint())).unwrap();
    let settings = Settings { flush: Duration::from_millis(100), ..Settings::default() };
    let begun = Instant::now();
    serve(&otlp, settings, |address| assert_eq!(call(address, "/orders/7"), 200));
    assert!(otlp.flush(PATIENCE));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(otlp.books().exported, 2);

    let receiver = OtlpReceiver::replying(vec![OtlpReply::Answer(400, "", Vec::new()); 2]);
    let otlp = otlp::start(options(receiver.endpoint())).unwrap();
    serve(&otlp, Settings::default(), |address| assert_eq!(call(address, "/orders/7"), 200));
    assert_eq!(receiver.wait_for("/v1/traces", 1).len(), 1);
    assert_eq!((otlp.books().exported, otlp.books().lost_to(SpanLoss::Refused)), (0, 2));
}

#[test]
fn what_can_not_be_sent_is_refused_at_the_start() {
    let code = |options: Options| otlp::start(options).map(drop).map_err(|error| error.code());
    assert_eq!(code(options("http://[collector".to_owned())), Err("otlp.endpoint"));
    assert_eq!(code(options("ftp://collector".to_owned())), Err("fetch.scheme"));
    let headers = vec![("api-key".to_owned(), "a\nb".to_owned())];
    assert_eq!(code(Options { headers, ..options("http://collector".to_owned()) }), Err("fetch.header_value"));
}

#[test]
fn a_request_is_one_span_and_its_lines_have_its_context_once_with_and_without_the_layer_of_all_requests() {
    for requests in [RequestOptions::default(), RequestOptions::nothing().trust(Trust::Nobody)] {
        let receiver = OtlpReceiver::replying([]);
        let otlp = otlp::start(options(receiver.endpoint())).unwrap();
        let (lines, line_sink) = std::os::unix::net::UnixStream::pair().unwrap();
        let sinks = vec![logging::SinkOptions::writer(logging::Format::Json, line_sink)];
        let log = logging::Options { sinks, traces: Some(otlp.layer()), ..logging::Options::default() };
        let options = ServiceOptions { requests, ..ServiceOptions::default() };
        let app = Router::new().route("/", get(async || tracing::info!("found")));
        serve_with(&otlp, options, log, app, |address| assert_eq!(call(address, "/"), 200));
        let spans = spans(&receiver.wait_for("/v1/traces", 1));
        assert_eq!(spans.len(), 1, "{spans:?}");
        let is_callers = hexadecimal(&spans[0].trace_id) == TRACE;
        assert_eq!(is_callers, !requests.is_nothing(), "ids of callers are taken over as it is said");
        let lines = std::io::read_to_string(lines).unwrap();
        let line = lines.lines().find(|line| line.contains("\"found\"")).unwrap();
        for (name, count) in [("\"trace_id\":", 1), ("\"route\":", usize::from(!requests.is_nothing()))] {
            assert_eq!(line.matches(name).count(), count, "{name}: {line}");
        }
        assert!(line.contains(&hexadecimal(&spans[0].trace_id)), "{line}");
    }
}
