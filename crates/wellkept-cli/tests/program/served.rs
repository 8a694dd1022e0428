//! A real `wellkept serve`, driven.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use wellkept_testkit::{Program, Signal, http, until, until_some, wait_within};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program with nothing of this machine's configuration around it.
pub(crate) fn wellkept(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wellkept"));
    command
        .current_dir(folder)
        .env_remove("WELLKEPT_CONFIG")
        .env_remove("NOTIFY_SOCKET")
        // Which reload came of what would be a matter of luck.
        .env("WELLKEPT_RELOAD__WATCH", "false")
        .env("XDG_STATE_HOME", folder.join("state"));
    command
}

/// Runs the program to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    wait_within(PATIENCE, wellkept(folder).args(arguments)).expect("the program runs and ends")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A served configuration in a folder of its own.
pub(crate) struct Served {
    pub(crate) program: Program,
    pub(crate) http: SocketAddr,
    pub(crate) folder: TempDir,
}

impl Served {
    /// Serves this text as `wellkept.yaml`, which must listen on port 0.
    pub(crate) fn with(configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
        Self::again(folder)
    }

    /// Serves this text where it says that it listens.
    pub(crate) fn listening_as_configured(configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
        let program = Program::spawn(wellkept(folder.path()).arg("serve"));
        let http = listening(&program, "probes and metrics");
        Self { program, http, folder }
    }

    /// Serves what the folder holds.
    pub(crate) fn again(folder: TempDir) -> Self {
        let program = Program::spawn(wellkept(folder.path()).args(["serve", "--listen", "127.0.0.1:0"]));
        let http = listening(&program, "probes and metrics");
        Self { program, http, folder }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("wellkept.yaml")
    }

    /// Writes the file anew and sends SIGHUP; returns the log line that tells the outcome.
    pub(crate) fn reload(&mut self, configuration: &str, outcome: &str) -> Value {
        std::fs::write(self.file(), configuration).unwrap();
        self.reload_as_it_is(outcome)
    }

    /// Sends SIGHUP; returns the latest log line that tells the outcome, which must be this one.
    pub(crate) fn reload_as_it_is(&mut self, outcome: &str) -> Value {
        let before = self.reloads();
        self.program.signal(Signal::HUP);
        until(PATIENCE, "the reload to be over", || self.reloads() > before);
        let tells = |line: &Value| line["target"] == "wellkept::config" && line["outcome"].is_string();
        // The log is written a moment after the books.
        until_some(PATIENCE, &format!("the outcome {outcome}"), || {
            let output = self.program.stdout();
            let told = output.lines().filter_map(|line| serde_json::from_str(line).ok()).rfind(tells);
            told.filter(|line: &Value| line["outcome"] == outcome)
        })
    }

    /// How many reloads are over, whatever came of them.
    fn reloads(&self) -> u64 {
        let page = self.get("/metrics").text();
        let counts = page.lines().filter_map(|line| line.strip_prefix("wellkept_config_reloads_total{"));
        counts.filter_map(|line| line.rsplit(' ').next()?.split('.').next()?.parse::<u64>().ok()).sum()
    }

    /// Waits for a log line, also among those already written.
    pub(crate) fn wait_for(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let line =
            self.program.wait_for_line(|line| serde_json::from_str(line).is_ok_and(|line| fits(&line)), PATIENCE);
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> http::Response {
        http::get(self.http, path)
    }

    pub(crate) fn detailed(&self) -> Value {
        self.get("/health/detailed").json()
    }

    pub(crate) fn component(&self, name: &str) -> Value {
        self.detailed()["components"][name].clone()
    }

    pub(crate) fn until_ready(&self, ready: bool) {
        let status = if ready { 200 } else { 503 };
        until(PATIENCE, &format!("/readyz to answer {status}"), || self.get("/readyz").status == status);
    }

    /// Waits until a component is in this status, and returns it.
    pub(crate) fn until_status(&self, name: &str, status: &str) -> Value {
        until_some(PATIENCE, &format!("{name} to be {status}"), || {
            let component = self.component(name);
            (component["status"] == status).then_some(component)
        })
    }

    /// Sends a further signal, once the first is so long ago that this one is no echo of it. Sent once: one more would end
    /// it without a word.
    pub(crate) fn signal_again(&mut self, signal: Signal) {
        // pace: longer than the echo of a signal lasts.
        std::thread::sleep(Duration::from_millis(300));
        self.program.signal(signal);
    }

    /// Ends it with SIGTERM and returns the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.program.signal(Signal::TERM);
        self.program.wait(PATIENCE).code()
    }
}

/// Where the log says that a door listens.
pub(crate) fn listening(program: &Program, door: &str) -> SocketAddr {
    let says = |line: &str| -> Option<String> {
        let line: Value = serde_json::from_str(line).ok()?;
        line["message"].as_str()?.starts_with(door).then(|| line["address"].as_str().map(ToOwned::to_owned))?
    };
    let line = program.wait_for_line(|line| says(line).is_some(), PATIENCE);
    says(&line).expect("it fitted").parse().expect("the log names an address")
}
