//! The example as a real process, with a `StatsD` server that adds up what it is sent.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use wellkept_testkit::{Program, Signal, free_address, http, prometheus, until};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_the_business_counts_is_on_the_page_and_reaches_statsd_to_the_last_request() {
    let statsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    statsd.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let address = free_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_projects"));
    command.env("PROJECTS_LISTEN", address.to_string());
    command.env("PROJECTS_STATSD", statsd.local_addr().unwrap().to_string());
    let mut projects = Program::spawn(&mut command);
    until(PATIENCE, "the service to answer", || std::net::TcpStream::connect(address).is_ok());
    let post = |path: &str| http::request(address, "POST", path, &[], b"").unwrap().status;
    assert_eq!(
        (post("/clients/web"), post("/clients/web"), post("/clients/a%0Ab"), post("/tasks")),
        (201, 201, 201, 200)
    );
    let page = http::get(address, "/metrics").text();
    assert!(page.contains("\nclients_created_total{channel=\"web\"} 2\n"), "{page}");
    assert!(page.contains("\nclients_created_total{channel=\"a\\nb\"} 1\n"), "{page}");
    assert!(page.contains("\ntasks_open 0.0\n") && page.contains("\ntask_duration_seconds_count 1\n"), "{page}");
    assert_eq!(prometheus::promtool(&page), "");
    projects.signal(Signal::TERM);
    assert_eq!(projects.wait(PATIENCE).code(), Some(0), "{}", projects.output());
    let (mut counted, mut buffer) = (HashMap::<String, f64>::new(), [0; 2048]);
    while let Ok(length) = statsd.recv(&mut buffer) {
        let datagram = std::str::from_utf8(&buffer[..length]).unwrap();
        for line in datagram.lines() {
            let (name, value) = line.split_once(':').unwrap();
            if let Some(more) = value.strip_suffix("|c") {
                *counted.entry(name.to_owned()).or_default() += more.parse::<f64>().unwrap();
            } else {
                value.strip_suffix("|g").unwrap().parse::<f64>().unwrap();
            }
        }
    }
    let of = |name: &str| counted.get(name).copied().unwrap_or_default();
    assert_eq!((of("clients_created.web"), of("clients_created.a_b"), of("tasks_completed")), (2.0, 1.0, 1.0));
}
