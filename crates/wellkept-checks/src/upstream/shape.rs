//! The shapes of health in JSON: how each framework writes it, told apart and read by one walk.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};
use wellkept_health::{Part, Parts, Status};

use super::Format;
use super::said::Said;

type Object = Map<String, Value>;

/// What was understood, or the word, or what stands in its place, that is none that is known.
type Read<'a, T> = Result<T, Cow<'a, str>>;

/// Which format an object has; `None` when it says nothing of health.
pub(super) fn of(object: &Object, media_type: &str) -> Option<Format> {
    let has = |key: &str| object.contains_key(key);
    let is_object = |key: &str| object.get(key).is_some_and(Value::is_object);
    let word = object.get("status").and_then(Value::as_str);
    let speaks = object.get("status").is_some_and(is_telling) || FLAGS.iter().any(|key| object.get(*key).is_some_and(Value::is_boolean));
    let is_own = ["overall_status", "alive", "started", "ready"].iter().any(|key| has(key));
    Some(match word {
        _ if is_own || (word.is_some() && (has("uptime_seconds") || has("lifecycle"))) => Format::Wellkept,
        None if !speaks => return None,
        Some(_) if media_type.contains("health+json") => Format::HealthJson,
        Some(_) if media_type.contains("spring-boot.actuator") => Format::Spring,
        Some(_) if is_object("entries") || is_object("results") => Format::AspNet,
        Some(_) if object.get("checks").is_some_and(Value::is_array) => Format::MicroProfile,
        Some(_) if is_object("checks") => Format::HealthJson,
        Some("ok" | "error" | "shutting_down") if has("details") || has("info") => Format::Terminus,
        Some(word) if word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => Format::Spring,
        Some("Healthy" | "Degraded" | "Unhealthy") => Format::AspNet,
        Some("healthy" | "degraded" | "unhealthy" | "unknown" | "maintenance") => Format::Wellkept,
        None | Some(_) => Format::HealthJson,
    })
}

/// The keys of a yes or no beside a status, or in its place.
const FLAGS: [&str; 3] = ["healthy", "ok", "success"];

/// Whether a status is more than the answer's own status code, which many write into the body.
fn is_telling(status: &Value) -> bool {
    !status.as_u64().is_some_and(|code| (200..300).contains(&code))
}

/// What an object says; `None` when it says nothing.
pub(super) fn said(object: &Object) -> Option<Read<'_, Said>> {
    let flag = |key: &str| object.get(key).and_then(Value::as_bool);
    let word = |key: &str| object.get(key).and_then(Value::as_str);
    // Where a Wellkept service is in its life, when that is why it takes no traffic.
    let note = || object.get("notes")?.as_array()?.first()?.as_str().filter(|_| word("status") == Some("fail"));
    let reason = || word("reason").filter(|_| flag("ready") == Some(false));
    let stage = match word("lifecycle").or_else(reason).or_else(note) {
        Some("starting") => Some(Said::Starting),
        Some("draining") => Some(Said::Draining),
        _ => None,
    };
    if let Some(stage) = stage {
        return Some(Ok(stage));
    }
    let overall = object.get("overall_status");
    let status = overall.filter(|status| status.is_string());
    let status = status.or_else(|| object.get("status").filter(|status| is_telling(status))).or(overall);
    let refuses = flag("ready") == Some(false) || FLAGS.iter().any(|key| flag(key) == Some(false));
    match (status, flag("ready"), flag("alive"), flag("started")) {
        (Some(status), ..) => Some(match by_value(status) {
            Ok(Said::Healthy | Said::Degraded) if refuses => Ok(Said::Unhealthy),
            said => said,
        }),
        (None, ..) if refuses => Some(Ok(Said::Unhealthy)),
        (None, Some(whether), ..) | (None, None, Some(whether), _) => Some(Ok(Said::whether(whether))),
        (None, None, None, Some(started)) => Some(Ok(if started { Said::Healthy } else { Said::Starting })),
        (None, None, None, None) => FLAGS.iter().find_map(|key| flag(key)).map(|whether| Ok(Said::whether(whether))),
    }
}

/// A status is a word, or yes or no.
fn by_value(status: &Value) -> Read<'_, Said> {
    match status {
        Value::String(word) => Said::of(word).ok_or(Cow::Borrowed(word)),
        Value::Bool(whether) => Ok(Said::whether(*whether)),
        other => Err(Cow::Owned(other.to_string())),
    }
}

