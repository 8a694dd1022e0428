//! A program, as plugins for monitoring systems are: by its exit code and by what it prints.
//!
//! There is no shell: `run` is the program and its arguments, each as it stands. The convention is that of the
//! [Monitoring Plugins](https://www.monitoring-plugins.org/doc/guidelines.html): 0 is a pass, 1 a warning, 2 critical,
//! and 3 that the plugin can't tell; what stands behind a `|` are readings. Only the configuration can name a
//! command; nothing that is asked over a network can.
//!
//! The program has no input, the variables that it is given and no others, and a process group of its own. When it has
//! ended, or its time is up, or the check is dropped, what is left of that group is killed: what it started too,
//! unless that has made itself a session of its own.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | exit code 1 | degraded | `threshold` |
//! | exit code 2 | unhealthy | `threshold` |
//! | exit code 3: the command can't tell | unhealthy | `internal` |
//! | any other exit code, or a signal has ended it | unhealthy | `unexpected` |
//! | it has not ended in time, and is killed | unhealthy | `timeout` |
//! | it prints more than 1 MiB, and is killed | unhealthy | `protocol` |
//! | the program is not there | unhealthy | `not_found` |
//! | it is no program, may not be run, or its interpreter is not there | unhealthy | `not_executable` |
//! | `directory` is not there, or `user` may not be taken | unhealthy | `error` |
//! | no process or descriptor is left | unhealthy | `internal` |
//!
//! # Rights
//!
//! To run the program. For another `user`, those of root.
//!
//! # Cost
//!
//! One process per run, with what it does itself. One that can't even be killed, because it hangs in the kernel, is not
//! started a second time.
//!
//! # What is told
//!
//! What the command prints is for operators: it stands in the detail, at most 4 KiB of it, and the values of
//! `environment` are struck out of it. `public: first_line` makes its first line public, up to the `|`. The metadata
//! holds `exit_code`, and in `perfdata` at most 64 readings by their label, each with `value`, `unit`, and what the
//! command says of them: `warn`, `crit`, `min`, `max`. A reading that the command could not take (`U`) has no value.

mod output;
mod process;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use wellkept_config::{FromNode, Schema, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};

use self::output::Printed;
use self::process::{Ended, Failed, Finished, Place, run};
use crate::kind::{built, named_secrets};
use crate::reach::{give_up_at, timed_out};
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`Command`] check. `Debug` shows the program alone: arguments may be secrets.
#[derive(Clone)]
pub struct Options {
    /// The program by its whole path, and its arguments. Required.
    pub run: Vec<String>,
    /// The folder that it runs in. Default `/`.
    pub directory: PathBuf,
    /// Variables that it gets as this process has them. Default `[PATH]`.
    pub inherit: Vec<String>,
    /// Further variables, by name. Default: none.
    pub environment: Vec<(String, SecretString)>,
    /// Who it runs as. Default: whoever this process runs as.
    pub user: Option<User>,
    /// What of its output everyone may read: `nothing`, or the `first_line`. Default `nothing`.
    pub public: Public,
}

impl Options {
    /// A program by its whole path, and its arguments.
    pub fn new(run: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            run: run.into_iter().map(Into::into).collect(),
            directory: PathBuf::from("/"),
            inherit: vec!["PATH".to_owned()],
            environment: Vec::new(),
            user: None,
            public: Public::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Options").field("program", &self.run.first()).finish_non_exhaustive()
    }
}

/// A user and a group by number. Names are not looked up: they would have to be asked of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub id: u32,
    /// The group. Further groups are given up.
    pub group: u32,
}

impl FromNode for User {
    const EXPECTED: &'static str = "a user and a group by number such as 65534:65534";

    fn from_scalar(text: &str) -> Result<Self, String> {
        let (id, group) = text.split_once(':').ok_or_else(|| "the group is missing".to_owned())?;
        Ok(Self { id: u32::from_scalar(id)?, group: u32::from_scalar(group)? })
    }
}

/// What of a command's output everyone may read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Public {
    /// All of it is for operators.
    #[default]
    Nothing,
    /// The first line, up to the `|`: whoever writes the command sees to it that this holds no address and no secret.
    FirstLine,
}

const WORDS: [(&str, Public); 2] = [("nothing", Public::Nothing), ("first_line", Public::FirstLine)];

