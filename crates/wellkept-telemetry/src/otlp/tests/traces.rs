//! Which spans there are, what is in them, and what is not.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Status;
use tracing::{debug_span, info_span};

use super::*;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// The spans that `work` leaves, by their names.
fn exported(options: Options, work: impl FnOnce()) -> Vec<Span> {
    let collector = Arc::new(Collector::default());
    let otlp = collector.start(options);
    traced(&otlp, work);
    assert!(otlp.flush(PATIENCE));
    assert_balanced(&otlp.books());
    collector.spans()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name} in {spans:?}"))
}

#[test]
fn the_span_of_a_request_has_the_ids_of_its_correlation_and_the_callers_parent() {
    let correlation = called("01");
    let spans = exported(patient(), || {
        correlation.clone().in_scope(|| {
            let span = info_span!(
                "request",
                otel.name = "GET /orders/{id}",
                otel.kind = "server",
                http.request.method = "GET",
                items = 3,
                part = 0.5,
                is_new = true,
                huge = u64::MAX,
                otel.status_code = tracing::field::Empty,
                http.response.status_code = tracing::field::Empty
            );
            span.in_scope(|| tracing::warn!(order = 7, "stock is low"));
            span.record("http.response.status_code", 500);
            span.record("otel.status_code", "error");
        });
    });
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!(span.span_id, correlation.span_id().to_bytes());
    assert_eq!((&*span.name, span.kind, &*span.trace_state), ("GET /orders/{id}", 2, "vendor=1"));
    // Sampled, and the parent is known to run elsewhere.
    assert_eq!(span.flags, 0x301);
    assert_eq!(
        span.attributes,
        [
            text("http.request.method", "GET"),
            attribute("items", Value::IntValue(3)),
            attribute("part", Value::DoubleValue(0.5)),
            attribute("is_new", Value::BoolValue(true)),
            text("huge", "18446744073709551615"),
            attribute("http.response.status_code", Value::IntValue(500)),
        ]
    );
    assert_eq!(span.status, Some(Status { message: String::new(), code: 2 }));
    let [event] = span.events.as_slice() else { panic!("{:?}", span.events) };
    assert_eq!(event.name, "stock is low");
    assert_eq!(event.attributes, [attribute("order", Value::IntValue(7)), text("level", "warning")]);
    assert!(span.start_time_unix_nano <= event.time_unix_nano && event.time_unix_nano <= span.end_time_unix_nano);
}

#[test]
fn a_message_says_whose_spans_they_are() {
    let collector = Arc::new(Collector::default());
    let attributes = vec![("deployment.environment.name".to_owned(), "test".to_owned())];
    let (service, version) = ("orders".to_owned(), "1.4.2".to_owned());
    let otlp = collector.start(Options { service, version, attributes, ..patient() });
    traced(&otlp, || info_span!("work").in_scope(|| ()));
    assert!(otlp.flush(PATIENCE));
    let message = collector.messages().remove(0);
    let resource = message.resource_spans[0].resource.clone().unwrap();
    let value = |key: &str| resource.attributes.iter().find(|it| it.key == key).cloned();
    assert_eq!(value("service.name"), Some(text("service.name", "orders")));
    assert_eq!(value("service.version"), Some(text("service.version", "1.4.2")));
    assert_eq!(value("deployment.environment.name"), Some(text("deployment.environment.name", "test")));
    assert!(value("service.instance.id").is_some() && value("host.name").is_some());
    assert_eq!(message.resource_spans[0].scope_spans[0].scope.as_ref().unwrap().name, "wellkept");
}

#[test]
fn spans_are_children_of_those_that_they_are_opened_in_also_in_another_task() {
    let correlation = called("01");
    let spans = exported(patient(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(correlation.clone().scope(async {
            let request = info_span!("request");
            let task = request.in_scope(|| {
                info_span!("inner").in_scope(|| info_span!("innermost").in_scope(|| ()));
                crate::correlation::spawn(async { info_span!("in a task").in_scope(|| ()) })
            });
            task.await.unwrap();
            // Outside of it, but of the same work.
            info_span!("beside").in_scope(|| ());
        }));
    });
    let request = named(&spans, "request");
    assert_eq!(request.span_id, correlation.span_id().to_bytes());
    for (name, parent) in
        [("inner", "request"), ("innermost", "inner"), ("in a task", "request"), ("beside", "request")]
    {
        assert_eq!(named(&spans, name).parent_span_id, named(&spans, parent).span_id, "{name}");
        // The parent runs here.
        assert_eq!((named(&spans, name).kind, named(&spans, name).flags), (1, 0x101), "{name}");
    }
    assert!(spans.iter().all(|span| span.trace_id == correlation.trace_id().to_bytes()));
    assert_eq!(spans.len(), 5);
}

