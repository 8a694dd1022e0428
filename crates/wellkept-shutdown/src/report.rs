//! What can be seen of a shutdown: its progress while it runs, and the report when it is over.

use std::borrow::Cow;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use serde::Serialize;

use crate::cause::Cause;
use crate::phase::Phase;
use crate::resources::ResourceType;

/// How a shutdown ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything ended in its time.
    Successful,
    /// Something was cut short by the deadline or a further signal.
    Forced,
    /// Nothing was cut short, but a part failed: a closer, or what caused the shutdown.
    Failed,
}

impl Status {
    /// The stable word: `successful`, `forced`, `failed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Successful => "successful",
            Self::Forced => "forced",
            Self::Failed => "failed",
        }
    }
}

/// The whole story of one shutdown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How it ended.
    pub status: Status,
    /// What triggered it first.
    pub cause: Cause,
    /// What forced it, if something other than time did.
    pub forced_by: Option<Cause>,
    /// When it was triggered, RFC 3339 in UTC.
    pub started_at: String,
    /// From the trigger to the end.
    pub duration_seconds: f64,
    /// The time spent in each phase, in order.
    pub phases: Vec<PhaseTime>,
    /// Connections open when the draining began.
    pub connections_at_drain: usize,
    /// Requests in flight when the draining began.
    pub requests_at_drain: usize,
    /// Connections that were cut when the time for draining was over.
    pub connections_cut: usize,
    /// Requests that were cut then.
    pub requests_cut: usize,
    /// What was cut off, at most some hundred lines per entrance, and what the tracker has a name of.
    pub forced: Vec<ForcedItem>,
    /// Each resource, in closing order.
    pub resources: Vec<ResourceReport>,
    /// What went wrong, one line each.
    pub errors: Vec<String>,
}

impl Report {
    /// Of a shutdown that nobody brought to its end.
    pub(crate) fn unfinished(why: &str) -> Self {
        Self {
            status: Status::Failed,
            cause: Cause::failure(why),
            forced_by: None,
            started_at: jiff::Timestamp::now().to_string(),
            duration_seconds: 0.0,
            phases: Vec::new(),
            connections_at_drain: 0,
            requests_at_drain: 0,
            connections_cut: 0,
            requests_cut: 0,
            forced: Vec::new(),
            resources: Vec::new(),
            errors: vec![why.to_owned()],
        }
    }

    /// The report if everything ended in its time and nothing failed, and an error that holds it otherwise: for those who
    /// end with `?`.
    pub fn into_result(self) -> Result<Self, NotClean> {
        if self.status == Status::Successful { Ok(self) } else { Err(NotClean { report: Box::new(self) }) }
    }

    /// The exit code of the process: 0 clean, 70 a component failed, 75 forced by the deadline, 128+n ended by a
    /// further signal.
    pub fn exit_code(&self) -> u8 {
        match (self.status, &self.forced_by) {
            (Status::Successful, _) => 0,
            (Status::Failed, _) => 70,
            (Status::Forced, Some(Cause::Signal(signal))) => signal.exit_code(),
            (Status::Forced, _) => crate::watchdog::EXIT_CODE,
        }
    }
}

/// A `main` that returns the report ends with its exit code, after what lives in it was dropped. The runtime is dropped too,
/// and waits for what still runs in `spawn_blocking`: where that may hang, `std::process::exit` does not wait.
impl Termination for Report {
    fn report(self) -> ExitCode {
        ExitCode::from(self.exit_code())
    }
}

/// A shutdown that was not [successful](Status::Successful).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", self.describe())]
pub struct NotClean {
    /// The whole story.
    pub report: Box<Report>,
}

impl NotClean {
    /// The stable code: `shutdown.forced` or `shutdown.failed`.
    pub fn code(&self) -> &'static str {
        if self.report.status == Status::Forced { "shutdown.forced" } else { "shutdown.failed" }
    }

    fn describe(&self) -> String {
        let Report { status, requests_cut, connections_cut, errors, .. } = &*self.report;
        let cut = (*requests_cut + *connections_cut > 0)
            .then(|| format!(": {requests_cut} requests and {connections_cut} connections were cut"));
        let first = errors.first().map(|first| format!(": {first}"));
        let more = (errors.len() > 1).then(|| format!(" (and {} more)", errors.len() - 1));
        let parts = [cut, first, more];
        let told: String = parts.into_iter().flatten().collect();
        format!("the shutdown was {}{told}", status.as_str())
    }
}

