//! Whether a vLLM engine gets on: it answers `/health` while it hangs, so it is told by the tokens that it makes.

use std::time::Duration;

use tokio::time::Instant;
use wellkept_health::{Outcome, Reason};

use crate::fetch::Response;

/// What was seen last, and since when it has not changed.
#[derive(Debug)]
pub(super) struct Progress {
    stalled_after: Duration,
    seen: Option<(f64, Instant)>,
}

impl Progress {
    pub(super) fn new(stalled_after: Duration) -> Self {
        Self { stalled_after, seen: None }
    }

    /// What was found besides, or that the engine hangs. Old engines without these metrics are not judged.
    pub(super) fn judge(&mut self, outcome: Outcome, response: &Response) -> Outcome {
        let text = String::from_utf8_lossy(&response.body);
        let (Some(running), Some(made)) = (sum(&text, &["vllm:num_requests_running"]), sum(&text, &MADE)) else {
            self.seen = None;
            return outcome;
        };
        let now = Instant::now();
        let since = match self.seen {
            // Exactly the same: nothing was made meanwhile. Less: it was started again.
            Some((before, since)) if before.to_bits() == made.to_bits() && running > 0.0 => since,
            _ => now,
        };
        self.seen = Some((made, since));
        let outcome = if now.duration_since(since) >= self.stalled_after && running > 0.0 {
            Outcome::fail(Reason::Custom("stalled"), "the engine runs requests and makes no token")
        } else {
            outcome
        };
        outcome.with("requests_running", running)
    }
}

/// Reading a long prompt is progress too.
const MADE: [&str; 2] = ["vllm:generation_tokens_total", "vllm:prompt_tokens_total"];

/// The sum of all series of these names in Prometheus' text format.
fn sum(text: &str, names: &[&str]) -> Option<f64> {
    let mut total = None;
    for line in text.lines() {
        let Some((series, value)) = line.trim().rsplit_once(' ') else { continue };
        let name = series.split('{').next().unwrap_or_default();
        if names.contains(&name) && let Ok(value) = value.parse::<f64>() {
            *total.get_or_insert(0.0) += value;
        }
    }
    total
}
