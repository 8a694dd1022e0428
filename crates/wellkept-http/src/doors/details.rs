//! What operators read: every component with its readings, the history, the state of the shutdown.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use wellkept_health::{RunResult, StatusChange, wire};
use wellkept_shutdown::{Progress, Stats};

use super::{Doors, NoBody, json};
use crate::error::ApiError;

/// How long a question to the history may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most changes, and most results, in one answer.
const MOST: usize = 1000;

/// `GET /health/detailed`: all components. Always 200: it is for people, not for probes.
pub(super) async fn detailed(State(doors): State<Doors>, _: NoBody) -> Response {
    json(StatusCode::OK, &wire::Detailed::of(&doors.inner.checker))
}

/// What to read of the history.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    component: Option<String>,
    #[serde(default = "a_page")]
    limit: usize,
}

fn a_page() -> usize {
    50
}

/// `GET /api/v1/history`
#[derive(Debug, Serialize)]
pub(super) struct Past {
    changes: Vec<StatusChange>,
    results: Vec<RunResult>,
}

/// `GET /api/v1/history?component=NAME&limit=50`: status changes, newest first; with a component its results too.
pub(super) async fn history(
    State(doors): State<Doors>,
    _: NoBody,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Wanted { component, limit }) = wanted.map_err(|_| ApiError::BadQuery)?;
    let limit = limit.min(MOST);
    let Some(history) = doors.inner.checker.history() else {
        return Ok(json(StatusCode::OK, &Past { changes: Vec::new(), results: Vec::new() }));
    };
    // The question waits on a thread that is made for waiting, and for a bounded time.
    let read = tokio::task::spawn_blocking(move || {
        let changes = history.changes(component.as_deref(), limit, PATIENCE)?;
        let results = match component {
            Some(name) => history.results(&name, limit, PATIENCE)?,
            None => Vec::new(),
        };
        Some(Past { changes, results })
    });
    let past = read.await.map_err(|_| ApiError::Internal)?.ok_or(ApiError::Busy)?;
    Ok(json(StatusCode::OK, &past))
}

/// `GET /api/v1/shutdown`
#[derive(Debug, Serialize)]
pub(super) struct Ending {
    #[serde(flatten)]
    stats: Stats,
    progress: Progress,
}

/// `GET /api/v1/shutdown`: where the shutdown is.
pub(super) async fn shutdown(State(doors): State<Doors>, _: NoBody) -> Response {
    let shutdown = &doors.inner.shutdown;
    json(StatusCode::OK, &Ending { stats: shutdown.stats(), progress: shutdown.progress() })
}
