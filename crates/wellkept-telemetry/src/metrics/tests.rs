//! The page in both formats, and the choice between them.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;
use proptest::prelude::*;

use super::*;

const OPEN_METRICS: &str = "application/openmetrics-text";

fn registry(label: &str) -> Registry {
    let mut registry = Registry::with_prefix("app");
    let family = Family::<Vec<(String, String)>, Counter>::default();
    family.get_or_create(&vec![("path".into(), label.into())]).inc();
    registry.register("requests", "Requests", family);
    let histogram = Histogram::new([0.5, 1.0]);
    histogram.observe(0.7);
    registry.register_with_unit("latency", "Latency", Unit::Seconds, histogram);
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(f64::INFINITY);
    registry.register("room", "Room", gauge);
    registry.register("build", "Build", Info::new([("version", "1.2")]));
    let exemplar = CounterWithExemplar::<Vec<(String, String)>>::default();
    exemplar.inc_by(1, Some(vec![("trace_id".into(), "abc # \" def".into())]), None);
    registry.register("traced", "Traced", exemplar);
    registry
}

#[test]
fn open_metrics_is_passed_on_with_canonical_infinities() {
    let page = Exposition::encode(&registry("/a"), Some(OPEN_METRICS)).unwrap();
    insta::assert_snapshot!(page.body, @r##"
    # HELP app_requests Requests.
    # TYPE app_requests counter
    app_requests_total{path="/a"} 1
    # HELP app_latency_seconds Latency.
    # TYPE app_latency_seconds histogram
    # UNIT app_latency_seconds seconds
    app_latency_seconds_sum 0.7
    app_latency_seconds_count 1
    app_latency_seconds_bucket{le="0.5"} 0
    app_latency_seconds_bucket{le="1.0"} 1
    app_latency_seconds_bucket{le="+Inf"} 1
    # HELP app_room Room.
    # TYPE app_room gauge
    app_room +Inf
    # HELP app_build Build.
    # TYPE app_build info
    app_build_info{version="1.2"} 1
    # HELP app_traced Traced.
    # TYPE app_traced counter
    app_traced_total 1 # {trace_id="abc # \" def"} 1.0
    # EOF
    "##);
}

#[test]
fn prometheus_text_names_families_as_their_samples_and_leaves_out_the_rest() {
    let page = Exposition::encode(&registry("# x \" # y"), None).unwrap();
    insta::assert_snapshot!(page.body, @r##"
    # HELP app_requests_total Requests.
    # TYPE app_requests_total counter
    app_requests_total{path="# x \" # y"} 1
    # HELP app_latency_seconds Latency.
    # TYPE app_latency_seconds histogram
    app_latency_seconds_sum 0.7
    app_latency_seconds_count 1
    app_latency_seconds_bucket{le="0.5"} 0
    app_latency_seconds_bucket{le="1.0"} 1
    app_latency_seconds_bucket{le="+Inf"} 1
    # HELP app_room Room.
    # TYPE app_room gauge
    app_room +Inf
    # HELP app_build_info Build.
    # TYPE app_build_info gauge
    app_build_info{version="1.2"} 1
    # HELP app_traced_total Traced.
    # TYPE app_traced_total counter
    app_traced_total 1
    "##);
}

#[test]
fn the_accept_header_decides_by_weight() {
    use TextFormat::{OpenMetrics, OpenMetricsDraft, Prometheus};
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
        text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, format) in [
        (prometheus_3, OpenMetrics(Some(Escaping::AllowUtf8))),
        (prometheus_2, OpenMetrics(None)),
        ("application/openmetrics-text; version=0.0.1", OpenMetricsDraft),
        ("application/openmetrics-text; version=2.0.0, text/plain; q=0.1", Prometheus),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.2", Prometheus),
        ("text/plain;q=0, application/openmetrics-text;q=0.001", OpenMetrics(None)),
        ("APPLICATION/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics(None)),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Prometheus),
        ("application/json", Prometheus),
        ("application/openmetrics-text;q=2", Prometheus),
        ("application/openmetrics-text;q=0.0001", Prometheus),
        ("", Prometheus),
        (";;,=;q=,", Prometheus),
    ] {
        assert_eq!(TextFormat::negotiate(Some(accept)), format, "{accept}");
    }
    assert_eq!(TextFormat::negotiate(None), Prometheus);
}

#[test]
fn content_types_are_those_that_prometheus_knows() {
    assert_eq!(TextFormat::Prometheus.content_type(), "text/plain; version=0.0.4; charset=utf-8");
    let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(TextFormat::OpenMetrics(None).content_type(), open_metrics);
    assert_eq!(
        TextFormat::OpenMetrics(Some(Escaping::Values)).content_type(),
        format!("{open_metrics}; escaping=values")
    );
}

/// The grammar of text 0.0.4, as strict as a reader may be.
fn check_prometheus_text(page: &str) {
    let mut family = String::new();
    let mut seen = Vec::new();
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        assert!(!line.is_empty());
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind), "{line}");
            assert!(!seen.contains(&name.to_owned()), "{name} twice");
            seen.push(name.to_owned());
            family = name.to_owned();
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let is_of_family =
                name.strip_prefix(&family).is_some_and(|suffix| ["", "_sum", "_count", "_bucket"].contains(&suffix));
            assert!(is_of_family, "{line} below {family}");
            let (labels, value) = match line.rfind('}') {
                Some(end) => (&line[name.len()..=end], &line[end + 1..]),
                None => ("", &line[name.len()..]),
            };
            check_labels(labels);
            value.strip_prefix(' ').unwrap().parse::<f64>().unwrap();
        }
    }
}

fn check_labels(labels: &str) {
    let mut rest = labels.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap_or(labels);
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(
            name.trim_start_matches(',').bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{name}"
        );
        let mut letters = value.char_indices();
        let end = loop {
            match letters.next().unwrap() {
                (_, '\\') => assert!(matches!(letters.next().unwrap().1, '\\' | '"' | 'n')),
                (end, '"') => break end,
                (_, letter) => assert_ne!(letter, '\n'),
            }
        };
        rest = &value[end + 1..];
    }
}

proptest! {
    #[test]
    fn any_label_gives_a_page_that_keeps_the_grammar(label in "[\\x00-\\x7f\"\\\\#ü\u{2028} ]*") {
        let page = Exposition::encode(&registry(&label), None).unwrap();
        check_prometheus_text(&page.body);
    }

    #[test]
    fn any_accept_header_is_survived(accept in "(application/openmetrics-text|text/plain|\\*/\\*|;|,|q=|=|version|0\\.5| |ü|\")*") {
        TextFormat::negotiate(Some(&accept));
    }
}
