//! Spans of the steady clock in which something is in maintenance, as readers compare them with that clock.

use std::sync::Arc;
use std::time::Duration;

use super::Maintenance;

/// From when to when, on the clock that ages are taken from; the end is not in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    pub(crate) what: Arc<Maintenance>,
}

/// All that is known to come for one component, or for the service: what is on, and of each window the next one.
pub(crate) type Spans = Arc<[Span]>;

/// What is on now; of several, the one that ends last.
pub(crate) fn active(spans: &[Span], now: Duration) -> Option<&Arc<Maintenance>> {
    let on = spans.iter().filter(|span| span.from <= now && now < span.until);
    on.max_by_key(|span| span.until).map(|span| &span.what)
}

/// When something begins or ends next.
pub(crate) fn next_boundary(spans: &[Span], now: Duration) -> Option<Duration> {
    spans.iter().flat_map(|span| [span.from, span.until]).filter(|boundary| *boundary > now).min()
}