impl FromNode for Public {
    const EXPECTED: &'static str = "nothing or first_line";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

/// A program, by its exit code and what it prints.
#[derive(Debug, Clone)]
pub struct Command {
    options: Arc<Options>,
    place: Place,
}

impl Command {
    /// Refuses a program without its whole path, and what no process can be given. Starts nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Some(program) = options.run.first() else {
            return Err(InvalidOption::new("run", "must not be empty"));
        };
        if !program.starts_with('/') {
            return Err(InvalidOption::new("run", "must begin with the program's whole path"));
        }
        if options.run.iter().any(|word| word.contains('\0')) {
            return Err(InvalidOption::new("run", "must hold no NUL"));
        }
        let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        if !options.inherit.iter().all(|name| is_name(name)) {
            return Err(InvalidOption::new("inherit", "must be names of variables"));
        }
        if !options.environment.iter().all(|(name, value)| is_name(name) && !value.expose_secret().contains('\0')) {
            return Err(InvalidOption::new("environment", "must be variables by their names"));
        }
        Ok(Self { options: Arc::new(options), place: Place::new() })
    }

    fn judge(&self, finished: &Finished) -> Outcome {
        let printed = Printed::of(&self.masked(&finished.stdout));
        let first_line = match self.options.public {
            Public::FirstLine if !printed.first_line.is_empty() => Some(printed.first_line.clone()),
            _ => None,
        };
        let said = |instead: &'static str| first_line.map_or(instead.into(), std::borrow::Cow::Owned);
        let (outcome, code) = match finished.ended {
            Ended::Code(0) => (Outcome::pass(), Some(0)),
            Ended::Code(1) => (Outcome::warn(Reason::Threshold, said("the command warns")), Some(1)),
            Ended::Code(2) => (Outcome::fail(Reason::Threshold, said("the command says that it is critical")), Some(2)),
            Ended::Code(3) => (Outcome::fail(Reason::Internal, said("the command can't tell")), Some(3)),
            Ended::Code(code) => {
                let message = format!("exit code {code} is none of 0 to 3");
                (Outcome::fail(Reason::Unexpected, message), Some(code))
            }
            Ended::Signal(signal) => {
                let message = format!("signal {signal} has ended the command");
                (Outcome::fail(Reason::Unexpected, message), None)
            }
        };
        let mut detail = printed.text;
        let errors = self.masked(&finished.stderr);
        if !errors.trim().is_empty() {
            detail = format!("{detail}\n{}", errors.trim());
        }
        let mut outcome = outcome.with_detail(detail.trim());
        if let Some(code) = code {
            outcome = outcome.with("exit_code", code);
        }
        if printed.readings.is_empty() { outcome } else { outcome.with("perfdata", printed.readings) }
    }

    /// As text, without what the command was given as a secret. What is short is no secret, and stands everywhere.
    fn masked(&self, output: &[u8]) -> String {
        const SHORTEST: usize = 4;
        let mut text = String::from_utf8_lossy(output).into_owned();
        for (_, value) in &self.options.environment {
            let value = value.expose_secret();
            if value.len() >= SHORTEST {
                text = text.replace(value, "***");
            }
        }
        text
    }
}

impl Check for Command {
    async fn run(&self, context: &Context) -> Outcome {
        match run(&self.options, &self.place, give_up_at(context)).await {
            Ok(finished) => self.judge(&finished),
            Err(failed) => self.failed(failed),
        }
    }
}

impl Command {
    fn failed(&self, failed: Failed) -> Outcome {
        let program = self.options.run.first().map_or("", String::as_str);
        let outcome = match failed {
            Failed::Late => return timed_out("the command ran; it is killed"),
            Failed::StillThere => {
                let outcome = Outcome::fail(Reason::Timeout, "an earlier run has not ended");
                return outcome.with_detail(format!("{program}: it is killed, and still there"));
            }
            Failed::TooLong => Outcome::fail(Reason::Protocol, "the command prints too much"),
            Failed::NotFound => Outcome::fail(Reason::Custom("not_found"), "there is no such command"),
            Failed::NotExecutable(error) => {
                let outcome = Outcome::fail(Reason::Custom("not_executable"), "the command can't be executed");
                return outcome.with_detail(format!("{program}: {error}"));
            }
            Failed::NoPlace(error) => {
                let outcome = Outcome::fail(Reason::Error, "the command can't be started as it should be");
                return outcome.with_detail(format!("{program}: {error}"));
            }
            Failed::NotStarted(error) => {
                let outcome = Outcome::fail(Reason::Internal, "the command could not be started");
                return outcome.with_detail(format!("{program}: {error}"));
            }
        };
        outcome.with_detail(program)
    }
}

/// `command: { run: [/usr/lib/nagios/plugins/check_load, -w, "4,3,2", -c, "8,6,4"], public: first_line }`
pub const KIND: Kind = Kind {
    name: "command",
    summary: "A program, by its exit code and what it prints",
    // What a command looks at is not known.
    scope: Scope::Remote, opens: Opens::Programs,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let run = section.required::<Vec<String>>("run");
    let defaults = Options::new([""; 0]);
    let directory = section.or("directory", defaults.directory);
    let inherit = section.or("inherit", defaults.inherit);
    let environment = named_secrets(section, "environment");
    let user = section.optional("user");
    let public = section.or("public", defaults.public);
    let options = Options { run: run?, directory, inherit, environment: environment?, user, public };
    built(section, Command::new(options))
}

#[cfg(test)]
mod tests;