#[test]
fn work_without_a_correlation_is_a_trace_of_its_own() {
    let spans = exported(patient(), || {
        info_span!("job").in_scope(|| info_span!("step").in_scope(|| ()));
        info_span!("another").in_scope(|| ());
    });
    assert_eq!(named(&spans, "step").trace_id, named(&spans, "job").trace_id);
    assert_eq!(named(&spans, "step").parent_span_id, named(&spans, "job").span_id);
    assert!(named(&spans, "job").parent_span_id.is_empty());
    assert_ne!(named(&spans, "another").trace_id, named(&spans, "job").trace_id);
}

#[test]
fn a_correlation_within_another_has_a_span_of_its_own() {
    let outer = called("01");
    let part = outer.part();
    let spans = exported(patient(), || {
        outer.clone().in_scope(|| {
            info_span!("outer").in_scope(|| part.clone().in_scope(|| info_span!("part").in_scope(|| ())));
        });
    });
    assert_eq!(named(&spans, "part").span_id, part.span_id().to_bytes());
    assert_eq!(named(&spans, "part").parent_span_id, outer.span_id().to_bytes());
    assert_eq!(named(&spans, "part").flags, 0x101, "its parent runs here, though the trace is a caller's");
}

#[test]
fn what_the_caller_does_not_record_is_not_recorded_and_whoever_is_called_hears_the_same() {
    let correlation = called("00");
    let work = || correlation.clone().in_scope(|| info_span!("a").in_scope(|| info_span!("b").in_scope(|| ())));
    assert_eq!(exported(patient(), work), []);
    assert!(correlation.traceparent().ends_with("-00"));
}

#[test]
fn a_share_of_what_begins_here_is_recorded_and_whoever_is_called_hears_of_it() {
    let begun: Vec<_> = (0..1000).map(|_| Correlation::begin()).collect();
    let work = || begun.iter().for_each(|it| it.clone().in_scope(|| info_span!("a").in_scope(|| ())));
    let spans = exported(Options { ratio: 0.25, ..patient() }, work);
    assert!((150..350).contains(&spans.len()), "{}", spans.len());
    for correlation in &begun {
        let is_recorded = spans.iter().any(|span| span.span_id == correlation.span_id().to_bytes());
        assert_eq!(correlation.traceparent().ends_with("-03"), is_recorded);
        // A part of it, wherever it is asked, goes the same way.
        assert_eq!(correlation.part().sample(0.25), is_recorded);
    }
    for (ratio, count) in [(0.0, 0), (1.0, 2)] {
        let work = || (0..2).for_each(|_| Correlation::begin().in_scope(|| info_span!("a").in_scope(|| ())));
        assert_eq!(exported(Options { ratio, ..patient() }, work).len(), count);
    }
}

#[test]
fn the_level_of_the_log_does_not_decide_which_spans_are_exported() {
    let collector = Arc::new(Collector::default());
    let otlp = collector.start(patient());
    let (lines, written) = mpsc::channel();
    let output = logging::Output::Writer(Box::new(Lines(lines)));
    let sink = logging::SinkOptions { output, ..logging::SinkOptions::default() };
    let options =
        logging::Options { traces: Some(otlp.layer()), level: logging::Level::Error, ..logging::Options::to(sink) };
    let (subscriber, log) = logging::subscriber(options).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        info_span!("kept", item = 1).in_scope(|| {
            tracing::info!("not logged");
            debug_span!("too fine").in_scope(|| info_span!("within").in_scope(|| tracing::error!("logged")));
        });
    });
    assert!(otlp.flush(PATIENCE) && log.flush(PATIENCE));
    let spans = collector.spans();
    assert_eq!(named(&spans, "kept").events[0].name, "not logged");
    assert_eq!(named(&spans, "within").parent_span_id, named(&spans, "kept").span_id);
    assert_eq!(spans.len(), 2);
    let written: String = written.try_iter().collect();
    assert!(
        written.contains("\"logged\"") && !written.contains("not logged") && !written.contains("item"),
        "{written}"
    );
}

