//! `wellkept check` and `wellkept status`: what they print, and their exit codes.

use serde_json::Value;
use wellkept_testkit::{Postgres, Redis, Signal, free_address};

use crate::served::{Served, run, text};

fn folder(configuration: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    folder
}

#[test]
fn check_runs_a_configurations_checks_once() {
    let (postgres, redis) = (Postgres::shared(), Redis::shared());
    let folder = folder(&format!(
        "checks:\n  - name: db\n    postgres: {{ url: '{}' }}\n  - name: cache\n    redis: {{ url: '{}' }}\n",
        postgres.url(),
        redis.url()
    ));
    let output = run(folder.path(), &["check"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.ends_with("\n\nchecks: healthy; for readiness: healthy\n"), "{said}");
    let json: Value = serde_json::from_slice(&run(folder.path(), &["check", "--json"]).stdout).unwrap();
    assert_eq!(json["status"], "healthy");
    assert!(json["components"]["db"]["metadata"]["server_version"].is_string(), "{json}");
    let one: Value = serde_json::from_slice(&run(folder.path(), &["check", "--json", "cache"]).stdout).unwrap();
    assert_eq!(one["components"].as_object().unwrap().len(), 1);
}

#[test]
fn check_exits_1_for_a_failure_and_0_for_an_optional_one() {
    let closed = free_address();
    let required = folder(&format!("checks:\n  - name: port\n    tcp: {{ address: '{closed}' }}\n"));
    let output = run(required.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("unhealthy") && text(&output.stdout).contains("refused"));
    let optional =
        folder(&format!("checks:\n  - name: port\n    tcp: {{ address: '{closed}' }}\n    required: false\n"));
    assert_eq!(run(optional.path(), &["check"]).status.code(), Some(0));
}

#[test]
fn check_speaks_as_a_monitoring_plugin() {
    let closed = free_address();
    let failing = format!("  - name: port\n    tcp: {{ address: '{closed}' }}\n");
    let fine = "  - name: room\n    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }\n";
    let tight = "  - name: tight\n    disk: { path: /, degraded_below: 100%, unhealthy_below: 0% }\n";
    for (checks, code, begin) in [
        (fine.to_owned(), 0, "WELLKEPT OK - 1 of 1 healthy | 'room'="),
        (format!("{fine}{tight}"), 1, "WELLKEPT WARNING - 1 of 2 healthy: tight degraded (threshold) | 'room'="),
        (format!("{fine}{failing}"), 2, "WELLKEPT CRITICAL - 1 of 2 healthy: port unhealthy (refused) | 'room'="),
    ] {
        let folder = folder(&format!("checks:\n{checks}"));
        let output = run(folder.path(), &["check", "--nagios"]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.starts_with(begin), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let broken = folder("checks: 5\n");
    let output = run(broken.path(), &["check", "--nagios"]);
    assert_eq!(output.status.code(), Some(3), "a configuration that can't be read is unknown");
    assert!(text(&output.stdout).starts_with("WELLKEPT UNKNOWN - "));
}

#[test]
fn check_asks_a_running_server() {
    let closed = free_address();
    let served = Served::with(&format!("checks:\n  - name: port\n    tcp: {{ address: '{closed}' }}\n"));
    let address = format!("http://{}", served.http);
    served.until_status("port", "unhealthy");
    let output = run(served.folder.path(), &["check", "--server", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("refused"), "{}", text(&output.stdout));
    assert_eq!(run(served.folder.path(), &["check", "--nagios", "--server", &address]).status.code(), Some(2));
    let output = run(served.folder.path(), &["check", "--server", &address, "prt"]);
    assert_eq!(output.status.code(), Some(64), "a name that the server does not know: {}", text(&output.stderr));
    let output = run(served.folder.path(), &["check", "--server", &address, "event-loop"]);
    assert_eq!(output.status.code(), Some(0), "one that readiness does not see: {}", text(&output.stderr));
    let nobody = format!("http://{closed}");
    let output = run(served.folder.path(), &["check", "--server", &nobody]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    assert_eq!(run(served.folder.path(), &["check", "--nagios", "--server", &nobody]).status.code(), Some(2));
}

#[test]
fn what_readiness_does_not_count_is_told_apart_by_check_as_by_the_server() {
    let closed = free_address();
    let served = Served::with(&format!(
        "defaults: {{ interval: 50ms, fall: 1 }}
checks:
  - name: database
    tcp: {{ address: '{closed}' }}
    shared: true
  - name: room
    disk: {{ path: /, degraded_below: 100%, unhealthy_below: 100% }}
"
    ));
    served.until_status("room", "unhealthy");
    served.until_status("database", "unhealthy");
    let address = format!("http://{}", served.http);
    let check = |arguments: &[&str]| {
        let output = run(served.folder.path(), &[&["check"], arguments].concat());
        let said = text(&output.stdout);
        (output.status.code(), said.lines().last().unwrap_or_default().to_owned(), output.stdout)
    };
    let (code, line, _) = check(&["--server", &address]);
    assert_eq!((code, line.as_str()), (Some(0), "ready: degraded"));
    let (code, line, _) = check(&[]);
    assert_eq!((code, line.as_str()), (Some(1), "checks: unhealthy; for readiness: degraded"));
    assert_eq!(served.get("/health").json()["status"], "unhealthy");
    let json: Value = serde_json::from_slice(&check(&["--json"]).2).unwrap();
    assert_eq!((&json["status"], &json["ready"]), (&Value::from("unhealthy"), &Value::from(true)));
    for arguments in [&["room"][..], &["--server", &address, "room"]] {
        let (code, line, _) = check(arguments);
        assert_eq!((code, line.as_str()), (Some(1), "checks: unhealthy"), "{arguments:?}");
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    let folder = folder("checks:\n  - name: orders-db\n    disk: { path: / }\n");
    let output = run(folder.path(), &["check", "order-db"]);
    assert_eq!(output.status.code(), Some(64));
    insta::assert_snapshot!(text(&output.stderr), @"wellkept: there is no check `order-db`, did you mean `orders-db`?");
}

#[test]
fn no_secret_of_a_url_is_ever_shown() {
    let folder = folder(
        "checks:
  - name: db
    postgres: { url: 'postgres://app:hunter2@127.0.0.1:1/orders' }
  - name: cache
    redis: { url: 'redis://:hunter2@127.0.0.1:1/0' }
  - name: page
    http: { url: 'http://app:hunter2@127.0.0.1:1/?token=hunter2' }
",
    );
    for arguments in [&["check"][..], &["check", "--json"], &["check", "--nagios"]] {
        let output = run(folder.path(), arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn check_answers_within_its_limit_whatever_hangs() {
    // It takes connections, for its queue has room, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let folder = folder(&format!(
        "checks:
  - name: room
    disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}
  - name: page
    http: {{ url: '{url}' }}
    interval: 60s
    timeout: 50s
"
    ));
    let limited = |arguments: &[&str]| run(folder.path(), &[&["check", "--timeout", "1s"], arguments].concat());
    let output = limited(&["--nagios"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("WELLKEPT CRITICAL - 1 of 2 healthy: page unhealthy (timeout) | 'room'="), "{said}");
    let output = limited(&["--nagios", "--server", &url]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "WELLKEPT CRITICAL - no answer within 1s\n");
    let output = limited(&["--server", &url]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "wellkept: no answer within 1s\n".to_owned()));
    let output = run(folder.path(), &["check", "--kind", "http", "--url", &url, "--timeout", "1s", "--nagios"]);
    let said = text(&output.stdout);
    assert!(said.starts_with("WELLKEPT CRITICAL - 0 of 1 healthy: http unhealthy (timeout) | 'http'="), "{said}");
    assert_eq!(run(folder.path(), &["check", "--timeout", "2"]).status.code(), Some(64));
}

#[test]
fn a_draining_server_is_a_warning_and_not_ready() {
    let mut served = Served::with("checks: []\nshutdown: { delay: 30s, deadline: 60s }\n");
    served.until_ready(true);
    served.program.signal(Signal::TERM);
    served.wait_for(|line| line["phase"] == "delaying");
    let address = format!("http://{}", served.http);
    assert_eq!(run(served.folder.path(), &["check", "--server", &address]).status.code(), Some(1));
    assert_eq!(run(served.folder.path(), &["check", "--nagios", "--server", &address]).status.code(), Some(1));
}
