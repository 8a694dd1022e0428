//! What operators do to components at run time: run them now, leave them out, take them in again, tune them.

use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wellkept_health::{Change, Checked, Component, ControlError, Group, Origin, Switched, Tuning, Which, Window, wire};
use wellkept_telemetry::events::SecurityEvent;

use super::acting::{Actor, Input, Nothing};
use super::aside::aside;
use super::period::Period;
use super::routes::{Operation, Routes};
use super::{Doors, Segment, json};
use crate::error::{ApiError, Refusal};

/// A component runs at most this often because of requests, or once in its interval when that is shorter: within it
/// the latest result is the answer.
const GAP: Duration = Duration::from_secs(1);
/// How long a run of all may take unless the request says otherwise.
const USUAL: Duration = Duration::from_secs(10);
/// Longest that it may ask for.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Routes {
    let run = post("/api/v1/components/{name}/run", "Runs a component's check now, or joins the run that goes on.")
        .json::<Ran>(&[200])
        .refuses(&[409, 503, 504]);
    let enable = post("/api/v1/components/{name}/enable", "Takes a component in again.").json::<Switch>(&[200]);
    let disable = post("/api/v1/components/{name}/disable", "Leaves a component out.").json::<Switch>(&[200]);
    let tune = Operation::new(Method::PATCH, "/api/v1/components/{name}", "Changes how a component's check is run.")
        .segment::<String>("name", "The component's name.")
        .takes::<Settings>()
        .json::<Tuned>(&[200])
        .refuses(&[404, 422]);
    let run_all = Operation::new(Method::POST, "/api/v1/run", "Runs the checks of all components now.")
        .query::<bool>("required", "Only the required ones. Default false.")
        .query::<String>("group", "Only those that this group's probe sees.")
        .query::<Period>("timeout", "When the answer comes at the latest. Default 10s, at most 60s.")
        .takes::<Nothing>()
        .json::<RanAll>(&[200])
        .error(ApiError::Busy)
        .refuses(&[503]);
    Routes::new()
        .route(run, run_one)
        .route(enable, self::enable)
        .route(disable, self::disable)
        .route(tune, self::tune)
        .route(run_all, self::run_all)
}

fn post(path: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::POST, path, summary)
        .segment::<String>("name", "The component's name.")
        .takes::<Nothing>()
        .refuses(&[404])
}

/// What one component's check found.
#[derive(Debug, Serialize, JsonSchema)]
struct Ran {
    /// Whether the check ran because of this request, or was running; if not, the latest result was young enough.
    fresh: bool,
    /// The component with that result.
    component: wire::Component,
}

/// `POST /api/v1/components/{name}/run`
async fn run_one(
    State(doors): State<Doors>,
    Segment(name): Segment,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Response, Refusal> {
    let checker = &doors.inner.checker;
    let Checked { health, origin } = checker.check_component_at_most_every(&name, GAP).await?;
    let component = wire::Component::of(&checker.snapshot(), &health);
    Ok(json(StatusCode::OK, &Ran { fresh: origin == Origin::Run, component }))
}

/// Whether a component is enabled now.
#[derive(Debug, Serialize, JsonSchema)]
struct Switch {
    name: String,
    enabled: bool,
    /// Whether it was otherwise before.
    changed: bool,
}

/// `POST /api/v1/components/{name}/enable`
async fn enable(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    Segment(name): Segment,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Response, Refusal> {
    let changed = doors.inner.checker.enable(&name)? == Switched::Now;
    if changed {
        actor.tell(&doors, SecurityEvent::SysMonitorEnabled { user: actor.user(), monitor: &name });
    }
    Ok(json(StatusCode::OK, &Switch { name, enabled: true, changed }))
}

/// `POST /api/v1/components/{name}/disable`
async fn disable(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    Segment(name): Segment,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Response, Refusal> {
    let changed = doors.inner.checker.disable(&name)? == Switched::Now;
    if changed {
        actor.tell(&doors, SecurityEvent::SysMonitorDisabled { user: actor.user(), monitor: &name });
    }
    Ok(json(StatusCode::OK, &Switch { name, enabled: false, changed }))
}

/// What is changed. A key that is not there leaves its setting as it is; `null` takes `window`, `slow` and `max_age`
/// away (RFC 7396).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// From one run's start to the next one's.
    #[schemars(with = "Period")]
    interval: Given<Period>,
    /// The deadline of one run.
    #[schemars(with = "Period")]
    timeout: Given<Period>,
    /// Share of the interval by which a run may start later, 0 to 0.5.
    #[schemars(with = "f64")]
    jitter: Given<f64>,
    /// Consecutive worse results before the status gets worse.
    #[schemars(with = "u32")]
    fall: Given<u32>,
    /// Consecutive better results before the status gets better.
    #[schemars(with = "u32")]
    rise: Given<u32>,
    /// How many of the latest results make the status worse too.
    #[schemars(with = "Option<LatestResults>")]
    window: Given<Option<LatestResults>>,
    /// A pass that took longer is a warning.
    #[schemars(with = "Option<Period>")]
    slow: Given<Option<Period>>,
    /// Past this age a result counts no more.
    #[schemars(with = "Option<Period>")]
    max_age: Given<Option<Period>>,
}

/// A key's value, when the key is there: `null` is a value that most types refuse.
#[derive(Debug)]
struct Given<T>(Option<T>);

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

impl<T> Given<Option<T>> {
    fn changes<U>(self, into: impl Fn(T) -> U) -> Change<U> {
        match self.0 {
            None => Change::Keep,
            Some(None) => Change::Clear,
            Some(Some(value)) => Change::Set(into(value)),
        }
    }
}

/// So many failures among so many of the latest results.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LatestResults {
    failures: u32,
    of: u32,
}

impl From<Settings> for Tuning {
    fn from(settings: Settings) -> Self {
        let duration = |Period(duration)| duration;
        Self {
            interval: settings.interval.0.map(duration),
            timeout: settings.timeout.0.map(duration),
            jitter: settings.jitter.0,
            fall: settings.fall.0,
            rise: settings.rise.0,
            window: settings.window.changes(|LatestResults { failures, of }| Window { failures, of }),
            slow: settings.slow.changes(duration),
            max_age: settings.max_age.changes(duration),
        }
    }
}

/// A component's settings as they are now.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Tuned {
    name: String,
    interval: Period,
    timeout: Period,
    jitter: f64,
    fall: u32,
    rise: u32,
    window: Option<LatestResults>,
    slow: Option<Period>,
    max_age: Period,
}

