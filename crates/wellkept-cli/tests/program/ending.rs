//! How the program ends.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use wellkept_testkit::{Signal, http, until};

use crate::served::{PATIENCE, Served, wellkept};

const DELAYED: &str = "
checks: []
shutdown: { delay: 20s, deadline: 60s }
";

#[test]
fn sigterm_and_sigint_end_it_cleanly_and_soon() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut served = Served::with("checks: []\n");
        let began = Instant::now();
        served.program.signal(signal);
        assert_eq!(served.program.wait(PATIENCE).code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?} with nothing to wait for", began.elapsed());
    }
}

#[test]
fn the_whole_report_is_in_the_log_where_not_all_went_well_or_that_is_asked_for() {
    let reported = |served: &Served| {
        let output = served.program.output();
        let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["message"] == "the report of the shutdown")?;
        serde_json::from_str::<Value>(line["report"].as_str().unwrap()).ok()
    };
    for (level, is_told) in [("info", false), ("debug", true)] {
        let mut served =
            Served::with(&format!("checks: []\nshutdown: {{ delay: 10ms }}\nlogging: {{ level: {level} }}\n"));
        served.program.signal(Signal::TERM);
        assert_eq!(served.program.wait(PATIENCE).code(), Some(0));
        let report = reported(&served);
        assert_eq!(report.is_some(), is_told, "{level}");
        let Some(report) = report else { continue };
        assert_eq!((&report["status"], &report["cause"]), (&"successful".into(), &json!({ "signal": "SIGTERM" })));
        let phases = report["phases"].as_array().unwrap();
        let names: Vec<_> = phases.iter().map(|phase| phase["phase"].as_str().unwrap()).collect();
        assert_eq!(names.first(), Some(&"initiated"));
        assert!(names.contains(&"draining_connections") && names.contains(&"flushing_buffers"), "{names:?}");
        // The delay counts from the trigger, as all of the times do.
        let delayed: f64 = phases[..2].iter().map(|phase| phase["duration_seconds"].as_f64().unwrap()).sum();
        assert!(delayed >= 0.01, "the delay: {report}");
    }

    let mut served = Served::with(DELAYED);
    served.program.signal(Signal::TERM);
    served.wait_for(|line| line["phase"] == "delaying");
    served.signal_again(Signal::INT);
    assert_eq!(served.program.wait(PATIENCE).code(), Some(130));
    let report = reported(&served).unwrap();
    assert_eq!((&report["status"], &report["forced_by"]), (&"forced".into(), &json!({ "signal": "SIGINT" })));
    let told = served.wait_for(|line| line["event"] == "sys_shutdown");
    assert_eq!(told["level"], "warning");
    assert!(told["description"].as_str().unwrap().starts_with("forced: "), "{told}");
}

#[test]
fn at_sigterm_readiness_fails_at_once_while_liveness_stays() {
    let mut served = Served::with(DELAYED);
    served.until_ready(true);
    served.program.signal(Signal::TERM);
    served.wait_for(|line| line["phase"] == "delaying");
    let ready = served.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["reason"], "draining");
    assert_eq!(served.get("/health/live").status, 200);
    assert_eq!(served.get("/livez").status, 200);
    assert!(served.get("/metrics").text().contains("wellkept_shutdown_phase{phase=\"delaying\"} 1"));
    assert_eq!(served.get("/api/v1/shutdown").json()["phase"], "delaying");
}

#[test]
fn a_second_signal_forces_it_with_its_own_exit_code() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut served = Served::with(DELAYED);
        served.program.signal(Signal::TERM);
        served.wait_for(|line| line["phase"] == "delaying");
        let began = Instant::now();
        served.signal_again(second);
        assert_eq!(served.program.wait(PATIENCE).code(), Some(code));
        assert!(began.elapsed() < Duration::from_secs(10), "forced, and still {:?}", began.elapsed());
    }
}

#[test]
fn a_client_that_sends_nothing_does_not_hold_it() {
    let mut served = Served::with("checks: []\n");
    let _silent: Vec<_> = (0..20).map(|_| http::Connection::open(served.http).unwrap()).collect();
    let mut half = http::Connection::open(served.http).unwrap();
    half.write_raw(b"GET /health HTTP/1.1\r\nHost: ").unwrap();
    served.until_ready(true);
    let began = Instant::now();
    assert_eq!(served.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[test]
fn a_reader_of_the_log_that_is_stuck_delays_no_probe_and_fails_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "checks: []\nlogging: { repeats: off }\n";
    std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    let address = wellkept_testkit::free_address();
    let mut command = wellkept(folder.path());
    command.args(["serve", "--listen", &address.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
    // Nobody ever reads its standard output.
    let mut program = command.spawn().unwrap();
    let pid = Pid::from_child(&program);
    until(PATIENCE, "the door to open", || http::request(address, "GET", "/readyz", &[], b"").is_ok());
    until(PATIENCE, "lines to wait", || {
        kill_process(pid, Signal::HUP).unwrap();
        let page = http::get(address, "/metrics").text();
        let waiting = page.lines().find_map(|line| line.strip_prefix("wellkept_log_lines_pending{sink=\"stdout\"} "));
        waiting.and_then(|waiting| waiting.parse::<f64>().ok()).is_some_and(|waiting| waiting > 10.0)
    });
    assert_eq!(http::get(address, "/readyz").status, 200);
    kill_process(pid, Signal::TERM).unwrap();
    let status = wellkept_testkit::until_some(PATIENCE, "the end", || program.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_last_line_of_the_log_has_its_books_and_what_was_put_aside_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let spill = folder.path().join("spill");
    std::fs::create_dir(&spill).unwrap();
    let kept =
        r#"{"timestamp":"2026-01-15T10:30:00.123Z","level":"error","target":"before","message":"of the run before"}"#;
    let head = format!("wellkept-log-spill 1 {:020}\n", 42);
    std::fs::write(spill.join("stdout.1.spill"), format!("{head}{kept}\n")).unwrap();
    let configuration =
        format!("checks: []\nlogging: {{ spill: {{ folder: {}, max_size: 1MiB }} }}\n", spill.display());
    std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    let mut served = Served::again(folder);
    served.wait_for(|line| line["message"] == "of the run before");
    let page = served.get("/metrics").text();
    let figure = |name: &str| {
        let of_output = format!("wellkept_log_lines_{name}{{sink=\"stdout\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&of_output)?.parse::<f64>().ok())
    };
    assert_eq!(figure("accepted_total"), Some(figure("written_total").unwrap() + figure("pending").unwrap()));
    served.program.signal(Signal::TERM);
    assert_eq!(served.program.wait(PATIENCE).code(), Some(0));
    let output = served.program.stdout();
    let last: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!((&last["message"], &last["sink"]), (&"log closed".into(), &"stdout".into()));
    let lines = output.lines().count();
    assert_eq!((&last["written"], &last["accepted"]), (&lines.into(), &lines.into()));
    assert_eq!((&last["dropped"], &last["pending"]), (&0.into(), &0.into()));
    let left = std::fs::read_to_string(served.folder.path().join("spill/stdout.1.spill")).unwrap();
    assert_eq!(left, head);
}

#[test]
fn a_spill_that_can_hold_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "checks: []\nlogging: { spill: { folder: /tmp/x, max_size: 1KiB } }\n";
    std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    let output = crate::served::run(folder.path(), &["config", "check", "wellkept.yaml"]);
    assert!(!output.status.success());
    let said = crate::served::text(&[output.stdout, output.stderr].concat());
    assert!(said.contains("wellkept.yaml:2:47: at least 64KiB"), "{said}");
}
