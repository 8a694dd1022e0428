//! How many descriptors are open, against how many there may be: of this process, of the one that a pid file names, or
//! of the whole machine.
//!
//! A process without a descriptor left can neither accept a connection nor open a file, and seldom says so. Who leaks them
//! is told from the trend of `left`, long before.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | more than `degraded_above` of the limit is open | degraded | `threshold` |
//! | more than `unhealthy_above` of the limit is open | unhealthy | `threshold` |
//! | the pid file is not there, or its process is gone | unhealthy | `unexpected` |
//! | the process's descriptors may not be counted | unhealthy | `auth` |
//! | the figures can't be read | unhealthy | `internal` |
//!
//! # Rights
//!
//! None since Linux 6.2. Before, another process's descriptors are counted by its user, or by who may trace it
//! (`CAP_SYS_PTRACE`).
//!
//! # Cost
//!
//! Nothing over a network: two small files of the kernel per run; before Linux 6.2 the descriptors are counted one by one.

use std::io;
use std::path::{Path, PathBuf};

use wellkept_config::{FromNode, Ratio, Schema, Section, one_of, read_regular};
use wellkept_health::{AnyCheck, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system::{Descriptors, ReadingError, SystemRoot};

use crate::kind::built;
use crate::{InvalidOption, Kind, Opens};

/// Longest pid file that is read, in bytes.
const MOST_OF_A_PID_FILE: usize = 4096;

/// The settings of a [`Files`] check.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Whose descriptors: of this process, or of the whole machine. Default `process`.
    pub of: Owner,
    /// The file that holds the id of another process, whose descriptors are counted instead. It is read in each run, as a
    /// restarted process has another id. Default: none.
    pub pid_file: Option<PathBuf>,
    /// Degraded when more than this part of the limit is open. Default 80%.
    pub degraded_above: Ratio,
    /// Unhealthy when more than this part of the limit is open. Default 95%.
    pub unhealthy_above: Ratio,
}

impl Default for Options {
    fn default() -> Self {
        let percent = |percent: f64| Ratio::new(percent / 100.0).expect("the defaults are from 0 to 100");
        Self { of: Owner::default(), pid_file: None, degraded_above: percent(80.0), unhealthy_above: percent(95.0) }
    }
}

/// Whose descriptors are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owner {
    /// A process, against its soft limit (`RLIMIT_NOFILE`).
    #[default]
    Process,
    /// The machine, against `fs.file-max`.
    Machine,
}

const WORDS: [(&str, Owner); 2] = [("process", Owner::Process), ("machine", Owner::Machine)];

impl FromNode for Owner {
    const EXPECTED: &'static str = "process or machine";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

/// How many descriptors are open. The metadata holds `open`, and with a limit `limit`, `left` and `files_usage`.
#[derive(Debug, Clone)]
pub struct Files {
    options: Options,
    root: SystemRoot,
}

impl Files {
    /// Refuses limits of which the worse would be passed before the better, and a pid file of the machine. Reads nothing
    /// yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        if options.unhealthy_above < options.degraded_above {
            return Err(InvalidOption::new("unhealthy_above", "must not be below degraded_above"));
        }
        if options.of == Owner::Machine && options.pid_file.is_some() {
            return Err(InvalidOption::new("pid_file", "the machine has none: leave out this or `of: machine`"));
        }
        Ok(Self { options, root: SystemRoot::default() })
    }

    /// Runs once. Blocks for as long as the file system of the pid file takes.
    pub fn run(&self) -> Outcome {
        let descriptors = match (&self.options.pid_file, self.options.of) {
            (Some(path), _) => match pid(path) {
                Ok(pid) => Descriptors::of_process(&self.root, pid),
                Err((message, error)) => {
                    let detail = format!("{}: {error}", path.display());
                    return Outcome::fail(Reason::Unexpected, message).with_detail(detail);
                }
            },
            (None, Owner::Process) => Descriptors::of_self(&self.root),
            (None, Owner::Machine) => Descriptors::of_machine(&self.root),
        };
        match descriptors {
            Ok(descriptors) => self.judge(descriptors),
            Err(error) => self.unread(&error),
        }
    }

    fn unread(&self, error: &ReadingError) -> Outcome {
        let kind = match error {
            ReadingError::Io { source, .. } => Some(source.kind()),
            _ => None,
        };
        let outcome = match kind.filter(|_| self.options.pid_file.is_some()) {
            Some(io::ErrorKind::NotFound) => Outcome::fail(Reason::Unexpected, "process is not running"),
            Some(io::ErrorKind::PermissionDenied) => {
                Outcome::fail(Reason::Auth, "not permitted to count another process's descriptors")
            }
            _ => Outcome::fail(Reason::Internal, "descriptors can't be counted"),
        };
        outcome.with_detail(error.to_string())
    }

    fn judge(&self, descriptors: Descriptors) -> Outcome {
        let Descriptors { open, limit } = descriptors;
        let usage = descriptors.usage();
        let message = || format!("{:.1}% of descriptors in use", usage * 100.0);
        let outcome = if usage > self.options.unhealthy_above.as_f64() {
            Outcome::fail(Reason::Threshold, message())
        } else if usage > self.options.degraded_above.as_f64() {
            Outcome::warn(Reason::Threshold, message())
        } else {
            Outcome::pass()
        };
        let outcome = outcome.with("open", open);
        match limit {
            Some(limit) => outcome
                .with("limit", limit)
                .with_remaining("left", limit.saturating_sub(open))
                .with("files_usage", (usage * 1e4).round() / 1e4),
            None => outcome,
        }
    }
}