impl Tuned {
    pub(super) fn of(component: &Component) -> Self {
        let (schedule, thresholds) = (component.current_schedule(), component.current_thresholds());
        Self {
            name: component.name().to_owned(),
            interval: Period(schedule.interval),
            timeout: Period(schedule.timeout),
            jitter: schedule.jitter,
            fall: thresholds.fall,
            rise: thresholds.rise,
            window: thresholds.window.map(|Window { failures, of }| LatestResults { failures, of }),
            slow: component.slow_above().map(Period),
            max_age: Period(component.current_max_age()),
        }
    }
}

/// `PATCH /api/v1/components/{name}`
async fn tune(
    State(doors): State<Doors>,
    Segment(name): Segment,
    Input(settings): Input<Settings>,
) -> Result<Response, Refusal> {
    let tuned = doors.inner.checker.tune(&name, &settings.into())?;
    Ok(json(StatusCode::OK, &Tuned::of(&tuned)))
}

/// Which components are run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    required: bool,
    group: Option<String>,
    timeout: Option<Period>,
}

/// What all components' checks found.
#[derive(Debug, Serialize, JsonSchema)]
struct RanAll {
    /// Names of those that came to no result in time. Their runs go on.
    unfinished: Vec<String>,
    #[serde(flatten)]
    health: wire::Detailed,
}

/// `POST /api/v1/run?required=true&timeout=5s`
async fn run_all(
    State(doors): State<Doors>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Response, Refusal> {
    let Query(wanted) = wanted.map_err(|error| Refusal::bad_query(error.body_text()))?;
    let which = match (wanted.required, wanted.group) {
        (true, Some(_)) => return Err(Refusal::bad_query("either `required` or `group`, not both")),
        (true, None) => Which::Required,
        (false, Some(group)) => Which::Group(Group::from(group.as_str())),
        (false, None) => Which::All,
    };
    let timeout = wanted.timeout.map_or(USUAL, |Period(timeout)| timeout);
    if timeout > LONGEST {
        return Err(Refusal::bad_query("the timeout may be 60s at most"));
    }
    let Ok(_turn) = doors.inner.runs.try_acquire() else { return Err(ApiError::Busy.into()) };
    let checker = doors.inner.checker.clone();
    let all = checker.check_all_at_most_every(timeout, which, GAP).await?;
    // With many components that takes a while: not on the thread that answers probes.
    let written = aside(move || {
        let unfinished = all.unfinished.iter().map(ToString::to_string).collect();
        json(StatusCode::OK, &RanAll { unfinished, health: wire::Detailed::of(&checker) })
    });
    Ok(written.await?)
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let status = match &error {
            ControlError::Unknown { .. } => StatusCode::NOT_FOUND,
            ControlError::Disabled { .. }
            | ControlError::Removed { .. }
            | ControlError::NoJob { .. }
            | ControlError::NotAdded { .. } => StatusCode::CONFLICT,
            ControlError::NoResult { .. } => StatusCode::GATEWAY_TIMEOUT,
            ControlError::NotRunning => StatusCode::SERVICE_UNAVAILABLE,
            ControlError::Setting(_) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests;