struct Lines(Sender<String>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(String::from_utf8_lossy(bytes).into_owned()).ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_secret_reaches_the_receiver() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "is only shown")]
    struct Settings {
        password: &'static str,
    }
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJjYW5hcnkiOiJjYW5hcnkifQ.canary";
    let spans = exported(patient(), || {
        let span = info_span!(
            "work",
            otel.name = "GET http://user:canary@host/",
            password = "canary",
            api_key = 4711,
            url = "postgres://app:canary@db/orders",
            settings = ?Settings { password: "canary" },
            header = "Authorization: Bearer canary",
            token = jwt,
            note = jwt,
            otel.status_description = tracing::field::Empty,
            later = tracing::field::Empty,
        );
        span.record("otel.status_description", "login with password=canary failed");
        span.record("later", "token=canary");
        span.in_scope(|| tracing::error!(db.password = "canary", "no way to amqp://u:canary@mq/ with {jwt}"));
    });
    let shown = format!("{spans:?}");
    assert!(!shown.contains("canary") && !shown.contains("4711") && !shown.contains("eyJ"), "{shown}");
    assert!(shown.matches("***").count() >= 10, "{shown}");
}

#[test]
fn what_the_log_is_told_to_mask_and_cards_that_are_numbers_are_masked_in_spans_too() {
    let collector = Arc::new(Collector::default());
    let otlp = collector.start(patient());
    let redaction = logging::Redaction {
        secrets: logging::Secrets::Shown,
        names: vec!["tax_number".to_owned()],
        patterns: vec![r"KD-\d{6}".to_owned(), r"\b815\b".to_owned()],
    };
    let options =
        logging::Options { sinks: Vec::new(), traces: Some(otlp.layer()), redaction, ..logging::Options::default() };
    let (subscriber, _logging) = logging::subscriber(options).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let span = info_span!("work", customer_tax_number = 4711, card = 4_111_111_111_111_111_u64, number = 815);
        span.in_scope(|| tracing::info!(real = 4_111_111_111_111_111.0, "of KD-123456"));
    });
    assert!(otlp.flush(PATIENCE));
    let shown = format!("{:?}", collector.spans());
    assert!(["4711", "41111", "815", "123456"].iter().all(|secret| !shown.contains(secret)), "{shown}");
    assert_eq!(shown.matches("***").count(), 5, "{shown}");
}

#[test]
fn the_log_does_not_show_the_fields_of_requests_spans() {
    let collector = Arc::new(Collector::default());
    let otlp = collector.start(patient());
    let (lines, written) = mpsc::channel();
    let output = logging::Output::Writer(Box::new(Lines(lines)));
    let sink = logging::SinkOptions { output, ..logging::SinkOptions::default() };
    let options = logging::Options { traces: Some(otlp.layer()), ..logging::Options::to(sink) };
    let (subscriber, log) = logging::subscriber(options).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let request =
            info_span!(target: crate::correlation::REQUEST_TARGET, "request", otel.kind = "server", route = "/");
        request.in_scope(|| info_span!("work", item = 7).in_scope(|| tracing::info!("done")));
    });
    assert!(otlp.flush(PATIENCE) && log.flush(PATIENCE));
    let written: String = written.try_iter().collect();
    assert!(written.contains("\"item\":7") && !written.contains("otel") && !written.contains("route"), "{written}");
    assert_eq!(collector.spans().len(), 2);
}

#[test]
fn a_span_is_bounded_in_all_that_is_put_into_it() {
    let long = "ä".repeat(1 << 19);
    let spans = exported(patient(), || {
        let span = info_span!("work", long, otel.name = long);
        span.in_scope(|| {
            for index in 0..1000 {
                tracing::info!(index, long, "{long}");
            }
        });
    });
    let span = &spans[0];
    assert_eq!(span.name.len(), attributes::MAX_VALUE - 1, "a letter of two bytes is not cut");
    assert!(span.name.ends_with("ä…"));
    assert!(span.encoded_len() < MAX_SPAN_BYTES + 2048, "{}", span.encoded_len());
    assert_eq!(span.events.len() + span.dropped_events_count as usize, 1000);
    assert!(span.events.len() <= MAX_EVENTS);
}

#[test]
fn a_span_that_is_said_to_have_ended_does_not_wait_for_what_was_spawned_from_it() {
    let collector = Arc::new(Collector::default());
    let otlp = collector.start(patient());
    traced(&otlp, || {
        let span = info_span!("request", otel.ended = tracing::field::Empty, after = tracing::field::Empty);
        let kept = span.clone();
        span.record("otel.ended", true);
        drop(span);
        assert_eq!(otlp.books().accepted, 1);
        kept.record("after", 1);
    });
    assert!(otlp.flush(PATIENCE));
    assert_eq!(collector.spans().len(), 1);
    assert_eq!(collector.spans()[0].attributes, []);
}
