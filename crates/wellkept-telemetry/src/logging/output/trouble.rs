//! What goes wrong with an output, told once when it begins and once when it is over.

use std::fmt::Display;
use std::time::Instant;

use crate::logging::levels::OWN_TARGET;

/// Whether an output is in trouble. What it tells goes the way of every event, to the other outputs too; to its own it
/// comes when that one works again.
#[derive(Debug)]
pub(super) struct Trouble {
    output: String,
    since: Option<Instant>,
}

impl Trouble {
    /// Of the output that is called this.
    pub(super) fn of(output: impl Display) -> Self {
        Self { output: output.to_string(), since: None }
    }

    /// Something went wrong. `then` says what becomes of the lines.
    pub(super) fn met(&mut self, error: &dyn Display, then: &str) {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            tracing::error!(target: OWN_TARGET, output = self.output, %error, then, "a log output fails");
        }
    }

    /// It works.
    pub(super) fn is_over(&mut self) {
        if let Some(since) = self.since.take() {
            let seconds = since.elapsed().as_secs_f64();
            tracing::warn!(target: OWN_TARGET, output = self.output, seconds, "a log output works again");
        }
    }
}
