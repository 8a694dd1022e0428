//! Prometheus' own judgement of a page of metrics: `promtool`, the parsers of its Python client, and a real server that
//! scrapes.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{Server, tail};
use crate::{binaries, free_address, http, poll, python, until_some};

/// How long a server may take to find its targets and ask them: it waits five seconds before it begins.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Prometheus of the test's own that scrapes one target each second. Dropping it ends it.
#[derive(Debug)]
pub struct Prometheus {
    // Declared before the folder: the server ends before its folder goes.
    _server: Server,
    address: SocketAddr,
    folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target` at `/metrics`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-prometheus-").tempdir().expect("a temporary folder");
        let (address, file) = (free_address(), folder.path().join("prometheus.yml"));
        let configuration = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: tested\n    static_configs: [ {{ targets: [ \"{target}\" ] }} ]\n"
        );
        fs::write(&file, configuration).expect("the folder can be written");
        let log = folder.path().join("log");
        let mut command = Command::new(binaries::prometheus("prometheus"));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // It waits five seconds otherwise before it asks.
            .arg("--scrape.discovery-reload-interval=100ms");
        let mut server = Server::start(&mut command, &log, &[Signal::TERM]);
        let is_ready = || http::request(address, "GET", "/-/ready", &[], b"").is_ok_and(|answer| answer.status == 200);
        assert!(server.wait_ready(is_ready), "Prometheus does not start:\n{}", tail(&log));
        Self { _server: server, address, folder }
    }

    /// Waits until it has scraped the target twice, the second time without fault. What it then says of the target.
    ///
    /// # Panics
    /// When it can't: with its log.
    pub fn scraped(&self) -> serde_json::Value {
        let scraped = || {
            let up: serde_json::Value =
                serde_json::from_str(&self.query("count_over_time(up[1m]) > 1 and up == 1")).ok()?;
            up["data"]["result"].as_array().is_some_and(|all| !all.is_empty()).then(|| self.target())
        };
        poll(PATIENCE, scraped).unwrap_or_else(|| panic!("it is not scraped: {}\n{}", self.target(), self.log()))
    }

    /// The names of all metrics that it has of the target.
    pub fn names(&self) -> Vec<String> {
        let answer = http::get(self.address, "/api/v1/label/__name__/values").text();
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("it answers in JSON");
        let names = answer["data"].as_array().expect("it knows names");
        names.iter().filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect()
    }

    /// What it answers to a query.
    pub fn query(&self, query: &str) -> String {
        let query = query.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        http::get(self.address, &format!("/api/v1/query?query={query}")).text()
    }

    /// Its log, whole.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("it writes a log")
    }

    fn target(&self) -> serde_json::Value {
        let answer = until_some(PATIENCE, "Prometheus to answer", || {
            let answer = http::get(self.address, "/api/v1/targets?state=active").text();
            serde_json::from_str::<serde_json::Value>(&answer).ok()
        });
        answer["data"]["activeTargets"][0].clone()
    }
}

/// What `promtool check metrics` objects to in a page of Prometheus' text; nothing, if it is fine.
///
/// # Panics
/// When it is not installed.
pub fn promtool(page: &str) -> String {
    let mut check = Command::new(binaries::prometheus("promtool"));
    fed(check.args(["check", "metrics"]), page)
}

/// What the parser of Prometheus' Python client objects to in these pages; nothing, if they are fine. Of OpenMetrics it
/// is the reference implementation.
///
/// # Panics
/// When Python can't be had.
pub fn python_parser(pages: &[String], is_open_metrics: bool) -> String {
    let parser = if is_open_metrics { "prometheus_client.openmetrics.parser" } else { "prometheus_client.parser" };
    let python = python::environment(&["prometheus-client==0.26.0"]).join("python");
    let program = format!(
        "import sys, {parser} as parser\n\
         for page in sys.stdin.buffer.read().decode().split('{BETWEEN}'):\n    \
             try:\n        \
                 list(parser.text_string_to_metric_families(page))\n    \
             except Exception as error:\n        \
                 print(repr(error)); print(page)\n",
        BETWEEN = BETWEEN.escape_debug(),
    );
    fed(Command::new(python).args(["-c", &program]), &pages.join(BETWEEN))
}

/// No page has such a line.
const BETWEEN: &str = "\n##########\n";

/// Everything that a program says about its input.
fn fed(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("can't start {}: {error}", command.get_program().display()));
    let mut pipe = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    let _ = writer.join();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if output.status.success() || !said.is_empty() { said } else { output.status.to_string() }
}
