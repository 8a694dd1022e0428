//! Which parts a request gets.

use wellkept_telemetry::correlation::Trust;

/// One part of what [`RequestLayer`](super::RequestLayer) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestPart {
    /// The ids of the work, read, carried and returned.
    Correlation,
    /// The span `http request`.
    Span,
    /// Counts, latencies and sizes.
    Metrics,
    /// The count of requests in flight.
    InFlight,
}

/// What a [`RequestLayer`](super::RequestLayer) does. The default is all of it, and to take over the ids of callers.
///
/// ```
/// use wellkept_http::{RequestOptions, RequestPart};
/// use wellkept_telemetry::correlation::Trust;
///
/// let options = RequestOptions::default().trust(Trust::Nobody).without(RequestPart::Span);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestOptions {
    pub(super) trust: Trust,
    /// One bit for each part that is off.
    off: u8,
}

impl RequestOptions {
    /// Whose ids are taken over. Default: callers'.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Whose ids are taken over.
    pub fn trusted(self) -> Trust {
        self.trust
    }

    /// Turns one part off.
    #[must_use]
    pub fn without(self, part: RequestPart) -> Self {
        Self { off: self.off | 1 << part as u8, ..self }
    }

    /// Turns all of it off.
    #[must_use]
    pub fn nothing() -> Self {
        Self { off: u8::MAX, ..Self::default() }
    }

    /// Whether anything is left on.
    pub fn is_nothing(self) -> bool {
        use RequestPart::{Correlation, InFlight, Metrics, Span};
        [Correlation, Span, Metrics, InFlight].into_iter().all(|part| !self.has(part))
    }

    /// Whether this part is on.
    pub fn has(self, part: RequestPart) -> bool {
        self.off & (1 << part as u8) == 0
    }
}
