//! What a running program answers, and to whom.

use serde_json::Value;
use wellkept_testkit::{Program, http, until, until_some};

use crate::served::{PATIENCE, Served, wellkept};

const QUICK: &str = "
service: { name: orders, version: '1.4.2' }
checks:
  - name: scratch
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    groups: [ready]
";

#[test]
fn without_a_configuration_it_watches_its_own_machine() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::again(folder);
    until(PATIENCE, "the start to be complete", || served.get("/health/startup").status == 200);
    // The start waits for none of them, for no probe sees them.
    let detailed = until_some(PATIENCE, "the first results", || {
        let detailed = served.detailed();
        let known = |name: &str| detailed["components"][name]["response_time_ms"].is_f64();
        ["cpu", "disk", "memory", "system"].into_iter().all(known).then_some(detailed)
    });
    let names: Vec<_> = detailed["components"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["cpu", "disk", "event-loop", "history", "memory", "system"]);
    let system = served.until_status("system", "healthy");
    for figure in ["cpu_usage", "memory_usage", "disk_usage"] {
        let usage = system["metadata"][figure].as_f64().unwrap_or(-1.0);
        assert!((0.0..=1.0).contains(&usage), "{figure}: {system}");
    }
    assert_eq!(served.get("/").status, 200);
}

#[test]
fn each_endpoint_has_the_fields_that_were_promised() {
    let served = Served::with(QUICK);
    served.until_ready(true);
    let keys = |path: &str| -> Vec<String> {
        let response = served.get(path);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(response.header("cache-control"), Some("no-store"), "{path}");
        response.json().as_object().unwrap().keys().cloned().collect()
    };
    let health = ["status", "service", "version", "timestamp", "checked_at", "uptime", "uptime_seconds"];
    assert_eq!(keys("/health"), health);
    assert_eq!(keys("/health/live"), ["alive", "last_heartbeat"]);
    assert_eq!(keys("/health/ready"), ["ready", "status", "dependencies"]);
    assert_eq!(keys("/ready"), ["ready", "status", "dependencies"]);
    assert_eq!(keys("/ready?detailed=true"), ["ready", "status", "dependencies", "components"]);
    assert_eq!(keys("/health/startup"), ["started"]);
    let health = served.get("/health").json();
    assert_eq!((health["service"].as_str(), health["version"].as_str()), (Some("orders"), Some("1.4.2")));
    let component = served.component("scratch");
    for field in [
        "status",
        "reason",
        "message",
        "detail",
        "raw_status",
        "response_time",
        "response_time_ms",
        "timestamp",
        "age_ms",
        "max_age_ms",
        "since",
        "required",
        "interval_ms",
        "timeout_ms",
        "fall",
        "rise",
        "groups",
        "metadata",
    ] {
        assert!(component.get(field).is_some(), "{field} is missing in {component}");
    }
    assert_eq!(served.get("/livez").text(), "ok");
    assert_eq!(served.get("/readyz").text(), "ok");
}

#[test]
fn metrics_are_answered_in_both_formats() {
    let served = Served::with(QUICK);
    served.until_ready(true);
    let plain = served.get("/metrics");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = plain.text();
    assert!(page.contains("\nwellkept_component_status{component=\"scratch\",status=\"healthy\"} 1"), "{page}");
    assert!(page.contains("\nwellkept_ready 1"));
    assert!(page.contains("# TYPE wellkept_check_runs_total counter\n"));
    assert!(page.contains("wellkept_check_duration_seconds_bucket{component=\"scratch\",le=\"+Inf\"} "), "{page}");
    assert!(page.contains("\nwellkept_server_connections_limit{door=\"http\"} 1024"));
    assert!(page.contains("\nwellkept_server_evicted_total{door=\"http\"} 0"));
    assert!(page.contains("\nprocess_resident_memory_bytes "));
    assert!(!page.contains("# EOF"));
    let accept = [("accept", "application/openmetrics-text; version=1.0.0")];
    let open = http::request(served.http, "GET", "/metrics", &accept, b"").unwrap();
    let kind = open.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{kind}");
    assert!(open.text().ends_with("# EOF\n"));
}

