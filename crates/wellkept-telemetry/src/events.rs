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
/// The target of business events.
pub const BUSINESS_TARGET: &str = "wellkept::event::business";

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Most names of operations, and most of business events, so that labels stay few.
pub const MAX_NAMES: usize = 256;

/// The books of typed events: everything that is logged through it is counted by it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events(Arc<Inner>);

#[derive(Default)]
struct Inner {
    security: Counts,
    business: Mutex<BTreeMap<Box<str>, Arc<AtomicU64>>>,
    operations: Mutex<BTreeMap<Box<str>, Arc<performance::Counts>>>,
}

/// One count for each type of the vocabulary, in its order.
struct Counts([AtomicU64; SECURITY_EVENTS.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Events {
    fn count_security(&self, name: &str) {
        let place = SECURITY_EVENTS.iter().position(|(known, ..)| *known == name);
        if let Some(count) = place.and_then(|place| self.0.security.0.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Finds what is kept under a name, or keeps something new under it.
fn named<T: Default>(kept: &Mutex<BTreeMap<Box<str>, Arc<T>>>, name: &str) -> Result<Arc<T>, EventError> {
    text::check_name(name)?;
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(name) {
        return Ok(Arc::clone(known));
    }
    if kept.len() >= MAX_NAMES {
        return Err(EventError::TooMany);
    }
    let new = Arc::<T>::default();
    kept.insert(name.into(), Arc::clone(&new));
    Ok(new)
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
