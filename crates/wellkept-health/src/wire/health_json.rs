//! `application/health+json`: the health check response format of draft-inadarei-api-health-check-06.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rfc3339;
use super::view::{Seen, Subject, View};
use crate::snapshot::ComponentHealth;
use crate::status::Status;
use crate::table::milliseconds;

/// The media type.
pub const MEDIA_TYPE: &str = "application/health+json";

/// The status of the draft: `pass` and `warn` go with a code of 2xx, `fail` with one of 5xx (section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "HealthJsonStatus")]
pub enum Mark {
    /// Healthy.
    Pass,
    /// Healthy, with some concerns.
    Warn,
    /// Unhealthy.
    Fail,
}

impl From<Status> for Mark {
    fn from(status: Status) -> Self {
        match status {
            Status::Healthy => Self::Pass,
            Status::Degraded | Status::Maintenance => Self::Warn,
            Status::Unhealthy | Status::Unknown => Self::Fail,
        }
    }
}

/// The whole answer (section 3). What is optional there and unknown here is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HealthJson")]
pub struct HealthJson {
    /// Whether the service is acceptable.
    pub status: Mark,
    /// The service's version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The service's release, which here is its version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release_id: String,
    /// The service's name.
    pub service_id: String,
    /// What it is that is told.
    pub description: String,
    /// Why it does not pass, in a word: `degraded`, `unhealthy`, `unknown`, `maintenance`, `draining`, `starting`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The components by `name:measurement`, and the service's uptime. A colon in a name is written as `_`.
    pub checks: BTreeMap<String, Vec<Measurement>>,
}

/// One reading of one component (section 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// Tells readings of one key apart: the part that it is about, or the component's name when the key can't hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_id: Option<String>,
    /// `component`, `datastore` or `system`.
    pub component_type: String,
    /// What was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_value: Option<Value>,
    /// Its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_unit: Option<String>,
    /// The component's status; not on readings besides its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Mark>,
    /// When it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// What was wrong; not on `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

impl HealthJson {
    /// The answer on a view. Readers without sight of details see names and statuses only.
    pub fn of(view: &View<'_>) -> Self {
        let status = mark(view);
        let checker = view.checker;
        let mut checks = BTreeMap::new();
        for seen in view.components() {
            let name = Name::of(&seen.component.name);
            for (measurement, reading) in measurements(view, &seen, &name) {
                let readings: &mut Vec<_> = checks.entry(name.key(measurement)).or_default();
                readings.push(reading);
            }
        }
        let uptime = Measurement {
            component_id: None,
            component_type: "system".to_owned(),
            observed_value: Some(checker.uptime().as_secs().into()),
            observed_unit: Some("s".to_owned()),
            status: Some(Mark::Pass),
            time: Some(rfc3339(checker.clock().wall())),
            output: None,
        };
        checks.insert("uptime".to_owned(), vec![uptime]);
        let word = if view.is_draining() { "draining" } else { view.word() };
        Self {
            status,
            version: checker.version().to_owned(),
            release_id: checker.version().to_owned(),
            service_id: checker.service().to_owned(),
            description: description(view),
            notes: if status == Mark::Pass { Vec::new() } else { vec![word.to_owned()] },
            checks,
        }
    }

    /// Whether the code must be 2xx; it must be 5xx otherwise.
    pub fn is_acceptable(&self) -> bool {
        self.status != Mark::Fail
    }
}

/// A probe that fails is a `fail`, whatever the status: its code says so, and the body must not say otherwise. Only the
/// service as a whole may be in maintenance and acceptable.
fn mark(view: &View<'_>) -> Mark {
    let about_all = *view.subject() == Subject::Service;
    if view.is_draining() || (!view.is_good() && !about_all) { Mark::Fail } else { view.status().into() }
}

fn description(view: &View<'_>) -> String {
    let service = view.checker.service();
    match view.subject() {
        Subject::Service => format!("health of {service}"),
        Subject::Live => format!("liveness of {service}"),
        Subject::Ready => format!("readiness of {service}"),
        Subject::Startup => format!("start of {service}"),
        Subject::Named(group) => format!("health of {service}, group {group}"),
    }
}

/// A component's name in a key, where no colon may stand (section 4).
struct Name<'n> {
    given: &'n str,
    written: String,
}

impl<'n> Name<'n> {
    fn of(given: &'n str) -> Self {
        Self { given, written: given.replace(':', "_") }
    }

    fn key(&self, measurement: &str) -> String {
        format!("{}:{measurement}", self.written)
    }

    /// What names a part of the component, or the component itself where the key can't.
    fn id(&self, part: Option<&str>) -> Option<String> {
        match (self.given == self.written, part) {
            (true, part) => part.map(ToOwned::to_owned),
            (false, None) => Some(self.given.to_owned()),
            (false, Some(part)) => Some(format!("{}/{part}", self.given)),
        }
    }
}

fn measurements(view: &View<'_>, seen: &Seen<'_>, name: &Name<'_>) -> Vec<(&'static str, Measurement)> {
    let status = Mark::from(seen.standing.status);
    let bare = Measurement {
        component_id: name.id(None),
        component_type: "component".to_owned(),
        observed_value: None,
        observed_unit: None,
        status: Some(status),
        time: None,
        output: None,
    };
    if !view.has_details() {
        return vec![("responseTime", bare)];
    }
    let component = seen.component;
    let observed = Measurement {
        component_type: component_type(component).to_owned(),
        time: component.checked.map(|at| rfc3339(at.wall)),
        ..bare
    };
    let with = |part: Option<&str>, value: Value, unit: &str| Measurement {
        component_id: name.id(part),
        observed_value: Some(value),
        observed_unit: Some(unit.to_owned()),
        ..observed.clone()
    };
    let took = match component.response_time {
        Some(time) => with(None, milliseconds(time).into(), "ms"),
        None => observed.clone(),
    };
    let output = [&*seen.standing.message, &*component.detail].into_iter().filter(|text| !text.is_empty());
    let output = output.collect::<Vec<_>>().join(": ");
    let output = Some(output).filter(|text| status != Mark::Pass && !text.is_empty());
    let mut measurements = vec![("responseTime", Measurement { output, ..took })];
    // One reading may be fine where another is not, so these have no status of their own.
    let with = |part, value, unit| Measurement { status: None, ..with(part, value, unit) };
    if let Some(active) = component.metadata.get("connections").and_then(|connections| connections.get("active")) {
        measurements.push(("connections", with(None, active.clone(), "connections")));
    }
    for (key, value) in component.metadata.iter() {
        if let (Some(part), Some(ratio)) = (key.strip_suffix("_usage"), value.as_f64()) {
            let percent = (ratio * 1e4).round() / 1e2;
            measurements.push(("utilization", with(Some(part), percent.into(), "percent")));
        }
    }
    measurements
}

/// One of the draft's three words (section 4.2), by the kind of check.
fn component_type(component: &ComponentHealth) -> &'static str {
    match component.kind {
        Some("cpu" | "disk" | "memory" | "system") => "system",
        Some("postgres" | "mysql" | "redis" | "sqlite" | "mongodb" | "memcached" | "elasticsearch") => "datastore",
        _ => "component",
    }
}
