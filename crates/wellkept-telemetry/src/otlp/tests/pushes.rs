//! Metrics as they are pushed, read by the official definitions, and what becomes of them with receivers that fail.

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, exemplar, number_data_point};

use super::*;
use crate::metrics::{Declaration, Histogram, Labelled, Limits};

/// Nothing is pushed before somebody asks.
fn unhurried() -> Options {
    Options { interval: Duration::from_secs(3600), ..patient() }
}

impl Collector {
    /// All metrics of one message.
    fn metrics(&self, message: usize) -> Vec<Metric> {
        let body = self.messages.lock().unwrap()[message].clone();
        let resources = ExportMetricsServiceRequest::decode(&*body).unwrap().resource_metrics;
        resources.into_iter().flat_map(|it| it.scope_metrics).flat_map(|it| it.metrics).collect()
    }
}

fn named(metrics: &[Metric], name: &str) -> Metric {
    metrics.iter().find(|metric| metric.name == name).cloned().unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn what_the_page_says_is_what_is_pushed() {
    const BASKETS: Declaration<'_> = Declaration::histogram("basket_seconds", "Baskets.").by(&["country"]);
    let metrics = Metrics::new();
    let orders = metrics.counters("orders", "Orders taken.", ["channel"]).unwrap();
    orders.with(["web"]).add(3);
    metrics.gauge("room_bytes", "Room.").unwrap().set(12.5);
    metrics.info("build", "The build.", &[("version", "1.4.2")]).unwrap();
    let limits = Limits { max_series: 10, bounds: &[0.1, 1.0] };
    let baskets: Labelled<Histogram, 1> = metrics.family(&BASKETS, limits).unwrap();
    let correlation = called("01");
    baskets.with(["at"]).observe(0.05);
    correlation.in_scope(|| baskets.with(["at"]).observe_traced(0.5, crate::metrics::Trace::current()));
    baskets.with(["at"]).observe(5.0);

    let collector = Arc::new(Collector::default());
    let otlp = collector.start(unhurried());
    otlp.push(&metrics).unwrap();
    assert!(metrics.flush_exports(PATIENCE));
    let pushed = collector.metrics(0);

    let Some(Data::Sum(orders)) = named(&pushed, "orders_total").data else { panic!("no sum") };
    assert_eq!((orders.aggregation_temporality, orders.is_monotonic), (2, true));
    let point = &orders.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsInt(3)));
    assert_eq!(point.attributes[0].key, "channel");
    assert!(point.start_time_unix_nano > 0 && point.start_time_unix_nano <= point.time_unix_nano);

    let room = named(&pushed, "room_bytes");
    assert_eq!((&*room.unit, &*room.description), ("By", "Room."));
    let Some(Data::Gauge(room)) = room.data else { panic!("no gauge") };
    assert_eq!(room.data_points[0].value, Some(number_data_point::Value::AsDouble(12.5)));

    let Some(Data::Sum(build)) = named(&pushed, "build_info").data else { panic!("no sum") };
    assert!(!build.is_monotonic);

    let baskets = named(&pushed, "basket_seconds");
    assert_eq!(baskets.unit, "s");
    let Some(Data::Histogram(baskets)) = baskets.data else { panic!("no histogram") };
    assert_eq!(baskets.aggregation_temporality, 2);
    let point = &baskets.data_points[0];
    assert_eq!((&*point.explicit_bounds, &*point.bucket_counts), (&[0.1, 1.0][..], &[1, 1, 1][..]));
    assert_eq!((point.count, point.sum), (3, Some(5.55)));
    let [seen] = point.exemplars.as_slice() else { panic!("{:?}", point.exemplars) };
    assert_eq!(seen.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(seen.value, Some(exemplar::Value::AsDouble(0.5)));
}

#[test]
fn a_push_that_fails_is_followed_by_a_fresh_reading_and_not_by_itself() {
    let collector = Collector::replying([Reply::IsAway, Reply::Answers(answers(400))]);
    let metrics = Metrics::new();
    let orders = metrics.counter("orders", "Orders taken.").unwrap();
    let otlp = collector.start(unhurried());
    otlp.push(&metrics).unwrap();
    for arrives in [false, false, true] {
        orders.inc();
        assert_eq!(metrics.flush_exports(PATIENCE), arrives);
    }
    let Some(Data::Sum(orders)) = named(&collector.metrics(2), "orders_total").data else { panic!("no sum") };
    assert_eq!(orders.data_points[0].value, Some(number_data_point::Value::AsInt(3)));
    let points = otlp.points();
    assert!(
        points.undelivered > 0 && points.refused == points.undelivered && points.exported == points.refused,
        "{points:?}"
    );
    assert_eq!(collector.messages.lock().unwrap().len(), 3);
}

