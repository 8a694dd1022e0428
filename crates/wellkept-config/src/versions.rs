//! Versions: what ran, since when, because of whom, and what became of it. The trait of whatever keeps them.

use std::fmt;
use std::time::SystemTime;

use crate::content::{Content, ContentHash};

/// The number of a version, counted from 1 in each store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionId(pub u64);

impl fmt::Display for VersionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What made a configuration be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The process started.
    Start,
    /// A signal (SIGHUP).
    Signal,
    /// A request on the admin door, `wellkept reload` among them.
    Api,
    /// A file changed.
    Watch,
    /// The application's own code.
    Code,
    /// The probation of the version before ended badly.
    Probation,
}

impl Trigger {
    /// The stable word: `start`, `signal`, `api`, `watch`, `code`, `probation`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Watch => "watch",
            Self::Code => "code",
            Self::Probation => "probation",
        }
    }
}

/// What came of an attempt, as an operator would say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// It runs.
    Applied,
    /// Nothing differs; nothing was done.
    Unchanged,
    /// Refused; the one from before runs on.
    Rejected,
    /// An earlier one runs again.
    RolledBack,
    /// It runs but for the keys that wait for a restart.
    RestartRequired,
}

impl OutcomeKind {
    /// The stable word: `applied`, `unchanged`, `rejected`, `rolled_back`, `restart_required`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
            Self::RolledBack => "rolled_back",
            Self::RestartRequired => "restart_required",
        }
    }
}

/// One version, or one refused attempt at one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub id: VersionId,
    /// When it was decided upon.
    pub at: SystemTime,
    /// What made it be read.
    pub trigger: Trigger,
    /// Who, in one line: a name given by the caller, or empty.
    pub author: String,
    /// The hash of its content.
    pub hash: ContentHash,
    /// What came of it. Never `Unchanged`.
    pub outcome: OutcomeKind,
    /// For one that was rolled back to: which.
    pub returned_to: Option<VersionId>,
    /// The content that is refused until the files change: set by a rollback, in force while this is the newest version
    /// that runs.
    pub refuses: Option<ContentHash>,
    /// What differs from the one before, in lines that show no secret; for a refused one, why it was refused.
    pub summary: Vec<String>,
}

/// Where versions are kept. It blocks, so that it is called on threads that may.
pub trait VersionStore: fmt::Debug + Send + 'static {
    /// Adds a version with its content (`None` for a refused one) under the next number, and forgets the oldest ones
    /// beyond `keep`, all of it or nothing. `version.id` is ignored.
    fn append(&mut self, version: &Version, content: Option<&Content>, keep: usize) -> Result<VersionId, StoreFault>;

    /// All versions, newest first.
    fn versions(&mut self) -> Result<Vec<Version>, StoreFault>;

    /// What a version's files said; `None` for one that is not kept, or was refused.
    fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault>;
}

/// A store of versions can't be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store of versions: {detail}")]
pub struct StoreFault {
    /// A stable code.
    pub code: &'static str,
    /// What is wrong, for operators.
    pub detail: String,
}
