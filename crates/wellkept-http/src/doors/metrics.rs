//! `GET /metrics`: Prometheus text or OpenMetrics, as the scraper asks. Always 200, whatever the health.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ACCEPT;
use wellkept_telemetry::metrics::Exposition;

use super::aside::aside;
use super::routes::{Operation, Routes};
use super::{Doors, Names, NoBody, answer};
use crate::access::Caller;
use crate::error::ApiError;

/// How long a scrape waits for those before it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it then waits for its page.
const WRITING: Duration = Duration::from_secs(5);

pub(super) fn routes() -> Routes {
    let operation = Operation::get("/metrics", "Metrics, in Prometheus' text format or in OpenMetrics.")
        .text("text/plain; version=0.0.4; charset=utf-8", &[200])
        .text("application/openmetrics-text; version=1.0.0; charset=utf-8", &[200])
        .error(ApiError::Busy);
    Routes::new().route(operation, metrics)
}

pub(super) async fn metrics(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let names = if doors.caller(&parts) == Caller::Operator { Names::Shown } else { doors.inner.names };
    let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).map(ToOwned::to_owned);
    let writer = tokio::time::timeout(PATIENCE, Arc::clone(&doors.inner.scrapes).acquire_owned()).await;
    let Ok(Ok(writer)) = writer else { return ApiError::Busy.into_response() };
    let inner = Arc::clone(&doors.inner);
    // A page of ten thousand components takes a while: not on the thread that answers probes.
    let written = aside(move || {
        let components = (names == Names::Shown).then_some(&inner.components);
        let page = Exposition::encode_all([&inner.registry].into_iter().chain(components), accept.as_deref());
        drop(writer);
        page
    });
    let page = match tokio::time::timeout(WRITING, written).await {
        Ok(Ok(Ok(page))) => page,
        Ok(Ok(Err(error))) => {
            tracing::error!(target: "wellkept::http", %error, "metrics can't be encoded");
            return ApiError::Internal.into_response();
        }
        Ok(Err(error)) => return error.into_response(),
        Err(_) => return ApiError::Busy.into_response(),
    };
    match doors.page(page.body.into(), parts.extensions.get()) {
        Some(body) => answer(StatusCode::OK, page.content_type, body),
        None => ApiError::Busy.into_response(),
    }
}
