//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use wellkept::config::Assignment;
use wellkept::http::Address;

use crate::exit::Exit;

pub(crate) use config::{
    Change, ConfigCheck, ConfigCommand, ConfigDiff, ConfigHistory, ConfigRollback, ConfigSchema, ConfigShow, Reload,
};

mod config;

/// Keeps a service well: checks every part on the real thing, answers probes, shows what is going on.
#[derive(Debug, Parser)]
#[command(
    name = "wellkept",
    version,
    before_help = "Examples:
  wellkept serve                             watch this machine, on http://127.0.0.1:8080
  wellkept serve --config wellkept.yaml      watch what the file names
  wellkept check --config wellkept.yaml      run its checks once; exit 0 or 1
  wellkept check --server http://127.0.0.1:8080   ask a running one, as Docker's HEALTHCHECK does
  wellkept check --kind tcp --address db:5432     run one check without a file
  wellkept status                            what a running one knows, and what changed
  wellkept reload                            have a running one read its configuration again
  wellkept maintenance start --for 30m --reason \"new disks\"   take a running one out
  wellkept log level sqlx debug --for 10m    have a running one say more of a module, for a while
  wellkept heartbeat backup -- /usr/local/bin/backup   run a job and report how it went
  wellkept config check wellkept.yaml        find every mistake in a file
  wellkept config rollback 3                 have a running one return to an earlier configuration",
    after_help = "Exit codes: 0 clean, 1 not healthy, 64 usage, 69 can't reach or can't listen, 70 a part failed,
75 forced by the deadline, 78 configuration, 128+n ended by a further signal; check --nagios: 0 to 3."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the checks on their schedules and open the doors, until a signal ends it.
    Serve(Serve),
    /// Run a configuration's checks once, or ask a running server.
    Check(Check),
    /// Show what a running server knows, and the latest changes of status.
    Status(Status),
    /// Have a running server read its configuration again.
    Reload(Reload),
    /// Take a running service, or some of its components, out on purpose, and in again.
    #[command(
        subcommand,
        before_help = "Examples:
  wellkept maintenance start --for 30m --reason \"new disks\"   the whole service
  wellkept maintenance list
  wellkept maintenance end"
    )]
    Maintenance(MaintenanceCommand),
    /// Show and change what a running server logs.
    #[command(
        subcommand,
        before_help = "Examples:
  wellkept log status
  wellkept log level sqlx debug --for 10m
  wellkept log level sqlx reset"
    )]
    Log(LogCommand),
    /// Report for a job, or run it and report how it went.
    Heartbeat(Heartbeat),
    /// Look after configurations: check files, show what runs and what ran, go back.
    #[command(
        subcommand,
        before_help = "Examples:
  wellkept config check wellkept.yaml
  wellkept config show http
  wellkept config diff
  wellkept config history
  wellkept config rollback 3"
    )]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept serve                          watch this machine, on http://127.0.0.1:8080
  wellkept serve --listen 127.0.0.1:9090  the same, elsewhere
  wellkept serve --config wellkept.yaml   watch what the file names; kill -HUP applies a changed file
  wellkept serve --take-over              take the place of the one that serves already, once ready")]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) file: File,
    /// Where the probes listen, whatever the configuration says: ADDRESS:PORT, or unix:PATH. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<Address>,
    /// Set a key, whatever the files and the environment say: KEY=VALUE, such as `logging.level=debug`, and for a check
    /// `checks.NAME.interval=5s`. May be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<Assignment>,
    /// Take the place of the process that serves with this configuration, without a lost connection: it ends when this one
    /// is ready, and goes on if that never happens. Needs `shutdown: { handover: { path: … } }`, in its configuration too.
    #[arg(long)]
    pub(crate) take_over: bool,
}

