//! How many processes of a name or command line run, and how many have ended that nobody has asked about.
//!
//! This process itself is not counted, so that one whose command line names what it looks for does not find itself.
//! Threads are not processes. In a container only its own processes are seen, unless it shares the machine's.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | fewer than `minimum` run | unhealthy | `threshold` |
//! | more than `maximum` run, where it is set | degraded | `threshold` |
//! | more than `zombies_above` have ended and wait for their parent, where it is set | degraded | `threshold` |
//! | the processes can't be listed | unhealthy | `internal` |
//!
//! # Rights
//!
//! None, unless `/proc` is mounted with `hidepid`: then only processes of the same user are seen.
//!
//! # Cost
//!
//! Nothing over a network: one small file of the kernel for each process, with `cmdline` two for those of the name.

use wellkept_config::Section;
use wellkept_health::{AnyCheck, Outcome, Reason, Scope};
use wellkept_telemetry::system::{self, ReadingError, SystemRoot};

use crate::kind::built;
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`Processes`] check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What a process is called: its program's file, without folders, unless it gave itself another name. Default: any.
    pub name: Option<String>,
    /// What its command line holds, arguments with a space between them; a `*` in it stands for anything. Default:
    /// anything.
    pub cmdline: Option<String>,
    /// Unhealthy when fewer run. Default 1.
    pub minimum: u64,
    /// Degraded when more run. Default: not set.
    pub maximum: Option<u64>,
    /// Degraded when more than so many of them have ended and wait for their parent to ask how. These have no command line
    /// any more: with `cmdline` there are none. Default: not set.
    pub zombies_above: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { name: None, cmdline: None, minimum: 1, maximum: None, zombies_above: None }
    }
}

/// How many processes run. The metadata holds `running` and `zombies`.
#[derive(Debug, Clone)]
pub struct Processes {
    options: Options,
    root: SystemRoot,
}

#[derive(Debug, Default)]
struct Count {
    running: u64,
    zombies: u64,
}

impl Processes {
    /// Refuses an empty name or command line, and a maximum below the minimum. Reads nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        for (option, text) in [("name", &options.name), ("cmdline", &options.cmdline)] {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                return Err(InvalidOption::new(option, "must not be empty"));
            }
        }
        if options.maximum.is_some_and(|maximum| maximum < options.minimum) {
            return Err(InvalidOption::new("maximum", "must not be below minimum"));
        }
        Ok(Self { options, root: SystemRoot::default() })
    }

    /// Runs once. Blocks for as long as the kernel takes: it lets the reader of a command line wait while that process's
    /// memory is locked.
    pub fn run(&self) -> Outcome {
        match self.count() {
            Ok(count) => self.judge(&count),
            Err(error) => Outcome::fail(Reason::Internal, "processes can't be listed").with_detail(error.to_string()),
        }
    }

    fn count(&self) -> Result<Count, ReadingError> {
        let mut count = Count::default();
        let itself = std::process::id();
        for process in system::Processes::list(&self.root)? {
            let is_meant = process.pid != itself
                && self.options.name.as_ref().is_none_or(|name| process.is_called(&self.root, name))
                && self.options.cmdline.as_ref().is_none_or(|text| holds(&process.command_line(&self.root), text));
            match (is_meant, process.zombie) {
                (true, false) => count.running += 1,
                (true, true) => count.zombies += 1,
                (false, _) => {}
            }
        }
        Ok(count)
    }

    fn judge(&self, Count { running, zombies }: &Count) -> Outcome {
        let Options { minimum, maximum, zombies_above, .. } = self.options;
        let outcome = if *running < minimum {
            Outcome::fail(Reason::Threshold, format!("{running} running, fewer than {minimum}"))
        } else if let Some(maximum) = maximum.filter(|maximum| running > maximum) {
            Outcome::warn(Reason::Threshold, format!("{running} running, more than {maximum}"))
        } else if zombies_above.is_some_and(|most| *zombies > most) {
            Outcome::warn(Reason::Threshold, format!("{zombies} have ended and wait for their parent"))
        } else {
            Outcome::pass()
        };
        outcome.with("running", *running).with("zombies", *zombies)
    }
}

impl From<Processes> for AnyCheck {
    fn from(processes: Processes) -> Self {
        Self::blocking(move || processes.run())
    }
}

/// `processes: { name: nginx, cmdline: "worker process", minimum: 2 }`
pub const KIND: Kind = Kind {
    name: "processes",
    summary: "How many processes of a name or command line run",
    scope: Scope::Machine, opens: Opens::Paths,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let name = section.optional("name");
    let cmdline = section.optional("cmdline");
    let minimum = section.or("minimum", Options::default().minimum);
    let maximum = section.optional("maximum");
    let zombies_above = section.optional("zombies_above");
    built(section, Processes::new(Options { name, cmdline, minimum, maximum, zombies_above }))
}

