//! A child under a test's control, a client beside it that behaves, and what is left when it has ended.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use wellkept_testkit::http::{self, Connection};
use wellkept_testkit::{Program, Signal, until};

pub(crate) const SCENARIO: &str = "SCENARIO";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Driven {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
    told: Option<Instant>,
    /// Clients whose requests are in flight when the signal comes.
    behaving: Vec<Connection>,
}

/// What a child leaves.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Null if it did not come to one.
    pub(crate) report: Value,
    pub(crate) output: String,
    /// From the signal to the end.
    pub(crate) lasted: Duration,
}

impl Driven {
    pub(crate) fn start(scenario: &str) -> Self {
        Self::start_with(scenario, |_| {})
    }

    pub(crate) fn start_with(scenario: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let program = spawn(scenario, prepare);
        let line = program.wait_for_line(|line| line.contains("listening") && line.contains("service="), PATIENCE);
        let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address = address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address: {line}"));
        until(PATIENCE, "the start", || {
            http::request(address, "GET", "/readyz", &[], b"").is_ok_and(|answer| answer.status == 200)
        });
        Self { program, address, told: None, behaving: Vec::new() }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).expect("it listens")
    }

    /// A connection with these bytes on their way.
    pub(crate) fn connect_and_write(&self, bytes: &[u8]) -> Connection {
        let mut connection = self.connect();
        connection.write_raw(bytes).expect("it takes them");
        connection
    }

    /// A client whose request is in its handler.
    pub(crate) fn connect_and_ask(&self, method: &str, path: &str) -> Connection {
        let mut connection = self.connect();
        connection.send(method, path, &[], b"").expect("it takes the request");
        self.arrives(method, path);
        connection
    }

    /// Waits until such a request is in its handler.
    pub(crate) fn arrives(&self, method: &str, path: &str) {
        // What follows is what the log knows of the request.
        let line = format!("arrived {method} {path} ");
        self.program.wait_for_line(|logged| logged.contains(&line), PATIENCE);
    }

    /// Tells it to end, beside a client that behaves: its request is in flight, and ends during the drain.
    pub(crate) fn terminate(&mut self) {
        self.behaves();
        self.signal(Signal::TERM);
    }

    /// Another client that behaves.
    pub(crate) fn behaves(&mut self) {
        let slow = self.connect_and_ask("GET", "/slow");
        self.behaving.push(slow);
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.told.get_or_insert_with(Instant::now);
        self.program.signal(signal);
    }

    /// Has those who behave get their answers.
    pub(crate) fn answers_who_behaves(&mut self) {
        for mut connection in std::mem::take(&mut self.behaving) {
            let answer = connection.read_response(PATIENCE);
            let answer = answer.unwrap_or_else(|error| panic!("no answer: {error}; {}", self.program.output()));
            assert_eq!((answer.status, answer.text().as_str()), (200, "slow"), "{}", self.program.output());
        }
    }

    /// Waits until the log tells this phase.
    pub(crate) fn reaches(&self, phase: &str) {
        let line = format!("shutdown: {phase}");
        self.program.wait_for_line(|logged| logged.contains(&line), PATIENCE);
    }

    /// Waits for the end, which comes long before the deadline and without a panic, and in which a client that behaves
    /// loses nothing.
    pub(crate) fn end(self) -> Ended {
        let ended = self.end_with_panics();
        assert!(!ended.output.contains("panicked at"), "{}", ended.output);
        ended
    }

    /// As [`end`](Self::end), where a panic is what is tried.
    pub(crate) fn end_with_panics(mut self) -> Ended {
        self.answers_who_behaves();
        let mut ended = ended(&mut self.program);
        ended.lasted = self.told.map_or(Duration::ZERO, |told| told.elapsed());
        ended
    }
}

/// Starts a child that may never serve.
pub(crate) fn spawn(scenario: &str, prepare: impl FnOnce(&mut Command)) -> Program {
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command.args(["--exact", "child", "--nocapture"]).env(SCENARIO, scenario).env("RUST_BACKTRACE", "0");
    prepare(&mut command);
    Program::spawn(&mut command)
}

/// Waits for its end.
pub(crate) fn ended(program: &mut Program) -> Ended {
    let status = program.wait(PATIENCE);
    let output = program.output();
    let report = output.lines().find_map(|line| line.strip_prefix("report "));
    let report = report.map_or(Value::Null, |report| serde_json::from_str(report).expect("it is JSON"));
    Ended { code: status.code(), report, output, lasted: Duration::ZERO }
}

impl Ended {
    /// It ended as it should, and nobody was cut.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        assert_eq!((self.code, &self.report["status"]), (Some(0), &"successful".into()), "{}", self.output);
        assert_eq!(self.forced(), [""; 0]);
        self.is_in_time();
    }

    /// The deadline cut somebody short, and the report names who: what it was, and the code of what it waited for.
    #[track_caller]
    pub(crate) fn has_cut(&self, what: &str, reason: &str) {
        assert_eq!((self.code, &self.report["status"]), (Some(75), &"forced".into()), "{}", self.output);
        let forced = self.forced();
        let named = forced.iter().any(|item| item.starts_with(what) && item.ends_with(reason));
        assert!(named, "no {what} ({reason}) in {forced:?}");
        // A connection that its client has closed may still be there, where there was no time to look.
        let requests = forced.iter().filter(|item| !item.contains(" connection from "));
        assert_eq!(requests.count(), 1, "nobody else: {forced:?}");
        self.is_in_time();
    }

    #[track_caller]
    pub(crate) fn is_in_time(&self) {
        let limit = crate::scenarios::settings().deadline;
        assert!(self.lasted < limit, "it took {:?}; {}", self.lasted, self.output);
    }

    /// What was cut, each with its reason; each has an age.
    pub(crate) fn forced(&self) -> Vec<String> {
        let forced = self.report["forced"].as_array().cloned().unwrap_or_default();
        let described = |item: &Value| {
            assert!(item["age_seconds"].as_f64().is_some_and(|age| age >= 0.0), "{item}");
            format!("{} {}", item["item"].as_str().unwrap_or_default(), item["reason"].as_str().unwrap_or_default())
        };
        forced.iter().map(described).collect()
    }
}
