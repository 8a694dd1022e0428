//! `/api/v1/maintenance`: what is in maintenance; to begin one, and to end one before its time.

use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::{Method, StatusCode};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wellkept_health::{Checker, End, Kept, MaintenanceError, NewMaintenance, Target, wire};
use wellkept_telemetry::events::SecurityEvent;

use super::acting::{Actor, Input};
use super::period::Period;
use super::routes::{Operation, Routes};
use super::{Doors, NoBody, Segment, json};
use crate::error::{ApiError, Refusal};

/// How long an answer waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// What operators read.
pub(super) fn details() -> Routes {
    let list = Operation::get(PATH, "What is in maintenance, and the next occurrence of each window.");
    Routes::new().route(list.json::<Listed>(&[200]), self::list)
}

/// What acts.
pub(super) fn actions() -> Routes {
    let begin = Operation::new(Method::POST, PATH, "Begins a maintenance of the service, or of some components.")
        .takes::<Wanted>()
        .json::<Changed>(&[201])
        .refuses(&[404, 409, 422]);
    let end = Operation::new(Method::DELETE, "/api/v1/maintenance/{id}", "Ends a maintenance before its time.")
        .segment::<String>("id", "The maintenance's id.")
        .query::<String>("author", "Who ends it. Default: where the request comes from.")
        .json::<Changed>(&[200])
        .error(ApiError::BodyNotAllowed)
        .refuses(&[400, 404, 409, 422]);
    Routes::new().route(begin, self::begin).route(end, self::end)
}

const PATH: &str = "/api/v1/maintenance";

/// `GET /api/v1/maintenance`
#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    /// In the order of their beginning.
    maintenances: Vec<wire::Maintenance>,
}

async fn list(State(doors): State<Doors>, _: NoBody) -> Response {
    let checker = &doors.inner.checker;
    let now = checker.clock().wall();
    let maintenances = checker.maintenances().iter().map(|one| wire::Maintenance::of(one, now)).collect();
    json(StatusCode::OK, &Listed { maintenances })
}

/// What is to begin. Exactly one of `for`, `until` and `open` says when it ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// Names of components; without it the whole service.
    components: Option<Vec<String>>,
    /// How long it lasts, however the time of day is set meanwhile.
    r#for: Option<Period>,
    /// When it ends.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    until: Option<Timestamp>,
    /// Until somebody ends it, or until the longest that one may last.
    open: bool,
    /// Why, in one line. Needed.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// Who begins it, in one line. Default: where the request comes from.
    #[schemars(length(max = 100))]
    author: Option<String>,
}

impl Wanted {
    fn end(&self) -> Result<End, Refusal> {
        match (self.r#for, self.until, self.open) {
            (Some(Period(lasts)), None, false) => Ok(End::After(lasts)),
            (None, Some(until), false) => Ok(End::At(until)),
            (None, None, true) => Ok(End::Open),
            _ => {
                let message = "say when it ends: one of `for`, `until`, or `open: true`";
                Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "maintenance.end", message))
            }
        }
    }
}

/// What began or ended.
#[derive(Debug, Serialize, JsonSchema)]
struct Changed {
    /// One for each component, or one for the service.
    maintenances: Vec<wire::Maintenance>,
    /// Whether the change survives a restart: `stored`, or `memory` when it does not.
    kept: &'static str,
}

async fn begin(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    Input(wanted): Input<Wanted>,
) -> Result<Response, Refusal> {
    let checker = &doors.inner.checker;
    let end = wanted.end()?;
    let target = wanted.components.map_or(Target::Service, Target::components);
    let author = wanted.author.unwrap_or_else(|| actor.to_string());
    let begun = checker.begin_maintenance(NewMaintenance { target, end, reason: wanted.reason, author })?;
    actor.tell(&doors, SecurityEvent::AuthzAdmin { user: actor.user(), action: "maintenance_begin" });
    let begun = begun.iter().map(|one| wire::Maintenance::of(one, one.since)).collect();
    Ok(json(StatusCode::CREATED, &changed(checker, begun).await))
}

/// Who ends it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    author: Option<String>,
}

async fn end(
    State(doors): State<Doors>,
    Segment(id): Segment,
    Extension(actor): Extension<Actor>,
    ending: Result<Query<Ending>, QueryRejection>,
    _: NoBody,
) -> Result<Response, Refusal> {
    let Query(Ending { author }) = ending.map_err(|error| Refusal::bad_query(error.body_text()))?;
    let checker = &doors.inner.checker;
    let ended = checker.end_maintenance(&id, &author.unwrap_or_else(|| actor.to_string()))?;
    actor.tell(&doors, SecurityEvent::AuthzAdmin { user: actor.user(), action: "maintenance_end" });
    let ended = wire::Maintenance { active: false, ..wire::Maintenance::of(&ended, ended.since) };
    Ok(json(StatusCode::OK, &changed(checker, vec![ended]).await))
}

/// The answer to a change, once readers see it and the store has it, or after a bounded wait.
async fn changed(checker: &Checker, maintenances: Vec<wire::Maintenance>) -> Changed {
    checker.maintenance_published().await;
    let waiting = checker.clone();
    // The wait blocks a thread that is made for it.
    let kept = tokio::task::spawn_blocking(move || waiting.maintenances_kept(PATIENCE)).await;
    Changed { maintenances, kept: kept.unwrap_or(Kept::InMemory).as_str() }
}

impl From<MaintenanceError> for Refusal {
    fn from(error: MaintenanceError) -> Self {
        let status = match &error {
            MaintenanceError::UnknownComponent { .. } | MaintenanceError::Unknown => StatusCode::NOT_FOUND,
            MaintenanceError::TooMany { .. } | MaintenanceError::OfWindow => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests;
