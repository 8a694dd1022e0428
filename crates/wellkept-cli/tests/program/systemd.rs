//! What systemd hears of the program, and what it does with it: most of this on a real one.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use wellkept_testkit::{Program, Signal, Systemd, not_run, until};

use crate::served::{PATIENCE, wellkept};

const UNIT: &str = "orders.service";
const PORT: u16 = 8080;

/// Listens where the service does.
const SOCKET: &str = "
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=127.0.0.1:8080
FileDescriptorName=http
";

/// A systemd with the program as its service, not started yet. `settings` are lines of `[Service]`; those that say
/// something again say it instead. `None`, and said so, where none can be booted.
fn systemd(configuration: &str, settings: &str) -> Option<Systemd> {
    let unit = format!(
        "[Unit]
DefaultDependencies=no
[Service]
Type=notify
KillMode=mixed
Environment=XDG_STATE_HOME=/run/state WELLKEPT_CONFIG=/out/wellkept.yaml
ExecStart=/out/wellkept serve --listen 127.0.0.1:{PORT}
ExecReload=/bin/kill -HUP $MAINPID
ExecStopPost=/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS > /out/ended'
StandardOutput=append:/out/orders.log
StandardError=append:/out/orders.log
{settings}
"
    );
    let units = [(UNIT, &*unit), ("orders.socket", SOCKET)];
    let systemd = Systemd::boot(&units, Path::new(env!("CARGO_BIN_EXE_wellkept")), "wellkept");
    let systemd = systemd.inspect_err(|why| not_run(why)).ok()?;
    configure(&systemd, configuration);
    Some(systemd)
}

fn configure(systemd: &Systemd, configuration: &str) {
    fs::write(systemd.out().join("wellkept.yaml"), format!("service: {{ name: orders }}\n{configuration}")).unwrap();
}

/// How the service ended, as systemd tells what it runs then: a unit that has ended well is forgotten.
fn ended(systemd: &Systemd) -> String {
    fs::read_to_string(systemd.out().join("ended")).unwrap().trim().to_owned()
}

fn asked(systemd: &Systemd, path: &str) -> Value {
    systemd.connect(PORT).unwrap().get(path).unwrap().json()
}

