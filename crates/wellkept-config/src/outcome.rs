//! What a reload or a rollback is asked with, and what came of it.

use std::time::Duration;

use crate::content::ContentHash;
use crate::versions::{OutcomeKind, Trigger, VersionId};

/// A reload or a rollback, as asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What asks.
    pub trigger: Trigger,
    /// Who asks, in one line of at most 200 characters; empty when nobody in particular.
    pub author: String,
    /// Whether it is only tried: parsed, validated, prepared, and given up.
    pub intent: Intent,
    /// The hash of the content that the caller believes to run; another one refuses (412).
    pub expected: Option<ContentHash>,
}

impl Request {
    /// A request that is done, of nobody in particular, whatever runs.
    pub fn new(trigger: Trigger) -> Self {
        Self { trigger, author: String::new(), intent: Intent::Apply, expected: None }
    }

    /// Of somebody.
    #[must_use]
    pub fn by(mut self, author: impl Into<String>) -> Self {
        self.author = author.into();
        self
    }

    /// It is only tried.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.intent = Intent::DryRun;
        self
    }

    /// Only if a content of this hash runs.
    #[must_use]
    pub fn expecting(mut self, hash: ContentHash) -> Self {
        self.expected = Some(hash);
        self
    }
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// It is done.
    Apply,
    /// It is only said what would be done.
    DryRun,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// In a word and with its particulars.
    pub outcome: Outcome,
    /// The version that runs now, where versions are kept.
    pub version: Option<VersionId>,
    /// The hash of the content that runs now.
    pub hash: ContentHash,
    /// What differs from what ran before (or would, in a dry run), in lines that show no secret.
    pub changes: Vec<String>,
    /// What was done, as those that took part say it, such as the names of checks that were added.
    pub effects: Effects,
    /// From the request to the end.
    pub took: Duration,
}

/// What came of a reload or a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The new configuration runs.
    Applied,
    /// Nothing differs.
    Unchanged,
    /// The old one runs on.
    Rejected(Rejection),
    /// An earlier version runs again.
    RolledBack {
        /// Which; 0 where the store could not give it a number.
        to: VersionId,
        /// Keys of it that wait for a restart.
        restart_required: Vec<String>,
    },
    /// The new one runs but for these keys.
    RestartRequired {
        /// The keys, by their paths.
        keys: Vec<String>,
    },
}

impl Outcome {
    /// Without the particulars.
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Applied => OutcomeKind::Applied,
            Self::Unchanged => OutcomeKind::Unchanged,
            Self::Rejected(_) => OutcomeKind::Rejected,
            Self::RolledBack { .. } => OutcomeKind::RolledBack,
            Self::RestartRequired { .. } => OutcomeKind::RestartRequired,
        }
    }
}

/// Why the old configuration runs on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It can't be read, or something in it is wrong: one line for each mistake.
    #[error("{message}")]
    Invalid {
        /// The lines.
        message: String,
    },
    /// One that takes part refused it.
    #[error("{who} refuses it: {why}")]
    Refused {
        /// Who.
        who: String,
        /// Why.
        why: String,
    },
    /// One that takes part panicked.
    #[error("{who} panicked over it")]
    Panicked {
        /// Who.
        who: String,
    },
    /// The deadline passed before it was committed. What comes later is not applied.
    #[error("not done within {limit:?}: waited for {what}")]
    TimedOut {
        /// What was waited for: `reading`, or who prepared.
        what: String,
        /// The deadline.
        limit: Duration,
    },
    /// This content was rolled back from, and is refused until the files change.
    #[error("this content was rolled back from and is refused until the files change")]
    Pinned,
    /// Another content runs than the caller believes.
    #[error("another version runs than the one expected")]
    Stale,
    /// No such version is kept.
    #[error("version {id} is not kept")]
    UnknownVersion {
        /// The one asked for.
        id: VersionId,
    },
    /// There is no file to read again.
    #[error("there is no configuration file to read again")]
    NoFile,
    /// Too many wait already.
    #[error("another reload is still running")]
    Busy,
    /// The process is on its way out.
    #[error("the process is shutting down")]
    ShuttingDown,
    /// Versions can't be read.
    #[error("{message}")]
    Store {
        /// Why.
        message: String,
    },
}

impl Rejection {
    /// The stable code, as JSON and logs have it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "config.rejected",
            Self::Refused { .. } => "config.refused",
            Self::Panicked { .. } => "config.panicked",
            Self::TimedOut { .. } => "config.timed_out",
            Self::Pinned => "config.pinned",
            Self::Stale => "config.stale",
            Self::UnknownVersion { .. } => "config.unknown_version",
            Self::NoFile => "config.no_file",
            Self::Busy => "config.busy",
            Self::ShuttingDown => "config.shutting_down",
            Self::Store { .. } => "config.store",
        }
    }
}

/// What those that took part did, each under a word of its own: `added`, `changed`, `removed`, `kept`.
pub type Effects = Vec<(&'static str, Effect)>;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// To these.
    Names(Vec<String>),
    /// To so many.
    Count(usize),
}
