//! Each change of status and of readiness, as the log, the history and the metrics of the program tell it.

use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;
use wellkept_testkit::until;

use crate::served::{PATIENCE, Served};

#[test]
fn an_outage_is_told_with_its_root_in_the_log_the_history_and_the_metrics() {
    let network = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = network.local_addr().unwrap().port();
    let mut served = Served::with(&format!(
        "
defaults: {{ interval: 50ms, fall: 1, rise: 1 }}
checks:
  - name: network
    tcp: {{ address: '127.0.0.1:{port}' }}
  - name: orders-db
    tcp: {{ address: '127.0.0.1:{port}' }}
    depends_on: [network]
    fall: 5
"
    ));
    served.until_ready(true);
    drop(network);
    let line = |text: &'static str, to: &'static str, fits: fn(&Value) -> bool| {
        served.wait_for(move |line| line["message"] == text && line["to"] == to && fits(line))
    };
    let of_service = line("service status changed", "unhealthy", |_| true);
    assert_eq!((&of_service["reason"], &of_service["cause"]), (&"refused".into(), &"network (refused)".into()));
    assert_eq!(of_service["caused_by"], "network", "{of_service}");
    let of_readiness = line("readiness changed", "not_ready", |line| line["reason"] == "components");
    assert_eq!((&of_readiness["cause"], &of_readiness["status"]), (&"network (refused)".into(), &"unhealthy".into()));
    let of_child = line("component status changed", "unhealthy", |line| line["component"] == "orders-db");
    assert_eq!((&of_child["reason"], &of_child["caused_by"]), (&"refused".into(), &"network".into()));

    let changes = served.get("/api/v1/history").json()["changes"].clone();
    let of = |name: Value| changes.as_array().unwrap().iter().find(|one| one["component"] == name).unwrap();
    assert_eq!(of("orders-db".into())["caused_by"], "network", "{changes}");
    assert_eq!(of(Value::Null)["message"], "network (refused)", "{changes}");
    let page = served.get("/metrics").text();
    for counted in [
        "wellkept_status_changes_total{to=\"unhealthy\",reason=\"refused\"} 1",
        "wellkept_readiness_changes_total{to=\"not_ready\",reason=\"components\"} 1",
        "wellkept_readiness_changes_total{to=\"ready\",reason=\"none\"} 1",
        "wellkept_component_changes_total{component=\"orders-db\",to=\"unhealthy\",reason=\"refused\"} 1",
        "wellkept_component_changes_total{component=\"network\",to=\"healthy\",reason=\"none\"} 1",
    ] {
        assert!(page.contains(&format!("\n{counted}")), "{counted} is not in {page}");
    }

    let again = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    served.wait_for(|line| line["message"] == "service status changed" && line["cause"] == "over: network (refused)");
    served.until_ready(true);
    drop(again);
    assert_eq!(served.stop(), Some(0));
    let draining = |line: &Value| line["message"] == "readiness changed" && line["reason"] == "draining";
    until(PATIENCE, "the end of readiness", || {
        let output = served.program.stdout();
        output.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(draining).count() == 1
    });
}
