//! The example as a real process, told to end with a request in flight.

use std::process::Command;
use std::time::Duration;

use wellkept_testkit::http::Connection;
use wellkept_testkit::{Program, Signal, until};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_request_in_flight_is_served_and_told_to_go_and_the_server_closes_before_the_end() {
    let (mut clock, address) =
        Program::listening(Command::new(env!("CARGO_BIN_EXE_clock")).env("CLOCK_LISTEN", "127.0.0.1:0"), PATIENCE);
    let mut idle = Connection::open(address).unwrap();
    let answer = idle.get("/time?ms=0").unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    let mut slow = Connection::open(address).unwrap();
    slow.send("GET", "/time?ms=1500", &[], b"").unwrap();
    // Read by the server once another has been answered that came later.
    assert_eq!(idle.get("/time?ms=100").unwrap().status, 200);

    clock.signal(Signal::TERM);
    until(PATIENCE, "the listener to close", || Connection::open(address).is_err());
    let answer = slow.read_response(PATIENCE).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(clock.wait(PATIENCE).code(), Some(0), "{}", clock.output());
}
