//! The registry and its page: what is refused, what is counted, and what both formats say of it.

use std::sync::mpsc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter as ForeignCounter;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::metrics::family::Family as ForeignFamily;
use prometheus_client::metrics::gauge::Gauge as ForeignGauge;
use prometheus_client::metrics::histogram::Histogram as ForeignHistogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use wellkept_testkit::prometheus;

use super::*;
use crate::correlation::{Correlation, Incoming, Trust};

const OPEN_METRICS: &str = "application/openmetrics-text";

/// The page without what the registry says of itself.
fn page(metrics: &Metrics, accept: Option<&str>) -> String {
    let body = metrics.page(accept, Audience::Operators).body;
    let own = |line: &&str| !line.contains("wellkept_metrics_");
    body.split_inclusive('\n').filter(own).collect()
}

/// One of each.
fn orders() -> Metrics {
    let metrics = Metrics::new();
    let requests = metrics.counters("requests", "Requests.", ["path", "method"]).unwrap();
    requests.with(["/a", "GET"]).add(3);
    requests.with(["/b\\\"\n", "GET"]).inc();
    metrics.float_counter("worked_seconds", "Time.").unwrap().add(0.25);
    metrics.gauge("room", "Room,\nhere and \"there\".").unwrap().set(f64::INFINITY);
    let limits = Limits { bounds: &[0.5, 1.0, 2_000_000.0], ..Limits::default() };
    let declaration = Declaration::histogram("latency_seconds", "Latency.").by(&["path"]);
    let latency: Labelled<Histogram, 1> = metrics.family(&declaration, limits).unwrap();
    latency.with(["/a"]).observe(0.7);
    latency.with(["/a"]).observe(9.0);
    metrics.info("build", "Build.", &[("version", "1.2")]).unwrap();
    metrics
}

