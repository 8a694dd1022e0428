//! Performance events: how long an operation took, and how it ended.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::text::bounded;
use super::{EventError, Events, PERFORMANCE_TARGET};
use crate::metrics::{Counter, Histogram};

/// A kind of operation, declared once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Operation {
    name: Arc<str>,
    slow_after: Option<Duration>,
    /// By outcome, in the order of [`Outcome`].
    durations: [Histogram; 3],
    slow: Counter,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Succeeded,
    Failed,
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Events {
    /// Declares a kind of operation; declared again, it is counted as the same one. A run that takes `slow_after` or
    /// longer is slow.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wellkept_telemetry::events::Events;
    ///
    /// let events = Events::default();
    /// let import = events.operation("import", Some(Duration::from_secs(2)))?;
    /// let run = import.begin();
    /// // … the work …
    /// run.succeeded();
    /// # Ok::<(), wellkept_telemetry::events::EventError>(())
    /// ```
    ///
    /// # Errors
    /// When the name can't be a label, or [`MAX_NAMES`](super::MAX_NAMES) are declared.
    pub fn operation(&self, name: &str, slow_after: Option<Duration>) -> Result<Operation, EventError> {
        let family = self.0.durations.family(name)?;
        let durations = Outcome::ALL.map(|outcome| family.with([name, outcome.as_str()]));
        Ok(Operation { name: name.into(), slow_after, durations, slow: self.0.slow.with([name]) })
    }
}

impl Operation {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins to measure one run, until the guard says how it ended. A guard that is dropped without a word was cancelled.
    #[must_use = "dropped at once, it is a run that was cancelled"]
    pub fn begin(&self) -> Running {
        Running { operation: self.clone(), began: Instant::now(), is_over: false }
    }

    /// Measures a future: its error is a failure, and when it is dropped the run was cancelled. As cancel-safe as the
    /// future is.
    ///
    /// # Errors
    /// The future's.
    pub async fn measure<T, E: fmt::Display>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let run = self.begin();
        let done = work.await;
        match &done {
            Ok(_) => run.succeeded(),
            Err(error) => run.failed(&error.to_string()),
        }
        done
    }

    fn over(&self, outcome: Outcome, took: Duration, reason: Option<&str>) {
        let is_slow = self.slow_after.is_some_and(|slow_after| took >= slow_after);
        let [succeeded, failed, cancelled] = &self.durations;
        let duration = match outcome {
            Outcome::Succeeded => succeeded,
            Outcome::Failed => failed,
            Outcome::Cancelled => cancelled,
        };
        duration.observe(took.as_secs_f64());
        if is_slow {
            self.slow.inc();
        }
        let (operation, outcome_word, duration_seconds) = (self.name(), outcome.as_str(), took.as_secs_f64());
        let slow_after_seconds = self.slow_after.map(|slow_after| slow_after.as_secs_f64());
        let reason = reason.and_then(bounded).map(tracing::field::display);
        macro_rules! say {
            ($level:ident, $message:literal) => {
                tracing::event!(
                    target: PERFORMANCE_TARGET, tracing::Level::$level, operation, outcome = outcome_word,
                    duration_seconds, slow = is_slow, slow_after_seconds, reason, $message
                )
            };
        }
        match (outcome, is_slow) {
            (Outcome::Failed, _) => say!(WARN, "an operation failed"),
            (_, true) => say!(WARN, "an operation was slow"),
            (Outcome::Cancelled, false) => say!(INFO, "an operation was cancelled"),
            (Outcome::Succeeded, false) => say!(DEBUG, "an operation succeeded"),
        }
    }
}

/// One run of an operation, being measured.
#[derive(Debug)]
#[must_use = "dropped without a word, the run was cancelled"]
pub struct Running {
    operation: Operation,
    began: Instant,
    is_over: bool,
}

impl Running {
    /// It ended well.
    pub fn succeeded(self) {
        self.end(Outcome::Succeeded, None);
    }

    /// It did not. Of the reason at most 512 bytes are written.
    pub fn failed(self, reason: &str) {
        self.end(Outcome::Failed, Some(reason));
    }

    fn end(mut self, outcome: Outcome, reason: Option<&str>) {
        self.is_over = true;
        self.operation.over(outcome, self.began.elapsed(), reason);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            self.operation.over(Outcome::Cancelled, self.began.elapsed(), None);
        }
    }
}
