//! Typed events: performance, security and business events with their own calls and fixed fields, each a line of the log
//! and a metric from one call, so that the two can't disagree.
//!
//! | kind | target | made by | level |
//! |---|---|---|---|
//! | performance | `wellkept::event::performance` | [`Events::operation`] | debug; slow or failed: warning |
//! | security | `wellkept::event::security` | [`Events::security`] | the vocabulary's, whatever level the log has |
//! | business | `wellkept::event::business` | [`Events::business`] and [`business!`](crate::business) | info |
//!
//! None of them is left out because it repeats.

mod business;
mod performance;
mod security;
mod text;
mod vocabulary;

pub use business::Business;
pub use performance::{Operation, Running};
pub use security::SecurityRecord;
pub use vocabulary::{SECURITY_EVENTS, SecurityEvent, Validation};

/// What the targets of all typed events begin with.
pub(crate) const EVENT_TARGET: &str = "wellkept::event";
/// The target of performance events.
pub const PERFORMANCE_TARGET: &str = "wellkept::event::performance";
/// The target of security events, which pass every level.
pub const SECURITY_TARGET: &str = "wellkept::event::security";
/// The target of lines that say who did what, one for each act: none of them is left out because it repeats.
pub const AUDIT_TARGET: &str = "wellkept::audit";
/// The target of business events.
pub const BUSINESS_TARGET: &str = "wellkept::event::business";

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::metrics::{Counter, Declaration, Histogram, Labelled, Limits, MetricError, Metrics};

/// Most names of operations, and most of business events, so that labels stay few.
pub const MAX_NAMES: usize = 256;

const SECURITY: Declaration<'_> =
    Declaration::counter("wellkept_security_events", "Security events, by their name in OWASP's vocabulary.")
        .by(&["event"]);
const BUSINESS: Declaration<'_> =
    Declaration::counter("wellkept_business_events", "Business events, by the name that the application gave them.")
        .by(&["event"]);
const DURATION: Declaration<'_> = Declaration::histogram(
    "wellkept_operation_duration_seconds",
    "How long operations took, by name and by how they ended: succeeded, failed or cancelled.",
)
.by(&["operation", "outcome"]);
const SLOW: Declaration<'_> =
    Declaration::counter("wellkept_operations_slow", "Operations that took as long as is slow for them, by name.")
        .by(&["operation"]);

/// Where typed events are counted: all that is logged through it, in one call. Cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Inner>);

struct Inner {
    security: Labelled<Counter, 1>,
    business: Names<Labelled<Counter, 1>>,
    durations: Names<Labelled<Histogram, 2>>,
    slow: Labelled<Counter, 1>,
}

/// A family whose names are declared before they are counted.
struct Names<F> {
    family: F,
    known: Mutex<BTreeSet<Box<str>>>,
}

impl Events {
    /// Events that are counted in this registry: `wellkept_security_events_total`, `wellkept_business_events_total`,
    /// `wellkept_operation_duration_seconds` and `wellkept_operations_slow_total`. Made twice, they are counted together.
    ///
    /// # Errors
    /// When the registry has something else under one of these names.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricError> {
        let limits = Limits::default();
        Ok(Self(Arc::new(Inner {
            security: metrics.family(&SECURITY, limits)?,
            business: Names::of(metrics.family(&BUSINESS, limits)?),
            durations: Names::of(metrics.family(&DURATION, limits)?),
            slow: metrics.family(&SLOW, limits)?,
        })))
    }

    /// As [`new`](Self::new); where the registry has something else under one of the names, which the log then says, they
    /// are logged and shown nowhere.
    pub fn of(metrics: &Metrics) -> Self {
        Self::new(metrics).unwrap_or_else(|error| {
            tracing::error!(target: "wellkept::metrics", code = error.code(), %error, "events are not counted");
            Self::default()
        })
    }

    fn count_security(&self, name: &str) {
        self.0.security.with([name]).inc();
    }
}

impl Default for Events {
    /// Events that are counted in a registry that nobody sees.
    fn default() -> Self {
        Self::new(&Metrics::new()).expect("a new registry takes these names")
    }
}

impl<F> Names<F> {
    fn of(family: F) -> Self {
        Self { family, known: Mutex::default() }
    }

    /// The family, once the name is known.
    fn family(&self, name: &str) -> Result<&F, EventError> {
        text::check_name(name)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(name) {
            if known.len() >= MAX_NAMES {
                return Err(EventError::TooMany);
            }
            known.insert(name.into());
        }
        Ok(&self.family)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Why an event could not be declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The name is none that labels and rules could rely on.
    #[error("a name is 1 to 64 lower case letters, digits, `_` and `.`, and begins with a letter")]
    Name,
    /// There are too many names.
    #[error("at most {MAX_NAMES} names may be declared: a name is a kind of event, and no value")]
    TooMany,
}

impl EventError {
    /// A stable code, for example `event.name`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Name => "event.name",
            Self::TooMany => "event.too_many",
        }
    }
}

#[cfg(test)]
mod tests;