#[test]
fn a_door_that_others_can_reach_shows_no_details_and_says_how_to_enable_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wellkept.yaml"), QUICK).unwrap();
    let program = Program::spawn(wellkept(folder.path()).args(["serve", "--listen", "0.0.0.0:0"]));
    let address = crate::served::listening(&program, "probes and metrics");
    let local = (std::net::Ipv4Addr::LOCALHOST, address.port());
    program.wait_for_line(|line| line.contains("details and the status page are off"), PATIENCE);
    until(PATIENCE, "/readyz", || http::get(local, "/readyz").status == 200);
    for path in ["/", "/health/detailed", "/api/v1/history", "/api/v1/shutdown", "/status.css"] {
        assert_eq!(http::get(local, path).status, 404, "{path}");
    }
    let ready = http::get(local, "/ready?detailed=true").json();
    assert!(ready.get("components").is_none(), "{ready}");
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
        let refused = http::request(local, method, "/health", &[], b"").unwrap();
        assert_eq!(refused.status, 405, "{method}");
        assert!(refused.header("allow").unwrap().contains("GET"), "{method}");
    }
    assert_eq!(http::request(local, "GET", "/health", &[], b"{}").unwrap().status, 413);
}

#[test]
fn the_admin_door_opens_to_the_token_and_to_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-long-enough-secret\n").unwrap();
    let admin = "admin: { listen: '0.0.0.0:0', token_file: token }";
    std::fs::write(folder.path().join("wellkept.yaml"), format!("{QUICK}\n{admin}\n")).unwrap();
    let program = Program::spawn(wellkept(folder.path()).args(["serve", "--listen", "127.0.0.1:0"]));
    let door = crate::served::listening(&program, "status page and details");
    let local = (std::net::Ipv4Addr::LOCALHOST, door.port());
    let ask = |token: &str| http::request(local, "GET", "/health/detailed", &[("authorization", token)], b"").unwrap();
    assert_eq!(ask("Bearer a-long-enough-secret").status, 200);
    for wrong in ["", "Bearer", "Bearer a-long-enough-secre", "Basic YTpi"] {
        let refused = ask(wrong);
        assert_eq!(refused.status, 401, "{wrong}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    assert!(!program.output().contains("a-long-enough-secret"));
}

#[test]
fn the_status_page_names_every_component_in_words() {
    let served = Served::with(QUICK);
    served.until_status("scratch", "healthy");
    let page = served.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let html = page.text();
    for word in ["orders", "1.4.2", "scratch", "healthy", "event-loop", "takes traffic"] {
        assert!(html.contains(word), "{word} is not on the page");
    }
    assert!(!html.contains("http://") && !html.contains("https://"), "the page fetches from elsewhere");
    assert_eq!(served.get("/status.css").status, 200);
}

#[test]
fn a_strange_host_or_a_proxy_in_between_sees_no_details() {
    let served = Served::with(QUICK);
    served.until_ready(true);
    for headers in [[("host", "rebound.example")], [("x-forwarded-for", "127.0.0.1")], [("forwarded", "for=127.0.0.1")]]
    {
        let refused = http::request(served.http, "GET", "/health/detailed", &headers, b"").unwrap();
        assert_eq!(refused.status, 401, "{headers:?}");
    }
}

#[test]
fn off_a_terminal_every_line_is_one_json_object() {
    let mut served = Served::with(QUICK);
    served.until_ready(true);
    assert_eq!(served.stop(), Some(0));
    let output = served.program.stdout();
    for line in output.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "target", "message"] {
            assert!(event[field].is_string(), "{field} is missing in {line}");
        }
    }
    assert_eq!(served.program.stderr(), "");
}

#[test]
fn a_result_past_its_maximum_age_is_never_healthy_by_memory() {
    let configuration = "
checks:
  - name: scratch
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    groups: [ready]
    interval: 1h
    max_age: 300ms
";
    let served = Served::with(configuration);
    until(PATIENCE, "the result to be stale", || served.component("scratch")["reason"] == "stale");
    assert_eq!(served.component("scratch")["status"], "unknown");
    served.until_ready(false);
    assert_eq!(served.get("/livez").status, 200, "a restart would not mend it");
}