impl Serve {
    /// What the command line sets; the option for the address last, so that it wins.
    pub(crate) fn assignments(&self) -> Vec<Assignment> {
        let listen = self.listen.as_ref().map(|address| {
            let listen = Assignment::new("http.listen", address.to_string()).expect("the key is fixed");
            listen.by_option("--listen")
        });
        self.set.iter().cloned().chain(listen).collect()
    }
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  wellkept check                                      this machine's disk, memory and CPU
  wellkept check --config wellkept.yaml orders-db     one check of a file
  wellkept check --server http://127.0.0.1:8080       whether a running server is ready
  wellkept check --config wellkept.yaml --nagios      exit 0 to 3, one line, perfdata
  wellkept check --kind postgres --url '${DATABASE_URL}'   one check without a file, as Docker's HEALTHCHECK
  wellkept check --kind http --help                   the keys of a kind",
    after_help = "Exit code 0: with --server, it is ready. Without, the checks add up to healthy or degraded, as /health would say it:
those that no group sees count too, as do those that are shared and readiness would only be degraded by. What is optional
degrades. The last line and the key `ready` of the JSON tell what readiness would say of them."
)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) file: File,
    /// Ask this server instead of running checks.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub(crate) server: Option<String>,
    /// The file that holds the server's admin token.
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Answer as a monitoring plugin: one line with perfdata, exit 0 (ok), 1 (warning), 2 (critical), 3 (unknown).
    #[arg(long, conflicts_with = "json")]
    pub(crate) nagios: bool,
    /// Run one check of this kind. What follows are its keys, as `--KEY VALUE`: nested ones with a dot, lists by giving
    /// the key again. Variables, `${NAME}`, are filled in as in a file; `--KEY @FILE` stands for `--KEY_file FILE`.
    #[arg(long, value_name = "KIND", conflicts_with_all = ["config", "server", "names"])]
    pub(crate) kind: Option<String>,
    /// How long all of it may take. A check that takes longer has failed, and where all of it does, the answer is that.
    /// Default: 9s with --nagios; 2s with --kind; otherwise as long as each check may by itself.
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// The words after `check`, where they name a kind: its keys are no options of this program.
    #[arg(skip)]
    pub(crate) one_liner: Option<Vec<OsString>>,
    /// Only these checks.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

impl Check {
    /// `check --kind KIND --KEY VALUE …`, to be read by those who know the kind's keys. `None` for anything else.
    fn of_one_kind(words: &[OsString]) -> Option<Self> {
        let (command, words) = words.get(1..)?.split_first()?;
        let is_kind = |word: &OsString| word == "--kind" || word.as_encoded_bytes().starts_with(b"--kind=");
        (command == "check" && words.iter().any(is_kind)).then(|| Self {
            file: File { config: None },
            server: None,
            token_file: None,
            json: words.iter().any(|word| word == "--json"),
            nagios: words.iter().any(|word| word == "--nagios"),
            kind: None,
            timeout: None,
            one_liner: Some(words.to_vec()),
            names: Vec::new(),
        })
    }
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept status                                  of the server that the configuration describes
  wellkept status --server http://127.0.0.1:8081   of the server there
  wellkept status --changes 50 --json")]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) door: Door,
    /// How many of the latest changes to show.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub(crate) changes: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MaintenanceCommand {
    /// Begin a maintenance of the service, or of some components.
    Start(MaintenanceStart),
    /// End what was begun before its time.
    End(MaintenanceEnd),
    /// Show what is in maintenance, and the next occurrence of each window.
    List(MaintenanceList),
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept maintenance start --for 30m --reason \"new disks\"               the whole service: readiness answers 503
  wellkept maintenance start orders-db cache --for 2h --reason \"upgrade\"  two components: left out of what counts
  wellkept maintenance start --until 14:00 --reason \"move\" --author ann   by the clock, here on this machine
  wellkept maintenance start --open --reason \"unclear\"                    until `end`, or the longest there may be")]
#[command(group = clap::ArgGroup::new("end").required(true))]
pub(crate) struct MaintenanceStart {
    /// The components. Default: the whole service.
    #[arg(value_name = "COMPONENT")]
    pub(crate) components: Vec<String>,
    /// How long it lasts, for example 30m or 2h, however the clock is set meanwhile.
    #[arg(long = "for", value_name = "DURATION", group = "end")]
    pub(crate) lasts: Option<String>,
    /// When it ends: the next 14:00 here, or a time such as 2026-05-01T14:00:00+02:00.
    #[arg(long, value_name = "TIME", group = "end")]
    pub(crate) until: Option<String>,
    /// No end is known: it ends by `wellkept maintenance end`, or after the longest that one may last.
    #[arg(long, group = "end")]
    pub(crate) open: bool,
    /// Why, in one line. Operators see it, the public does not.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Who, in one line. Default: `USER`.
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) door: Door,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept maintenance end             what was begun for the whole service
  wellkept maintenance end orders-db   what was begun for one component
  wellkept maintenance end --all       everything that was begun by hand")]
