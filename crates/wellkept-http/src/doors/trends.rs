//! What operators read of one component's past: its trend, and its latest changes and results.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wellkept_health::ComponentHealth;
use wellkept_health::trend::{Brief, Trend};

use super::details::{MOST, PATIENCE, Past, a_page};
use super::routes::{Operation, Routes};
use super::{Doors, NoBody, Segment, json};
use crate::error::ApiError;

pub(super) fn routes() -> Routes {
    let trend = "A component's availability, response times, directions and forecast, over the last hour to 30 days.";
    Routes::new()
        .route(
            Operation::get("/api/v1/trends", "All components' availability and response times, in brief.")
                .json::<Trends>(&[200]),
            trends,
        )
        .route(of_component("/api/v1/components/{name}/trend", trend).json::<Trend>(&[200]), component_trend)
        .route(
            of_component("/api/v1/components/{name}/history", "A component's changes and results, newest first.")
                .query::<usize>("limit", "Most changes, and most results. Default 50, at most 1000.")
                .json::<Past>(&[200])
                .error(ApiError::BadQuery),
            component_history,
        )
}

fn of_component(path: &'static str, summary: &'static str) -> Operation {
    let operation = Operation::get(path, summary).segment::<String>("name", "The component's name.");
    operation.error(ApiError::NotFound).error(ApiError::Busy)
}

/// `GET /api/v1/trends`
#[derive(Debug, Serialize, JsonSchema)]
struct Trends {
    #[schemars(with = "BTreeMap<String, Brief>")]
    components: BTreeMap<Arc<str>, Brief>,
}

/// `GET /api/v1/trends`: as of a minute ago; a component that was not summed up yet is not there.
async fn trends(State(doors): State<Doors>, _: NoBody) -> Response {
    let components = doors.inner.checker.history().map(|history| history.briefs()).unwrap_or_default();
    json(StatusCode::OK, &Trends { components })
}

/// `GET /api/v1/components/NAME/trend`. 404 for a component that is neither there nor remembered.
async fn component_trend(State(doors): State<Doors>, _: NoBody, Segment(name): Segment) -> Result<Response, ApiError> {
    let history = doors.inner.checker.history().ok_or(ApiError::NotFound)?;
    let snapshot = doors.inner.checker.snapshot();
    let component = snapshot.component(&name);
    let (is_there, ends_at) = (component.is_some(), component.and_then(ComponentHealth::ends_at));
    // The question waits on a thread that is made for waiting, and for a bounded time.
    let read = tokio::task::spawn_blocking(move || history.trend(&name, PATIENCE));
    let mut trend = read.await.map_err(|_| ApiError::Internal)?.ok_or(ApiError::Busy)?;
    trend.ends_at = ends_at;
    if trend.is_empty() && !is_there {
        return Err(ApiError::NotFound);
    }
    Ok(json(StatusCode::OK, &trend))
}

/// What to read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default = "a_page")]
    limit: usize,
}

/// `GET /api/v1/components/NAME/history?limit=50`. 404 likewise.
async fn component_history(
    State(doors): State<Doors>,
    _: NoBody,
    Segment(name): Segment,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Wanted { limit }) = wanted.map_err(|_| ApiError::BadQuery)?;
    let history = doors.inner.checker.history().ok_or(ApiError::NotFound)?;
    let is_there = doors.inner.checker.snapshot().component(&name).is_some();
    let read = tokio::task::spawn_blocking(move || Past::read(&history, Some(&name), limit.min(MOST)));
    let past = read.await.map_err(|_| ApiError::Internal)?.ok_or(ApiError::Busy)?;
    if past.is_empty() && !is_there {
        return Err(ApiError::NotFound);
    }
    Ok(json(StatusCode::OK, &past))
}
