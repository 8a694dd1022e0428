//! A store in PostgreSQL that several instances share, with real instances and a real server.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use wellkept_testkit::{Postgres, Signal, until};

use crate::served::{PATIENCE, Served, run, text};

/// One instance of the service `orders`.
fn configuration(url: &str, instance: &str) -> String {
    format!(
        "
service: {{ name: orders }}
store: {{ url: '{url}', instance: '{instance}' }}
checks:
  - name: scratch
    disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}
    interval: 100ms
"
    )
}

fn started(database: &Postgres, instance: &str) -> Served {
    let served = Served::with(&configuration(&database.url(), instance));
    served.until_status("scratch", "healthy");
    served
}

fn killed_and_again(mut served: Served) -> Served {
    served.program.signal(Signal::KILL);
    served.program.wait(PATIENCE);
    let served = Served::again(served.folder);
    until(PATIENCE, "the start to be complete", || served.get("/health/startup").status == 200);
    served
}

fn maintenance(served: &Served, arguments: &[&str]) -> Value {
    let address = format!("http://{}", served.http);
    let output: Output =
        run(served.folder.path(), &[&["maintenance"], arguments, &["--server", &address, "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn results(served: &Served) -> Vec<Value> {
    let answer = served.get("/api/v1/history?component=scratch&limit=1000").json();
    answer["results"].as_array().expect("there is a list").clone()
}

fn latest_change(served: &Served) -> Value {
    served.get("/api/v1/history?component=scratch").json()["changes"][0].clone()
}

fn in_maintenance(served: &Served) -> bool {
    served.component("scratch")["status"] == "maintenance"
}

#[test]
fn what_is_begun_and_ended_by_hand_on_one_instance_holds_on_the_other_and_after_kills_of_both() {
    let database = Postgres::start();
    let (one, other) = (started(&database, "orders-1"), started(&database, "orders-2"));
    let begun = maintenance(&one, &["start", "scratch", "--open", "--reason", "moved", "--author", "ann"]);
    assert_eq!(begun["kept"], "stored");
    until(PATIENCE, "it to be on on the other one", || in_maintenance(&other));
    until(PATIENCE, "the history to tell of it", || latest_change(&other)["to"] == "maintenance");
    assert_eq!(latest_change(&other)["detail"], "by ann: moved");

    let (one, other) = (killed_and_again(one), killed_and_again(other));
    for served in [&one, &other] {
        assert!(in_maintenance(served), "from the first moment on");
        assert_eq!(served.component("scratch")["maintenance"]["id"], begun["maintenances"][0]["id"]);
    }
    maintenance(&other, &["end", "scratch", "--author", "bob"]);
    one.until_status("scratch", "healthy");
    until(PATIENCE, "the history to tell of its end", || latest_change(&one)["from"] == "maintenance");
    assert_eq!(latest_change(&one)["detail"], "ended by bob");
    let (one, other) = (killed_and_again(one), killed_and_again(other));
    assert!(!in_maintenance(&one) && !in_maintenance(&other), "what was ended stays so");
}

#[test]
fn each_instance_has_a_history_of_its_own_that_survives_a_kill() {
    let database = Postgres::start();
    let one = started(&database, "orders-1");
    until(PATIENCE, "some results in the tables", || {
        database.execute("SELECT to_regclass('wellkept.wellkept_results') IS NOT NULL") == "t"
            && database.execute("SELECT count(*) > 10 FROM wellkept.wellkept_results") == "t"
    });
    let mut other = started(&database, "orders-2");
    let one = killed_and_again(one);
    one.until_status("scratch", "healthy");
    let since = one.component("scratch")["since"].as_str().unwrap().to_owned();
    until(PATIENCE, "results from before the kill", || {
        results(&one).last().is_some_and(|oldest| oldest["at"].as_str().unwrap() < since.as_str())
    });
    let trend = || one.get("/api/v1/components/scratch/trend").json()["windows"]["1h"].clone();
    until(PATIENCE, "the time from before the kill", || trend()["runs"]["passed"].as_u64() > Some(10));
    let before = results(&one).last().unwrap()["at"].clone();
    assert!(results(&other).iter().all(|result| result["at"] != before), "the first one's history is its own");

    assert_eq!(other.stop(), Some(0));
    let output = run(other.folder.path(), &["status", "--config", "wellkept.yaml"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stdout).contains("From the store") && text(&output.stdout).contains("scratch"));
    assert_no_secret(&other, other.folder.path());
}

/// A password in the log or in what operators are shown.
fn assert_no_secret(served: &Served, folder: &Path) {
    assert!(folder.exists());
    for secret in [Postgres::PASSWORD, "correct%20horse", "wrong-one"] {
        assert!(!served.program.output().contains(secret), "{}", served.program.output());
    }
}

#[test]
fn a_server_that_hangs_or_is_gone_delays_nothing_and_the_history_catches_up() {
    let mut database = Postgres::start();
    let served = started(&database, "orders-1");
    served.until_status("history", "healthy");
    until(PATIENCE, "the tables", || !results(&served).is_empty());
    let runs_on = |served: &Served| {
        let degraded = served.until_status("history", "degraded");
        assert_eq!(degraded["message"], "history is kept in memory only");
        let clock = Instant::now();
        for path in ["/livez", "/readyz", "/health", "/health/detailed"] {
            assert_eq!(served.get(path).status, 200);
        }
        assert!(clock.elapsed() < Duration::from_secs(2), "{:?}", clock.elapsed());
        let ran = || served.component("scratch")["timestamp"].clone();
        let (before, clock) = (ran(), Instant::now());
        until(PATIENCE, "the check to go on", || ran() != before);
        assert!(clock.elapsed() < Duration::from_secs(2), "{:?}", clock.elapsed());
    };
    database.pause();
    runs_on(&served);
    database.resume();
    served.until_status("history", "healthy");
    database.stop();
    runs_on(&served);
    database.start_again();
    served.until_status("history", "healthy");
    let output = served.program.output();
    assert_eq!(output.matches("history can't be written").count(), 2, "one loud line each: {output}");
    // A run each 100 ms: a gap or a run that is there twice would be seen.
    until(PATIENCE, "what waited to be written", || served.get("/metrics").text().contains("history_backlog 0"));
    let times: Vec<jiff::Timestamp> =
        results(&served).iter().map(|result| result["at"].as_str().unwrap().parse().unwrap()).collect();
    let gaps = times.windows(2).map(|pair| pair[0].duration_since(pair[1]).as_millis());
    let (shortest, longest) = (gaps.clone().min().unwrap(), gaps.max().unwrap());
    assert!(shortest > 0 && longest < 2000, "between two runs are {shortest} to {longest} ms");
    assert_no_secret(&served, served.folder.path());
}

#[test]
fn a_server_that_hangs_holds_the_start_for_a_bounded_time() {
    let mut database = Postgres::start();
    database.pause();
    let clock = Instant::now();
    let served = started(&database, "orders-1");
    served.until_ready(true);
    assert!(clock.elapsed() < Duration::from_secs(8), "{:?}", clock.elapsed());
    let begun = maintenance(&served, &["start", "scratch", "--open", "--reason", "moved"]);
    assert_eq!(begun["kept"], "memory");
    database.resume();
    served.until_status("history", "healthy");
    until(PATIENCE, "the maintenance to be kept", || {
        database.execute("SELECT to_regclass('wellkept.wellkept_maintenances') IS NOT NULL") == "t"
            && database.execute("SELECT count(*) FROM wellkept.wellkept_maintenances") == "1"
    });
}

#[test]
fn a_second_process_of_the_same_name_is_told_so_and_takes_over_when_the_first_is_gone() {
    let database = Postgres::start();
    let mut first = started(&database, "orders-1");
    first.until_status("history", "healthy");
    until(PATIENCE, "the first one to write", || {
        database.execute("SELECT to_regclass('wellkept.wellkept_instances') IS NOT NULL") == "t"
            && database.execute("SELECT count(*) FROM wellkept.wellkept_instances") == "1"
    });
    let second = started(&database, "orders-1");
    let detail = second.until_status("history", "degraded")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("another process writes to it as instance \"orders-1\" of service \"orders\""), "{detail}");
    second.wait_for(|line| line["level"] == "error" && line["code"] == "store.busy");
    first.until_status("history", "healthy");
    first.program.signal(Signal::KILL);
    first.program.wait(PATIENCE);
    second.until_status("history", "healthy");
}

#[test]
fn what_can_not_be_used_is_said_with_its_cause_and_without_the_password() {
    let database = Postgres::start();
    let refused = |url: &str, code: &str, words: &str| {
        let served = Served::with(&configuration(url, "orders-1"));
        let line = served.wait_for(|line| line["code"] == code);
        assert!(line["error"].as_str().unwrap().contains(words), "{line}");
        let detail = served.until_status("history", "degraded")["detail"].clone();
        assert!(detail.as_str().unwrap().contains(words), "{detail}");
        served.until_ready(true);
        assert_no_secret(&served, served.folder.path());
    };
    refused(&database.url_with_password("wrong-one"), "store.denied", "password not accepted");
    refused(&database.url().replace("/postgres", "/nowhere"), "store.database", "database does not exist");
    refused(&format!("{}?sslmode=require", database.url()), "store.unreachable", "TLS");
    drop(started(&database, "orders-1"));
    database.execute("UPDATE wellkept.wellkept_schema SET version = 99");
    refused(&database.url(), "store.newer_schema", "have version 99, this release knows up to");
    assert_eq!(database.execute("SELECT version FROM wellkept.wellkept_schema"), "99", "left as it is");
}

#[test]
fn a_configuration_that_can_not_be_is_refused_at_its_line_without_the_url() {
    let check = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("wellkept.yaml"), text).unwrap();
        let output = run(folder.path(), &["config", "check", "wellkept.yaml"]);
        let told = text_of(&output);
        assert!(!told.contains("wrong-one"), "{told}");
        (output.status.code(), told)
    };
    let file = configuration("postgres://wellkept:wrong-one@127.0.0.1/postgres", "orders-1");
    assert_eq!(check(&file).0, Some(0));
    for (from, to, words) in [
        ("service: { name: orders }", "", "needs `service: { name: … }`"),
        ("@127.0.0.1", "@127.0.0.1:port", "can't be read"),
        ("instance: 'orders-1'", "instance: ''", "from 1 to 200 bytes"),
        ("instance: 'orders-1'", "schema: 'Pg; DROP'", "expected lower-case letters"),
        ("instance: 'orders-1'", "formerly: 'shop'", "`formerly` means nothing here"),
    ] {
        let (code, told) = check(&file.replace(from, to));
        assert!(code != Some(0) && told.contains(words) && told.contains("wellkept.yaml:3"), "{told}");
    }
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}
