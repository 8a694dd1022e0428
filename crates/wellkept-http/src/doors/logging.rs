//! `/api/v1/logging`: the levels of the log in force and what became of its lines; to set a level, and to take one back.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use wellkept_telemetry::events::SecurityEvent;
use wellkept_telemetry::logging::{Level, LevelChange, LevelError, LevelRule, LevelSet, Logging, Loss, SinkBooks};

use super::acting::{Actor, Input};
use super::period::Period;
use super::routes::{Operation, Routes};
use super::{Doors, NoBody, json};
use crate::error::{ApiError, Refusal};

const PATH: &str = "/api/v1/logging";

/// Where the handle is, once there is one.
#[derive(Debug, Default)]
pub(super) struct LoggingHandle(OnceLock<Logging>);

impl Doors {
    /// Has `/api/v1/logging` show this log and change its levels; without it the endpoint answers 404. Only the first call
    /// counts.
    pub fn show_logging(&self, logging: &Logging) {
        // A second log would make the answer depend on an order.
        let _ = self.inner.logging.0.set(logging.clone());
    }

    fn logging(&self) -> Result<&Logging, ApiError> {
        self.inner.logging.0.get().ok_or(ApiError::NotFound)
    }
}

/// What operators read.
pub(super) fn details() -> Routes {
    let show =
        Operation::get(PATH, "The levels of the log, who set them and until when, and what became of its lines.");
    Routes::new().route(show.json::<Shown>(&[200]).error(ApiError::NotFound), self::show)
}

/// What acts.
pub(super) fn actions() -> Routes {
    let set = Operation::new(Method::PUT, PATH, "Sets the level of the log or of a module, for a while if asked to.")
        .takes::<Wanted>()
        .json::<Shown>(&[200])
        .error(ApiError::NotFound)
        .refuses(&[409, 422]);
    let reset =
        Operation::new(Method::DELETE, PATH, "Takes back what was set at run time: the configured levels return.")
            .query::<String>("module", "Only this module's level. Default: all.")
            .query::<String>("author", "Who does it. Default: where the request comes from.")
            .json::<Shown>(&[200])
            .error(ApiError::BodyNotAllowed)
            .error(ApiError::NotFound)
            .refuses(&[400, 404, 422]);
    Routes::new().route(set, self::set).route(reset, self::reset)
}

/// A level, as it is written.
#[derive(Debug, Clone, Copy)]
struct LevelWord(Level);

impl<'de> Deserialize<'de> for LevelWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        word.parse().map(Self).map_err(de::Error::custom)
    }
}

impl Serialize for LevelWord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl JsonSchema for LevelWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Level::ALL.map(Level::as_str) })
    }
}

