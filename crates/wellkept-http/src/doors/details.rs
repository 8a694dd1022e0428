//! What operators read: every component with its readings, the history, the state of the shutdown.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wellkept_health::wire::{self, Subject};
use wellkept_health::{History, RunResult, StatusChange};
use wellkept_shutdown::{Progress, Stats};

use super::asked::Asked;
use super::flags::FlagShown;
use super::routes::{Operation, Routes};
use super::{Doors, NoBody, json};
use crate::error::ApiError;

/// How long a question to the history may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Most changes, and most results, in one answer.
pub(super) const MOST: usize = 1000;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route(
            Operation::get("/health/detailed", "All components, with their readings.")
                .json::<Detailed>(&[200])
                .error(ApiError::Busy),
            detailed,
        )
        .route(
            Operation::get("/api/v1/history", "Status changes, newest first; of a component its results too.")
                .query::<String>("component", "A component's name. Default: all.")
                .query::<usize>("limit", "Most changes, and most results. Default 50, at most 1000.")
                .json::<Past>(&[200])
                .error(ApiError::BadQuery)
                .error(ApiError::Busy),
            history,
        )
        .route(
            Operation::get("/api/v1/shutdown", "Where the shutdown is, and what it waits for.").json::<Ending>(&[200]),
            shutdown,
        )
}

/// `GET /health/detailed`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Detailed {
    #[serde(flatten)]
    health: wire::Detailed,
    /// The feature flags of the application by name; absent when it has none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    flags: BTreeMap<&'static str, FlagShown>,
}

/// `GET /health/detailed`: all components. Always 200: it is for people, not for probes.
pub(super) async fn detailed(State(doors): State<Doors>, _: NoBody, request: Request) -> Result<Response, ApiError> {
    let write = |doors: &Doors, asked: &Asked| {
        let health = wire::Detailed::of(&doors.inner.checker);
        let answer = json(StatusCode::OK, &Detailed { health, flags: doors.flags() });
        doors.tell(asked, &Subject::Service, answer)
    };
    doors.large(&doors.asked(request), write).await
}

/// What to read of the history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    component: Option<String>,
    #[serde(default = "a_page")]
    limit: usize,
}

pub(super) fn a_page() -> usize {
    50
}

/// `GET /api/v1/history`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Past {
    changes: Vec<StatusChange>,
    results: Vec<RunResult>,
}

impl Past {
    /// Blocks, for a bounded time; `None` when there is no answer by then.
    pub(super) fn read(history: &History, component: Option<&str>, limit: usize) -> Option<Self> {
        let changes = history.changes(component, limit, PATIENCE)?;
        let results = match component {
            Some(name) => history.results(name, limit, PATIENCE)?,
            None => Vec::new(),
        };
        Some(Self { changes, results })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.results.is_empty()
    }
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
    let read = tokio::task::spawn_blocking(move || Past::read(&history, component.as_deref(), limit));
    let past = read.await.map_err(|_| ApiError::Internal)?.ok_or(ApiError::Busy)?;
    Ok(json(StatusCode::OK, &past))
}

/// `GET /api/v1/shutdown`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ending {
    #[serde(flatten)]
    #[schemars(with = "Map<String, Value>")]
    stats: Stats,
    #[schemars(with = "Map<String, Value>")]
    progress: Progress,
}

/// `GET /api/v1/shutdown`: where the shutdown is.
pub(super) async fn shutdown(State(doors): State<Doors>, _: NoBody) -> Response {
    let shutdown = &doors.inner.shutdown;
    json(StatusCode::OK, &Ending { stats: shutdown.stats(), progress: shutdown.progress() })
}
