//! Business events: what the application is there for, under names of its own.

use std::sync::Arc;

use super::{EventError, Events};
use crate::metrics::Counter;

/// A kind of business event, declared once. Cheap to clone. [`business!`](crate::business) logs one.
#[derive(Debug, Clone)]
pub struct Business {
    name: Arc<str>,
    counter: Counter,
}

impl Events {
    /// Declares a kind of business event; declared again, it is the same one.
    ///
    /// ```
    /// use wellkept_telemetry::{business, events::Events};
    ///
    /// let events = Events::default();
    /// let placed = events.business("order_placed")?;
    /// business!(placed, order = 4711, amount = 12.5);
    /// # Ok::<(), wellkept_telemetry::events::EventError>(())
    /// ```
    ///
    /// # Errors
    /// When the name can't be a label, or [`MAX_NAMES`](super::MAX_NAMES) are declared.
    pub fn business(&self, name: &str) -> Result<Business, EventError> {
        let counter = self.0.business.family(name)?.with([name]);
        Ok(Business { name: name.into(), counter })
    }
}

impl Business {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts one: a part of [`business!`](crate::business), which logs it besides.
    #[doc(hidden)]
    pub fn count(&self) -> &Self {
        self.counter.inc();
        self
    }
}

/// Logs and counts one business event, with fields as `tracing`'s macros take them.
///
/// The line has the level info, the target `wellkept::event::business`, the event's name as `event` and as its message,
/// and the fields. It is counted whether or not the log's level lets the line through.
#[macro_export]
macro_rules! business {
    ($event:expr $(, $($fields:tt)*)?) => {
        match $crate::events::Business::count(&$event) {
            event => $crate::logging::tracing::info!(
                target: $crate::events::BUSINESS_TARGET,
                { event = event.name() $(, $($fields)*)? },
                "{}",
                event.name()
            ),
        }
    };
}