/// Whether `text` is in the line, its parts around each `*` one after the other.
fn holds(line: &str, text: &str) -> bool {
    let mut rest = Some(line);
    for part in text.split('*') {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PATIENCE, configured, reason};
    use proptest::prelude::*;
    use std::process::Command;
    use wellkept_health::Verdict;
    use wellkept_testkit::{Program, Signal, until};

    /// Ends with the test, also with one that fails.
    fn sleeper(seconds: &str) -> Program {
        Program::spawn(Command::new("sleep").arg(seconds))
    }

    fn check(options: Options) -> Processes {
        Processes::new(options).unwrap()
    }

    fn count(outcome: &Outcome) -> (u64, u64) {
        let number = |name: &str| outcome.metadata()[name].as_u64().unwrap();
        (number("running"), number("zombies"))
    }

    #[test]
    fn real_processes_are_counted_by_name_and_command_line_until_they_are_gone() {
        // Told apart from all other sleeping processes by how long they sleep.
        let seconds = format!("86400.{}", std::process::id());
        let own = check(Options {
            name: Some("sleep".to_owned()),
            cmdline: Some(format!("sleep*{seconds}")),
            minimum: 2,
            maximum: Some(2),
            ..Options::default()
        });
        let mut children = vec![sleeper(&seconds), sleeper(&seconds)];
        // A child is a copy of this process until it has become the other program.
        until(PATIENCE, "two that sleep", || own.run().verdict() == Verdict::Pass);
        assert_eq!(count(&own.run()), (2, 0));
        children.push(sleeper(&seconds));
        until(PATIENCE, "three that sleep", || own.run().verdict() == Verdict::Warn);
        assert_eq!(own.run().message(), "3 running, more than 2");
        drop(children);
        let outcome = own.run();
        assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Fail, "threshold"));
        assert_eq!(outcome.message(), "0 running, fewer than 2");
    }

    #[test]
    fn a_process_that_nobody_asked_about_is_a_zombie_and_does_not_run() {
        let name = format!("wkz-{}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(&name);
        // A link: a copy that is executed while another test starts a process may be "busy".
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = Program::spawn(Command::new(&program).arg("86400"));
        let own = check(Options { name: Some(name), minimum: 0, zombies_above: Some(0), ..Options::default() });
        until(PATIENCE, "one that runs", || count(&own.run()) == (1, 0));
        assert_eq!(own.run().verdict(), Verdict::Pass);
        child.signal(Signal::KILL);
        until(PATIENCE, "one that waits for its parent", || count(&own.run()) == (0, 1));
        let outcome = own.run();
        assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "1 have ended and wait for their parent"));
        child.wait(PATIENCE);
        assert_eq!(count(&own.run()), (0, 0));
    }

    #[test]
    fn it_does_not_find_itself() {
        let mut line = std::env::args().collect::<Vec<_>>().join(" ");
        line.truncate(200);
        let own = check(Options { cmdline: Some(line), minimum: 0, ..Options::default() });
        assert_eq!(count(&own.run()), (0, 0));
        let root = SystemRoot::new("/no/such/folder", "/no/such/folder");
        let unlisted = Processes { root, ..check(Options::default()) }.run();
        assert_eq!((reason(&unlisted), unlisted.message()), ("internal", "processes can't be listed"));
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (line, text, expected) in [
            ("nginx: worker process", "worker", true),
            ("nginx: worker process", "nginx*process", true),
            ("nginx: worker process", "process*nginx", false),
            ("python -m celery worker", "*celery*worker*", true),
            ("", "a", false),
            ("aba", "ab*ba", false),
        ] {
            assert_eq!(holds(line, text), expected, "{line} / {text}");
        }
    }

    proptest! {
        #[test]
        fn a_line_holds_its_parts_in_their_order(parts in prop::collection::vec("[a-c]{0,3}", 1..5), between in "[x-z]{0,3}") {
            let line = format!("x{}", parts.join(&between));
            prop_assert!(holds(&line, &parts.join("*")));
            prop_assert!(!holds(&line, &(parts.join("*") + "!")));
        }
    }

    #[test]
    fn what_does_not_fit_together_is_reported() {
        configured("processes:").unwrap();
        let reported = configured("processes: { name: '' }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:20: must not be empty");
        let reported = configured("processes: { minimum: 3, maximum: 2 }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:35: must not be below minimum");
    }
}
