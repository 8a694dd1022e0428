//! How the application's own calls went: what no question without tokens can tell.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use wellkept_health::{Outcome, Reason, Verdict};

/// How one call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AiCall {
    /// It was answered.
    Answered,
    /// It was refused for a quota: 429.
    Limited,
    /// It was refused because the provider is overloaded: 503, 529.
    Overloaded,
    /// It failed otherwise, or came to no end in time.
    Failed,
}

/// The calls of the last five minutes, of them the latest 1,000. Cheap to clone; reporting one never waits.
#[derive(Debug, Clone, Default)]
pub struct AiCalls {
    latest: Arc<Mutex<VecDeque<(Instant, AiCall)>>>,
}

const KEPT: usize = 1000;
const WINDOW: Duration = Duration::from_secs(300);
/// Fewer than this say nothing.
const LEAST: usize = 10;

impl AiCalls {
    /// Reports how one call went.
    pub fn report(&self, call: AiCall) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= KEPT {
            latest.pop_front();
        }
        latest.push_back((Instant::now(), call));
    }

    /// Whether one of the last five minutes was answered.
    pub(super) fn is_answered(&self) -> bool {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.iter().any(|(at, call)| *call == AiCall::Answered && at.elapsed() <= WINDOW)
    }

    /// What was found besides, or something worse when the calls say so.
    pub(super) fn judge(&self, outcome: Outcome) -> Outcome {
        let (total, count) = {
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            while latest.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
                latest.pop_front();
            }
            let count = |wanted: AiCall| latest.iter().filter(|(_, call)| *call == wanted).count();
            (latest.len(), [AiCall::Limited, AiCall::Overloaded, AiCall::Failed].map(count))
        };
        let [limited, overloaded, failed] = count;
        if total == 0 {
            return outcome;
        }
        let metadata = outcome.metadata().clone();
        let judged = if total >= LEAST && failed * 2 > total && outcome.verdict() != Verdict::Fail {
            Outcome::fail(Reason::Custom("calls_failed"), "most of the calls fail")
        } else if limited + overloaded > 0 && outcome.verdict() == Verdict::Pass {
            Outcome::warn(Reason::Custom("quota"), "some of the calls are refused")
        } else {
            outcome
        };
        let judged = metadata.into_iter().fold(judged, |judged, (key, value)| judged.with(key, value));
        let told = json!({ "total": total, "limited": limited, "overloaded": overloaded, "failed": failed });
        judged.with("calls", told)
    }
}
