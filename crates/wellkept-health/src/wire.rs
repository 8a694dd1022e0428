//! The JSON shapes of health, written by the doors and read by whoever asks another service. Promises: fields may
//! be added, none renamed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checker::Checker;
use crate::liveness::Life;
use crate::outcome::Verdict;
use crate::part;
use crate::snapshot::{Belonging, ComponentHealth, Snapshot};
use crate::status::{Criticality, Status};
use crate::table::milliseconds;

pub mod foreign;
pub mod health_json;
mod maintenance;
pub mod nagios;
mod view;

pub use maintenance::Maintenance;
pub use view::{Seen, Sight, Subject, View};

/// `GET /health`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Health<'s> {
    /// What all components add up to.
    pub status: Status,
    /// The service's name.
    pub service: Cow<'s, str>,
    /// The service's version.
    pub version: Cow<'s, str>,
    /// Now.
    pub timestamp: String,
    /// When the oldest result that counts was taken.
    pub checked_at: Option<String>,
    /// Time since the start as `72:30:15`.
    pub uptime: String,
    /// Time since the start, whole seconds.
    pub uptime_seconds: u64,
}

impl<'s> Health<'s> {
    /// The service's health now.
    pub fn of(checker: &'s Checker) -> Self {
        let snapshot = checker.snapshot();
        let uptime = checker.uptime();
        Self {
            status: snapshot.overall(),
            service: Cow::Borrowed(checker.service()),
            version: Cow::Borrowed(checker.version()),
            timestamp: rfc3339(checker.clock().wall()),
            checked_at: snapshot.oldest_result().map(rfc3339),
            uptime: hours(uptime),
            uptime_seconds: uptime.as_secs(),
        }
    }
}

/// `GET /health/live`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Live {
    /// Whether the process lives.
    pub alive: bool,
    /// When its runtime last answered.
    pub last_heartbeat: String,
    /// Why it does not live: `stalled`, `late` or `failing`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl Live {
    /// The process's liveness now.
    pub fn of(checker: &Checker) -> Self {
        let life = checker.life();
        let alive = life == Life::Alive;
        Self {
            alive,
            last_heartbeat: rfc3339(checker.liveness().last_heartbeat()),
            reason: (!alive).then(|| life.as_str().to_owned()),
        }
    }
}

/// `GET /health/ready` and `GET /ready`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// Whether traffic may come.
    pub ready: bool,
    /// What the group's components add up to.
    pub status: Status,
    /// Where the process is in its life when that is why it is not ready: `starting` or `draining`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The group's components by name.
    pub dependencies: BTreeMap<String, Status>,
    /// With `?detailed=true`, for those who may see it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub components: Option<BTreeMap<String, Component>>,
}

impl Ready {
    /// The service's readiness now.
    pub fn of(checker: &Checker, detailed: bool) -> Self {
        Self::of_view(&View::of(checker, Subject::Ready, if detailed { Sight::Details } else { Sight::Names }))
    }

    /// The readiness of a view.
    pub fn of_view(view: &View<'_>) -> Self {
        let detailed =
            |seen: Seen<'_>| (seen.component.name.to_string(), Component::of(&view.snapshot, seen.component));
        Self {
            ready: view.is_good(),
            status: view.status(),
            reason: view.hindrance().map(|lifecycle| lifecycle.as_str().to_owned()),
            dependencies: view
                .components()
                .map(|seen| (seen.component.name.to_string(), seen.standing.status))
                .collect(),
            components: view.has_details().then(|| view.components().map(detailed).collect()),
        }
    }
}

/// `GET /health/group/{group}`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Grouped {
    /// The group's name.
    pub group: String,
    /// What its components add up to.
    #[serde(flatten)]
    pub readiness: Ready,
}

/// `GET /health/component/{name}`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct One {
    /// The component's name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// With `?detailed=true`, for those who may see it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub details: Option<Component>,
}

impl One {
    /// One component of a view.
    pub fn of(view: &View<'_>, seen: &Seen<'_>) -> Self {
        Self {
            name: seen.component.name.to_string(),
            status: seen.standing.status,
            details: view.has_details().then(|| Component::of(&view.snapshot, seen.component)),
        }
    }
}

/// `GET /v1/health`, for those who read it before there was `/health`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct V1 {
    /// What all components add up to.
    pub overall_status: Status,
    /// Now, in seconds since 1970.
    pub timestamp: f64,
    /// The components.
    pub components: Vec<V1Component>,
}

/// One component of [`V1`]. Without sight of details all but name and status is empty.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct V1Component {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// One line when it is not healthy.
    pub message: String,
    /// The latest run's time in milliseconds.
    pub response_time_ms: f64,
    /// The latest run's readings.
    pub metadata: Map<String, Value>,
}

