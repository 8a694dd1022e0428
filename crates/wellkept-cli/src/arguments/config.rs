//! The command line of `wellkept config` and `wellkept reload`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use wellkept::config::Assignment;

use super::Door;

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  wellkept reload                                  of the server that the configuration describes
  wellkept reload --dry-run                        only say what would change
  wellkept reload --if-match 4                     only if version 4 still runs
  wellkept reload --server http://127.0.0.1:8081 --token-file token

It waits for the outcome. A file with a mistake in it changes nothing, and is exit code 78.",
    after_help = REFUSALS
)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) change: Change,
    #[command(flatten)]
    pub(crate) door: Door,
}

/// What the exit codes of a change mean.
const REFUSALS: &str =
    "Exit codes: 0 it runs, also when some keys wait for a restart (standard error names them), or nothing has changed;
78 refused, the one from before runs on; 75 not done in time; 70 not done now, for example because another version runs
than --if-match names; 64 no such version; 69 can't reach the server.";

/// How a running server's configuration is changed.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Only say what would be done: read, checked and prepared, and given up.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only if this still runs: the number of a version, or at least 8 digits of a content's hash.
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_match: Option<String>,
    /// Who, in one line. Default: `USER`.
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// How long to wait for the outcome. The server gives a change up by its own deadline, 30s by default.
    #[arg(long, value_name = "DURATION", default_value = "35s")]
    pub(crate) timeout: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Find every mistake in a configuration, each with its place.
    Check(ConfigCheck),
    /// Print the JSON Schema of the file, or the tables of its keys.
    Schema(ConfigSchema),
    /// Show what a running server is told, each value with where it comes from.
    Show(ConfigShow),
    /// Show what differs between two configurations of a running server.
    Diff(ConfigDiff),
    /// Show the versions that a running server keeps: when, who, what changed and what came of it.
    History(ConfigHistory),
    /// Have a running server return to an earlier version.
    Rollback(ConfigRollback),
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  wellkept config check                      what `wellkept serve` would read here
  wellkept config check wellkept.yaml
  wellkept config check a.yaml b.yaml        each by itself
  wellkept config check --set http.listen=127.0.0.1:9090 --json

It reads as the server does: the file, the folder beside it (wellkept.d for wellkept.yaml), WELLKEPT_… of the environment.",
    after_help = "Exit codes: 0 valid, also with warnings; 78 not."
)]
pub(crate) struct ConfigCheck {
    /// The files, each a configuration. Default: the one that `serve` would find.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Set a key, as `wellkept serve` does. May be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<Assignment>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept config schema > wellkept.schema.json
  wellkept config schema --markdown           every key with its type, its default and what it is for

An editor with the YAML language server completes and checks a file that begins with
  # yaml-language-server: $schema=wellkept.schema.json")]
pub(crate) struct ConfigSchema {
    /// Print the keys in tables of Markdown instead.
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept config show                       what runs
  wellkept config show checks.orders-db      one part of it
  wellkept config show --version 3           what ran as version 3
  wellkept config show --file http.listen    what a reload would read now

Secrets are shown as such, never their content.")]
pub(crate) struct ConfigShow {
    /// Only this key, or what is below it, for example http or checks.orders-db.interval.
    #[arg(value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// An earlier version.
    #[arg(long, value_name = "NUMBER", conflicts_with = "at_rest")]
    pub(crate) version: Option<u64>,
    /// What the server's files and environment say now, applied or not.
    #[arg(long = "file", id = "at_rest")]
    pub(crate) file: bool,
    #[command(flatten)]
    pub(crate) door: Door,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  wellkept config diff                what a reload would change
  wellkept config diff 3              what has changed since version 3
  wellkept config diff 3 4            what has changed from version 3 to 4
  wellkept config diff 3 file",
    after_help = "Exit codes: 0 nothing differs, 1 something does."
)]
pub(crate) struct ConfigDiff {
    /// The number of a version, `running`, or `file` for what the files say now. Default: `running`.
    #[arg(value_name = "FROM")]
    pub(crate) from: Option<String>,
    /// The same. Default: `file`; with the number of a version before it, `running`.
    #[arg(value_name = "TO")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) door: Door,
}

#[derive(Debug, Args)]
#[command(before_help = "Examples:
  wellkept config history            the latest versions, newest first
  wellkept config history 4          one of them, with all that changed
  wellkept config history --json")]
pub(crate) struct ConfigHistory {
    /// Only this one, in full.
    #[arg(value_name = "NUMBER")]
    pub(crate) version: Option<u64>,
    /// How many to show at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) door: Door,
}

#[derive(Debug, Args)]
#[command(
    before_help = "Examples:
  wellkept config rollback 3              return to version 3
  wellkept config rollback 3 --dry-run    only say what would change

What is left is refused until the files change, so that no reload brings it back.",
    after_help = REFUSALS
)]
pub(crate) struct ConfigRollback {
    /// The version's number, as `wellkept config history` lists it.
    #[arg(value_name = "NUMBER")]
    pub(crate) version: u64,
    #[command(flatten)]
    pub(crate) change: Change,
    #[command(flatten)]
    pub(crate) door: Door,
}