#[test]
fn open_metrics_has_type_unit_and_help_before_the_samples_and_an_end() {
    insta::assert_snapshot!(page(&orders(), Some(OPEN_METRICS)), @r##"
    # TYPE requests counter
    # HELP requests Requests.
    requests_total{path="/a",method="GET"} 3
    requests_total{path="/b\\\"\n",method="GET"} 1
    # TYPE worked_seconds counter
    # UNIT worked_seconds seconds
    # HELP worked_seconds Time.
    worked_seconds_total 0.25
    # TYPE room gauge
    # HELP room Room,\nhere and \"there\".
    room +Inf
    # TYPE latency_seconds histogram
    # UNIT latency_seconds seconds
    # HELP latency_seconds Latency.
    latency_seconds_bucket{path="/a",le="0.5"} 0
    latency_seconds_bucket{path="/a",le="1.0"} 1
    latency_seconds_bucket{path="/a",le="2e+06"} 2
    latency_seconds_bucket{path="/a",le="+Inf"} 2
    latency_seconds_count{path="/a"} 2
    latency_seconds_sum{path="/a"} 9.7
    # TYPE build info
    # HELP build Build.
    build_info{version="1.2"} 1
    # EOF
    "##);
}

#[test]
fn prometheus_text_names_families_as_their_samples_and_leaves_out_the_rest() {
    insta::assert_snapshot!(page(&orders(), None), @r##"
    # HELP requests_total Requests.
    # TYPE requests_total counter
    requests_total{path="/a",method="GET"} 3
    requests_total{path="/b\\\"\n",method="GET"} 1
    # HELP worked_seconds_total Time.
    # TYPE worked_seconds_total counter
    worked_seconds_total 0.25
    # HELP room Room,\nhere and "there".
    # TYPE room gauge
    room +Inf
    # HELP latency_seconds Latency.
    # TYPE latency_seconds histogram
    latency_seconds_bucket{path="/a",le="0.5"} 0
    latency_seconds_bucket{path="/a",le="1.0"} 1
    latency_seconds_bucket{path="/a",le="2e+06"} 2
    latency_seconds_bucket{path="/a",le="+Inf"} 2
    latency_seconds_count{path="/a"} 2
    latency_seconds_sum{path="/a"} 9.7
    # HELP build_info Build.
    # TYPE build_info gauge
    build_info{version="1.2"} 1
    "##);
}

#[test]
fn a_foreign_registry_is_shown_in_both_formats() {
    let mut registry = Registry::with_prefix("app");
    let family = ForeignFamily::<Vec<(String, String)>, ForeignCounter>::default();
    family.get_or_create(&vec![("path".into(), "# x \" # y".into())]).inc();
    registry.register("requests", "Requests", family);
    let histogram = ForeignHistogram::new([0.5, 1.0]);
    histogram.observe(0.7);
    registry.register_with_unit("latency", "Latency", Unit::Seconds, histogram);
    let gauge = ForeignGauge::<f64, std::sync::atomic::AtomicU64>::default();
    gauge.set(f64::INFINITY);
    registry.register("room", "Room", gauge);
    registry.register("build", "Build", Info::new([("version", "1.2")]));
    let traced = CounterWithExemplar::<Vec<(String, String)>>::default();
    traced.inc_by(1, Some(vec![("trace_id".into(), "abc # def".into())]), Some(std::time::UNIX_EPOCH));
    registry.register("traced", "Traced", traced);
    let badly = CounterWithExemplar::<Vec<(String, String)>>::default();
    badly.inc_by(1, Some(vec![("trace_id".into(), "x".repeat(200))]), None);
    registry.register("badly_traced", "Badly traced", badly);
    let metrics = Metrics::new();
    metrics.mount("orders", registry, Audience::Everyone).unwrap();
    insta::assert_snapshot!(page(&metrics, Some(OPEN_METRICS)), @r##"
    # TYPE app_requests counter
    # HELP app_requests Requests.
    app_requests_total{path="# x \" # y"} 1
    # TYPE app_latency_seconds histogram
    # UNIT app_latency_seconds seconds
    # HELP app_latency_seconds Latency.
    app_latency_seconds_bucket{le="0.5"} 0
    app_latency_seconds_bucket{le="1.0"} 1
    app_latency_seconds_bucket{le="+Inf"} 1
    app_latency_seconds_count 1
    app_latency_seconds_sum 0.7
    # TYPE app_room gauge
    # HELP app_room Room.
    app_room +Inf
    # TYPE app_build info
    # HELP app_build Build.
    app_build_info{version="1.2"} 1
    # TYPE app_traced counter
    # HELP app_traced Traced.
    app_traced_total 1 # {trace_id="abc # def"} 1.0 0.0
    # TYPE app_badly_traced counter
    # HELP app_badly_traced Badly traced.
    app_badly_traced_total 1
    # EOF
    "##);
    let plain = page(&metrics, None);
    let all = metrics.text(TextFormat::Prometheus, Audience::Everyone);
    assert!(all.contains("exemplars_dropped_total 3\n"), "at three looks: {all}");
    assert!(plain.contains("# TYPE app_build_info gauge\n") && plain.contains("app_traced_total 1\n"), "{plain}");
}

#[test]
fn what_can_not_be_a_metric_is_refused_when_it_is_declared() {
    let metrics = Metrics::new();
    let long = "x".repeat(201);
    for name in ["", "1st", "_x", "a-b", "a b", "a:b", "ü", "a\n", "_total", &long] {
        assert_eq!(metrics.counter(name, "").unwrap_err().code(), "metrics.name", "{name}");
    }
    for name in ["x_total", "x_count", "x_bucket", "x_created", "x_info"] {
        assert_eq!(metrics.gauge(name, "").unwrap_err().code(), "metrics.suffix", "{name}");
    }
    for label in ["", "__name__", "1", "a-b", "ü"] {
        assert_eq!(metrics.counters("x", "", [label]).unwrap_err().code(), "metrics.label", "{label}");
    }
    assert_eq!(metrics.counters("x", "", ["a", "a"]).unwrap_err().code(), "metrics.label");
    assert_eq!(metrics.histograms("x", "", ["le"]).unwrap_err().code(), "metrics.label");
    let help = "x".repeat(2001);
    assert_eq!(metrics.gauge("x", &help).unwrap_err().code(), "metrics.help");
    for unit in ["euros", "", "s", "_value"] {
        let declaration = Declaration::gauge("value_seconds", "").unit(unit);
        let code = metrics.family::<Gauge, 0>(&declaration, Limits::default()).unwrap_err().code();
        assert_eq!(code, "metrics.unit", "{unit}");
    }
    for bounds in [&[1.0, 1.0][..], &[2.0, 1.0], &[-1.0], &[f64::NAN], &[f64::INFINITY, 1.0]] {
        let limits = Limits { bounds, ..Limits::default() };
        let code = metrics.family::<Histogram, 0>(&Declaration::histogram("x", ""), limits).unwrap_err().code();
        assert_eq!(code, "metrics.bounds", "{bounds:?}");
    }
    let other = metrics.family::<Gauge, 1>(&Declaration::gauge("x", ""), Limits::default());
    assert_eq!(other.unwrap_err().code(), "metrics.labels");
    assert_eq!(page(&metrics, Some(OPEN_METRICS)), "# EOF\n");
}

#[test]
fn the_same_declaration_gives_the_same_metric_and_another_is_refused() {
    let metrics = Metrics::new();
    metrics.counter("orders_total", "Orders.").unwrap().inc();
    assert_eq!(metrics.counter("orders", "Orders.").unwrap().value(), 1);
    assert_eq!(metrics.counter("orders", "Other.").unwrap_err().code(), "metrics.declared_otherwise");
    assert_eq!(metrics.float_counter("orders", "Orders.").unwrap_err().code(), "metrics.declared_otherwise");
    assert_eq!(metrics.counters("orders", "Orders.", ["a"]).unwrap_err().code(), "metrics.declared_otherwise");
    // With its type the name of a family's samples changes, and with that of others' too: one name is one metric.
    assert_eq!(metrics.gauge("orders", "Orders.").unwrap_err().code(), "metrics.declared_otherwise");
    // The counter `orders` might have a sample of that name.
    assert_eq!(metrics.counter("orders_created", "").unwrap_err().code(), "metrics.collision");
    assert_eq!(metrics.counter("wellkept_metrics_overflow", "").unwrap_err().code(), "metrics.collision");
}

#[test]
fn a_flood_of_label_values_ends_in_one_series_and_is_counted() {
    let metrics = Metrics::new();
    let limits = Limits { max_series: 3, ..Limits::default() };
    let users: Labelled<Counter, 2> =
        metrics.family(&Declaration::counter("logins", "Logins.").by(&["user", "from"]), limits).unwrap();
    for user in 0..100 {
        users.with([&user.to_string(), "web"]).inc();
    }
    // One that is there counts on; and who is called like the overflow is in it.
    users.with(["1", "web"]).inc();
    users.with([OVERFLOW, OVERFLOW]).inc();
    insta::assert_snapshot!(page(&metrics, None), @r##"
    # HELP logins_total Logins.
    # TYPE logins_total counter
    logins_total{user="0",from="web"} 1
    logins_total{user="1",from="web"} 2
    logins_total{user="2",from="web"} 1
    logins_total{user="_overflow",from="_overflow"} 98
    "##);
    let all = metrics.text(TextFormat::Prometheus, Audience::Everyone);
    assert!(all.contains("wellkept_metrics_overflow_total{metric=\"logins\"} 97\n"), "{all}");
    assert!(users.remove(["0", "web"]) && !users.remove(["0", "web"]));
    users.with(["new", "web"]).inc();
    let now = page(&metrics, None);
    assert!(!now.contains("user=\"0\"") && now.contains("user=\"new\"") && now.contains("user=\"2\""), "{now}");
    assert_eq!(users.len(), 3);
}

#[test]
fn a_long_label_value_is_cut_where_a_letter_ends() {
    let metrics = Metrics::new();
    let family = metrics.counters("x", "", ["a"]).unwrap();
    family.with([&"ü".repeat(10_000)]).inc();
    family.with([&"ü".repeat(20_000)]).inc();
    assert!(page(&metrics, None).contains(&format!("{{a=\"{}\"}} 2\n", "ü".repeat(128))));
}

proptest! {
    #[test]
    fn series_that_come_and_go_are_each_counted_alone(orders in proptest::collection::vec((0_u8..12, any::<bool>()), 0..60)) {
        let metrics = Metrics::new();
        let family = metrics.counters("x", "", ["a"]).unwrap();
        let mut model = std::collections::BTreeMap::new();
        for (value, stays) in orders {
            let value = value.to_string();
            if stays {
                family.with([&value]).inc();
                *model.entry(value).or_insert(0.0) += 1.0;
            } else {
                prop_assert_eq!(family.remove([&value]), model.remove(&value).is_some());
            }
        }
        let reading = metrics.read(Audience::Everyone);
        let samples = &reading.family("x").unwrap().samples;
        let shown = samples.iter().map(|one| (one.labels.iter().next().unwrap().1.into_owned(), one.value.number().unwrap()));
        prop_assert_eq!(shown.collect::<std::collections::BTreeMap<_, _>>(), model);
    }
}

#[test]
fn what_no_counter_may_take_is_counted_apart() {
    let metrics = Metrics::new();
    let (counter, histogram) = (metrics.float_counter("x", "").unwrap(), metrics.histogram("y", "").unwrap());
    for value in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        counter.add(value);
        histogram.observe(value);
    }
    counter.add(0.5);
    histogram.observe(0.5);
    assert_eq!((counter.value(), histogram.value().sum, histogram.value().count()), (0.5, 0.5, 1));
    let all = metrics.text(TextFormat::Prometheus, Audience::Everyone);
    assert!(all.contains("wellkept_metrics_values_refused_total 8\n"), "{all}");
}

#[test]
fn an_exemplar_bears_the_trace_of_the_work_and_one_that_is_too_long_is_dropped_and_counted() {
    let metrics = Metrics::new();
    let (counter, histogram) = (metrics.counter("x", "").unwrap(), metrics.histogram("y", "").unwrap());
    assert_eq!(Trace::current(), None, "outside of any work there is none");
    let incoming = Incoming {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ..Incoming::default()
    };
    Correlation::accept(incoming, Trust::Callers).in_scope(|| {
        counter.add_traced(2, Trace::current());
        histogram.observe_traced(0.3, Trace::current());
    });
    let name = "n".repeat(64);
    histogram.observe_traced(0.7, Some(Trace::Labels(&[(&name, &"v".repeat(64))])));
    histogram.observe_traced(3.0, Some(Trace::Labels(&[(&name, &"v".repeat(65))])));
    histogram.observe_traced(20.0, Some(Trace::Labels(&[("a-b", "")])));
    histogram.observe_traced(20.0, Some(Trace::Labels(&[("t", "\"")])));
    let open = page(&metrics, Some(OPEN_METRICS));
    let trace = "# {trace_id=\"0af7651916cd43dd8448eb211c80319c\"}";
    assert!(open.contains(&format!("x_total 2 {trace} 2.0 ")), "{open}");
    assert!(open.contains(&format!("y_bucket{{le=\"0.5\"}} 1 {trace} 0.3 ")), "{open}");
    assert!(open.contains(&format!("y_bucket{{le=\"1.0\"}} 2 # {{{name}=")), "128 characters are taken: {open}");
    assert!(open.contains("y_bucket{le=\"5.0\"} 3\n") && open.contains("y_bucket{le=\"+Inf\"} 5\n"), "{open}");
    assert!(!page(&metrics, None).contains(" # "), "the older text has none");
    let all = metrics.text(TextFormat::Prometheus, Audience::Everyone);
    assert!(all.contains("wellkept_metrics_exemplars_dropped_total 3\n"), "{all}");
}

/// A collector from a function.
struct Does<F>(F);

impl<F: Fn(&mut Readings) + Send + Sync + 'static> Collector for Does<F> {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        Vec::new()
    }

    fn collect(&self, readings: &mut Readings) {
        (self.0)(readings);
    }
}

fn add(metrics: &Metrics, name: &str, collect: impl Fn(&mut Readings) + Send + Sync + 'static) {
    metrics.collector(name, Does(collect), Audience::Everyone).unwrap();
}

#[test]
fn a_collector_that_panics_hangs_or_says_nonsense_is_left_out_and_the_page_says_so() {
    let metrics = Metrics::new();
    let (go, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    metrics.gauge("own", "").unwrap();
    add(&metrics, "panics", |readings| {
        readings.value(&Declaration::gauge("lost", ""), 1.0);
        // Without a backtrace, which a busy machine writes for longer than a collector may take.
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    add(&metrics, "hangs", move |_| held.lock().unwrap().recv().unwrap_or_default());
    add(&metrics, "twice", |readings| {
        readings.value(&Declaration::gauge("lost_too", ""), 1.0);
        readings.family(&Declaration::gauge("double", "").by(&["a"])).sample(["x"], 1.0).sample(["x"], 2.0);
    });
    add(&metrics, "negative", |readings| readings.value(&Declaration::counter("negative", ""), -1.0));
    add(&metrics, "misnamed", |readings| readings.value(&Declaration::gauge("a b", ""), 1.0));
    add(&metrics, "taken", |readings| {
        readings.value(&Declaration::gauge("lost_as_well", ""), 1.0);
        readings.value(&Declaration::gauge("own", ""), 1.0);
    });
    add(&metrics, "few", |readings| {
        readings.family(&Declaration::gauge("few", "").by(&["a"])).sample([], 1.0);
    });
    metrics.gauge_from("fine", "", || 7.0).unwrap();
    let first = metrics.text(TextFormat::OpenMetrics(None), Audience::Everyone);
    assert!(!first.contains("lost") && !first.contains("double"), "{first}");
    assert!(first.contains("\nfine 7.0\n") && first.contains("\nown 0.0\n") && first.ends_with("# EOF\n"), "{first}");
    let of = |collector: &str, reason: &str| {
        format!("wellkept_metrics_collector_failures_total{{collector=\"{collector}\",reason=\"{reason}\"}}")
    };
    let reasons = [
        ("panics", "panic"),
        ("hangs", "timeout"),
        ("twice", "invalid"),
        ("negative", "invalid"),
        ("misnamed", "invalid"),
        ("taken", "collision"),
        ("few", "invalid"),
    ];
    for (collector, reason) in reasons {
        assert!(first.contains(&format!("{} 1\n", of(collector, reason))), "{collector}: {first}");
    }
    // It still hangs: nobody waits for it again, and no thread is added.
    let second = metrics.text(TextFormat::OpenMetrics(None), Audience::Everyone);
    assert!(second.contains(&format!("{} 1\n", of("hangs", "busy"))), "{second}");
    drop(go);
}

#[test]
fn who_reads_at_the_same_time_in_another_way_gets_all_families_too() {
    let metrics = Metrics::new();
    add(&metrics, "slow", |readings| {
        std::thread::yield_now();
        readings.value(&Declaration::gauge("slow", ""), 1.0);
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert!(metrics.read(Audience::Operators).family("slow").is_some());
                }
            });
        }
    });
    let page = page(&metrics, None);
    assert!(!page.contains("collector=\"slow\""), "{page}");
}

