//! `/api/v1/config`: what runs, its versions and what differs between them; to have it read again, and to go back.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::header::ETAG;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wellkept_config::{Answer, Control, Intent, Outcome, Rejection, Report, Request, Trigger, VersionId, ViewError};
use wellkept_config::{Which, quoted};

use super::acting::{Actor, Input};
use super::aside::aside;
use super::routes::{Operation, Routes};
use super::{Doors, JSON, NoBody, Segment, answer, json, written_as_json};
use crate::collect;
use crate::error::{ApiError, Refusal};

mod drift;
mod precondition;
mod wire;

use wire::{Difference, Done, Runs, Values, VersionShown, Versions};

const PATH: &str = "/api/v1/config";
/// Longest name of an author, in letters.
const MAX_AUTHOR: usize = 100;
/// How many views are made at the same time, and how long one waits for those before it, and then for its own making.
const VIEWS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(2);
const MAKING: Duration = Duration::from_secs(10);

/// Where the configuration is, once there is one.
#[derive(Debug)]
pub(super) struct ConfigurationHandle {
    control: OnceLock<Arc<dyn Control>>,
    views: Semaphore,
}

impl Default for ConfigurationHandle {
    fn default() -> Self {
        Self { control: OnceLock::new(), views: Semaphore::new(VIEWS) }
    }
}

impl Doors {
    /// Has `/api/v1/config` show this configuration and change it; without it the endpoints answer 404. Only the first
    /// call counts.
    ///
    /// Operators read `GET /api/v1/config` (what runs, each value with where it comes from, and the hash of the content
    /// as its `ETag`), `/api/v1/config/file` (the values that the sources would give now), `/api/v1/config/versions`,
    /// `/api/v1/config/versions/{id}` and `/api/v1/config/diff?from=…&to=…`. They act by
    /// `POST /api/v1/config/reload` and `POST /api/v1/config/rollback`, both with `?dry_run=true` and `If-Match` (RFC
    /// 9110, section 13.1.1): 200 with what came of it, or an error with the code of the [`Rejection`]. No answer holds a
    /// secret, as the [`Control`] promises. The metrics have what reloads came to (`wellkept_config_…`).
    pub fn show_configuration(&self, control: Arc<dyn Control>) {
        // A second one would make the answer depend on an order.
        if self.inner.configuration.control.set(Arc::clone(&control)).is_ok() {
            collect::configuration(&self.inner.metrics, control);
        }
    }

    fn control(&self) -> Result<&dyn Control, ApiError> {
        self.inner.configuration.control.get().map(AsRef::as_ref).ok_or(ApiError::NotFound)
    }

    /// What the configuration can be asked for, a few at a time and not for ever, written as it is wanted.
    async fn shown<T, W>(
        &self,
        asked: Answer<'_, Result<T, ViewError>>,
        write: impl FnOnce(T) -> W + Send + 'static,
    ) -> Result<Response, Refusal>
    where
        T: Send + 'static,
        W: Serialize,
    {
        let turn = timeout(PATIENCE, self.inner.configuration.views.acquire()).await;
        let _turn = turn.ok().and_then(Result::ok).ok_or(ApiError::Busy)?;
        let made = timeout(MAKING, asked).await.unwrap_or(Err(ViewError::TimedOut))?;
        // With thousands of checks that is megabytes.
        let body = aside(move || written_as_json(&write(made))).await?;
        Ok(answer(StatusCode::OK, JSON, body.ok_or(ApiError::Internal)?))
    }
}

/// What operators read.
pub(super) fn details() -> Routes {
    let running = Operation::get(PATH, "The configuration that runs: its version, and each value with its source.")
        .json::<Runs>(&[200]);
    let file = Operation::get("/api/v1/config/file", "The values that the files and the environment would give now.")
        .json::<Values>(&[200])
        .refuses(&[422]);
    let versions =
        Operation::get("/api/v1/config/versions", "The versions that are kept, newest first.").json::<Versions>(&[200]);
    let version = Operation::get("/api/v1/config/versions/{id}", "One version, and its values.")
        .segment::<u64>("id", "The version's number.")
        .json::<VersionShown>(&[200])
        .refuses(&[404, 422]);
    let diff = Operation::get("/api/v1/config/diff", "What differs between two configurations, secrets hidden.")
        .query::<Place>("from", "`running`, `file`, or the number of a version. Default: `running`.")
        .query::<Place>("to", "The same. Default: `file`.")
        .json::<Difference>(&[200])
        .refuses(&[400, 404, 422]);
    let routes = Routes::new()
        .route(running, self::running)
        .route(file, self::file)
        .route(versions, self::versions)
        .route(version, self::version)
        .route(diff, self::diff);
    routes.each(|operation| operation.error(ApiError::NotFound).error(ApiError::Busy).refuses(&[504]))
}

