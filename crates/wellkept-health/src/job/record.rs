//! What is remembered of jobs, and the trait by which a store remembers it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::JobEnd;
use crate::history::HistoryError;

/// What is remembered of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// The name of its component.
    pub name: Arc<str>,
    /// How often it has reported, since it became known.
    pub reports: u64,
    /// When it last ended; when it became known, if it has not.
    pub from: Timestamp,
    /// How it last ended, if it has.
    pub end: Option<JobEnd>,
    /// How long that run took, where it is known.
    pub took: Option<Duration>,
    /// When it began, if it has not ended since.
    pub began: Option<Timestamp>,
}

impl JobRecord {
    /// How long a job is remembered that no instance of the service has any more.
    pub const KEPT: Duration = Duration::from_secs(31 * 24 * 3600);
    /// How many jobs of a service a store remembers, those that are gone included; the longest gone goes first.
    pub const MOST: usize = 20_000;

    /// When it last reported; when it became known, if it has not.
    pub fn latest(&self) -> Timestamp {
        self.began.map_or(self.from, |began| began.max(self.from))
    }

    /// Whether this one holds where the other one is known too: the one with more reports, of as many the later one. Of
    /// a job that has never reported it is the earlier one, for its time goes on since then.
    #[must_use]
    pub fn holds_over(&self, other: &Self) -> bool {
        if self.reports != other.reports {
            self.reports > other.reports
        } else if self.reports == 0 {
            self.from < other.from
        } else {
            self.latest() > other.latest()
        }
    }
}

/// Where jobs are remembered. Implementations block; they are called on a thread of their own.
pub trait JobStore: Send + 'static {
    /// Remembers each of `ours` that is not known there or that [holds over](JobRecord::holds_over) what is: all or none
    /// of them. Returns what holds of each of these names. All that others have told the same store is known there.
    fn exchange(&mut self, ours: &[JobRecord]) -> Result<Vec<JobRecord>, HistoryError>;
}