#[test]
fn a_foreign_registry_that_writes_nonsense_is_left_out() {
    let mut registry = Registry::default();
    registry.register("fine", "Fine", ForeignGauge::<i64>::default());
    registry.register("torn", "Torn\nby a line", ForeignGauge::<i64>::default());
    let metrics = Metrics::new();
    metrics.mount("orders", registry, Audience::Everyone).unwrap();
    let all = metrics.text(TextFormat::Prometheus, Audience::Everyone);
    assert!(!all.contains("fine") && all.contains("{collector=\"orders\",reason=\"invalid\"} 1\n"), "{all}");
}

#[test]
fn what_names_components_is_for_operators_only() {
    let metrics = Metrics::new();
    metrics
        .collector(
            "names",
            Does(|it: &mut Readings| it.value(&Declaration::gauge("named", ""), 1.0)),
            Audience::Operators,
        )
        .unwrap();
    assert!(!metrics.text(TextFormat::Prometheus, Audience::Everyone).contains("named"));
    assert!(metrics.text(TextFormat::Prometheus, Audience::Operators).contains("named 1.0\n"));
    assert_eq!(metrics.gauge_from("names", "", || 1.0).unwrap_err().code(), "metrics.name_taken");
}

#[test]
fn handles_count_what_they_are_told_from_several_threads() {
    let metrics = Metrics::new();
    let (counter, gauge) = (metrics.counters("x", "", ["a"]).unwrap(), metrics.gauge("y", "").unwrap());
    let histogram = metrics.histogram("z_seconds", "").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..1_000 {
                    counter.with([if turn % 2 == 0 { "even" } else { "odd" }]).inc();
                    let _held = gauge.hold();
                    histogram.observe_duration(Duration::from_millis(250));
                }
            });
        }
    });
    assert_eq!((counter.with(["even"]).value(), counter.with(["odd"]).value()), (2_000, 2_000));
    assert_eq!((gauge.value(), histogram.value().sum), (0.0, 1_000.0));
    assert_eq!(histogram.value().counts.iter().copied().filter(|count| *count > 0).collect::<Vec<_>>(), [4_000]);
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

