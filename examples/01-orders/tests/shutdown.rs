//! The example as a real process beside a real PostgreSQL: what its clients, its probes and its database see when it is
//! told to end, and when the database goes away.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use wellkept_testkit::http::{self, Connection, PATIENCE, Response};
use wellkept_testkit::{Haproxy, Postgres, Program, SharedPostgres, Signal, free_address, until, until_some};

/// How long anything that should come may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// What counts as at once, for an end that could also come 20 s later.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The running example.
struct Orders {
    program: Program,
    address: SocketAddr,
    probes: SocketAddr,
    admin: SocketAddr,
}

impl Orders {
    /// Starts it and waits until it is ready. Draining may take 20 s, unless the settings say otherwise.
    fn start(database: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        command.env("DATABASE_URL", database).env("ORDERS_DRAIN", "20000");
        for door in ["ORDERS_LISTEN", "ORDERS_PROBES", "ORDERS_ADMIN"] {
            command.env(door, "127.0.0.1:0");
        }
        let program = Program::spawn(command.envs(settings.iter().copied()));
        let listening = |field: &str, name: &str| {
            let fits = |line: &str| event(line).is_some_and(|it| it["message"] == "listening" && it[field] == name);
            let event = event(&program.wait_for_line(fits, SOON)).expect("it was one just now");
            event["address"].as_str().and_then(|address| address.parse().ok()).expect("the address is one")
        };
        let (address, probes, admin) =
            (listening("service", "orders"), listening("door", "probes"), listening("door", "admin"));
        until(SOON, "readiness", || http::get(probes, "/readyz").status == 200);
        Self { program, address, probes, admin }
    }

    /// Sends a request on a connection of its own, and returns when it is in flight.
    fn begin(&self, path: &str) -> Connection {
        let mut connection = Connection::open(self.address).expect("it listens");
        connection.send("GET", path, &[], b"").expect("it takes the request");
        until(SOON, "the request to be in flight", || self.in_flight() == 1);
        connection
    }

    fn in_flight(&self) -> u64 {
        let shutdown = http::get(self.admin, "/api/v1/shutdown").json();
        shutdown["connection_stats"]["total_in_flight_requests"].as_u64().expect("the count is there")
    }

    fn terminate(&mut self) {
        self.program.signal(Signal::TERM);
    }

    fn reaches(&self, phase: &str) {
        self.program.wait_for_line(|line| phase_of(line).as_deref() == Some(phase), SOON);
    }

    /// The phases logged so far.
    fn phases(&self) -> Vec<String> {
        self.program.stdout().lines().filter_map(phase_of).collect()
    }

    /// The component `database`, as operators see it.
    fn database(&self) -> Value {
        http::get(self.admin, "/health/detailed").json()["components"]["database"].take()
    }

    /// Waits for the end. Returns the exit code.
    fn exit_code(&mut self, deadline: Duration) -> i32 {
        self.program.wait(deadline).code().expect("it ends by itself")
    }

    /// The report that it logs at its end.
    fn report(&self) -> Value {
        let line = self.program.wait_for_line(|line| event(line).is_some_and(|it| it["report"].is_string()), SOON);
        let event = event(&line).expect("it was one just now");
        serde_json::from_str(event["report"].as_str().unwrap_or_default()).expect("the report is JSON")
    }
}