/// What acts.
pub(super) fn actions() -> Routes {
    let reload = Operation::new(Method::POST, "/api/v1/config/reload", "Has the configuration be read again.")
        .takes::<ReloadWanted>();
    let rollback = Operation::new(Method::POST, "/api/v1/config/rollback", "Returns to a version that is kept.")
        .takes::<RollbackWanted>();
    let routes = Routes::new().route(reload, self::reload).route(rollback, self::rollback);
    routes.each(|operation| {
        operation
            .query::<bool>("dry_run", "Only says what would be done. Default: false.")
            .header::<String>("If-Match", "The `ETag` of the configuration that must run, or nothing is done.")
            .json::<Done>(&[200])
            .error(ApiError::NotFound)
            .refuses(&[400, 404, 409, 412, 422, 500, 503, 504])
    })
}

/// `GET /api/v1/config`
async fn running(State(doors): State<Doors>, _: NoBody) -> Result<Response, Refusal> {
    let control = doors.control()?;
    let running = control.running();
    let etag = HeaderValue::from_str(&format!("\"{}\"", running.hash)).map_err(|_| ApiError::Internal)?;
    let checker = doors.checker().clone();
    let shown =
        doors.shown(control.show(Which::Running), move |values| Runs::of(running, values, drift::lines(&checker)));
    let mut response = shown.await?;
    response.headers_mut().insert(ETAG, etag);
    Ok(response)
}

/// `GET /api/v1/config/file`
async fn file(State(doors): State<Doors>, _: NoBody) -> Result<Response, Refusal> {
    doors.shown(doors.control()?.show(Which::Sources), Values::of).await
}

/// `GET /api/v1/config/versions`
async fn versions(State(doors): State<Doors>, _: NoBody) -> Result<Response, Refusal> {
    let control = doors.control()?;
    let running = control.running().version;
    doors.shown(control.versions(), move |versions| Versions::of(running, versions)).await
}

/// `GET /api/v1/config/versions/3`. One that was refused has no values.
async fn version(State(doors): State<Doors>, _: NoBody, Segment(id): Segment) -> Result<Response, Refusal> {
    let control = doors.control()?;
    let id = VersionId(id.parse().map_err(|_| ApiError::NotFound)?);
    let found = Box::pin(async move {
        let kept = control.versions().await?.into_iter().find(|version| version.id == id);
        let version = kept.ok_or(ViewError::UnknownVersion(id))?;
        let values = match control.show(Which::Version(id)).await {
            Err(ViewError::UnknownVersion(_)) => None,
            shown => Some(shown?),
        };
        Ok((version, values))
    });
    doors.shown(found, |(version, values)| VersionShown::of(version, values)).await
}

/// `GET /api/v1/config/diff?from=3&to=running`
async fn diff(
    State(doors): State<Doors>,
    _: NoBody,
    between: Result<Query<Between>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(Between { from, to }) = between.map_err(|error| Refusal::bad_query(error.body_text()))?;
    let asked = doors.control()?.diff(from.0, to.0);
    // What operators did to checks is a part of what runs, and of no file.
    let drifted = matches!((from.0, to.0), (Which::Running, Which::Sources) | (Which::Sources, Which::Running));
    let checker = drifted.then(|| doors.checker().clone());
    let write = move |mut changes: Vec<String>| {
        changes.extend(checker.iter().flat_map(drift::lines));
        Difference { from: from.to_string(), to: to.to_string(), changes }
    };
    doors.shown(asked, write).await
}

/// `POST /api/v1/config/reload`
async fn reload(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    how: Result<Query<How>, QueryRejection>,
    Input(wanted): Input<ReloadWanted>,
) -> Result<Response, Refusal> {
    let control = doors.control()?;
    let request = request(control, &actor, &headers, how, wanted.author.as_deref())?;
    let intent = request.intent;
    done(control.reload(request).await, intent)
}

