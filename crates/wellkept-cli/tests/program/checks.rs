//! Checks on a real PostgreSQL and a real Redis, while these are stopped, killed and started again.

use std::time::{Duration, Instant};

use wellkept_testkit::{Postgres, Redis, http, until};

use crate::served::{PATIENCE, Served};

fn configuration(postgres: &str, redis: &str) -> String {
    format!(
        "
defaults: {{ interval: 200ms, timeout: 2s, fall: 3, rise: 2, jitter: 0% }}
checks:
  - name: orders-db
    postgres: {{ url: '{postgres}', query: \"SELECT nextval('asked')\" }}
  - name: cache
    redis: {{ url: '{redis}' }}
    required: false
  - name: scratch
    disk: {{ path: / , degraded_below: 0%, unhealthy_below: 0% }}
"
    )
}

#[test]
fn a_stopped_postgres_fails_readiness_by_name_and_comes_back() {
    let mut postgres = Postgres::start();
    postgres.execute("CREATE SEQUENCE asked");
    let redis = Redis::start();
    let served = Served::with(&configuration(&postgres.url(), &redis.url()));
    served.until_ready(true);
    let connections = &served.component("orders-db")["metadata"]["connections"];
    assert!(connections["max"].as_u64().unwrap() > 0, "{connections}");

    let stopped = Instant::now();
    postgres.stop();
    served.until_ready(false);
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?} for three runs at 200 ms", stopped.elapsed());
    let component = served.until_status("orders-db", "unhealthy");
    assert_eq!(component["reason"], "refused", "{component}");
    assert_eq!(served.get("/livez").status, 200);

    let shown = http::request(served.http, "GET", "/health/ready", &[("host", "elsewhere")], b"").unwrap();
    let port = postgres.port().to_string();
    for path in ["/health/ready", "/health", "/readyz", "/metrics"] {
        let public = http::request(served.http, "GET", path, &[("host", "elsewhere")], b"").unwrap().text();
        for secret in ["127.0.0.1", port.as_str(), "password", "wellkept:", "refused ("] {
            assert!(!public.contains(secret), "{path} shows {secret}: {public}");
        }
    }
    assert_eq!(shown.json()["dependencies"]["orders-db"], "unhealthy");
    let message = component["message"].as_str().unwrap();
    assert!(!message.contains(&port) && !message.contains("127.0.0.1"), "{message}");

    postgres.start_again();
    served.until_ready(true);
    assert_eq!(served.until_status("orders-db", "healthy")["reason"], serde_json::Value::Null);
}

#[test]
fn a_paused_redis_is_a_timeout_and_makes_no_other_check_late() {
    let postgres = Postgres::start();
    postgres.execute("CREATE SEQUENCE asked");
    let mut redis = Redis::start();
    let served = Served::with(&configuration(&postgres.url(), &redis.url()));
    served.until_ready(true);
    served.until_status("cache", "healthy");

    let asked = || postgres.execute("SELECT last_value FROM asked").trim().parse::<u64>().unwrap();
    let before = asked();
    redis.pause();
    let cache = served.until_status("cache", "unhealthy");
    // Counted while three runs on Redis hung for two seconds each: thirty when none is late, four when each of them waits
    // for one that hangs. A machine that is busy may have some fewer.
    let meanwhile = asked() - before;
    assert!(meanwhile >= 8, "{meanwhile} runs at 200 ms while Redis hung");
    assert_eq!(cache["reason"], "timeout", "{cache}");
    assert!(cache["response_time_ms"].as_f64().unwrap() < 4000.0, "{cache}");
    assert_eq!(served.get("/readyz").status, 200, "it is optional");
    assert_eq!(served.get("/health").json()["status"], "degraded");

    redis.resume();
    served.until_status("cache", "healthy");
}

#[test]
fn a_flood_of_probes_asks_postgres_no_more_often() {
    let postgres = Postgres::start();
    postgres.execute("CREATE SEQUENCE asked");
    let url = postgres.url();
    let served = Served::with(&format!(
        "
checks:
  - name: orders-db
    postgres: {{ url: '{url}', query: \"SELECT nextval('asked')\" }}
    interval: 1s
    jitter: 0%
"
    ));
    served.until_ready(true);
    let asked = || postgres.execute("SELECT last_value FROM asked").trim().parse::<u64>().unwrap();
    let before = asked();
    let began = Instant::now();
    let mut connection = http::Connection::open(served.http).unwrap();
    let mut probes = 0;
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(connection.get("/health/ready").unwrap().status, 200);
        probes += 1;
    }
    let (asked, seconds) = (asked() - before, began.elapsed().as_secs());
    assert!(probes > 1000, "{probes} probes are no flood");
    assert!(asked <= seconds + 1, "{asked} queries in {seconds} s at one a second, under {probes} probes");
    let sessions = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'wellkept%'");
    assert_eq!(sessions.trim(), "1", "one connection, kept");
}

#[test]
fn http_and_tcp_checks_tell_what_is_wrong() {
    let target = Served::with("checks: []\n");
    let closed = wellkept_testkit::free_address();
    let open = target.http;
    let served = Served::with(&format!(
        "
defaults: {{ interval: 200ms, timeout: 1s, fall: 1, rise: 1 }}
checks:
  - name: page
    http: {{ url: 'http://{open}/health', expect: {{ status: 200, json: {{ '$.service': tested }} }} }}
  - name: missing
    http: {{ url: 'http://{open}/missing' }}
  - name: port
    tcp: {{ address: '{open}' }}
  - name: closed
    tcp: {{ address: '{closed}' }}
"
    ));
    assert_eq!(served.until_status("page", "unhealthy")["reason"], "unexpected");
    assert_eq!(served.until_status("missing", "unhealthy")["reason"], "unexpected");
    assert_eq!(served.until_status("closed", "unhealthy")["reason"], "refused");
    served.until_status("port", "healthy");
}

#[test]
fn a_check_behind_an_open_circuit_is_asked_after_its_back_off_only() {
    let address = wellkept_testkit::free_address();
    let served = Served::with(&format!(
        "
defaults: {{ interval: 50ms, jitter: 0%, rise: 1 }}
checks:
  - name: peer
    tcp: {{ address: '{address}' }}
    circuit: {{ failures: 2, first: 300ms, most: 600ms }}
"
    ));
    let details = || served.component("peer");
    until(PATIENCE, "the circuit to open", || details()["reason"] == "circuit_open");
    let circuit = details()["metadata"]["circuit"].clone();
    assert_eq!(circuit["last_reason"], "refused", "{circuit}");
    assert_eq!(served.get("/readyz").status, 503);

    let listener = std::net::TcpListener::bind(address).expect("the port is still free");
    served.until_ready(true);
    assert_eq!(details()["reason"], serde_json::Value::Null);
    drop(listener);
}
