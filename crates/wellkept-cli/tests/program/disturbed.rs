//! The end of the program while something goes wrong around it: reloads, a log that can't be written, a kill, a clock
//! that jumps.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use wellkept_testkit::{Program, Signal, WallClock, http, until};

use crate::served::{PATIENCE, Served, listening, run, wellkept};

#[test]
fn reloads_in_the_middle_of_the_end_and_an_end_in_the_middle_of_reloads_change_nothing() {
    let many: Vec<_> =
        (0..500).map(|number| format!("\n  - {{ name: scratch-{number}, disk: {{ path: / }} }}")).collect();
    let configuration = format!("shutdown: {{ delay: 500ms, deadline: 20s }}\nchecks:{}\n", many.concat());
    let mut served = Served::with("shutdown: { delay: 500ms, deadline: 20s }\nchecks: []\n");
    for text in [configuration.as_str(), "", "checks: [{ nonsense", configuration.as_str()] {
        std::fs::write(served.file(), text).unwrap();
        for _ in 0..20 {
            served.program.signal(Signal::HUP);
        }
    }
    served.program.signal(Signal::TERM);
    served.wait_for(|line| line["phase"] == "delaying");
    until(PATIENCE, "the end", || {
        served.program.signal(Signal::HUP);
        served.program.ended().is_some()
    });
    let output = served.program.output();
    assert_eq!(served.program.wait(PATIENCE).code(), Some(0), "{output}");
    assert!(!output.contains("panicked"), "{output}");
}

#[test]
fn a_log_whose_reader_is_gone_or_that_finds_no_room_changes_nothing() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for output in [Stdio::piped(), full()] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("wellkept.yaml"), "checks: []\nlogging: { level: debug }\n").unwrap();
        let address = wellkept_testkit::free_address();
        let mut command = wellkept(folder.path());
        command.args(["serve", "--listen", &address.to_string()]).stdin(Stdio::null()).stdout(output).stderr(full());
        let mut program = command.spawn().unwrap();
        drop(program.stdout.take());
        until(PATIENCE, "the door to open", || http::request(address, "GET", "/readyz", &[], b"").is_ok());
        until(PATIENCE, "a line to fail", || {
            let page = http::get(address, "/metrics").text();
            let failed = page.lines().find_map(|line| {
                line.strip_prefix("wellkept_log_lines_dropped_total{sink=\"stdout\",reason=\"output_failed\"} ")
            });
            failed.is_some_and(|failed| failed.parse::<f64>().unwrap() > 0.0)
        });
        let pid = rustix::process::Pid::from_child(&program);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let status = wellkept_testkit::until_some(PATIENCE, "the end", || program.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn a_kill_in_the_middle_of_the_end_leaves_a_whole_store() {
    let configuration = "
store: { url: 'sqlite:history.db' }
checks:
  - name: scratch
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    interval: 50ms
";
    let mut served = Served::with(configuration);
    served.until_status("scratch", "healthy");
    assert_eq!(served.stop(), Some(0));
    let changes = |folder: &Path| {
        let output = run(folder, &["status", "--config", "wellkept.yaml", "--json"]);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        told["changes"].as_array().unwrap().len()
    };
    let before = changes(served.folder.path());
    assert!(before > 0);

    let delayed = format!("shutdown: {{ delay: 20s, deadline: 60s }}\n{configuration}");
    std::fs::write(served.file(), delayed).unwrap();
    let mut again = Served::again(served.folder);
    again.until_status("scratch", "healthy");
    again.program.signal(Signal::TERM);
    again.wait_for(|line| line["phase"] == "delaying");
    again.program.signal(Signal::KILL);
    assert_eq!(again.program.wait(PATIENCE).signal(), Some(9));
    assert!(changes(again.folder.path()) >= before);
    let last = Served::again(again.folder);
    last.until_status("history", "healthy");
}

#[test]
fn a_clock_on_the_wall_that_jumps_moves_no_deadline() {
    for years in [10, -10] {
        let folder = tempfile::tempdir().unwrap();
        let configuration = "checks: []\nshutdown: { delay: 300ms, deadline: 60s }\nlogging: { level: debug }\n";
        std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
        let mut command = wellkept(folder.path());
        let clock = WallClock::of(command.args(["serve", "--listen", "127.0.0.1:0"]));
        let mut program = Program::spawn(&mut command);
        let address = listening(&program, "probes and metrics");
        assert_eq!(http::get(address, "/livez").status, 200);
        let began = Instant::now();
        program.signal(Signal::TERM);
        program.wait_for_line(|line| line.contains("shutdown: delaying"), PATIENCE);
        clock.jump_days(365 * years);
        assert_eq!(program.wait(PATIENCE).code(), Some(0), "{}", program.output());
        assert!(began.elapsed() >= Duration::from_millis(300), "the delay is kept");
        let output = program.output();
        let year_of = |said: &str| {
            let line = output.lines().rfind(|line| line.contains(said)).unwrap_or_else(|| panic!("{said}: {output}"));
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["timestamp"].as_str().unwrap()[..4].parse::<i32>().unwrap()
        };
        let jumped = year_of("\"ended\"") - year_of("shutdown: delaying");
        assert!((jumped - years).abs() <= 1, "the clock has jumped by {jumped} years");
    }
}
