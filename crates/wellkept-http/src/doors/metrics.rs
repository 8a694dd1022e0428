//! `GET /metrics`: Prometheus text or OpenMetrics, as the scraper asks. Always 200, whatever the health.

pub(super) mod json;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ACCEPT;
use http::request::Parts;
use tokio::sync::{OnceCell, Semaphore};
use wellkept_telemetry::metrics::{Audience, TextFormat};

use super::aside::aside;
use super::room::Held;
use super::routes::{Operation, Routes};
use super::{Doors, Names, NoBody, answer};
use crate::access::Caller;
use crate::error::ApiError;

/// How many pages are written at the same time. A large one takes a while, and only so many threads.
const WRITERS: usize = 2;
/// How long a page waits for those before it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it is then waited for: collectors have four seconds.
const WRITING: Duration = Duration::from_secs(5);

/// The pages that are being written. Who asks for one meanwhile gets the same.
#[derive(Debug)]
pub(super) struct Pages {
    writers: Arc<Semaphore>,
    written: Mutex<[Weak<Written>; 4]>,
}

type Written = OnceCell<Result<Held, ApiError>>;

/// What pages differ in.
#[derive(Debug, Clone, Copy)]
struct Kind {
    format: TextFormat,
    audience: Audience,
}

pub(super) fn routes() -> Routes {
    let operation = Operation::get("/metrics", "Metrics, in Prometheus' text format or in OpenMetrics.")
        .text("text/plain; version=0.0.4; charset=utf-8", &[200])
        .text("application/openmetrics-text; version=1.0.0; charset=utf-8", &[200])
        .error(ApiError::Busy);
    Routes::new().route(operation, metrics)
}

pub(super) async fn metrics(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    // A list may come in several lines (RFC 9110, section 5.3).
    let accept = parts.headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let accept = accept.collect::<Vec<_>>().join(",");
    let kind = Kind { format: TextFormat::negotiate(Some(&accept)), audience: doors.audience(&parts) };
    let written = doors.inner.pages.join(kind);
    let page = tokio::time::timeout(PATIENCE + WRITING, written.get_or_init(|| doors.metrics_page(kind))).await;
    match page {
        Ok(Ok(held)) => {
            let body = doors.inner.large.page_for(held, parts.extensions.get());
            answer(StatusCode::OK, kind.format.content_type(), body)
        }
        Ok(Err(error)) => error.into_response(),
        Err(_) => ApiError::Busy.into_response(),
    }
}

impl Doors {
    /// Whose metrics a caller may see: those that name components are for operators where names are hidden.
    pub(super) fn audience(&self, request: &Parts) -> Audience {
        match (self.inner.names, self.caller(request)) {
            (Names::Shown, _) | (_, Caller::Operator) => Audience::Operators,
            (Names::Hidden, Caller::Public) => Audience::Everyone,
        }
    }

    async fn metrics_page(&self, kind: Kind) -> Result<Held, ApiError> {
        let metrics = self.inner.metrics.clone();
        self.in_turn(move || Some(metrics.text(kind.format, kind.audience).into_bytes())).await
    }

    /// Writes a page when it is its turn. One of ten thousand components takes a while: not on the thread that answers
    /// probes.
    async fn in_turn(&self, write: impl FnOnce() -> Option<Vec<u8>> + Send + 'static) -> Result<Held, ApiError> {
        let writer = tokio::time::timeout(PATIENCE, Arc::clone(&self.inner.pages.writers).acquire_owned()).await;
        let Ok(Ok(writer)) = writer else { return Err(ApiError::Busy) };
        let written = aside(move || {
            let page = write();
            // Kept until here also when nobody waits any more: what goes on is what counts.
            drop(writer);
            page
        });
        let page = tokio::time::timeout(WRITING, written).await.unwrap_or(Err(ApiError::Busy))?;
        let page = page.ok_or(ApiError::Internal)?;
        self.inner.large.hold_page(page.into()).ok_or(ApiError::Busy)
    }
}

impl Pages {
    pub(super) fn new() -> Self {
        Self { writers: Arc::new(Semaphore::new(WRITERS)), written: Mutex::default() }
    }

    /// The page that is being written now, or a new one.
    fn join(&self, kind: Kind) -> Arc<Written> {
        let place =
            usize::from(kind.format != TextFormat::Prometheus) + 2 * usize::from(kind.audience != Audience::Everyone);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut written[place];
        if let Some(now) = slot.upgrade().filter(|now| !now.initialized()) {
            return now;
        }
        let new = Arc::new(Written::new());
        *slot = Arc::downgrade(&new);
        new
    }
}
