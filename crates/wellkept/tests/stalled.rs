//! A real process whose runtime is wedged: what becomes of it, and of one that was only stopped for a while.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use wellkept::health::STALLED_EXIT_CODE;
use wellkept::telemetry::logging::{self, Format, Options, SinkOptions};
use wellkept::{OnStall, Service, ServiceOptions, WatchOptions};
use wellkept_testkit::http::{self, Connection};
use wellkept_testkit::{Program, Signal, until};

const PATIENCE: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(1);
/// How long the runtime is busy without being stalled.
const DOZE: Duration = Duration::from_millis(500);

/// The child's `main`: a service with routes that block its only thread. It claims nothing when no test below has
/// started it.
#[test]
fn child() {
    let Ok(on_stall) = std::env::var("ON_STALL") else { return };
    logging::init(Options::to(SinkOptions::stdout(Format::Text))).unwrap();
    let on_stall = if on_stall == "exit" { OnStall::Exit { after: LIMIT } } else { OnStall::Tell };
    let liveness = WatchOptions { period: Duration::from_millis(20), limit: LIMIT, on_stall };
    let options = ServiceOptions { liveness, ..ServiceOptions::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let service = Service::with_options("wedged", "1", options);
        let wedge = async || -> &'static str {
            loop {
                std::thread::park();
            }
        };
        let doze = async || {
            println!("dozing");
            // pace: the runtime owes an answer for as long.
            std::thread::sleep(DOZE);
        };
        let app = Router::new().route("/wedge", get(wedge)).route("/doze", get(doze));
        service.serve(app, ([127, 0, 0, 1], 0)).await.unwrap();
    });
}

fn start(on_stall: &str) -> (Program, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    let program = Program::spawn(command.args(["--exact", "child", "--nocapture"]).env("ON_STALL", on_stall));
    let line = program.wait_for_line(|line| line.contains("listening"), PATIENCE);
    let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address: {line}"));
    until(PATIENCE, "the start", || http::get(address, "/readyz").status == 200);
    (program, address)
}

/// Sends a request that blocks the runtime.
fn block(address: SocketAddr, path: &str) -> Connection {
    let mut connection = Connection::open(address).expect("it listens");
    connection.send("GET", path, &[], b"").expect("it takes the request");
    connection
}

#[test]
fn a_stalled_process_ends_with_70_where_that_is_asked_for() {
    let (mut program, address) = start("exit");
    let _connection = block(address, "/wedge");
    assert_eq!(program.wait(PATIENCE).code(), Some(i32::from(STALLED_EXIT_CODE)));
    let said = program.output();
    assert!(said.contains("the runtime is stalled") && said.contains("the process is ended"), "{said}");
}

#[test]
fn a_stalled_process_is_left_alone_where_it_is_not_asked_for() {
    let (mut program, address) = start("tell");
    let _connection = block(address, "/wedge");
    program.wait_for_line(|line| line.contains("the runtime is stalled"), PATIENCE);
    // pace: long enough for an end that would come with the limit.
    std::thread::sleep(LIMIT);
    assert_eq!(program.ended(), None);
}

#[test]
fn a_process_that_was_stopped_and_goes_on_is_not_ended() {
    let (mut program, address) = start("exit");
    // It is stopped while its runtime owes an answer: what passes until it goes on is not the runtime's.
    let _connection = block(address, "/doze");
    program.wait_for_line(|line| line.ends_with("dozing"), PATIENCE);
    // pace: the next question is asked meanwhile, and the runtime dozes on.
    std::thread::sleep(DOZE / 5);
    program.signal(Signal::STOP);
    // pace: the process is stopped for longer than a stall may last.
    std::thread::sleep(2 * LIMIT);
    program.signal(Signal::CONT);
    for _ in 0..20 {
        assert_eq!(http::get(address, "/livez").status, 200);
    }
    assert_eq!(program.ended(), None);
}
