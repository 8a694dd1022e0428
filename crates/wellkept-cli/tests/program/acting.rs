//! What acts on a running program, who may do it, and what holds over a reload.

use serde_json::{Value, json};
use wellkept_testkit::{Program, http, until, until_some};

use crate::served::{PATIENCE, Served, listening, run, text, wellkept};

fn configuration(scratch: &str) -> String {
    format!(
        "service: {{ name: orders }}
checks:
  - name: scratch
    disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}
    groups: [ready]
    {scratch}
  - name: refused
    tcp: {{ address: '127.0.0.1:1' }}
    enabled: false
"
    )
}

fn send(served: &Served, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let json = [("content-type", "application/json")];
    let headers: Vec<_> = json.iter().filter(|_| !body.is_empty()).chain(headers).copied().collect();
    let response = http::request(served.http, method, path, &headers, body.as_bytes()).unwrap();
    (response.status, if response.text().is_empty() { Value::Null } else { response.json() })
}

fn post(served: &Served, path: &str) -> (u16, Value) {
    send(served, "POST", path, &[], "")
}

#[test]
fn a_check_that_the_file_disables_is_shown_and_counts_once_it_is_enabled() {
    let served = Served::with(&configuration("interval: 1s"));
    served.until_ready(true);
    let refused = served.component("refused");
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("unknown"), &json!("disabled")));
    let (status, refusal) = post(&served, "/api/v1/components/refused/run");
    assert_eq!((status, &refusal["error"]["code"]), (409, &json!("component.disabled")));

    assert_eq!(post(&served, "/api/v1/components/refused/enable").0, 200);
    served.until_ready(false);
    assert_eq!(served.component("refused")["reason"], "refused");
    assert_eq!(post(&served, "/api/v1/components/refused/disable").0, 200);
    served.until_ready(true);
    let told =
        served.wait_for(|line| line["message"] == "acted" && line["path"] == "/api/v1/components/refused/disable");
    assert!(told["by"].as_str().unwrap().starts_with("loopback from 127.0.0.1:"), "{told}");

    let checked = run(served.folder.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(0), "a run of the file leaves it out: {}", text(&checked.stdout));
    let named = run(served.folder.path(), &["check", "refused"]);
    assert_eq!(named.status.code(), Some(1), "unless it is named");
}

#[test]
fn a_run_is_fresh_and_metrics_show_the_queue_and_the_lag() {
    let served = Served::with(&configuration("interval: 1h"));
    served.until_ready(true);
    let runs = || {
        let page = served.get("/metrics").text();
        for series in [
            "wellkept_checks_queued 0",
            "wellkept_checks_limit{scope=\"remote\"} 512",
            "wellkept_checks_limit{scope=\"local\"} 512",
            "wellkept_checks_lag_seconds_bucket{le=\"0.001\"} ",
            "wellkept_checks_lag_seconds_bucket{le=\"+Inf\"} ",
            "wellkept_checks_lag_seconds_count ",
            "wellkept_checks_lag_seconds_sum ",
        ] {
            assert!(page.lines().any(|line| line.starts_with(series)), "{series} is missing: {page}");
        }
        let tick = page.lines().find_map(|line| line.strip_prefix("wellkept_engine_tick_timestamp_seconds "));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 20.0..now + 1.0).contains(&tick.unwrap().parse().unwrap()), "{tick:?} at {now}");
        let line = page
            .lines()
            .find(|line| line.starts_with("wellkept_check_runs_total{component=\"scratch\",verdict=\"pass\"}"));
        line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(runs() < 1.5);
    let fresh = until_some(PATIENCE, "a fresh result", || {
        let (status, ran) = post(&served, "/api/v1/components/scratch/run");
        assert_eq!(status, 200, "{ran}");
        (ran["fresh"] == true).then_some(ran)
    });
    assert_eq!(fresh["component"]["raw_status"], "pass");
    assert!((1.5..2.5).contains(&runs()), "one more");
    let (status, all) = post(&served, "/api/v1/run?required=true&timeout=5s");
    assert_eq!((status, &all["unfinished"], &all["status"]), (200, &json!([]), &json!("healthy")));
}

#[test]
fn what_was_tuned_holds_until_the_checks_own_definition_changes() {
    let mut served = Served::with(&configuration("interval: 1h"));
    served.until_ready(true);
    let body = r#"{"interval":"100ms","fall":7,"window":{"failures":5,"of":10}}"#;
    let (status, tuned) = send(&served, "PATCH", "/api/v1/components/scratch", &[], body);
    assert_eq!((status, &tuned["fall"], &tuned["interval"]), (200, &json!(7), &json!("100ms")), "{tuned}");
    let tuned = |served: &Served| served.component("scratch")["tuned"] == true;
    until(PATIENCE, "the answer to show it", || tuned(&served));
    let scratch = served.component("scratch");
    let settings = ["interval_ms", "timeout_ms", "fall", "rise"].map(|name| scratch[name].as_u64());
    assert_eq!(settings, [100, 2000, 7, 2].map(Some), "what holds now: {scratch}");
    let other = configuration("interval: 1h").replace("orders", "orders-2").replace("127.0.0.1:1'", "127.0.0.1:2'");
    served.reload(&other, "restart_required");
    assert!(tuned(&served), "another check changed");
    served.reload(&other.replace("interval: 1h", "window: { failures: 5, of: 10 }"), "restart_required");
    until(PATIENCE, "its own definition to be as in the file", || !tuned(&served));
}