fn event(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

/// The phase that begins with this line of the log.
fn phase_of(line: &str) -> Option<String> {
    let event = event(line)?;
    let phase = event["phase"].as_str()?;
    (event["message"] == format!("shutdown: {phase}")).then(|| phase.to_owned())
}

fn says_close(response: &Response) -> bool {
    response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// A database that needs no tables.
fn any_database() -> SharedPostgres {
    Postgres::shared()
}

/// A database of the test's own, with three orders.
fn orders_database() -> Postgres {
    let postgres = Postgres::start();
    postgres.execute("create table orders (id bigint); insert into orders values (1), (2), (3)");
    postgres
}

/// The example's connections, as the database sees them.
fn connections(postgres: &Postgres) -> usize {
    let count = postgres.execute("select count(*) from pg_stat_activity where application_name = 'orders'");
    count.parse().expect("a count is a number")
}

#[test]
fn a_request_in_flight_gets_its_whole_answer_and_the_process_ends_with_it() {
    let database = any_database();
    let mut orders = Orders::start(database.url(), &[("ORDERS_ANNOUNCE", "100")]);
    let mut slow = orders.begin("/slow?ms=2000");
    orders.terminate();
    orders.reaches("draining_connections");
    assert_eq!(orders.in_flight(), 1, "the drain has something to wait for");

    let answer = slow.read_response(PATIENCE).unwrap();
    let answered = Instant::now();
    assert_eq!((answer.status, answer.text().as_str()), (200, "slept 2000 ms\n"));
    assert_eq!(orders.exit_code(SOON), 0);
    assert!(answered.elapsed() < AT_ONCE, "it ended {:?} after its last answer", answered.elapsed());
}

#[test]
fn a_stream_in_flight_is_delivered_to_its_last_byte() {
    let database = any_database();
    let mut orders = Orders::start(database.url(), &[("ORDERS_ANNOUNCE", "100")]);
    let mut stream = orders.begin("/stream?parts=20&ms=100");
    // Head and first part are under way before the signal comes; what follows is up to the drain.
    let begun = stream.read_some(PATIENCE).unwrap();
    orders.terminate();
    orders.reaches("draining_connections");
    assert_eq!(orders.in_flight(), 1, "the drain has something to wait for");

    let rest = stream.read_to_end(PATIENCE).unwrap();
    let answered = Instant::now();
    let body = String::from_utf8([begun, rest].concat()).unwrap();
    let parts: Vec<_> = body.lines().filter(|line| line.starts_with("part ")).collect();
    let expected: Vec<_> = (0..20).map(|part| format!("part {part}")).collect();
    assert_eq!(parts, expected);
    assert!(body.ends_with("\r\n0\r\n\r\n"), "the body's end is marked: {body:?}");
    assert_eq!(orders.exit_code(SOON), 0);
    assert!(answered.elapsed() < AT_ONCE, "it ended {:?} after its last answer", answered.elapsed());
}

#[test]
fn readiness_fails_at_once_while_liveness_holds_and_new_connections_are_served() {
    let postgres = orders_database();
    let mut orders = Orders::start(&postgres.url(), &[("ORDERS_DELAY", "3000"), ("ORDERS_ANNOUNCE", "100")]);
    assert_eq!(http::get(orders.probes, "/livez").status, 200);
    orders.terminate();
    until(AT_ONCE, "readiness to fail", || http::get(orders.probes, "/readyz").status == 503);
    assert_eq!(http::get(orders.address, "/readyz").status, 503, "on the application's own listener too");
    assert_eq!(http::get(orders.probes, "/livez").status, 200);

    let mut fresh = Connection::open(orders.address).unwrap();
    for _ in 0..2 {
        let answer = fresh.get("/orders/count").unwrap();
        assert_eq!((answer.status, &answer.json()["orders"]), (200, &Value::from(3)));
        assert!(!says_close(&answer), "nobody is sent away before the announcement");
    }
    // The log is read by a thread of its own, which may be behind; what came after the delay would be among it.
    orders.reaches("delaying");
    assert_eq!(orders.phases(), ["initiated", "delaying"], "all of this was seen during the delay");
    assert_eq!(orders.exit_code(SOON), 0);
}

#[test]
fn during_the_announcement_every_answer_says_connection_close() {
    let database = any_database();
    let mut orders = Orders::start(database.url(), &[("ORDERS_ANNOUNCE", "5000")]);
    let mut idle = Connection::open(orders.address).unwrap();
    assert!(!says_close(&idle.get("/slow?ms=0").unwrap()));
    // Open all the while: with no connection left there would be nobody to tell, and the announcement would end.
    let mut slow = orders.begin("/slow?ms=2000");
    orders.terminate();
    orders.reaches("announcing");

    let mut fresh = Connection::open(orders.address).unwrap();
    for (connection, which) in [(&mut idle, "one that was idle"), (&mut fresh, "a new one")] {
        let answer = connection.get("/slow?ms=0").unwrap();
        assert!(answer.status == 200 && says_close(&answer), "on {which}: {answer:?}");
        assert!(connection.is_closed_within(AT_ONCE), "{which}: what is announced happens");
    }
    assert_eq!(orders.phases().last().map(String::as_str), Some("announcing"), "all of this was the announcement");
    let answer = slow.read_response(PATIENCE).unwrap();
    assert!(answer.status == 200 && says_close(&answer), "on one with a request in flight: {answer:?}");
    let answered = Instant::now();
    assert_eq!(orders.exit_code(SOON), 0);
    assert!(answered.elapsed() < AT_ONCE, "the announcement outlived the last connection: {:?}", answered.elapsed());
}

#[test]
fn after_the_announcement_a_late_request_is_sent_elsewhere_and_a_new_connection_refused() {
    let database = any_database();
    let mut orders = Orders::start(database.url(), &[("ORDERS_ANNOUNCE", "100")]);
    let mut old = Connection::open(orders.address).unwrap();
    assert_eq!(old.get("/slow?ms=0").unwrap().status, 200);
    let mut slow = orders.begin("/slow?ms=3000");
    orders.terminate();
    orders.reaches("draining_connections");

    let refused = old.get("/slow?ms=0").unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{refused:?}");
    assert!(says_close(&refused), "{refused:?}");
    assert_eq!(Connection::open(orders.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(http::get(orders.probes, "/livez").status, 200, "the probe door is open to the end");
    assert_eq!(slow.read_response(PATIENCE).unwrap().status, 200);
    assert_eq!(orders.exit_code(SOON), 0);
}

#[test]
fn the_pool_is_closed_after_the_last_request_and_before_the_end() {
    let postgres = orders_database();
    let mut orders = Orders::start(&postgres.url(), &[("ORDERS_ANNOUNCE", "100")]);
    let mut slow = orders.begin("/slow?ms=1500");
    orders.terminate();
    orders.reaches("draining_connections");
    assert!(connections(&postgres) > 0, "a request in flight may still need the pool");
    // A request that is never finished holds the probe door, which closes after the pool, for a moment.
    let mut half = Connection::open(orders.probes).unwrap();
    half.write_raw(b"GET /livez HTTP/1.1\r\n").unwrap();
    assert_eq!(slow.read_response(PATIENCE).unwrap().status, 200);
    orders.program.wait_for_line(|line| line.contains("the pool is closed"), SOON);
    orders.program.signal(Signal::STOP);
    until(SOON, "the database to see the connections closed", || connections(&postgres) == 0);
    assert!(orders.program.ended().is_none(), "the process has closed them, not its end");
    orders.program.signal(Signal::CONT);

    assert_eq!(orders.exit_code(SOON), 0);
    let output = orders.program.stdout();
    let position = |text: &str| output.find(text).unwrap_or_else(|| panic!("no {text} in the log:\n{output}"));
    assert!(position("shutdown: closing_resources") < position("the pool is closed"));
    assert!(position("the pool is closed") < position("shutdown: flushing_buffers"));
    let resource = &orders.report()["resources"][0];
    assert_eq!((&resource["name"], &resource["type"]), (&Value::from("database"), &Value::from("database")));
    assert_eq!(resource["outcome"], "closed");
}

#[test]
fn a_second_sigterm_ends_it_at_once_with_143() {
    a_second_signal_ends_it_at_once(Signal::TERM, 143);
}

#[test]
fn a_sigint_after_a_sigterm_ends_it_at_once_with_130() {
    a_second_signal_ends_it_at_once(Signal::INT, 130);
}

fn a_second_signal_ends_it_at_once(second: Signal, code: i32) {
    let database = any_database();
    // The announcement keeps the two signals further apart than an echo of the first one would come.
    let mut orders = Orders::start(database.url(), &[("ORDERS_ANNOUNCE", "200")]);
    let mut slow = orders.begin("/slow?ms=15000");
    orders.terminate();
    orders.reaches("draining_connections");
    orders.program.signal(second);
    let signalled = Instant::now();
    assert_eq!(orders.exit_code(SOON), code);
    assert!(signalled.elapsed() < AT_ONCE, "it took {:?}", signalled.elapsed());
    assert!(slow.read_response(AT_ONCE).is_err(), "the request in flight was cut");
    assert_eq!(orders.report()["resources"][0]["outcome"], "skipped");
}

#[test]
fn a_request_that_never_ends_is_cut_at_the_drains_limit() {
    let database = any_database();
    let mut orders = Orders::start(database.url(), &[("ORDERS_ANNOUNCE", "100"), ("ORDERS_DRAIN", "500")]);
    let mut slow = orders.begin("/slow?ms=60000");
    orders.terminate();
    orders.reaches("draining_connections");
    let draining = Instant::now();
    assert_eq!(orders.exit_code(SOON), 75);
    assert!(draining.elapsed() < AT_ONCE + Duration::from_millis(500), "it took {:?}", draining.elapsed());
    assert!(slow.read_response(AT_ONCE).is_err(), "the request was cut");

    let report = orders.report();
    assert_eq!(report["status"], "forced");
    assert_eq!(report["forced"].as_array().map(Vec::len), Some(1), "what was cut is named: {report}");
    assert_eq!(report["resources"][0]["outcome"], "closed", "the pool is closed all the same");
    assert_eq!(orders.phases().last().map(String::as_str), Some("forced"));
}

#[test]
fn the_log_says_who_holds_up_a_drain_that_lasts() {
    let database = any_database();
    let mut orders = Orders::start(database.url(), &[("ORDERS_ANNOUNCE", "100"), ("ORDERS_DRAIN", "15000")]);
    let _slow = orders.begin("/slow?ms=60000");
    orders.terminate();
    let line = orders.program.wait_for_line(|line| line.contains("still draining_connections"), SOON);
    assert!(line.contains("GET /slow from ") && line.contains("(in_flight) for "), "{line}");
    orders.program.signal(Signal::TERM);
    assert_eq!(orders.exit_code(SOON), 143);
}

#[test]
fn in_the_middle_of_a_drain_the_admin_door_tells_how_far_it_has_come() {
    let database = any_database();
    let mut orders = Orders::start(database.url(), &[("ORDERS_ANNOUNCE", "100")]);
    let _endless = orders.begin("/slow?ms=60000");
    let mut short = Connection::open(orders.address).unwrap();
    short.send("GET", "/slow?ms=1500", &[], b"").unwrap();
    until(SOON, "both to be in flight", || orders.in_flight() == 2);
    let told = || http::get(orders.admin, "/api/v1/shutdown").json();
    let before = told();
    assert_eq!((&before["is_shutting_down"], &before["phase"]), (&false.into(), &"running".into()));
    assert_eq!(
        (&before["progress"]["duration_seconds"], &before["progress"]["total_resources"]),
        (&0.0.into(), &1.into())
    );

    orders.program.signal(Signal::TERM);
    orders.reaches("draining_connections");
    let drained = |told: &Value, active: u64, drained: u64| {
        assert_eq!((&told["is_shutting_down"], &told["phase"]), (&true.into(), &"draining_connections".into()));
        let progress = &told["progress"];
        assert_eq!(progress["phase"], "draining_connections");
        let of_connections = (&progress["active_connections"], &progress["drained_connections"]);
        assert_eq!(of_connections, (&active.into(), &drained.into()));
        assert_eq!((&progress["closed_resources"], &progress["total_resources"]), (&0.into(), &1.into()));
        assert_eq!((&told["resources_count"], &progress["errors"]), (&1.into(), &Value::Array(Vec::new())));
        let connections = &told["connection_stats"];
        assert_eq!(connections["total_connections"], active);
        assert_eq!(connections["total_in_flight_requests"], active);
        assert_eq!(connections["is_accepting_new"], false);
        progress["duration_seconds"].as_f64().unwrap()
    };
    let first = drained(&told(), 2, 0);
    assert!(first > 0.1, "the announcement is over: {first}");
    assert_eq!(short.read_response(PATIENCE).unwrap().status, 200);
    let last = until_some(SOON, "its connection to close", || {
        let told = told();
        (told["progress"]["drained_connections"] != 0).then(|| drained(&told, 1, 1))
    });
    assert!(last > first, "{last} is not later than {first}");
    orders.program.signal(Signal::TERM);
    assert_eq!(orders.exit_code(SOON), 143);
}

#[test]
fn the_phases_are_logged_in_their_order() {
    let database = any_database();
    let mut orders = Orders::start(database.url(), &[]);
    orders.terminate();
    assert_eq!(orders.exit_code(SOON), 0);
    let expected = [
        "initiated",
        "delaying",
        "announcing",
        "stopping_new_requests",
        "draining_connections",
        "closing_resources",
        "flushing_buffers",
        "completed",
    ];
    assert_eq!(orders.phases(), expected);
    assert_eq!(orders.report()["status"], "successful");
}

#[test]
fn a_database_that_goes_and_returns_turns_readiness_after_fall_and_rise_runs() {
    let mut postgres = orders_database();
    let port = postgres.port().to_string();
    let orders = Orders::start(&postgres.url(), &[("ORDERS_CHECK_INTERVAL", "300")]);
    let readings = &orders.database()["metadata"]["connections"];
    assert!(readings["max"].as_u64() > Some(0) && readings["idle"].as_u64() <= readings["max"].as_u64(), "{readings}");

    thread::scope(|scope| {
        scope.spawn(|| postgres.stop());
        assert_eq!(runs_before(&orders, "fail", "unhealthy"), [1, 2], "three in a row turn it");
    });
    assert_eq!(http::get(orders.probes, "/readyz").status, 503);
    assert_eq!(http::get(orders.probes, "/livez").status, 200, "a restart would not mend the database");
    let public = http::get(orders.probes, "/health/ready");
    assert_eq!((public.status, &public.json()["dependencies"]["database"]), (503, &Value::from("unhealthy")));
    for private in ["127.0.0.1", &port, Postgres::USER, Postgres::PASSWORD, "correct", "connect", "detail"] {
        assert!(!public.text().contains(private), "the public reads {private:?}: {}", public.text());
    }
    let detail = orders.database()["detail"].take();
    assert!(detail.as_str().is_some_and(|detail| detail.contains("connect")), "operators read why: {detail}");
    assert!(!orders.program.output().contains("correct"), "the log holds no password");

    thread::scope(|scope| {
        scope.spawn(|| postgres.start_again());
        assert_eq!(runs_before(&orders, "pass", "healthy"), [1], "two in a row turn it");
    });
    assert_eq!(http::get(orders.probes, "/readyz").status, 200);
    assert_eq!(http::get(orders.address, "/orders/count").json()["orders"], 3);
}

/// Watches the database's component until its status turns to `status`. Returns how many runs in a row had this
/// verdict while the status had not turned yet.
fn runs_before(orders: &Orders, verdict: &str, status: &str) -> Vec<u64> {
    let mut seen = Vec::new();
    until_some(SOON, "the status to turn", || {
        let database = orders.database();
        let ready = http::get(orders.probes, "/readyz").status == 200;
        if database["status"] == status {
            assert_eq!(ready, status == "healthy", "readiness follows: {database}");
            return Some(());
        }
        if database["raw_status"] == verdict {
            seen.push(database["consecutive"].as_u64().unwrap_or_default());
        }
        None
    });
    seen.dedup();
    seen
}

#[test]
fn the_application_never_opens_more_connections_than_the_pool_allows() {
    let postgres = Postgres::start();
    // Every count takes a while, so that requests pile up.
    postgres.execute("create view orders as select pg_sleep(0.05) is null");
    postgres.execute("create role app login password 'app'; grant select on orders to app");
    let url = format!("postgres://app:app@127.0.0.1:{}/{}", postgres.port(), Postgres::DATABASE);
    let orders = Orders::start(&url, &[("ORDERS_CHECK_INTERVAL", "20")]);
    let max = orders.database()["metadata"]["connections"]["max"].as_u64().expect("the pool has a limit");
    // From here on the database itself refuses a connection too many, and the request that asked for it fails.
    postgres.execute(&format!("alter role app connection limit {max}"));

    thread::scope(|scope| {
        let clients: Vec<_> = (0..3 * max)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(orders.address).unwrap();
                    [(); 4].map(|()| connection.get("/orders/count").unwrap().status)
                })
            })
            .collect();
        until(SOON, "all of the pool to be in use", || connections(&postgres) as u64 == max);
        for client in clients {
            assert_eq!(client.join().unwrap(), [200; 4], "{}", orders.program.output());
        }
    });
}

