//! What operators do with a configuration, whatever its type: the face that doors and commands use.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::Pin;
use std::sync::LazyLock;

use crate::conceal;
use crate::content::ContentHash;
use crate::live::ReloadStats;
use crate::outcome::{Report, Request};
use crate::versions::{StoreFault, Trigger, Version, VersionId};

/// An answer that is waited for, in bounded time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A configuration that runs, for whoever shows or changes it and does not know its type.
pub trait Control: fmt::Debug + Send + Sync {
    /// Reads the sources again and applies them whole or not at all. Ends within the deadline; dropping the answer does
    /// not end the reload.
    fn reload(&self, request: Request) -> Answer<'_, Report>;

    /// Returns to a version.
    fn roll_back(&self, to: VersionId, request: Request) -> Answer<'_, Report>;

    /// What runs.
    fn running(&self) -> Running;

    /// What reloads came to so far. Never blocks, as [`running`](Self::running) does not.
    fn stats(&self) -> ReloadStats;

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

/// One value, fit to be shown. Made by [`Shown::written`] and [`Shown::secret`], which see to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its path: `checks.orders-db.interval`. Items of lists go by their name where they have one, else by `[0]`.
    pub path: String,
    /// As written, before interpolation; of a secret at most where it leads to; a default as it would be written.
    pub value: ShownValue,
    /// Where it comes from: `wellkept.yaml:3:5`, `environment WELLKEPT_HTTP__LISTEN`, `--set http.listen`, `default`.
    pub origin: String,
    /// Tells whether two values are the same, whatever of them is shown.
    pub imprint: Imprint,
}

impl Shown {
    /// A value that is not known to be a secret: `written` is its text before interpolation, `filled` the one after. What
    /// looks like a secret is hidden all the same: values of telling names (`password`, `api_key`), and what stands in
    /// texts as userinfo of URLs, after `Bearer`, as `token=…`, a JSON Web Token or a private key. References such as
    /// `${DB_PASSWORD}` are shown.
    pub fn written(path: impl Into<String>, written: &str, filled: &str, origin: impl Into<String>) -> Self {
        let path = path.into();
        let value = conceal::shown(&path, written);
        Self { path, value, origin: origin.into(), imprint: Imprint::of(filled) }
    }

    /// A secret that is written in a file: of an address with a host it is shown where it leads to
    /// (`redis://…@cache:6379/…`), a reference such as `${DATABASE_URL}` as it is, and of anything else nothing.
    pub fn secret_as_written(path: impl Into<String>, written: &str, filled: &str, origin: impl Into<String>) -> Self {
        let path = path.into();
        let value = conceal::secret(&path, written);
        Self { path, value, origin: origin.into(), imprint: Imprint::of(filled) }
    }

    /// A secret, of which nothing is shown.
    pub fn secret(path: impl Into<String>, filled: &str, origin: impl Into<String>) -> Self {
        Self { path: path.into(), value: ShownValue::Secret, origin: origin.into(), imprint: Imprint::of(filled) }
    }
}

/// Tells whether two values are the same, and nothing else: it is keyed anew in each process, and can't be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Imprint(u64);

impl Imprint {
    /// Of a value after interpolation.
    pub fn of(filled: &str) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEY.hash_one(filled))
    }
}

impl fmt::Debug for Imprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Imprint(..)")
    }
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