#[test]
fn a_reload_is_asked_for_over_http_and_by_command_and_answers_what_it_came_to() {
    let served = Served::with(&configuration("interval: 1s"));
    served.until_ready(true);
    let address = format!("http://{}", served.http);
    let reload = || run(served.folder.path(), &["reload", "--server", &address]);
    let (status, told) = post(&served, "/api/v1/config/reload");
    assert_eq!((status, &told["outcome"]), (200, &json!("unchanged")), "{told}");
    let unchanged = reload();
    assert_eq!(
        (unchanged.status.code(), text(&unchanged.stdout).as_str()),
        (Some(0), "The configuration is unchanged.\n")
    );

    std::fs::write(served.file(), configuration("interval: 2s")).unwrap();
    let applied = reload();
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied.stderr));
    assert_eq!(
        text(&applied.stdout),
        "The new configuration runs.\n  changed: scratch\n  ~ checks.scratch.interval: 1s -> 2s\n"
    );

    std::fs::write(served.file(), configuration("interval: soon")).unwrap();
    let (status, refusal) = post(&served, "/api/v1/config/reload");
    assert_eq!((status, &refusal["error"]["code"]), (422, &json!("config.rejected")));
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(message.contains("wellkept.yaml:6:15: expected a duration"), "{message}");
    let rejected = reload();
    assert_eq!(rejected.status.code(), Some(78));
    assert!(text(&rejected.stderr).contains("wellkept.yaml:6:15: expected a duration"), "{}", text(&rejected.stderr));
    assert_eq!(text(&rejected.stdout), "");
    assert!(served.get("/readyz").status == 200, "it runs on");
    let nobody = run(served.folder.path(), &["reload", "--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(69));
}

#[test]
fn a_page_of_another_origin_does_nothing_with_an_operators_browser() {
    let served = Served::with(&configuration("interval: 1s"));
    served.until_ready(true);
    let own = format!("http://{}", served.http);
    for (headers, wanted) in [
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("origin", own.as_str()), ("sec-fetch-site", "same-origin")], 200),
    ] {
        let (status, _) = send(&served, "POST", "/api/v1/components/scratch/disable", &headers, "");
        assert_eq!(status, wanted, "{headers:?}");
        let disabled = is_disabled(&served, "scratch", wanted == 200);
        assert_eq!(disabled, wanted == 200, "{headers:?}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let response = http::request(served.http, "POST", "/api/v1/components/scratch/enable", &form, b"a=b").unwrap();
    assert_eq!(response.status, 415);
}

#[test]
fn nothing_acts_on_an_open_door_and_only_the_token_acts_on_the_admin_door() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-long-enough-secret\n").unwrap();
    let admin = "http: { listen: '0.0.0.0:0' }\nadmin: { listen: '0.0.0.0:0', token_file: token }\n";
    std::fs::write(folder.path().join("wellkept.yaml"), format!("{admin}{}", configuration("interval: 1s"))).unwrap();
    let program = Program::spawn(wellkept(folder.path()).arg("serve"));
    let local = |door: &str| std::net::SocketAddr::from(([127, 0, 0, 1], listening(&program, door).port()));
    let (http, admin) = (local("probes and metrics"), local("status page and details"));
    let post =
        |door, path: &str, headers: &[(&str, &str)]| http::request(door, "POST", path, headers, b"").unwrap().status;
    let bearer = [("authorization", "Bearer a-long-enough-secret")];
    for path in ["/api/v1/components/scratch/disable", "/api/v1/run", "/api/v1/config/reload"] {
        assert_eq!(post(http, path, &bearer), 404, "{path}");
        assert_eq!(post(admin, path, &[]), 401, "{path}");
        assert_eq!(post(admin, path, &bearer), 200, "{path}");
    }
    let server = format!("http://{admin}");
    let with_token = run(folder.path(), &["reload", "--server", &server, "--token-file", "token"]);
    assert_eq!(with_token.status.code(), Some(0), "{}", text(&with_token.stderr));
    let without = run(folder.path(), &["reload", "--server", &server]);
    assert_eq!(without.status.code(), Some(69));
    assert!(text(&without.stderr).contains("--token-file"));
}

#[test]
fn where_loopback_is_not_trusted_only_the_token_opens_the_admin_door_also_after_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-long-enough-secret\n").unwrap();
    let write = |loopback: bool| {
        let admin = format!("admin: {{ listen: '127.0.0.1:0', token_file: token, loopback: {loopback} }}");
        let text = format!("http: {{ listen: '127.0.0.1:0' }}\n{admin}\n{}", configuration("interval: 1s"));
        std::fs::write(folder.path().join("wellkept.yaml"), text).unwrap();
    };
    write(false);
    let program = Program::spawn(wellkept(folder.path()).arg("serve"));
    let admin = listening(&program, "status page and details");
    let reload =
        |headers: &[(&str, &str)]| http::request(admin, "POST", "/api/v1/config/reload", headers, b"").unwrap().status;
    let bearer = [("authorization", "Bearer a-long-enough-secret")];
    assert_eq!((reload(&[]), reload(&bearer)), (401, 200));
    write(true);
    assert_eq!((reload(&bearer), reload(&[])), (200, 200), "trusted by the new file");
    write(false);
    assert_eq!((reload(&[]), reload(&[])), (200, 401), "and not by the next");
}

/// Whether a component is disabled; when it is to be, once that can be seen.
fn is_disabled(served: &Served, name: &str, wanted: bool) -> bool {
    let is = || served.component(name)["reason"] == "disabled";
    if wanted {
        until(PATIENCE, "it to be disabled", is);
    }
    is()
}