#[test]
fn no_request_is_lost_in_three_restarts_behind_haproxy() {
    let database = any_database();
    let addresses = [free_address(), free_address()];
    let start = |address: SocketAddr| {
        Orders::start(database.url(), &[("ORDERS_LISTEN", &address.to_string()), ("ORDERS_DELAY", "200")])
    };
    let mut instances = addresses.map(start);
    // Another instance is asked where none listens, and only there: what an instance loses is an answer with 502.
    let haproxy = Haproxy::balancing(&addresses, "option redispatch 1");
    let is_up = |name: &str| until(SOON, "HAProxy to see the instance", || haproxy.server(name).0 == "UP");
    is_up("one");
    is_up("two");
    let over = AtomicBool::new(false);
    let fits = |response: &Response| response.status == 200 || response.header("retry-after").is_some();
    let client = || {
        let (mut asked, mut answered) = (0, 0);
        while !over.load(Ordering::Relaxed) {
            let mut connection = Connection::open(haproxy.address()).expect("HAProxy listens");
            // Some on a connection that is kept, the next ones on another.
            for _ in 0..20 {
                asked += 1;
                let Some(response) = connection.get("/slow?ms=2").ok().filter(fits) else { break };
                answered += 1;
                if says_close(&response) {
                    break;
                }
            }
        }
        (asked, answered)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        for (at, name) in [(0, "one"), (1, "two"), (0, "one")] {
            instances[at].terminate();
            assert_eq!(instances[at].exit_code(SOON), 0);
            instances[at] = start(addresses[at]);
            is_up(name);
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let (asked, answered) = client.join().expect("a client does not panic");
            assert!(answered > 0 && answered == asked, "{answered} of {asked} were answered");
        }
    });
}
