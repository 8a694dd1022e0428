//! One server process that belongs to a test: its folder, its log, its end. Shared by PostgreSQL and Redis.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::poll;

/// How long a server may take to start, and to stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, ended by its pid when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    stop_signals: &'static [Signal],
    paused: bool,
}

impl Server {
    /// Starts it with its output appended to `log`. `stop_signals` are sent one after another, each given time.
    pub(crate) fn start(command: &mut Command, log: &Path, stop_signals: &'static [Signal]) -> Self {
        let output = File::options().create(true).append(true).open(log).expect("the server's log can be written");
        let errors = output.try_clone().expect("a descriptor is left");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {}: {error}", command.get_program().display()));
        Self { child, stop_signals, paused: false }
    }

    /// Waits until `answers` is true, or returns false when the server ended or `PATIENCE` is over.
    pub(crate) fn wait_ready(&mut self, mut answers: impl FnMut() -> bool) -> bool {
        poll(PATIENCE, || match self.child.try_wait() {
            Ok(None) => answers().then_some(true),
            _ => Some(false),
        })
        .unwrap_or(false)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(pid_of(&self.child), signal);
    }

    /// Stops the parent first, so that it forks nothing while its children are looked for. Returns when all have stopped:
    /// of a process with several threads one may still answer for a moment.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
        let parent = pid_of(&self.child);
        send(parent, Signal::STOP);
        let children = children(parent);
        for &child in &children {
            send(child, Signal::STOP);
        }
        let stopped = poll(PATIENCE, || [parent].iter().chain(&children).all(|&pid| has_stopped(pid)).then_some(()));
        stopped.expect("a stopped process stops");
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
        let parent = pid_of(&self.child);
        for child in children(parent) {
            send(child, Signal::CONT);
        }
        send(parent, Signal::CONT);
    }

    /// Ends it and waits. Does nothing when it has ended already.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        if self.paused {
            self.resume();
        }
        for &signal in self.stop_signals {
            send(pid_of(&self.child), signal);
            if let Some(status) = poll(Duration::from_secs(5), || self.child.try_wait().ok().flatten()) {
                return Some(status);
            }
        }
        for child in children(pid_of(&self.child)) {
            send(child, Signal::KILL);
        }
        self.kill()
    }

    /// Ends it at once, as a crash would. What it forked notices by itself.
    pub(crate) fn kill(&mut self) -> Option<ExitStatus> {
        if self.paused {
            self.resume();
        }
        self.child.kill().ok()?;
        self.child.wait().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether no thread of a process runs. One that is gone has none.
fn has_stopped(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else { return true };
    // The state stands behind the name, which is in brackets and may hold anything: `12 (name) T …`.
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']))
    })
}

/// The last lines of a server's log, for a panic's message.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Quotes what stands between `://` and `@` in a URL.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all that is written");
        }
    }
    encoded
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn send(pid: Pid, signal: Signal) {
    // The process may have ended a moment ago: that is what most callers want.
    kill_process(pid, signal).ok();
}

fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero();
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw))
        .collect()
}
