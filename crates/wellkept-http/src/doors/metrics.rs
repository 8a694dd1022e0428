//! `GET /metrics`: Prometheus text or OpenMetrics, as the scraper asks. Always 200, whatever the health.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use wellkept_telemetry::metrics::Exposition;

use super::Doors;
use crate::error::ApiError;

pub(super) async fn metrics(State(doors): State<Doors>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match Exposition::encode(&doors.inner.registry, accept) {
        Ok(page) => ([(CONTENT_TYPE, HeaderValue::from_static(page.content_type))], page.body).into_response(),
        Err(error) => {
            tracing::error!(target: "wellkept::http", %error, "metrics can't be encoded");
            ApiError::Internal.into_response()
        }
    }
}
