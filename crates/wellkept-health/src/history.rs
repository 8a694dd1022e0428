//! What is remembered: status changes and results, behind a trait that a store implements.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::Verdict;
use crate::status::Status;
use crate::trend::{Bucket, MinutePart, Tier};

/// One thing worth remembering.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A component's, or the service's, status changed.
    Change(StatusChange),
    /// A check ran.
    Result(RunResult),
}

/// A change of the served status, with its cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusChange {
    /// The component's name; `None` for the service as a whole.
    #[schemars(with = "Option<String>")]
    pub component: Option<Arc<str>>,
    /// The status before; `None` when there was none.
    pub from: Option<Status>,
    /// The status since.
    pub to: Status,
    /// The reason code, for example `refused`; of the service that of the first component behind it.
    pub reason: Option<String>,
    /// The public message; of the service the components behind it, or those that were.
    pub message: String,
    /// The component at the root of the trouble: of a component the one that it depends on, of the service the first of
    /// those that its message names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub caused_by: Option<Arc<str>>,
    /// What only operators may read of the cause: of a maintenance, who began or ended it and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// One run of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// The component's name.
    #[schemars(with = "String")]
    pub component: Arc<str>,
    /// What the run found, before thresholds.
    pub verdict: Verdict,
    /// The reason code when it did not pass.
    pub reason: Option<String>,
    /// How long the run took, in milliseconds.
    pub response_time_ms: f64,
    /// When it ended.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// Where history is kept. Implementations block; the engine calls them on a thread of their own, so that a slow
/// disk delays no check.
pub trait HistoryStore: Send + 'static {
    /// Keeps all of `records` or none of them.
    fn append(&mut self, records: &[Record]) -> Result<(), HistoryError>;

    /// The latest changes, newest first, at most `limit`; of one component, or of everything.
    fn changes(&mut self, component: Option<&str>, limit: usize) -> Result<Vec<StatusChange>, HistoryError>;

    /// The latest results of one component, newest first, at most `limit`.
    fn results(&mut self, component: &str, limit: usize) -> Result<Vec<RunResult>, HistoryError>;

    /// Joins minutes that are over with what the tiers hold, by [`Bucket::join`], and puts those that are not over
    /// aside, each in place of its component's latest: all of it or nothing. What is aside when a process is killed
    /// is joined when the store is opened again. A store without tiers does nothing.
    fn keep_time(&mut self, _over: &[MinutePart], _open: &[MinutePart]) -> Result<(), HistoryError> {
        Ok(())
    }

    /// One component's buckets of a tier whose slots lie in the range, oldest first. What is aside is not among them.
    /// Reads no more than the range has slots, whatever the store's age.
    fn buckets(
        &mut self,
        _component: &str,
        _tier: Tier,
        _slots: RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Bucket)>, HistoryError> {
        Ok(Vec::new())
    }

    /// How many slots of a tier are kept.
    fn slots(&self, _tier: Tier) -> i64 {
        0
    }

    /// Drops what is older than it may be, and the components that are no longer to be remembered, some at a time.
    /// Returns whether there is more to drop.
    fn forget(&mut self, _sweep: &Sweep) -> Result<Swept, HistoryError> {
        Ok(Swept::Whole)
    }
}

/// What a store is to keep; all else is to be dropped.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    /// The components that are there.
    pub live: HashSet<Arc<str>>,
    /// How many components are remembered at most, those that are gone included. The longest gone goes first.
    pub most: u64,
    /// Now.
    pub now: Timestamp,
    /// What is older than this is dropped.
    pub keep: Duration,
}

/// How far a store came with a [`Sweep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// Nothing is left to drop.
    Whole,
    /// There is more: it is to be called again in a moment.
    InPart,
}

/// Why a store could not do as asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct HistoryError {
    /// Stable, for example `store.read_only`.
    pub code: &'static str,
    /// For operators: what failed, where, and what to do.
    pub message: String,
}

/// Calls a store. A panic in it is an error like any other, so that the thread it is called on goes on.
pub(crate) fn caught<T>(call: impl FnOnce() -> Result<T, HistoryError>) -> Result<T, HistoryError> {
    let called = catch_unwind(AssertUnwindSafe(call));
    called.unwrap_or_else(|_| Err(HistoryError::new("store.panic", "the store panicked: see standard error")))
}

impl HistoryError {
    /// An error with its stable code.
    pub fn new(code: &'static str, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}