impl V1 {
    /// The answer on a view.
    pub fn of(view: &View<'_>) -> Self {
        let component = |seen: Seen<'_>| V1Component {
            name: seen.component.name.to_string(),
            status: seen.standing.status,
            message: if view.has_details() { seen.standing.message.to_string() } else { String::new() },
            response_time_ms: seen.component.response_time.filter(|_| view.has_details()).map_or(0.0, milliseconds),
            metadata: if view.has_details() { (*seen.component.metadata).clone() } else { Map::new() },
        };
        Self {
            overall_status: view.status(),
            timestamp: view.checker.clock().wall().as_millisecond() as f64 / 1000.0,
            components: view.components().map(component).collect(),
        }
    }
}

/// `GET /health/startup`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Startup {
    /// Whether the start is complete.
    pub started: bool,
}

/// `GET /health/detailed`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Detailed {
    /// What all components add up to.
    pub status: Status,
    /// The service's name.
    pub service: String,
    /// The service's version.
    pub version: String,
    /// Now.
    pub timestamp: String,
    /// Time since the start as `72:30:15`.
    pub uptime: String,
    /// Whether traffic may come.
    pub ready: bool,
    /// Where the process is in its life: `starting`, `running`, `draining`.
    pub lifecycle: String,
    /// The maintenance that the whole service is in; absent when it is in none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub maintenance: Option<Maintenance>,
    /// All components by name.
    pub components: BTreeMap<String, Component>,
}

impl Detailed {
    /// All components now.
    pub fn of(checker: &Checker) -> Self {
        let snapshot = checker.snapshot();
        let readiness = checker.readiness();
        Self {
            status: snapshot.overall(),
            service: checker.service().to_owned(),
            version: checker.version().to_owned(),
            timestamp: rfc3339(checker.clock().wall()),
            uptime: hours(checker.uptime()),
            ready: readiness.ready,
            lifecycle: readiness.lifecycle.as_str().to_owned(),
            maintenance: snapshot.maintenance().map(|what| Maintenance::of(what, checker.clock().wall())),
            components: components(&snapshot, snapshot.components()),
        }
    }
}

/// One component, as authorised readers see it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the answer by itself")]
pub struct Component {
    /// What is served, after thresholds and age.
    pub status: Status,
    /// The reason code when it is not healthy.
    pub reason: Option<String>,
    /// One line for everyone.
    pub message: String,
    /// The component that it depends on and that is the root of its trouble.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub caused_by: Option<String>,
    /// The latest run's private detail.
    pub detail: String,
    /// The latest run's verdict, before thresholds: `pass`, `warn`, `fail`.
    pub raw_status: Option<Verdict>,
    /// The latest run's reason code.
    pub raw_reason: Option<String>,
    /// The latest run's time, for people.
    pub response_time: Option<String>,
    /// The latest run's time in milliseconds.
    pub response_time_ms: Option<f64>,
    /// When the latest run ended.
    pub timestamp: Option<String>,
    /// How old the latest result is, in milliseconds.
    pub age_ms: Option<u64>,
    /// Past which age a result counts no more, in milliseconds.
    #[serde(default)]
    pub max_age_ms: u64,
    /// Since when the status is what it is.
    pub since: String,
    /// How many results in a row agreed with the latest.
    pub consecutive: u32,
    /// Whether its failure makes the service unhealthy.
    pub required: bool,
    /// Whether all replicas share it, so that its failure degrades readiness; absent when they do not.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub shared: bool,
    /// From one run's start to the next one's, in milliseconds, as it is now.
    #[serde(default)]
    pub interval_ms: u64,
    /// The deadline of one run, in milliseconds, as it is now.
    #[serde(default)]
    pub timeout_ms: u64,
    /// How many results in a row make its status worse.
    #[serde(default)]
    pub fall: u32,
    /// How many results in a row make it better.
    #[serde(default)]
    pub rise: u32,
    /// The groups that see it.
    pub groups: Vec<String>,
    /// The names of the components that it can't work without; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub depends_on: Vec<String>,
    /// Whether its settings were changed at run time; absent when they were not.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub tuned: bool,
    /// Whether it was added at run time; absent when it was not.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub added: bool,
    /// The maintenance that it is in; absent when it is in none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub maintenance: Option<Maintenance>,
    /// The latest run's readings.
    pub metadata: Map<String, Value>,
    /// What it consists of when it is another service, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub components: BTreeMap<String, Part>,
    /// Whether there is more of them than is kept.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub components_cut: bool,
}

/// What a component consists of, as another service tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Its status.
    pub status: Status,
    /// The other service's reason code when it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What the other service says of it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    /// How long its check took there, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response_time_ms: Option<f64>,
    /// What it consists of, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub components: BTreeMap<String, Self>,
}

impl Part {
    fn of(part: &part::Part) -> Self {
        Self {
            status: part.status(),
            reason: part.reason().map(ToOwned::to_owned),
            message: part.message().to_owned(),
            response_time_ms: part.response_time().map(milliseconds),
            components: Self::all(part.parts()),
        }
    }

    /// Parts by name, as the wire has them.
    pub fn all(parts: &[part::Part]) -> BTreeMap<String, Self> {
        parts.iter().map(|part| (part.name().to_owned(), Self::of(part))).collect()
    }
}