/// `POST /api/v1/config/rollback`
async fn rollback(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    how: Result<Query<How>, QueryRejection>,
    Input(wanted): Input<RollbackWanted>,
) -> Result<Response, Refusal> {
    let control = doors.control()?;
    let request = request(control, &actor, &headers, how, wanted.author.as_deref())?;
    let intent = request.intent;
    done(control.roll_back(VersionId(wanted.to), request).await, intent)
}

/// Who asks for a reload. The body may be left out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReloadWanted {
    /// Who asks, in one line without brackets. Where the request comes from is added in brackets.
    #[serde(default)]
    #[schemars(length(max = 100))]
    author: Option<String>,
}

/// Where to go back to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RollbackWanted {
    /// The version's number.
    #[schemars(range(min = 1))]
    to: u64,
    /// Who asks, in one line without brackets. Where the request comes from is added in brackets.
    #[serde(default)]
    #[schemars(length(max = 100))]
    author: Option<String>,
}

/// How it is to be done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    #[serde(default)]
    dry_run: bool,
}

fn request(
    control: &dyn Control,
    actor: &Actor,
    headers: &HeaderMap,
    how: Result<Query<How>, QueryRejection>,
    author: Option<&str>,
) -> Result<Request, Refusal> {
    let Query(How { dry_run }) = how.map_err(|error| Refusal::bad_query(error.body_text()))?;
    let author = signed(author.unwrap_or_default().trim(), actor)?;
    let expected = precondition::expected(headers, control.running().hash)?;
    let intent = if dry_run { Intent::DryRun } else { Intent::Apply };
    Ok(Request { trigger: Trigger::Api, author, intent, expected })
}

/// The name that the caller gives, with what is known of it in brackets: `ann (loopback from 127.0.0.1:40112)`. A name
/// with brackets of its own, or with letters that can't be seen, could be taken for another caller's.
fn signed(author: &str, actor: &Actor) -> Result<String, Refusal> {
    let is_visible = |letter: char| letter.escape_debug().len() == 1 || matches!(letter, '"' | '\'' | '\\');
    if author.chars().count() > MAX_AUTHOR || !author.chars().all(is_visible) || author.contains(['(', ')']) {
        let message = format!("an author is one line of at most {MAX_AUTHOR} letters without brackets");
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "config.author", message));
    }
    Ok(if author.is_empty() { actor.to_string() } else { format!("{author} ({actor})") })
}

fn done(report: Report, intent: Intent) -> Result<Response, Refusal> {
    match &report.outcome {
        Outcome::Rejected(rejection) => Err(rejection.into()),
        _ => Ok(json(StatusCode::OK, &Done::of(report, intent))),
    }
}

/// Between which two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    #[serde(default = "Place::running")]
    from: Place,
    #[serde(default = "Place::file")]
    to: Place,
}

/// Which configuration, as it is written.
#[derive(Debug, Clone, Copy)]
struct Place(Which);

impl Place {
    fn running() -> Self {
        Self(Which::Running)
    }

    fn file() -> Self {
        Self(Which::Sources)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let version = || text.parse().ok().filter(|_| !text.starts_with('+')).map(|id| Which::Version(VersionId(id)));
        match text {
            "running" => Ok(Self::running()),
            "file" => Ok(Self::file()),
            _ => version().map(Self).ok_or_else(|| {
                format!("expected `running`, `file` or the number of a version, found {}", quoted(text))
            }),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Which::Running => formatter.write_str("running"),
            Which::Sources => formatter.write_str("file"),
            Which::Version(id) => id.fmt(formatter),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Place {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Configuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(running|file|[1-9][0-9]{0,17})$" })
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        let status = match rejection {
            Rejection::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Rejection::Refused { .. }
            | Rejection::Pinned
            | Rejection::NoFile
            | Rejection::Busy
            | Rejection::ShuttingDown => StatusCode::CONFLICT,
            Rejection::Panicked { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Rejection::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            Rejection::Stale => StatusCode::PRECONDITION_FAILED,
            Rejection::UnknownVersion { .. } => StatusCode::NOT_FOUND,
            Rejection::Store { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, rejection.code(), rejection.to_string())
    }
}

impl From<ViewError> for Refusal {
    fn from(error: ViewError) -> Self {
        let (status, code) = match &error {
            ViewError::UnknownVersion(_) => (StatusCode::NOT_FOUND, "config.unknown_version"),
            ViewError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "config.rejected"),
            ViewError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "config.store"),
            ViewError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "config.timed_out"),
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests;