/// A list of objects that say how they are: the worst of it, and each as a part; `None` when none says anything.
pub(super) fn list(values: &[Value]) -> Option<Read<'_, (Said, Vec<Part>)>> {
    let objects = || values.iter().filter_map(Value::as_object);
    let worst = objects().filter_map(said).reduce(|worst, said| match (worst, said) {
        (Ok(worst), Ok(said)) if (said.means() as u8) <= (worst.means() as u8) => Ok(worst),
        (Ok(_), said) => said,
        (worst, _) => worst,
    })?;
    let name = |index: usize, object: &Object| {
        let name = ["name", "id", "component"].iter().find_map(|key| object.get(*key)?.as_str());
        name.map_or_else(|| format!("{}", index + 1), ToOwned::to_owned)
    };
    let parts = objects().enumerate().filter_map(|(index, object)| part(&name(index, object), object, Parts::DEEPEST));
    Some(worst.map(|said| (said, parts.collect())))
}

/// What an object consists of.
pub(super) fn parts(object: &Object) -> Vec<Part> {
    parts_below(object, Parts::DEEPEST)
}

/// The keys that parts stand below.
const HOLDERS: [&str; 6] = ["components", "entries", "results", "checks", "dependencies", "details"];

/// One level more than is kept is read no further than that there is something.
fn parts_below(object: &Object, levels: usize) -> Vec<Part> {
    for holder in HOLDERS {
        let found = match object.get(holder) {
            Some(Value::Object(parts)) => named(parts, holder, levels),
            Some(Value::Array(parts)) => listed(parts, levels),
            _ => continue,
        };
        if !found.is_empty() {
            return found;
        }
    }
    // Spring Boot 1 has them beside the status.
    named(object, "", levels)
}

fn named(parts: &Object, holder: &str, levels: usize) -> Vec<Part> {
    let mut found = Vec::new();
    for (name, value) in parts {
        match value {
            Value::Object(_) if holder.is_empty() && HOLDERS.contains(&name.as_str()) => {}
            Value::Object(object) => found.extend(part(name, object, levels)),
            // health+json has several of one name; what tells them apart is said by the application.
            Value::Array(several) if holder == "checks" => {
                for (index, one) in several.iter().filter_map(Value::as_object).enumerate() {
                    let id = one.get("componentId").and_then(Value::as_str);
                    let name = match (several.len(), id) {
                        (1, _) => name.clone(),
                        (_, Some(id)) => format!("{name} ({id})"),
                        (_, None) => format!("{name} ({})", index + 1),
                    };
                    found.extend(part(&name, one, levels));
                }
            }
            Value::String(word) if holder == "dependencies" => {
                found.push(Part::new(name, Said::of(word).map_or(Status::Unknown, Said::shown)));
            }
            _ => {}
        }
    }
    found
}

fn listed(parts: &[Value], levels: usize) -> Vec<Part> {
    let objects = parts.iter().filter_map(Value::as_object);
    objects.filter_map(|object| part(object.get("name")?.as_str()?, object, levels)).collect()
}

/// A part that says how it is.
fn part(name: &str, object: &Object, levels: usize) -> Option<Part> {
    let said = said(object)?;
    let status = said.map_or(Status::Unknown, Said::shown);
    let part = Part::new(name, status)
        .with_reason(object.get("reason").and_then(Value::as_str))
        .with_message(&message(object).unwrap_or_default())
        .with_response_time(response_time(object));
    let below = if levels == 0 { Vec::new() } else { parts_below(object, levels - 1) };
    Some(part.with_parts(below))
}

/// What a part says beside its status: in words where it has some, else what was measured.
fn message(object: &Object) -> Option<String> {
    const WORDS: [&str; 5] = ["message", "output", "description", "exception", "error"];
    let words = |object: &Object| {
        let texts = WORDS.iter().filter_map(|key| object.get(*key)?.as_str()).find(|text| !text.is_empty());
        texts.map(ToOwned::to_owned)
    };
    let inner = |key: &str| words(object.get(key)?.as_object()?);
    let measured = || {
        let unit = object.get("observedUnit").and_then(Value::as_str).unwrap_or_default();
        match object.get("observedValue")? {
            Value::String(text) => Some(format!("{text} {unit}")),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(format!("{value} {unit}")),
            _ => None,
        }
    };
    words(object).or_else(|| inner("details")).or_else(|| inner("data")).or_else(measured)
}

/// How long a part's check took there: milliseconds, or .NET's `00:00:00.0152`.
fn response_time(object: &Object) -> Option<Duration> {
    if let Some(milliseconds) = object.get("response_time_ms").and_then(Value::as_f64) {
        return Duration::try_from_secs_f64(milliseconds / 1000.0).ok();
    }
    let mut units = object.get("duration")?.as_str()?.splitn(3, ':').map(str::parse::<f64>);
    let (hours, minutes, seconds) = (units.next()?.ok()?, units.next()?.ok()?, units.next()?.ok()?);
    Duration::try_from_secs_f64(hours * 3600.0 + minutes * 60.0 + seconds).ok()
}
