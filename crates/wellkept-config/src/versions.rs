//! Versions: what ran, since when, because of whom, and what became of it. The trait of whatever keeps them.

mod memory;
mod patient;

use std::fmt;
use std::time::SystemTime;

use crate::content::{Content, ContentHash};

pub use memory::MemoryVersions;
pub(crate) use patient::Patient;

/// How much text all versions of a store hold together, in bytes: beyond it the oldest go, whatever their number. The
/// newest one that runs stays in any case.
pub const MAX_VERSIONS_BYTES: u64 = 16 << 20;

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
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Start, Self::Signal, Self::Api, Self::Watch, Self::Code, Self::Probation];

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
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Applied, Self::Unchanged, Self::Rejected, Self::RolledBack, Self::RestartRequired];

    /// Whether what was asked for runs since then.
    pub fn runs(self) -> bool {
        !matches!(self, Self::Rejected | Self::Unchanged)
    }

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

impl Version {
    /// Whether the other one is the same attempt, told of again: of the same time (to the microsecond), trigger, outcome
    /// and hash.
    pub fn is_same_attempt(&self, other: &Self) -> bool {
        let micros = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_micros()).ok();
        (micros(self.at), self.trigger, self.outcome, self.hash)
            == (micros(other.at), other.trigger, other.outcome, other.hash)
    }

    /// How much text it holds with its content, in bytes.
    pub fn bytes(&self, content: Option<&Content>) -> u64 {
        let lines = self.summary.iter().map(String::len).sum::<usize>();
        (lines + content.map_or(0, Content::bytes)) as u64
    }
}

/// Where versions are kept. It blocks, in bounded time, so that it is called on threads that may.
pub trait VersionStore: fmt::Debug + Send + 'static {
    /// Adds a version with its content (`None` for a refused one) under the next number, and forgets what
    /// [`forgotten`] names, all of it or nothing. `version.id` is ignored; times are kept to the microsecond.
    ///
    /// One that was added already, whose confirmation was lost, is not added twice: when the newest version is of the
    /// same time, trigger, outcome and hash, its number is the answer.
    ///
    /// # Errors
    /// When it can't be written. The store is as it was then.
    fn append(&mut self, version: &Version, content: Option<&Content>, keep: usize) -> Result<VersionId, StoreFault>;

    /// All versions, newest first. A store that nobody wrote to has none.
    ///
    /// # Errors
    /// When they can't be read.
    fn versions(&mut self) -> Result<Vec<Version>, StoreFault>;

    /// What a version's files said; `None` for one that is not kept, or was refused.
    ///
    /// # Errors
    /// When it can't be read.
    fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault>;
}

impl VersionStore for Box<dyn VersionStore> {
    fn append(&mut self, version: &Version, content: Option<&Content>, keep: usize) -> Result<VersionId, StoreFault> {
        (**self).append(version, content, keep)
    }

    fn versions(&mut self) -> Result<Vec<Version>, StoreFault> {
        (**self).versions()
    }

    fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault> {
        (**self).content(id)
    }
}

/// What a store knows of a version that it keeps, to decide which ones it forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub id: VersionId,
    /// What came of it.
    pub outcome: OutcomeKind,
    /// How much text its content and its summary hold, in bytes.
    pub bytes: u64,
}

/// Which versions a store forgets, of those that it has, newest first: those that ran beyond the newest `keep`, and
/// refused attempts beyond as many, so that a storm of refusals takes away nothing that one can return to. Fewer are
/// kept where they hold more than [`MAX_VERSIONS_BYTES`] together.
///
/// The newest version stays in any case, so that no number is given twice; and so does the newest one that runs, which
/// knows what content is refused.
pub fn forgotten(newest_first: &[Kept], keep: usize) -> Vec<VersionId> {
    let (mut ran, mut refused, mut bytes) = (0, 0, 0_u64);
    let mut gone = Vec::new();
    for (place, kept) in newest_first.iter().enumerate() {
        let count = if kept.outcome.runs() { &mut ran } else { &mut refused };
        *count += 1;
        bytes = bytes.saturating_add(kept.bytes);
        let is_needed = place == 0 || (kept.outcome.runs() && *count == 1);
        if !is_needed && (*count > keep || bytes > MAX_VERSIONS_BYTES) {
            gone.push(kept.id);
        }
    }
    gone
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

#[cfg(test)]
mod tests;
