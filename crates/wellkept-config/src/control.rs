//! What operators do with a configuration, whatever its type: the face that doors and commands use.

use std::future::Future;
use std::pin::Pin;

use crate::content::ContentHash;
use crate::outcome::{Report, Request};
use crate::versions::{StoreFault, Trigger, Version, VersionId};

/// An answer that is waited for, in bounded time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A configuration that runs, for whoever shows or changes it and does not know its type.
pub trait Control: std::fmt::Debug + Send + Sync {
    /// Reads the sources again and applies them whole or not at all. Ends within the deadline; dropping the answer does
    /// not end the reload.
    fn reload(&self, request: Request) -> Answer<'_, Report>;

    /// Returns to a version.
    fn roll_back(&self, to: VersionId, request: Request) -> Answer<'_, Report>;

    /// What runs.
    fn running(&self) -> Running;

    /// All versions that are kept, newest first.
    fn versions(&self) -> Answer<'_, Result<Vec<Version>, ViewError>>;

    /// The values of one, secrets hidden, each with where it comes from.
    fn show(&self, which: Which) -> Answer<'_, Result<Vec<Shown>, ViewError>>;

    /// What differs between two, in lines that show no secret.
    fn diff(&self, from: Which, to: Which) -> Answer<'_, Result<Vec<String>, ViewError>>;
}

/// Which configuration is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that runs.
    Running,
    /// What the sources say now.
    Sources,
    /// A version that is kept.
    Version(VersionId),
}

/// What runs, in figures and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its number, where versions are kept.
    pub version: Option<VersionId>,
    /// The hash of its content.
    pub hash: ContentHash,
    /// Since when, in milliseconds since 1970.
    pub since: i64,
    /// What brought it.
    pub trigger: Trigger,
    /// Who brought it; may be empty.
    pub author: String,
    /// The files that it is read from.
    pub files: Vec<String>,
    /// A content that is refused since a rollback, until the files change.
    pub refuses: Option<ContentHash>,
    /// Keys whose value in this configuration waits for a restart.
    pub restart_required: Vec<String>,
    /// Until when it is on probation, in milliseconds since 1970.
    pub probation_until: Option<i64>,
    /// What became of the latest attempt that was refused since, one line for each reason; empty when there was none.
    pub last_rejection: Vec<String>,
}

/// One value, fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its path: `checks.orders-db.interval`. Items of lists go by their name where they have one, else by `[0]`.
    pub path: String,
    /// As written, before interpolation; of a secret only that it is one; a default as it would be written.
    pub value: ShownValue,
    /// Where it comes from: `wellkept.yaml:3:5`, `environment WELLKEPT_HTTP__LISTEN`, `--set http.listen`, `default`.
    pub origin: String,
}

/// How a value is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownValue {
    /// As written.
    Written(String),
    /// It is a secret.
    Secret,
}

/// Why something can't be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// No such version is kept, or it was refused and has no content.
    #[error("version {0} is not kept")]
    UnknownVersion(VersionId),
    /// It can't be read, or is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// It did not come in time.
    #[error("not done in time")]
    TimedOut,
}
