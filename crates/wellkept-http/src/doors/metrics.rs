//! `GET /metrics`: Prometheus text or OpenMetrics, as the scraper asks. Always 200, whatever the health.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ACCEPT;
use wellkept_telemetry::metrics::Exposition;

use super::routes::{Operation, Routes};
use super::{Doors, Names, NoBody, answer};
use crate::access::Caller;
use crate::error::ApiError;

/// How long a scrape waits for those before it.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let Ok(Ok(_place)) = tokio::time::timeout(PATIENCE, doors.inner.scrapes.acquire()).await else {
        return ApiError::Busy.into_response();
    };
    let inner = std::sync::Arc::clone(&doors.inner);
    // A page of ten thousand components takes a while: not on the thread that answers probes.
    let written = tokio::task::spawn_blocking(move || {
        let components = (names == Names::Shown).then_some(&inner.components);
        Exposition::encode_all([&inner.registry].into_iter().chain(components), accept.as_deref())
    });
    match written.await {
        Ok(Ok(page)) => match doors.placed_page(page.body.into()) {
            Some(body) => answer(StatusCode::OK, page.content_type, body),
            None => ApiError::Busy.into_response(),
        },
        Ok(Err(error)) => {
            tracing::error!(target: "wellkept::http", %error, "metrics can't be encoded");
            ApiError::Internal.into_response()
        }
        Err(_) => ApiError::Internal.into_response(),
    }
}
