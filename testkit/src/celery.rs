//! A real Celery worker with one task, which runs until it is told to end.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::{Program, python, until, wait_within};

/// How long Python may take to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const APP: &str = "\
import json, os, time
from celery import Celery

app = Celery('app', broker=os.environ['BROKER'])
app.conf.update(json.loads(os.environ['SETTINGS']))

@app.task(name='hold')
def hold(folder):
    open(os.path.join(folder, 'held'), 'w').close()
    while os.path.exists(os.path.join(folder, 'hold')):
        time.sleep(0.02)
";

/// A release of Celery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CeleryRelease {
    /// The current one.
    Current,
    /// Of 2023, with the kombu of its time.
    Older,
}

impl CeleryRelease {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Current, Self::Older];

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Current => &["celery[redis]==5.7.0"],
            Self::Older => &["celery[redis]==5.3.6", "kombu==5.3.4"],
        }
    }
}

/// How a [`CeleryWorker`] is started.
#[derive(Debug, Clone)]
pub struct CeleryOptions {
    /// Which Celery; the current one by default.
    pub release: CeleryRelease,
    /// The pool; `prefork` by default.
    pub pool: &'static str,
    /// More of Celery's settings, in JSON; `{}` by default.
    pub settings: &'static str,
}

impl Default for CeleryOptions {
    fn default() -> Self {
        Self { release: CeleryRelease::Current, pool: "prefork", settings: "{}" }
    }
}

/// A worker with room for one task at a time. Dropping it kills it and its children.
#[derive(Debug)]
pub struct CeleryWorker {
    program: Program,
    name: String,
    broker: String,
    options: CeleryOptions,
    folder: TempDir,
}

impl CeleryWorker {
    /// Starts one at a broker, of this name on this host, and waits until it is ready. The first of a release takes
    /// long: it is installed.
    ///
    /// # Panics
    /// When it can't be installed, or does not start.
    pub fn start(broker: &str, name: &str, options: CeleryOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-celery-").tempdir().expect("a temporary folder");
        fs::write(folder.path().join("app.py"), APP).expect("the folder can be written");
        let name = format!("{name}@here");
        let mut command = celery(broker, &options, &folder);
        command.args(["worker", "-l", "INFO", "-c", "1", "-P", options.pool, "-n", &name]);
        let program = Program::spawn(command.process_group(0));
        program.wait_for_line(|line| line.ends_with(" ready."), PATIENCE);
        Self { program, name, broker: broker.to_owned(), options, folder }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends the task that runs until [`release`](Self::release), without waiting for it to begin.
    ///
    /// # Panics
    /// When it can't be sent.
    pub fn send(&self) {
        fs::remove_file(self.folder.path().join("held")).ok();
        fs::write(self.folder.path().join("hold"), "").expect("the folder can be written");
        let arguments = format!("[\"{}\"]", self.folder.path().display());
        let mut command = celery(&self.broker, &self.options, &self.folder);
        let sent = wait_within(PATIENCE, command.args(["call", "hold", "--args", &arguments])).expect("it ends");
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }

    /// As [`send`](Self::send), and waits until the task runs.
    ///
    /// # Panics
    /// When it does not begin.
    pub fn occupy(&self) {
        self.send();
        until(PATIENCE, "the task to begin", || self.folder.path().join("held").exists());
    }

    /// Lets the task end.
    pub fn release(&self) {
        fs::remove_file(self.folder.path().join("hold")).ok();
    }

    /// Sends a signal to the worker's main process.
    pub fn signal(&mut self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        self.program.wait(PATIENCE)
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        self.program.output()
    }

    /// Ends it and its children at once, as a crash of the machine would.
    pub fn kill(&mut self) {
        if self.program.ended().is_none() {
            let group = i32::try_from(self.program.pid()).ok().and_then(Pid::from_raw);
            group.map(|group| kill_process_group(group, Signal::KILL));
        }
        self.program.kill();
    }
}

impl Drop for CeleryWorker {
    fn drop(&mut self) {
        self.release();
        self.kill();
    }
}

fn celery(broker: &str, options: &CeleryOptions, folder: &TempDir) -> Command {
    let bin: PathBuf = python::environment(options.release.packages());
    let mut command = Command::new(bin.join("celery"));
    command.args(["-A", "app"]).current_dir(folder.path()).env("BROKER", broker).env("SETTINGS", options.settings);
    command
}
