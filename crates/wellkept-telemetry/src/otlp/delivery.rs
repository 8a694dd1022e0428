//! What becomes of a message that was posted: it has arrived, is posted again later, or is given up.

use std::time::{Duration, Instant};

use prost::Message as _;

use super::SpanLoss;
use super::messages::Taken;
use super::transport::{Answer, Unreachable};

/// Longest that a receiver may have us wait by `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How long a message is tried again, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The pause after the first failure; each further one is twice as long.
    pub(super) first: Duration,
    /// The longest pause.
    pub(super) longest: Duration,
    /// After this a message is given up.
    pub(super) whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(30), whole: Duration::from_secs(300) }
    }
}

/// One message on its way.
#[derive(Debug)]
pub(super) struct Delivery {
    patience: Patience,
    begun: Instant,
    failures: u32,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has arrived; so many of its parts were refused, for this reason.
    Arrived { rejected: u64, told: String },
    /// It is posted again after this time. `Must` was said by the receiver, `May` is our own pause.
    Again(Wait, String),
    /// It is given up.
    Lost(SpanLoss, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    May(Duration),
    Must(Duration),
}

impl Delivery {
    pub(super) fn new(patience: Patience, now: Instant) -> Self {
        Self { patience, begun: now, failures: 0 }
    }

    /// Judges an answer (OTLP specification, "OTLP/HTTP Response"): 429, 502, 503 and 504 are for later, as is what has no
    /// answer; any other failure would be the same again. `luck` between 0 and 1 spreads those who retry.
    pub(super) fn judge(&mut self, answer: Result<Answer, Unreachable>, now: Instant, luck: f64) -> Verdict {
        let (told, asked) = match answer {
            Ok(Answer { status: 200..=299, body, .. }) => return arrived(&body),
            Ok(Answer { status: status @ (429 | 502 | 503 | 504), retry_after, .. }) => {
                (format!("answered {status}"), retry_after)
            }
            Ok(Answer { status, .. }) => return Verdict::Lost(SpanLoss::Refused, format!("answered {status}")),
            Err(unreachable) => (unreachable.to_string(), None),
        };
        let doubled = self.patience.first.saturating_mul(1 << self.failures.min(16)).min(self.patience.longest);
        self.failures += 1;
        let own = doubled.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0);
        let wait = match asked {
            // One that asks for no time at all still has trouble.
            Some(asked) => Wait::Must(asked.min(LONGEST_WAIT).max(own)),
            None => Wait::May(own),
        };
        let elapsed = now.saturating_duration_since(self.begun);
        let is_over = match wait {
            Wait::May(pause) => elapsed + pause > self.patience.whole,
            // What the receiver asked for is waited for.
            Wait::Must(_) => elapsed > self.patience.whole,
        };
        if is_over {
            return Verdict::Lost(SpanLoss::Undelivered, told);
        }
        Verdict::Again(wait, told)
    }
}

/// A body that can't be read is no fault of the message.
fn arrived(body: &[u8]) -> Verdict {
    let partial = Taken::decode(body).ok().and_then(|taken| taken.partial_success).unwrap_or_default();
    Verdict::Arrived { rejected: u64::try_from(partial.rejected).unwrap_or(0), told: partial.error_message }
}
