//! Metrics: writing the page, counting on a handle, finding a handle by its labels, beside the other registries of Rust.
//! Processor time, so that what else runs on the machine counts little.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use prometheus::{Encoder as _, HistogramOpts, IntCounterVec, Opts, TextEncoder};
use prometheus_client::metrics::counter::Counter as ClientCounter;
use prometheus_client::metrics::family::Family as ClientFamily;
use prometheus_client::metrics::histogram::Histogram as ClientHistogram;
use rustix::time::{ClockId, clock_gettime};
use wellkept::telemetry::metrics::{
    Audience, Counter, Declaration, Histogram, Labelled, Limits, Metrics, SECONDS, TextFormat,
};

use crate::rounds::{Effort, median};

const TIMES: u32 = 1_000_000;
/// Of a page, how many series are in one family.
const IN_A_FAMILY: usize = 100;

/// Does something so many times.
type Subject = Box<dyn Fn(u32) + Send + Sync>;
type Named = (&'static str, &'static str, Subject);
type ClientLabels = [(&'static str, String); 2];

pub(crate) fn run(effort: Effort) {
    for series in [1_000, 10_000] {
        println!("| a page of {series} series, µs | median | to `prometheus-client` | target |");
        println!("|---|---|---|---|");
        let pages = u32::try_from(20_000 / series).unwrap_or(1);
        let rows = measured(effort, &pages_of(series), pages, 1);
        let base = rows.iter().find(|row| row.what.contains("prometheus-client")).map_or(f64::NAN, |row| row.median);
        for row in rows {
            println!("| {} | {:.1} | {:.2} | {} |", row.what, row.median / 1000.0, row.median / base, row.target);
        }
        println!();
    }
    println!("| ns | one thread | two threads at once | target |");
    println!("|---|---|---|---|");
    for subjects in [counting(), observing(), finding()] {
        let (one, two) = (measured(effort, &subjects, TIMES, 1), measured(effort, &subjects, TIMES, 2));
        for (one, two) in one.into_iter().zip(two) {
            println!("| {} | {:.1} | {:.1} | {} |", one.what, one.median, two.median, one.target);
        }
    }
}

struct Row {
    what: &'static str,
    target: &'static str,
    median: f64,
}

/// Nanoseconds for one time each, all subjects in turn in each round.
fn measured(effort: Effort, subjects: &[Named], times: u32, threads: usize) -> Vec<Row> {
    let mut figures: Vec<Vec<f64>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..effort.rounds {
        for ((_, _, subject), figures) in subjects.iter().zip(&mut figures) {
            figures.push(nanoseconds(subject, times, threads));
        }
    }
    let rows = subjects.iter().zip(&mut figures);
    rows.map(|((what, target, _), figures)| Row { what, target, median: median(figures) }).collect()
}

fn labels(number: usize) -> [String; 2] {
    [format!("/orders/{number}"), "GET".to_owned()]
}

/// The same series in every registry: counters with two labels, a hundred in a family.
fn pages_of(series: usize) -> Vec<Named> {
    let families = series / IN_A_FAMILY;
    let name = |family: usize| format!("requests_of_part_{family}");
    let (own, mut client) = (Metrics::new(), prometheus_client::registry::Registry::default());
    let (tikv, recorder) = (prometheus::Registry::new(), PrometheusBuilder::new().build_recorder());
    for family in 0..families {
        let of_own = own.counters(&name(family), "Requests.", ["path", "method"]).expect("the name is new");
        let of_client = ClientFamily::<ClientLabels, ClientCounter>::default();
        client.register(name(family), "Requests", of_client.clone());
        let of_tikv = tikv_counters(&name(family));
        tikv.register(Box::new(of_tikv.clone())).expect("the name is new");
        for number in 0..IN_A_FAMILY {
            let count = (family * IN_A_FAMILY + number) as u64 * 7919;
            let [path, method] = labels(number);
            of_own.with([&path, &method]).add(count);
            of_tikv.with_label_values(&[&path, &method]).inc_by(count);
            metrics::with_local_recorder(&recorder, || {
                metrics::counter!(name(family), "path" => path.clone(), "method" => method.clone()).increment(count);
            });
            of_client.get_or_create(&[("path", path), ("method", method)]).inc_by(count);
        }
    }
    let (open, handle) = (own.clone(), recorder.handle());
    vec![
        (
            "wellkept, Prometheus text",
            "≤ the fastest peer",
            repeated(move || drop(black_box(own.text(TextFormat::Prometheus, Audience::Everyone)))),
        ),
        (
            "wellkept, OpenMetrics",
            "≤ the fastest peer",
            repeated(move || drop(black_box(open.text(TextFormat::OpenMetrics(None), Audience::Everyone)))),
        ),
        (
            "`prometheus-client` 0.25, OpenMetrics",
            "",
            repeated(move || {
                let mut page = String::new();
                prometheus_client::encoding::text::encode(&mut page, &client).expect("it can be encoded");
                drop(black_box(page));
            }),
        ),
        (
            "`prometheus` 0.14, Prometheus text",
            "",
            repeated(move || {
                let mut page = Vec::new();
                TextEncoder::new().encode(&tikv.gather(), &mut page).expect("it can be encoded");
                drop(black_box(page));
            }),
        ),
        ("`metrics-exporter-prometheus` 0.18, Prometheus text", "", repeated(move || drop(black_box(handle.render())))),
    ]
}

fn tikv_counters(name: &str) -> IntCounterVec {
    let opts = Opts::new(format!("{name}_total"), "Requests.");
    IntCounterVec::new(opts, &["path", "method"]).expect("the name is one")
}

/// One more on a handle that is held.
fn counting() -> Vec<Named> {
    let bare = Arc::new(AtomicU64::new(0));
    let own: Counter = Metrics::new().counter("requests", "Requests.").expect("the name is one");
    let client = ClientCounter::<u64>::default();
    let tikv = prometheus::IntCounter::new("requests", "Requests.").expect("the name is one");
    let recorder = PrometheusBuilder::new().build_recorder();
    let other = metrics::with_local_recorder(&recorder, || metrics::counter!("requests"));
    vec![
        (
            "count: a bare `AtomicU64`",
            "",
            repeated(move || {
                bare.fetch_add(1, Ordering::Relaxed);
            }),
        ),
        ("count: wellkept", "≤ 2 × bare", repeated(move || own.inc())),
        (
            "count: `prometheus-client`",
            "",
            repeated(move || {
                client.inc();
            }),
        ),
        ("count: `prometheus`", "", repeated(move || tikv.inc())),
        ("count: `metrics`", "", kept(recorder, move || other.increment(1))),
    ]
}

/// One more value in a histogram with fourteen bounds.
fn observing() -> Vec<Named> {
    let own: Histogram = Metrics::new().histogram("latency_seconds", "Latency.").expect("the name is one");
    let client = ClientHistogram::new(SECONDS);
    let tikv = HistogramOpts::new("latency_seconds", "Latency.").buckets(SECONDS.to_vec());
    let tikv = prometheus::Histogram::with_opts(tikv).expect("the name is one");
    vec![
        ("observe: wellkept", "", repeated(move || own.observe(black_box(0.023)))),
        ("observe: `prometheus-client`", "", repeated(move || client.observe(black_box(0.023)))),
        ("observe: `prometheus`", "", repeated(move || tikv.observe(black_box(0.023)))),
    ]
}

/// One more on a series that is found by its two label values, among a thousand.
fn finding() -> Vec<Named> {
    const SERIES: usize = 1_000;
    let declaration = Declaration::counter("requests", "Requests.").by(&["path", "method"]);
    let limits = Limits { max_series: SERIES, ..Limits::default() };
    let own: Labelled<Counter, 2> = Metrics::new().family(&declaration, limits).expect("the name is one");
    let client = ClientFamily::<ClientLabels, ClientCounter>::default();
    let (tikv, recorder) = (tikv_counters("requests"), PrometheusBuilder::new().build_recorder());
    for [path, method] in (0..SERIES).map(labels) {
        own.with([&path, &method]).inc();
        tikv.with_label_values(&[&path, &method]).inc();
        client.get_or_create(&[("path", path), ("method", method)]).inc();
    }
    let [path, method] = labels(700);
    let [of_own, of_tikv, of_other] = std::array::from_fn(|_| [path.clone(), method.clone()]);
    let key = [("path", path.clone()), ("method", method.clone())];
    vec![
        ("find and count: wellkept", "", repeated(move || own.with(of_own.each_ref().map(String::as_str)).inc())),
        ("find and count: `prometheus-client`, the key there already", "", {
            let client = client.clone();
            repeated(move || {
                client.get_or_create(&key).inc();
            })
        }),
        (
            "find and count: `prometheus-client`, the key made anew",
            "",
            repeated(move || {
                client.get_or_create(&[("path", path.clone()), ("method", method.clone())]).inc();
            }),
        ),
        (
            "find and count: `prometheus`",
            "",
            repeated(move || tikv.with_label_values(&[of_tikv[0].as_str(), of_tikv[1].as_str()]).inc()),
        ),
        (
            "find and count: `metrics`",
            "",
            Box::new(move |times| {
                metrics::with_local_recorder(&recorder, || {
                    for _ in 0..times {
                        let [path, method] = of_other.clone();
                        metrics::counter!("requests", "path" => path, "method" => method).increment(1);
                    }
                });
            }),
        ),
    ]
}

/// The loop is compiled for each subject, so that no call through a pointer is measured.
fn repeated(subject: impl Fn() + Send + Sync + 'static) -> Subject {
    Box::new(move |times| {
        for _ in 0..times {
            subject();
        }
    })
}

/// As [`repeated`], with a recorder that its handles belong to.
fn kept(recorder: PrometheusRecorder, subject: impl Fn() + Send + Sync + 'static) -> Subject {
    let subject = repeated(subject);
    Box::new(move |times| {
        black_box(&recorder);
        subject(times);
    })
}

fn nanoseconds(subject: &Subject, times: u32, threads: usize) -> f64 {
    let together = Barrier::new(threads);
    let each: Vec<f64> = thread::scope(|scope| {
        let measure = || {
            // Warms it up.
            subject(times.div_ceil(100));
            together.wait();
            let began = processor_time();
            subject(times);
            processor_time().saturating_sub(began).as_secs_f64() * 1e9 / f64::from(times)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(measure)).collect();
        running.into_iter().map(|one| one.join().expect("it does not panic")).collect()
    });
    each.iter().sum::<f64>() / threads as f64
}

/// What this thread has taken so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().expect("a thread takes no negative time")
}
