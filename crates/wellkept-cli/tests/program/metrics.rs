//! The page of metrics before those who read it: a real Prometheus, its promtool, the parsers of its Python client.

use std::collections::BTreeSet;

use wellkept_testkit::prometheus::{self, Prometheus};
use wellkept_testkit::{http, until};

use crate::served::{PATIENCE, Served};

const SERVED: &str = "
service: { name: orders, version: '1.4.2' }
grpc: { listen: '127.0.0.1:0' }
checks:
  - name: 'scratch \"C:\\temp\" ü'
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    groups: [ready]
  - name: nobody
    tcp: { address: '127.0.0.1:1' }
    required: false
";

fn open_metrics(served: &Served) -> String {
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    http::request(served.http, "GET", "/metrics", &accept, b"").unwrap().text()
}

fn served() -> Served {
    let served = Served::with(SERVED);
    served.until_ready(true);
    until(PATIENCE, "both checks to have run", || {
        served.get("/metrics").text().contains("wellkept_check_runs_total{component=\"nobody\",verdict=\"fail\"} 1")
    });
    served
}

#[test]
fn promtool_and_the_reference_parsers_have_nothing_to_say_of_the_page() {
    let served = served();
    let plain = served.get("/metrics").text();
    assert_eq!(prometheus::promtool(&plain), "");
    assert_eq!(prometheus::python_parser(&[plain], false), "");
    assert_eq!(prometheus::python_parser(&[open_metrics(&served)], true), "");
}

#[test]
fn a_real_prometheus_scrapes_every_family_and_its_log_has_no_warning() {
    let served = served();
    let prometheus = Prometheus::scraping(served.http);
    let target = prometheus.scraped();
    assert_eq!((target["health"].as_str(), target["lastError"].as_str()), (Some("up"), Some("")), "{target}");
    let page = open_metrics(&served);
    let shown = page.lines().filter(|line| !line.starts_with('#'));
    let shown: BTreeSet<_> = shown.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned)).collect();
    let known: BTreeSet<_> = prometheus.names().into_iter().collect();
    let missing: Vec<_> = shown.difference(&known).collect();
    assert!(shown.len() > 50 && missing.is_empty(), "{missing:?} of {} are missing", shown.len());
    let log = prometheus.log();
    let complaints: Vec<_> =
        log.lines().filter(|line| line.contains("level=warn") || line.contains("level=error")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn every_family_of_the_page_stands_in_the_reference_with_its_type() {
    let page = served().get("/metrics").text();
    let reference = include_str!("../../../../docs/metrics.md");
    let rows: Vec<Vec<&str>> =
        reference.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").collect()).collect();
    let families: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    assert!(families.len() > 50, "{page}");
    for (name, kind) in families {
        let row = rows.iter().find(|row| row.first().is_some_and(|first| *first == format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        // The older format has no word for what only tells something.
        let told = row.get(1).map(|told| if *told == "info" { "gauge" } else { told });
        assert_eq!(told, Some(kind), "{name}");
    }
}