/// A registry that is as odd as it can be.
fn odd(labels: &[String], help: &str, values: &[f64]) -> Metrics {
    let metrics = Metrics::new();
    let counters = metrics.counters("odd_counters", help, ["a", "b"]).unwrap();
    let gauges = metrics.gauges("odd_gauges_bytes", help, ["a"]).unwrap();
    let histograms = metrics.histograms("odd_histograms_seconds", help, ["le_a"]).unwrap();
    for (label, value) in labels.iter().zip(values.iter().cycle()) {
        counters.with([label, "x"]).add_traced(1, Some(Trace::Labels(&[("t", label)])));
        gauges.with([label]).set(*value);
        histograms.with([label]).observe_traced(value.abs(), Some(Trace::Labels(&[("t", label)])));
    }
    metrics.info("odd_info_of", help, &[("l", labels.first().map_or("", |label| label))]).unwrap();
    metrics
}

proptest! {
    #[test]
    fn any_labels_help_and_values_give_a_page_that_keeps_the_grammar(
        labels in proptest::collection::vec("[\\x00-\\x7f\"\\\\#ü\u{2028} ]*", 1..5),
        help in "[\\x00-\\x7f\"\\\\#ü]*",
        values in proptest::collection::vec(any::<f64>(), 1..5),
    ) {
        let metrics = odd(&labels, &help, &values);
        check_prometheus_text(&metrics.text(TextFormat::Prometheus, Audience::Everyone));
    }

    #[test]
    fn any_accept_header_is_survived(accept in "(application/openmetrics-text|text/plain|\\*/\\*|;|,|q=|=|version|0\\.5| |ü|\")*") {
        TextFormat::negotiate(Some(&accept));
    }
}

/// Pages of registries as odd as proptest makes them.
fn odd_pages(format: TextFormat) -> Vec<String> {
    let labels = proptest::collection::vec("(\\PC|[\\x00-\\x1f\"\\\\#={},\u{2028}])*", 1..5);
    let help = "[a-z](\\PC|[\\x00-\\x1f\"\\\\#={},])*";
    let values = proptest::collection::vec(any::<f64>(), 1..5);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (labels, help, values);
    let page = |_| {
        let (labels, help, values) = strategy.new_tree(&mut runner).unwrap().current();
        odd(&labels, &help, &values).text(format, Audience::Everyone)
    };
    (0..200).map(page).collect()
}

#[test]
fn the_reference_parsers_and_promtool_take_whatever_labels_help_and_values_there_are() {
    let plain = odd_pages(TextFormat::Prometheus);
    assert_eq!(prometheus::python_parser(&plain, false), "");
    assert_eq!(prometheus::python_parser(&odd_pages(TextFormat::OpenMetrics(None)), true), "");
    for page in plain.iter().take(20) {
        assert_eq!(prometheus::promtool(page), "", "{page}");
    }
}