impl Component {
    /// One component of a snapshot, now.
    pub fn of(snapshot: &Snapshot, component: &ComponentHealth) -> Self {
        let standing = snapshot.standing(component);
        Self {
            status: standing.status,
            reason: standing.reason.map(|reason| reason.to_string()),
            message: standing.message.to_string(),
            caused_by: snapshot.root_cause(component).map(|root| root.name.to_string()),
            detail: component.detail.to_string(),
            raw_status: component.raw,
            raw_reason: component.raw_reason.as_ref().map(ToString::to_string),
            response_time: component.response_time.map(short_time),
            response_time_ms: component.response_time.map(milliseconds),
            timestamp: component.checked.map(|at| rfc3339(at.wall)),
            age_ms: snapshot.age(component).map(whole_milliseconds),
            max_age_ms: whole_milliseconds(component.max_age),
            since: rfc3339(component.since.wall),
            consecutive: component.consecutive,
            required: component.criticality == Criticality::Required,
            shared: component.shared,
            interval_ms: whole_milliseconds(component.interval),
            timeout_ms: whole_milliseconds(component.timeout),
            fall: component.thresholds.fall,
            rise: component.thresholds.rise,
            groups: component.groups.iter().map(ToString::to_string).collect(),
            depends_on: component.depends_on.iter().map(ToString::to_string).collect(),
            tuned: component.tuned,
            added: component.belongs == Belonging::Addition,
            maintenance: snapshot.maintenance_of(component).map(|what| Maintenance::of(what, what.since)),
            metadata: (*component.metadata).clone(),
            components: component.parts.as_ref().map(|parts| Part::all(parts.list())).unwrap_or_default(),
            components_cut: component.parts.as_ref().is_some_and(|parts| parts.is_cut()),
        }
    }
}

fn components<'c>(
    snapshot: &Snapshot,
    components: impl Iterator<Item = &'c ComponentHealth>,
) -> BTreeMap<String, Component> {
    components.map(|one| (one.name.to_string(), Component::of(snapshot, one))).collect()
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with milliseconds: `2026-01-15T10:30:00.123Z`.
pub fn rfc3339(timestamp: Timestamp) -> String {
    let milliseconds = timestamp.as_millisecond();
    let (days, time) = (milliseconds.div_euclid(86_400_000), milliseconds.rem_euclid(86_400_000));
    // Years that begin in March end with the leap day, which makes months a plain rule (H. Hinnant, "chrono-Compatible
    // Low-Level Date Algorithms"). The general formatter takes ten times as long, and probes ask for this often.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * day + 2) / 153;
    let day = day - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
    let (second, millisecond) = (time / 1000 % 60, time % 1000);
    let mut text = String::with_capacity(24);
    push_two(&mut text, year / 100);
    push_two(&mut text, year % 100);
    for (before, number) in
        [('-', month), ('-', day), ('T', hour), (':', minute), (':', second), ('.', millisecond / 10)]
    {
        text.push(before);
        push_two(&mut text, number);
    }
    push_digit(&mut text, millisecond % 10);
    text.push('Z');
    text
}

fn push_two(text: &mut String, number: i64) {
    push_digit(text, number / 10 % 10);
    push_digit(text, number % 10);
}

fn push_digit(text: &mut String, digit: i64) {
    // Always a digit: the callers take it modulo ten.
    text.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
}

/// Hours, minutes and seconds: `72:30:15`.
pub fn hours(duration: Duration) -> String {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let hours = seconds / 3600;
    let mut text = if hours < 100 { String::with_capacity(8) } else { (hours / 100).to_string() };
    push_two(&mut text, hours % 100);
    text.push(':');
    push_two(&mut text, seconds / 60 % 60);
    text.push(':');
    push_two(&mut text, seconds % 60);
    text
}

/// A time for people: `1.8ms`, `2.3s`.
pub fn short_time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.1}s")
    } else if seconds >= 0.0001 {
        format!("{:.1}ms", seconds * 1000.0)
    } else {
        format!("{:.0}µs", seconds * 1_000_000.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_the_general_formatter_writes_it(milliseconds in 0_i64..253_402_300_799_999) {
            let timestamp = Timestamp::from_millisecond(milliseconds).unwrap();
            prop_assert_eq!(rfc3339(timestamp), format!("{timestamp:.3}"));
        }
    }

    #[test]
    fn times_are_written_as_promised() {
        let timestamp: Timestamp = "2026-01-15T10:30:00.1239Z".parse().unwrap();
        assert_eq!(rfc3339(timestamp), "2026-01-15T10:30:00.123Z");
        assert_eq!(hours(Duration::from_secs(261_015)), "72:30:15");
        assert_eq!(hours(Duration::from_secs(59)), "00:00:59");
        assert_eq!(hours(Duration::from_secs(3600 * 100 + 61)), "100:01:01");
        assert_eq!(short_time(Duration::from_micros(1_812)), "1.8ms");
        assert_eq!(short_time(Duration::from_millis(2_340)), "2.3s");
        assert_eq!(short_time(Duration::from_micros(42)), "42µs");
    }
}