/// The time spent in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// How long it lasted.
    pub duration_seconds: f64,
}

/// Something that was cut off.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForcedItem {
    /// The entrance it came through; `tracker` for what was [named there](crate::Work).
    pub entrance: String,
    /// What it was.
    pub item: String,
    /// A stable code that says what it waited for.
    pub reason: Cow<'static, str>,
    /// For how long it had been there, if known.
    pub age_seconds: Option<f64>,
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResourceReport {
    /// The name it was registered under.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ResourceType,
    /// Its priority.
    pub priority: i32,
    /// How it ended.
    pub outcome: ResourceOutcome,
    /// How long its closer ran.
    pub duration_seconds: f64,
    /// The closer's own words when it failed. Private: for logs and reports, not for public answers.
    pub detail: String,
}

/// How the closing of a resource ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceOutcome {
    /// The closer returned.
    Closed,
    /// The closer returned an error.
    Failed,
    /// The closer panicked.
    Panicked,
    /// The closer did not return in its time and was left behind.
    TimedOut,
    /// The closer was not called, because there was no time left or the shutdown was forced.
    Skipped,
}

impl ResourceOutcome {
    /// The stable word used in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::Skipped => "skipped",
        }
    }
}

/// How far a shutdown has come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// Where it is.
    pub phase: Phase,
    /// Connections open now, as far as the tracker knows them.
    pub active_connections: usize,
    /// Connections that have ended since the draining began.
    pub drained_connections: usize,
    /// Resources whose closer has ended, in whatever way.
    pub closed_resources: usize,
    /// Resources to close.
    pub total_resources: usize,
    /// Time since the trigger, zero before.
    pub duration_seconds: f64,
    /// What went wrong so far.
    pub errors: Vec<String>,
}

/// The state of the shutdown handle, also while nothing has been asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Whether a shutdown was triggered.
    pub is_shutting_down: bool,
    /// Where it is.
    pub phase: Phase,
    /// Resources registered and not yet closed.
    pub resources_count: usize,
    /// What is in flight.
    pub connection_stats: ConnectionStats,
}

/// What the tracker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConnectionStats {
    /// Connections open now.
    pub total_connections: usize,
    /// Requests in flight now.
    pub total_in_flight_requests: usize,
    /// The limit above which requests are refused.
    pub max_in_flight_requests: usize,
    /// Whether new requests are taken.
    pub is_accepting_new: bool,
    /// Requests refused at the limit or while draining, since the start.
    pub refused_requests_total: u64,
}

/// Seconds as a JSON number.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(status: Status, forced_by: Option<Cause>) -> Report {
        Report { status, forced_by, errors: Vec::new(), ..Report::unfinished("test") }
    }

    #[test]
    fn a_main_that_returns_a_report_ends_with_its_exit_code() {
        assert_eq!(report(Status::Successful, None).report(), ExitCode::SUCCESS);
        assert_eq!(report(Status::Failed, None).report(), ExitCode::from(70));
        assert_eq!(report(Status::Forced, None).report(), ExitCode::from(75));
        assert!(report(Status::Successful, None).into_result().is_ok());
    }

    #[test]
    fn a_shutdown_that_was_not_clean_is_an_error_that_says_why() {
        let mut report = report(Status::Forced, None);
        (report.requests_cut, report.connections_cut) = (2, 1);
        report.errors = vec!["resource `pool` failed: refused".to_owned(), "hook `x` panicked: y".to_owned()];
        let error = report.into_result().unwrap_err();
        assert_eq!(error.code(), "shutdown.forced");
        insta::assert_snapshot!(error, @"the shutdown was forced: 2 requests and 1 connections were cut: resource `pool` failed: refused (and 1 more)");
    }
}
