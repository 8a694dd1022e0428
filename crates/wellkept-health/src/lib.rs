//! What is true of each component of a service: checks, schedule, thresholds, snapshot, history.

mod check;
mod history;
mod outcome;
mod status;

pub use check::{AnyCheck, Check, Context, Scope};
pub use history::{HistoryError, HistoryStore, Record, RunResult, StatusChange};
pub use outcome::{IntoOutcome, Outcome, Reason, Verdict};
pub use status::{Criticality, Status};
