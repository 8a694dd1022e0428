//! A service under a real systemd: who is given more time for its end, who is not, and what becomes of one that dies or is
//! stuck with a request in flight.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use wellkept::shutdown::Settings;
use wellkept::telemetry::logging::{self, Format, Options, SinkOptions};
use wellkept::{Service, ServiceOptions};
use wellkept_testkit::http::Connection;
use wellkept_testkit::{Systemd, not_run, until, until_some};

const PATIENCE: Duration = Duration::from_secs(20);
const UNIT: &str = "orders.service";
const PORT: u16 = 8080;

/// The service's `main`: a route that takes as long as it is asked to, and one that blocks its only thread. It claims nothing
/// when no unit below has started it.
#[test]
fn child() {
    if std::env::var_os("WELLKEPT_TEST_UNIT").is_none() {
        return;
    }
    logging::init(Options::to(SinkOptions::stdout(Format::Text))).unwrap();
    let [deadline, drain] = [40, 30].map(Duration::from_secs);
    let shutdown = Settings { deadline, drain, announce: Duration::ZERO, ..Settings::systemd() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let service =
            Service::with_options("orders", "1.4.2", ServiceOptions { shutdown, ..ServiceOptions::default() });
        let slow = async |Path(ms): Path<u64>| {
            println!("begins");
            // pace: what the client asked for.
            tokio::time::sleep(Duration::from_millis(ms)).await;
            "served"
        };
        let wedge = async || -> &'static str {
            loop {
                std::thread::park();
            }
        };
        let app = Router::new().route("/slow/{ms}", get(slow)).route("/wedge", get(wedge));
        let report = service.serve(app, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))).await.unwrap();
        std::process::exit(i32::from(report.exit_code()));
    });
}

/// A systemd that has started the service. `settings` are lines of `[Service]`. `None`, and said so, where none can be booted.
fn started(settings: &str) -> Option<Systemd> {
    let unit = format!(
        "[Unit]
DefaultDependencies=no
[Service]
Type=notify
KillMode=mixed
Environment=WELLKEPT_TEST_UNIT=1
ExecStart=/out/orders --exact child --nocapture
ExecStopPost=/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS > /out/ended'
StandardOutput=append:/out/orders.log
StandardError=append:/out/orders.log
{settings}
"
    );
    let itself = std::env::current_exe().expect("a test has a path");
    let systemd = Systemd::boot(&[(UNIT, &unit)], &itself, "orders").inspect_err(|why| not_run(why)).ok()?;
    systemd.start(UNIT);
    Some(systemd)
}

/// Sends a request on a connection of its own.
fn ask(systemd: &Systemd, path: &str) -> Connection {
    let mut connection = systemd.connect(PORT).expect("it listens");
    connection.send("GET", path, &[], b"").expect("it takes the request");
    connection
}

fn until_in_flight(systemd: &Systemd, count: usize) {
    until(PATIENCE, "the handlers to begin", || systemd.said().matches("begins").count() == count);
}

fn stop(systemd: &Systemd) {
    assert!(systemd.systemctl(&["stop", "--no-block", UNIT]).status.success());
}

/// Waits for the end and returns how it came, as systemd tells what it runs then.
fn ended(systemd: &Systemd) -> String {
    let ended = systemd.out().join("ended");
    until_some(PATIENCE, "the end", || fs::read_to_string(&ended).ok().filter(|text| text.ends_with('\n')))
}

#[test]
fn a_drain_that_gets_on_may_take_longer_than_the_unit_allows_and_its_status_line_counts_down() {
    let Some(systemd) = started("TimeoutStopSec=500ms") else { return };
    // The last ends after what was granted when the drain began.
    let mut requests: Vec<_> = [4_000, 8_000, 12_000].iter().map(|ms| ask(&systemd, &format!("/slow/{ms}"))).collect();
    until_in_flight(&systemd, 3);
    let began = Instant::now();
    stop(&systemd);
    let draining = |count: usize| format!("draining_connections: {count} requests in flight");
    systemd.until_shown(UNIT, "StatusText", PATIENCE, |told| told.starts_with(&draining(3)));
    systemd.until_shown(UNIT, "StatusText", PATIENCE, |told| told.starts_with(&draining(1)));
    for request in &mut requests {
        assert_eq!(request.read_response(PATIENCE).unwrap().text(), "served");
    }
    assert_eq!(ended(&systemd), "success exited 0\n");
    assert!(began.elapsed() > Duration::from_secs(11), "it took {:?}", began.elapsed());
}

#[test]
fn a_drain_that_does_not_get_on_is_killed() {
    let Some(systemd) = started("TimeoutStopSec=500ms") else { return };
    let mut request = ask(&systemd, "/slow/60000");
    until_in_flight(&systemd, 1);
    let began = Instant::now();
    stop(&systemd);
    assert_eq!(ended(&systemd), "timeout killed KILL\n");
    // The last sign of getting on was the beginning of the drain, and its own deadline would have come much later.
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
    assert!(request.read_response(PATIENCE).is_err());
}

#[test]
fn a_main_process_that_dies_with_a_request_in_flight_is_started_again() {
    let Some(systemd) = started("Restart=on-failure\nRestartSec=50ms") else { return };
    let mut request = ask(&systemd, "/slow/60000");
    until_in_flight(&systemd, 1);
    let process = systemd.show(UNIT, "MainPID");
    systemd.signal(UNIT, "KILL");
    assert!(request.read_response(PATIENCE).is_err(), "nobody is left to answer it");
    systemd.until_shown(UNIT, "NRestarts", PATIENCE, |restarts| restarts == "1");
    systemd.until_shown(UNIT, "StatusText", PATIENCE, |told| told == "orders serves");
    assert_ne!(systemd.show(UNIT, "MainPID"), process);
    assert_eq!(ask(&systemd, "/slow/0").read_response(PATIENCE).unwrap().text(), "served");
}

#[test]
fn a_runtime_that_a_request_blocks_is_started_again_by_the_watchdog() {
    let watched = "WatchdogSec=500ms\nWatchdogSignal=SIGKILL\nRestart=on-watchdog\nRestartSec=50ms";
    let Some(systemd) = started(watched) else { return };
    let _stuck = ask(&systemd, "/wedge");
    systemd.until_shown(UNIT, "NRestarts", PATIENCE, |restarts| restarts == "1");
    systemd.until_shown(UNIT, "StatusText", PATIENCE, |told| told == "orders serves");
    assert_eq!(ended(&systemd), "watchdog killed KILL\n");
}