impl From<Files> for AnyCheck {
    fn from(files: Files) -> Self {
        // A pid file may lie on a mount that hangs.
        Self::blocking_with(move |_context: &Context| files.run())
    }
}

/// `files: { degraded_above: 80%, unhealthy_above: 95% }`
pub const KIND: Kind = Kind {
    name: "files",
    summary: "Open descriptors, of a process or the machine",
    scope: Scope::Machine, opens: Opens::Paths,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let defaults = Options::default();
    let of = section.or("of", defaults.of);
    let pid_file = section.optional("pid_file");
    let degraded_above = section.or("degraded_above", defaults.degraded_above);
    let unhealthy_above = section.or("unhealthy_above", defaults.unhealthy_above);
    built(section, Files::new(Options { of, pid_file, degraded_above, unhealthy_above }))
}

/// The id that a pid file holds; what everyone may hear about one that holds none, and what is behind it.
fn pid(path: &Path) -> Result<u32, (&'static str, String)> {
    match read_regular(path, MOST_OF_A_PID_FILE) {
        Ok(bytes) => match String::from_utf8_lossy(&bytes).split_whitespace().next().map(str::parse) {
            Some(Ok(pid)) => Ok(pid),
            _ => Err(("pid file holds no process's id", "no number".to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(("process is not running", error.to_string())),
        Err(error) => Err(("pid file can't be read", error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{configured, reason};
    use std::fs;
    use std::process::{Command, Stdio};
    use wellkept_health::Verdict;

    fn judge(open: u64, limit: Option<u64>) -> Outcome {
        Files::new(Options::default()).unwrap().judge(Descriptors { open, limit })
    }

    fn of_pid_file(path: PathBuf) -> Outcome {
        Files::new(Options { pid_file: Some(path), ..Options::default() }).unwrap().run()
    }

    #[test]
    fn limits_are_passed_above_and_not_at_them() {
        assert_eq!(judge(80, Some(100)).verdict(), Verdict::Pass);
        let outcome = judge(81, Some(100));
        assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "81.0% of descriptors in use"));
        assert_eq!(judge(95, Some(100)).verdict(), Verdict::Warn);
        assert_eq!(judge(96, Some(100)).verdict(), Verdict::Fail);
        let metadata = serde_json::to_string(outcome.metadata()).unwrap();
        insta::assert_snapshot!(metadata, @r#"{"open":81,"limit":100,"left":19,"files_usage":0.81}"#);
        assert_eq!(outcome.remaining().map(|(reading, _)| reading), Some("left"));
        let endless = judge(1_000_000, None);
        assert_eq!((endless.verdict(), endless.metadata().len()), (Verdict::Pass, 1));
    }

    #[test]
    fn a_real_process_is_found_by_its_pid_file_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -n 16; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        fs::write(&path, format!("{}\n", child.id())).unwrap();
        wellkept_testkit::until(crate::testing::PATIENCE, "the limit of 16", || {
            of_pid_file(path.clone()).metadata().get("limit") == Some(&16.into())
        });
        let outcome = of_pid_file(path.clone());
        let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
        assert_eq!((outcome.verdict(), &outcome.metadata()["open"]), (Verdict::Pass, &open.into()), "{outcome:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        let gone = of_pid_file(path.clone());
        assert_eq!((reason(&gone), gone.message()), ("unexpected", "process is not running"));
        fs::write(&path, "no number").unwrap();
        assert_eq!(of_pid_file(path.clone()).message(), "pid file holds no process's id");
        fs::remove_file(&path).unwrap();
        let gone = of_pid_file(path.clone());
        assert_eq!((reason(&gone), gone.message()), ("unexpected", "process is not running"));
        assert!(gone.detail().starts_with(path.to_str().unwrap()), "{gone:?}");
    }

    #[test]
    fn this_process_and_this_machine_have_readings() {
        for of in [Owner::Process, Owner::Machine] {
            let outcome = Files::new(Options { of, ..Options::default() }).unwrap().run();
            assert!(outcome.metadata()["open"].as_u64().unwrap() > 0, "{outcome:?}");
        }
        let root = SystemRoot::new("/no/such/folder", "/no/such/folder");
        let unread = Files { root, ..Files::new(Options::default()).unwrap() }.run();
        assert_eq!((reason(&unread), unread.message()), ("internal", "descriptors can't be counted"));
    }

    #[test]
    fn what_does_not_fit_together_is_reported() {
        configured("files:").unwrap();
        configured("files: { pid_file: /run/app.pid }").unwrap();
        let reported = configured("files: { of: machine, pid_file: /run/app.pid }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:33: the machine has none: leave out this or `of: machine`");
        let reported = configured("files: { unhealthy_above: 10% }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:27: must not be below degraded_above");
    }
}