#[test]
fn systemd_hears_when_it_is_ready_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wellkept.yaml"), "service: { name: orders }\nchecks: []\n").unwrap();
    let address = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&address).unwrap();
    systemd.set_nonblocking(true).unwrap();
    let mut command = wellkept(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let mut program = Program::spawn(command.env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "200000"));
    let heard = || {
        let mut buffer = [0; 1000];
        let mut lines = Vec::new();
        while let Ok(length) = systemd.recv(&mut buffer) {
            lines.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        }
        lines
    };
    let hear = |wanted: &str| {
        let mut all: Vec<String> = Vec::new();
        until(PATIENCE, wanted, || {
            all.extend(heard());
            all.iter().any(|line| line.starts_with(wanted))
        });
        all
    };
    assert!(hear("READY=1").contains(&"STATUS=orders serves".to_owned()));
    hear("WATCHDOG=1");

    // A file that is refused: the old configuration serves on, and systemd must hear that it is not reloading for ever.
    std::fs::write(folder.path().join("wellkept.yaml"), "").unwrap();
    program.signal(Signal::HUP);
    let reloading = hear("RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    if !reloading.contains(&"READY=1".to_owned()) {
        hear("READY=1");
    }

    program.signal(Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(program.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_unit_is_active_when_the_start_is_complete_and_not_before() {
    let slow = "checks: [{ name: migrations, timeout: 20s, command: { run: [/bin/sh, -c, 'until [ -e /out/done ]; do sleep 0.05; done'] } }]\n";
    let Some(systemd) = systemd(slow, "") else { return };
    assert!(systemd.systemctl(&["start", "--no-block", UNIT]).status.success());
    systemd.until_shown(UNIT, "StatusText", PATIENCE, |status| status == "orders starts");
    until(PATIENCE, "the door to open", || systemd.connect(PORT).is_ok());
    assert_eq!(systemd.connect(PORT).unwrap().get("/livez").unwrap().status, 200);
    assert_eq!(systemd.connect(PORT).unwrap().get("/health/startup").unwrap().status, 503);
    assert_eq!(systemd.show(UNIT, "ActiveState"), "activating");

    fs::write(systemd.out().join("done"), "").unwrap();
    systemd.until_shown(UNIT, "ActiveState", PATIENCE, |state| state == "active");
    assert_eq!(systemd.show(UNIT, "StatusText"), "orders serves");
    assert_eq!(systemd.connect(PORT).unwrap().get("/readyz").unwrap().status, 200);
}

#[test]
fn a_stop_ends_with_success_and_its_status_line_tells_the_phase() {
    let Some(systemd) = systemd("checks: []\nshutdown: { delay: 20s, deadline: 60s }\n", "") else { return };
    systemd.start(UNIT);
    let mut open = systemd.connect(PORT).unwrap();
    assert_eq!(open.get("/readyz").unwrap().status, 200);
    assert!(systemd.systemctl(&["stop", "--no-block", UNIT]).status.success());
    let told = systemd.until_shown(UNIT, "StatusText", PATIENCE, |status| status.starts_with("delaying"));
    assert_eq!(told, "delaying: 0 requests in flight, 0 connections, 0 resources open");
    assert_eq!(systemd.show(UNIT, "ActiveState"), "deactivating");
    assert_eq!(open.get("/readyz").unwrap().status, 503);
    // What is left of the delay is cut by a second signal, and that is no success.
    // pace: longer than the echo of a signal lasts.
    thread::sleep(Duration::from_millis(300));
    systemd.signal(UNIT, "TERM");
    systemd.until_shown(UNIT, "ActiveState", PATIENCE, |state| state == "failed");
    assert_eq!(ended(&systemd), "exit-code exited 143");

    configure(&systemd, "checks: []\n");
    systemd.start(UNIT);
    assert!(systemd.systemctl(&["stop", UNIT]).status.success());
    assert_eq!(ended(&systemd), "success exited 0");
    assert_eq!(systemd.show(UNIT, "ActiveState"), "inactive");
}

#[test]
fn a_reload_takes_the_new_configuration_or_keeps_the_old_one_and_the_unit_stays_active() {
    let check = |name: &str| format!("checks: [{{ name: {name}, memory: {{}} }}]\n");
    let Some(systemd) = systemd(&check("first"), "") else { return };
    systemd.start(UNIT);
    let process = systemd.show(UNIT, "MainPID");
    let is_there = |name: &str| asked(&systemd, "/health/detailed")["components"][name].is_object();
    assert!(is_there("first"));

    configure(&systemd, &check("second"));
    assert!(systemd.systemctl(&["reload", UNIT]).status.success());
    until(PATIENCE, "the new check", || is_there("second") && !is_there("first"));
    systemd.until_shown(UNIT, "ActiveState", PATIENCE, |state| state == "active");

    configure(&systemd, "checks: [{ name: third, memori: {} }]\n");
    assert!(systemd.systemctl(&["reload", UNIT]).status.success());
    until(PATIENCE, "the refusal", || systemd.said().contains("rejected"));
    systemd.until_shown(UNIT, "ActiveState", PATIENCE, |state| state == "active");
    assert!(is_there("second"));
    assert_eq!((systemd.show(UNIT, "MainPID"), systemd.show(UNIT, "NRestarts")), (process, "0".into()));
}

#[test]
fn a_stuck_process_is_started_again_by_the_watchdog_and_a_healthy_one_is_not() {
    let watched = "WatchdogSec=500ms\nRestart=on-watchdog\nRestartSec=50ms\nTimeoutAbortSec=200ms";
    let Some(systemd) = systemd("checks: []\n", watched) else { return };
    systemd.start(UNIT);
    let process = systemd.show(UNIT, "MainPID");
    // Three times what would be too long without a sign of life.
    let signs = systemd.show(UNIT, "WatchdogTimestampMonotonic").parse::<u64>().unwrap();
    systemd
        .until_shown(UNIT, "WatchdogTimestampMonotonic", PATIENCE, |at| at.parse::<u64>().unwrap() > signs + 1_500_000);
    assert_eq!((systemd.show(UNIT, "MainPID"), systemd.show(UNIT, "NRestarts")), (process.clone(), "0".into()));

    systemd.signal(UNIT, "STOP");
    systemd.until_shown(UNIT, "NRestarts", PATIENCE, |restarts| restarts == "1");
    systemd.until_shown(UNIT, "ActiveState", PATIENCE, |state| state == "active");
    assert_ne!(systemd.show(UNIT, "MainPID"), process);
    let ready = systemd.connect(PORT).unwrap().get("/readyz").unwrap();
    assert_eq!(ready.status, 200);
}

/// Asks over and over, each time on a connection of its own, until it is told to stop; returns how often it was answered.
fn ask_until(systemd: &Systemd, stop: &AtomicBool) -> u32 {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut connection = systemd.connect(PORT).expect("nobody is refused");
        let answer = connection.get("/livez").expect("who is let in is answered");
        assert_eq!(answer.status, 200);
        answered += 1;
    }
    answered
}

#[test]
fn a_socket_unit_refuses_nobody_while_its_service_is_started_again() {
    let Some(systemd) = systemd("checks: []\n", "") else { return };
    systemd.start("orders.socket");
    assert_eq!(systemd.show(UNIT, "ActiveState"), "inactive");
    // The first who comes has it started.
    assert_eq!(systemd.connect(PORT).unwrap().get("/livez").unwrap().status, 200);
    let stop = AtomicBool::new(false);
    let answered = thread::scope(|scope| {
        let asking = scope.spawn(|| ask_until(&systemd, &stop));
        for _ in 0..3 {
            let process = systemd.show(UNIT, "MainPID");
            assert!(systemd.systemctl(&["restart", UNIT]).status.success());
            assert_ne!(systemd.show(UNIT, "MainPID"), process);
            assert_eq!(ended(&systemd), "success exited 0");
        }
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(answered > 3, "{answered}");
}

#[test]
fn a_new_process_takes_the_place_of_the_old_one_in_a_unit_that_stays_active() {
    let takes_over = "NotifyAccess=all
RuntimeDirectory=orders
ExecReload=
ExecReload=/bin/sh -c '/out/wellkept serve --listen 127.0.0.1:8080 --take-over &'";
    let handover = "checks: []\nshutdown: { handover: { path: /run/orders/handover.sock } }\n";
    let Some(systemd) = systemd(handover, takes_over) else { return };
    systemd.start(UNIT);
    let process = systemd.show(UNIT, "MainPID");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask_until(&systemd, &stop));
        assert!(systemd.systemctl(&["reload", UNIT]).status.success());
        let next = systemd.until_shown(UNIT, "MainPID", PATIENCE, |next| next != process && next != "0");
        until(PATIENCE, "the first to end", || systemd.said().contains("handed over"));
        systemd.until_shown(UNIT, "StatusText", PATIENCE, |told| told == "orders serves");
        assert_eq!((systemd.show(UNIT, "MainPID"), systemd.show(UNIT, "NRestarts")), (next, "0".into()));
        assert_eq!(systemd.show(UNIT, "ActiveState"), "active");
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
    // The new main process is the one that a stop ends, and there is nobody else.
    assert!(systemd.systemctl(&["stop", UNIT]).status.success());
    assert_eq!(ended(&systemd), "success exited 0");
    assert!(systemd.connect(PORT).is_err());
}
