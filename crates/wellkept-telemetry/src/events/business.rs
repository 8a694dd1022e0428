//! Business events: what the application is there for, under names of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{EventError, Events, named};

/// A kind of business event, declared once. Cheap to clone. [`business!`](crate::business) logs one.
#[derive(Debug, Clone)]
pub struct Business {
    name: Arc<str>,
    count: Arc<AtomicU64>,
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
        let count = named(&self.0.business, name)?;
        Ok(Business { name: name.into(), count })
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
        self.count.fetch_add(1, Ordering::Relaxed);
        self
    }
}

/// Logs and counts one business event, with fields as `tracing`'s macros take them.
///
/// The line has the level info, the target `wellkept::event::business`, the event's name as `event` and as its message,
/// and the fields. It is counted whether or not the log's level lets the line through.
#[macro_export]
macro_rules! business {
    ($event:expr $(, $($fields:tt)*)?) => {{
        let event: &$crate::events::Business = $crate::events::Business::count(&$event);
        $crate::logging::tracing::info!(
            target: $crate::events::BUSINESS_TARGET,
            { event = event.name() $(, $($fields)*)? },
            "{}",
            event.name()
        );
    }};
}