#[test]
fn a_receiver_of_metrics_that_names_a_time_is_left_alone_until_then() {
    let told = Answer { retry_after: Some(Duration::from_secs(200)), ..answers(503) };
    let collector = Collector::replying([Reply::Answers(told)]);
    let otlp = collector.start(Options { interval: Duration::from_secs(100), ..patient() });
    let metrics = Metrics::new();
    otlp.push(&metrics).unwrap();
    assert!(!metrics.flush_exports(PATIENCE) && !metrics.flush_exports(PATIENCE));
    assert_eq!(collector.messages.lock().unwrap().len(), 1);
}

#[test]
fn points_that_the_receiver_leaves_out_are_counted() {
    let partial = ExportMetricsPartialSuccess { rejected_data_points: 2, ..Default::default() };
    let body = ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let collector = Collector::replying([Reply::Answers(Answer { body, ..answers(200) })]);
    let metrics = Metrics::new();
    metrics.counters("orders", "Orders taken.", ["channel"]).unwrap().with(["web"]).inc();
    let otlp = collector.start(unhurried());
    otlp.push(&metrics).unwrap();
    assert!(metrics.flush_exports(PATIENCE));
    assert_eq!(otlp.points().rejected, 2);
    assert!(otlp.points().exported > 0);
}

#[test]
fn many_series_are_several_messages() {
    let metrics = Metrics::new();
    for family in 0..5 {
        let counters = metrics.counters(&format!("family_{family}"), "Many.", ["number"]).unwrap();
        (0..900).for_each(|number: i32| counters.with([&*number.to_string()]).inc());
    }
    let collector = Arc::new(Collector::default());
    let otlp = collector.start(unhurried());
    otlp.push(&metrics).unwrap();
    assert!(metrics.flush_exports(PATIENCE));
    let count = collector.messages.lock().unwrap().len();
    let series = |metric: &Metric| match &metric.data {
        Some(Data::Sum(sum)) if metric.name.starts_with("family") => sum.data_points.len(),
        _ => 0,
    };
    let all: Vec<usize> = (0..count).map(|at| collector.metrics(at).iter().map(series).sum()).collect();
    assert_eq!(all.iter().sum::<usize>(), 4500);
    assert!(all.len() == 3 && all.iter().all(|points| *points <= 2000), "{all:?}");
}

#[test]
fn metrics_are_pushed_by_themselves_and_a_receiver_that_hangs_does_not_keep_a_flush() {
    let (reply, _release) = hanging();
    let collector = Collector::replying([reply]);
    let metrics = Metrics::new();
    metrics.counter("orders", "Orders taken.").unwrap();
    let otlp = collector.start(Options { interval: Duration::from_millis(1), ..patient() });
    otlp.push(&metrics).unwrap();
    collector.wait_for(1);
    let begun = Instant::now();
    assert!(!metrics.flush_exports(Duration::from_millis(50)));
    assert!(begun.elapsed() < otlp.options().timeout / 2, "{:?}", begun.elapsed());
}

#[test]
fn the_books_are_metrics_too_and_keep_nothing_running() {
    let collector = Collector::replying([Reply::Answers(answers(400))]);
    let metrics = Metrics::new();
    let otlp = collector.start(unhurried());
    otlp.push(&metrics).unwrap();
    otlp.0.queue.push(Vec::new());
    assert!(otlp.flush(PATIENCE));
    let page = metrics.page(None, Audience::Everyone).body;
    for line in [
        "wellkept_otlp_spans_accepted_total 1",
        "wellkept_otlp_spans_exported_total 0",
        "wellkept_otlp_spans_dropped_total{reason=\"refused\"} 1",
        "wellkept_otlp_spans_dropped_total{reason=\"queue_full\"} 0",
        "wellkept_otlp_spans_pending 0",
        "wellkept_otlp_points_total{fate=\"exported\"} 0",
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
    }
    let queue = Arc::clone(&otlp.0.queue);
    drop(otlp);
    assert!(queue.is_closed());
}
