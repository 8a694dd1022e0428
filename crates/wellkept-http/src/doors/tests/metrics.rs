//! The page of metrics and its JSON, as the doors give them: to whom, in which format, and how often they are written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};
use wellkept_telemetry::metrics::{Audience, Collector, Declaration, Readings, Trace};

use super::*;

async fn with(metrics: &Metrics) -> Doors {
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    Doors::new(checker().await, shutdown, Access::loopback_only(), Names::Hidden, metrics.clone())
}

fn family<'j>(all: &'j Value, name: &str) -> &'j Value {
    let found = all["families"].as_array().unwrap().iter().find(|family| family["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing"))
}

#[tokio::test(start_paused = true)]
async fn all_metrics_are_json_for_operators_and_for_nobody_else() {
    let metrics = Metrics::new();
    metrics.counters("orders", "Orders, by channel.", ["channel"]).unwrap().with(["we\"b"]).add(3);
    metrics.gauge("room_bytes", "Room.").unwrap().set(f64::NAN);
    metrics.info("build", "Build.", &[("version", "1.2")]).unwrap();
    let latency = metrics.histogram("latency_seconds", "Latency.").unwrap();
    latency.observe_traced(0.3, Some(Trace::Labels(&[("trace_id", "abc")])));
    latency.observe(99.0);
    let doors = with(&metrics).await;
    let (status, text) = get(doors.admin(), LOOPBACK, "/api/v1/metrics").await;
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, all["timestamp"].as_str().unwrap().len()), (200, "2026-01-01T00:00:00.000Z".len()));
    let orders = json!({
        "name": "orders_total", "type": "counter", "unit": null, "help": "Orders, by channel.",
        "samples": [{ "labels": { "channel": "we\"b" }, "value": 3 }],
    });
    assert_eq!(family(&all, "orders_total"), &orders);
    let room = json!({
        "name": "room_bytes", "type": "gauge", "unit": "bytes", "help": "Room.",
        "samples": [{ "labels": {}, "value": "NaN" }],
    });
    assert_eq!(family(&all, "room_bytes"), &room);
    assert_eq!(family(&all, "build_info")["samples"], json!([{ "labels": { "version": "1.2" }, "value": 1 }]));
    let latency = &family(&all, "latency_seconds")["samples"][0];
    assert_eq!((&latency["count"], &latency["sum"]), (&json!(2), &json!(99.3)));
    assert_eq!(latency["buckets"][8], json!({ "le": 0.25, "count": 0 }));
    let bucket = &latency["buckets"][9];
    assert_eq!((&bucket["le"], &bucket["count"]), (&json!(0.5), &json!(1)));
    assert_eq!(bucket["exemplar"]["labels"], json!({ "trace_id": "abc" }));
    assert_eq!(latency["buckets"][14], json!({ "le": "+Inf", "count": 2 }));
    assert!(text.contains("orders-db"), "operators see names");
    assert_eq!(get(doors.admin(), OPEN, "/api/v1/metrics").await.0, 401);
    assert_eq!(get(doors.public(), LOOPBACK, "/api/v1/metrics").await.0, 404);
    let (_, page) = get(doors.public(), OPEN, "/metrics").await;
    assert!(page.contains("orders_total") && !page.contains("orders-db"), "{page}");
}

/// A collector that waits to be let go, and counts how often it was asked.
#[derive(Debug)]
struct Held {
    asked: Arc<AtomicU64>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Collector for Held {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        Vec::new()
    }

    fn collect(&self, readings: &mut Readings) {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        self.go.lock().unwrap().recv().unwrap();
        readings.value(&Declaration::gauge("asked", "How often."), asked as f64);
    }
}

#[tokio::test]
async fn scrapes_that_come_together_share_one_page_and_one_that_comes_later_has_a_new_one() {
    let (metrics, asked, (go, held)) = (Metrics::new(), Arc::new(AtomicU64::new(0)), mpsc::channel());
    let collector = Held { asked: Arc::clone(&asked), go: Mutex::new(held) };
    metrics.collector("held", collector, Audience::Everyone).unwrap();
    let (checker, _engine) = Checker::new(Settings::new("orders"));
    let (shutdown, _sequence) = Shutdown::new(wellkept_shutdown::Settings::default());
    let doors = Doors::new(checker, shutdown, Access::loopback_only(), Names::Shown, metrics);
    let scrapes: Vec<_> = (0..20)
        .map(|_| {
            let public = doors.public();
            tokio::spawn(async move { get(public, OPEN, "/metrics").await })
        })
        .collect();
    // Each is polled once before this goes on, and waits for the page from then on.
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    for scrape in scrapes {
        let (status, page) = scrape.await.unwrap();
        assert_eq!(status, 200);
        assert!(page.contains("\nasked 1.0\n"), "{page}");
    }
    go.send(()).unwrap();
    let (_, later) = get(doors.public(), OPEN, "/metrics").await;
    assert!(later.contains("\nasked 2.0\n"), "{later}");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn the_format_is_the_one_that_is_wished_for_most_in_all_lines_of_accept() {
    let doors = with(&Metrics::new()).await;
    for (accept, kind) in [
        (
            &["text/plain;q=0.5", "application/openmetrics-text;version=1.0.0"][..],
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (
            &["application/openmetrics-text;q=0.2", "text/plain;version=0.0.4;q=0.3"],
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.4"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        (&[], "text/plain; version=0.0.4; charset=utf-8"),
    ] {
        let headers: Vec<_> = accept.iter().map(|accept| ("accept", *accept)).collect();
        let response = ask(doors.public(), OPEN, "/metrics", &headers).await;
        assert_eq!(response.headers()["content-type"], kind);
        assert_eq!(body(response).await.ends_with("# EOF\n"), kind.starts_with("application"), "{accept:?}");
    }
}