pub(crate) struct MaintenanceEnd {
    /// The components. Default: the whole service.
    #[arg(value_name = "COMPONENT", conflicts_with = "all")]
    pub(crate) components: Vec<String>,
    /// The service and all components.
    #[arg(long)]
    pub(crate) all: bool,
    /// Who, in one line. Default: `USER`.
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) door: Door,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept maintenance list
  wellkept maintenance list --server http://127.0.0.1:8081 --json")]
pub(crate) struct MaintenanceList {
    #[command(flatten)]
    pub(crate) door: Door,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Set the level of the log or of a module, for a while if asked to, or take it back.
    Level(LogLevel),
    /// Show the levels, who set them and until when, and what became of the log's lines.
    Status(LogStatus),
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  wellkept log level debug --for 10m                    everything, for ten minutes
  wellkept log level sqlx debug --for 10m               one module and what is in it
  wellkept log level h2 warning --reason \"too loud\"     until it is taken back
  wellkept log level sqlx reset                         as the configuration has it
  wellkept log level reset                              the same of all levels that were set",
    after_help = "Levels: trace, debug, info, warning, error, critical. Security events, and what the log says of itself, are logged
at any level. A level without --for stays until it is taken back, the configuration says something else there, or a restart."
)]
pub(crate) struct LogLevel {
    /// The module, as targets begin, for example sqlx; and the level, or `reset`. Without a module, the
    /// whole log.
    #[arg(value_name = "[MODULE] LEVEL", required = true, num_args = 1..=2)]
    pub(crate) what: Vec<String>,
    /// After how long the level from before returns by itself: 1s to 7 days, for example 10m.
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) lasts: Option<String>,
    /// Why, in one line.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Who, in one line. Default: `USER`.
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) door: Door,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept log status
  wellkept log status --server http://127.0.0.1:8081 --json")]
pub(crate) struct LogStatus {
    #[command(flatten)]
    pub(crate) door: Door,
}

/// Where a running server's admin door is, and how its answer is printed.
#[derive(Debug, Args)]
pub(crate) struct Door {
    #[command(flatten)]
    pub(crate) file: File,
    /// Ask the server here: a URL, ADDRESS:PORT, or unix:PATH. Default: where the configuration says that it listens.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The file that holds the admin token. Default: the configuration's.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  wellkept heartbeat backup -- /usr/local/bin/backup --all   run a job; report its begin, its end and its exit code
  wellkept heartbeat backup                                  report that it has ended well
  wellkept heartbeat backup --fail                           report that it has not

In a crontab: 0 3 * * * wellkept heartbeat backup --server http://127.0.0.1:8081 -- /usr/local/bin/backup",
    after_help = "With a command, the exit code is the command's: 127 when it is not there, 126 when it can't be started, 128+n ended by a
signal. It runs whether or not the server can be told."
)]
pub(crate) struct Heartbeat {
    /// The name of a check of kind `heartbeat`.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Report that it begins.
    #[arg(long, conflicts_with_all = ["fail", "command"])]
    pub(crate) start: bool,
    /// Report that it has failed.
    #[arg(long, conflicts_with = "command")]
    pub(crate) fail: bool,
    #[command(flatten)]
    pub(crate) door: Door,
    /// What to run, and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Which configuration.
#[derive(Debug, Args)]
pub(crate) struct File {
    /// The configuration. Default: `WELLKEPT_CONFIG`, `./wellkept.yaml`, `/etc/wellkept/wellkept.yaml`, this machine.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line. Help and version are printed and end well.
    pub(crate) fn read() -> Result<Self, Exit> {
        let words: Vec<OsString> = std::env::args_os().collect();
        if let Some(check) = Check::of_one_kind(&words) {
            return Ok(Self { command: Command::Check(check) });
        }
        Self::try_parse_from(words).map_err(|error| {
            // Nothing can be done when even this can't be printed.
            drop(error.print());
            if error.use_stderr() { Exit::Usage } else { Exit::Clean }
        })
    }
}
