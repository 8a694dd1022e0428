//! The shapes that other frameworks' tools read: Spring Boot Actuator, MicroProfile Health, ASP.NET Core, Nest's
//! Terminus. Each says what the view says, in its framework's words.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::view::{Seen, View};
use crate::checker::Lifecycle;
use crate::status::Status;

/// The media type of Spring Boot Actuator's answers.
pub const SPRING_MEDIA_TYPE: &str = "application/vnd.spring-boot.actuator.v3+json";

/// Spring Boot Actuator ("Actuator API", Health): `UP`, `DOWN`, `OUT_OF_SERVICE`, `UNKNOWN`. A degraded component is
/// `UP` there. The status code stays that of the probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spring {
    /// What all components add up to.
    pub status: String,
    /// The components by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<BTreeMap<String, SpringComponent>>,
}

/// One component of [`Spring`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpringComponent {
    /// Its status.
    pub status: String,
    /// Its readings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Map<String, Value>>,
}

impl Spring {
    /// The answer on a view.
    pub fn of(view: &View<'_>) -> Self {
        let status = if view.is_good() {
            "UP"
        } else if view.hindrance().is_some() {
            "OUT_OF_SERVICE"
        } else {
            spring(view.status())
        };
        let component = |seen: Seen<'_>| {
            let details = view.has_details().then(|| readings(&seen));
            let status = spring(seen.standing.status).to_owned();
            (seen.component.name.to_string(), SpringComponent { status, details })
        };
        let components: BTreeMap<_, _> = view.components().map(component).collect();
        Self { status: status.to_owned(), components: Some(components).filter(|components| !components.is_empty()) }
    }
}

fn spring(status: Status) -> &'static str {
    match status {
        Status::Healthy | Status::Degraded => "UP",
        Status::Unhealthy => "DOWN",
        Status::Maintenance => "OUT_OF_SERVICE",
        Status::Unknown => "UNKNOWN",
    }
}

/// MicroProfile Health 4.0 ("Protocol and Wireformat"): `UP` or `DOWN`, and a list that may be empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MicroProfile {
    /// Whether the probe passes.
    pub status: String,
    /// The components.
    pub checks: Vec<MicroProfileCheck>,
}

/// One component of [`MicroProfile`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MicroProfileCheck {
    /// Its name.
    pub name: String,
    /// Whether it is healthy or degraded.
    pub status: String,
    /// Its readings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
}

impl MicroProfile {
    /// The answer on a view.
    pub fn of(view: &View<'_>) -> Self {
        let check = |seen: Seen<'_>| MicroProfileCheck {
            name: seen.component.name.to_string(),
            status: up(seen.standing.status.is_ready()).to_owned(),
            // Only flat values are allowed there; what is not is written as text.
            data: view.has_details().then(|| readings(&seen).into_iter().map(flat).collect()),
        };
        Self { status: up(view.is_good()).to_owned(), checks: view.components().map(check).collect() }
    }
}

fn up(good: bool) -> &'static str {
    if good { "UP" } else { "DOWN" }
}

fn flat((key, value): (String, Value)) -> (String, Value) {
    let flat = match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
        other => Value::String(other.to_string()),
    };
    (key, flat)
}

/// ASP.NET Core as the `UIResponseWriter` of `AspNetCore.Diagnostics.HealthChecks` writes it: `Healthy`, `Degraded`,
/// `Unhealthy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AspNet {
    /// What all components add up to.
    pub status: String,
    /// The longest of the runs: they run side by side.
    pub total_duration: String,
    /// The components by name.
    pub entries: BTreeMap<String, AspNetEntry>,
}

/// One component of [`AspNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AspNetEntry {
    /// Its readings.
    pub data: Map<String, Value>,
    /// Its public message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long its latest run took.
    pub duration: String,
    /// Its status.
    pub status: String,
    /// Its groups.
    pub tags: Vec<String>,
}

impl AspNet {
    /// The answer on a view. Without sight of details times are zero, and readings and tags empty.
    pub fn of(view: &View<'_>) -> Self {
        let mut longest = Duration::ZERO;
        let mut entries = BTreeMap::new();
        for seen in view.components() {
            let details = view.has_details();
            let time = seen.component.response_time.filter(|_| details).unwrap_or_default();
            longest = longest.max(time);
            let message = seen.standing.message.to_string();
            let entry = AspNetEntry {
                data: if details { (*seen.component.metadata).clone() } else { Map::new() },
                description: Some(message).filter(|text| details && !text.is_empty()),
                duration: time_span(time),
                status: asp_net(seen.standing.status).to_owned(),
                tags: seen.component.groups.iter().filter(|_| details).map(ToString::to_string).collect(),
            };
            entries.insert(seen.component.name.to_string(), entry);
        }
        Self { status: Self::word(view).to_owned(), total_duration: time_span(longest), entries }
    }

    /// The word that ASP.NET Core answers by default.
    pub fn word(view: &View<'_>) -> &'static str {
        if view.is_good() { asp_net(view.status()) } else { "Unhealthy" }
    }
}

fn asp_net(status: Status) -> &'static str {
    match status {
        Status::Healthy => "Healthy",
        Status::Degraded => "Degraded",
        Status::Unhealthy | Status::Unknown | Status::Maintenance => "Unhealthy",
    }
}

/// .NET's constant format of a time span: `00:00:00.0018000`.
fn time_span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    let days = if seconds >= 86_400 { format!("{}.", seconds / 86_400) } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{:02}.{:07}", seconds % 60, time.subsec_nanos() / 100)
}

/// Terminus, of the framework Nest (`HealthCheckResult`): `ok`, `error`, `shutting_down`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Terminus {
    /// Whether the probe passes.
    pub status: String,
    /// The components that do not fail it.
    pub info: BTreeMap<String, Map<String, Value>>,
    /// Those that do.
    pub error: BTreeMap<String, Map<String, Value>>,
    /// All of them.
    pub details: BTreeMap<String, Map<String, Value>>,
}

impl Terminus {
    /// The answer on a view.
    pub fn of(view: &View<'_>) -> Self {
        let status = match view.hindrance() {
            Some(Lifecycle::Draining) => "shutting_down",
            _ if view.is_good() => "ok",
            _ => "error",
        };
        let (mut info, mut error) = (BTreeMap::new(), BTreeMap::new());
        for seen in view.components() {
            let up = seen.counts.is_none_or(Status::is_ready);
            let word = if up { "up" } else { "down" };
            let mut indicator = if view.has_details() { readings(&seen) } else { Map::new() };
            indicator.insert("status".to_owned(), word.into());
            if up { &mut info } else { &mut error }.insert(seen.component.name.to_string(), indicator);
        }
        let details = info.iter().chain(&error).map(|(name, one)| (name.clone(), one.clone())).collect();
        Self { status: status.to_owned(), info, error, details }
    }
}

/// What a component's readers with sight of details are told besides its status: its readings, its reason and message.
fn readings(seen: &Seen<'_>) -> Map<String, Value> {
    let mut readings = (*seen.component.metadata).clone();
    if let Some(reason) = &seen.standing.reason {
        readings.insert("reason".to_owned(), reason.as_str().into());
    }
    if !seen.standing.message.is_empty() {
        readings.insert("message".to_owned(), seen.standing.message.to_string().into());
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_written_as_dot_net_writes_it() {
        assert_eq!(time_span(Duration::from_micros(1_800)), "00:00:00.0018000");
        assert_eq!(time_span(Duration::from_secs(86_400 + 3_661)), "1.01:01:01.0000000");
    }
}