/// The levels and the books.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    /// The level for what no module has one for.
    #[serde(flatten)]
    whole: Rule,
    /// Modules with a level of their own, by name.
    modules: Vec<Module>,
    /// Events left out because they repeated. They are in no sink's books.
    suppressed: u64,
    /// What became of the lines of each sink: accepted is written, dropped and pending together.
    sinks: Vec<SinkLines>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Rule {
    /// The least severe level that is logged.
    level: LevelWord,
    /// What the configuration says, where it says something.
    configured: Option<LevelWord>,
    /// What was set at run time, where something was.
    set: Option<Set>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Module {
    module: String,
    #[serde(flatten)]
    rule: Rule,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Set {
    by: String,
    reason: String,
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// When the level from before returns by itself; `null` when it does not.
    #[schemars(extend("format" = "date-time"))]
    ends: Option<String>,
    /// How long that still takes.
    left: Option<Period>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct SinkLines {
    sink: String,
    accepted: u64,
    written: u64,
    pending: u64,
    /// Lines that were put aside on the disk while the output took none.
    spilled: u64,
    /// Lines that were cut.
    truncated: u64,
    /// Lines that reach nobody, by the reason.
    dropped: std::collections::BTreeMap<&'static str, u64>,
}

impl Shown {
    fn of(logging: &Logging) -> Self {
        let (whole, modules): (Vec<_>, Vec<_>) = logging.levels().into_iter().partition(|rule| rule.module.is_none());
        let level = LevelWord(logging.level());
        let whole =
            whole.into_iter().next().map_or(Rule { level, configured: None, set: None }, |rule| Rule::of(&rule));
        let module = |rule: LevelRule| Module { rule: Rule::of(&rule), module: rule.module.unwrap_or_default() };
        Self {
            whole,
            modules: modules.into_iter().map(module).collect(),
            suppressed: logging.suppressed(),
            sinks: logging.books().into_iter().map(SinkLines::of).collect(),
        }
    }
}

impl Rule {
    fn of(rule: &LevelRule) -> Self {
        let set = rule.set.clone().map(|set: LevelSet| Set {
            by: set.by,
            reason: set.reason,
            since: format!("{:.3}", set.since),
            ends: set.ends.map(|ends| format!("{ends:.3}")),
            // Whole seconds are what people read.
            left: set.left.map(|left| Period(Duration::from_secs(left.as_secs()))),
        });
        Self { level: LevelWord(rule.level), configured: rule.configured.map(LevelWord), set }
    }
}

impl SinkLines {
    fn of(SinkBooks { sink, books, .. }: SinkBooks) -> Self {
        Self {
            sink,
            accepted: books.accepted,
            written: books.written,
            pending: books.pending,
            spilled: books.spilled,
            truncated: books.truncated,
            dropped: Loss::ALL.iter().map(|loss| (loss.as_str(), books.dropped.of(*loss))).collect(),
        }
    }
}

/// `GET /api/v1/logging`
async fn show(State(doors): State<Doors>, _: NoBody) -> Result<Response, Refusal> {
    Ok(json(StatusCode::OK, &Shown::of(doors.logging()?)))
}

/// What is to be set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The module, as targets begin, for example `sqlx`. Default: the whole log.
    #[serde(default)]
    #[schemars(length(min = 1, max = 128))]
    module: Option<String>,
    /// The least severe level that is logged.
    level: LevelWord,
    /// After how long the level from before returns by itself: 1s to 7 days. Default: it stays until it is taken back or
    /// the configuration changes there.
    #[serde(default)]
    r#for: Option<Period>,
    /// Why, in one line.
    #[serde(default)]
    #[schemars(length(max = 200))]
    reason: String,
    /// Who does it, in one line. Default: where the request comes from.
    #[serde(default)]
    #[schemars(length(max = 200))]
    author: Option<String>,
}

/// `PUT /api/v1/logging`
async fn set(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    Input(wanted): Input<Wanted>,
) -> Result<Response, Refusal> {
    let logging = doors.logging()?;
    let Wanted { module, level: LevelWord(level), r#for: lasts, reason, author } = wanted;
    let by = author.unwrap_or_else(|| actor.to_string());
    let lasts = lasts.map(|Period(lasts)| lasts);
    logging.change_level(LevelChange { module, level, lasts, by, reason })?;
    actor.tell(&doors, SecurityEvent::AuthzAdmin { user: actor.user(), action: "log_level" });
    Ok(json(StatusCode::OK, &Shown::of(logging)))
}

/// Whose level is taken back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    module: Option<String>,
    author: Option<String>,
}

/// `DELETE /api/v1/logging?module=sqlx`
async fn reset(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    whose: Result<Query<Whose>, QueryRejection>,
    _: NoBody,
) -> Result<Response, Refusal> {
    let Query(Whose { module, author }) = whose.map_err(|error| Refusal::bad_query(error.body_text()))?;
    let logging = doors.logging()?;
    let by = author.unwrap_or_else(|| actor.to_string());
    let was_set = match &module {
        Some(module) => logging.reset_level(Some(module), &by)?,
        None => logging.reset_levels(&by)? > 0,
    };
    if module.is_some() && !was_set {
        let message = "nothing was set at run time for this module";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "logging.not_set", message));
    }
    if was_set {
        actor.tell(&doors, SecurityEvent::AuthzAdmin { user: actor.user(), action: "log_level" });
    }
    Ok(json(StatusCode::OK, &Shown::of(logging)))
}

impl From<LevelError> for Refusal {
    fn from(error: LevelError) -> Self {
        let status = match &error {
            LevelError::TooManyChanges => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests;
